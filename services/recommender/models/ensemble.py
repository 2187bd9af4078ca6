"""Several collaborative models of one tenant, asked together: what a learned ranker weighs against each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from services.recommender.application.ports import CollaborativeModel


class Ensemble:
    """Implements `CollaborativeEnsemble`."""

    def __init__(self, resources: Sequence[str], models: Mapping[str, CollaborativeModel]) -> None:
        """Args: `resources`, the ids to score, in order; `models` by name, in the order of the scores."""
        self._resources = tuple(resources)
        self._models = dict(models)
        number = {resource: place for place, resource in enumerate(self._resources)}
        self._places: dict[str, NDArray[np.intp] | None] = {
            name: None
            if model.resources == self._resources
            else np.array([number[resource] for resource in model.resources], np.intp)
            for name, model in self._models.items()
        }

    @property
    def names(self) -> tuple[str, ...]:
        """The models, in the order of the scores."""
        return tuple(self._models)

    @property
    def resources(self) -> tuple[str, ...]:
        """The resources they can score, in the order of the scores."""
        return self._resources

    def get(self, name: str) -> CollaborativeModel | None:
        """The model of that name, or None."""
        return self._models.get(name)

    def scores(self, history: Sequence[str]) -> NDArray[np.float32]:
        """(models, resources): what each says of every resource; 0 where a model does not know it."""
        scores = np.zeros((len(self._models), len(self._resources)), np.float32)
        for row, (name, model) in enumerate(self._models.items()):
            places = self._places[name]
            if places is None:
                scores[row] = model.scores(history)
            else:
                scores[row, places] = model.scores(history)
        return scores
