"""Regression trees as plain arrays: their sum, and what each kind of feature adds to it.

Nothing here knows how trees are grown; a bundle keeps the arrays, and a server needs no library to answer with them.
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
Matrix = NDArray[np.float32]


class _Questions(NamedTuple):
    """What trees ask, without the ways through them.

    Attributes:
        starts: int32, one more than trees: where each tree's questions begin.
        features: int32 per question, the feature it asks for.
        thresholds: float32 per question.
        masks: uint32 per question: without the bits of the leaves on its left, which a value above the threshold rules
            out; a tree's leaves are counted from its left.
        leaf_starts: int32, one more than trees: where each tree's leaves begin.
        answers: float32 per leaf, from the left.
    """

    starts: NDArray[np.int32]
    features: NDArray[np.int32]
    thresholds: NDArray[np.float32]
    masks: NDArray[np.uint32]
    leaf_starts: NDArray[np.int32]
    answers: NDArray[np.float32]


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
        questions = self._questions
        if questions is not None:
            return _total_by_questions(*questions, np.ascontiguousarray(features.T))
        return _total(
            self.starts, self.features, self.thresholds, self.lefts, self.rights, self.values, features
        )  # fmt: skip

    @cached_property
    def _questions(self) -> _Questions | None:
        """The trees laid out for `_total_by_questions`; None where one has more leaves than a mask has bits."""
        leaves = self.features == _LEAF
        ends = np.concatenate([[0], np.cumsum(leaves)])[self.starts].astype(np.int32)
        if np.diff(ends).max(initial=0) > _MASK_BITS:
            return None
        firsts, counts = _leaves_below(self.starts, self.features, self.lefts, self.rights)
        order = np.lexsort((firsts[leaves], np.repeat(np.arange(len(ends) - 1), np.diff(ends))))
        asked = np.flatnonzero(~leaves)
        lefts = self.lefts[asked]
        ruled_out = ((np.uint64(1) << counts[lefts]) - np.uint64(1)) << firsts[lefts]
        return _Questions(
            np.searchsorted(asked, self.starts).astype(np.int32),
            self.features[asked],
            self.thresholds[asked],
            (~ruled_out).astype(np.uint32),
            ends,
            self.values[leaves][order],
        )

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
def _leaves_below(
    starts: NDArray[np.int32], asked: NDArray[np.int32], lefts: NDArray[np.int32], rights: NDArray[np.int32]
) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """For each node the first leaf below it, counted from its tree's left, and how many there are."""
    firsts, counts = np.zeros(len(asked), np.uint64), np.ones(len(asked), np.uint64)
    for tree in range(len(starts) - 1):
        for node in range(starts[tree + 1] - 1, starts[tree] - 1, -1):
            if asked[node] >= 0:
                counts[node] = counts[lefts[node]] + counts[rights[node]]
        for node in range(starts[tree], starts[tree + 1]):
            if asked[node] >= 0:
                firsts[lefts[node]] = firsts[node]
                firsts[rights[node]] = firsts[node] + counts[lefts[node]]
    return firsts, counts


@numba.njit(cache=True)
def _total_by_questions(
    starts: NDArray[np.int32],
    asked: NDArray[np.int32],
    thresholds: NDArray[np.float32],
    masks: NDArray[np.uint32],
    leaf_starts: NDArray[np.int32],
    answers: NDArray[np.float32],
    columns: Matrix,
) -> FloatColumn:
    """The same as `_total`, to the last bit, of features laid out by column: (F, C).

    Every question of a tree is put to all rows at once, and each answer rules leaves out; the leftmost that is left is
    where a walk would have ended. There is nothing to be guessed wrong ahead, and the rows go through in parallel.
    C. Lucchese et al., QuickScorer: A Fast Algorithm to Rank Documents with Additive Ensembles of Regression Trees,
    SIGIR 2015.
    """
    rows = columns.shape[1]
    total = np.zeros(rows)
    left = np.empty(rows, np.uint32)
    every = np.uint32(0xFFFFFFFF)
    for tree in range(len(starts) - 1):
        left[:] = every
        for question in range(starts[tree], starts[tree + 1]):
            values, threshold, mask = columns[asked[question]], thresholds[question], masks[question]
            for row in range(rows):
                left[row] &= every if values[row] <= threshold else mask
        for row in range(rows):
            total[row] += answers[leaf_starts[tree] + _lowest_bit(left[row])]
    return total


@numba.njit(cache=True)
def _lowest_bit(bits: np.uint32) -> int:
    """The place of the lowest bit of an unsigned number that is set."""
    lowest = bits & (~bits + np.uint32(1))
    place = 0
    if lowest & np.uint32(0xFFFF0000):
        place += 16
    if lowest & np.uint32(0xFF00FF00):
        place += 8
    if lowest & np.uint32(0xF0F0F0F0):
        place += 4
    if lowest & np.uint32(0xCCCCCCCC):
        place += 2
    if lowest & np.uint32(0xAAAAAAAA):
        place += 1
    return place


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
