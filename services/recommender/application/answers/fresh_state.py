"""A learner's state, as fresh as the caller requires."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from services.common.kafka.envelope import Position, record_key
from services.common.kafka.partitioner import partition_of
from services.common.rpc.freshness import Freshness
from services.recommender.application.answers.active_models import ActiveEpoch, ActiveModels
from services.recommender.application.ports.learners import (
    LearnerKey,
    LearnerReader,
    StateUnavailableError,
    StoredLearner,
)
from services.recommender.application.ports.quarantine import LearnerDamagedError

# Time reserved for ranking and the reply; at most half of the deadline.
_DEADLINE_MARGIN_S = 0.1
_WAIT_MAX_S = 30.0
_POLL_FIRST_S = 0.003
_POLL_LAST_S = 0.05
_POLLS_BEFORE_BACKING_OFF = 30
_BACK_OFF = 1.3


class LogDiffersError(ValueError):
    """A freshness token belongs to another log than the one that the epoch was folded from."""

    def __init__(self) -> None:
        super().__init__(
            "the token belongs to another log than the one answers come from: the topic was recreated since, or the "
            "state comes from an older one; publish the events again, or ask without a token"
        )


class StateLostError(StateUnavailableError):
    """The store has no state where there must be one: it lost data."""

    def __init__(self, partition: int) -> None:
        super().__init__(
            f"the learner has no state and the epoch has no position in partition {partition}: either no worker has "
            "read that partition yet, or the state store lost its data; wait for a worker, or run cairn replay"
        )


Unreadable = StateUnavailableError | LearnerDamagedError
"""Why the state of one of several learners cannot be read."""


@dataclass(frozen=True, slots=True)
class FreshState:
    """A learner's state as it was read.

    Attributes:
        epoch: the epoch it was read from.
        stored: the learner's state; None for a new learner.
        partition: the partition of the learner's records.
        stale: whether the requested event was still not applied when the deadline came near.
    """

    epoch: ActiveEpoch
    stored: StoredLearner | None
    partition: int
    stale: bool

    @property
    def applied(self) -> Position | None:
        """The last record that changed the learner."""
        return None if self.stored is None else Position(self.partition, self.stored.offset)

    @property
    def new_learner(self) -> bool:
        """Whether nothing is known of the learner yet."""
        return self.stored is None or not self.stored.state.responses


class FreshStates:
    """Reads states, and waits for an event to be applied when a caller requires it."""

    def __init__(self, learners: LearnerReader, active_models: ActiveModels, clock_s: Callable[[], float]) -> None:
        """Args: `clock_s` gives monotonic seconds."""
        self._learners = learners
        self._active_models = active_models
        self._clock_s = clock_s

    async def read(self, key: LearnerKey, freshness: Freshness | None, remaining_s: float) -> FreshState:
        """A learner's state.

        Args:
            key: the learner.
            freshness: the record the state must include, if any.
            remaining_s: time until the caller gives up.

        Raises:
            LogDiffersError: when `freshness` belongs to another log.
            LearnerDamagedError: when what is stored about the learner is damaged.
            StateUnavailableError: when the state cannot be read, or is missing although there must be one.
        """
        epoch = self._active_models.epoch
        partition = partition_of(record_key(key.tenant, key.learner), epoch.log.partitions)
        if freshness is not None and freshness.log_identity != epoch.log.topic_id:
            raise LogDiffersError
        stored = await self._learners.read(epoch.meta.epoch, key)
        stale = False
        if freshness is not None and not _includes(stored, partition, freshness.position):
            stale = not await self._wait(epoch, key, partition, freshness.position, remaining_s)
            stored = await self._learners.read(epoch.meta.epoch, key)
        if stored is None and await self._lost(epoch, {partition}):
            raise StateLostError(partition)
        return FreshState(epoch, stored, partition, stale)

    async def read_many(self, keys: Sequence[LearnerKey]) -> list[FreshState | Unreadable]:
        """States in the order of `keys`, read in one call; where one cannot be read, the reason.

        Raises:
            StateUnavailableError: when none can be read.
        """
        epoch = self._active_models.epoch
        partitions = [partition_of(record_key(key.tenant, key.learner), epoch.log.partitions) for key in keys]
        stored = await self._learners.read_many(epoch.meta.epoch, keys)
        absent = {partition for partition, one in zip(partitions, stored, strict=True) if one is None}
        lost = await self._lost(epoch, absent)
        states: list[FreshState | Unreadable] = []
        for partition, one in zip(partitions, stored, strict=True):
            if isinstance(one, LearnerDamagedError):
                states.append(one)
            elif one is None and partition in lost:
                states.append(StateLostError(partition))
            else:
                states.append(FreshState(epoch, one, partition, stale=False))
        return states

    async def _wait(
        self, epoch: ActiveEpoch, key: LearnerKey, partition: int, wanted: Position, remaining_s: float
    ) -> bool:
        gives_up_at_s = self._clock_s() + min(max(remaining_s - _DEADLINE_MARGIN_S, remaining_s / 2), _WAIT_MAX_S)
        pause_s, polls = _POLL_FIRST_S, 0
        while not await self._reached(epoch, key, partition, wanted):
            left_s = gives_up_at_s - self._clock_s()
            if left_s <= 0:
                return False
            await asyncio.sleep(min(pause_s, left_s))
            polls += 1
            if polls > _POLLS_BEFORE_BACKING_OFF:
                pause_s = min(pause_s * _BACK_OFF, _POLL_LAST_S)
        return True

    async def _reached(self, epoch: ActiveEpoch, key: LearnerKey, partition: int, wanted: Position) -> bool:
        number = epoch.meta.epoch
        if wanted.partition == partition:
            applied = await self._learners.applied_offset(number, key)
            if applied is not None and applied >= wanted.offset:
                return True
        # A duplicate, or an event of another learner, never moves this learner's offset; the position passes it.
        position = await self._learners.position(number, wanted.partition)
        return position is not None and position > wanted.offset

    async def _lost(self, epoch: ActiveEpoch, partitions: Collection[int]) -> set[int]:
        """The partitions in which a learner has no state although there must be one.

        A learner without state is new only if the epoch still exists and has a position in the partition.
        """
        if not partitions:
            return set()
        await self._active_models.refresh_epoch()
        if self._active_models.epoch.meta.epoch != epoch.meta.epoch:
            return set()
        number = epoch.meta.epoch
        positions = await asyncio.gather(*(self._learners.position(number, partition) for partition in partitions))
        return {partition for partition, position in zip(partitions, positions, strict=True) if position is None}


def _includes(stored: StoredLearner | None, partition: int, wanted: Position) -> bool:
    return stored is not None and wanted.partition == partition and stored.offset >= wanted.offset
