"""What is stored about learners, by how many events they have, and how fast an epoch is saved and restored."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc
import numpy as np
import psutil
import redis
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from cairn.v1 import ingest_pb2, ingest_pb2_grpc
from deploy.local.stack import SERVICES, Component, Stack, StackOptions
from services.common.auth.tenants_file import load_tenants
from services.common.kafka.connection import read_span, topic_end_offsets, topic_span
from services.common.kafka.envelope import LEARNER_EVENTS, LEARNER_KEYS, record_key
from services.recommender.adapters.files.epoch_file import EpochFile, EpochFileWriter
from services.recommender.adapters.kafka.log import KafkaLog
from services.recommender.adapters.redis.keys import learner_keys
from services.recommender.application.state.snapshots import restore_epoch, snapshot_epoch
from services.recommender.bootstrap.epochs import stored_epochs
from services.recommender.bootstrap.stores import bundle_store
from tests.benchmarks.calls import measure
from tests.benchmarks.synthetic import START

# Learners by how many events each has; the last have more than the window of seen events and ingest's memory hold.
LEARNERS = {10: 2_000, 100: 300, 1_000: 30, 5_000: 6}
# As many as the budget of a state is stated for (docs/performance.md).
_SKILLS = 50
_BATCH = 500
_SINGLES = 100
_CALLS = 1_000
_TIMEOUT_S = 120.0
_POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class SizeFigures:
    """Figures of encrypted events, as `cairn keys create` sets tenants up.

    Attributes:
        log_bytes_per_event: key, value and headers in a record batch of its own, uncompressed: the most Kafka stores.
        key_bytes_per_learner: the same of the learner's data key.
        redis_state_bytes: of a learner in an epoch, by the learner's number of events; median.
        redis_recent_bytes: of the learner's last events, which ingest compares repeats with; median. It doubles as it
            grows, and is halved when the oldest are removed.
        redis_state_bytes_in_all: of all learners of the epoch.
        snapshot_bytes: of the file of an epoch.
        snapshot_cpu_s_per_gb: CPU time to write a gigabyte of that file, that of Redis included.
        restore_cpu_s_per_gb: CPU time to restore it, that of Redis and of the comparison with the file included.
        publish_cpu_ms_per_call: ingest's CPU time for a PublishEvents call with one event.
    """

    log_bytes_per_event: float
    key_bytes_per_learner: float
    redis_state_bytes: dict[str, int]
    redis_recent_bytes: dict[str, int]
    redis_state_bytes_in_all: int
    snapshot_bytes: int
    snapshot_cpu_s_per_gb: float
    restore_cpu_s_per_gb: float
    publish_cpu_ms_per_call: float


def measure_sizes(directory: Path) -> SizeFigures:
    """Send events through ingest and a worker, then weigh what they left behind."""
    services = [service for service in SERVICES if service.name in {"ingest", "worker"}]
    started: list[Component] = []
    with Stack(StackOptions(directory, services=services), started.append) as stack:
        pids = {component.name: component.pid for component in started}
        return asyncio.run(_measure(stack, psutil.Process(pids["ingest"]), psutil.Process(pids["redis"])))


async def _measure(stack: Stack, ingest: psutil.Process, redis_process: psutil.Process) -> SizeFigures:
    async with grpc.aio.insecure_channel(stack.environment["CAIRN_TARGET_INGEST"]) as channel:
        stub = ingest_pb2_grpc.IngestServiceStub(channel)
        metadata = (("authorization", f"Bearer {stack.api_key}"),)
        await _send(stub, metadata, list(_events()))
        publish_ms = await _publish_cpu_ms(stub, metadata, ingest)
    ends = await topic_end_offsets(stack.kafka, LEARNER_EVENTS)
    async with asyncio.timeout(_TIMEOUT_S), stored_epochs(stack.redis) as epochs:
        while {p: each.position for p, each in (await epochs.progress(1)).items()} != ends:  # noqa: ASYNC110 - Redis does not tell.
            await asyncio.sleep(_POLL_S)
    states, recent, in_all = _redis_bytes(stack)
    saved_bytes, save_s, restore_s = await _save_and_restore(stack, redis_process)
    return SizeFigures(
        log_bytes_per_event=await _record_bytes(stack, LEARNER_EVENTS),
        key_bytes_per_learner=await _record_bytes(stack, LEARNER_KEYS),
        redis_state_bytes=states,
        redis_recent_bytes=recent,
        redis_state_bytes_in_all=in_all,
        snapshot_bytes=saved_bytes,
        snapshot_cpu_s_per_gb=save_s / saved_bytes * 1e9,
        restore_cpu_s_per_gb=restore_s / saved_bytes * 1e9,
        publish_cpu_ms_per_call=publish_ms,
    )


def _events() -> Iterator[ingest_pb2.EventSubmission]:
    """Each learner answers items of fifty skills, one or two skills an item, with ids of typical length."""
    random = np.random.default_rng(1)
    for events, learners in LEARNERS.items():
        for learner, number in ((learner, number) for number in range(events) for learner in range(learners)):
            item, response = int(random.integers(2_000)), float(random.random() < 0.65)
            yield _event(f"{events}-{learner}", number, item, correct=bool(response))


def _event(learner: str, number: int, item: int, *, correct: bool) -> ingest_pb2.EventSubmission:
    skills = {f"CCSS.Math.{3 + skill % 6}.NBT.{skill}" for skill in (item % _SKILLS, item * (1 + item % 2) % _SKILLS)}
    event = ingest_pb2.EventSubmission(
        event_id=f"00000000-0000-5000-8000-{number:012d}",
        learner_id=f"learner-{learner}",
        source="gradebook",
        assessment=ingest_pb2.AssessmentSubmission(
            item=f"unit-{item // 40:02d}/quiz-{item // 10:03d}/q{item % 10}",
            activity=f"unit-{item // 40:02d}/quiz-{item // 10:03d}",
            skills=sorted(skills),
            correct=correct,
            attempt=1,
            duration_ms=20_000,
        ),
    )
    event.occurred_at.FromDatetime(START)
    event.occurred_at.seconds += 60 * number
    return event


async def _send(
    stub: ingest_pb2_grpc.IngestServiceAsyncStub,
    metadata: tuple[tuple[str, str], ...],
    events: Sequence[ingest_pb2.EventSubmission],
) -> None:
    requests = [
        ingest_pb2.StreamEventsRequest(batch=first // _BATCH, events=events[first : first + _BATCH])
        for first in range(0, len(events), _BATCH)
    ]
    confirmed = 0
    async for reply in stub.StreamEvents(iter(requests), metadata=metadata, timeout=_TIMEOUT_S):
        confirmed += sum(result.HasField("position") for result in reply.results)
    if confirmed != len(events):
        raise AssertionError(f"{len(events) - confirmed} events of a stream were not accepted")


async def _publish_cpu_ms(
    stub: ingest_pb2_grpc.IngestServiceAsyncStub, metadata: tuple[tuple[str, str], ...], ingest: psutil.Process
) -> float:
    async def publish(number: int) -> object:
        event = _event(f"single-{number % _SINGLES}", number, number, correct=True)
        request = ingest_pb2.PublishEventsRequest(events=[event])
        return await stub.PublishEvents(request, metadata=metadata, timeout=_TIMEOUT_S)

    # The calls that are timed one by one, before those that are counted, give these learners their keys.
    return (await measure(publish, ingest, calls=_CALLS)).server_cpu_ms_per_call


def _redis_bytes(stack: Stack) -> tuple[dict[str, int], dict[str, int], int]:
    """Medians by number of events, of what an epoch holds of a learner and of what ingest does; the epoch's sum."""
    tenant = load_tenants(Path(stack.environment["CAIRN_TENANTS"])).get(stack.tenant)
    state: dict[str, int] = {}
    recent: dict[str, int] = {}
    with redis.Redis.from_url(stack.redis) as client:
        (log,) = {key.split(b":")[2] for key in client.scan_iter("cairn:ingest:*", count=1_000)}
        for events, learners in LEARNERS.items():
            held: list[int] = []
            remembered: list[int] = []
            for learner in range(learners):
                key = record_key(tenant.name, tenant.pseudonym(f"learner-{events}-{learner}"))
                held.append(sum(_bytes_of(client, name) for name in learner_keys(1, key)))
                remembered.append(_bytes_of(client, b"cairn:ingest:%b:%b" % (log, key)))
            state[str(events)], recent[str(events)] = int(np.median(held)), int(np.median(remembered))
        in_all = sum(_bytes_of(client, name) for name in client.scan_iter("cairn:1:{*", count=1_000))
    return state, recent, in_all


