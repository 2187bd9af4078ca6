"""Several collaborative models of one tenant, scored together: the base models of a learned ranker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.recommender.application.ports.models import CollaborativeModel
from services.recommender.domain.training.positives import known_rows


class Ensemble:
    """Implements `CollaborativeEnsemble`."""

    def __init__(self, resources: Sequence[str], models: Mapping[str, CollaborativeModel]) -> None:
        """Args: `resources`, the ids to score, in order; `models` by name, in the order of the scores."""
        self._resources = tuple(resources)
        self._row_of_resource = {resource: row for row, resource in enumerate(self._resources)}
        self._models = dict(models)
        self._places = {
            name: None
            if model.resources == self._resources
            else _Places.of(self._row_of_resource, len(self._resources), model)
            for name, model in self._models.items()
        }

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the models, in the order of the scores."""
        return tuple(self._models)

    @property
    def resources(self) -> tuple[str, ...]:
        """Resources the models can score, in the order of the scores."""
        return self._resources

    def get(self, name: str) -> CollaborativeModel | None:
        """Return the model of that name, or None."""
        return self._models.get(name)

    def scores(self, history: Sequence[str]) -> NDArray[np.float32]:
        """Return the score of every resource by each model, (models, resources); 0 for resources unknown to a model."""
        rows = known_rows(self._row_of_resource, history)
        scores = np.zeros((len(self._models), len(self._resources)), np.float32)
        for number, (name, model) in enumerate(self._models.items()):
            places = self._places[name]
            if places is None:
                scores[number] = model.scores_of(rows)
            else:
                known = places.inverse[rows]
                scores[number, places.rows] = model.scores_of(known[known >= 0])
        return scores


class _Places(NamedTuple):
    """Return the rows of a model's resources in an ensemble, and the inverse, with -1 for unknown resources."""

    rows: NDArray[np.intp]
    inverse: NDArray[np.intp]

    @classmethod
    def of(cls, row_of_resource: Mapping[str, int], size: int, model: CollaborativeModel) -> _Places:
        rows = np.array([row_of_resource[resource] for resource in model.resources], np.intp)
        inverse = np.full(size, -1, np.intp)
        inverse[rows] = np.arange(len(rows))
        return cls(rows, inverse)
