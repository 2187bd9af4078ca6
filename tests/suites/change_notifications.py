"""What every source of word about changed learners does; run over memory and over Redis."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from services.recommender.application.ports.learners import ChangeNotifications
from tests.suites.learner_states import ADA, ALAN, commit, record_key_of

WITHIN_S = 5.0


class Listener:
    """Keeps what it is told."""

    def __init__(self):
        self.told = []
        self.traces = []
        self.gaps = 0
        self._more = asyncio.Event()

    def changed(self, key, offset, traceparent):
        self.told.append((key, offset))
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

    async def test_a_learner_that_was_stored_is_told_with_its_offset(self, notifications, listener, make_fold_store):
        notifications.follow(1)
        notifications.watch([record_key_of(ADA)])
        await listener.until(lambda: listener.gaps)
        first = commit(ADA, range(3))
        await make_fold_store(1).commit([first])
        await make_fold_store(1).commit([commit(ADA, range(7, 8), first.stored)])
        await listener.until(lambda: len(listener.told) == 2)
        assert listener.told == [(record_key_of(ADA), 2), (record_key_of(ADA), 7)]

    async def test_the_trace_of_what_was_stored_is_told_where_there_is_one(
        self, notifications, listener, make_fold_store
    ):
        notifications.follow(1)
        notifications.watch_all()
        await listener.until(lambda: listener.gaps)
        trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        await make_fold_store(1).commit([replace(commit(ADA, range(3)), traceparent=trace)])
        await make_fold_store(1).commit([commit(ALAN, range(4))])
        await listener.until(lambda: len(listener.told) == 2)
        assert listener.traces == [trace, ""]

    async def test_only_the_epoch_that_is_followed_is_heard_of(self, notifications, listener, make_fold_store):
        notifications.watch_all()
        notifications.follow(1)
        await listener.until(lambda: listener.gaps)
        gaps = listener.gaps
        notifications.follow(2)
        await listener.until(lambda: listener.gaps > gaps)
        await make_fold_store(1).commit([commit(ADA, range(3))])
        await make_fold_store(2).commit([commit(ALAN, range(5))])
        await listener.until(lambda: listener.told)
        assert listener.told == [(record_key_of(ALAN), 4)]

    async def test_every_learner_can_be_listened_to(self, notifications, listener, make_fold_store):
        notifications.follow(1)
        notifications.watch_all()
        await listener.until(lambda: listener.gaps)
        await make_fold_store(1).commit([commit(ADA, range(3)), commit(ALAN, range(4))])
        await listener.until(lambda: len(listener.told) == 2)
        assert sorted(listener.told) == sorted([(record_key_of(ADA), 2), (record_key_of(ALAN), 3)])

    async def test_who_watches_twice_and_takes_one_back_still_hears(self, notifications, listener, make_fold_store):
        notifications.follow(1)
        notifications.watch([record_key_of(ADA)])
        notifications.watch([record_key_of(ADA), record_key_of(ALAN)])
        await listener.until(lambda: listener.gaps)
        notifications.unwatch([record_key_of(ADA), record_key_of(ALAN)])
        notifications.watch_all()
        notifications.unwatch_all()
        await make_fold_store(1).commit([commit(ADA, range(3)), commit(ALAN, range(4))])
        await listener.until(lambda: listener.told)
        assert listener.told == [(record_key_of(ADA), 2)]

    async def test_a_refused_commit_is_not_told(self, notifications, listener, make_fold_store):
        notifications.follow(1)
        notifications.watch_all()
        await listener.until(lambda: listener.gaps)
        with pytest.raises(RuntimeError):
            await make_fold_store(1).commit([commit(ADA, range(3), expected=17)])
        await make_fold_store(1).commit([commit(ALAN, range(4))])
        await listener.until(lambda: listener.told)
        assert listener.told == [(record_key_of(ALAN), 3)]
