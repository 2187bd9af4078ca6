"""The recommender server over real gRPC, with everything behind its ports in memory."""

from __future__ import annotations

import asyncio
import dataclasses
from datetime import UTC, datetime
from functools import partial
from operator import attrgetter

import grpc
import numpy as np
import pytest
from google.protobuf import message_factory
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from prometheus_client import REGISTRY

from cairn.v1 import catalog_pb2, events_pb2, recommender_pb2, recommender_pb2_grpc
from services.common.auth.api_keys import create_api_key
from services.common.auth.tenants_file import load_tenants
from services.common.kafka.envelope import LogIdentity, Position, record_key
from services.common.kafka.partitioner import partition_of
from services.common.resource_kinds import ResourceKind
from services.common.rpc import freshness
from services.common.rpc.server import ServerOptions
from services.common.rpc.statuses import abort, violations_of
from services.recommender.application.answers.prepared_catalogs import by_default
from services.recommender.application.ports.epochs import EpochMeta, EpochStatus
from services.recommender.application.ports.learners import StateUnavailableError, StoredLearner
from services.recommender.application.ports.models import Bundle, BundleUnreadableError
from services.recommender.bootstrap.server import RecommenderOptions, ServerAdapters, recommender_server
from services.recommender.domain.learner.parameters import (
    PRIOR_PARAMETERS_ID,
    SkillDifficulty,
    TenantParameters,
    TracingParameters,
)
from services.recommender.domain.learner.preferences import Pace, Preferences
from services.recommender.domain.learner.success_features import SHARED_FEATURES
from services.recommender.domain.learner.success_model import SuccessModel
from services.recommender.domain.ranking.catalog import CatalogResource, CatalogSkill
from services.recommender.domain.ranking.warm_up import warm_up
from tests.adapters.memory_catalog import MemoryCatalog
from tests.adapters.memory_states import MemoryChangeNotifications
from tests.learners import Ability, learner_state

LOG = LogIdentity(bytes(range(16)), 8)
NOW = datetime(2024, 3, 5, 14, 37, 12, tzinfo=UTC)
RESOURCES = [
    CatalogResource(
        f"{skill}-{kind.name.lower()}",
        title=f"{kind.name.title()} on {skill}",
        url=f"https://example.org/{skill}",
        kind=kind,
        minutes=15,
        **{side: ((skill, 1.0),)},
    )
    for skill in ("add", "fractions")
    for kind, side in (
        (ResourceKind.LESSON, "teaches"),
        (ResourceKind.PRACTICE, "assesses"),
        (ResourceKind.ASSESSMENT, "assesses"),
    )
]
SKILLS = [CatalogSkill("add", "Adding"), CatalogSkill("fractions", "Fractions", prerequisites=("add",))]
WEAK = learner_state({"fractions": Ability(mean=-1.0, attempts=5, successes=2.0, last_at_s=1_700_000_000)})


class States:
    """Learner states and the epoch, set by the tests."""

    def __init__(self):
        self.learners = {}
        self.positions = dict.fromkeys(range(LOG.partitions), 100)
        self.epoch = EpochMeta(3, EpochStatus.LIVE, PRIOR_PARAMETERS_ID, "", str(LOG), {})
        self.away = False
        self.asked_again = asyncio.Event()

    async def current(self):
        self._check()
        return self.epoch

    async def read(self, epoch, key):
        self._check()
        return self.learners.get((key.tenant, key.learner))

    async def read_many(self, epoch, keys):
        return [await self.read(epoch, key) for key in keys]

    async def applied_offset(self, epoch, key):
        self.asked_again.set()
        stored = await self.read(epoch, key)
        return None if stored is None else stored.offset

    async def position(self, epoch, partition):
        self._check()
        return self.positions.get(partition)

    def _check(self):
        if self.away:
            raise StateUnavailableError("Redis did not answer: connection refused")


