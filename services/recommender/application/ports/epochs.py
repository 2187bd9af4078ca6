"""Epochs: generations of derived state."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from services.common.encryption.values import KeyTopicSeen
from services.recommender.application.ports.learners import PartitionProgress
from services.recommender.application.ports.quarantine import Quarantine
from services.recommender.domain.learner.restamp import AssessedSkills, RestampedEvents


class FoldOrder(StrEnum):
    """The order in which a replay folds each learner's records."""

    LOG = "log"
    OCCURRED = "occurred"  # as domain/learner/occurred_order.py says


class EpochStatus(StrEnum):
    """The life cycle of an epoch."""

    BUILDING = "building"  # a replay is folding into it
    BUILT = "built"  # the replay reached its end positions
    CATCHING_UP = "catching-up"  # workers fold into it; it becomes current once it has no lag
    LIVE = "live"  # workers fold into it


@dataclass(frozen=True, slots=True)
class EpochRestamp:
    """From which catalog an epoch's events take their skills; the skills themselves are kept with the epoch.

    Attributes:
        events: which events.
        resources_offset: the catalog's version: up to where `cairn.resources` was read.
        skills_offset: the same of `cairn.skills`.
        skills_id: identifies the skills by their content.
        before: only events before these offsets, by partition.
    """

    events: RestampedEvents
    resources_offset: int
    skills_offset: int
    skills_id: str
    before: Mapping[int, int]

    @property
    def version(self) -> str:
        """The catalog's version, as `cairn catalog import` prints it."""
        return f"{self.resources_offset}/{self.skills_offset}"


@dataclass(frozen=True, slots=True)
class EpochMeta:
    """One generation of derived state.

    Attributes:
        epoch: its number, from 1.
        status: its status in the life cycle.
        parameters_id: id of the tracing parameters every fold into it uses.
        parameters_bundle: the bundle those parameters come from; empty for the priors.
        log_identity: the log it was folded from, as `services.common.kafka.connection.LogIdentity` text.
        end_positions: one past the last record, by partition, that it must reach before it may be served. Every
            correction before them counts, however far back its target lies.
        accepts_lost_keys: whether records before `end_positions` count as lost when their keys are not found.
        keys: the topic of keys when it was last seen; None: never yet, or by a release that did not note it.
        begin_positions: the first record that the log still held when the epoch was begun, by partition; only of
            partitions that had lost their beginning.
        order: the order in which each learner's records before `end_positions` are folded.
        restamp: from which catalog events take their skills; None: as they are stamped in the log.
        last_switch: the switch, counted from 1, that last made it current; 0: none did, or an earlier release.
    """

    epoch: int
    status: EpochStatus
    parameters_id: str
    parameters_bundle: str
    log_identity: str
    end_positions: Mapping[int, int]
    accepts_lost_keys: bool = False
    keys: KeyTopicSeen | None = None
    begin_positions: Mapping[int, int] = field(default_factory=dict)
    order: FoldOrder = FoldOrder.LOG
    restamp: EpochRestamp | None = None
    last_switch: int = 0

    @property
    def fold_id(self) -> str:
        """Identifies what folding depends on besides the records: equal ids give equal learners at equal offsets.

        It may differ between two epochs of one number, one created before and one after the store lost everything.
        """
        ends = ",".join(f"{partition}:{offset}" for partition, offset in sorted(self.end_positions.items()))
        how = "" if self.order is FoldOrder.LOG else f"\0{self.order}"
        if self.restamp is not None:
            before = ",".join(f"{partition}:{offset}" for partition, offset in sorted(self.restamp.before.items()))
            how += f"\0{self.restamp.events}\0{self.restamp.skills_id}\0{before}"
        return hashlib.sha256(f"{self.parameters_id}\0{self.log_identity}\0{ends}{how}".encode()).hexdigest()[:16]


class EpochReader(Protocol):
    """Which epoch is served. Every call may raise StateUnavailableError."""

    async def current(self) -> EpochMeta | None:
        """The epoch to answer from, or None when there is none (yet, or because the state store lost it)."""
        ...


class EpochProgressReader(Protocol):
    """The progress of every epoch, for operators. Every call may raise StateUnavailableError."""

    async def current_epoch(self) -> int | None:
        """Number of the epoch that is served, or None when there is none."""
        ...

    async def epochs(self) -> Sequence[EpochMeta]:
        """Every epoch that exists, by number."""
        ...

    async def progress(self, epoch: int) -> Mapping[int, PartitionProgress]:
        """Progress by partition, without partitions that the epoch never saw."""
        ...

    async def quarantine(self, epoch: int) -> Quarantine:
        """The learners of an epoch that are quarantined."""
        ...


