"""Learners whose stored value is damaged: they are quarantined, and everything goes on without them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:  # Commands import the errors, and the base installation has no numpy.
    from services.recommender.domain.learner.record import LearnerRecord

REMEDY = "rebuild it from the log with: cairn learner repair"


class LearnerDamagedError(RuntimeError):
    """What is stored about a learner cannot be used.

    Attributes:
        key: the learner's record key.
        reason: what is wrong with it.
    """

    def __init__(self, key: bytes, reason: str) -> None:
        super().__init__(f"what is stored about {key.decode(errors='replace')} is damaged: {reason}; {REMEDY}")
        self.key = key
        self.reason = reason


class LearnersDamagedError(RuntimeError):
    """What is stored about some learners of a fold cannot be used.

    Attributes:
        damaged: what is wrong, by record key.
    """

    def __init__(self, damaged: Mapping[bytes, str]) -> None:
        key, reason = next(iter(damaged.items()))
        more = f", and that of {len(damaged) - 1} more" if len(damaged) > 1 else ""
        super().__init__(f"what is stored about {key.decode(errors='replace')} is damaged: {reason}{more}; {REMEDY}")
        self.damaged = damaged


class QuarantineChangedError(RuntimeError):
    """A learner was quarantined or released while a batch was folded: the batch must be folded again.

    Attributes:
        moved: partitions whose position moved nevertheless.
    """

    def __init__(self, moved: Collection[int]) -> None:
        super().__init__("learners were quarantined or released meanwhile; fold the batch again")
        self.moved = moved


@dataclass(frozen=True, slots=True)
class QuarantinedLearner:
    """A learner in quarantine. What was stored about them stays as it was, until they are erased or repaired.

    Attributes:
        partition: the partition of the learner's records.
        since: records from this offset on are not in the learner's state; they are counted as quarantined.
        records: how many those are, below the partition's position.
        reason: what is wrong with the stored value.
    """

    partition: int
    since: int
    records: int
    reason: str


@dataclass(frozen=True, slots=True)
class Quarantine:
    """The quarantined learners of an epoch.

    Attributes:
        version: another number after each learner that was quarantined or released.
        learners: by record key.
    """

    version: int = 0
    learners: Mapping[bytes, QuarantinedLearner] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Skipped:
    """The records of a batch that were not folded because their learners are quarantined.

    Attributes:
        version: of the quarantine that the batch was folded with.
        records: counted records, by partition and record key.
    """

    version: int
    records: Mapping[int, Mapping[bytes, int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RepairedLearner:
    """A quarantined learner, rebuilt from the log.

    Attributes:
        key: the learner's record key.
        partition: the partition of the learner's records.
        records: the quarantined records when the learner was rebuilt.
        stored: the learner to store instead of what was there.
        applied: how many of the quarantined records were applied.
        duplicates: how many of them were left out as duplicates.
        dead_lettered: how many of them went to the dead letters.
        conflicts: how many of them say something else than an earlier one of their source and id. The others can no
            longer be read.
    """

    key: bytes
    partition: int
    records: int
    stored: LearnerRecord
    applied: int
    duplicates: int
    dead_lettered: int
    conflicts: int = 0

    @property
    def erased(self) -> int:
        """How many of the quarantined records can no longer be read."""
        return self.records - self.applied - self.duplicates - self.dead_lettered - self.conflicts


class QuarantineStore(Protocol):
    """The quarantine of one epoch. Every call may raise StateUnavailableError."""

    async def read(self) -> Quarantine:
        """The learners in quarantine now."""
        ...

    async def add(self, partition: int, position: int, damaged: Mapping[bytes, str]) -> None:
        """Quarantine learners of a partition, and notify of them; those already in quarantine stay as they are.

        Args:
            partition: the partition of their records.
            position: its position; records from there on are not in their state.
            damaged: what is wrong, by record key.

        Raises:
            CommitRefusedError: when the partition's position is another one.
        """
        ...

    async def forget(self, partition: int, position: int, keys: Collection[bytes]) -> None:
        """Remove what is stored about quarantined learners who were erased; they stay in quarantine.

        Raises:
            CommitRefusedError: when the partition's position is another one.
        """
        ...

    async def progress_of(self, key: bytes, partition: int) -> tuple[QuarantinedLearner | None, int | None]:
        """A learner's entry, and the partition's position at that time or later."""
        ...

    async def release(self, repaired: RepairedLearner) -> bool:
        """Store a rebuilt learner, count their records, and release them, in one step.

        Returns:
            False when the learner has more quarantined records by now, or is not in quarantine: nothing was changed.
        """
        ...
