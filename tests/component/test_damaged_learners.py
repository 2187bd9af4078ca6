"""One damaged learner: answers, rosters, subscriptions and exports name that learner, and go on with the others."""

from __future__ import annotations

import grpc
import pytest

from cairn.v1 import recommender_pb2, recommender_pb2_grpc
from services.common.kafka.envelope import record_key
from services.recommender.application.operations.export import (
    RECOMMENDATION_COLUMNS,
    STATE_COLUMNS,
    export_recommendations,
    export_state,
)
from services.recommender.application.ports.epochs import EpochStatus
from services.recommender.application.ports.quarantine import LearnerDamagedError, RepairedLearner
from services.recommender.application.state.snapshots import snapshot_epoch
from services.recommender.domain.learner.parameters import TracingParameters
from tests.subscribing import SubscribedServer, bearer

DATA_LOSS = grpc.StatusCode.DATA_LOSS


@pytest.fixture
async def world(tmp_path):
    world = SubscribedServer(tmp_path)
    await world.begin_epoch()
    await world.answer("amy", 6)
    await world.answer("ben", 6)
    return world


def key_of(world, name="amy"):
    return record_key("riverbend", world.pseudonym(name))


async def status_of(call):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


async def repair(world, name="amy"):
    """What `cairn learner repair` stores."""
    key = key_of(world, name)
    stored = world.states.learners[1][key]
    quarantine = world.states.fold_store(1).quarantine
    await quarantine.add(0, 0, {key: "damaged"})
    assert await quarantine.release(RepairedLearner(key, 0, 0, stored, 0, 0, 0))


async def test_reads_answer_data_loss_for_that_learner_alone(world):
    world.states.damage(1, key_of(world), "it is too short")
    async with world.serving() as process, grpc.aio.insecure_channel(process.address) as channel:
        stub, metadata = recommender_pb2_grpc.RecommendationServiceStub(channel), bearer(world.api_key)
        for call, request in (
            (stub.Recommend, recommender_pb2.RecommendRequest),
            (stub.GetLearner, recommender_pb2.GetLearnerRequest),
        ):
            error = await status_of(call(request(learner_id="amy"), metadata=metadata, timeout=5))
            assert error.code() is DATA_LOSS
            assert "it is too short" in error.details()
            assert "cairn learner repair" in error.details()
            await call(request(learner_id="ben"), metadata=metadata, timeout=5)


async def test_rosters_and_plans_name_that_learner_and_go_on(world):
    world.states.damage(1, key_of(world))
    async with world.serving() as process, grpc.aio.insecure_channel(process.address) as channel:
        stub, metadata = recommender_pb2_grpc.RecommendationServiceStub(channel), bearer(world.api_key)
        request = recommender_pb2.RecommendBatchRequest(learner_ids=["amy", "ben"])
        amy, ben = (await stub.RecommendBatch(request, metadata=metadata, timeout=5)).results
        assert amy.problem.code == DATA_LOSS.value[0]
        assert not amy.recommendations
        assert ben.recommendations
        request = recommender_pb2.PlanGroupRequest(learner_ids=["amy", "ben"])
        plan = await stub.PlanGroup(request, metadata=metadata, timeout=5)
        assert [(one.learner_id, one.reason) for one in plan.unplaced if one.learner_id == "amy"] == [
            ("amy", recommender_pb2.UNPLACED_REASON_PROBLEM)
        ]


async def test_a_subscription_names_that_learner_once_and_goes_on_with_the_others(world):
    world.states.damage(1, key_of(world))
    async with world.serving() as process, process.reading("amy", "ben") as reader:
        messages = [await reader.next() for _ in range(3)]
        assert {message.WhichOneof("message") for message in messages} == {"unreadable", "update", "snapshot_complete"}
        (named,) = [message.unreadable for message in messages if message.HasField("unreadable")]
        assert (named.learner_id, named.problem.code) == ("amy", DATA_LOSS.value[0])
        for response in (1.0, 0.0):
            await world.answer("ben", 40, response=response)
            assert (await reader.next()).update.learner_id == "ben"


async def test_a_learner_quarantined_while_watched_is_named_and_their_list_comes_after_the_repair(world):
    async with world.serving() as process, process.reading("amy", "ben") as reader:
        updates, _ = await reader.snapshot()
        await world.states.fold_store(1).quarantine.add(0, 0, {key_of(world): "its journal is damaged"})
        assert (await reader.next()).unreadable.learner_id == "amy"
        await repair(world)
        again = (await reader.next()).update
        assert again.learner_id == "amy"
        assert again.recommendations == updates["amy"].recommendations


async def test_a_repair_whose_notification_is_lost_is_found_by_comparing(world):
    async with world.serving() as process, process.reading("amy") as reader:
        await reader.snapshot()
        await world.states.fold_store(1).quarantine.add(0, 0, {key_of(world): "damaged"})
        assert (await reader.next()).unreadable.learner_id == "amy"
        world.states.notifications.lost = True
        await repair(world)
        assert (await reader.next()).update.learner_id == "amy"


async def test_exports_leave_that_learner_out_and_say_which(world):
    world.states.damage(1, key_of(world))
    name, other = world.pseudonym("amy"), world.pseudonym("ben")
    parameters = TracingParameters().for_tenant("riverbend")
    (batch,) = [one async for one in export_state(world.states, 1, "riverbend", parameters)]
    assert {row[STATE_COLUMNS[1].name] for row in batch.rows} == {other}
    assert batch.damaged == [name]
    async with world.serving() as process:
        lists = export_recommendations(world.states, process.server.answers, 1, "riverbend", limit=3)
        (batch,) = [one async for one in lists]
    assert {row[RECOMMENDATION_COLUMNS[1].name] for row in batch.rows} == {other}
    assert batch.damaged == [name]


class Discarded:
    """A snapshot that goes nowhere."""

    def begin(self, header):
        assert header.meta.status is EpochStatus.LIVE

    def add(self, learner):
        assert learner.state

    def finish(self, contents):
        raise AssertionError(f"a snapshot without a learner was finished: {contents}")


async def test_no_snapshot_is_made_of_an_epoch_with_a_quarantined_learner(world):
    await world.states.fold_store(1).quarantine.add(0, 0, {key_of(world): "damaged"})
    with pytest.raises(LearnerDamagedError, match="cairn learner repair"):
        await snapshot_epoch(world.states, 1, Discarded())
