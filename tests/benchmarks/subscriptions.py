"""Subscriptions of a running system from outside: latency, cost of many watched learners, readers that leave.

To run only this: `python -m tests.benchmarks.subscriptions`.
"""

from __future__ import annotations

import asyncio
import itertools
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import grpc
import numpy as np
import orjson
import psutil

from cairn.v1 import (
    catalog_pb2,
    catalog_pb2_grpc,
    ingest_pb2,
    ingest_pb2_grpc,
    recommender_pb2,
    recommender_pb2_grpc,
)
from deploy.local.stack import Component, Stack, StackOptions
from tests.benchmarks.synthetic import catalog, submission
from tests.benchmarks.training import train

STREAMS = 20
LEARNERS = 5_000
RESOURCES = 10_000
EVENTS_PER_S = 200
_SKILLS = 400
_PER_STREAM = LEARNERS // STREAMS
_EVENTS_EACH_BEFORE = 4
_BATCH = 500
_PER_REQUEST = 4
_LATENCY_S = 20.0
_RERANK_S = 12.0
_LEAVING_S = 60.0
_LEAVING_LEARNERS = 100
_TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True)
class SubscriptionFigures:
    """Figures of one run.

    Attributes:
        snapshot_s: until 20 streams had a list for each of 5,000 learners.
        cpu_ms_per_list: the server's CPU time for each of those lists.
        event_to_update_p50_ms: from sending PublishEvents to receiving the list that includes the event, median.
        event_to_update_p99_ms: the same, 99th percentile.
        events: events sent meanwhile, at 200 a second.
        updates: lists that followed; an event that changes no list sends none.
        server_rss_mb: memory of the server with all of them watched.
        recommend_p50_ms: Recommend while a new bundle recomputes all 5,000 lists, median.
        recommend_p99_ms: the same, 99th percentile.
        left: readers that connected and left in turn within a minute.
        leaving_growth_mb: growth of the server's memory over the last two thirds of that minute.
    """

    snapshot_s: float
    cpu_ms_per_list: float
    event_to_update_p50_ms: float
    event_to_update_p99_ms: float
    events: int
    updates: int
    server_rss_mb: float
    recommend_p50_ms: float
    recommend_p99_ms: float
    left: int
    leaving_growth_mb: float


@dataclass(slots=True)
class _Seen:
    """What the readers received."""

    complete: int = 0
    lists: int = 0
    # Time of arrival by (partition, offset) of the event that a list includes.
    had_at: dict[tuple[int, int], float] = field(default_factory=dict)


class _Clients:
    def __init__(self, stack: Stack, channels: dict[str, grpc.aio.Channel]) -> None:
        self.metadata = (("authorization", f"Bearer {stack.api_key}"),)
        self.catalog = catalog_pb2_grpc.CatalogServiceStub(channels["catalog"])
        self.ingest = ingest_pb2_grpc.IngestServiceStub(channels["ingest"])
        self.recommender = recommender_pb2_grpc.RecommendationServiceStub(channels["server"])

    async def publish(self, events: list[ingest_pb2.EventSubmission]) -> ingest_pb2.PublishEventsResponse:
        request = ingest_pb2.PublishEventsRequest(events=events)
        return await self.ingest.PublishEvents(request, metadata=self.metadata, timeout=_TIMEOUT_S)

    async def recommend(self, learner: int, token: str = "") -> recommender_pb2.RecommendResponse:
        request = recommender_pb2.RecommendRequest(learner_id=f"learner-{learner}", limit=10, freshness_token=token)
        return await self.recommender.Recommend(request, metadata=self.metadata, timeout=_TIMEOUT_S)

    async def import_catalog(self) -> None:
        known, given = catalog(RESOURCES, skills=_SKILLS)

        def pieces() -> Iterator[catalog_pb2.ImportCatalogRequest]:
            yield catalog_pb2.ImportCatalogRequest(skills=known)
            for first in range(0, len(given), _BATCH):
                yield catalog_pb2.ImportCatalogRequest(resources=given[first : first + _BATCH])

        await self.catalog.ImportCatalog(pieces(), metadata=self.metadata, timeout=_TIMEOUT_S)

    async def read(self, first: int, count: int, seen: _Seen) -> None:
        """Read a stream until cancelled."""
        request = recommender_pb2.SubscribeRequest(learner_ids=[f"learner-{first + n}" for n in range(count)])
        async for message in self.recommender.Subscribe(request, metadata=self.metadata):
            if message.HasField("snapshot_complete"):
                seen.complete += 1
            else:
                applied = message.update.provenance.applied
                seen.lists += 1
                seen.had_at.setdefault((applied.partition, applied.offset), time.perf_counter())


