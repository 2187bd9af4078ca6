"""Rebuilds quarantined learners from the log, and releases them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from services.recommender.application.ports.learners import CommitRefusedError, FoldStore
from services.recommender.application.ports.log import DeadLetter, DeadLetters
from services.recommender.application.ports.quarantine import RepairedLearner
from services.recommender.application.state.partition_batch import PartitionBatch
from services.recommender.domain.learner.batch import CONFLICT, LearnerEvents
from services.recommender.domain.learner.corrections import NOTHING_KNOWN, KnownCorrections
from services.recommender.domain.learner.events import LearnerEvent
from services.recommender.domain.learner.fold import LearnerFold
from services.recommender.domain.learner.occurred_order import OccurredEvents, in_occurred_order
from services.recommender.domain.learner.record import NEW_LEARNER, LearnerRecord

# A learner gets new records between two attempts only while they answer.
_ATTEMPTS = 50


class RepairFailedError(RuntimeError):
    """A learner cannot be rebuilt from the log; the message says why and what to do."""


class LearnerLog(Protocol):
    """The log, read for a few learners. Every call may raise ConnectionError or LookupError (no such topic)."""

    async def span(self, partition: int) -> tuple[int, int]:
        """The first offset that a partition still holds, and one past its last record."""
        ...

    def read(self, partition: int, begin: int, end: int, keys: Collection[bytes]) -> AsyncIterator[PartitionBatch]:
        """The records of these learners, by record key, from one offset up to another."""
        ...


@dataclass(frozen=True, slots=True)
class RepairReport:
    """What became of the quarantined records of a learner.

    Attributes:
        key: the learner's record key.
        applied: records that the learner's state now includes.
        duplicates: records left out as duplicates.
        dead_lettered: records that went to the dead letters.
        erased: records that can no longer be read.
        conflicts: records that say something else than an earlier one of their source and id.
        known: whether the log has an event of theirs that can be read, or any was quarantined.
    """

    key: bytes
    applied: int
    duplicates: int
    dead_lettered: int
    erased: int
    conflicts: int = 0
    known: bool = True


_Pending = tuple[int, LearnerEvent, PartitionBatch]


@dataclass(slots=True)
class _Rebuilding:
    """A learner who is being rebuilt.

    Attributes:
        since: records from this offset on are quarantined.
        passed: the epoch was past this offset when the repair began.
        by_time_before: records before this offset are still to be folded, all at once and by time; 0: none.
        tenant: the tenant; empty until the first record.
        stored: the learner so far.
        pending: events read but not folded yet, each with its batch.
        applied: quarantined records applied so far.
        duplicates: quarantined records left out so far.
        refused: dead letters of the quarantined records refused so far.
    """

    since: int
    passed: int
    by_time_before: int = 0
    tenant: str = ""
    stored: LearnerRecord = NEW_LEARNER
    pending: list[_Pending] = field(default_factory=list)
    applied: int = 0
    duplicates: int = 0
    refused: list[DeadLetter] = field(default_factory=list)


async def quarantine_learner(store: FoldStore, partition: int, key: bytes) -> None:
    """Quarantine a learner who is to be rebuilt, unless they are already.

    Raises:
        RepairFailedError: when no worker has read the partition yet, or it moves each time.
    """
    for _ in range(_ATTEMPTS):
        progress = (await store.progress([partition])).get(partition)
        if progress is None:
            break
        try:
            await store.quarantine.add(partition, progress.position, {key: "an operator asked for a repair"})
        except CommitRefusedError:
            continue
        return
    raise RepairFailedError(
        f"the epoch has no position in partition {partition}, or it moved in each of {_ATTEMPTS} attempts: let a "
        "worker read the partition, and run the command again"
    )


class RepairLearners:
    """Folds learners' records from the beginning of the log, with the epoch's parameters, while workers go on.

    A worker counts each record of a quarantined learner in the same step as it moves past it. So a learner is complete
    if the number that was counted before the position was read is still the same when the learner is stored.
    """

    def __init__(
        self, store: FoldStore, log: LearnerLog, dead_letters: DeadLetters, fold: LearnerFold, known: KnownCorrections
    ) -> None:
        """Args: the epoch's store, the log, its dead letters, the epoch's fold, and corrections known ahead."""
        self._store = store
        self._log = log
        self._dead_letters = dead_letters
        self._fold = fold
        self._known = known

    async def __call__(
        self, partition: int, keys: Sequence[bytes], *, by_time_before: int = 0, accept_loss: bool = False
    ) -> list[RepairReport]:
        """Rebuild quarantined learners of a partition.

        Args:
            partition: the partition of their records.
            keys: their record keys; one that is not in quarantine is left out.
            by_time_before: where the replay ended that folded the epoch's records by time; 0: they are in the order of
                the log.
            accept_loss: rebuild them even if the log no longer holds its beginning.

        Raises:
            RepairFailedError: when the log no longer holds its beginning, or a learner's records never stop coming.
            CommitRefusedError: when the epoch is gone.
        """
        begin, _ = await self._log.span(partition)
        if begin and not accept_loss:
            raise RepairFailedError(
                f"partition {partition} of the log begins at offset {begin}: earlier records are gone, and a learner "
                "rebuilt from the rest lacks them. Restore a snapshot of the epoch (cairn epoch restore), or accept "
                "the loss with --accept-loss"
            )
        rebuilding = {}
        for key in keys:
            entry, position = await self._store.quarantine.progress_of(key, partition)
            if entry is not None:
                passed = entry.since if position is None else position
                rebuilding[key] = _Rebuilding(entry.since, passed, by_time_before)
        reports = []
        for _ in range(_ATTEMPTS):
            _, end = await self._log.span(partition)
            if end > begin:
                await self._read(partition, begin, end, rebuilding)
                begin = end
            for key, learner in list(rebuilding.items()):
                if (report := await self._release(partition, end, key, learner)) is not None:
                    reports.append(report)
                    del rebuilding[key]
            if not rebuilding:
                return reports
        raise RepairFailedError(
            f"{len(rebuilding)} learner(s) got new records in each of {_ATTEMPTS} attempts, or the epoch is ahead of "
            "the log: run the command again"
        )

    async def _read(self, partition: int, begin: int, end: int, rebuilding: Mapping[bytes, _Rebuilding]) -> None:
        """Read the learners' records, and fold those that the epoch is already past."""
        async for batch in self._log.read(partition, begin, end, rebuilding.keys()):
            for key, (tenant, events) in batch.learners.items():
                learner = rebuilding[key]
                learner.tenant = tenant
                learner.pending += [(offset, event, batch) for offset, event in events]
                if not learner.by_time_before:
                    self._fold_before(key, learner, learner.passed)

    def _fold_by_time(self, learner: _Rebuilding) -> None:
        """Fold what the epoch's replay folded, as it did: by time."""
        taken = [one for one in learner.pending if one[0] < learner.by_time_before]
        learner.by_time_before = 0
        learner.pending = learner.pending[len(taken) :]
        occurred = in_occurred_order([(offset, event) for offset, event, _ in taken])
        self._fold_events(learner, taken, occurred)

    def _fold_before(self, key: bytes, learner: _Rebuilding, position: int) -> None:
        taken = [one for one in learner.pending if one[0] < position]
        if not taken:
            return
        learner.pending = learner.pending[len(taken) :]
        events = [(offset, event) for offset, event, _ in taken]
        known = self._known.learners.get(key, NOTHING_KNOWN)
        self._fold_events(learner, taken, OccurredEvents(events, {offset: offset for offset, _ in events}, known))

    def _fold_events(self, learner: _Rebuilding, taken: Sequence[_Pending], ordered: OccurredEvents) -> None:
        work = LearnerEvents(learner.tenant, learner.stored, ordered.events, learner.since, ordered.known)
        (folded,) = self._fold.fold([work])
        learner.stored = folded.stored
        learner.applied += folded.applied
        learner.duplicates += folded.duplicates
        batches = {offset: batch for offset, _, batch in taken}
        refused = [refusal._replace(offset=ordered.logged_at[refusal.offset]) for refusal in folded.refused]
        learner.refused += [
            batches[refusal.offset].refused(refusal) for refusal in refused if refusal.offset >= learner.since
        ]

    async def _release(self, partition: int, end: int, key: bytes, learner: _Rebuilding) -> RepairReport | None:
        """Fold up to the epoch's position and release the learner; None when it has to be tried again."""
        entry, position = await self._store.quarantine.progress_of(key, partition)
        if entry is None:
            return RepairReport(key, 0, 0, 0, 0)
        if position is None or position > end:
            return None
        if learner.by_time_before:
            self._fold_by_time(learner)
        self._fold_before(key, learner, position)
        conflicts = sum(letter.code == CONFLICT for letter in learner.refused)
        repaired = RepairedLearner(
            key,
            partition,
            entry.records,
            learner.stored,
            learner.applied,
            learner.duplicates,
            len(learner.refused) - conflicts,
            conflicts,
        )
        if repaired.erased < 0:
            # The worker has counted more since than the entry said.
            return None
        if learner.refused:
            # Before the learner is released: a crash in between writes them again.
            await self._dead_letters.write(learner.refused)
        if not await self._store.quarantine.release(repaired):
            return None
        counts = (repaired.applied, repaired.duplicates, repaired.dead_lettered, repaired.erased, repaired.conflicts)
        return RepairReport(key, *counts, known=bool(learner.tenant or entry.records))
