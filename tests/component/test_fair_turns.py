"""A tenant that floods a recommender server delays the calls of another tenant by little.

What a call waits for is counted in lists that the server ranks meanwhile. Times would also say how busy the machine is.
"""

from __future__ import annotations

import asyncio
import statistics
from contextlib import asynccontextmanager

import grpc

from cairn.v1 import recommender_pb2, recommender_pb2_grpc
from services.common.resource_kinds import ResourceKind
from services.common.turns import Turns
from services.recommender.application.answers.fresh_state import FreshStates
from services.recommender.domain.ranking.catalog import CatalogResource, CatalogSkill
from tests.subscribing import SubscribedServer, bearer

CALLERS = 20
ROSTER = [f"learner-{number}" for number in range(150)]
CALLS = 31

SKILLS = [CatalogSkill(f"s{number}", f"Skill {number}") for number in range(60)]
RESOURCES = [
    CatalogResource(f"r{number}", kind=ResourceKind.LESSON, minutes=10, teaches=((f"s{number % 60}", 1.0),))
    for number in range(360)
]


@asynccontextmanager
async def connected(address):
    async with grpc.aio.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        yield recommender_pb2_grpc.RecommendationServiceStub(channel)


class Ranked:
    """Counts the lists that a server ranks."""

    def __init__(self, process):
        self.lists = 0
        self._rank = process.ranking.rank
        process.ranking.rank = self._counted

    def _counted(self, *arguments, **options):
        self.lists += 1
        return self._rank(*arguments, **options)


async def median_lists(stub, api_key, ranked):
    """How many lists the server ranks from a call to its answer, that of the call included."""
    counts = []
    for _ in range(CALLS):
        before = ranked.lists
        await stub.Recommend(recommender_pb2.RecommendRequest(learner_id="x"), metadata=bearer(api_key), timeout=60)
        counts.append(ranked.lists - before)
    return statistics.median(counts)


async def test_a_flood_of_batches_delays_another_tenants_list_by_the_one_that_is_being_ranked(tmp_path, monkeypatch):
    world = SubscribedServer(tmp_path)
    await world.begin_epoch()
    for tenant in ("riverbend", "lakeside"):
        world.catalog.put(tenant, RESOURCES, SKILLS)
    for learner in ROSTER:
        await world.answer(learner, 2)

    async def flood(address):
        async with connected(address) as stub:
            request = recommender_pb2.RecommendBatchRequest(learner_ids=ROSTER)
            while True:
                await stub.RecommendBatch(request, metadata=bearer(world.api_key), timeout=120)

    waited, during_reads = [], []
    take_turn, read_state = Turns.of, FreshStates.read

    async def read_slowly(states, key, *arguments):
        before = ranked.lists
        for _ in range(100):
            await asyncio.sleep(0)
        during_reads.append(ranked.lists - before)
        return await read_state(states, key, *arguments)

    @asynccontextmanager
    async def counted(turns, tenant):
        before = ranked.lists
        async with take_turn(turns, tenant):
            if tenant == "lakeside":
                waited.append(ranked.lists - before)
            yield

    monkeypatch.setattr(Turns, "of", counted)
    monkeypatch.setattr(FreshStates, "read", read_slowly)
    async with world.serving() as process, connected(process.address) as stub:
        ranked = Ranked(process)
        assert await median_lists(stub, world.other_api_key, ranked) == 1
        floods = [asyncio.create_task(flood(process.address)) for _ in range(CALLERS)]
        # Until every caller's batch is being answered.
        await median_lists(stub, world.other_api_key, ranked)
        waited.clear()
        during_reads.clear()
        during = await median_lists(stub, world.other_api_key, ranked)
        # None was refused, and none is done with its first 150 lists before the others.
        assert [task.exception() for task in floods if task.done()] == []
        for task in floods:
            task.cancel()
        await asyncio.gather(*floods, return_exceptions=True)

    assert len(waited) == CALLS
    assert max(waited) <= 1
    # A list that began before the call came may be among them; without giving way, there would be many.
    assert statistics.median(during_reads) == 0
    # The others are ranked while threads of gRPC carry the call and its answer. Without rounds for them, hundreds are.
    assert during < len(ROSTER) / 10
