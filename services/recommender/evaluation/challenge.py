"""How hard listed resources are, according to a model that no ranking uses and that was not fitted on the learner.

Rankings use the chances of the served filter, so the filter cannot measure the challenge of lists independently. A
logistic regression on counts does it instead (Best-LR, in `models.tracing.logistic`), fitted on other learners.
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

# The chances of success at which work is neither too hard nor too easy.
SUCCESS_BAND = (0.65, 0.85)
# More learners do not improve the difficulties of skills, and take minutes to fit.
_LEARNERS_PER_MODEL = 500
# A skill is not mastered if a smaller share of its responses is right.
MASTERED_FROM = 0.6


class OneOutcomeError(ValueError):
    """All responses are right, or all are wrong."""


class Challenge:
    """Predicts the chances of success of learners on resources, given their earlier responses."""

    def __init__(self, split: WorkSplit, *, seed: int) -> None:
        """Fit two models, each on half of the learners; each predicts the other half.

        Args:
            split: graded work.
            seed: decides the halves.

        Raises:
            OneOutcomeError: when one half does not have both right and wrong responses.
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
        # A learner's place in a random order decides their half, and whether a model is fitted to them.
        order = np.random.default_rng(seed).permutation(len(table.learners))
        self._half = order % 2
        self._models = [LogisticOnCounts(best=True) for _ in range(2)]
        for half, model in enumerate(self._models):
            others = table.of_learners((self._half != half) & (order < 2 * _LEARNERS_PER_MODEL))
            if len(np.unique(others.response >= SUCCESS_FROM)) < 2:
                raise OneOutcomeError("half of the learners have only right responses, only wrong ones, or none")
            # Synchronising threads would take longer than computing on one.
            with threadpool_limits(1, user_api="blas"):
                model.fit(others)

    def after(self, learner: int, resources: Sequence[int]) -> NDArray[np.float64]:
        """Return the chance that the learner's next response is right, for each of some resources."""
        practice = Practice.of(self._table, slice(self._first[learner], self._first[learner + 1]))
        model: LogisticOnCounts = self._models[self._half[learner]]
        return model.predict_next(practice, self._items[list(resources)], self._tags[list(resources)])

    def share_in_band(self, learner: int, resources: Sequence[int]) -> float:
        """Return the share of the resources with a chance of success in the band."""
        chances = self.after(learner, resources)
        return float(((chances >= SUCCESS_BAND[0]) & (chances <= SUCCESS_BAND[1])).mean()) if len(chances) else 0.0


def challenge_of(split: WorkSplit, *, seed: int) -> Challenge | None:
    """Return the model of how hard lists are; None if half of the learners are always right or always wrong.

    Args:
        split: graded work.
        seed: decides the halves.
    """
    try:
        return Challenge(split, seed=seed)
    except OneOutcomeError:
        return None


class Mastery:
    """Finds resources that build on skills a learner did not do well in, by counting responses."""

    def __init__(self, split: WorkSplit) -> None:
        """Args: `split`, graded work; without prerequisites, no resource builds on a skill."""
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
        """Return how many resources build on a skill on which the learner got over two fifths wrong."""
        practice = Practice.of(self._table, slice(self._first[learner], self._first[learner + 1]))
        right, responses = practice.of_skill.T
        weak = frozenset(np.flatnonzero(right < MASTERED_FROM * responses).tolist())
        return sum(bool(self._builds_on[resource] & weak) for resource in resources)


def _first_rows(table: ResponseTable) -> list[int]:
    """Return the start of each learner's rows, and the end of the last learner's."""
    rows: list[int] = np.searchsorted(table.learner, np.arange(len(table.learners) + 1)).tolist()
    return rows


def _only_items(table: ResponseTable) -> NDArray[np.int64]:
    """Return the item of each resource; NONE if it has several, so that only its skills are used."""
    lowest, highest = np.full(len(table.resources), len(table.items)), np.full(len(table.resources), NONE)
    known = (table.resource != NONE) & (table.item != NONE)
    np.minimum.at(lowest, table.resource[known], table.item[known])
    np.maximum.at(highest, table.resource[known], table.item[known])
    return np.where(lowest == highest, highest, NONE)