class Bundles:
    """Bundles by id; None: the bundle cannot be read."""

    def __init__(self):
        self.bundles = {}

    def latest_id(self):
        return max(self.bundles, default=None)

    def load(self, bundle_id):
        if self.bundles.get(bundle_id) is None:
            raise BundleUnreadableError(f"{bundle_id} does not match its checksums")
        return self.bundles[bundle_id]


class Favourite:
    """A collaborative model with one fixed answer."""

    resources = tuple(resource.resource_id for resource in RESOURCES)

    def __init__(self, resource):
        self._resource = resource

    def scores(self, history):
        return np.array([float(resource == self._resource) for resource in self.resources], np.float32)


def bundle(bundle_id, parameters=None, **collaborative):
    return Bundle(bundle_id, NOW, parameters or TracingParameters("fitted-1"), collaborative)


class Server:
    def __init__(self, tenants_file):
        # A call's deadline is not meant for the compiler, which takes longer where nothing is compiled yet.
        warm_up()
        self.api_key = create_api_key(tenants_file, "riverbend", "test")
        self.other_api_key = create_api_key(tenants_file, "lakeside", "test")
        self.tenants = load_tenants(tenants_file)
        self.now = NOW
        self.states, self.catalog, self.bundles = States(), MemoryCatalog(), Bundles()
        self.catalog.put("riverbend", RESOURCES, SKILLS)
        server = recommender_server(
            ServerAdapters(
                learners=self.states,
                epochs=self.states,
                catalog=self.catalog,
                bundles=self.bundles,
                policies=by_default,
                clock=lambda: self.now,
                notifications=MemoryChangeNotifications(),
                tenants=self.tenants,
            ),
            RecommenderOptions(ServerOptions("127.0.0.1:0", drain_s=0.1)),
        )
        self.active_models, self.catalogs = server.answers.active_models, server.answers.catalogs
        self.refresh, self.grpc = server.refresh, server.grpc

    def pseudonym(self, learner="amy", tenant="riverbend"):
        return self.tenants.get(tenant).pseudonym(learner)

    def partition(self, learner="amy"):
        return partition_of(record_key("riverbend", self.pseudonym(learner)), LOG.partitions)

    def store(self, state, offset=40, learner="amy"):
        self.states.learners["riverbend", self.pseudonym(learner)] = StoredLearner(state, offset)

    def token(self, offset, *, partition=None, tenant="riverbend", log=LOG):
        position = Position(self.partition() if partition is None else partition, offset)
        return freshness.encode(freshness.Freshness(log.topic_id, position), self.tenants.get(tenant).secret)

    async def recommend(self, learner_id="amy", *, api_key=None, timeout_s=5.0, **fields):
        request = recommender_pb2.RecommendRequest(learner_id=learner_id, **fields)
        return await self.stub.Recommend(request, metadata=self._metadata(api_key), timeout=timeout_s)

    async def get_learner(self, learner_id="amy", *, api_key=None, timeout_s=5.0, **fields):
        request = recommender_pb2.GetLearnerRequest(learner_id=learner_id, **fields)
        return await self.stub.GetLearner(request, metadata=self._metadata(api_key), timeout=timeout_s)

    def _metadata(self, api_key):
        return (("authorization", f"Bearer {api_key or self.api_key}"),)


@pytest.fixture
async def server(tmp_path):
    server = Server(tmp_path / "tenants.yaml")
    await server.active_models.refresh_epoch()
    address = await server.grpc.start()
    async with grpc.aio.insecure_channel(address) as channel:
        server.stub = recommender_pb2_grpc.RecommendationServiceStub(channel)
        yield server
    await server.grpc.stop()


def degraded(reply):
    return {recommender_pb2.Degradation.Name(each).removeprefix("DEGRADATION_") for each in reply.degraded}


def details_of(error, kind):
    for detail in rpc_status.from_call(error).details:
        message = kind()
        if detail.Unpack(message):
            return message
    raise AssertionError(f"no {kind.DESCRIPTOR.name} in the details")


