"""Records of the log in the form that ingest writes, and a way to write them to a broker."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime

import aiokafka

from cairn.v1 import events_pb2
from services.common.kafka.connection import KafkaConnection
from services.common.kafka.envelope import LEARNER_EVENTS, cloud_event_headers, record_key
from services.common.kafka.partitioner import partition_of

PARTITIONS = 4
TENANT = "riverbend"
WHEN = datetime(2026, 9, 1, 8, tzinfo=UTC)


def pseudonym(learner: object) -> str:
    """A pseudonym of 26 base32 characters for any name."""
    return base64.b32encode(hashlib.sha256(str(learner).encode()).digest()).decode()[:26]


@dataclass
class Record:
    """One record to write."""

    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]] = field(default_factory=list)
    partition: int | None = None

    @property
    def right_partition(self) -> int:
        return partition_of(self.key or b"", PARTITIONS) if self.partition is None else self.partition


def message(
    number: int, learner: object = "ada", *, tenant: str = TENANT, **assessment: object
) -> events_pb2.LearnerEvent:
    """The event with a number, which also determines its id."""
    body: dict[str, object] = {
        "item": f"item-{number % 97}",
        "skills": [f"skill-{number % 7}"],
        "skills_from": events_pb2.SKILLS_FROM_EVENT,
        "correct": number % 3 > 0,
        "response": float(number % 3 > 0),
        "grain": events_pb2.GRAIN_ITEM,
    } | assessment
    event = events_pb2.LearnerEvent(
        event_id=f"event-{number}",
        tenant=tenant,
        learner=pseudonym(learner),
        source="tests",
        assessment=events_pb2.AssessmentEvent(**body),
    )
    event.occurred_at.FromDatetime(WHEN)
    event.received_at.FromDatetime(WHEN)
    return event


def record(event: events_pb2.LearnerEvent, **changes: object) -> Record:
    """The event as ingest writes it, except for the changes."""
    headers = cloud_event_headers(
        event_id=event.event_id, source=event.source, event_type="cairn.v1.AssessmentEvent", time=WHEN
    )
    made = Record(record_key(event.tenant, event.learner), event.SerializeToString(), headers)
    for name, value in changes.items():
        setattr(made, name, value)
    return made


async def publish(connection: KafkaConnection, records: Iterable[Record], topic: str = LEARNER_EVENTS) -> int:
    """Write records, each to the partition of its key unless it names another; return their number."""
    producer = aiokafka.AIOKafkaProducer(bootstrap_servers=connection.bootstrap_servers, linger_ms=5)
    await producer.start()
    try:
        sent = [
            await producer.send(topic, one.value, one.key, partition=one.right_partition, headers=one.headers)
            for one in records
        ]
        for confirmation in sent:
            await confirmation
        return len(sent)
    finally:
        await producer.stop()
