"""The running system from outside: recommendations at two catalog sizes, and the time until an event counts."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import numpy as np
import orjson
import psutil
import yaml

from cairn.v1 import (
    catalog_pb2,
    catalog_pb2_grpc,
    ingest_pb2,
    ingest_pb2_grpc,
    recommender_pb2,
    recommender_pb2_grpc,
)
from deploy.local.stack import Component, Stack, StackOptions
from tests.benchmarks.calls import CallFigures, measure
from tests.benchmarks.echo_server import METHOD
from tests.benchmarks.rosters import RosterFigures, measure_rosters
from tests.benchmarks.synthetic import catalog, submission
from tests.benchmarks.training import train

# Number of resources in the catalog, and of their skills.
SIZES = {300: 60, 10_000: 400}
_LEARNERS = 200
_EVENTS_PER_SIZE = 8_000
_CALLS = 1_500
_PROBES = 200
_BACKGROUND_EVENTS_PER_S = 200
_BATCH = 500
_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class RecommendFigures:
    """Figures of Recommend at one catalog size, and of an echo with a reply of the same size."""

    recommend: CallFigures
    echo: CallFigures


@dataclass(frozen=True, slots=True)
class Serving:
    """Figures of the running system; those of Recommend by number of resources, `learned` with the learned ranker."""

    event_to_state_p50_ms: float
    event_to_state_p99_ms: float
    recommend: dict[str, RecommendFigures]
    rosters: RosterFigures
    rss_mb: dict[str, float]


class _Clients:
    """Stubs of the three services, with the tenant's key."""

    def __init__(self, stack: Stack, channels: dict[str, grpc.aio.Channel]) -> None:
        self.metadata = (("authorization", f"Bearer {stack.api_key}"),)
        self.catalog = catalog_pb2_grpc.CatalogServiceStub(channels["catalog"])
        self.ingest = ingest_pb2_grpc.IngestServiceStub(channels["ingest"])
        self.recommender = recommender_pb2_grpc.RecommendationServiceStub(channels["server"])

    async def publish(self, events: list[ingest_pb2.EventSubmission]) -> ingest_pb2.PublishEventsResponse:
        request = ingest_pb2.PublishEventsRequest(events=events)
        return await self.ingest.PublishEvents(request, metadata=self.metadata, timeout=_TIMEOUT_S)

    async def recommend(self, learner: int, token: str = "") -> recommender_pb2.RecommendResponse:
        request = recommender_pb2.RecommendRequest(
            learner_id=f"learner-{learner % _LEARNERS}", limit=20, freshness_token=token
        )
        return await self.recommender.Recommend(request, metadata=self.metadata, timeout=_TIMEOUT_S)

    async def import_catalog(self, resources: int, skills: int) -> None:
        known, given = catalog(resources, skills=skills)

        def pieces() -> Iterator[catalog_pb2.ImportCatalogRequest]:
            yield catalog_pb2.ImportCatalogRequest(skills=known)
            for first in range(0, len(given), _BATCH):
                yield catalog_pb2.ImportCatalogRequest(resources=given[first : first + _BATCH])

        await self.catalog.ImportCatalog(pieces(), metadata=self.metadata, timeout=_TIMEOUT_S)


def measure_serving(directory: Path) -> Serving:
    """Start everything, load a small district, and measure from outside."""
    components: dict[str, Component] = {}

    def started(component: Component) -> None:
        components[component.name] = component

    with Stack(StackOptions(directory, tenant="bench"), started) as stack:
        return asyncio.run(_measure(stack, {name: part.pid for name, part in components.items() if part.pid}))


async def _measure(stack: Stack, pids: dict[str, int]) -> Serving:
    recommend = {}
    server = psutil.Process(pids["server"])
    async with _clients(stack) as clients:
        for resources, skills in SIZES.items():
            await clients.import_catalog(resources, skills)
            token = await _load(clients, resources)
            await asyncio.to_thread(train, stack)
            reply = await _ready(clients, token, resources)
            if resources == min(SIZES):
                latencies_ms = await _event_to_state(clients, resources)
            figures = await measure(clients.recommend, server, calls=_CALLS)
            recommend[str(resources)] = RecommendFigures(figures, await _echo(reply.ByteSize()))
        bundle = await asyncio.to_thread(train, stack)
        _check_that_trees_rank(stack, bundle)
        _rank_by_learning(Path(stack.environment["CAIRN_TENANTS"]))
        reply = await _learned(clients, bundle)
        figures = await measure(clients.recommend, server, calls=_CALLS)
        recommend[f"{resources} learned"] = RecommendFigures(figures, await _echo(reply.ByteSize()))
        rosters = await measure_rosters(clients.recommender, clients.metadata)
        rss_mb = {name: psutil.Process(pid).memory_info().rss / 1e6 for name, pid in pids.items()}
    p50, p99 = np.percentile(latencies_ms, [50, 99])
    return Serving(float(p50), float(p99), recommend, rosters, rss_mb)


