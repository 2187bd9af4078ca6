"""Collaborative filtering with item-to-item weights.

A learner is folded in from their history alone, so learners outside the training data are scored like any other.
Fitting is in `neighbours_fit`, so that a server does not load SciPy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from services.recommender.application.ports.models import ModelArrays, ModelArraysInvalidError
from services.recommender.domain.training.positives import known_rows

KIND = "item_item"

# Written to bundles for a history whose resources all count equally.
_NO_HALF_LIFE = 0.0

Scores = NDArray[np.float32]


class SparseRows(NamedTuple):
    """A square matrix in compressed sparse row format.

    Attributes:
        starts: where each row begins in the other two, and their length at the end.
        columns: of each entry.
        values: of each entry.
    """

    starts: NDArray[np.integer]
    columns: NDArray[np.integer]
    values: NDArray[np.floating]


class ItemItemModel:
    """Sums the weights from each resource of a history to every other: scores = sum_h weight_h W[h].

    A history is newest last; with `half_life`, a resource counts half as much as one that many places later.
    """

    def __init__(self, resources: Sequence[str], weights: SparseRows, *, half_life: float | None = None) -> None:
        """Args: `resources`, the ids of rows and columns of `weights`; `half_life`, as a number of resources."""
        self._resources = tuple(resources)
        self._starts = weights.starts.astype(np.int64)
        self._columns = weights.columns.astype(np.int32)
        self._values = weights.values.astype(np.float32)
        self._half_life = half_life
        self._row_of_resource = {resource: row for row, resource in enumerate(self._resources)}

    @property
    def resources(self) -> tuple[str, ...]:
        """Resources the model can score, in the order of the scores."""
        return self._resources

    def scores(self, history: Sequence[str]) -> Scores:
        """Score every resource for a learner with these positives, newest last; unknown ids are ignored."""
        return self.scores_of(known_rows(self._row_of_resource, history))

    def scores_of(self, rows: NDArray[np.intp]) -> Scores:
        """Like `scores`, given the rows of the positives."""
        ages = np.arange(len(rows) - 1, -1, -1)
        recency = np.ones(len(rows)) if self._half_life is None else 0.5 ** (ages / self._half_life)
        return _sum_of_rows(
            self._starts, self._columns, self._values, rows, recency.astype(np.float32), len(self._resources)
        )

    def to_arrays(self) -> ModelArrays:
        """Return the model as stored in a bundle: counts of neighbours, because float32 cannot hold large offsets."""
        return ModelArrays(
            kind=KIND,
            hyperparameters={"half_life": self._half_life or _NO_HALF_LIFE},
            resources=self._resources,
            arrays={
                "counts": np.diff(self._starts).astype(np.float32),
                "neighbours": self._columns.astype(np.float32),
                "weights": self._values,
            },
        )

    @classmethod
    def from_arrays(cls, stored: ModelArrays) -> ItemItemModel:
        """Restore a model from the result of `to_arrays`.

        Raises:
            ModelArraysInvalidError: when the arrays do not form such a model.
        """
        try:
            counts, neighbours, data = (stored.arrays[name] for name in ("counts", "neighbours", "weights"))
            half_life = stored.hyperparameters["half_life"]
        except KeyError as error:
            raise ModelArraysInvalidError(f"an {KIND} model needs {error}") from error
        size = len(stored.resources)
        if counts.shape != (size,) or (counts < 0).any() or not len(neighbours) == len(data) == int(counts.sum()):
            raise ModelArraysInvalidError(f"the counts of {size} resources do not add up to {len(data)} weights")
        if len(neighbours) and not (neighbours.min() >= 0 and neighbours.max() < size):
            raise ModelArraysInvalidError(f"a neighbour is not one of {size} resources")
        starts = np.concatenate([[0], np.cumsum(counts.astype(np.int64))])
        return cls(stored.resources, SparseRows(starts, neighbours.astype(np.int32), data), half_life=half_life or None)


@numba.njit(cache=True)
def _sum_of_rows(
    starts: NDArray[np.int64],
    columns: NDArray[np.int32],
    values: NDArray[np.float32],
    rows: NDArray[np.int64],
    weights: NDArray[np.float32],
    size: int,
) -> Scores:
    summed = np.zeros(size, np.float32)
    for place in range(len(rows)):
        for entry in range(starts[rows[place]], starts[rows[place] + 1]):
            summed[columns[entry]] += weights[place] * values[entry]
    return summed