async def test_a_recommendation_has_a_resource_reasons_and_provenance(server):
    server.store(WEAK)
    reply = await server.recommend(limit=1)
    (first,) = reply.recommendations
    assert (first.resource_id, first.title) == ("fractions-lesson", "Lesson on fractions")
    assert first.kind == catalog_pb2.RESOURCE_KIND_LESSON
    assert (first.url, first.minutes) == ("https://example.org/fractions", 15)
    assert (first.skill, first.step) == ("fractions", recommender_pb2.STEP_TEACH)
    assert first.reassess_with == "fractions-assessment"
    assert [reason.kind for reason in first.reasons] == [
        recommender_pb2.REASON_KIND_GAP,
        recommender_pb2.REASON_KIND_FIT,
    ]
    assert "2 of 5 answers right" in first.reasons[0].text
    assert reply.learner_id == "amy"
    assert (reply.provenance.epoch, reply.provenance.bundle) == (3, "")
    assert (reply.provenance.applied.partition, reply.provenance.applied.offset) == (server.partition(), 40)
    assert reply.provenance.catalog.resources_offset == len(RESOURCES)


async def test_every_form_of_a_learners_id_finds_the_learner_and_is_given_back(server):
    server.store(WEAK, learner="jos\u00e9")
    for form in ("jos\u00e9", "jose\u0301", " jos\u00e9\n"):
        shown, listed = await server.get_learner(form), await server.recommend(form)
        assert (shown.responses, shown.learner_id) == (5, form)
        assert (listed.provenance.epoch, listed.learner_id) == (3, form)
    for wrong, words in (("jos\u00e9\u202e", "U+202E RIGHT-TO-LEFT OVERRIDE"), (" ", "only white space")):
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await server.get_learner(wrong)
        assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert words in error.value.details()


async def test_preferences_are_shown_and_are_reasons(server):
    wants = Preferences(("fractions",), ("space",), (int(ResourceKind.LESSON),), Pace.GENTLE)
    server.store(dataclasses.replace(WEAK, preferences=wants))
    reply = (await server.get_learner()).preferences
    assert (list(reply.goals.skills), list(reply.interests.topics)) == (["fractions"], ["space"])
    assert (list(reply.formats.kinds), reply.pace) == (
        [catalog_pb2.RESOURCE_KIND_LESSON],
        events_pb2.PACE_GENTLE,
    )
    (first,) = (await server.recommend(limit=1)).recommendations
    assert recommender_pb2.REASON_KIND_GOAL in [reason.kind for reason in first.reasons]


async def test_a_learner_without_preference_events_has_no_preferences(server):
    server.store(WEAK)
    assert not (await server.get_learner()).HasField("preferences")


async def test_skills_that_only_voided_responses_were_about_are_not_listed(server):
    server.store(learner_state({"add": Ability(attempts=0, successes=0.0), "fractions": Ability()}))
    assert [skill.skill for skill in (await server.get_learner()).skills] == ["fractions"]


@pytest.mark.parametrize(("skills", "reached"), [(1_999, False), (2_000, True), (2_500, True)])
async def test_a_learner_who_gets_no_further_skills_is_shown_as_such(server, skills, reached):
    ability = Ability(mean=0.0, attempts=1, successes=1.0)
    server.store(learner_state({f"skill-{number}": ability for number in range(skills)}))
    reply = await server.get_learner()
    assert (len(reply.skills), reply.skill_limit_reached) == (skills, reached)


async def test_the_same_inputs_give_the_same_bytes(server):
    server.store(WEAK)
    one = await server.recommend(limit=5)
    server.now = NOW.replace(minute=59)
    other = await server.recommend(limit=5)
    assert one.SerializeToString(deterministic=True) == other.SerializeToString(deterministic=True)


