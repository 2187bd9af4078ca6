"""Popularity: what most learners worked on, ever or in the last days before the end of the data.

It implements `CollaborativeModel`, but every learner gets the same scores. Elsewhere it is a baseline that other models
are hard pressed to beat (Ferrari Dacrema, Cremonesi, Jannach: Are We Really Making Much Progress?, RecSys 2019).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from services.recommender.application.ports.models import ModelArrays, ModelArraysInvalidError
from services.recommender.domain.training.positives import Positives

KIND = "popular"
_DAY_S = 86_400


class PopularModel:
    """Scores a resource by how many learners worked on it, whatever a learner's history is."""

    def __init__(self, resources: Sequence[str], learners: NDArray[np.float32]) -> None:
        """Build a model.

        Args:
            resources: the ids to score.
            learners: float32, the score of each.

        Raises:
            ModelArraysInvalidError: when there is not one finite score for each resource.
        """
        if learners.shape != (len(resources),) or not np.isfinite(learners).all():
            raise ModelArraysInvalidError(f"a {KIND} model needs one finite score for each of {len(resources)}")
        self._resources = tuple(resources)
        self._learners = learners.astype(np.float32)

    @property
    def resources(self) -> tuple[str, ...]:
        """Resources the model can score, in the order of the scores."""
        return self._resources

    def scores(self, history: Sequence[str]) -> NDArray[np.float32]:  # noqa: ARG002 - of the protocol.
        """Return the score of every resource; the same for every history, in a new array."""
        return self._learners.copy()

    def scores_of(self, rows: NDArray[np.intp]) -> NDArray[np.float32]:  # noqa: ARG002 - of the protocol.
        """Like `scores`."""
        return self._learners.copy()

    def to_arrays(self) -> ModelArrays:
        """Return the model as stored in a bundle."""
        return ModelArrays(
            kind=KIND, hyperparameters={}, resources=self._resources, arrays={"learners": self._learners}
        )

    @classmethod
    def from_arrays(cls, stored: ModelArrays) -> PopularModel:
        """Restore a model from the result of `to_arrays`.

        Raises:
            ModelArraysInvalidError: when the arrays do not form such a model.
        """
        if "learners" not in stored.arrays:
            raise ModelArraysInvalidError(f"a {KIND} model needs 'learners'")
        return cls(stored.resources, stored.arrays["learners"])


def fit_popular(positives: Positives, *, days: float) -> PopularModel:
    """Count the learners of each resource in the last days of the data; all learners of it decide between equals.

    Args:
        positives: the resources of each learner, with times unless `days` covers everything.
        days: length of the window, which ends with the latest time of the data.
    """
    size = len(positives.resources)
    ever = np.bincount(positives.resource, minlength=size)
    since_s = int(positives.latest_s.max(initial=0)) - days * _DAY_S
    lately = np.bincount(positives.resource[positives.latest_s >= since_s], minlength=size)
    return PopularModel(positives.resources, (lately + ever / (ever.max(initial=0) + 1.0)).astype(np.float32))
