"""Fail points make a worker exit, stop or raise at a chosen step, so that tests can check how it recovers.

They are off unless `CAIRN_FAIL_POINT` names one, and refused unless `CAIRN_ALLOW_FAIL_POINTS` is true.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from services.recommender.application.ports.learners import NOTHING_AHEAD, FoldStore, LearnerCommit, PartitionProgress
from services.recommender.application.ports.log import RecordMark
from services.recommender.application.ports.quarantine import QuarantineStore, Skipped
from services.recommender.domain.learner.record import LearnerRecord


class Step(StrEnum):
    """A step of the worker."""

    BEFORE_COMMIT = "before-commit"  # learners are folded, but nothing is stored
    AFTER_COMMIT = "after-commit"  # learners are stored, but the partitions' positions are not
    BEFORE_ACKNOWLEDGEMENT = "before-acknowledgement"  # positions are stored, but not committed to Kafka
    AFTER_ACKNOWLEDGEMENT = "after-acknowledgement"  # positions are committed to Kafka
    DEAD_LETTER_COUNT = "dead-letter-count"  # the dead-letter agent has a letter but has not counted it


class Action(StrEnum):
    """What a fail point does."""

    KILL = "kill"  # kills the process, as a power cut would
    STOP = "stop"  # stops the process until SIGCONT
    RAISE = "raise"  # raises an exception that nothing handles


_SIGNALS = {Action.KILL: signal.SIGKILL, Action.STOP: signal.SIGSTOP}


class FailPointInvalidError(ValueError):
    """A fail point is not of the form STEP:ACTION:OCCASION."""


class FailPointReachedError(Exception):
    """The exception of a fail point with the action `raise`."""


@dataclass(frozen=True, slots=True)
class FailPoint:
    """A step, an action, and the occasion on which the action is taken, counted from 1."""

    step: Step
    action: Action
    occasion: int

    @classmethod
    def parse(cls, text: str) -> FailPoint:
        """Parse `STEP:ACTION:OCCASION`, for example `after-commit:kill:5`.

        Raises:
            FailPointInvalidError: when the text has another form.
        """
        try:
            step, action, occasion = text.split(":")
            return cls(Step(step), Action(action), int(occasion))
        except ValueError as error:
            raise FailPointInvalidError(
                f"{text!r} is not STEP:ACTION:OCCASION with a step of {', '.join(Step)}, an action of "
                f"{', '.join(Action)} and a number"
            ) from error


class FailPoints:
    """Counts how often a step is reached, and takes the action on the chosen occasion."""

    def __init__(self, fail_point: FailPoint, signal_self: Callable[[signal.Signals], None] | None = None) -> None:
        """Args: `signal_self` sends this process a signal."""
        self._fail_point = fail_point
        self._signal_self = signal_self or (lambda number: os.kill(os.getpid(), number))
        self._reached = 0

    def reach(self, step: Step) -> None:
        """Record that a step was reached.

        Raises:
            FailPointReachedError: when this is the chosen occasion and the action is `raise`.
        """
        if step is not self._fail_point.step:
            return
        self._reached += 1
        if self._reached != self._fail_point.occasion:
            return
        if self._fail_point.action is Action.RAISE:
            raise FailPointReachedError(f"the fail point {step} was reached {self._reached} times")
        self._signal_self(_SIGNALS[self._fail_point.action])


class FailingFoldStore:
    """A FoldStore with fail points around its writes."""

    def __init__(self, store: FoldStore, fail_points: FailPoints) -> None:
        self._store = store
        self._fail_points = fail_points

    async def progress(self, partitions: Sequence[int]) -> dict[int, PartitionProgress]:
        """Return the progress by partition."""
        return await self._store.progress(partitions)

    async def read(
        self, partitions: Sequence[int], keys: Sequence[bytes]
    ) -> tuple[dict[int, int], list[LearnerRecord]]:
        """Read partitions and learners; see `FoldStore.read`."""
        return await self._store.read(partitions, keys)

    async def commit(self, commits: Sequence[LearnerCommit], ahead: Mapping[int, RecordMark] = NOTHING_AHEAD) -> None:
        """Store learners, with a fail point before and after."""
        self._fail_points.reach(Step.BEFORE_COMMIT)
        await self._store.commit(commits, ahead)
        self._fail_points.reach(Step.AFTER_COMMIT)

    @property
    def quarantine(self) -> QuarantineStore:
        """The epoch's quarantined learners."""
        return self._store.quarantine

    async def advance(
        self, moves: Mapping[int, tuple[PartitionProgress | None, PartitionProgress]], skipped: Skipped | None = None
    ) -> None:
        """Move partitions, with a fail point after."""
        await self._store.advance(moves, skipped)
        self._fail_points.reach(Step.BEFORE_ACKNOWLEDGEMENT)