async def test_recommendation_ids_are_unique_within_and_across_lists(server):
    server.store(WEAK)
    one = await server.recommend(limit=5)
    server.store(WEAK, offset=41)
    other = await server.recommend(limit=5)
    names = {each.recommendation_id for reply in (one, other) for each in reply.recommendations}
    assert len(names) == 10


async def test_the_time_of_a_reply_is_the_current_hour_or_the_requested_time(server):
    assert (await server.recommend()).provenance.as_of.ToDatetime(UTC) == NOW.replace(minute=0, second=0)
    asked = recommender_pb2.RecommendRequest()
    asked.as_of.FromDatetime(datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC))
    reply = await server.recommend(as_of=asked.as_of)
    assert reply.provenance.as_of == asked.as_of


async def test_a_limit_of_zero_means_ten(server):
    server.catalog.put("riverbend", [CatalogResource(f"r{number:02}") for number in range(30)])
    assert len((await server.recommend()).recommendations) == 10
    assert len((await server.recommend(limit=25)).recommendations) == 25


async def test_filters_reach_the_ranking(server):
    wanted = recommender_pb2.ResourceFilter(kinds=[catalog_pb2.RESOURCE_KIND_PRACTICE], skills=["add"], max_minutes=20)
    reply = await server.recommend(filter=wanted)
    assert [each.resource_id for each in reply.recommendations] == ["add-practice"]


async def test_a_new_learner_gets_priors_and_a_degradation_flag(server):
    reply = await server.recommend()
    assert degraded(reply) == {"NEW_LEARNER", "NO_BUNDLE"}
    assert len(reply.recommendations) == 6
    assert not reply.provenance.HasField("applied")


async def test_a_learner_without_state_is_new_only_where_the_partition_has_a_position(server):
    del server.states.positions[server.partition()]
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await server.recommend()
    assert refused.value.code() == grpc.StatusCode.UNAVAILABLE
    assert details_of(refused.value, error_details_pb2.ErrorInfo).reason == "STATE_LOST"
    assert details_of(refused.value, error_details_pb2.RetryInfo).retry_delay.seconds == 1


async def test_learners_of_a_flushed_store_are_not_taken_for_new_ones(server):
    server.store(WEAK)
    server.states.learners.clear()
    server.states.positions.clear()
    server.states.epoch = None
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await server.recommend()
    assert refused.value.code() == grpc.StatusCode.UNAVAILABLE
    assert details_of(refused.value, error_details_pb2.ErrorInfo).reason == "NO_EPOCH"


async def test_a_store_that_is_away_makes_the_answer_unavailable_not_wrong(server):
    server.store(WEAK)
    server.states.away = True
    for call in (server.recommend, server.get_learner):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call()
        assert refused.value.code() == grpc.StatusCode.UNAVAILABLE
        assert details_of(refused.value, error_details_pb2.ErrorInfo).reason == "STATE_UNAVAILABLE"


async def test_an_empty_catalog_gives_an_empty_flagged_list(server):
    server.catalog.put("riverbend", [dataclasses.replace(RESOURCES[0], active=False)])
    reply = await server.recommend()
    assert not reply.recommendations
    assert "EMPTY_CATALOG" in degraded(reply)


async def test_a_catalog_whose_log_is_away_is_flagged_and_still_answers(server):
    server.catalog.reachable = False
    reply = await server.recommend()
    assert "STALE_CATALOG" in degraded(reply)
    assert reply.recommendations


async def test_a_bundle_adds_similar_learners_and_its_name_to_replies(server):
    server.bundles.bundles["b1"] = bundle("b1", riverbend=Favourite("fractions-practice"))
    assert await server.active_models.refresh_bundle()
    server.store(dataclasses.replace(WEAK, resources=learner_state({}, answered=["add-lesson"]).resources))
    reply = await server.recommend()
    assert degraded(reply) == set()
    assert reply.provenance.bundle == "b1"
    similar = {
        each.resource_id
        for each in reply.recommendations
        for reason in each.reasons
        if reason.kind == recommender_pb2.REASON_KIND_SIMILAR_LEARNERS
    }
    assert similar <= {"fractions-practice"}


