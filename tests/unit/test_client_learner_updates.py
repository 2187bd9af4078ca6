"""The subscription client: it resumes from its cursors, backs off, and gives up when another attempt cannot help."""

from __future__ import annotations

from contextlib import aclosing

import grpc
import pytest

from cairn.client import Backoff, LearnerUpdates
from cairn.v1 import recommender_pb2


class Call:
    """A stream of prepared responses."""

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
    """Opens prepared streams in order; after the last one it refuses."""

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


def updates_of(stub, jitter=lambda: 1.0, **options):
    request = recommender_pb2.SubscribeRequest(learner_ids=["amy", "ben"])
    slept = []

    async def sleep(seconds):
        slept.append(seconds)

    backoff = Backoff(first_s=1.0, longest_s=5.0, sleep=sleep, jitter=jitter)
    return LearnerUpdates(stub, request, [("authorization", "Bearer key")], backoff=backoff, **options), slept


async def updates_received(updates):
    """Collect updates until the refusal."""
    received = []
    async with aclosing(aiter(updates)) as stream:
        while True:
            try:
                each = await anext(stream)
            except grpc.aio.AioRpcError as error:
                return received if error.code() is grpc.StatusCode.UNAUTHENTICATED else [*received, error]
            received.append((each.learner_id, each.cursor))


RETRYABLE = [
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.INTERNAL,
    None,
]


@pytest.mark.parametrize("status", RETRYABLE)
async def test_a_stream_that_ended_is_reopened_with_the_last_cursors(status):
    first = Call([update("amy", "a1"), update("ben", "b1"), snapshot(2), update("amy", "a2")], status)
    stub = Stub(first, Call([snapshot(2), update("ben", "b2")], status))
    snapshots = []
    updates, _ = updates_of(stub, on_snapshot=snapshots.append)
    assert await updates_received(updates) == [("amy", "a1"), ("ben", "b1"), ("amy", "a2"), ("ben", "b2")]
    assert stub.requests == [{}, {"amy": "a2", "ben": "b1"}, {"amy": "a2", "ben": "b2"}]
    assert snapshots == [2, 2]
    assert updates.cursors == {"amy": "a2", "ben": "b2"}
    assert all(call.cancelled for call in stub.calls)


async def test_it_starts_at_the_cursors_of_an_earlier_subscription():
    stub = Stub()
    updates, _ = updates_of(stub, cursors={"amy": "a7"})
    assert await updates_received(updates) == []
    assert stub.requests == [{"amy": "a7"}]


async def test_an_update_counts_as_processed_only_when_the_next_one_is_requested():
    updates, _ = updates_of(Stub(Call([update("amy", "a1"), update("ben", "b1")], None)))
    async with aclosing(aiter(updates)) as stream:
        await anext(stream)
        assert updates.cursors == {}
        await anext(stream)
        assert updates.cursors == {"amy": "a1"}


async def test_pauses_grow_while_nothing_arrives_and_reset_once_something_does():
    away = [Call([], grpc.StatusCode.UNAVAILABLE) for _ in range(4)]
    stub = Stub(*away, Call([snapshot(2)], grpc.StatusCode.ABORTED), Call([], grpc.StatusCode.UNAVAILABLE))
    reported = []
    updates, slept = updates_of(stub, on_pause=lambda why, pause_s: reported.append((why, pause_s)))
    await updates_received(updates)
    assert slept == [1.0, 2.0, 4.0, 5.0, 1.0, 2.0]
    assert reported[0] == ("UNAVAILABLE: because", 1.0)
    halved, slept = updates_of(Stub(Call([], None)), jitter=lambda: 0.0)
    await updates_received(halved)
    assert slept == [0.5]


async def test_the_cursor_of_an_erased_learner_is_dropped():
    stub = Stub(Call([update("amy", "a1"), update("ben", "b1"), gone("amy"), snapshot(1)], None))
    reported, snapshots = [], []
    updates, _ = updates_of(stub, on_gone=reported.append, on_snapshot=snapshots.append)
    assert await updates_received(updates) == [("amy", "a1"), ("ben", "b1")]
    assert (reported, snapshots, updates.cursors) == (["amy"], [1], {"ben": "b1"})
    assert stub.requests[1] == {"ben": "b1"}
