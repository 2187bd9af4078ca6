"""Subscribe: lists kept up to date, sent when a resource, a step or a kind of reason differs."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, replace

from services.recommender.application.answers.dependencies import AnswerDependencies
from services.recommender.application.answers.fresh_state import FreshState
from services.recommender.application.answers.list_inputs import ListInputs
from services.recommender.application.answers.provenance import Provenance
from services.recommender.application.answers.rank_learner import Recommendations, RecommendQuery
from services.recommender.application.answers.rosters import LearnerProblem, ProblemKind
from services.recommender.application.ports.learners import LearnerKey, LearnerOffsets, StateUnavailableError
from services.recommender.application.ports.quarantine import LearnerDamagedError
from services.recommender.application.subscriptions.list_cursors import (
    NO_STATE,
    ListCursor,
    hash_of_inputs,
    hash_of_list,
)
from services.recommender.application.subscriptions.subscriptions import Subscription, Subscriptions

# States are read in batches of about as many as are ranked in this time; one that waited longer is read again.
_READ_AGE_S = 0.25
_LEARNERS_PER_READ_MIN, _LEARNERS_PER_READ_MAX = 4, 64
_OFFSETS_PER_READ = 500


@dataclass(frozen=True, slots=True)
class ListUpdate:
    """A learner's list that differs from the one the reader has.

    Attributes:
        learner: the pseudonym.
        answer: the list.
        cursor: what the reader will have with it.
        since_s: when the learner was marked, in monotonic seconds.
        traceparent: the trace of what changed the learner; empty: none.
    """

    learner: str
    answer: Recommendations
    cursor: ListCursor
    since_s: float
    traceparent: str = ""


@dataclass(frozen=True, slots=True)
class LearnerForgotten:
    """A learner of a tenant that is watched as a whole was erased, and the reader has their list."""

    learner: str


@dataclass(frozen=True, slots=True)
class LearnerUnreadable:
    """What is stored about a learner is damaged: there is no list until it is repaired."""

    learner: str
    problem: LearnerProblem


@dataclass(frozen=True, slots=True)
class SnapshotDone:
    """Every list has been sent, or is the one that the reader has."""

    learners: int


Message = ListUpdate | LearnerForgotten | LearnerUnreadable | SnapshotDone


class Subscribe:
    """Makes the messages of subscriptions.

    All subscriptions share the process's one thread with all other calls: one list is computed at a time, and between
    two lists everything else that is ready gets a turn.
    """

    def __init__(
        self,
        subscriptions: Subscriptions,
        answers: AnswerDependencies,
        offsets: LearnerOffsets,
        inputs: ListInputs,
        clock_s: Callable[[], float],
    ) -> None:
        """Args: ports; `clock_s` returns monotonic seconds."""
        self._subscriptions = subscriptions
        self._states = answers.states
        self._active_models = answers.active_models
        self._catalogs = answers.catalogs
        self._ranking = answers.ranking
        self._clock = answers.clock
        self._offsets = offsets
        self._inputs = inputs
        self._clock_s = clock_s
        self._turns = answers.turns

    async def messages(self, subscription: Subscription) -> AsyncGenerator[Message, None]:
        """The messages to send, until the subscription ends.

        Raises:
            StateUnavailableError: when a learner's state cannot be read.
            CapReachedError: when the tenant has too many learners.
            SubscriptionEndedError: when the server ends it.
        """
        if subscription.query.whole_tenant:
            async for learners in self._offsets.learners_of(self._active_models.epoch.meta.epoch, subscription.tenant):
                self._subscriptions.add(subscription, learners)
        await self._resume(subscription)
        not_sent, done, at_once = set(subscription.dirty), False, _LEARNERS_PER_READ_MIN
        while True:
            if not not_sent and not done:
                done = True
                yield SnapshotDone(len(subscription.watched))
            await subscription.wait_dirty()
            taken = list(subscription.take(at_once).items())
            fresh = await self._states.read_many([LearnerKey(subscription.tenant, learner) for learner, _ in taken])
            read_at_s = self._clock_s()
            for place, (learner, since_s) in enumerate(taken):
                if self._clock_s() - read_at_s > _READ_AGE_S:
                    # The reader is slow, or there is a backlog: by now there may be a newer state.
                    subscription.put_back(dict(taken[place:]))
                    at_once = max(place, _LEARNERS_PER_READ_MIN)
                    break
                state = fresh[place]
                if isinstance(state, StateUnavailableError):
                    raise state
                not_sent.discard(learner)
                update: Message | None
                if isinstance(state, LearnerDamagedError):
                    update = _notice_of(subscription, learner, state)
                else:
                    update = await self._update(subscription, learner, state, since_s)
                if update is not None:
                    yield update
            else:
                at_once = min(2 * at_once, _LEARNERS_PER_READ_MAX)

    async def _resume(self, subscription: Subscription) -> None:
        """Accept the reader's cursors; learners whose state and inputs did not change since are not ranked again."""
        known = {
            learner: cursor for learner, cursor in subscription.query.cursors.items() if learner in subscription.watched
        }
        if not known:
            return
        active = self._active_models.epoch
        # The number first: a later change gives a new number.
        epoch, inputs = active.meta.epoch, self._inputs.number(subscription.tenant)
        snapshot = await self._catalogs.snapshot(subscription.tenant, active)
        now = Provenance(self._clock.now(), epoch, None, snapshot.version, snapshot.bundle or "")
        inputs_hash = hash_of_inputs(now, snapshot.policy)
        learners = list(known)
        for start in range(0, len(learners), _OFFSETS_PER_READ):
            some = learners[start : start + _OFFSETS_PER_READ]
            keys = [LearnerKey(subscription.tenant, learner) for learner in some]
            for learner, offset in zip(some, await self._offsets.applied_offsets(epoch, keys), strict=True):
                watched, cursor = subscription.watched[learner], known[learner]
                watched.listed = cursor.listed
                # Without an offset, a new learner and a store that lost its data look the same: read the state.
                if offset is not None and offset == cursor.offset and cursor.inputs == inputs_hash:
                    watched.offset, watched.inputs = offset, inputs
                    subscription.dirty.pop(learner, None)

    async def _update(
        self, subscription: Subscription, learner: str, fresh: FreshState, since_s: float
    ) -> ListUpdate | LearnerForgotten | None:
        query, watched = subscription.query, subscription.watched[learner]
        watched.damaged = False
        inputs = self._inputs.number(subscription.tenant)
        if query.whole_tenant and fresh.stored is None:
            # A learner who is watched without being named had state before. They stay watched: they may answer again.
            had_list, watched.listed = bool(watched.listed), b""
            watched.offset, watched.inputs, watched.traceparent = NO_STATE, inputs, ""
            return LearnerForgotten(learner) if had_list else None
        wanted = RecommendQuery(learner, query.limit, query.wanted, class_id=query.class_id)
        # Before the turn: other tenants' lists continue while this catalog is prepared.
        await self._catalogs.snapshot(subscription.tenant, fresh.epoch)
        async with self._turns.piece(subscription.tenant):
            snapshot = await self._catalogs.snapshot(subscription.tenant, fresh.epoch)
            answer = self._ranking.rank(snapshot, wanted, fresh)
        offset = NO_STATE if fresh.stored is None else fresh.stored.offset
        watched.offset, watched.inputs = offset, inputs
        traceparent, watched.traceparent = watched.traceparent, ""
        listed = hash_of_list(answer)
        if listed == watched.listed:
            return None
        watched.listed = listed
        inputs_hash = hash_of_inputs(replace(answer.provenance, applied=None), snapshot.policy)
        cursor = ListCursor(offset, inputs_hash, listed)
        return ListUpdate(learner, answer, cursor, since_s, traceparent)


def _notice_of(subscription: Subscription, learner: str, error: LearnerDamagedError) -> LearnerUnreadable | None:
    """The message about a damaged learner, once; after the repair their list is sent, whatever the reader has."""
    watched = subscription.watched[learner]
    known, watched.damaged = watched.damaged, True
    watched.offset, watched.listed, watched.compared, watched.traceparent = None, b"", None, ""
    return None if known else LearnerUnreadable(learner, LearnerProblem(ProblemKind.DAMAGED, str(error)))
