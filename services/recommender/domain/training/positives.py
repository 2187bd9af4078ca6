"""Who worked on what: the training data of collaborative filtering."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.recommender.domain.training.responses import NONE, ResponseTable


@dataclass(frozen=True, eq=False)
class Positives:
    """The distinct resources each learner worked on, in the order first met.

    Attributes:
        learners: learner ids.
        resources: resource ids; `resource` points into it.
        start: int64, one more than learners: learner u worked on resource[start[u]:start[u + 1]].
        resource: int32, the learners' resources one after another.
        latest_s: int64, when the learner last worked on each of these, Unix seconds; 0 when not known.
    """

    learners: tuple[str, ...]
    resources: tuple[str, ...]
    start: NDArray[np.int64]
    resource: NDArray[np.int32]
    latest_s: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.resource)


def positives_of(table: ResponseTable) -> Positives:
    """The positives in a tenant's responses; a response outside a catalog resource is none."""
    rows = np.flatnonzero(table.resource != NONE)
    pairs = np.column_stack([table.learner[rows], table.resource[rows]])
    _, first, pair = np.unique(pairs, axis=0, return_index=True, return_inverse=True)
    latest_s = np.zeros(len(first), np.int64)
    np.maximum.at(latest_s, pair.ravel(), table.at_s[rows])
    order = np.argsort(first)
    kept = rows[first[order]]
    start = np.zeros(len(table.learners) + 1, np.int64)
    np.cumsum(np.bincount(table.learner[kept], minlength=len(table.learners)), out=start[1:])
    return Positives(table.learners, table.resources, start, table.resource[kept], latest_s[order])


def known_rows(row_of_resource: Mapping[str, int], history: Iterable[str]) -> NDArray[np.intp]:
    """Rows of the known resources of a history, in its order."""
    found = map(row_of_resource.get, history)
    return np.array([row for row in found if row is not None], np.intp)
