"""Fits resource factors by alternating least squares with the library `implicit`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse
from implicit.als import AlternatingLeastSquares
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from services.recommender.application.training.train import Advance, FittedCollaborative, TooFewPositivesError
from services.recommender.domain.training.positives import Positives
from services.recommender.models.collaborative.als import AlsModel


@dataclass(frozen=True, slots=True)
class AlsSettings:
    """Hyper-parameters.

    Attributes:
        factors: number of factors per resource; fewer if there is too little data.
        regularization: weight of the squared factors in the loss.
        confidence: weight of a positive against an unseen pair.
        iterations: number of alternations between learners and resources.
    """

    factors: int = 64
    regularization: float = 5.0
    confidence: float = 2.0
    iterations: int = 15


# A learner with one positive has no co-occurrence.
_POSITIVES_PER_LEARNER = 2
_LEARNERS_NEEDED = 20
_RESOURCES_NEEDED = 10


def fit_als(
    positives: Positives,
    settings: AlsSettings,
    *,
    seed: int,
    advance: Advance = lambda _done, _total: None,
) -> FittedCollaborative:
    """Fit a model to a tenant's positives. The same positives and seed give the same model.

    Args:
        positives: the resources of each learner.
        settings: hyper-parameters.
        seed: seeds the initial factors.
        advance: progress callback: iterations done, iterations in total.

    Raises:
        TooFewPositivesError: when a model would be noise.
    """
    matrix = scipy.sparse.csr_matrix(
        (np.ones(len(positives), np.float32), positives.resource, positives.start),
        shape=(len(positives.learners), len(positives.resources)),
    )
    useful = matrix[np.diff(matrix.indptr) >= _POSITIVES_PER_LEARNER]
    columns = np.unique(useful.indices)
    if useful.shape[0] < _LEARNERS_NEEDED or len(columns) < _RESOURCES_NEEDED:
        raise TooFewPositivesError(
            f"{useful.shape[0]} learners with at least {_POSITIVES_PER_LEARNER} resources, {len(columns)} resources; "
            f"{_LEARNERS_NEEDED} and {_RESOURCES_NEEDED} are needed"
        )
    useful = useful[:, columns].sorted_indices()
    factors = factors_for(settings.factors, learners=useful.shape[0], resources=useful.shape[1])
    with threadpool_limits(1, "blas"):
        item_factors = _factorize(useful, settings, factors, seed, advance)
    model = AlsModel(
        [positives.resources[column] for column in columns],
        item_factors,
        regularization=settings.regularization,
        confidence=settings.confidence,
    )
    return FittedCollaborative(
        model.to_arrays(),
        {
            "als_factors": factors,
            "als_regularization": settings.regularization,
            "als_confidence": settings.confidence,
            "als_iterations": settings.iterations,
            "als_seed": seed,
        },
    )


def factors_for(wanted: int, *, learners: int, resources: int) -> int:
    """Return how many factors the data supports: at most a quarter of its smaller side, at least 4."""
    return min(wanted, max(4, min(learners, resources) // 4))


def _factorize(
    positives: scipy.sparse.csr_matrix, settings: AlsSettings, factors: int, seed: int, advance: Advance
) -> NDArray[np.float32]:
    model = AlternatingLeastSquares(
        factors=factors,
        regularization=settings.regularization,
        alpha=settings.confidence,
        iterations=settings.iterations,
        # One thread each, so that sums keep the same order.
        num_threads=1,
        random_state=seed,
    )
    model.fit(
        positives,
        show_progress=False,
        callback=lambda iteration, _elapsed_s, _loss: advance(iteration + 1, settings.iterations),
    )
    fitted: NDArray[np.float32] = np.asarray(model.item_factors, np.float32)
    return fitted
