"""Regression trees as plain arrays: their sum, and what each kind of feature adds to it.

Nothing here knows how trees are grown; a bundle keeps the arrays, and a server needs no library to answer with them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from services.recommender.domain.ranking.catalog import FloatColumn

_LEAF = -1
Matrix = NDArray[np.float32]


class TreesInvalidError(ValueError):
    """Arrays are not those of trees."""


@dataclass(frozen=True)
class Trees:
    """A sum of regression trees.

    Attributes:
        starts: int32, one more than trees: the nodes of tree t are starts[t]:starts[t + 1], its root first.
        features: int32 per node, which feature it asks for; -1 at a leaf.
        thresholds: float32 per node; a value at most this goes left.
        lefts: int32 per node, the node that follows on the left; a node's followers stand after it.
        rights: the same on the right.
        values: float32 per node, the mean answer of what came through it when the trees were grown; at a leaf the
            answer.
    """

    starts: NDArray[np.int32]
    features: NDArray[np.int32]
    thresholds: NDArray[np.float32]
    lefts: NDArray[np.int32]
    rights: NDArray[np.int32]
    values: NDArray[np.float32]

    def check(self, feature_count: int) -> None:
        """See that every walk ends.

        Raises:
            TreesInvalidError: when a node asks for a feature there is none of, or its followers do not stand after it.
        """
        nodes = len(self.features)
        columns = (self.thresholds, self.lefts, self.rights, self.values)
        if any(len(column) != nodes for column in columns) or not len(self.starts) or self.starts[-1] != nodes:
            raise TreesInvalidError("the columns of the trees' nodes differ in length")
        if (np.diff(self.starts) < 1).any() or self.starts[0] != 0:
            raise TreesInvalidError("a tree has no node")
        if (self.features >= feature_count).any() or (self.features < _LEAF).any():
            raise TreesInvalidError(f"a node asks for a feature that is not one of {feature_count}")
        here = np.arange(nodes)
        end = np.repeat(self.starts[1:], np.diff(self.starts))
        inner = self.features != _LEAF
        for follower in (self.lefts, self.rights):
            if ((follower <= here) | (follower >= end))[inner].any():
                raise TreesInvalidError("a node's followers do not stand after it in its tree")

    def total(self, features: Matrix) -> FloatColumn:
        """The sum of all trees' answers, for each row of features."""
        return _total(
            self.starts, self.features, self.thresholds, self.lefts, self.rights, self.values, features
        )  # fmt: skip

    def attributed(self, features: Matrix, kinds: NDArray[np.intp], count: int) -> FloatColumn:
        """What each kind of feature adds: along each path the change of the mean answer is the asked feature's.

        A. Saabas, Interpreting random forests, 2014. A row's entries sum to `total`.

        Args:
            features: (C, F).
            kinds: F; the kind of each feature, from 0.
            count: how many kinds there are.

        Returns:
            (C, count + 1): last what nothing asked for adds, the mean answer of every tree.
        """
        return _attributed(
            self.starts, self.features, self.thresholds, self.lefts, self.rights, self.values, features, kinds, count
        )


def mean_of(several: Sequence[Trees]) -> Trees:
    """Trees whose total is the mean of the totals of these."""
    first = np.cumsum([0, *(len(trees.features) for trees in several[:-1])]).tolist()
    return Trees(
        np.concatenate(
            [[0], *(trees.starts[1:] + offset for trees, offset in zip(several, first, strict=True))], dtype=np.int32
        ),
        np.concatenate([trees.features for trees in several]),
        np.concatenate([trees.thresholds for trees in several]),
        np.concatenate([trees.lefts + offset for trees, offset in zip(several, first, strict=True)], dtype=np.int32),
        np.concatenate([trees.rights + offset for trees, offset in zip(several, first, strict=True)], dtype=np.int32),
        (np.concatenate([trees.values for trees in several]) / len(several)).astype(np.float32),
    )


NO_TREES = Trees(
    np.zeros(1, np.int32),
    np.zeros(0, np.int32),
    np.zeros(0, np.float32),
    np.zeros(0, np.int32),
    np.zeros(0, np.int32),
    np.zeros(0, np.float32),
)


@numba.njit(cache=True)
def _total(
    starts: NDArray[np.int32],
    asked: NDArray[np.int32],
    thresholds: NDArray[np.float32],
    lefts: NDArray[np.int32],
    rights: NDArray[np.int32],
    values: NDArray[np.float32],
    features: Matrix,
) -> FloatColumn:
    total = np.zeros(len(features))
    # Tree by tree, so that a tree's nodes stay in the cache.
    for tree in range(len(starts) - 1):
        for row in range(len(features)):
            node = starts[tree]
            while asked[node] >= 0:
                node = lefts[node] if features[row, asked[node]] <= thresholds[node] else rights[node]
            total[row] += values[node]
    return total


@numba.njit(cache=True)
def _attributed(
    starts: NDArray[np.int32],
    asked: NDArray[np.int32],
    thresholds: NDArray[np.float32],
    lefts: NDArray[np.int32],
    rights: NDArray[np.int32],
    values: NDArray[np.float32],
    features: Matrix,
    kinds: NDArray[np.intp],
    count: int,
) -> FloatColumn:
    added = np.zeros((len(features), count + 1))
    for tree in range(len(starts) - 1):
        for row in range(len(features)):
            node = starts[tree]
            added[row, count] += values[node]
            while asked[node] >= 0:
                follower = lefts[node] if features[row, asked[node]] <= thresholds[node] else rights[node]
                added[row, kinds[asked[node]]] += values[follower] - values[node]
                node = follower
    return added
