"""Subscriptions over real gRPC, with everything behind the server's ports in memory."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from contextlib import aclosing
from datetime import timedelta

import grpc
import psutil
import pytest

from cairn.client import Backoff, LearnerUpdates
from cairn.v1 import catalog_pb2, recommender_pb2, recommender_pb2_grpc
from services.common.rpc.statuses import retry_after_s_of, violations_of
from services.recommender.application.ports.learners import StateUnavailableError
from services.recommender.application.ports.models import Bundle
from services.recommender.application.subscriptions.subscriptions import SubscribeQuery, SubscriptionLimits
from services.recommender.domain.learner.parameters import TracingParameters
from services.recommender.domain.ranking.weights import RankingPolicy
from tests.subscribing import (
    NOTIFICATIONS_ONLY,
    NOW,
    QUICK,
    RESOURCES,
    SubscribedServer,
    bearer,
    listed,
    reason_of,
    until,
)

# The client buffers little more than the test has read.
NARROW = (("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 16_384))


@pytest.fixture
async def world(tmp_path):
    world = SubscribedServer(tmp_path, options=NOTIFICATIONS_ONLY)
    await world.begin_epoch()
    return world


@pytest.fixture
async def quick_world(tmp_path):
    """Comparisons, searches and re-rankings run all the time."""
    world = SubscribedServer(tmp_path, options=QUICK)
    await world.begin_epoch()
    return world


# Updates.


async def test_a_list_for_every_learner_comes_first_then_a_marker_that_these_were_all(world):
    await world.answer("amy", 6)
    async with world.serving() as process, process.reading("amy", "ben", limit=3) as reader:
        updates, learners = await reader.snapshot()
        assert (set(updates), learners) == ({"amy", "ben"}, 2)
        amy = updates["amy"]
        assert len(amy.recommendations) == 3
        assert amy.provenance.applied.offset == 5
        assert amy.provenance.epoch == 1
        assert not updates["ben"].provenance.HasField("applied")
        assert len({update.cursor for update in updates.values()}) == 2


async def test_a_list_is_the_one_that_recommend_returns(world):
    await world.answer("amy", 6)
    async with world.serving() as process, process.reading("amy", limit=7) as reader:
        update = await reader.update()
        async with grpc.aio.insecure_channel(process.address) as channel:
            stub = recommender_pb2_grpc.RecommendationServiceStub(channel)
            request = recommender_pb2.RecommendRequest(learner_id="amy", limit=7)
            reply = await stub.Recommend(request, metadata=bearer(world.api_key), timeout=5)
        assert list(update.recommendations) == list(reply.recommendations)
        assert update.provenance == reply.provenance
        assert update.degraded == reply.degraded


async def test_an_event_that_changes_a_list_is_followed_by_that_list(world):
    await world.answer("amy", 6)
    async with world.serving() as process, process.reading("amy", "ben") as reader:
        updates, _ = await reader.snapshot()
        offset = await world.answer("amy", 40, response=1.0)
        update = await reader.update()
        assert update.learner_id == "amy"
        assert update.provenance.applied.offset == offset
        assert listed(update) != listed(updates["amy"])


async def test_an_event_that_changes_only_numbers_sends_nothing(world):
    await world.answer("amy", 400, response=1.0)
    async with world.serving() as process, process.reading("amy", "ben") as reader:
        await reader.snapshot()
        (subscription,) = process.subscriptions
        offset = await world.answer("amy", response=1.0)
        await until(lambda: subscription.watched[world.pseudonym("amy")].offset == offset)
        await world.answer("ben", 40, response=1.0)
        assert (await reader.update()).learner_id == "ben"


async def test_changes_during_a_slow_read_become_one_list_of_the_latest_state(world):
    async with world.serving() as process, process.reading("amy", "ben") as reader:
        await reader.snapshot()
        for _ in range(40):
            offset = await world.answer("amy", response=1.0)
        assert process.subscriptions.dirty <= 2
        update = await reader.update()
        while update.provenance.applied.offset < offset:
            update = await reader.update()
        (subscription,) = process.subscriptions
        await until(lambda: not subscription.dirty)
        await world.answer("ben", 40, response=1.0)
        assert (await reader.update()).learner_id == "ben"


async def test_a_list_that_waited_for_a_slow_reader_is_made_of_the_state_by_then(world):
    async with world.serving() as process:
        now_s = 0.0
        process.subscribe._clock_s = lambda: now_s
        learners = [world.pseudonym(name) for name in ("amy", "ben", "eve")]
        with process.subscriptions.opened("riverbend", SubscribeQuery(learners)) as subscription:
            messages = process.subscribe.messages(subscription)
            await anext(messages)
            offset = await world.answer("eve", 40, response=1.0)
            now_s = 1.0
            sent = [await anext(messages) for _ in range(3)]
            assert [update.learner for update in sent[:2]] == learners[1:]
            assert sent[1].cursor.offset == offset
            assert sent[2].learners == 3
            assert not subscription.dirty
            await messages.aclose()


async def test_a_thousand_learners_are_watched_on_one_stream(world):
    names = [f"learner-{number}" for number in range(1_000)]
    async with world.serving() as process, process.reading(*names, limit=3) as reader:
        updates, learners = await reader.snapshot()
        assert (set(updates), learners) == (set(names), 1_000)
        for name in names[::50]:
            await world.answer(name, 40, response=1.0)
        changed = {(await reader.update()).learner_id for _ in names[::50]}
        assert changed == set(names[::50])


async def test_calls_are_answered_while_a_thousand_lists_are_made(world):
    names = [f"learner-{number}" for number in range(1_000)]
    async with world.serving() as process, grpc.aio.insecure_channel(process.address) as channel:
        stub = recommender_pb2_grpc.RecommendationServiceStub(channel)
        request = recommender_pb2.RecommendRequest(learner_id="amy")
        await stub.Recommend(request, metadata=bearer(world.api_key), timeout=5)
        async with process.reading(*names, limit=3) as reader:
            first = await reader.update()
            await stub.Recommend(request, metadata=bearer(world.api_key), timeout=5)
            (subscription,) = process.subscriptions
            made = sum(watched.offset is not None for watched in subscription.watched.values())
            assert first
            assert made < 500


async def test_other_work_runs_between_any_two_lists(world):
    names = [f"learner-{number}" for number in range(40)]
    async with world.serving() as process, process.reading(*names) as one, process.reading(*names) as other:
        for reader in (one, other):
            await reader.snapshot()
        turns, made_in = 0, []
        rank = process.ranking.rank

        def noted(*arguments):
            made_in.append(turns)
            return rank(*arguments)

        async def count_turns():
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        process.ranking.rank = noted
        counting = asyncio.create_task(count_turns())
        # Nothing differs, so nothing is written either.
        for subscription in process.subscriptions:
            for learner in subscription.watched:
                subscription.mark(learner, 0.0)
        await until(lambda: len(made_in) == 80)
        counting.cancel()
        assert len(set(made_in)) == 80


# Lost notifications.


async def test_a_change_without_a_notification_is_found_by_comparing(tmp_path):
    world = SubscribedServer(tmp_path, options=dataclasses.replace(NOTIFICATIONS_ONLY, compare_every_s=0.02))
    await world.begin_epoch()
    await world.answer("amy", 6)
    async with world.serving() as process, process.reading("amy", "ben") as reader:
        await reader.snapshot()
        world.states.notifications.lost = True
        offset = await world.answer("amy", 40, response=1.0)
        assert (await reader.update()).provenance.applied.offset == offset
        # A learner without state until then.
        await world.answer("ben", 40, response=1.0)
        assert (await reader.update()).learner_id == "ben"


async def test_changes_before_the_first_notification_are_found(world):
    async with world.serving() as process, process.reading("amy") as reader:
        await reader.snapshot()
        world.states.notifications.lost = True
        offset = await world.answer("amy", 40, response=1.0)
        world.states.notifications.lost = False
        world.states.notifications.follow(1)
        assert (await reader.update()).provenance.applied.offset == offset


async def test_streams_end_when_comparisons_keep_failing(quick_world):
    async with quick_world.serving() as process, process.reading("amy") as reader:
        await reader.snapshot()

        async def away(_epoch, _keys):
            raise StateUnavailableError("Redis did not answer: connection refused")

        quick_world.states.applied_offsets = away
        error, _ = await reader.end()
        assert error.code() == grpc.StatusCode.UNAVAILABLE
        assert retry_after_s_of(error) == 1.0


async def test_a_state_that_cannot_be_read_ends_the_stream_and_is_not_taken_for_a_new_learner(world):
    async with world.serving() as process:
        async with process.reading("amy") as reader:
            await reader.snapshot()
            world.states.positions[1].clear()
        async with process.reading("amy") as reader:
            error = await reader.refusal()
            assert (error.code(), reason_of(error)) == (grpc.StatusCode.UNAVAILABLE, "STATE_LOST")


# Reconnecting.


async def test_a_returning_reader_receives_only_what_differs(world):
    await world.answer("amy", 6)
    async with world.serving() as process:
        async with process.reading("amy", "ben", "eve") as reader:
            await reader.snapshot()
        await world.answer("amy", 40, response=1.0)
        cursors = {name: reader.cursors[name] for name in ("amy", "ben")}
        async with process.reading("amy", "ben", "eve", cursors=cursors) as reader:
            updates, learners = await reader.snapshot()
            assert (set(updates), learners) == ({"amy", "eve"}, 3)
            # Learners whose lists were not sent are still watched.
            await world.answer("ben", 40, response=1.0)
            assert (await reader.update()).learner_id == "ben"


async def test_unchanged_learners_are_not_ranked_when_a_reader_comes_back(world):
    for name in ("amy", "ben"):
        await world.answer(name, 6)
    async with world.serving() as process:
        async with process.reading("amy", "ben") as reader:
            await reader.snapshot()
        cursors = reader.cursors
        await until(lambda: not len(process.subscriptions))
        made = []
        rank = process.ranking.rank
        process.ranking.rank = lambda *args: made.append(args[1].learner) or rank(*args)
        await world.answer("ben")
        async with process.reading("amy", "ben", cursors=cursors) as reader:
            await reader.snapshot()
        assert made == [world.pseudonym("ben")]
        world.policies["riverbend"] = RankingPolicy(need_share=0.9)
        async with process.reading("amy", cursors={"amy": cursors["amy"]}) as reader:
            await reader.snapshot()
        assert made == [world.pseudonym("ben"), world.pseudonym("amy")]


async def test_other_changes_than_the_learners_are_noticed_when_a_reader_comes_back(world):
    await world.answer("amy", 6)
    async with world.serving() as process:
        async with process.reading("amy") as reader:
            await reader.snapshot()
        world.catalog.put("riverbend", RESOURCES[:4])
        async with process.reading("amy", cursors=reader.cursors) as reader:
            assert (await reader.update()).provenance.catalog.resources_offset == 2 * len(RESOURCES) + 4


async def test_a_reader_survives_a_restart_misses_nothing_and_is_sent_nothing_twice(world):
    names = [f"learner-{number}" for number in range(20)]
    had = []
    snapshots = asyncio.Queue()
    async with world.serving() as process:
        listen = process.address
        channel = grpc.aio.insecure_channel(listen, options=[("grpc.max_reconnect_backoff_ms", 100)])
        request = recommender_pb2.SubscribeRequest(learner_ids=names)
        updates = LearnerUpdates(
            recommender_pb2_grpc.RecommendationServiceStub(channel),
            request,
            bearer(world.api_key),
            on_snapshot=snapshots.put_nowait,
            backoff=Backoff(first_s=0.01, longest_s=0.1),
        )

        async def read():
            async with aclosing(aiter(updates)) as stream:
                async for update in stream:
                    had.append(update)  # noqa: PERF401 - what was had so far is looked at meanwhile.

        reading = asyncio.create_task(read())
        assert await asyncio.wait_for(snapshots.get(), 10) == 20
        await world.answer("learner-1", 40, response=1.0)
        await until(lambda: len(had) == 21)
    # No server is running, and learners continue to work.
    offset = await world.answer("learner-2", 40, response=1.0)
    await world.answer("learner-1")
    async with world.serving(listen=listen):
        assert await asyncio.wait_for(snapshots.get(), 10) == 20
        later = await world.answer("learner-3", 40, response=1.0)
        await until(lambda: had[-1].provenance.applied.offset == later)
        assert offset in {update.provenance.applied.offset for update in had if update.learner_id == "learner-2"}
        last = {}
        for update in had:
            assert last.get(update.learner_id) != listed(update)
            last[update.learner_id] = listed(update)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        await channel.close()


@pytest.mark.parametrize(
    ("field", "cursors", "fields"),
    [
        ("cursors[0].cursor", {"amy": "not base64!"}, {}),
        ("cursors[0].cursor", {"amy": "AAAA"}, {}),
        ("cursors[0].cursor", {"amy": "A" * 300}, {}),
        ("cursors[0].learner_id", {"eve": "AAAA"}, {}),
        ("cursors[0].cursor", {"amy": "amy's"}, {"limit": 7}),
        ("cursors[0].cursor", {"amy": "amy's"}, {"class_id": "6b"}),
        ("cursors[0].cursor", {"amy": "amy's"}, {"filter": recommender_pb2.ResourceFilter(grades=["6"])}),
        ("cursors[0].cursor", {"amy": "ben's"}, {}),
        ("cursors[0].cursor", {"amy": "amy's"}, {"api_key": "other"}),
    ],
)
async def test_a_cursor_of_another_learner_or_request_is_refused_and_named(world, field, cursors, fields):
    async with world.serving() as process:
        async with process.reading("amy", "ben", limit=3) as reader:
            await reader.snapshot()
        cursors = {
            name: {"amy's": reader.cursors["amy"], "ben's": reader.cursors["ben"]}.get(cursor, cursor)
            for name, cursor in cursors.items()
        }
        fields = {"limit": 3} | fields
        if "api_key" in fields:
            fields["api_key"] = world.other_api_key
        async with process.reading("amy", "ben", cursors=cursors, **fields) as reader:
            error = await reader.refusal()
            assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
            (violation,) = violations_of(error)
            assert violation.field == field
            assert reader.cursors == {}


# Inputs of lists other than learner states.


async def test_a_changed_catalog_leads_to_new_lists(quick_world):
    async with quick_world.serving() as process, process.reading("amy", "ben") as reader:
        await reader.snapshot()
        quick_world.catalog.put("riverbend", RESOURCES[:3])
        await process.catalogs.prepare("riverbend")
        assert {(await reader.update()).learner_id for _ in range(2)} == {"amy", "ben"}


async def test_a_catalog_without_background_preparation_is_prepared_on_request(quick_world):
    async with quick_world.serving() as process, process.reading("amy") as reader:
        await reader.snapshot()
        (subscription,) = process.subscriptions
        await until(lambda: subscription.watched[quick_world.pseudonym("amy")].inputs == 1)
        quick_world.catalog.put("riverbend", RESOURCES[:3])
        assert {each.resource_id for each in (await reader.update()).recommendations} <= {
            resource.resource_id for resource in RESOURCES[:3]
        }


async def test_a_new_hour_bundle_or_policy_leads_to_a_check_of_every_list(quick_world):
    async with quick_world.serving() as process, process.reading("amy", "ben") as reader:
        await reader.snapshot()
        (subscription,) = process.subscriptions

        async def looked_at_again(number):
            await until(lambda: {watched.inputs for watched in subscription.watched.values()} == {number})

        quick_world.now = NOW + timedelta(hours=1)
        await looked_at_again(2)
        quick_world.bundles.bundles["b1"] = Bundle("b1", NOW, TracingParameters("fitted"), {})
        await process.active_models.refresh_bundle()
        await looked_at_again(3)
        quick_world.policies["riverbend"] = RankingPolicy(need_share=0.9)
        await looked_at_again(4)


async def test_an_open_stream_switches_to_a_new_epoch(world):
    await world.answer("amy", 400, response=1.0)
    async with world.serving() as process, process.reading("amy", "ben") as reader:
        await reader.snapshot()
        await world.begin_epoch(2)
        # In the new epoch the learner's offsets start again.
        world.offset = 10
        await world.answer("amy", 40, epoch=2)
        await process.active_models.refresh_epoch()
        update = await reader.update()
        assert (update.learner_id, update.provenance.epoch) == ("amy", 2)
        assert update.provenance.applied.offset == 49
        # From now on notifications come from the new epoch only.
        await world.answer("ben", 40, response=1.0)
        await world.answer("amy", 40, response=1.0, epoch=2)
        assert (await reader.update()).provenance.epoch == 2


# Whole tenants.


async def test_a_whole_tenant_is_watched_by_pseudonym_and_new_learners_join(world):
    await world.answer("amy", 6)
    await world.answer("amy", 6, tenant="lakeside")
    async with world.serving() as process, process.reading(whole_tenant=True) as reader:
        updates, learners = await reader.snapshot()
        assert (set(updates), learners) == ({world.pseudonym("amy")}, 1)
        await world.answer("zoe", 6, tenant="lakeside")
        offset = await world.answer("ben", 6)
        update = await reader.update()
        assert (update.learner_id, update.provenance.applied.offset) == (world.pseudonym("ben"), offset)
    async with world.serving() as process, process.reading(whole_tenant=True, cursors=reader.cursors) as reader:
        updates, learners = await reader.snapshot()
        assert (updates, learners) == ({}, 2)


async def test_a_forgotten_learner_of_a_whole_tenant_is_reported_once_without_a_list(quick_world):
    world, amy = quick_world, quick_world.pseudonym("amy")
    for learner in ("amy", "ben"):
        await world.answer(learner, 6)
    async with world.serving() as process, process.reading(whole_tenant=True) as reader:
        await reader.snapshot()
        await world.forget("amy")
        assert (await reader.next()).gone.learner_id == amy
        # A change of all lists does not recompute theirs: ben's comes next.
        world.now += timedelta(hours=1)
        (subscription,) = process.subscriptions
        number = subscription.watched[amy].inputs
        await until(lambda: subscription.watched[amy].inputs != number)
        await world.answer("ben", 40, response=1.0)
        assert (await reader.update()).learner_id == world.pseudonym("ben")
        held = dict(reader.cursors)
    # A reader that was away is also notified if it has a cursor of the learner; other readers are not.
    async with world.serving() as process, process.reading(whole_tenant=True, cursors=held) as reader:
        assert (await reader.next()).gone.learner_id == amy
        assert (await reader.snapshot())[0] == {}
    async with world.serving() as process, process.reading(whole_tenant=True) as reader:
        assert set((await reader.snapshot())[0]) == {world.pseudonym("ben")}
        offset = await world.answer("amy", 6)
        update = await reader.update()
        assert (update.learner_id, update.provenance.applied.offset) == (amy, offset)


async def test_a_forgotten_learner_subscribed_by_id_is_a_new_learner(world):
    await world.answer("amy", 40, response=1.0)
    async with world.serving() as process, process.reading("amy") as reader:
        await reader.snapshot()
        await world.forget("amy")
        update = await reader.update()
        assert recommender_pb2.DEGRADATION_NEW_LEARNER in update.degraded


async def test_a_new_learner_without_a_notification_is_found(quick_world):
    async with quick_world.serving() as process, process.reading(whole_tenant=True) as reader:
        assert await reader.snapshot() == ({}, 0)
        quick_world.states.notifications.lost = True
        await quick_world.answer("amy", 6)
        assert (await reader.update()).learner_id == quick_world.pseudonym("amy")


# Tenants are isolated.


async def test_another_tenants_learner_ids_are_answered_like_unknown_ones(world):
    await world.answer("amy", 40, response=1.0)
    async with world.serving() as process:
        async with process.reading("amy", api_key=world.other_api_key) as reader:
            anothers, _ = await reader.snapshot()
            await world.answer("amy", 40)
            offset = await world.answer("amy", 40, tenant="lakeside", response=1.0)
            assert (await reader.update()).provenance.applied.offset == offset
        async with process.reading("nobody", api_key=world.other_api_key) as reader:
            absent, _ = await reader.snapshot()
    assert not anothers["amy"].provenance.HasField("applied")
    assert anothers["amy"].degraded == absent["nobody"].degraded
    assert sorted(listed(anothers["amy"]), key=str) == sorted(listed(absent["nobody"]), key=str)


# Invalid requests.


@pytest.mark.parametrize(
    ("learner_ids", "fields", "said"),
    [
        ((), {}, {"learner_ids": "set whole_tenant"}),
        (("amy",), {"whole_tenant": True}, {"learner_ids": "leave learner_ids empty"}),
        (tuple(map(str, range(1_001))), {}, {"learner_ids": "name at most 1000"}),
        (("amy", "", "amy"), {}, {"learner_ids[1]": "it is empty", "learner_ids[2]": "learner_ids[0]"}),
        (("jos\u00e9", "jose\u0301"), {}, {"learner_ids[1]": "the same learner is at learner_ids[0]"}),
        (("amy",), {"limit": 21, "class_id": "c" * 300}, {"limit": "ask for 1 to 20", "class_id": "at most 256"}),
        (
            ("amy",),
            {"filter": recommender_pb2.ResourceFilter(kinds=[catalog_pb2.RESOURCE_KIND_UNSPECIFIED])},
            {"filter.kinds[0]": "use RESOURCE_KIND_LESSON"},
        ),
        ((), {"whole_tenant": True, "cursors": {"amy": "x"}}, {"cursors[0].learner_id": "not a pseudonym"}),
    ],
)
async def test_a_request_that_cannot_be_answered_names_the_field_and_the_remedy(world, learner_ids, fields, said):
    async with world.serving() as process, process.reading(*learner_ids, **fields) as reader:
        error = await reader.refusal()
        assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
        violations = {violation.field: violation.reason for violation in violations_of(error)}
        assert violations.keys() == said.keys()
        assert all(part in violations[field] for field, part in said.items())


# Limits.


@pytest.mark.parametrize(
    ("limits", "cap"),
    [
        ({"streams_per_tenant": 1}, "STREAMS_PER_TENANT"),
        ({"streams": 1}, "STREAMS"),
        ({"learners_per_tenant": 3}, "LEARNERS_PER_TENANT"),
        ({"learners": 3}, "LEARNERS"),
    ],
)
async def test_a_limit_that_would_be_exceeded_is_named_and_frees_up_again(world, limits, cap):
    world.limits = SubscriptionLimits(**limits)
    async with world.serving() as process:
        async with process.reading("amy", "ben") as first:
            await first.snapshot()
            async with process.reading("amy", "eve") as second:
                error = await second.refusal()
            assert (error.code(), reason_of(error)) == (grpc.StatusCode.RESOURCE_EXHAUSTED, f"SUBSCRIBE_{cap}")
            assert f"CAIRN_SUBSCRIBE_{cap}" in error.details()
            assert retry_after_s_of(error) == 5.0
            if "PER_TENANT" in cap:
                async with process.reading("amy", "eve", api_key=world.other_api_key) as anothers:
                    await anothers.snapshot()
        await until(lambda: not len(process.subscriptions))
        async with process.reading("amy", "eve") as second:
            await second.snapshot()


async def test_a_whole_tenant_that_outgrows_the_limit_ends_its_stream_with_the_limits_name(world):
    world.limits = SubscriptionLimits(learners_per_tenant=1)
    await world.answer("amy", 6)
    async with world.serving() as process, process.reading(whole_tenant=True) as reader:
        await reader.snapshot()
        await world.answer("ben", 6)
        error, _ = await reader.end()
        assert reason_of(error) == "SUBSCRIBE_LEARNERS_PER_TENANT"


async def test_a_reader_that_stops_reading_ends_with_the_status_and_holds_nothing_meanwhile(world):
    world.write_timeout_s = 1.0
    names = [f"learner-{number}" for number in range(1_000)]
    async with world.serving() as process, process.reading(*names, limit=20, options=NARROW) as reader:
        await reader.update()
        # It does not block others.
        async with process.reading("amy") as other:
            await other.snapshot()
            await until(lambda: len(process.subscriptions) == 1)
            await world.answer("amy", 40, response=1.0)
            await other.update()
        error, messages = await reader.end()
        assert (error.code(), reason_of(error)) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "READER_TOO_SLOW")
        assert len(messages) < 999
        # The reader can resume after what it has read.
        async with process.reading(*names, limit=20, cursors=reader.cursors) as again:
            updates, learners = await again.snapshot()
            assert learners == 1_000
            assert len(updates) == 1_000 - 1 - len(messages)


async def test_a_stream_that_the_server_ends_for_its_age_can_be_resumed(world):
    async with world.serving() as process:
        async with process.reading("amy", "ben") as reader:
            await reader.snapshot()
            (subscription,) = process.subscriptions
            subscription.ends_at_s = time.monotonic()
            error, _ = await reader.end()
            assert (error.code(), reason_of(error)) == (grpc.StatusCode.ABORTED, "AGED")
        async with process.reading("amy", "ben", cursors=reader.cursors) as reader:
            assert await reader.snapshot() == ({}, 2)


async def test_streams_end_at_once_when_the_server_stops_and_new_ones_are_refused(world):
    async with world.serving() as process, process.reading("amy") as reader:
        await reader.snapshot()
        process.subscriptions.stop()
        error, _ = await reader.end()
        assert (error.code(), reason_of(error)) == (grpc.StatusCode.ABORTED, "STOPPING")
        async with process.reading("amy") as late:
            assert reason_of(await late.refusal()) == "STOPPING"


async def test_readers_that_leave_do_not_affect_others(world):
    names = [f"learner-{number}" for number in range(12)]
    memory = psutil.Process().memory_info
    async with world.serving() as process:
        async with grpc.aio.insecure_channel(process.address) as channel:
            stub = recommender_pb2_grpc.RecommendationServiceStub(channel)

            async def come_and_go(times):
                for number in range(times):
                    request = recommender_pb2.SubscribeRequest(learner_ids=names)
                    call = stub.Subscribe(request, metadata=bearer(world.api_key))
                    for _ in range(number % 13):
                        await call.read()
                    call.cancel()
                await until(lambda: not len(process.subscriptions))

            await come_and_go(40)
            before = memory().rss
            await come_and_go(80)
            assert memory().rss - before < 8e6
        assert not process.subscriptions.learners
        assert not +world.states.notifications._watched
