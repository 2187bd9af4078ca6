"""Scores with the factors of alternating least squares.

Hu, Koren, Volinsky: Collaborative Filtering for Implicit Feedback Datasets, ICDM 2008. Fitting is in
`als_fit`, so that a server does not load the fitting library.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from services.recommender.application.ports.models import ModelArrays, ModelArraysInvalidError
from services.recommender.domain.training.positives import known_rows

KIND = "als"


class AlsModel:
    """Implements `CollaborativeModel` with resource factors; a learner's factors are folded in from their history.

    Given the resource factors Y, a learner with the distinct positives H gets the factors that minimise the loss:
    u = (Y'Y + regularization I + (confidence - 1) Y_H'Y_H)^-1 confidence Y_H'1, and scores Y u.
    """

    def __init__(
        self,
        resources: Sequence[str],
        factors: NDArray[np.float32],
        *,
        regularization: float,
        confidence: float,
    ) -> None:
        """Build a model.

        Args:
            resources: the ids of the rows of `factors`, distinct.
            factors: float32, one row per resource, finite.
            regularization: weight of the squared factors in the loss; above 0.
            confidence: weight of a positive against an unseen pair; at least 1.

        Raises:
            ModelArraysInvalidError: when the arguments are inconsistent.
        """
        if factors.ndim != 2 or factors.shape[0] != len(resources) or factors.dtype != np.float32:
            raise ModelArraysInvalidError(
                f"the factors have shape {factors.shape} and type {factors.dtype}; "
                f"expected float32 of ({len(resources)}, factors)"
            )
        if not np.isfinite(factors).all():
            raise ModelArraysInvalidError("the factors are not all finite")
        if not (regularization > 0 and confidence >= 1):
            raise ModelArraysInvalidError(
                f"regularization {regularization} must be above 0 and confidence {confidence} at least 1"
            )
        self._resources = tuple(resources)
        self._factors = np.ascontiguousarray(factors)
        self._regularization = regularization
        self._confidence = confidence
        self._row_of_resource = {resource: row for row, resource in enumerate(self._resources)}
        if len(self._row_of_resource) != len(self._resources):
            raise ModelArraysInvalidError("the resources are not distinct")
        # Sum in float64, so that the rounded result does not depend on how BLAS splits the sum.
        wide = factors.astype(np.float64)
        self._gram = (wide.T @ wide + regularization * np.eye(factors.shape[1])).astype(np.float32)

    @property
    def resources(self) -> tuple[str, ...]:
        """Resources the model can score, in the order of the scores."""
        return self._resources

    def fold_in(self, positive: NDArray[np.intp]) -> NDArray[np.float32]:
        """Return the factors of a learner with the positives in these rows: float32, zeros if there are none."""
        if not len(positive):
            return np.zeros(self._factors.shape[1], np.float32)
        # Sum in the order of rows, so that the order of a history cannot change the last bits.
        rows = np.unique(positive)
        positives = self._factors[rows]
        system = self._gram + np.float32(self._confidence - 1) * (positives.T @ positives)
        target = np.float32(self._confidence) * positives.sum(axis=0)
        return np.linalg.solve(system, target)

    def scores(self, history: Sequence[str]) -> NDArray[np.float32]:
        """Score every resource for a learner with these positives: float32, zeros if none of them is known."""
        return self.scores_of(known_rows(self._row_of_resource, history))

    def scores_of(self, rows: NDArray[np.intp]) -> NDArray[np.float32]:
        """Like `scores`, given the rows of the positives."""
        return self._factors @ self.fold_in(rows)

    def to_arrays(self) -> ModelArrays:
        """Return the model as stored in a bundle."""
        return ModelArrays(
            kind=KIND,
            hyperparameters={"regularization": self._regularization, "confidence": self._confidence},
            resources=self._resources,
            arrays={"factors": self._factors},
        )

    @classmethod
    def from_arrays(cls, stored: ModelArrays) -> AlsModel:
        """Restore a model from the result of `to_arrays`.

        Raises:
            ModelArraysInvalidError: when the arrays do not form such a model.
        """
        try:
            factors = stored.arrays["factors"]
            regularization = stored.hyperparameters["regularization"]
            confidence = stored.hyperparameters["confidence"]
        except KeyError as error:
            raise ModelArraysInvalidError(f"an als model needs {error}") from error
        return cls(stored.resources, factors, regularization=regularization, confidence=confidence)
