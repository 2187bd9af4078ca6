"""Records of the log as rows of an exported table."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import DecodeError
from google.protobuf.timestamp_pb2 import Timestamp

from cairn.v1 import events_pb2
from services.common.kafka.envelope import JSON, content_type_of, split_key
from services.recommender.wire.event_kinds import KINDS, name_of, outcome_row


class EventUnreadableError(ValueError):
    """A record is not a learner event."""


def event_row(key: bytes, value: bytes | None, headers: list[tuple[str, bytes]]) -> dict[str, Any]:
    """The cells of a record; those left out are empty.

    Args:
        key: the record's key.
        value: its value, decrypted.
        headers: its headers.

    Raises:
        EventUnreadableError: when it is not a learner event.
    """
    try:
        event = (
            json_format.Parse(value or b"", events_pb2.LearnerEvent())
            if content_type_of(headers) == JSON
            else events_pb2.LearnerEvent.FromString(value or b"")
        )
    except (DecodeError, json_format.ParseError, UnicodeDecodeError, RecursionError) as error:
        raise EventUnreadableError("the value is not a LearnerEvent") from error
    tenant, learner = split_key(key)
    kind = event.WhichOneof("body")
    if kind is None or (event.tenant, event.learner) != (tenant, learner):
        raise EventUnreadableError("no body that this program knows is set, or its learner is not that of the key")
    common = {
        "tenant": tenant,
        "learner": learner,
        "event_id": event.event_id,
        "source": event.source,
        "kind": kind,
        "occurred_at": _moment(event.occurred_at) if event.HasField("occurred_at") else None,
        "received_at": _moment(event.received_at) if event.HasField("received_at") else None,
    }
    body = getattr(event, kind)
    return common | (_assessment(body) if kind == "assessment" else KINDS[kind].row(body))


def _assessment(body: events_pb2.AssessmentEvent) -> dict[str, Any]:
    return {
        "item": body.item or None,
        "activity": body.activity or None,
        "resource": body.resource or None,
        "skills": list(body.skills),
        "skills_from": name_of(events_pb2.SkillsFrom, body.skills_from),
        "response": body.response,
        "attempt": body.attempt if body.HasField("attempt") else None,
        "hints": body.hints if body.HasField("hints") else None,
        "duration_ms": body.duration_ms if body.HasField("duration_ms") else None,
        "grain": name_of(events_pb2.Grain, body.grain),
        **outcome_row(body),
    }


def _moment(timestamp: Timestamp) -> datetime:
    try:
        return timestamp.ToDatetime(UTC)
    except (ValueError, OverflowError) as error:
        raise EventUnreadableError(f"{timestamp.seconds} s and {timestamp.nanos} ns are no time") from error
