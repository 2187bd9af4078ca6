"""Epochs: generations of derived state."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from services.recommender.application.ports.learners import PartitionProgress


class EpochStatus(StrEnum):
    """Where an epoch is in its life."""

    BUILDING = "building"  # a replay is folding into it
    BUILT = "built"  # the replay reached its end positions
    CATCHING_UP = "catching-up"  # workers fold into it; it becomes current once it has no lag
    LIVE = "live"  # workers fold into it


@dataclass(frozen=True, slots=True)
class EpochMeta:
    """One generation of derived state.

    Attributes:
        epoch: its number, from 1.
        status: where it is in its life.
        parameters_id: id of the tracing parameters every fold into it uses.
        parameters_bundle: the bundle those parameters come from; empty for the priors.
        log_identity: the log it was folded from, as `services.common.kafka.connection.LogIdentity` text.
        end_positions: one past the last record, by partition, that it must reach before it may be served. Every
            correction before them counts, however far back its target lies.
    """

    epoch: int
    status: EpochStatus
    parameters_id: str
    parameters_bundle: str
    log_identity: str
    end_positions: Mapping[int, int]

    @property
    def fold_id(self) -> str:
        """Identifies what folding depends on besides the log's records: equal ids, equal learners at equal offsets.

        Two epochs of one number, begun before and after the store lost everything, may differ in it.
        """
        ends = ",".join(f"{partition}:{offset}" for partition, offset in sorted(self.end_positions.items()))
        return hashlib.sha256(f"{self.parameters_id}\0{self.log_identity}\0{ends}".encode()).hexdigest()[:16]


class EpochReader(Protocol):
    """Which epoch is served. Every call may raise StateUnavailableError."""

    async def current(self) -> EpochMeta | None:
        """The epoch to answer from, or None when there is none (yet, or because Redis lost it)."""
        ...


class EpochProgressReader(Protocol):
    """How far every epoch is, for operators. Every call may raise StateUnavailableError."""

    async def current_epoch(self) -> int | None:
        """Number of the epoch that is served, or None when there is none."""
        ...

    async def epochs(self) -> Sequence[EpochMeta]:
        """Every epoch that exists, by number."""
        ...

    async def progress(self, epoch: int) -> Mapping[int, PartitionProgress]:
        """Progress by partition; a partition the epoch never saw is absent."""
        ...


class EpochsLostError(RuntimeError):
    """The store no longer knows the epochs this process folds into."""


class EpochExistsError(ValueError):
    """There is an epoch of that number already."""


class EpochMissingError(LookupError):
    """There is no epoch of that number."""


def epoch_missing(epoch: int) -> EpochMissingError:
    """The refusal of what is asked of an epoch that is not there."""
    return EpochMissingError(f"there is no epoch {epoch}; list them with: cairn epoch list")


class EpochBehindError(RuntimeError):
    """The epoch has not reached where the log ended when it was begun: learners would be answered from less."""


def epoch_behind(epoch: int) -> EpochBehindError:
    """The refusal to serve an epoch early."""
    return EpochBehindError(
        f"epoch {epoch} has not reached where the log ended when it was begun, so it is not served: let workers fold "
        "the rest into it (cairn status shows how far they are)"
    )


class EpochStore(EpochProgressReader, Protocol):
    """Keeps the epochs. Every call may raise StateUnavailableError."""

    async def get(self, epoch: int) -> EpochMeta | None:
        """The epoch, or None."""
        ...

    async def create(self, meta: EpochMeta) -> None:
        """Begin an epoch. Raises EpochExistsError."""
        ...

    async def set_status(self, epoch: int, status: EpochStatus) -> None:
        """Note where an epoch is in its life. Raises EpochMissingError."""
        ...

    async def make_current(self, epoch: int) -> None:
        """Mark an epoch live and let servers answer from it, in one step, if it has reached its `end_positions`.

        Raises:
            EpochMissingError: when there is no such epoch.
            EpochBehindError: when it has not reached them, or no longer; nothing was changed.
        """
        ...

    async def drop(self, epoch: int) -> int:
        """Remove an epoch and everything stored in it; return how many learners that was. Raises EpochMissingError."""
        ...

    async def clear(self, epoch: int) -> int:
        """Remove what is stored in an epoch that nobody folds into; return how many learners that was."""
        ...

    async def keep_readable(self) -> None:
        """See that the store reads back what it holds, no more and no less, when it is next started.

        Called every second, and quick: after a start of the store it takes several calls until all is done.
        """
        ...

    def contents(self, epoch: int) -> AsyncIterator[StoredLearnerBytes]:
        """Everything stored about the epoch's learners, sorted by key."""
        ...

    def exclusive(self, epoch: int) -> AbstractAsyncContextManager[None]:
        """Hold the epoch for one replay. Raises EpochBusyError when another has it, or when the hold is lost."""
        ...


class EpochBusyError(RuntimeError):
    """Another process is replaying into the epoch."""


@dataclass(frozen=True, slots=True)
class StoredLearnerBytes:
    """A learner exactly as stored.

    Attributes:
        key: the record key.
        offset: of the last record that changed the learner.
        state: encoded state; empty: a learner who was forgotten.
        journal: encoded journal; empty for one who was forgotten.
        checkpoint: encoded checkpoint; empty: none.
        seen: fingerprints of the window, oldest first.
    """

    key: bytes
    offset: int
    state: bytes
    journal: bytes
    checkpoint: bytes
    seen: bytes


class EpochRestorer(Protocol):
    """Puts back into an epoch what a snapshot holds, exactly as it was stored. May raise StateUnavailableError."""

    async def put_learners(self, epoch: int, learners: Sequence[StoredLearnerBytes]) -> None:
        """Store learners that the epoch does not hold."""
        ...

    async def put_progress(self, epoch: int, progress: Mapping[int, PartitionProgress]) -> None:
        """Store how far the epoch has come."""
        ...
