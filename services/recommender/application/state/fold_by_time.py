"""Folding a whole log into an empty epoch, each learner's records in the order in which they occurred."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from services.recommender.application.ports.learners import FoldStore, LearnerCommit, PartitionProgress
from services.recommender.application.ports.log import DeadLetter, DeadLetters, RecordMark
from services.recommender.application.state.partition_batch import PartitionBatch
from services.recommender.domain.learner.batch import CONFLICT, FoldedLearner, LearnerEvents
from services.recommender.domain.learner.fold import LearnerFold
from services.recommender.domain.learner.occurred_order import in_occurred_order
from services.recommender.domain.learner.record import NEW_LEARNER

_LEARNERS_AT_ONCE = 500


class FoldByTime:
    """Folds learners, each with all of its records at once, and stores the positions at the end.

    Attributes:
        progress: by partition, what is to be stored at the end.
    """

    def __init__(self, store: FoldStore, dead_letters: DeadLetters, fold: LearnerFold, ends: Mapping[int, int]) -> None:
        """Args: the epoch's store, which is empty; one past the last record to fold, by partition."""
        self.progress = {partition: PartitionProgress(end, 0, 0, 0) for partition, end in ends.items()}
        self._store = store
        self._dead_letters = dead_letters
        self._fold = fold

    async def fold(self, batches: Sequence[PartitionBatch]) -> None:
        """Fold some learners; the batches hold every record of each of them.

        Raises:
            CommitRefusedError: when another process writes to the epoch.
        """
        for batch in batches:
            await self._letters(batch.partition, batch.dead)
            self._count(batch.partition, erased=len(batch.erased), lost=len(batch.lost))
            for learners in _some(list(batch.learners)):
                await self._fold_learners(batch, learners)

    async def finish(self, lasts: Mapping[int, RecordMark]) -> None:
        """Everything was folded: store the positions. Args: the last record of each partition."""
        for partition, last in lasts.items():
            self.progress[partition] = replace(self.progress[partition], marks=(last,))
        await self._store.advance({partition: (None, one) for partition, one in self.progress.items()})

    async def _fold_learners(self, batch: PartitionBatch, keys: Sequence[bytes]) -> None:
        occurred = [in_occurred_order(batch.learners[key][1]) for key in keys]
        work = [
            LearnerEvents(batch.learners[key][0], NEW_LEARNER, one.events, 0, one.known)
            for key, one in zip(keys, occurred, strict=True)
        ]
        folded = self._fold.fold(work)
        for one, result in zip(occurred, folded, strict=True):
            letters = [
                batch.refused(refusal._replace(offset=one.logged_at[refusal.offset])) for refusal in result.refused
            ]
            await self._letters(batch.partition, letters)
            self._count(batch.partition, applied=result.applied, duplicates=result.duplicates)
        await self._store.commit(
            [_commit(key, result) for key, result in zip(keys, folded, strict=True) if result.stored is not NEW_LEARNER]
        )

    async def _letters(self, partition: int, letters: Sequence[DeadLetter]) -> None:
        if letters:
            await self._dead_letters.write(letters)
        conflicts = sum(letter.code == CONFLICT for letter in letters)
        self._count(partition, conflicts=conflicts, dead_lettered=len(letters) - conflicts)

    def _count(self, partition: int, **more: int) -> None:
        before = self.progress[partition]
        self.progress[partition] = replace(before, **{name: getattr(before, name) + n for name, n in more.items()})


def _commit(key: bytes, folded: FoldedLearner) -> LearnerCommit:
    return LearnerCommit(
        key, NEW_LEARNER.offset, folded.stored, folded.seen, folded.checkpoint_changed, "", folded.erased
    )


def _some(keys: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    for start in range(0, len(keys), _LEARNERS_AT_ONCE):
        yield keys[start : start + _LEARNERS_AT_ONCE]
