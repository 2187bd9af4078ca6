"""Learner state: reading it, writing it, and notifications that it changed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

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
    """Learner state cannot be read now; nothing may be assumed about it."""


class StateRefusedError(StateUnavailableError):
    """The store answers, and with an error that waiting does not mend."""


class LearnerReader(Protocol):
    """Read side of learner states, as the server uses it. Every call may raise StateUnavailableError."""

    async def read(self, epoch: int, key: LearnerKey) -> StoredLearner | None:
        """A learner's state, or None when the epoch has none for it."""
        ...

    async def read_many(self, epoch: int, keys: Sequence[LearnerKey]) -> list[StoredLearner | None]:
        """States in the order of `keys`, in one round trip."""
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
        """Offset of the last record that changed each learner, in the order of `keys`; None: nothing is stored."""
        ...

    def learners_of(self, epoch: int, tenant: str) -> AsyncIterator[Sequence[str]]:
        """Pseudonyms of all learners of a tenant, some at a time, in no order; one may come twice."""
        ...


class ChangeListener(Protocol):
    """Is notified of learners that changed."""

    def changed(self, key: bytes, offset: int, traceparent: str) -> None:
        """A learner, by record key, was stored with the state at `offset`; part of a trace, or of none when empty."""
        ...

    def missed_some(self) -> None:
        """Changes up to now may have been missed; from now on they are notified."""
        ...


class ChangeNotifications(Protocol):
    """Notifications of learners that changed. They may be lost: listeners compare offsets from time to time."""

    def follow(self, epoch: int) -> None:
        """Notify of changes in this epoch, and in no other."""
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
        """Notify the listener until cancelled; reconnect as often as it takes."""
        ...


@dataclass(frozen=True, slots=True)
class PartitionProgress:
    """How far an epoch has come in one partition, and what became of the records before that.

    Attributes:
        position: one past the last record dealt with.
        applied: records folded into a learner, each log record once.
        duplicates: records left out because an earlier one has their source and id.
        dead_lettered: records that went to the dead-letter topic.
        erased: records that can no longer be read, because the learner's key was destroyed.
    """

    position: int
    applied: int
    duplicates: int
    dead_lettered: int
    erased: int = 0


@dataclass(frozen=True, slots=True)
class LearnerCommit:
    """A learner to be stored.

    Attributes:
        key: the learner's record key, `tenant/learner`.
        expected_offset: what the stored offset was when it was read; -1: there was nothing.
        stored: the learner as it is to be.
        fingerprints: to be appended to the window of seen events.
        checkpoint_changed: whether the journal's checkpoint must be written too.
        traceparent: the trace of the last record, which notifications carry; empty: none.
        erased: whether the learner was forgotten: nothing stored before may stay. Without a state it is a tombstone.
    """

    key: bytes
    expected_offset: int
    stored: LearnerRecord
    fingerprints: bytes
    checkpoint_changed: bool
    traceparent: str = ""
    erased: bool = False


class CommitRefusedError(RuntimeError):
    """What is stored is not what was read: another process folds the same partition, or the store lost data."""


def epoch_replaced(epoch: int) -> CommitRefusedError:
    """The refusal of what was folded for an epoch that is gone."""
    return CommitRefusedError(
        f"epoch {epoch} is gone, or is another one under its number: it was dropped, or the store lost data; this "
        "worker ends, and begins again from what is stored"
    )


class FoldStore(Protocol):
    """Write side of one epoch: what a fold reads and writes. Every call may raise StateUnavailableError."""

    async def progress(self, partitions: Sequence[int]) -> dict[int, PartitionProgress]:
        """Progress by partition; a partition the epoch never saw is absent."""
        ...

    async def read(
        self, partitions: Sequence[int], keys: Sequence[bytes]
    ) -> tuple[dict[int, int], list[LearnerRecord]]:
        """Positions by partition (absent: never seen), and learners in the order of `keys` (NEW_LEARNER: none)."""
        ...

    async def commit(self, commits: Sequence[LearnerCommit]) -> None:
        """Store learners, each whole or not at all, only where the stored offset is still the one expected.

        Raises:
            CommitRefusedError: when one was refused; others may have been stored.
        """
        ...

    async def advance(self, moves: Mapping[int, tuple[PartitionProgress | None, PartitionProgress]]) -> None:
        """Move partitions from the progress that was read (None: never seen) to the one reached.

        Raises:
            CommitRefusedError: when a stored position is not the one that was read.
        """
        ...
