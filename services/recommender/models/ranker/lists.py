"""Lists of candidates with relevance labels, to train a ranker on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from services.recommender.models.ranker.dataset import RankingDataset


class TooFewToLearnError(ValueError):
    """There is too little data to train a ranker; the message names the actual and the required amount."""


@dataclass(frozen=True)
class ListsOfCandidates:
    """Candidates of learners, concatenated list by list.

    Attributes:
        columns: features of the candidates.
        labels: 1 where relevant.
        sizes: number of candidates of each list.
        relevant: number of relevant resources of each list, including those that are not candidates.
        fold: the fold of each list; all lists of a learner are in the same fold.
    """

    columns: NDArray[np.float32]
    labels: NDArray[np.float32]
    sizes: NDArray[np.int64]
    relevant: NDArray[np.int64]
    fold: NDArray[np.int64]

    def of(self, chosen: NDArray[np.bool_]) -> ListsOfCandidates:
        """Return some of the lists."""
        candidates = chosen.repeat(self.sizes)
        return ListsOfCandidates(
            self.columns[candidates],
            self.labels[candidates],
            self.sizes[chosen],
            self.relevant[chosen],
            self.fold[chosen],
        )

    def and_those(self, more: ListsOfCandidates) -> ListsOfCandidates:
        """Return these lists and others."""
        return ListsOfCandidates(
            np.concatenate([self.columns, more.columns]),
            np.concatenate([self.labels, more.labels]),
            np.concatenate([self.sizes, more.sizes]),
            np.concatenate([self.relevant, more.relevant]),
            np.concatenate([self.fold, more.fold]),
        )

    def thinned(self, others: int) -> ListsOfCandidates:
        """Keep the relevant candidates and the first `others` of the rest; drop lists without a relevant one.

        Candidates are shuffled, so the first ones are a random sample.
        """
        of_list = np.arange(len(self.sizes)).repeat(self.sizes)
        other = (self.labels == 0.0).astype(np.int64)
        before = np.cumsum(other) - other
        first = np.cumsum(self.sizes) - self.sizes
        found = np.bincount(of_list, self.labels, len(self.sizes)) > 0.0
        kept = found[of_list] & ((other == 0) | (before - before[first][of_list] < others))
        return ListsOfCandidates(
            self.columns[kept],
            self.labels[kept],
            np.bincount(of_list[kept], minlength=len(self.sizes))[found],
            self.relevant[found],
            self.fold[found],
        )


def lists_of(
    dataset: RankingDataset, learners: Sequence[int], rng: np.random.Generator, folds: NDArray[np.int64]
) -> ListsOfCandidates:
    """Return the lists of some learners, with relevance labels.

    Candidates are shuffled within each list. Otherwise the first ones would win ties, and an untrained tree would seem
    good.

    Args:
        dataset: the dataset.
        learners: the learners whose lists to return.
        rng: shuffles candidates.
        folds: the fold of each learner.

    Raises:
        TooFewToLearnError: when there are no lists.
    """
    columns, labels, sizes, relevant, fold = [], [], [], [], []
    with threadpool_limits(1, user_api="blas"):
        for learner in learners:
            example = dataset.example(learner)
            wanted = dataset.split.relevant[learner]
            # If learners repeat resources, new resources must also be ranked well among themselves.
            own = dataset.split.own(learner)
            for known in (np.zeros(0, np.int32), own) if dataset.split.repeats else (own,):
                kept = rng.permutation(np.flatnonzero(~np.isin(example.rows, known)))
                left = wanted.difference(known.tolist())
                hit = np.isin(example.rows[kept], list(left))
                if left and len(kept):
                    columns.append(example.columns[kept])
                    labels.append(hit.astype(np.float32))
                    sizes.append(len(kept))
                    relevant.append(len(left))
                    fold.append(folds[learner])
    if not sizes:
        raise TooFewToLearnError("too few learners have candidates to learn from")
    return ListsOfCandidates(
        np.concatenate(columns), np.concatenate(labels), np.array(sizes), np.array(relevant), np.array(fold)
    )
