"""Learner state: reading, writing, and notifications of changes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

from services.recommender.application.ports.log import RecordMark
from services.recommender.application.ports.quarantine import LearnerDamagedError, QuarantineStore, Skipped
from services.recommender.domain.learner.record import LearnerRecord
from services.recommender.domain.learner.state import LearnerState


@dataclass(frozen=True, slots=True, order=True)
class LearnerKey:
    """A learner of a tenant, by pseudonym."""

    tenant: str
    learner: str


@dataclass(frozen=True, slots=True)
class StoredLearner:
    """A learner's state as stored, and the offset of the last record that changed it."""

    state: LearnerState
    offset: int


class StateUnavailableError(ConnectionError):
    """Learner state cannot be read now, so nothing is known about it."""


class StateRefusedError(StateUnavailableError):
    """The store answers with an error that waiting does not fix."""


class LearnerReader(Protocol):
    """Read side of learner states, as the server uses it. Every call may raise StateUnavailableError."""

    async def read(self, epoch: int, key: LearnerKey) -> StoredLearner | None:
        """A learner's state, or None when the epoch has none for it.

        Raises:
            LearnerDamagedError: when what is stored cannot be read, or the learner is quarantined.
        """
        ...

    async def read_many(
        self, epoch: int, keys: Sequence[LearnerKey]
    ) -> list[StoredLearner | LearnerDamagedError | None]:
        """States in the order of `keys`, in one round trip; the error where `read` would raise one."""
        ...

    async def applied_offset(self, epoch: int, key: LearnerKey) -> int | None:
        """Offset of the last record that changed the learner, or None."""
        ...

    async def position(self, epoch: int, partition: int) -> int | None:
        """One past the last record dealt with; None when the epoch never saw the partition."""
        ...


class LearnerOffsets(Protocol):
    """Finds out whether learners changed. Every call may raise StateUnavailableError."""

    async def applied_offsets(self, epoch: int, keys: Sequence[LearnerKey]) -> list[int | None]:
        """Offset of the last record that changed each learner, in the order of `keys`.

        None: nothing is stored, or the learner is damaged or quarantined.
        """
        ...

    def learners_of(self, epoch: int, tenant: str) -> AsyncIterator[Sequence[str]]:
        """Pseudonyms of all learners of a tenant, in batches, unordered; one may occur twice."""
        ...


class ChangeListener(Protocol):
    """Receives notifications of changed learners."""

    def changed(self, key: bytes, offset: int, traceparent: str) -> None:
        """A learner, by record key, was stored with the state at `offset`; `traceparent` may be empty."""
        ...

    def missed_some(self) -> None:
        """Changes before this call may have been missed; later ones are notified."""
        ...


class ChangeNotifications(Protocol):
    """Notifications of changed learners. They may be lost: listeners compare offsets from time to time."""

    def follow(self, epoch: int) -> None:
        """Notify of changes in this epoch only."""
        ...

    def watch(self, keys: Iterable[bytes]) -> None:
        """Notify of these learners, by record key; each `watch` counts. Others may be notified too."""
        ...

    def unwatch(self, keys: Iterable[bytes]) -> None:
        """Undo one `watch` of these learners."""
        ...

    def watch_all(self) -> None:
        """Notify of every learner; each `watch_all` counts."""
        ...

    def unwatch_all(self) -> None:
        """Undo one `watch_all`."""
        ...

    async def run(self, listener: ChangeListener) -> None:
        """Notify the listener until cancelled; reconnect when necessary."""
        ...


