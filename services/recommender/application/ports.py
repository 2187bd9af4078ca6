"""What the recommender needs from outside: learner states, epochs, bundles, the catalog."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from services.common.encryption.learner_keys import Erasure, Sealed
from services.recommender.domain.learner.corrections import KnownCorrections
from services.recommender.domain.learner.parameters import TenantParameters, TracingParameters
from services.recommender.domain.learner.record import StoredFold
from services.recommender.domain.learner.state import LearnerState
from services.recommender.domain.learner.success_model import SuccessHead
from services.recommender.domain.ranking.catalog import CatalogColumns, CatalogVersion
from services.recommender.domain.ranking.learned import LearnedRanker
from services.recommender.domain.ranking.rules import RuleBook


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
        """Names what folding into it depends on beside the log's records: equal ids, equal learners at equal offsets.

        Two epochs of one number, begun before and after the store lost everything, may differ in it.
        """
        ends = ",".join(f"{partition}:{offset}" for partition, offset in sorted(self.end_positions.items()))
        return hashlib.sha256(f"{self.parameters_id}\0{self.log_identity}\0{ends}".encode()).hexdigest()[:16]


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
    """What tells whether learners changed. Every call may raise StateUnavailableError."""

    async def applied_offsets(self, epoch: int, keys: Sequence[LearnerKey]) -> list[int | None]:
        """Offset of the last record that changed each learner, in the order of `keys`; None: nothing is stored."""
        ...

    def learners_of(self, epoch: int, tenant: str) -> AsyncIterator[Sequence[str]]:
        """Pseudonyms of all learners of a tenant, some at a time, in no order; one may come twice."""
        ...


class ChangeListener(Protocol):
    """Is told of learners that changed."""

    def changed(self, key: bytes, offset: int, traceparent: str) -> None:
        """A learner, by record key, was stored with the state at `offset`; part of a trace, or of none when empty."""
        ...

    def missed_some(self) -> None:
        """Changes up to now may have gone untold; from now on they are told."""
        ...


class ChangeHints(Protocol):
    """Word of learners that changed. It may be lost: who relies on it compares offsets from time to time."""

    def follow(self, epoch: int) -> None:
        """Hear of changes in this epoch, and of no other."""
        ...

    def watch(self, keys: Iterable[bytes]) -> None:
        """Hear of these learners, by record key, once more; of others too, perhaps."""
        ...

    def unwatch(self, keys: Iterable[bytes]) -> None:
        """Take back one `watch` of these learners."""
        ...

    def watch_all(self) -> None:
        """Hear of every learner, once more."""
        ...

    def unwatch_all(self) -> None:
        """Take back one `watch_all`."""
        ...

    async def run(self, listener: ChangeListener) -> None:
        """Tell the listener until cancelled; connect again as often as it takes."""
        ...


class EpochReader(Protocol):
    """Which epoch is served. Every call may raise StateUnavailableError."""

    async def current(self) -> EpochMeta | None:
        """The epoch to answer from, or None when there is none (yet, or because Redis lost it)."""
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


class LogReader(Protocol):
    """The log of learner events as it stands. Every call may raise ConnectionError or LookupError (no such topic)."""

    async def identity(self) -> str:
        """Which log it is, as `services.common.kafka.connection.LogIdentity` text."""
        ...

    async def end_offsets(self) -> Mapping[int, int]:
        """One past the last record, by partition."""
        ...


class CatalogReader(Protocol):
    """The tenants' catalogs, as far as they have been read."""

    @property
    def reachable(self) -> bool:
        """Whether the truth about the catalog can be reached; when not, it may have changed since."""
        ...

    @property
    def version(self) -> CatalogVersion:
        """What `columns` and `rules` are made from, for every tenant."""
        ...

    def columns(self, tenant: str) -> CatalogColumns:
        """A tenant's catalog, laid out for ranking; without resources when the tenant has none."""
        ...

    def rules(self, tenant: str) -> RuleBook:
        """A tenant's rules, looked up in `columns`."""
        ...


class CollaborativeModel(Protocol):
    """A fitted collaborative-filtering model of one tenant."""

    @property
    def resources(self) -> tuple[str, ...]:
        """The resources it can score, in the order of the scores."""
        ...

    def scores(self, history: Sequence[str]) -> NDArray[np.float32]:
        """Score every resource for a learner with these positives (newest last; unknown ids are ignored).

        The learner is folded in: they need not have been there when the model was fitted.
        """
        ...

    def scores_of(self, rows: NDArray[np.intp]) -> NDArray[np.float32]:
        """The same from where the positives stand in `resources`, for who looks them up once for several models."""
        ...


