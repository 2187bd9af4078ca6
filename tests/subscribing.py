"""A recommender server with subscriptions, everything behind its ports in memory, and readers of it."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from cairn.v1 import recommender_pb2, recommender_pb2_grpc
from services.common.auth.api_keys import create_api_key
from services.common.auth.tenants_file import load_tenants
from services.common.kafka.envelope import LogIdentity
from services.common.resource_kinds import ResourceKind
from services.common.rpc.server import ServerOptions
from services.recommender.application.ports.epochs import EpochMeta, EpochStatus
from services.recommender.application.ports.learners import LearnerKey, PartitionProgress
from services.recommender.application.subscriptions.follow_changes import FollowOptions
from services.recommender.application.subscriptions.subscriptions import SubscriptionLimits
from services.recommender.bootstrap.server import RecommenderOptions, ServerAdapters, recommender_server
from services.recommender.domain.learner.parameters import PRIOR_PARAMETERS_ID
from services.recommender.domain.learner.record import NEW_LEARNER
from services.recommender.domain.ranking.catalog import CatalogResource, CatalogSkill
from services.recommender.domain.ranking.weights import DEFAULT_POLICY
from tests.adapters.memory_catalog import MemoryCatalog
from tests.adapters.memory_states import MemoryStates
from tests.suites.learner_states import commit, erasure

LOG = LogIdentity(bytes(range(16)), 8)
NOW = datetime(2024, 3, 5, 14, 37, 12, tzinfo=UTC)
WITHIN_S = 30.0
# Never within a test.
NEVER_S = 1e6
QUICK = FollowOptions(compare_every_s=0.02, list_every_s=0.02, spread_s=0.05, tick_s=0.01)
# Only notifications reveal a change.
NOTIFICATIONS_ONLY = FollowOptions(compare_every_s=NEVER_S, list_every_s=NEVER_S, spread_s=NEVER_S, tick_s=0.01)

SKILLS = [CatalogSkill(f"s{number}", f"Skill {number}") for number in range(1, 6)]
RESOURCES = [
    CatalogResource(f"{skill.skill_id}-{kind.name.lower()}", kind=kind, minutes=10, **{side: ((skill.skill_id, 1.0),)})
    for skill in SKILLS
    for kind, side in ((ResourceKind.LESSON, "teaches"), (ResourceKind.PRACTICE, "assesses"))
]


class NoBundles:
    """Bundles, as a test says they are."""

    def __init__(self):
        self.bundles = {}

    def latest_id(self):
        return max(self.bundles, default=None)

    def load(self, bundle_id):
        return self.bundles[bundle_id]


@dataclass
class SubscribedServer:
    """What is behind the servers of a test; `serving` starts one of them."""

    directory: object
    options: FollowOptions = QUICK
    limits: SubscriptionLimits = field(default_factory=SubscriptionLimits)
    age_s: float | None = None
    write_timeout_s: float = 10.0

    def __post_init__(self):
        self.api_key = create_api_key(self.directory / "tenants.yaml", "riverbend", "test")
        self.other_api_key = create_api_key(self.directory / "tenants.yaml", "lakeside", "test")
        self.tenants = load_tenants(self.directory / "tenants.yaml")
        self.now = NOW
        self.policies = {}
        self.offset = 0
        self.states, self.catalog, self.bundles = MemoryStates(), MemoryCatalog(), NoBundles()
        self.catalog.put("riverbend", RESOURCES, SKILLS)
        self.catalog.put("lakeside", RESOURCES, SKILLS)

    def pseudonym(self, learner_id, tenant="riverbend"):
        return self.tenants.get(tenant).pseudonym(learner_id)

    async def begin_epoch(self, epoch=1):
        await self.states.create(EpochMeta(epoch, EpochStatus.BUILT, PRIOR_PARAMETERS_ID, "", str(LOG), {}))
        await self.states.fold_store(epoch).advance({n: (None, PartitionProgress(0, 0, 0, 0)) for n in range(8)})
        await self.states.make_current(epoch)

    async def answer(self, learner_id, answers=1, *, response=0.0, epoch=1, tenant="riverbend"):
        """What the worker stores for some more answers of a learner; return the offset reached."""
        key = LearnerKey(tenant, self.pseudonym(learner_id, tenant))
        stored = self.states.learners.get(epoch, {}).get(f"{key.tenant}/{key.learner}".encode(), NEW_LEARNER)
        offsets = range(self.offset, self.offset + answers)
        self.offset += answers
        await self.states.fold_store(epoch).commit([commit(key, offsets, stored, response=response)])
        return self.offset - 1

    async def forget(self, learner_id):
        """What the worker stores for a learner who is forgotten."""
        key = LearnerKey("riverbend", self.pseudonym(learner_id))
        stored = self.states.learners[1][f"{key.tenant}/{key.learner}".encode()]
        await self.states.fold_store(1).commit([erasure(key, self.offset, stored)])
        self.offset += 1

    @asynccontextmanager
    async def serving(self, *, listen="127.0.0.1:0"):
        process = Process(self, listen)
        await process.active_models.refresh_bundle()
        await process.active_models.refresh_epoch()
        process.address = await process.server.grpc.start()
        following = asyncio.create_task(process.server.follow.run())
        try:
            yield process
        finally:
            await process.server.stop()
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)


class Process:
    """One server process of a test, with its subscriptions followed and nothing prepared ahead of requests."""

    def __init__(self, world: SubscribedServer, listen: str):
        self.world = world
        self.address = ""
        self.server = recommender_server(
            ServerAdapters(
                learners=world.states,
                epochs=world.states,
                catalog=world.catalog,
                bundles=world.bundles,
                policies=lambda tenant: world.policies.get(tenant, DEFAULT_POLICY),
                clock=lambda: world.now,
                notifications=world.states.notifications,
                tenants=world.tenants,
            ),
            RecommenderOptions(
                ServerOptions(listen, drain_s=1.0, connection_age_s=world.age_s),
                world.limits,
                world.options,
                world.write_timeout_s,
            ),
        )
        self.active_models, self.ranking = self.server.answers.active_models, self.server.answers.ranking
        self.catalogs = self.server.answers.catalogs
        self.subscriptions, self.subscribe = self.server.subscriptions, self.server.subscribe

    @asynccontextmanager
    async def reading(self, *learner_ids, api_key=None, cursors=None, options=(), **fields):
        """A reader of a subscription."""
        request = recommender_pb2.SubscribeRequest(learner_ids=learner_ids, **fields)
        for learner_id, cursor in (cursors or {}).items():
            request.cursors.add(learner_id=learner_id, cursor=cursor)
        async with grpc.aio.insecure_channel(self.address, options=options) as channel:
            stub = recommender_pb2_grpc.RecommendationServiceStub(channel)
            reader = Reader(stub.Subscribe(request, metadata=bearer(api_key or self.world.api_key)))
            try:
                yield reader
            finally:
                reader.call.cancel()


class Reader:
    """Reads one stream."""

    def __init__(self, call):
        self.call = call
        self.cursors = {}

    async def next(self):
        """The next message; the end of the stream raises its status."""
        async with asyncio.timeout(WITHIN_S):
            message = await self.call.read()
        if message is grpc.aio.EOF:
            raise grpc.aio.AioRpcError(
                await self.call.code(),
                await self.call.initial_metadata(),
                await self.call.trailing_metadata(),
                await self.call.details(),
            )
        if message.HasField("update"):
            self.cursors[message.update.learner_id] = message.update.cursor
        return message

    async def update(self):
        message = await self.next()
        assert message.HasField("update"), message
        return message.update

    async def snapshot(self):
        """Updates up to the end of the snapshot, by learner, and the number of learners it names."""
        updates = {}
        while (message := await self.next()).HasField("update"):
            assert message.update.learner_id not in updates
            updates[message.update.learner_id] = message.update
        return updates, message.snapshot_complete.learners

    async def refusal(self):
        """The status of a stream that ends before it says anything."""
        error, messages = await self.end()
        assert not messages
        return error

    async def end(self):
        """Read to the end; return the status it ends with and what came before."""
        messages = []
        while True:
            try:
                messages.append(await self.next())
            except grpc.aio.AioRpcError as error:
                return error, messages


def reason_of(error):
    """The reason in a status's details."""
    for detail in rpc_status.from_call(error).details:
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info):
            return info.reason
    return None


def bearer(api_key):
    return (("authorization", f"Bearer {api_key}"),)


def listed(update):
    """What matters in an update."""
    return [
        (each.resource_id, each.step, frozenset(reason.kind for reason in each.reasons))
        for each in update.recommendations
    ]


async def until(condition):
    """Return once a condition holds."""
    async with asyncio.timeout(WITHIN_S):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event.
            await asyncio.sleep(0.005)
