"""The client of subscriptions: it comes back with the cursors it has, unhurried, and gives up where trying is vain."""

from __future__ import annotations

from contextlib import aclosing

import grpc
import pytest

from cairn.v1 import recommender_pb2
from services.recommender.client import LearnerUpdates


class Call:
    """A stream that says what a test has prepared, then ends."""

    def __init__(self, responses, status):
        self._responses, self._status = responses, status
        self.cancelled = False

    async def __aiter__(self):
        for response in self._responses:
            yield response
        if self._status is not None:
            raise grpc.aio.AioRpcError(self._status, grpc.aio.Metadata(), grpc.aio.Metadata(), "because")

    def cancel(self):
        self.cancelled = True


class Stub:
    """Streams in the order they are opened; after the last, the reader is refused."""

    def __init__(self, *calls):
        self._calls = iter((*calls, Call([], grpc.StatusCode.UNAUTHENTICATED)))
        self.calls, self.requests = [], []

    def Subscribe(self, request, metadata):  # noqa: N802 - the name of the RPC.
        assert metadata == (("authorization", "Bearer key"),)
        self.requests.append({each.learner_id: each.cursor for each in request.cursors})
        self.calls.append(next(self._calls))
        return self.calls[-1]


def update(learner_id, cursor):
    return recommender_pb2.SubscribeResponse(update=recommender_pb2.LearnerUpdate(learner_id=learner_id, cursor=cursor))


def snapshot(learners):
    return recommender_pb2.SubscribeResponse(snapshot_complete=recommender_pb2.SnapshotComplete(learners=learners))


def gone(learner_id):
    return recommender_pb2.SubscribeResponse(gone=recommender_pb2.LearnerGone(learner_id=learner_id))


def updates_of(stub, **options):
    request = recommender_pb2.SubscribeRequest(learner_ids=["amy", "ben"])
    slept = []

    async def sleep(seconds):
        slept.append(seconds)

    options = {"first_pause_s": 1.0, "longest_pause_s": 5.0, "jitter": lambda: 1.0} | options
    return LearnerUpdates(stub, request, [("authorization", "Bearer key")], sleep=sleep, **options), slept


async def had_of(updates):
    """Updates up to the refusal."""
    had = []
    async with aclosing(aiter(updates)) as stream:
        while True:
            try:
                each = await anext(stream)
            except grpc.aio.AioRpcError as error:
                return had if error.code() is grpc.StatusCode.UNAUTHENTICATED else [*had, error]
            had.append((each.learner_id, each.cursor))


PASSING = [
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.INTERNAL,
    None,
]


@pytest.mark.parametrize("status", PASSING)
async def test_a_stream_that_ended_is_opened_again_with_the_last_cursors(status):
    first = Call([update("amy", "a1"), update("ben", "b1"), snapshot(2), update("amy", "a2")], status)
    stub = Stub(first, Call([snapshot(2), update("ben", "b2")], status))
    snapshots = []
    updates, _ = updates_of(stub, on_snapshot=snapshots.append)
    assert await had_of(updates) == [("amy", "a1"), ("ben", "b1"), ("amy", "a2"), ("ben", "b2")]
    assert stub.requests == [{}, {"amy": "a2", "ben": "b1"}, {"amy": "a2", "ben": "b2"}]
    assert snapshots == [2, 2]
    assert updates.cursors == {"amy": "a2", "ben": "b2"}
    assert all(call.cancelled for call in stub.calls)


async def test_an_earlier_readers_cursors_are_where_it_begins():
    stub = Stub()
    updates, _ = updates_of(stub, cursors={"amy": "a7"})
    assert await had_of(updates) == []
    assert stub.requests == [{"amy": "a7"}]


async def test_an_update_counts_as_had_only_when_the_next_one_is_asked_for():
    updates, _ = updates_of(Stub(Call([update("amy", "a1"), update("ben", "b1")], None)))
    async with aclosing(aiter(updates)) as stream:
        await anext(stream)
        assert updates.cursors == {}
        await anext(stream)
        assert updates.cursors == {"amy": "a1"}


async def test_pauses_grow_while_nothing_comes_and_begin_anew_once_something_does():
    away = [Call([], grpc.StatusCode.UNAVAILABLE) for _ in range(4)]
    stub = Stub(*away, Call([snapshot(2)], grpc.StatusCode.ABORTED), Call([], grpc.StatusCode.UNAVAILABLE))
    told = []
    updates, slept = updates_of(stub, on_pause=lambda why, pause_s: told.append((why, pause_s)))
    await had_of(updates)
    assert slept == [1.0, 2.0, 4.0, 5.0, 1.0, 2.0]
    assert told[0] == ("UNAVAILABLE: because", 1.0)
    halved, slept = updates_of(Stub(Call([], None)), jitter=lambda: 0.0)
    await had_of(halved)
    assert slept == [0.5]


async def test_of_a_learner_who_was_forgotten_no_cursor_is_kept():
    stub = Stub(Call([update("amy", "a1"), update("ben", "b1"), gone("amy"), snapshot(1)], None))
    told, snapshots = [], []
    updates, _ = updates_of(stub, on_gone=told.append, on_snapshot=snapshots.append)
    assert await had_of(updates) == [("amy", "a1"), ("ben", "b1")]
    assert (told, snapshots, updates.cursors) == (["amy"], [1], {"ben": "b1"})
    assert stub.requests[1] == {"ben": "b1"}
