"""Messages of Open edX's event bus, as its producer writes them: CloudEvents in Avro."""

from __future__ import annotations

import io
import json

import fastavro

_TYPE = "org.openedx.analytics.tracking.event.emitted.v1"
HEADERS = [("ce_type", _TYPE.encode()), ("ce_source", b"/openedx/lms/web"), ("content-type", b"application/avro")]
_SCHEMA = {
    "name": "CloudEvent",
    "type": "record",
    "fields": [
        {
            "name": "tracking_log",
            "type": {
                "name": "TrackingLogData",
                "type": "record",
                "fields": [{"name": name, "type": "string"} for name in ("name", "timestamp", "data", "context")],
            },
        }
    ],
}


def answer(learner: int, *, name: str = "problem_check", item: str = "p1", registry: bool = False) -> bytes:
    """The message of an answer; with the five bytes of a schema `registry` or without."""
    payload = {"problem_id": item, "grade": 1, "max_grade": 1, "success": "correct", "attempts": 1}
    context = {"user_id": learner, "username": f"name{learner}", "event_source": "server"}
    event = {"name": name, "timestamp": "2026-03-04T09:15:00+00:00"}
    texts = {"data": json.dumps(payload), "context": json.dumps(context)}
    value = io.BytesIO(b"\x00\x00\x00\x00\x07" if registry else b"")
    value.seek(0, io.SEEK_END)
    fastavro.schemaless_writer(value, _SCHEMA, {"tracking_log": event | texts})
    return value.getvalue()