def measure_subscriptions(directory: Path) -> SubscriptionFigures:
    """Start everything, load a district, and measure from outside."""
    components: dict[str, Component] = {}

    def started(component: Component) -> None:
        components[component.name] = component

    with Stack(StackOptions(directory, tenant="bench"), started) as stack:
        pid = components["server"].pid
        assert pid is not None
        return asyncio.run(_measure(stack, psutil.Process(pid)))


async def _measure(stack: Stack, server: psutil.Process) -> SubscriptionFigures:
    async with _clients(stack) as clients:
        await clients.import_catalog()
        token = await _load(clients)
        await asyncio.to_thread(train, stack)
        await _ready(clients, token)
        seen, began_s, cpu_before_s = _Seen(), time.perf_counter(), _cpu_s(server)
        readers = [
            asyncio.create_task(clients.read(number * _PER_STREAM, _PER_STREAM, seen)) for number in range(STREAMS)
        ]
        await _until(lambda: seen.complete == STREAMS)
        snapshot_s, snapshot_cpu_s = time.perf_counter() - began_s, _cpu_s(server) - cpu_before_s
        lists_before = seen.lists
        sent_at = await _publish_steadily(clients)
        latencies_ms = [
            (had_at - sent_at[position]) * 1000 for position, had_at in seen.had_at.items() if position in sent_at
        ]
        updates = seen.lists - lists_before
        recommend_ms = await _while_lists_are_recomputed(stack, clients)
        rss_mb = server.memory_info().rss / 1e6
        for reader in readers:
            reader.cancel()
        await asyncio.gather(*readers, return_exceptions=True)
        left, growth_mb = await _come_and_go(clients, server)
    p50, p99 = np.percentile(latencies_ms, [50, 99])
    recommend_p50, recommend_p99 = np.percentile(recommend_ms, [50, 99])
    return SubscriptionFigures(
        snapshot_s,
        snapshot_cpu_s / LEARNERS * 1000,
        float(p50),
        float(p99),
        len(sent_at),
        updates,
        rss_mb,
        float(recommend_p50),
        float(recommend_p99),
        left,
        growth_mb,
    )


async def _load(clients: _Clients) -> str:
    random = np.random.default_rng(3)
    events = [
        submission(
            number % LEARNERS, int(random.integers(RESOURCES)), correct=random.random() < 0.6, event_id=f"load-{number}"
        )
        for number in range(LEARNERS * _EVENTS_EACH_BEFORE)
    ]
    token = ""
    for first in range(0, len(events), _BATCH):
        token = (await clients.publish(events[first : first + _BATCH])).results[-1].freshness_token
    return token


async def _ready(clients: _Clients, token: str) -> None:
    give_up_at_s = time.monotonic() + _TIMEOUT_S
    while True:
        reply = await clients.recommend(LEARNERS - 1, token)
        if not reply.degraded and reply.provenance.catalog.resources_offset >= RESOURCES:
            return
        if time.monotonic() > give_up_at_s:
            raise TimeoutError(f"the server still answers degraded: {reply.degraded}")
        await asyncio.sleep(0.1)


