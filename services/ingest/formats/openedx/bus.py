"""Messages of Open edX's event bus: CloudEvents in Avro, whose attributes are Kafka headers `ce_*`."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from typing import Any

import fastavro

from services.ingest.application.ports import FieldReason, FileRow, LeftOutRow, UnreadableRow
from services.ingest.formats.openedx.names import COARSER
from services.ingest.formats.openedx.tracking import rows_of

TRACKING_EVENT = "org.openedx.analytics.tracking.event.emitted.v1"

_AVRO = "application/avro"
# A schema registry's serializer writes a zero and the number of the schema first.
_REGISTRY_MAGIC = b"\x00"
_REGISTRY_BYTES = 5
_GRADES = ("org.openedx.learning.course.persistent_grade_summary.", "org.openedx.learning.course.passing.status.")
_GRADES_OF_CCX = "org.openedx.learning.ccx.course.passing.status."
_NOT_ABOUT_ANSWERS = "a message of another type, without an outcome"

_TEXTS = ("name", "timestamp", "data", "context")
_SCHEMA = fastavro.parse_schema(
    {
        "name": "CloudEvent",
        "type": "record",
        "namespace": TRACKING_EVENT,
        "fields": [
            {
                "name": "tracking_log",
                "type": {
                    "name": "TrackingLogData",
                    "type": "record",
                    "fields": [{"name": name, "type": "string"} for name in _TEXTS],
                },
            }
        ],
    }
)


def rows_of_message(headers: Mapping[str, bytes], value: bytes | None, source: str, number: int) -> Iterator[FileRow]:
    """The rows of a message.

    Args:
        headers: of the message.
        value: its value.
        source: the system that the events are from.
        number: its place in the partition.
    """
    kind = _text_of(headers, "ce_type")
    if not kind:
        reason = "is missing: send messages as the event bus of Open edX does, with the headers of a CloudEvent"
        yield UnreadableRow(number, (FieldReason("ce_type", reason),), None)
    elif kind != TRACKING_EVENT:
        yield LeftOutRow(number, COARSER if kind.startswith((*_GRADES, _GRADES_OF_CCX)) else _NOT_ABOUT_ANSWERS)
    elif (media_type := _text_of(headers, "content-type") or _AVRO) != _AVRO:
        reason = f"is {media_type[:80]!r}: send {_AVRO}"
        yield UnreadableRow(number, (FieldReason("content-type", reason),), None)
    else:
        yield from _tracking_rows(value or b"", source, number)


def _tracking_rows(value: bytes, source: str, number: int) -> Iterator[FileRow]:
    # The name of an event is never empty, so its length, with which the value begins otherwise, is not zero.
    body = io.BytesIO(value[_REGISTRY_BYTES:] if value.startswith(_REGISTRY_MAGIC) else value)
    try:
        message: Any = fastavro.schemaless_reader(body, _SCHEMA, None)
    except (EOFError, ValueError, IndexError, OverflowError, MemoryError) as error:
        yield _unreadable(number, f"is not the Avro of {TRACKING_EVENT} ({error!r}): check the producer's release")
        return
    if rest := body.read():
        reason = f"has {len(rest)} bytes more than {TRACKING_EVENT} has: its schema is another one; upgrade Cairn"
        yield _unreadable(number, reason)
        return
    yield from rows_of(message["tracking_log"], source, number)


def _unreadable(number: int, reason: str) -> UnreadableRow:
    return UnreadableRow(number, (FieldReason("value", reason),), None)


def _text_of(headers: Mapping[str, bytes], name: str) -> str:
    return (headers.get(name) or b"").decode(errors="replace")