async def test_bundles_of_equal_models_written_at_different_times_give_the_same_list(server):
    server.catalog.put("riverbend", [CatalogResource(f"r{number:02}") for number in range(30)])
    server.store(WEAK)
    lists = []
    for bundle_id in ("b1", "b2", "b3"):
        server.bundles.bundles[bundle_id] = bundle(bundle_id)
        assert await server.active_models.refresh_bundle()
        reply = await server.recommend()
        assert reply.provenance.bundle == bundle_id
        lists.append([each.resource_id for each in reply.recommendations])
    assert lists[0] == lists[1] == lists[2]


async def test_a_bundle_without_a_model_for_the_tenant_is_flagged(server):
    server.bundles.bundles["b1"] = bundle("b1", lakeside=Favourite("add-lesson"))
    await server.active_models.refresh_bundle()
    server.store(WEAK)
    assert degraded(await server.recommend()) == {"NO_COLLABORATIVE_FILTERING"}


async def test_a_broken_bundle_is_ignored_and_the_previous_one_stays_active(server):
    server.bundles.bundles["b1"] = bundle("b1", riverbend=Favourite("add-lesson"))
    await server.active_models.refresh_bundle()
    server.bundles.bundles["b2"] = None
    assert not await server.active_models.refresh_bundle()
    server.store(WEAK)
    reply = await server.recommend()
    assert reply.provenance.bundle == "b1"
    server.bundles.bundles["b3"] = bundle("b3")
    assert await server.active_models.refresh_bundle()
    assert (await server.recommend()).provenance.bundle == "b3"


HARD = TracingParameters("fitted-1", {"riverbend": TenantParameters(skills={"fractions": SkillDifficulty(2.0, 0.1)})})


async def _chance_on_fractions(server):
    wanted = recommender_pb2.ResourceFilter(exclude_resource_ids=["add-practice"], kinds=[3])
    (practice,) = (await server.recommend(filter=wanted)).recommendations
    return practice.success_probability


async def test_difficulties_come_from_the_epochs_bundle_not_from_the_newest(server):
    server.store(WEAK)
    easy = await _chance_on_fractions(server)
    server.bundles.bundles["b1"] = bundle("b1", HARD)
    await server.active_models.refresh_bundle()
    assert await _chance_on_fractions(server) == easy
    server.states.epoch = dataclasses.replace(
        server.states.epoch, epoch=4, parameters_id="fitted-1", parameters_bundle="b1"
    )
    await server.active_models.refresh_epoch()
    hard = await _chance_on_fractions(server)
    assert hard < easy
    server.bundles.bundles["b2"] = bundle("b2", TracingParameters("fitted-2"))
    await server.active_models.refresh_bundle()
    await server.active_models.refresh_epoch()
    assert await _chance_on_fractions(server) == hard


def _sure_head(logit):
    """A head that gives every response the same probability."""
    products = np.zeros((len(SHARED_FEATURES), len(SHARED_FEATURES)))
    products[0, 0] = logit
    ranges = np.vstack([np.full(len(SHARED_FEATURES), -9.0), np.full(len(SHARED_FEATURES), 9.0)])
    return SuccessModel(products, ranges, (), np.zeros((0, len(SHARED_FEATURES))))