async def _publish_steadily(clients: _Clients) -> dict[tuple[int, int], float]:
    """Send events at a steady rate; return the time each was sent, by position."""
    random = np.random.default_rng(5)
    sent_at: dict[tuple[int, int], float] = {}
    numbers = itertools.count()
    running: set[asyncio.Task[None]] = set()

    async def send() -> None:
        events = [
            submission(
                int(random.integers(LEARNERS)),
                int(random.integers(RESOURCES)),
                correct=random.random() < 0.6,
                event_id=f"live-{next(numbers)}",
            )
            for _ in range(_PER_REQUEST)
        ]
        began_s = time.perf_counter()
        for result in (await clients.publish(events)).results:
            sent_at[result.position.partition, result.position.offset] = began_s

    began_s = time.perf_counter()
    for number in range(int(_LATENCY_S * EVENTS_PER_S / _PER_REQUEST)):
        # A slow answer does not delay the next event: the load stays the same when the system is slow.
        await asyncio.sleep(max(0.0, began_s + number * _PER_REQUEST / EVENTS_PER_S - time.perf_counter()))
        task = asyncio.create_task(send())
        running.add(task)
        task.add_done_callback(running.discard)
    await asyncio.gather(*running)
    await asyncio.sleep(1.0)
    return sent_at


async def _while_lists_are_recomputed(stack: Stack, clients: _Clients) -> list[float]:
    """Milliseconds of sequential Recommend calls after a new bundle that recomputes every list."""
    bundle = (await clients.recommend(0)).provenance.bundle
    await asyncio.to_thread(train, stack)
    give_up_at_s = time.monotonic() + _TIMEOUT_S
    while (await clients.recommend(0)).provenance.bundle == bundle:
        if time.monotonic() > give_up_at_s:
            raise TimeoutError("the server did not load the bundle")
        await asyncio.sleep(0.05)
    times_ms = []
    ends_at_s = time.perf_counter() + _RERANK_S
    for number in itertools.count():
        began_s = time.perf_counter()
        if began_s > ends_at_s:
            return times_ms
        await clients.recommend(number % LEARNERS)
        times_ms.append((time.perf_counter() - began_s) * 1000)
        await asyncio.sleep(0.005)
    raise AssertionError("numbers ended")


async def _come_and_go(clients: _Clients, server: psutil.Process) -> tuple[int, float]:
    """Let readers read a little and leave; return their number and the server's memory growth after warm-up."""
    left, before_mb = 0, 0.0
    began_s = time.perf_counter()
    while (passed_s := time.perf_counter() - began_s) < _LEAVING_S:
        if not before_mb and passed_s > _LEAVING_S / 3:
            before_mb = server.memory_info().rss / 1e6
        learner_ids = [f"learner-{(left * 37 + number) % LEARNERS}" for number in range(_LEAVING_LEARNERS)]
        request = recommender_pb2.SubscribeRequest(learner_ids=learner_ids)
        call = clients.recommender.Subscribe(request, metadata=clients.metadata)
        for _ in range(left % (_LEAVING_LEARNERS + 2)):
            await call.read()
        call.cancel()
        left += 1
        # This many may be open at once; abandoned ones close soon.
        await asyncio.sleep(0.01)
    return left, server.memory_info().rss / 1e6 - before_mb


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


async def _until(condition: Callable[[], bool]) -> None:
    give_up_at_s = time.monotonic() + _TIMEOUT_S
    while not condition():
        if time.monotonic() > give_up_at_s:
            raise TimeoutError("the streams were not up to date in time")
        await asyncio.sleep(0.01)


@asynccontextmanager
async def _clients(stack: Stack) -> AsyncIterator[_Clients]:
    channels = {name: grpc.aio.insecure_channel(stack.address(name)) for name in ("catalog", "ingest", "server")}
    try:
        yield _Clients(stack, channels)
    finally:
        for channel in channels.values():
            await channel.close()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="cairn-bench-") as folder:
        print(orjson.dumps(asdict(measure_subscriptions(Path(folder))), option=orjson.OPT_INDENT_2).decode())
