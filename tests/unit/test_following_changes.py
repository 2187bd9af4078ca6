"""Which watched learners are checked again, and when; the clock advances only on request."""

from __future__ import annotations

import random

import pytest

from services.common.kafka.envelope import LogIdentity
from services.recommender.application.answers.active_models import ActiveEpoch
from services.recommender.application.ports.epochs import EpochMeta, EpochStatus
from services.recommender.application.subscriptions.follow_changes import FollowChanges
from services.recommender.application.subscriptions.list_cursors import NO_STATE
from services.recommender.application.subscriptions.subscriptions import (
    EndReason,
    SubscribeQuery,
    SubscriptionEndedError,
    SubscriptionLimits,
    Subscriptions,
)
from services.recommender.domain.learner.parameters import PRIOR_PARAMETERS_ID, TracingParameters
from services.recommender.domain.learner.record import LearnerRecord
from tests.adapters.memory_states import MemoryStates
from tests.learner_events import pseudonym
from tests.simulation.loops import SteppedLoop, VirtualClock

LOG = LogIdentity(bytes(16), 4)
TENANT = "riverbend"
LEARNERS = [pseudonym(number) for number in range(1_000)]


class Basis:
    """A number that tests change."""

    def __init__(self):
        self.current = 1

    def held(self, _tenant):
        return self.current

    number = held


class ActiveModels:
    """A current epoch."""

    has_epoch = True
    epoch = ActiveEpoch(
        EpochMeta(1, EpochStatus.LIVE, PRIOR_PARAMETERS_ID, "", str(LOG), {}),
        LOG,
        TracingParameters(),
        parameters_found=True,
    )


class Prepared:
    """Catalogs that are always prepared."""

    def current(self, _tenant):
        return object()


class World:
    """Followed subscriptions, with a clock that the test controls."""

    def __init__(self, age_s=None):
        self.clock = VirtualClock()
        self.loop = SteppedLoop(self.clock)
        self.states, self.inputs = MemoryStates(), Basis()
        self.states.learners[1] = {}
        self.opened_ones = []
        self.subscriptions = Subscriptions(
            self.states.notifications, self.inputs, SubscriptionLimits(), self.loop.time, age_s, random.Random(7)
        )
        self.follow = FollowChanges(
            self.subscriptions,
            self.states.notifications,
            self.states,
            ActiveModels(),
            self.inputs,
            Prepared(),
            self.loop.time,
        )
        self.following = self.loop.create_task(self.follow.run())

    def pass_time(self, seconds):
        until_s = self.clock.now_s + seconds
        while True:
            while self.loop.ready:
                self.loop.step()
            timer_s = self.loop.next_timer_s
            if timer_s is None or timer_s > until_s:
                break
            self.clock.now_s = timer_s
        self.clock.now_s = until_s

    def opened(self, learners, offset=3, **query):
        """A subscription whose reader has the lists of all learners, as of `offset`."""
        opened = self.subscriptions.opened(TENANT, SubscribeQuery(learners, **query))
        subscription = opened.__enter__()
        self.opened_ones.append(opened)
        for learner in learners:
            self.store(learner, offset)
        subscription.take(len(learners))
        for watched in subscription.watched.values():
            watched.offset, watched.inputs = offset, self.inputs.current
        return opened, subscription

    def store(self, learner, offset):
        """Store a state without a notification."""
        self.states.learners[1][f"{TENANT}/{learner}".encode()] = LearnerRecord(offset, None, (), b"", b"")

    def close(self):
        assert not self.following.done()
        self.following.cancel()
        self.pass_time(0)
        self.loop.close()


@pytest.fixture
def world(monkeypatch):
    world = World()

    async def offsets(_epoch, keys):
        return [world.states.learners[1][f"{key.tenant}/{key.learner}".encode()].offset for key in keys]

    monkeypatch.setattr(world.states, "applied_offsets", offsets)
    yield world
    world.close()


def test_no_learner_is_checked_again_while_nothing_changes(world):
    _, subscription = world.opened(LEARNERS)
    world.pass_time(30)
    assert not subscription.dirty


def test_after_a_change_of_basis_all_learners_are_checked_within_ten_seconds(world):
    _, subscription = world.opened(LEARNERS)
    world.pass_time(3.3)
    world.inputs.current = 2
    marked = []
    for _ in range(10):
        world.pass_time(1)
        marked.append(len(subscription.dirty))
    assert all(abs(count - 100 * (second + 1)) <= 15 for second, count in enumerate(marked))
    world.pass_time(0.2)
    assert len(subscription.dirty) == 1_000


