"""A baseline: what was popular in the last week."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from services.recommender.domain.training.responses import NONE
from services.recommender.domain.training.splits import WorkSplit

WEEK_S = 7 * 24 * 3600


class PopularLastWeek:
    """Scores resources by the learners who worked on them in the last week, then by all who ever did.

    The week ends when the split is, or with the learner's latest known work if every learner has their own split.
    """

    def __init__(self, work: WorkSplit, popularity: NDArray[np.float32]) -> None:
        """Args: `work`, with times; `popularity`, the number of learners of each resource."""
        table = work.before
        rows = np.flatnonzero((table.resource != NONE) & (table.at_s > 0))
        rows = rows[np.argsort(table.at_s[rows], kind="stable")]
        self._at_s, self._learner, self._resource = table.at_s[rows], table.learner[rows], table.resource[rows]
        self._ever = popularity / (popularity.max(initial=0.0) + 1)
        self._end_s = np.zeros(len(table.learners), np.int64)
        np.maximum.at(self._end_s, table.learner, table.at_s)
        if work.split_at_s is not None:
            self._end_s[:] = work.split_at_s
        self._counted: tuple[int, NDArray[np.float32]] = (-1, self._ever)

    def scores(self, learner: int) -> NDArray[np.float32]:
        """Return the score of every resource for a learner, in a new array."""
        end_s = int(self._end_s[learner])
        if end_s != self._counted[0]:
            self._counted = end_s, self._of_week(end_s)
        return self._counted[1].copy()

    def _of_week(self, end_s: int) -> NDArray[np.float32]:
        week = slice(*np.searchsorted(self._at_s, [end_s - WEEK_S, end_s + 1]))
        size = len(self._ever)
        pairs = np.unique(self._learner[week].astype(np.int64) * size + self._resource[week])
        counts = np.bincount(pairs % size, minlength=size).astype(np.float32)
        return np.asarray(counts + self._ever, np.float32)