async def _load(clients: _Clients, resources: int) -> str:
    random = np.random.default_rng(resources)
    who = random.integers(0, _LEARNERS, _EVENTS_PER_SIZE)
    # In order from a random start, every tenth at random, so that the ranker has something to learn.
    starts = random.integers(0, resources, _LEARNERS)
    steps = np.zeros(_LEARNERS, np.int64)
    what = np.empty(_EVENTS_PER_SIZE, np.int64)
    for number, learner in enumerate(who):
        steps[learner] += 1
        astray = random.random() < 0.1
        what[number] = (
            random.integers(resources) if astray else (starts[learner] // 50 * 50 + steps[learner]) % resources
        )
    right = random.random(_EVENTS_PER_SIZE) < 0.6
    events = [
        submission(int(learner), int(resource), correct=bool(correct), event_id=f"{resources}-{number}")
        for number, (learner, resource, correct) in enumerate(zip(who, what, right, strict=True))
    ]
    token = ""
    for first in range(0, len(events), _BATCH):
        reply = await clients.publish(events[first : first + _BATCH])
        token = reply.results[-1].freshness_token
    # The last event may be of any learner; its token also covers its partition.
    return token


def _check_that_trees_rank(stack: Stack, bundle: str) -> None:
    manifest = orjson.loads(Path(stack.environment["CAIRN_BUNDLES"], bundle, "manifest.json").read_bytes())
    ranker = manifest["content"]["tenants"]["bench"]["ranker"]
    if not ranker["hyperparameters"]["share"]:
        raise RuntimeError("training produced no learned ranker from these events, so it cannot be measured")


def _rank_by_learning(tenants: Path) -> None:
    """Select the learned ranker for the tenant, from the server's next read of the file on."""
    content = yaml.safe_load(tenants.read_text())
    for tenant in content["tenants"].values():
        tenant["ranker"] = "learned"
    changed = tenants.with_name(tenants.name + ".changed")
    changed.touch(0o600)
    changed.write_text(yaml.safe_dump(content))
    changed.replace(tenants)


async def _learned(clients: _Clients, bundle: str) -> recommender_pb2.RecommendResponse:
    """Wait until the server uses a bundle."""
    give_up_at = time.monotonic() + _TIMEOUT_S
    while True:
        reply = await clients.recommend(0)
        if reply.provenance.bundle == bundle:
            return reply
        if time.monotonic() > give_up_at:
            raise TimeoutError(f"the server still uses the bundle {reply.provenance.bundle}")
        await asyncio.sleep(0.1)


async def _ready(clients: _Clients, token: str, resources: int) -> recommender_pb2.RecommendResponse:
    """Wait until the server's answers include the last event, this catalog and the new bundle."""
    give_up_at = time.monotonic() + _TIMEOUT_S
    while True:
        reply = await clients.recommend(0, token)
        if not reply.degraded and reply.provenance.catalog.resources_offset >= resources:
            return reply
        if time.monotonic() > give_up_at:
            raise TimeoutError(f"the server still answers degraded: {reply.degraded}")
        await asyncio.sleep(0.1)


async def _event_to_state(clients: _Clients, resources: int) -> list[float]:
    """Milliseconds from the reply of PublishEvents to that of Recommend with its token, under background load."""
    background = asyncio.create_task(_background(clients, resources))
    latencies_ms = []
    try:
        for number in range(_PROBES):
            event = submission(number % _LEARNERS, number % resources, correct=True, event_id=f"probe-{number}")
            published = await clients.publish([event])
            began = time.perf_counter()
            reply = await clients.recommend(number, published.results[0].freshness_token)
            latencies_ms.append((time.perf_counter() - began) * 1000)
            if recommender_pb2.DEGRADATION_STALE_STATE in reply.degraded:
                raise TimeoutError("an event was not applied within the deadline")
    finally:
        background.cancel()
        await asyncio.gather(background, return_exceptions=True)
    return latencies_ms


async def _background(clients: _Clients, resources: int) -> None:
    random = np.random.default_rng(7)
    per_request = 10
    while True:
        began = time.perf_counter()
        await clients.publish(
            [
                submission(
                    int(random.integers(_LEARNERS)),
                    int(random.integers(resources)),
                    correct=True,
                    event_id=str(uuid.uuid4()),
                )
                for _ in range(per_request)
            ]
        )
        await asyncio.sleep(max(0.0, per_request / _BACKGROUND_EVENTS_PER_S - (time.perf_counter() - began)))


async def _echo(reply_bytes: int) -> CallFigures:
    with _echo_server(reply_bytes) as (address, process):
        async with grpc.aio.insecure_channel(address) as channel:
            echo = channel.unary_unary(METHOD)

            async def call(_number: int) -> object:
                return await echo(b"x" * 64, timeout=_TIMEOUT_S)

            return await measure(call, process, calls=_CALLS)


@contextmanager
def _echo_server(reply_bytes: int) -> Iterator[tuple[str, psutil.Process]]:
    command = [sys.executable, "-m", "tests.benchmarks.echo_server", str(reply_bytes)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip(), psutil.Process(process.pid)
        finally:
            process.kill()


@asynccontextmanager
async def _clients(stack: Stack) -> AsyncIterator[_Clients]:
    channels = {name: grpc.aio.insecure_channel(stack.address(name)) for name in ("catalog", "ingest", "server")}
    try:
        yield _Clients(stack, channels)
    finally:
        for channel in channels.values():
            await channel.close()
