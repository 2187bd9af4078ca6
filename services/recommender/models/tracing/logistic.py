"""Logistic regression on identities and counts: performance factors analysis and Best-LR, as baselines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numba
import numpy as np
import scipy.sparse
from numpy.typing import NDArray
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression

from services.recommender.domain.training.metrics import SMALLEST_CHANCE
from services.recommender.domain.training.responses import ResponseTable

Chances = NDArray[np.float64]
Value = TypeVar("Value")


def fitted(value: Value | None) -> Value:
    """Return the fitted parameters.

    Raises:
        RuntimeError: when the model is not fitted.
    """
    if value is None:
        raise RuntimeError("the model is not fitted: call fit before predict")
    return value


@dataclass(frozen=True)
class Practice:
    """Successes and responses of one learner so far.

    Attributes:
        overall: (2,).
        of_item: (items, 2).
        of_skill: (skills, 2).
    """

    overall: NDArray[np.float64]
    of_item: NDArray[np.float64]
    of_skill: NDArray[np.float64]

    @classmethod
    def of(cls, table: ResponseTable, rows: slice) -> Practice:
        """Count successes and responses.

        Args:
            table: responses.
            rows: the rows of the learner.
        """
        response, item = table.response[rows], table.item[rows]
        starts = table.skill_start[rows.start : rows.stop + 1]
        skill = table.skill[starts[0] : starts[-1]]
        known = item >= 0
        return cls(
            np.array([response.sum(), len(response)], np.float64),
            _counted(item[known], response[known], len(table.items)),
            _counted(skill, response.repeat(np.diff(starts)), len(table.skills)),
        )


def _counted(where: NDArray[np.int32], response: NDArray[np.float32], size: int) -> NDArray[np.float64]:
    """(size, 2): successes and responses."""
    return np.stack([np.bincount(where, response, size), np.bincount(where, minlength=size)], axis=1)


class Weights(NamedTuple):
    """The weights of a logistic regression."""

    coefficients: NDArray[np.float64]
    intercept: float


@dataclass
class LogisticOnCounts:
    """Logistic regression on identities and counts.

    Performance factors analysis: Pavlik, Cen, Koedinger, AIED 2009: per skill an easiness and slopes on successes and
    failures. With `best`, Best-LR: Gervet, Koedinger, Schneider, Mitchell: When is Deep Learning the Best Approach to
    Knowledge Tracing?, JEDM 12(3), 2020: items and skills, and log(1 + successes) and log(1 + responses) overall, per
    skill and on the item. A graded response counts as that share of a success, in the counts and in the likelihood.
    """

    best: bool = False
    _weights: Weights | None = None

    def fit(self, table: ResponseTable) -> None:
        """Fit the weights (L2, the library's default strength)."""
        self._weights = fit_logistic(
            self._design(table),
            table.response.astype(np.float64),
            # Plain counts are ill-conditioned and need second derivatives. Identities are too many to build their
            # Hessian, so it is only multiplied with vectors.
            solver="newton-cg" if self.best else "newton-cholesky",
        )

    def predict(self, table: ResponseTable) -> Chances:
        """Predict chances from the weights."""
        weights = fitted(self._weights)
        chances: Chances = expit(self._design(table) @ weights.coefficients + weights.intercept)
        return chances

    def predict_next(self, practice: Practice, items: NDArray[np.integer], tags: scipy.sparse.csr_matrix) -> Chances:
        """Predict the chance that a learner's next response is right, for each of many items; only with `best`.

        Args:
            practice: counts of the learner's earlier responses.
            items: the items; NONE for an unknown item.
            tags: (items, skills); 1 where an item has a skill.
        """
        weights = fitted(self._weights)
        skills = tags.shape[1]
        ends = np.cumsum([len(practice.of_item), skills, 4, skills])
        of_item, easiness, of_count, of_successes, of_responses = np.split(weights.coefficients, ends)
        counts = np.log1p(practice.of_skill)
        by_skill = easiness + of_successes * counts[:, 0] + of_responses * counts[:, 1]
        logits = weights.intercept + tags @ by_skill + np.log1p(practice.overall) @ of_count[:2]
        known = items >= 0
        logits[known] += of_item[items[known]] + np.log1p(practice.of_item[items[known]]) @ of_count[2:]
        chances: Chances = 1.0 / (1.0 + np.exp(-logits))
        return chances

    def _design(self, table: ResponseTable) -> scipy.sparse.csr_matrix:
        overall, on_item, on_skill = (
            np.zeros((len(table), 2)),
            np.zeros((len(table), 2)),
            np.zeros((len(table.skill), 2)),
        )
        _count(
            table.learner,
            table.item,
            table.response,
            table.skill_start,
            table.skill,
            len(table.items),
            len(table.skills),
            overall,
            on_item,
            on_skill,
        )
        rows = table.skill_rows()
        shape = (len(table), len(table.skills))

        def by_skill(values: NDArray[np.float64]) -> scipy.sparse.csr_matrix:
            return scipy.sparse.csr_matrix((values, (rows, table.skill)), shape)

        ones = np.ones(len(table.skill))
        if not self.best:
            failures = on_skill[:, 1] - on_skill[:, 0]
            return scipy.sparse.hstack([by_skill(ones), by_skill(on_skill[:, 0]), by_skill(failures)], format="csr")
        known = table.item >= 0
        items = scipy.sparse.csr_matrix(
            (np.ones(int(known.sum())), (np.flatnonzero(known), table.item[known])), (len(table), len(table.items))
        )
        counts = np.log1p(np.hstack([overall, on_item]))
        return scipy.sparse.hstack(
            [
                items,
                by_skill(ones),
                scipy.sparse.csr_matrix(counts),
                by_skill(np.log1p(on_skill[:, 0])),
                by_skill(np.log1p(on_skill[:, 1])),
            ],
            format="csr",
        )


def fit_logistic(design: scipy.sparse.csr_matrix, response: NDArray[np.float64], *, solver: str) -> Weights:
    """The weights with the lowest penalised log-loss (L2), in which a graded response is a share of a success.

    The library fits classes only. So a response of p is a success of weight p and a failure of weight 1 - p, which have
    the same log-loss together (Papke, Wooldridge: Econometric Methods for Fractional Response Variables, Journal of
    Applied Econometrics 11, 1996).
    """
    graded = np.flatnonzero((response > 0) & (response < 1))
    success = np.concatenate([response > 0, np.zeros(len(graded), np.bool_)])
    if design.shape[1] == 0 or success.all() or not success.any():
        # With nothing to tell responses apart, or nothing to tell, the best chance is the share of successes.
        share = np.clip(response.mean(), SMALLEST_CHANCE, 1 - SMALLEST_CHANCE)
        return Weights(np.zeros(design.shape[1]), float(logit(share)))
    share_of_row = np.concatenate([np.where(response > 0, response, 1.0), 1.0 - response[graded]])
    rows = scipy.sparse.vstack([design, design[graded]], format="csr")
    model = LogisticRegression(solver=solver, tol=1e-4, max_iter=1_000)
    model.fit(rows, success, sample_weight=share_of_row)
    return Weights(model.coef_[0], float(model.intercept_[0]))


@numba.njit(cache=True)
def _count(
    learner: NDArray[np.int32],
    item: NDArray[np.int32],
    response: NDArray[np.float32],
    skill_start: NDArray[np.int64],
    skill: NDArray[np.int32],
    items: int,
    skills: int,
    overall: NDArray[np.float64],
    on_item: NDArray[np.float64],
    on_skill: NDArray[np.float64],
) -> None:
    """Write the earlier successes and responses at each response: overall, on the item, and per skill entry."""
    item_owner, skill_owner = np.full(items, -1), np.full(skills, -1)
    of_item, of_skill = np.zeros((items, 2)), np.zeros((skills, 2))
    successes, responses, current = 0.0, 0.0, -1
    for row in range(len(response)):
        if learner[row] != current:
            current, successes, responses = learner[row], 0.0, 0.0
        y, i = response[row], item[row]
        overall[row, 0], overall[row, 1] = successes, responses
        successes += y
        responses += 1.0
        if i >= 0:
            if item_owner[i] != current:
                item_owner[i] = current
                of_item[i] = 0.0
            on_item[row] = of_item[i]
            of_item[i, 0] += y
            of_item[i, 1] += 1.0
        for entry in range(skill_start[row], skill_start[row + 1]):
            k = skill[entry]
            if skill_owner[k] != current:
                skill_owner[k] = current
                of_skill[k] = 0.0
            on_skill[entry] = of_skill[k]
            of_skill[k, 0] += y
            of_skill[k, 1] += 1.0
