"""Reads the log and the dead letters as they are on the broker."""

from __future__ import annotations

from dataclasses import dataclass

import aiokafka
from google.protobuf.message import DecodeError

from cairn.v1 import events_pb2
from services.common.kafka.connection import KafkaConnection, read_span, topic_span
from services.common.kafka.envelope import LEARNER_EVENTS, LEARNER_EVENTS_DLT, Position


@dataclass(frozen=True)
class LogRecord:
    """A record of the log: its position, key and id. A record without an id is not an event."""

    position: Position
    key: bytes | None
    source: str
    event_id: str
    value: bytes | None


async def read_log(connection: KafkaConnection, topic: str = LEARNER_EVENTS) -> list[LogRecord]:
    """Every record of the log, with the id in its value if it is an event."""
    return [_log_record(record) for record in await read_all(connection, topic)]


async def dead_letter_origins(connection: KafkaConnection) -> dict[Position, aiokafka.ConsumerRecord]:
    """The first dead letter of each original position."""
    found: dict[Position, aiokafka.ConsumerRecord] = {}
    for record in await read_all(connection, LEARNER_EVENTS_DLT):
        headers = dict(record.headers)
        origin = Position(int(headers["cairn-dlt-partition"]), int(headers["cairn-dlt-offset"]))
        found.setdefault(origin, record)
    return found


async def read_all(connection: KafkaConnection, topic: str) -> list[aiokafka.ConsumerRecord]:
    """Every record that a topic still holds."""
    span = await topic_span(connection, topic)
    return [record async for part in read_span(connection, topic, span) for record in part.records]


def _log_record(record: aiokafka.ConsumerRecord) -> LogRecord:
    headers = dict(record.headers)
    source, event_id = headers.get("ce_source", b"").decode(), headers.get("ce_id", b"").decode()
    if not event_id:
        try:
            event = events_pb2.LearnerEvent.FromString(record.value or b"")
            source, event_id = event.source, event.event_id
        except DecodeError:
            source, event_id = "", ""
    return LogRecord(Position(record.partition, record.offset), record.key, source, event_id, record.value)