async def test_a_success_model_is_used_only_with_the_parameters_it_was_fitted_with(server):
    server.store(WEAK)
    by_filter = await _chance_on_fractions(server)
    fitted = dataclasses.replace(bundle("b1", TracingParameters("fitted-1")), success={"riverbend": _sure_head(3.0)})
    server.bundles.bundles["b1"] = fitted
    await server.active_models.refresh_bundle()
    assert await _chance_on_fractions(server) == by_filter
    server.states.epoch = dataclasses.replace(
        server.states.epoch, epoch=4, parameters_id="fitted-1", parameters_bundle="b1"
    )
    await server.active_models.refresh_epoch()
    assert await _chance_on_fractions(server) == pytest.approx(1 / (1 + np.exp(-3.0)))
    # Neither another tenant's head nor one fitted with other parameters is used: the epoch's own stays in use.
    server.bundles.bundles["b2"] = dataclasses.replace(
        bundle("b2", TracingParameters("fitted-2")), success={"riverbend": _sure_head(-3.0)}
    )
    await server.active_models.refresh_bundle()
    await server.active_models.refresh_epoch()
    assert await _chance_on_fractions(server) == pytest.approx(1 / (1 + np.exp(-3.0)))
    server.bundles.bundles["b3"] = dataclasses.replace(
        bundle("b3", TracingParameters("fitted-1")), success={"lakeside": _sure_head(-3.0)}
    )
    await server.active_models.refresh_bundle()
    assert await _chance_on_fractions(server) == pytest.approx(by_filter)


async def test_an_epoch_whose_difficulties_cannot_be_found_is_flagged(server):
    server.bundles.bundles["b1"] = bundle("b1", riverbend=Favourite("add-lesson"))
    await server.active_models.refresh_bundle()
    server.states.epoch = dataclasses.replace(server.states.epoch, parameters_id="gone", parameters_bundle="b0")
    await server.active_models.refresh_epoch()
    server.store(WEAK)
    assert degraded(await server.recommend()) == {"NO_BUNDLE"}
    assert degraded(await server.get_learner()) == {"NO_BUNDLE"}


async def test_an_answer_waits_for_the_event_of_its_token(server):
    server.store(WEAK, offset=40)
    server.states.positions[server.partition()] = 41
    waiting = asyncio.create_task(server.recommend(freshness_token=server.token(41)))
    await server.states.asked_again.wait()
    assert not waiting.done()
    server.store(WEAK, offset=41)
    reply = await waiting
    assert reply.provenance.applied.offset == 41
    assert "STALE_STATE" not in degraded(reply)


async def test_a_duplicate_satisfies_its_token_once_the_position_is_past_it(server):
    server.store(WEAK, offset=40)
    server.states.positions[server.partition()] = 42
    reply = await server.recommend(freshness_token=server.token(41))
    assert reply.provenance.applied.offset == 40
    assert "STALE_STATE" not in degraded(reply)


async def test_a_position_at_the_event_is_not_past_it(server):
    server.store(WEAK, offset=40)
    server.states.positions[server.partition()] = 41
    reply = await server.recommend(freshness_token=server.token(41), timeout_s=0.3)
    assert "STALE_STATE" in degraded(reply)


async def test_the_learners_offset_does_not_satisfy_a_token_of_another_partition(server):
    elsewhere = (server.partition() + 1) % LOG.partitions
    server.store(WEAK, offset=1_000)
    server.states.positions[elsewhere] = 5
    reply = await server.recommend(freshness_token=server.token(41, partition=elsewhere), timeout_s=0.3)
    assert "STALE_STATE" in degraded(reply)
    server.states.positions[elsewhere] = 42
    reply = await server.recommend(freshness_token=server.token(41, partition=elsewhere), timeout_s=0.3)
    assert "STALE_STATE" not in degraded(reply)


async def test_an_event_that_is_not_applied_in_time_leaves_a_flag_not_an_error(server):
    server.store(WEAK, offset=40)
    server.states.positions[server.partition()] = 41
    reply = await server.recommend(freshness_token=server.token(99_999), timeout_s=0.3)
    assert "STALE_STATE" in degraded(reply)
    assert reply.recommendations


async def test_a_token_of_another_log_cannot_be_satisfied(server):
    server.store(WEAK)
    token = server.token(1, log=LogIdentity(bytes(16), 8))
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await server.recommend(freshness_token=token)
    assert refused.value.code() == grpc.StatusCode.FAILED_PRECONDITION
    assert details_of(refused.value, error_details_pb2.ErrorInfo).reason == "LOG_DIFFERS"
    assert "publish the events again" in refused.value.details()


