"""Folding the log into one epoch, batch by batch; learners are stored before their partition's position moves."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import structlog

from services.recommender.application.ports.learners import (
    CommitRefusedError,
    FoldStore,
    LearnerCommit,
    PartitionProgress,
)
from services.recommender.application.ports.log import DeadLetter, DeadLetters, RecordMark
from services.recommender.application.ports.quarantine import (
    REMEDY,
    LearnersDamagedError,
    QuarantineChangedError,
    Skipped,
)
from services.recommender.application.state.log_marks import LogMarks
from services.recommender.application.state.partition_batch import PartitionBatch, set_aside
from services.recommender.domain.learner.batch import CONFLICT, FoldedLearner, LearnerEvents
from services.recommender.domain.learner.corrections import NOTHING_KNOWN, KnownCorrections
from services.recommender.domain.learner.fold import LearnerFold
from services.recommender.domain.learner.record import LearnerRecord

_log = structlog.get_logger(__name__)

# A batch that costs less takes at most some 0.4 s. A thread would make that longer: the event loop competes with it.
_THREAD_FROM_COST = 20_000


@dataclass(frozen=True, slots=True)
class FoldReport:
    """The result of a batch.

    Attributes:
        applied: records that are now in a learner's state and were not counted before.
        duplicates: records left out because an earlier one has their source and id.
        conflicts: records left out because an earlier one has their source and id and says something else. They are
            among the dead letters, but not among `dead_lettered`.
        dead_lettered: records that went to the dead letters, by the code of the reason.
        learners: learners that changed.
        erased: records that can no longer be read.
        refused_skills: how often events named a new skill of a learner who has no room for it, by record key.
        lost: records whose keys are lost.
        read_s: time to read the learners.
        fold_s: time to fold.
        fold_cpu_s: time of a processor that folding took.
        commit_s: time to store.
        quarantined: records of quarantined learners, which were not folded and were not counted before.
        in_quarantine: learners of the epoch that are quarantined now.
    """

    applied: int
    duplicates: int
    conflicts: int
    dead_lettered: Mapping[str, int]
    learners: int
    erased: int
    refused_skills: Mapping[bytes, int]
    lost: int
    read_s: float
    fold_s: float
    fold_cpu_s: float
    commit_s: float
    quarantined: int = 0
    in_quarantine: int = 0


class FoldEvents:
    """Folds batches into one epoch's store and keeps the partitions' positions.

    Attributes:
        known: corrections that are known before the fold reaches them; empty until they were read ahead.

    What a crash loses is read again: events that a learner already holds are recognised by its offset, and a position
    moves only after every learner of its batch was stored.

    A learner whose stored value is damaged is quarantined: their records are counted as such until a repair folds them.
    """

    def __init__(
        self,
        store: FoldStore,
        dead_letters: DeadLetters,
        fold: LearnerFold,
        clock_s: Callable[[], float] = time.perf_counter,
        cpu_clock_s: Callable[[], float] = time.thread_time,
    ) -> None:
        """Args: `clock_s` times the stages, and `cpu_clock_s` the thread that folds; nothing stored depends on them."""
        self.known = KnownCorrections()
        self._store = store
        self._dead_letters = dead_letters
        self._fold = fold
        self._clock_s = clock_s
        self._cpu_clock_s = cpu_clock_s
        self._progress: dict[int, PartitionProgress] = {}
        # The last known positions, including those of revoked partitions.
        self._furthest: dict[int, int] = {}
        self._marks = LogMarks()

    @property
    def progress(self) -> Mapping[int, PartitionProgress]:
        """The progress of the assigned partitions."""
        return dict(self._progress)

    def confirm(self, compared: Mapping[int, PartitionProgress]) -> None:
        """Drop marks of partitions whose records, as of `compared`, were found in the log."""
        for partition, before in compared.items():
            held = self._progress.get(partition)
            if held is not None:
                self._progress[partition] = replace(held, marks=self._marks.confirmed(held.marks, before.marks))

    @property
    def positions(self) -> dict[int, int]:
        """One past the last processed record, by assigned partition."""
        return {partition: progress.position for partition, progress in self._progress.items()}

    async def on_assigned(self, beginnings: Mapping[int, int]) -> None:
        """Take over partitions: read their positions; store the beginning as the position of a new one.

        Args:
            beginnings: the first offset to fold of each partition.

        Raises:
            CommitRefusedError: when another process took over a partition at the same time, or the store is behind what
                this process stored or found there: it lost data, and the epoch may be another of the same number.
        """
        stored = await self._store.progress(list(beginnings))
        self._check_nothing_lost(beginnings, stored)
        new = {
            partition: PartitionProgress(beginning, 0, 0, 0)
            for partition, beginning in beginnings.items()
            if partition not in stored
        }
        if new:
            await self._store.advance({partition: (None, progress) for partition, progress in new.items()})
        self._progress.update(stored | new)
        self._furthest |= self.positions

    def release(self, partitions: Iterable[int]) -> None:
        """Give up partitions."""
        for partition in partitions:
            self._progress.pop(partition, None)

    async def fold(self, batches: Sequence[PartitionBatch]) -> FoldReport:
        """Apply records, store what changed, then move the positions.

        Raises:
            CommitRefusedError: when another process folds one of the partitions, or the store lost data. Positions of
                the batch have not moved; the process must end and start again from what is stored.
        """
        started = self._clock_s()
        letters = await self._write_dead_letters(batches)
        while True:
            try:
                return await self._fold_readable(batches, letters, started)
            except LearnersDamagedError as error:
                await self._quarantine(batches, error.damaged)
            except QuarantineChangedError:
                _log.info("batch folded again: learners were quarantined or released meanwhile")

    async def _fold_readable(
        self, everything: Sequence[PartitionBatch], dead_letters: Sequence[DeadLetter], started: float
    ) -> FoldReport:
        """Fold the batches without quarantined learners.

        Raises:
            LearnersDamagedError: when there are others whose stored value is damaged; positions have not moved.
            QuarantineChangedError: when one was quarantined or released meanwhile; some positions may have moved.
        """
        quarantine = await self._store.quarantine.read()
        batches, skipped = set_aside(everything, quarantine, self.positions)
        letters = list(dead_letters)
        keys = [key for batch in batches for key in batch.learners]
        positions, stored = await self._store.read([batch.partition for batch in batches], keys)
        self._check_positions(batches, positions)
        read = self._clock_s()
        work = self._work(batches, stored)
        if sum(batch.cost for batch in batches) >= _THREAD_FROM_COST:
            # Meanwhile the event loop sends heartbeats and reads the next batch.
            folded, cpu_s = await asyncio.to_thread(self._folded, work)
        else:
            folded, cpu_s = self._folded(work)
        letters += await self._refuse(batches, folded)
        erased = sum(self._new(batch.partition, batch.erased) for batch in batches)
        lost = sum(self._new(batch.partition, batch.lost) for batch in batches)
        commits = _commits(keys, stored, folded, batches)
        done = self._clock_s()
        await self._store.commit(commits, self._ahead(batches))
        await self._forget_erased(everything, skipped)
        conflicts = [letter for letter in letters if letter.code == CONFLICT]
        letters = [letter for letter in letters if letter.code != CONFLICT]
        reached = self._reached(batches, folded, letters, conflicts, skipped)
        if reached:
            moves = {p: (self._progress[p], progress) for p, progress in reached.items()}
            try:
                await self._store.advance(moves, skipped)
            except QuarantineChangedError as error:
                self._take({partition: reached[partition] for partition in error.moved})
                raise
            self._take(reached)
        return FoldReport(
            applied=sum(learner.applied for learner in folded),
            duplicates=sum(learner.duplicates for learner in folded),
            conflicts=len(conflicts),
            dead_lettered=_by_code(letters),
            learners=len(commits),
            erased=erased,
            refused_skills={
                key: learner.refused_skills for key, learner in zip(keys, folded, strict=True) if learner.refused_skills
            },
            lost=lost,
            read_s=read - started,
            fold_s=done - read,
            fold_cpu_s=cpu_s,
            commit_s=self._clock_s() - done,
            quarantined=sum(sum(records.values()) for records in skipped.records.values()),
            in_quarantine=len(quarantine.learners),
        )

    def _ahead(self, batches: Sequence[PartitionBatch]) -> dict[int, RecordMark]:
        """The furthest record of each partition up to which learners may be stored before its position moves."""
        found = {}
        for batch in batches:
            known = self._progress[batch.partition].ahead
            if batch.last is not None:
                found[batch.partition] = max(known, batch.last) if known is not None else batch.last
        return found

    def _take(self, reached: Mapping[int, PartitionProgress]) -> None:
        self._progress.update(reached)
        self._furthest |= self.positions

    async def _quarantine(self, batches: Sequence[PartitionBatch], damaged: Mapping[bytes, str]) -> None:
        for batch in batches:
            mine = {key: reason for key, reason in damaged.items() if key in batch.learners}
            if not mine:
                continue
            await self._store.quarantine.add(batch.partition, self._progress[batch.partition].position, mine)
            for key, reason in mine.items():
                _log.error(
                    f"learner quarantined: what is stored about them is damaged; {REMEDY}",
                    learner=key.decode(errors="replace"),
                    partition=batch.partition,
                    reason=reason,
                )

    async def _forget_erased(self, batches: Sequence[PartitionBatch], skipped: Skipped) -> None:
        """Remove what is stored about quarantined learners who were erased: the log is all that may remain."""
        for batch in batches:
            if erased := batch.erased_among(skipped.records.get(batch.partition, ())):
                await self._store.quarantine.forget(batch.partition, self._progress[batch.partition].position, erased)

    async def _write_dead_letters(self, batches: Sequence[PartitionBatch]) -> list[DeadLetter]:
        """Write the dead letters of records that were not processed before."""
        letters = [
            letter
            for batch in batches
            for letter in batch.dead
            if letter.offset >= self._progress[batch.partition].position
        ]
        if letters:
            await self._dead_letters.write(letters)
        return letters

    async def _refuse(self, batches: Sequence[PartitionBatch], folded: Sequence[FoldedLearner]) -> list[DeadLetter]:
        """Write the dead letters of events that the fold refused and that were not processed before."""
        letters = []
        learner = iter(folded)
        for batch in batches:
            position = self._progress[batch.partition].position
            for _ in batch.learners:
                refused = next(learner).refused
                letters += [batch.refused(refusal) for refusal in refused if refusal.offset >= position]
        if letters:
            await self._dead_letters.write(letters)
        return letters

    def _new(self, partition: int, offsets: Iterable[int]) -> int:
        """The number of records of a partition that were not counted before."""
        position = self._progress[partition].position
        return sum(offset >= position for offset in offsets)

    def _check_nothing_lost(self, taken: Iterable[int], stored: Mapping[int, PartitionProgress]) -> None:
        for partition in taken:
            known = self._furthest.get(partition)
            if known is not None and (partition not in stored or stored[partition].position < known):
                raise CommitRefusedError(
                    f"the store is behind offset {known} of partition {partition}, which it had reached: it lost "
                    "data; this worker ends and starts again from what is stored"
                )

    def _check_positions(self, batches: Sequence[PartitionBatch], stored: Mapping[int, int]) -> None:
        for batch in batches:
            held = self._progress[batch.partition].position
            found = stored.get(batch.partition)
            if found != held:
                raise CommitRefusedError(
                    f"partition {batch.partition} is at {held} here but at {found} in the store: another worker folds "
                    "it, or the store lost data; this worker ends and starts again from what is stored"
                )

    def _folded(self, work: Sequence[LearnerEvents]) -> tuple[list[FoldedLearner], float]:
        began_s = self._cpu_clock_s()
        folded = self._fold.fold(work)
        return folded, self._cpu_clock_s() - began_s

    def _work(self, batches: Sequence[PartitionBatch], stored: Sequence[LearnerRecord]) -> list[LearnerEvents]:
        work = []
        learner = iter(stored)
        known = self.known.learners
        for batch in batches:
            counted_from = self._progress[batch.partition].position
            for key, (tenant, events) in batch.learners.items():
                corrections = known.get(key, NOTHING_KNOWN) if known else NOTHING_KNOWN
                work.append(LearnerEvents(tenant, next(learner), events, counted_from, corrections))
        return work

    def _reached(
        self,
        batches: Sequence[PartitionBatch],
        folded: Sequence[FoldedLearner],
        letters: Sequence[DeadLetter],
        conflicts: Sequence[DeadLetter],
        skipped: Skipped,
    ) -> dict[int, PartitionProgress]:
        reached = {}
        learner = iter(folded)
        for batch in batches:
            before = self._progress[batch.partition]
            mine = [next(learner) for _ in batch.learners]
            # A batch that is read again after a rewind may end before the position; then nothing is counted.
            if batch.next_offset > before.position:
                reached[batch.partition] = PartitionProgress(
                    batch.next_offset,
                    before.applied + sum(one.applied for one in mine),
                    before.duplicates + sum(one.duplicates for one in mine),
                    before.dead_lettered + sum(letter.partition == batch.partition for letter in letters),
                    before.erased + self._new(batch.partition, batch.erased),
                    before.lost + self._new(batch.partition, batch.lost),
                    before.conflicts + sum(letter.partition == batch.partition for letter in conflicts),
                    before.quarantined + sum(skipped.records.get(batch.partition, {}).values()),
                    marks=self._marks.extended(batch.partition, before.marks, batch.last, batch.sent_at_s),
                    ahead=before.ahead if before.ahead and before.ahead.offset >= batch.next_offset else None,
                )
        return reached


def _commits(
    keys: Sequence[bytes],
    stored: Sequence[LearnerRecord],
    folded: Sequence[FoldedLearner],
    batches: Sequence[PartitionBatch],
) -> list[LearnerCommit]:
    traced = {key: traceparent for batch in batches for key, traceparent in batch.traceparents.items()}
    return [
        LearnerCommit(
            key,
            before.offset,
            after.stored,
            after.seen,
            after.checkpoint_changed,
            traced.get(key, ""),
            after.erased,
        )
        for key, before, after in zip(keys, stored, folded, strict=True)
        if after.stored is not before
    ]


def _by_code(letters: Sequence[DeadLetter]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for letter in letters:
        counts[letter.code] = counts.get(letter.code, 0) + 1
    return counts
