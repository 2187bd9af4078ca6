"""How hard listed resources would be, according to a model that takes no part in any ranking and never saw the learner.

Rankings use the chances of the serving filter, so it cannot judge the challenge of lists independently. Here a logistic
regression on counts does (`tracing_logistic`, Best-LR), fitted on other learners.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.sparse
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from services.recommender.domain.training.metrics import SUCCESS_FROM
from services.recommender.domain.training.responses import NONE, ResponseTable
from services.recommender.domain.training.splits import WorkSplit
from services.recommender.models.tracing.logistic import LogisticOnCounts, Practice

# A learner's chance of success where work is neither too hard nor too easy.
SUCCESS_BAND = (0.65, 0.85)
# More learners add nothing about the difficulty of skills, and take minutes to fit.
_LEARNERS_PER_MODEL = 500
# A skill worked on with a smaller share of right responses is not mastered.
MASTERED_FROM = 0.6


class OneOutcomeError(ValueError):
    """Responses are all right or all wrong."""


class Challenge:
    """Chances of success of learners on resources, given what they did before."""

    def __init__(self, split: WorkSplit, *, seed: int) -> None:
        """Fit two models, each to learners of one half, to be asked about the other half.

        Args:
            split: graded work.
            seed: of the halves.

        Raises:
            OneOutcomeError: when one half has nothing to tell success and failure apart by.
        """
        table = split.before
        self._table = table
        self._items = _only_items(table)
        starts = np.cumsum([0, *(len(tags) for tags in split.tags)])
        entries = np.array([skill for tags in split.tags for skill in sorted(tags)], np.int64)
        self._tags = scipy.sparse.csr_matrix(
            (np.ones(len(entries)), entries, starts), (len(split.tags), len(table.skills))
        )
        self._first = _first_rows(table)
        # A learner's place in a random order says which half they are of, and whether a model is fitted to them.
        order = np.random.default_rng(seed).permutation(len(table.learners))
        self._half = order % 2
        self._models = [LogisticOnCounts(best=True) for _ in range(2)]
        for half, model in enumerate(self._models):
            others = table.of_learners((self._half != half) & (order < 2 * _LEARNERS_PER_MODEL))
            if len(np.unique(others.response >= SUCCESS_FROM)) < 2:
                raise OneOutcomeError("all responses of half of the learners came out alike, or there are none")
            # Threads would wait for each other longer than one takes.
            with threadpool_limits(1, user_api="blas"):
                model.fit(others)

    def after(self, learner: int, resources: Sequence[int]) -> NDArray[np.float64]:
        """Chance that the learner's next response to each of some resources is right."""
        practice = Practice.of(self._table, slice(self._first[learner], self._first[learner + 1]))
        model: LogisticOnCounts = self._models[self._half[learner]]
        return model.predict_next(practice, self._items[list(resources)], self._tags[list(resources)])

    def share_in_band(self, learner: int, resources: Sequence[int]) -> float:
        """Share of the resources with a chance of success in the band."""
        chances = self.after(learner, resources)
        return float(((chances >= SUCCESS_BAND[0]) & (chances <= SUCCESS_BAND[1])).mean()) if len(chances) else 0.0


def challenge_of(split: WorkSplit, *, seed: int) -> Challenge | None:
    """The model of how hard lists are; None if half of the learners are always right, or always wrong.

    Args:
        split: graded work.
        seed: of the halves.
    """
    try:
        return Challenge(split, seed=seed)
    except OneOutcomeError:
        return None


class Mastery:
    """Which resources build on skills that a learner did not do well in, by nothing but counting."""

    def __init__(self, split: WorkSplit) -> None:
        """Args: `split`, graded work; without prerequisites nothing builds on anything."""
        self._table = split.before
        self._first = _first_rows(split.before)
        self._builds_on = [
            frozenset().union(*(split.prerequisites.get(skill, frozenset()) for skill in tags)) - tags
            for tags in split.tags
        ]

    @property
    def matters(self) -> bool:
        """Whether any resource builds on a skill."""
        return any(self._builds_on)

    def violations(self, learner: int, resources: Sequence[int]) -> int:
        """How many of the resources build on a skill of which the learner got more than two fifths wrong."""
        practice = Practice.of(self._table, slice(self._first[learner], self._first[learner + 1]))
        right, responses = practice.of_skill.T
        weak = frozenset(np.flatnonzero(right < MASTERED_FROM * responses).tolist())
        return sum(bool(self._builds_on[resource] & weak) for resource in resources)


def _first_rows(table: ResponseTable) -> list[int]:
    """Where each learner's rows begin, and where the last one's end."""
    rows: list[int] = np.searchsorted(table.learner, np.arange(len(table.learners) + 1)).tolist()
    return rows


def _only_items(table: ResponseTable) -> NDArray[np.int64]:
    """By resource its item; NONE where it has several, so that only its skills are known."""
    lowest, highest = np.full(len(table.resources), len(table.items)), np.full(len(table.resources), NONE)
    known = (table.resource != NONE) & (table.item != NONE)
    np.minimum.at(lowest, table.resource[known], table.item[known])
    np.maximum.at(highest, table.resource[known], table.item[known])
    return np.where(lowest == highest, highest, NONE)
