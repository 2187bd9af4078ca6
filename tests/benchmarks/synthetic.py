"""Events and catalogs of any size, generated from a seed, for benchmarks only."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import aiokafka
import numpy as np

from cairn.v1 import catalog_pb2, events_pb2, ingest_pb2
from services.common.kafka.connection import KafkaConnection
from services.common.kafka.envelope import LEARNER_EVENTS, cloud_event_headers, record_key
from services.common.kafka.partitioner import partition_of

TENANT = "bench"
START = datetime(2026, 9, 1, 8, tzinfo=UTC)
_BATCH_BYTES = 900_000


def learner_key(number: int) -> str:
    """A pseudonym: 26 base32 characters."""
    digits = np.base_repr(number, 32).rjust(26, "0")
    return digits.translate(str.maketrans("0123456789ABCDEFGHIJKLMNOPQRSTUV", "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"))


def log_events(events: int, learners: int, *, skills: int, items: int, seed: int) -> Iterator[events_pb2.LearnerEvent]:
    """Events as ingest writes them: item responses with one or two skills, learners interleaved."""
    random = np.random.default_rng(seed)
    who = random.integers(0, learners, events)
    what = random.integers(0, items, events)
    correct = random.random(events) < 0.65
    received = START
    for number in range(events):
        item = int(what[number])
        event = events_pb2.LearnerEvent(
            event_id=f"00000000-0000-5000-8000-{number:012d}",
            tenant=TENANT,
            learner=learner_key(int(who[number])),
            source="bench",
            assessment=events_pb2.AssessmentEvent(
                item=f"item-{item}",
                activity=f"quiz-{item // 10}",
                skills=[f"skill-{item % skills:03d}"] + ([f"skill-{(item * 7) % skills:03d}"] if item % 4 == 0 else []),
                skills_from=events_pb2.SKILLS_FROM_CATALOG,
                correct=bool(correct[number]),
                response=float(correct[number]),
                attempt=1,
                grain=events_pb2.GRAIN_ITEM,
            ),
        )
        if event.assessment.skills[1:] == event.assessment.skills[:1]:
            del event.assessment.skills[1:]
        event.occurred_at.FromDatetime(received + timedelta(seconds=number))
        event.received_at.FromDatetime(received + timedelta(seconds=number))
        yield event


def fifty_skills() -> Iterator[events_pb2.LearnerEvent]:
    """One learner's responses to fifty skills with names of typical length, without catalog resources."""
    for number in range(50):
        event = events_pb2.LearnerEvent(
            event_id=f"00000000-0000-5000-9000-{number:012d}",
            tenant=TENANT,
            learner=learner_key(10_000_000),
            source="bench",
            assessment=events_pb2.AssessmentEvent(
                item=f"item-{number}",
                skills=[f"CCSS.Math.{3 + number % 6}.NBT.{number}"],
                skills_from=events_pb2.SKILLS_FROM_EVENT,
                correct=True,
                response=1.0,
                grain=events_pb2.GRAIN_ITEM,
            ),
        )
        event.received_at.FromDatetime(START)
        yield event


async def preload(connection: KafkaConnection, events: Iterator[events_pb2.LearnerEvent], partitions: int) -> int:
    """Write events to the log in full batches, faster than any service; return their number."""
    by_partition: dict[int, list[tuple[bytes, bytes, list[tuple[str, bytes]]]]] = {n: [] for n in range(partitions)}
    count = 0
    for event in events:
        key = record_key(event.tenant, event.learner)
        headers = cloud_event_headers(
            event_id=event.event_id,
            source=event.source,
            event_type="cairn.v1.AssessmentEvent",
            time=event.received_at.ToDatetime(UTC),
        )
        by_partition[partition_of(key, partitions)].append((key, event.SerializeToString(deterministic=True), headers))
        count += 1
    producer = aiokafka.AIOKafkaProducer(bootstrap_servers=connection.bootstrap_servers, max_batch_size=_BATCH_BYTES)
    await producer.start()
    try:
        for partition, records in by_partition.items():
            batch = producer.create_batch()
            for key, value, headers in records:
                if batch.append(key=key, value=value, timestamp=None, headers=headers) is None:
                    await producer.send_batch(batch, LEARNER_EVENTS, partition=partition)
                    batch = producer.create_batch()
                    batch.append(key=key, value=value, timestamp=None, headers=headers)
            if batch.record_count():
                await producer.send_batch(batch, LEARNER_EVENTS, partition=partition)
        await producer.flush()
    finally:
        await producer.stop()
    return count


def catalog(resources: int, *, skills: int) -> tuple[list[catalog_pb2.Skill], list[catalog_pb2.Resource]]:
    """A catalog: skills in chains of five, resources of every kind spread over them."""
    kinds = [
        catalog_pb2.RESOURCE_KIND_LESSON,
        catalog_pb2.RESOURCE_KIND_VIDEO,
        catalog_pb2.RESOURCE_KIND_PRACTICE,
        catalog_pb2.RESOURCE_KIND_PRACTICE,
        catalog_pb2.RESOURCE_KIND_ASSESSMENT,
    ]
    known = [
        catalog_pb2.Skill(
            id=f"skill-{number:03d}",
            framework="bench",
            code=f"B.{number}",
            statement=f"Skill {number}",
            prerequisites=[f"skill-{number - 1:03d}"] if number % 5 else [],
        )
        for number in range(skills)
    ]
    given = []
    for number in range(resources):
        kind = kinds[number % len(kinds)]
        tags = [catalog_pb2.SkillTag(skill=f"skill-{(number * 13) % skills:03d}", weight=1.0)]
        teaches = kind in (catalog_pb2.RESOURCE_KIND_LESSON, catalog_pb2.RESOURCE_KIND_VIDEO)
        given.append(
            catalog_pb2.Resource(
                id=f"r-{number:05d}",
                title=f"Resource {number}",
                provider=f"Provider {number % 17}",
                url=f"https://resources.example.org/{number}",
                kind=kind,
                teaches=tags if teaches else [],
                assesses=[] if teaches else tags,
                grades=[str(3 + number % 6)],
                language="en",
                minutes=5 + number % 40,
                license="CC-BY-4.0",
                status=catalog_pb2.RESOURCE_STATUS_ACTIVE,
            )
        )
    return known, given


def submission(learner: int, resource: int, *, correct: bool, event_id: str) -> ingest_pb2.EventSubmission:
    """A platform's response event on a resource of `catalog`."""
    event = ingest_pb2.EventSubmission(
        event_id=event_id,
        learner_id=f"learner-{learner}",
        source="bench",
        assessment=ingest_pb2.AssessmentSubmission(item=f"r-{resource:05d}", correct=correct),
    )
    event.occurred_at.FromDatetime(START)
    return event