def test_consecutive_changes_of_basis_check_each_learner_once_in_ten_seconds(world):
    _, subscription = world.opened(LEARNERS[:100])
    looks = 0
    for _ in range(40):
        world.inputs.current += 1
        world.pass_time(0.5)
        for learner in subscription.take(100):
            subscription.watched[learner].inputs = world.inputs.current
            looks += 1
    assert 190 <= looks <= 210


def test_a_change_without_a_notification_is_found_within_five_seconds(world):
    _, subscription = world.opened(LEARNERS[:3])
    world.pass_time(0.5)
    world.store(LEARNERS[1], 9)
    world.pass_time(4.4)
    assert not subscription.dirty
    world.pass_time(0.2)
    assert list(subscription.dirty) == [LEARNERS[1]]


def test_the_tombstone_of_a_forgotten_learner_is_checked_once(world):
    _, subscription = world.opened(LEARNERS[:2])
    world.store(LEARNERS[0], 9)
    world.pass_time(6)
    assert subscription.take(2).keys() == {LEARNERS[0]}
    # There is an offset but no state.
    subscription.watched[LEARNERS[0]].offset = NO_STATE
    world.pass_time(60)
    assert not subscription.dirty
    world.store(LEARNERS[0], 12)
    world.pass_time(6)
    assert subscription.dirty.keys() == {LEARNERS[0]}


def test_a_missed_notification_is_made_up_for_immediately(world):
    _, subscription = world.opened(LEARNERS[:3])
    world.pass_time(0.5)
    world.store(LEARNERS[2], 9)
    world.subscriptions.missed_some()
    world.pass_time(0)
    assert list(subscription.dirty) == [LEARNERS[2]]


def test_a_notification_of_a_state_that_a_list_already_includes_is_ignored(world):
    _, subscription = world.opened(LEARNERS[:2], offset=7)
    world.subscriptions.changed(f"{TENANT}/{LEARNERS[0]}".encode(), 7, "")
    world.subscriptions.changed(f"lakeside/{LEARNERS[0]}".encode(), 8, "")
    world.subscriptions.changed(f"{TENANT}/{LEARNERS[5]}".encode(), 8, "")
    assert not subscription.dirty
    world.subscriptions.changed(f"{TENANT}/{LEARNERS[0]}".encode(), 8, "")
    assert list(subscription.dirty) == [LEARNERS[0]]
    # Offsets of another epoch are not comparable with these.
    world.inputs.current = 2
    world.subscriptions.changed(f"{TENANT}/{LEARNERS[1]}".encode(), 2, "")
    assert list(subscription.dirty) == LEARNERS[:2]


def test_streams_end_one_by_one_before_their_connections_are_old(world):
    world.subscriptions._age_s = 1_000.0
    opened = [world.opened([LEARNERS[number]])[1] for number in range(20)]
    assert all(800 <= subscription.ends_at_s <= 950 for subscription in opened)
    assert len({subscription.ends_at_s for subscription in opened}) == 20
    world.pass_time(799)
    for subscription in opened:
        subscription.check()
    world.pass_time(152)
    for subscription in opened:
        with pytest.raises(SubscriptionEndedError) as ended:
            subscription.check()
        assert ended.value.reason is EndReason.AGED


def test_a_learner_on_several_streams_is_marked_on_each_and_forgotten_with_the_last(world):
    (first, one), (second, other) = world.opened(LEARNERS[:2]), world.opened(LEARNERS[1:3])
    key = f"{TENANT}/{LEARNERS[1]}".encode()
    world.subscriptions.changed(key, 9, "")
    assert list(one.dirty) == list(other.dirty) == [LEARNERS[1]]
    assert world.subscriptions.learners == 4
    assert world.subscriptions.dirty == 2
    first.__exit__(None, None, None)
    world.subscriptions.changed(key, 10, "")
    assert world.subscriptions.learners == 2
    second.__exit__(None, None, None)
    assert not world.subscriptions.learners
    assert not world.subscriptions._watchers[TENANT]
    assert not +world.states.notifications._watched


def test_learners_marked_longest_are_taken_first_and_keep_their_age(world):
    _, subscription = world.opened(LEARNERS[:4])
    for at_s, learner in enumerate(LEARNERS[:4]):
        subscription.mark(learner, float(at_s))
    subscription.mark(LEARNERS[0], 9.0)
    taken = subscription.take(2)
    assert list(taken.items()) == [(LEARNERS[0], 0.0), (LEARNERS[1], 1.0)]
    # Returned after another notification: it keeps its age, and comes before later ones.
    subscription.mark(LEARNERS[1], 9.0)
    subscription.put_back({LEARNERS[1]: 1.0})
    assert list(subscription.take(9).items()) == [(LEARNERS[1], 1.0), (LEARNERS[2], 2.0), (LEARNERS[3], 3.0)]