@pytest.mark.parametrize("token", ["nonsense", "another tenant's", "x" * 500])
async def test_a_token_of_another_tenant_is_refused(server, token):
    token = server.token(1, tenant="lakeside") if token == "another tenant's" else token
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await server.get_learner(freshness_token=token)
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert [violation.field for violation in violations_of(refused.value)] == ["freshness_token"]


@pytest.mark.parametrize(
    ("fields", "field", "said"),
    [
        ({"learner_id": ""}, "learner_id", "give the learner's id"),
        ({"learner_id": "x" * 257}, "learner_id", "at most 256"),
        ({"limit": 101}, "limit", "101 is more than 100"),
        ({"filter": {"kinds": [0]}}, "filter.kinds[0]", "RESOURCE_KIND_LESSON"),
        ({"filter": {"kinds": [1, 99]}}, "filter.kinds[1]", "99 is not a kind"),
        ({"filter": {"kinds": [1] * 101}}, "filter.kinds", "at most 100"),
        ({"filter": {"skills": ["a", ""]}}, "filter.skills[1]", "leave it out"),
        ({"filter": {"skills": ["x" * 257]}}, "filter.skills[0]", "at most 256"),
        ({"filter": {"grades": ["3"] * 101}}, "filter.grades", "101 entries"),
        ({"filter": {"languages": ["x" * 65]}}, "filter.languages[0]", "at most 64"),
        ({"filter": {"max_minutes": 0}}, "filter.max_minutes", "at least 1"),
        ({"filter": {"exclude_resource_ids": ["a"] * 1001}}, "filter.exclude_resource_ids", "at most 1000"),
        ({"as_of": {"seconds": -5}}, "as_of", "-5 s"),
    ],
)
async def test_a_bad_field_is_named_with_its_value_and_the_remedy(server, fields, field, said):
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await server.recommend(**fields)
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    (violation,) = violations_of(refused.value)
    assert violation.field == field
    assert said in violation.reason


def times_within(descriptor, above=""):
    """The paths of the times in a message; the service sets `updated_at` itself."""
    for field in descriptor.fields:
        if field.message_type is Timestamp.DESCRIPTOR and field.name != "updated_at":
            yield f"{above}{field.name}"
        elif field.message_type is not None and not field.is_repeated:
            yield from times_within(field.message_type, f"{above}{field.name}.")


METHODS = recommender_pb2.DESCRIPTOR.services_by_name["RecommendationService"].methods
TIMES = [(method, path) for method in METHODS for path in times_within(method.input_type)]


def test_the_requests_with_times_are_found():
    assert {f"{method.name}.{path}" for method, path in TIMES} == {
        "Recommend.as_of",
        "RecommendBatch.as_of",
        "PlanGroup.as_of",
        "PreviewRule.as_of",
        "PreviewRule.rule.expires_at",
    }


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"nanos": -1}, "-1 ns is not part of a second; give nanos from 0 to 999999999"),
        ({"nanos": 1_000_000_000}, "1000000000 ns"),
        ({"seconds": -1, "nanos": 5}, "-1 s is not from 1970 to 9999; give a moment in between, or none"),
        ({"seconds": 253_402_300_800}, "253402300800 s"),
        ({"seconds": -(2**63)}, "-9223372036854775808 s"),
    ],
    ids=str,
)
@pytest.mark.parametrize(("method", "path"), TIMES, ids=lambda each: getattr(each, "name", each))
async def test_a_time_that_is_none_is_named_in_every_request(server, method, path, given, said):
    request = message_factory.GetMessageClass(method.input_type)()
    if method.name == "Recommend":
        request.learner_id = "amy"
    else:
        request.learner_ids.append("amy")
    if method.name == "PreviewRule":
        request.rule.MergeFrom(catalog_pb2.Rule(id="r", action=catalog_pb2.RULE_ACTION_PIN, resource_ids=["a"]))
    attrgetter(path)(request).MergeFrom(Timestamp(**given))
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await getattr(server.stub, method.name)(request, metadata=server._metadata(None), timeout=5.0)
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    (violation,) = violations_of(refused.value)
    assert violation.field == path
    assert said in violation.reason


