"""Collaborative filtering by Bayesian personalised ranking with the library `implicit`.

Rendle, Freudenthaler, Gantner, Schmidt-Thieme: BPR: Bayesian Personalized Ranking from Implicit Feedback, UAI 2009.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from implicit.bpr import BayesianPersonalizedRanking
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from services.recommender.domain.training.positives import Positives, known_rows
from services.recommender.models.collaborative.neighbours_fit import matrix_of

_NEWTON_STEPS = 4
_NEGATIVES_PER_POSITIVE = 5


class BprModel:
    """Implements `CollaborativeModel`: scores = Y u + b, with u fitted to the learner's own pairs on request.

    u is the maximum of sum over pairs of log sigmoid(u (y_i - y_j) + b_i - b_j) - regularization/2 |u|^2, i from the
    history, j drawn from the rest with a fixed seed. The factors are fitted by the same criterion.
    """

    def __init__(
        self,
        resources: Sequence[str],
        factors: NDArray[np.float32],
        bias: NDArray[np.float32],
        *,
        regularization: float,
        seed: int,
    ) -> None:
        """Args: `factors` and `bias` of each of `resources`; `regularization` and `seed` of a fold-in."""
        self._resources = tuple(resources)
        self._factors = factors
        self._bias = bias
        self._regularization = regularization
        self._seed = seed
        self._row_of_resource = {resource: row for row, resource in enumerate(self._resources)}

    @property
    def resources(self) -> tuple[str, ...]:
        """Resources the model can score, in the order of the scores."""
        return self._resources

    def fold_in(self, positive: NDArray[np.intp]) -> NDArray[np.float32]:
        """Return the factors of a learner with the positives in these rows; zeros if there are none."""
        width = self._factors.shape[1]
        rows = np.unique(positive)
        rest = np.setdiff1d(np.arange(len(self._resources)), rows)
        if not len(rows) or not len(rest):
            return np.zeros(width, np.float32)
        rng = np.random.default_rng(self._seed)
        better = np.repeat(rows, _NEGATIVES_PER_POSITIVE)
        worse = rng.choice(rest, len(better))
        difference = (self._factors[better] - self._factors[worse]).astype(np.float64)
        offset = (self._bias[better] - self._bias[worse]).astype(np.float64)
        learner = np.zeros(width)
        for _ in range(_NEWTON_STEPS):
            missing = 1.0 / (1.0 + np.exp(difference @ learner + offset))
            gradient = difference.T @ missing - self._regularization * learner
            curvature = (difference * (missing * (1 - missing))[:, None]).T @ difference
            curvature[np.diag_indices(width)] += self._regularization
            learner += np.linalg.solve(curvature, gradient)
        return learner.astype(np.float32)

    def scores(self, history: Sequence[str]) -> NDArray[np.float32]:
        """Score every resource for a learner with these positives; zeros if none of them is known."""
        return self.scores_of(known_rows(self._row_of_resource, history))

    def scores_of(self, rows: NDArray[np.intp]) -> NDArray[np.float32]:
        """Like `scores`, given the rows of the positives."""
        if not len(rows):
            return np.zeros(len(self._resources), np.float32)
        return self._factors @ self.fold_in(rows) + self._bias


def fit_bpr(
    positives: Positives, *, factors: int = 64, regularization: float = 0.01, iterations: int = 100, seed: int
) -> BprModel:
    """Fit a model. The same positives and seed give the same model.

    Args:
        positives: the resources of each learner.
        factors: number of factors per resource.
        regularization: weight of the squared factors, also in a fold-in.
        iterations: passes over the positives.
        seed: seeds the initial factors and the drawn pairs.
    """
    model = BayesianPersonalizedRanking(
        factors=factors,
        regularization=regularization,
        iterations=iterations,
        # One thread, so that steps keep the same order.
        num_threads=1,
        random_state=seed,
    )
    with threadpool_limits(1, "blas"):
        model.fit(matrix_of(positives), show_progress=False)
    fitted = np.asarray(model.item_factors, np.float32)
    # The library keeps a resource's bias as its last factor.
    return BprModel(
        positives.resources,
        np.ascontiguousarray(fitted[:, :-1]),
        np.ascontiguousarray(fitted[:, -1]),
        regularization=max(regularization, 0.1),
        seed=seed,
    )
