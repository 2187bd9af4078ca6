"""Behaviour of every source of change notifications; run on the in-memory and the Redis adapter."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from services.recommender.application.ports.learners import ChangeNotifications
from tests.suites.learner_states import ADA, ALAN, commit, record_key_of

WITHIN_S = 5.0


class Listener:
    """Records the notifications it receives."""

    def __init__(self):
        self.received = []
        self.traces = []
        self.gaps = 0
        self._more = asyncio.Event()

    def changed(self, key, offset, traceparent):
        self.received.append((key, offset))
        self.traces.append(traceparent)
        self._more.set()

    def missed_some(self):
        self.gaps += 1
        self._more.set()

    async def until(self, condition):
        async with asyncio.timeout(WITHIN_S):
            while not condition():
                self._more.clear()
                await self._more.wait()


class ChangeNotificationsSuite:
    """Inherited by a test class per adapter, with the fixtures `notifications` and `make_fold_store`."""

    @pytest.fixture
    async def listener(self, notifications: ChangeNotifications):
        listener = Listener()
        running = asyncio.create_task(notifications.run(listener))
        yield listener
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    async def test_storing_a_learner_sends_a_notification_with_its_offset(
        self, notifications, listener, make_fold_store
    ):
        notifications.follow(1)
        notifications.watch([record_key_of(ADA)])
        await listener.until(lambda: listener.gaps)
        first = commit(ADA, range(3))
        await make_fold_store(1).commit([first])
        await make_fold_store(1).commit([commit(ADA, range(7, 8), first.stored)])
        await listener.until(lambda: len(listener.received) == 2)
        assert listener.received == [(record_key_of(ADA), 2), (record_key_of(ADA), 7)]

    async def test_a_notification_carries_the_trace_of_the_commit_if_there_is_one(
        self, notifications, listener, make_fold_store
    ):
        notifications.follow(1)
        notifications.watch_all()
        await listener.until(lambda: listener.gaps)
        trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        await make_fold_store(1).commit([replace(commit(ADA, range(3)), traceparent=trace)])
        await make_fold_store(1).commit([commit(ALAN, range(4))])
        await listener.until(lambda: len(listener.received) == 2)
        assert listener.traces == [trace, ""]

    async def test_only_changes_of_the_followed_epoch_are_received(self, notifications, listener, make_fold_store):
        notifications.watch_all()
        notifications.follow(1)
        await listener.until(lambda: listener.gaps)
        gaps = listener.gaps
        notifications.follow(2)
        await listener.until(lambda: listener.gaps > gaps)
        await make_fold_store(1).commit([commit(ADA, range(3))])
        await make_fold_store(2).commit([commit(ALAN, range(5))])
        await listener.until(lambda: listener.received)
        assert listener.received == [(record_key_of(ALAN), 4)]

    async def test_changes_of_all_learners_can_be_received(self, notifications, listener, make_fold_store):
        notifications.follow(1)
        notifications.watch_all()
        await listener.until(lambda: listener.gaps)
        await make_fold_store(1).commit([commit(ADA, range(3)), commit(ALAN, range(4))])
        await listener.until(lambda: len(listener.received) == 2)
        assert sorted(listener.received) == sorted([(record_key_of(ADA), 2), (record_key_of(ALAN), 3)])

    async def test_a_learner_watched_twice_and_unwatched_once_is_still_watched(
        self, notifications, listener, make_fold_store
    ):
        notifications.follow(1)
        notifications.watch([record_key_of(ADA)])
        notifications.watch([record_key_of(ADA), record_key_of(ALAN)])
        await listener.until(lambda: listener.gaps)
        notifications.unwatch([record_key_of(ADA), record_key_of(ALAN)])
        notifications.watch_all()
        notifications.unwatch_all()
        await make_fold_store(1).commit([commit(ADA, range(3)), commit(ALAN, range(4))])
        await listener.until(lambda: listener.received)
        assert listener.received == [(record_key_of(ADA), 2)]

    async def test_a_refused_commit_sends_no_notification(self, notifications, listener, make_fold_store):
        notifications.follow(1)
        notifications.watch_all()
        await listener.until(lambda: listener.gaps)
        with pytest.raises(RuntimeError):
            await make_fold_store(1).commit([commit(ADA, range(3), expected=17)])
        await make_fold_store(1).commit([commit(ALAN, range(4))])
        await listener.until(lambda: listener.received)
        assert listener.received == [(record_key_of(ALAN), 3)]
