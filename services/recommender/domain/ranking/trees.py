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
_TOGETHER = 4
# N. G. de Bruijn: times a power of two, every one of 32 leaves another number in the highest five bits.
_DE_BRUIJN = 0x077CB531
_PLACE_OF_BIT = np.array([((1 << bit) * _DE_BRUIJN % 2**32) >> 27 for bit in range(_MASK_BITS)])
Matrix = NDArray[np.float32]


class _Questions(NamedTuple):
    """What trees ask, without the ways through them.

    Attributes:
        starts: int32, one more than trees: where each tree's questions begin; a multiple of `_TOGETHER` each.
        features: int32 per question, the feature it asks for.
        thresholds: float32 per question.
        masks: uint32 per question: without the bits of the leaves on its left, which a value above the threshold rules
            out; a tree's leaves are counted from its left.
        answers: float32, 32 per tree: that of the leaf counted n stands at `_PLACE_OF_BIT[n]`.
    """

    starts: NDArray[np.int32]
    features: NDArray[np.int32]
    thresholds: NDArray[np.float32]
    masks: NDArray[np.uint32]
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
        """The trees prepared for `_total_by_questions`; None where one has more leaves than a mask has bits."""
        trees = np.repeat(np.arange(len(self.starts) - 1), np.diff(self.starts))
        leaves = self.features == _LEAF
        if np.bincount(trees[leaves]).max(initial=0) > _MASK_BITS:
            return None
        firsts, counts = _leaves_below(self.starts, self.features, self.lefts, self.rights)
        answers = np.zeros((len(self.starts) - 1, _MASK_BITS), np.float32)
        answers[trees[leaves], _PLACE_OF_BIT[firsts[leaves]]] = self.values[leaves]
        asked = np.flatnonzero(~leaves)
        lefts = self.lefts[asked]
        ruled_out = ((np.uint64(1) << counts[lefts]) - np.uint64(1)) << firsts[lefts]
        questions = np.bincount(trees[asked], minlength=len(self.starts) - 1)
        starts = np.concatenate([[0], np.cumsum(-(-questions // _TOGETHER) * _TOGETHER)])
        places = starts[trees[asked]] + np.arange(len(asked)) - (np.cumsum(questions) - questions)[trees[asked]]
        # Where fewer are left than are put together, the rest rule nothing out.
        features, thresholds = np.zeros(starts[-1], np.int32), np.zeros(starts[-1], np.float32)
        masks = np.full(starts[-1], 2**_MASK_BITS - 1, np.uint32)
        features[places], thresholds[places] = self.features[asked], self.thresholds[asked]
        masks[places] = (~ruled_out).astype(np.uint32)
        return _Questions(starts.astype(np.int32), features, thresholds, masks, answers.ravel())

    def contributions(self, features: Matrix, kinds: NDArray[np.intp], count: int) -> FloatColumn:
        """What each kind of feature adds: along each path the change of the mean answer is the asked feature's.

        A. Saabas, Interpreting random forests, 2014. A row's entries sum to `total`.

        Args:
            features: (C, F).
            kinds: F; the kind of each feature, from 0.
            count: how many kinds there are.

        Returns:
            (C, count + 1): last what nothing asked for adds, the mean answer of every tree.
        """
        return _contributions(
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
    answers: NDArray[np.float32],
    columns: Matrix,
) -> FloatColumn:
    """The same as `_total`, to the last bit, of features stored by column: (F, C).

    Every question of a tree is put to all rows at once, and each answer rules leaves out; the leftmost that is left is
    where a walk would have ended. There is nothing to be guessed wrong ahead, and the rows go through in parallel.
    C. Lucchese et al., QuickScorer: A Fast Algorithm to Rank Documents with Additive Ensembles of Regression Trees,
    SIGIR 2015.
    """
    rows = columns.shape[1]
    total = np.zeros(rows)
    left = np.empty(rows, np.uint32)
    every, one = np.uint32(0xFFFFFFFF), np.uint32(1)
    for tree in range(len(starts) - 1):
        left[:] = every
        # Four together, so that what is left is read and written a quarter as often.
        for first in range(starts[tree], starts[tree + 1], _TOGETHER):
            a, b, c, d = asked[first], asked[first + 1], asked[first + 2], asked[first + 3]
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
        of_tree = answers[_MASK_BITS * tree : _MASK_BITS * (tree + 1)]
        for row in range(rows):
            lowest = left[row] & (~left[row] + one)
            total[row] += of_tree[np.uint32(lowest * np.uint32(_DE_BRUIJN)) >> np.uint32(27)]
    return total


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
def _contributions(
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