def _bytes_of(client: redis.Redis, key: bytes) -> int:
    return int(client.memory_usage(key, samples=0) or 0)


async def _save_and_restore(stack: Stack, redis_process: psutil.Process) -> tuple[int, float, float]:
    """Bytes of the file, and the seconds of CPU time for each."""

    def spent_s() -> float:
        return time.process_time() + _cpu_s(redis_process)

    file = stack.directory / "epoch.snapshot"
    async with stored_epochs(stack.redis) as epochs:
        began_s = spent_s()
        with EpochFileWriter(file) as sink:
            await snapshot_epoch(epochs, 1, sink)
        saved_s = spent_s() - began_s
        began_s = spent_s()
        bundles = bundle_store(stack.environment["CAIRN_BUNDLES"])
        await restore_epoch(epochs, KafkaLog(stack.kafka), bundles, EpochFile(file), 2)
        return file.stat().st_size, saved_s, spent_s() - began_s


async def _record_bytes(stack: Stack, topic: str) -> float:
    """The mean over a topic's records, each in a batch of its own."""
    span = await topic_span(stack.kafka, topic)
    sizes = [
        DefaultRecordBatchBuilder.estimate_size_in_bytes(record.key, record.value, list(record.headers))
        async for part in read_span(stack.kafka, topic, span)
        for record in part.records
    ]
    return float(np.mean(sizes))


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system