class EpochsLostError(RuntimeError):
    """The store no longer knows the epochs this process folds into."""


class EpochExistsError(ValueError):
    """An epoch of that number already exists."""


class EpochMissingError(LookupError):
    """There is no epoch of that number."""


def epoch_missing(epoch: int) -> EpochMissingError:
    """The error for an epoch that does not exist."""
    return EpochMissingError(f"there is no epoch {epoch}; list them with: cairn epoch list")


class EpochBehindError(RuntimeError):
    """The epoch has not reached its end positions, so answers would lack events."""


def epoch_behind(epoch: int) -> EpochBehindError:
    """The error for an epoch that is not ready to be served."""
    return EpochBehindError(
        f"epoch {epoch} has not reached where the log ended when it was begun, so it is not served: let workers fold "
        "the rest into it (cairn status shows how far they are)"
    )


class EpochStore(EpochProgressReader, Protocol):
    """Keeps the epochs. Every call may raise StateUnavailableError."""

    async def get(self, epoch: int) -> EpochMeta | None:
        """The epoch, or None."""
        ...

    async def create(self, meta: EpochMeta, restamp_skills: AssessedSkills | None = None) -> None:
        """Create an epoch, and keep the skills that `meta.restamp` is about. Raises EpochExistsError."""
        ...

    async def restamp_skills(self, epoch: int) -> AssessedSkills | None:
        """The skills kept with an epoch; None when there are none."""
        ...

    async def set_status(self, epoch: int, status: EpochStatus) -> None:
        """Set the status of an epoch. Raises EpochMissingError."""
        ...

    async def accept_lost_keys(self, epoch: int) -> None:
        """From now on, records of the epoch before its `end_positions` count as lost when their keys are not found.

        Raises:
            EpochMissingError: when there is no such epoch.
        """
        ...

    async def see_keys(self, epoch: int, keys: KeyTopicSeen) -> None:
        """Note how the topic of keys looked; does nothing when there is no such epoch."""
        ...

    async def make_current(self, epoch: int) -> None:
        """Mark an epoch live and make it current, in one step, if it has reached its `end_positions`.

        Raises:
            EpochMissingError: when there is no such epoch.
            EpochBehindError: when it has not reached them, or lost them again; nothing was changed.
        """
        ...

    async def drop(self, epoch: int) -> int:
        """Remove an epoch and everything stored in it; return the number of learners. Raises EpochMissingError."""
        ...

    async def clear(self, epoch: int) -> int:
        """Remove the learners and positions of an epoch that nobody folds into; return the number of learners."""
        ...

    async def keep_readable(self) -> None:
        """Make sure that the store will load exactly what it holds when it is next started.

        Called every second, so each call is quick: after a start of the store it takes several calls to finish.
        """
        ...

    def waiting_corrections(self, epoch: int) -> AsyncIterator[tuple[bytes, Sequence[bytes]]]:
        """The learners for whom corrections wait: record key, and the fingerprints of the targets. Looks at all."""
        ...

    def contents(self, epoch: int) -> AsyncIterator[StoredLearnerBytes]:
        """Everything stored about the epoch's learners, sorted by key."""
        ...

    def exclusive(self, epoch: int) -> AbstractAsyncContextManager[None]:
        """Lock the epoch for one replay. Raises EpochBusyError when another has the lock, or when it is lost."""
        ...


class EpochBusyError(RuntimeError):
    """Another process is replaying into the epoch."""


@dataclass(frozen=True, slots=True)
class StoredLearnerBytes:
    """A learner exactly as stored.

    Attributes:
        key: the record key.
        offset: of the last record that changed the learner.
        state: encoded state; empty: an erased learner.
        journal: encoded journal; empty: an erased learner.
        checkpoint: encoded checkpoint; empty: none.
        seen: fingerprints of the window, oldest first.
        contents: what those events said, as in `LearnerRecord`.
        damage: what is wrong with a learner that cannot be read or is quarantined, without the values; empty: nothing.
    """

    key: bytes
    offset: int
    state: bytes
    journal: bytes
    checkpoint: bytes
    seen: bytes
    contents: bytes = b""
    damage: str = field(default="", kw_only=True)


class EpochRestorer(Protocol):
    """Restores the contents of a snapshot into an epoch, exactly as stored. May raise StateUnavailableError."""

    async def put_learners(self, epoch: int, learners: Sequence[StoredLearnerBytes]) -> None:
        """Store learners that the epoch does not hold."""
        ...

    async def put_progress(self, epoch: int, progress: Mapping[int, PartitionProgress]) -> None:
        """Store how far the epoch has come."""
        ...