class CollaborativeEnsemble(Protocol):
    """Several collaborative-filtering models of one tenant, asked together."""

    @property
    def resources(self) -> tuple[str, ...]:
        """The resources they can score, in the order of the scores."""
        ...

    def scores(self, history: Sequence[str]) -> NDArray[np.float32]:
        """(models, resources): what each says for a learner with these positives, newest last."""
        ...


@dataclass(frozen=True, slots=True)
class TenantRanker:
    """A tenant's learned ranker, and the collaborative models it reads."""

    ranker: LearnedRanker
    ensemble: CollaborativeEnsemble


@dataclass(frozen=True, slots=True)
class Bundle:
    """One version of fitted models.

    Attributes:
        bundle_id: its name, unique in its store.
        created_at: when it was written.
        parameters: difficulties for the filter, used only where the epoch was folded with the same `parameters_id`.
        collaborative: collaborative-filtering models by tenant; a tenant without enough data has none.
        success: success heads by tenant, used only where the epoch was folded with the same `parameters_id`; a tenant
            for which the filter alone foresees no worse has none.
        rankers: learned rankers by tenant; a tenant without enough data, or for which none was asked for, has none.
    """

    bundle_id: str
    created_at: datetime
    parameters: TracingParameters
    collaborative: Mapping[str, CollaborativeModel]
    success: Mapping[str, SuccessHead] = field(default_factory=dict)
    rankers: Mapping[str, TenantRanker] = field(default_factory=dict)


class BundleUnreadableError(ValueError):
    """A bundle is missing, incomplete or does not match its checksums."""


class BundleReader(Protocol):
    """Where bundles are found."""

    def latest_id(self) -> str | None:
        """The newest complete bundle's id, or None when there is none."""
        ...

    def load(self, bundle_id: str) -> Bundle:
        """Read a bundle. Raises BundleUnreadableError."""
        ...


@dataclass(frozen=True, slots=True)
class ModelArrays:
    """A fitted collaborative-filtering model as plain data: what a bundle keeps of it, and what it is made from again.

    Attributes:
        kind: names the sort of model, for example `als`.
        hyperparameters: numbers it was fitted with and needs again to score.
        resources: the resources it can score, in the order of its arrays' rows.
        arrays: float32 arrays by name.
        skills: the skills it knows, in the order of its arrays' rows; most know none.
    """

    kind: str
    hyperparameters: Mapping[str, float]
    resources: tuple[str, ...]
    arrays: Mapping[str, NDArray[np.float32]]
    skills: tuple[str, ...] = ()


class ModelArraysInvalidError(ValueError):
    """Arrays are not those of the model they claim to be."""


@dataclass(frozen=True, slots=True)
class TrainingWindow:
    """Which records a bundle was trained on.

    Attributes:
        log_identity: the log, as `services.common.kafka.connection.LogIdentity` text.
        begin_offsets: the first offset read, by partition.
        end_offsets: one past the last offset read, by partition.
        records: how many records that was.
        duplicates: records left out because an earlier one has their source and id.
        skipped: records left out because they cannot be decoded or applied, by reason.
    """

    log_identity: str
    begin_offsets: Mapping[int, int]
    end_offsets: Mapping[int, int]
    records: int
    duplicates: int
    skipped: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class CollaborativeChoice:
    """Which collaborative model lists best what a tenant's learners did next, found on part of what is fitted on.

    Attributes:
        family: the sort of model.
        settings: what it is fitted with.
        measures: NDCG@10 of each family with the best of its settings.
        absent: why a family could not be tried, by family.
        seed: of the models that were tried.
    """

    family: str
    settings: Mapping[str, float]
    measures: Mapping[str, float]
    absent: Mapping[str, str]
    seed: int


@dataclass(frozen=True, slots=True)
class TenantModels:
    """What was fitted for one tenant, and on what.

    Attributes:
        parameters: difficulties for the filter; kept as float32.
        collaborative: the collaborative-filtering model, or None.
        collaborative_absent: why there is none; empty when there is one.
        counts: learners, responses, items, skills, positives and the like.
        metrics: measured on learners held out of the fit.
        hyperparameters: what the models were fitted with, seeds included.
        carried_from: the bundle they were taken over from unchanged; empty when they were fitted for this one.
        success: the success head, kept as float32, or None.
        choice: how the sort of collaborative model was chosen; None: it was not, and is the default.
        ranker: the learned ranker with the models it reads, or None.
    """

    parameters: TenantParameters
    collaborative: ModelArrays | None
    collaborative_absent: str
    counts: Mapping[str, int]
    metrics: Mapping[str, float]
    hyperparameters: Mapping[str, float]
    carried_from: str = ""
    success: SuccessHead | None = None
    choice: CollaborativeChoice | None = None
    ranker: ModelArrays | None = None


