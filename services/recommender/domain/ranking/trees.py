"""Regression trees as plain arrays: their sum, and what each group of features adds to it.

`models` grows trees. A bundle keeps the arrays, and a server needs no library to predict with them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from services.recommender.domain.ranking.catalog import FloatColumn

_LEAF = -1
_MASK_BITS = 32
_TOGETHER = 4
# N. G. de Bruijn: times a power of two, every one of 32 leaves another number in the highest five bits.
_DE_BRUIJN = 0x077CB531
_PLACE_OF_BIT = np.array([((1 << bit) * _DE_BRUIJN % 2**32) >> 27 for bit in range(_MASK_BITS)])
Matrix = NDArray[np.float32]


class _Splits(NamedTuple):
    """The splits of trees, without the paths through them.

    Attributes:
        starts: int32, one more than trees: where each tree's splits begin; a multiple of `_TOGETHER` each.
        features: int32 per split, the split feature.
        thresholds: float32 per split.
        masks: uint32 per split: without the bits of the leaves on its left, which a value above the threshold excludes;
            a tree's leaves are counted from its left.
        leaf_values: float32, 32 per tree: the value of leaf n is at `_PLACE_OF_BIT[n]`.
    """

    starts: NDArray[np.int32]
    features: NDArray[np.int32]
    thresholds: NDArray[np.float32]
    masks: NDArray[np.uint32]
    leaf_values: NDArray[np.float32]


class TreesInvalidError(ValueError):
    """Arrays do not form valid trees."""


@dataclass(frozen=True)
class Trees:
    """A sum of regression trees.

    Attributes:
        starts: int32, one more than trees: the nodes of tree t are starts[t]:starts[t + 1], its root first.
        split_features: int32 per node; -1 at a leaf.
        thresholds: float32 per node; a value at most this goes left.
        lefts: int32 per node, its left child; the children of a node come after it.
        rights: int32 per node, its right child.
        node_values: float32 per node: at a leaf its value, elsewhere the mean value of the training rows that came
            through the node.
    """

    starts: NDArray[np.int32]
    split_features: NDArray[np.int32]
    thresholds: NDArray[np.float32]
    lefts: NDArray[np.int32]
    rights: NDArray[np.int32]
    node_values: NDArray[np.float32]

    def check(self, feature_count: int) -> None:
        """Check that every path through the trees ends.

        Raises:
            TreesInvalidError: when a split feature does not exist, or the children of a node do not come after it.
        """
        nodes = len(self.split_features)
        columns = (self.thresholds, self.lefts, self.rights, self.node_values)
        if any(len(column) != nodes for column in columns) or not len(self.starts) or self.starts[-1] != nodes:
            raise TreesInvalidError("the columns of the trees' nodes differ in length")
        if (np.diff(self.starts) < 1).any() or self.starts[0] != 0:
            raise TreesInvalidError("a tree has no node")
        if (self.split_features >= feature_count).any() or (self.split_features < _LEAF).any():
            raise TreesInvalidError(f"a split feature is not one of {feature_count}")
        here = np.arange(nodes)
        end = np.repeat(self.starts[1:], np.diff(self.starts))
        inner = self.split_features != _LEAF
        for child in (self.lefts, self.rights):
            if ((child <= here) | (child >= end))[inner].any():
                raise TreesInvalidError("the children of a node do not come after it in its tree")

    def total(self, features: Matrix) -> FloatColumn:
        """The sum of all trees, for each row of features."""
        splits = self._splits
        if splits is not None:
            return _total_by_splits(*splits, np.ascontiguousarray(features.T))
        return _total(
            self.starts, self.split_features, self.thresholds, self.lefts, self.rights, self.node_values, features
        )  # fmt: skip

    @cached_property
    def _splits(self) -> _Splits | None:
        """The trees as `_total_by_splits` reads them; None where one has more leaves than a mask has bits."""
        trees = np.repeat(np.arange(len(self.starts) - 1), np.diff(self.starts))
        leaves = self.split_features == _LEAF
        if np.bincount(trees[leaves]).max(initial=0) > _MASK_BITS:
            return None
        firsts, counts = _leaves_below(self.starts, self.split_features, self.lefts, self.rights)
        leaf_values = np.zeros((len(self.starts) - 1, _MASK_BITS), np.float32)
        leaf_values[trees[leaves], _PLACE_OF_BIT[firsts[leaves]]] = self.node_values[leaves]
        inner = np.flatnonzero(~leaves)
        lefts = self.lefts[inner]
        excluded = ((np.uint64(1) << counts[lefts]) - np.uint64(1)) << firsts[lefts]
        splits = np.bincount(trees[inner], minlength=len(self.starts) - 1)
        starts = np.concatenate([[0], np.cumsum(-(-splits // _TOGETHER) * _TOGETHER)])
        places = starts[trees[inner]] + np.arange(len(inner)) - (np.cumsum(splits) - splits)[trees[inner]]
        # A group of splits that is not full is filled with splits that exclude nothing.
        features, thresholds = np.zeros(starts[-1], np.int32), np.zeros(starts[-1], np.float32)
        masks = np.full(starts[-1], 2**_MASK_BITS - 1, np.uint32)
        features[places], thresholds[places] = self.split_features[inner], self.thresholds[inner]
        masks[places] = (~excluded).astype(np.uint32)
        return _Splits(starts.astype(np.int32), features, thresholds, masks, leaf_values.ravel())

    def contributions(self, features: Matrix, groups: NDArray[np.intp], count: int) -> FloatColumn:
        """What each group of features adds: along a path, each change of the mean value is due to the split feature.

        A. Saabas, Interpreting random forests, 2014. A row's entries sum to `total`.

        Args:
            features: (C, F).
            groups: F; the group of each feature, from 0.
            count: how many groups there are.

        Returns:
            (C, count + 1): the last column is what no feature adds, the mean value of every tree.
        """
        return _contributions(
            self.starts,
            self.split_features,
            self.thresholds,
            self.lefts,
            self.rights,
            self.node_values,
            features,
            groups,
            count,
        )


def mean_of(several: Sequence[Trees]) -> Trees:
    """Trees whose total is the mean of the totals of these."""
    sizes = [len(trees.split_features) for trees in several]
    offsets = np.cumsum([0, *sizes[:-1]]).tolist()
    placed = list(zip(several, offsets, strict=True))
    return Trees(
        np.concatenate([[0], *(trees.starts[1:] + offset for trees, offset in placed)], dtype=np.int32),
        np.concatenate([trees.split_features for trees in several]),
        np.concatenate([trees.thresholds for trees in several]),
        np.concatenate([trees.lefts + offset for trees, offset in placed], dtype=np.int32),
        np.concatenate([trees.rights + offset for trees, offset in placed], dtype=np.int32),
        (np.concatenate([trees.node_values for trees in several]) / len(several)).astype(np.float32),
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
def _leaves_below(
    starts: NDArray[np.int32], split_features: NDArray[np.int32], lefts: NDArray[np.int32], rights: NDArray[np.int32]
) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """For each node the first leaf below it, counted from the left of its tree, and how many there are."""
    firsts, counts = np.zeros(len(split_features), np.uint64), np.ones(len(split_features), np.uint64)
    for tree in range(len(starts) - 1):
        for node in range(starts[tree + 1] - 1, starts[tree] - 1, -1):
            if split_features[node] >= 0:
                counts[node] = counts[lefts[node]] + counts[rights[node]]
        for node in range(starts[tree], starts[tree + 1]):
            if split_features[node] >= 0:
                firsts[lefts[node]] = firsts[node]
                firsts[rights[node]] = firsts[node] + counts[lefts[node]]
    return firsts, counts


@numba.njit(cache=True)
def _total_by_splits(
    starts: NDArray[np.int32],
    features: NDArray[np.int32],
    thresholds: NDArray[np.float32],
    masks: NDArray[np.uint32],
    leaf_values: NDArray[np.float32],
    columns: Matrix,
) -> FloatColumn:
    """The same as `_total`, to the last bit, of features by column: (F, C).

    Each split of a tree is evaluated for all rows at once and excludes leaves; the leftmost leaf that remains is where
    the path would have ended. There are no branches to mispredict, and rows are processed in parallel.
    C. Lucchese et al., QuickScorer: A Fast Algorithm to Rank Documents with Additive Ensembles of Regression Trees,
    SIGIR 2015.
    """
    rows = columns.shape[1]
    total = np.zeros(rows)
    left = np.empty(rows, np.uint32)
    every, one = np.uint32(0xFFFFFFFF), np.uint32(1)
    for tree in range(len(starts) - 1):
        left[:] = every
        # Four together, so that `left` is read and written a quarter as often.
        for first in range(starts[tree], starts[tree + 1], _TOGETHER):
            a, b, c, d = (
                features[first],
                features[first + 1],
                features[first + 2],
                features[first + 3],
            )
            at_a, at_b, at_c, at_d = columns[a], columns[b], columns[c], columns[d]
            most_a, most_b = thresholds[first], thresholds[first + 1]
            most_c, most_d = thresholds[first + 2], thresholds[first + 3]
            mask_a, mask_b, mask_c, mask_d = masks[first], masks[first + 1], masks[first + 2], masks[first + 3]
            for row in range(rows):
                left[row] &= (
                    (every if at_a[row] <= most_a else mask_a)
                    & (every if at_b[row] <= most_b else mask_b)
                    & (every if at_c[row] <= most_c else mask_c)
                    & (every if at_d[row] <= most_d else mask_d)
                )
        of_tree = leaf_values[_MASK_BITS * tree : _MASK_BITS * (tree + 1)]
        for row in range(rows):
            lowest = left[row] & (~left[row] + one)
            total[row] += of_tree[np.uint32(lowest * np.uint32(_DE_BRUIJN)) >> np.uint32(27)]
    return total


@numba.njit(cache=True)
def _total(
    starts: NDArray[np.int32],
    split_features: NDArray[np.int32],
    thresholds: NDArray[np.float32],
    lefts: NDArray[np.int32],
    rights: NDArray[np.int32],
    node_values: NDArray[np.float32],
    features: Matrix,
) -> FloatColumn:
    total = np.zeros(len(features))
    # Tree by tree, so that the nodes of a tree stay in the cache.
    for tree in range(len(starts) - 1):
        for row in range(len(features)):
            node = starts[tree]
            while split_features[node] >= 0:
                node = lefts[node] if features[row, split_features[node]] <= thresholds[node] else rights[node]
            total[row] += node_values[node]
    return total


@numba.njit(cache=True)
def _contributions(
    starts: NDArray[np.int32],
    split_features: NDArray[np.int32],
    thresholds: NDArray[np.float32],
    lefts: NDArray[np.int32],
    rights: NDArray[np.int32],
    node_values: NDArray[np.float32],
    features: Matrix,
    groups: NDArray[np.intp],
    count: int,
) -> FloatColumn:
    added = np.zeros((len(features), count + 1))
    for tree in range(len(starts) - 1):
        for row in range(len(features)):
            node = starts[tree]
            added[row, count] += node_values[node]
            while split_features[node] >= 0:
                child = lefts[node] if features[row, split_features[node]] <= thresholds[node] else rights[node]
                added[row, groups[split_features[node]]] += node_values[child] - node_values[node]
                node = child
    return added