async def test_a_refused_call_is_counted_before_its_caller_knows(server, monkeypatch):
    counted = partial(REGISTRY.get_sample_value, "cairn_server_requests_total")
    invalid = {"method": "Recommend", "outcome": "invalid"}
    before, at_the_answer = counted(invalid) or 0, []

    async def observed(context, status):
        at_the_answer.append(counted(invalid))
        await abort(context, status)

    monkeypatch.setattr("services.recommender.entrypoints.grpc.abort", observed)
    with pytest.raises(grpc.aio.AioRpcError):
        await server.recommend(limit=500)
    assert at_the_answer == [before + 1]


async def test_every_bad_field_is_named_at_once(server):
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await server.recommend(learner_id="", limit=500, freshness_token="?")
    assert [each.field for each in violations_of(refused.value)] == ["learner_id", "limit", "freshness_token"]


async def test_another_tenants_key_gets_the_reply_for_an_unknown_learner(server):
    server.store(WEAK)
    foreign = await server.get_learner(api_key=server.other_api_key)
    absent = await server.get_learner("nobody", api_key=server.other_api_key)
    absent.learner_id = foreign.learner_id
    assert foreign == absent
    foreign_list = await server.recommend(api_key=server.other_api_key)
    assert not foreign_list.recommendations
    assert not foreign_list.provenance.HasField("applied")


async def test_a_learner_is_shown_with_intervals_and_responses_by_skill(server):
    state = learner_state(
        {
            "fractions": Ability(mean=-1.0, attempts=5, successes=2.0, last_at_s=1_700_000_000),
            "add": Ability(mean=3.0, variance=0.05, attempts=12, successes=12.0),
        },
        mean=0.5,
    )
    server.store(state)
    reply = await server.get_learner()
    assert (reply.responses, reply.epoch, reply.applied.offset) == (17, 3, 40)
    adding, fractions = reply.skills
    assert (adding.skill, adding.responses, adding.successes, adding.mastered) == ("add", 12, 12.0, True)
    assert (fractions.skill, fractions.responses, fractions.mastered) == ("fractions", 5, False)
    assert not adding.HasField("last_response_at")
    assert fractions.last_response_at.seconds == 1_700_000_000
    for skill in reply.skills:
        assert 0 < skill.low < skill.probability < skill.high < 1
    assert not reply.degraded


async def test_an_unknown_learner_is_shown_as_new(server):
    reply = await server.get_learner("nobody")
    assert not reply.skills
    assert degraded(reply) == {"NEW_LEARNER"}


async def test_a_new_epoch_is_used_after_the_next_check(server):
    server.store(WEAK)
    server.states.epoch = dataclasses.replace(server.states.epoch, epoch=4)
    await server.active_models.refresh_epoch()
    assert (await server.recommend()).provenance.epoch == 4


async def test_a_changed_catalog_is_ranked_from_the_next_call_on(server):
    await server.recommend()
    server.catalog.put("riverbend", [CatalogResource("new")])
    reply = await server.recommend()
    assert [each.resource_id for each in reply.recommendations] == ["new"]
    assert reply.provenance.catalog.resources_offset == len(RESOURCES) + 1


async def test_a_catalog_can_be_prepared_ahead_of_requests(server):
    assert server.catalogs.current("riverbend") is None
    await server.catalogs.prepare("riverbend")
    assert server.catalogs.current("riverbend") is not None
    server.catalog.put("riverbend", RESOURCES)
    assert server.catalogs.current("riverbend") is None
