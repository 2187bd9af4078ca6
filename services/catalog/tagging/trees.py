"""Regression trees as plain arrays: whoever runs a tagger needs no library of trees. `growing` grows them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LEAF = -1
# Bounds the memory of a walk: rows times trees.
_BLOCK_ROWS = 512


@dataclass(frozen=True, slots=True)
class Trees:
    """A sum of regression trees.

    Attributes:
        roots: the first node of each tree.
        split_features: of each node; `LEAF` at a leaf.
        thresholds: of each node; a value at most this goes left.
        lefts: the left child of each node, which comes after it; a leaf is its own.
        rights: the right child of each node, likewise.
        leaf_values: of each node; 0 where it is none.
    """

    roots: NDArray[np.int32]
    split_features: NDArray[np.int32]
    thresholds: NDArray[np.float64]
    lefts: NDArray[np.int32]
    rights: NDArray[np.int32]
    leaf_values: NDArray[np.float64]

    def total(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """The sum of all trees, for each row of features."""
        blocks = (features[start : start + _BLOCK_ROWS] for start in range(0, len(features), _BLOCK_ROWS))
        return np.concatenate([np.zeros(0), *(self._total(block) for block in blocks)])

    def _total(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        nodes = np.tile(self.roots, len(features))
        rows = np.repeat(np.arange(len(features)), len(self.roots))
        walking = np.flatnonzero(self.split_features[nodes] != LEAF)
        while len(walking):
            at = nodes[walking]
            left = features[rows[walking], self.split_features[at]] <= self.thresholds[at]
            at = np.where(left, self.lefts[at], self.rights[at])
            nodes[walking] = at
            walking = walking[self.split_features[at] != LEAF]
        total: NDArray[np.float64] = self.leaf_values[nodes].reshape(len(features), -1).sum(axis=1)
        return total