@dataclass(frozen=True, slots=True)
class BundleDraft:
    """Everything a bundle will hold, before it has a name.

    Attributes:
        created_at: the moment it is written; aware. Not part of the content.
        window: which records it was trained on.
        tenants: what was fitted, by tenant.
        libraries: versions of the libraries that shape the numbers, by name.
    """

    created_at: datetime
    window: TrainingWindow
    tenants: Mapping[str, TenantModels]
    libraries: Mapping[str, str]


class BundleUnwritableError(OSError):
    """The store of bundles cannot be written to."""


class BundleWriter(Protocol):
    """Where bundles are put, and where what is to be carried over is found."""

    def latest_id(self) -> str | None:
        """The newest complete bundle's id, or None when there is none. Raises BundleUnreadableError."""
        ...

    def tenant_models(self, bundle_id: str) -> Mapping[str, TenantModels]:
        """What a bundle holds, by tenant, to be put into another one. Raises BundleUnreadableError."""
        ...

    def write(self, draft: BundleDraft) -> str:
        """Write a bundle, visible to readers only once it is whole, and return its id.

        The id sorts by `created_at` and ends in a hash of the content. Raises BundleUnwritableError.
        """
        ...


@dataclass(frozen=True, slots=True)
class LearnerCommit:
    """A learner to be stored.

    Attributes:
        key: the learner's record key, `tenant/learner`.
        expected_offset: what the stored offset was when it was read; -1: there was nothing.
        stored: the learner as it is to be.
        fingerprints: to be appended to the window of seen events.
        checkpoint_changed: whether the journal's checkpoint must be written too.
        traceparent: the trace of the last record, for whom it is told to; empty: none.
        erased: whether the learner was forgotten: nothing stored before may stay. Without a state it is a tombstone.
    """

    key: bytes
    expected_offset: int
    stored: StoredFold
    fingerprints: bytes
    checkpoint_changed: bool
    traceparent: str = ""
    erased: bool = False


class CommitRefusedError(RuntimeError):
    """What is stored is not what was read: another process folds the same partition, or the store lost data."""


class EpochsLostError(RuntimeError):
    """The store no longer knows the epochs this process folds into."""


class LogTruncatedError(RuntimeError):
    """The log no longer holds records that were not dealt with."""


class FoldStore(Protocol):
    """Write side of one epoch: what a fold reads and writes. Every call may raise StateUnavailableError."""

    async def progress(self, partitions: Sequence[int]) -> dict[int, PartitionProgress]:
        """Progress by partition; a partition the epoch never saw is absent."""
        ...

    async def read(self, partitions: Sequence[int], keys: Sequence[bytes]) -> tuple[dict[int, int], list[StoredFold]]:
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


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record that cannot be applied, as it stood in the log, and why.

    Attributes:
        partition: where it stood.
        offset: where it stood.
        key: its key.
        value: its value.
        headers: its headers.
        code: the reason in one word.
        reason: the reason in a sentence.
    """

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]
    code: str
    reason: str


class ValueOpener(Protocol):
    """Opens values of the log that are encrypted with their learner's key."""

    async def determine(self, records: Iterable[Sealed]) -> None:
        """Make sure that it is known what became of the keys of some records; waits while that cannot be asked."""
        ...

    def decrypt(
        self, record_key: bytes | None, value: bytes | None, headers: Iterable[tuple[str, bytes]]
    ) -> bytes | Erasure | None:
        """The value as it was before encryption; ERASED when its key was destroyed.

        Raises:
            ValueUnreadableError: when it does not open with its key.
        """
        ...


class ReadAhead(Protocol):
    """Reads the log ahead of a fold."""

    async def read(self, spans: Mapping[int, tuple[int, int]]) -> KnownCorrections:
        """Every correction and erasure of some stretches.

        Args:
            spans: the first offset, and one past the last, by partition.

        Raises:
            BrokerUnavailableError: when the log cannot be read.
        """
        ...


class DeadLetters(Protocol):
    """Where records go that cannot be applied."""

    async def write(self, letters: Sequence[DeadLetter]) -> None:
        """Return once every letter is confirmed. Raises ConnectionError when one is not."""
        ...


class EpochExistsError(ValueError):
    """There is an epoch of that number already."""


class EpochMissingError(LookupError):
    """There is no epoch of that number."""


def epoch_missing(epoch: int) -> EpochMissingError:
    """The refusal of what is asked of an epoch that is not there."""
    return EpochMissingError(f"there is no epoch {epoch}; list them with: cairn epoch list")


def epoch_replaced(epoch: int) -> CommitRefusedError:
    """The refusal of what was folded for an epoch that is gone."""
    return CommitRefusedError(
        f"epoch {epoch} is gone, or is another one under its number: it was dropped, or the store lost data; this "
        "worker ends, and begins again from what is stored"
    )


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