@dataclass(frozen=True, slots=True)
class PartitionProgress:
    """The progress of an epoch in one partition, and counts of the records before it.

    Attributes:
        position: one past the last record dealt with.
        applied: records folded into a learner, each log record once.
        duplicates: records left out because an earlier one has their source and id.
        dead_lettered: records that went to the dead-letter topic.
        erased: records that are unreadable because the learner's key was destroyed.
        lost: records that are unreadable because the learner's key is lost, which an operator accepted.
        conflicts: records left out because an earlier one has their source and id and says something else. Each is
            among the dead letters, but not counted in `dead_lettered`.
        quarantined: records of quarantined learners, which are not folded yet. With those of the other counts, they are
            all records below the position.
        marks: records before the position, ascending, that show whether the log is still the one that was folded; empty
            when nothing was folded yet, or by a release that did not store it.
        ahead: the furthest record at or after the position up to which learners may have been stored already; None: the
            last batch was finished.
    """

    position: int
    applied: int
    duplicates: int
    dead_lettered: int
    erased: int = 0
    lost: int = 0
    conflicts: int = 0
    quarantined: int = 0
    marks: tuple[RecordMark, ...] = ()
    ahead: RecordMark | None = None

    @property
    def records(self) -> int:
        """How many records before the position are accounted for."""
        return self.applied + self.duplicates + self.dead_lettered + self.erased + self.lost + self.conflicts


@dataclass(frozen=True, slots=True)
class LearnerCommit:
    """A learner to be stored.

    Attributes:
        key: the learner's record key, `tenant/learner`.
        expected_offset: the stored offset when the learner was read; -1: nothing was stored.
        stored: the learner to store.
        seen: fingerprint and content of each event to append to the window of seen events, which `stored` has already.
        checkpoint_changed: whether the journal's checkpoint must be written too.
        traceparent: the trace of the last record, which notifications carry; empty: none.
        erased: whether the learner was erased: nothing stored before may remain. Without a state it is a tombstone.
    """

    key: bytes
    expected_offset: int
    stored: LearnerRecord
    seen: bytes
    checkpoint_changed: bool
    traceparent: str = ""
    erased: bool = False


class CommitRefusedError(RuntimeError):
    """The stored data changed since it was read: another process folds the same partition, or the store lost data."""


def epoch_replaced(epoch: int) -> CommitRefusedError:
    """The error for a write to an epoch that is gone."""
    return CommitRefusedError(
        f"epoch {epoch} is gone, or another one has its number: it was dropped, or the store lost data; this "
        "worker ends and starts again from what is stored"
    )


NOTHING_AHEAD: Mapping[int, RecordMark] = MappingProxyType({})


class FoldStore(Protocol):
    """Write side of one epoch: what a fold reads and writes. Every call may raise StateUnavailableError."""

    async def progress(self, partitions: Sequence[int]) -> dict[int, PartitionProgress]:
        """Progress by partition, without partitions that the epoch never saw."""
        ...

    async def read(
        self, partitions: Sequence[int], keys: Sequence[bytes]
    ) -> tuple[dict[int, int], list[LearnerRecord]]:
        """Positions by partition (absent: never seen), and learners in the order of `keys` (NEW_LEARNER: none).

        Raises:
            LearnersDamagedError: when what is stored about some of them cannot be read.
        """
        ...

    @property
    def quarantine(self) -> QuarantineStore:
        """The epoch's quarantined learners."""
        ...

    async def commit(self, commits: Sequence[LearnerCommit], ahead: Mapping[int, RecordMark] = NOTHING_AHEAD) -> None:
        """Store each learner completely or not at all, only where the stored offset is still the expected one.

        Args:
            commits: the learners.
            ahead: by partition, what `PartitionProgress.ahead` is from now on; stored before any learner, where the
                partition has a position.

        Raises:
            CommitRefusedError: when one was refused; others may have been stored.
            LearnersDamagedError: when a stored value does not let itself be written; others may have been stored.
        """
        ...

    async def advance(
        self, moves: Mapping[int, tuple[PartitionProgress | None, PartitionProgress]], skipped: Skipped | None = None
    ) -> None:
        """Move partitions from the progress that was read (None: never seen) to the new one.

        Only differences of counts are added: a repair may have changed the stored ones.

        Args:
            moves: by partition.
            skipped: the records of quarantined learners in the batch, by partition; None: whatever is quarantined.

        Raises:
            CommitRefusedError: when a stored position is not the one that was read.
            QuarantineChangedError: when the quarantine is not the one that the batch was folded with.
        """
        ...
