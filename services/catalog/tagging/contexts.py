"""What the resources of a course, lesson or collection are about: the share of each skill among them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

Matrix = NDArray[np.float32]
Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class ContextShares:
    """How often each skill occurs in each context. A group of near-duplicates counts once.

    Attributes:
        names: of the contexts, sorted.
        counts: (contexts, skills), groups that carry the skill.
        sizes: groups in each context.
    """

    names: tuple[str, ...]
    counts: scipy.sparse.csr_matrix
    sizes: Matrix

    def of(self, contexts: Sequence[str]) -> Matrix:
        """(contexts, skills), the share of each skill; 0 where the context is unknown or empty."""
        row_of = {name: row for row, name in enumerate(self.names)}
        rows = np.array([row_of.get(context, -1) for context in contexts], dtype=np.int64)
        shares = np.zeros((len(rows), self.counts.shape[1]), dtype=np.float32)
        known = rows >= 0
        shares[known] = _shares(self.counts[rows[known]], self.sizes[rows[known]])
        return shares


@dataclass(frozen=True, slots=True)
class LeftOutShares:
    """The shares of the examples' own contexts, each example's group left out."""

    counts: scipy.sparse.csr_matrix
    sizes: Matrix

    def rows(self, rows: slice) -> Matrix:
        """(examples, skills), of some of the examples."""
        return _shares(self.counts[rows], self.sizes[rows])


def fit_contexts(
    contexts: Sequence[str], targets: scipy.sparse.csr_matrix, groups: Integers
) -> tuple[ContextShares, LeftOutShares]:
    """Count skills by context.

    Args:
        contexts: of each example; empty: none.
        targets: (examples, skills), 1 where the example carries the skill.
        groups: of each example; near-duplicates share one.

    Returns:
        The shares, and those of the examples without their group.
    """
    names, of_example = np.unique(np.asarray(contexts, dtype=object), return_inverse=True)
    weights = 1 / np.bincount(groups)[groups]
    weights[np.asarray(contexts, dtype=object) == ""] = 0
    _, of_part = np.unique(np.stack([of_example, groups]), axis=1, return_inverse=True)
    of_part = of_part.ravel()
    in_contexts, in_parts = _members(of_example, weights), _members(of_part, weights)
    counts, sizes = (in_contexts @ targets).tocsr(), _sums(in_contexts)
    left_out = LeftOutShares(
        counts[of_example] - (in_parts @ targets).tocsr()[of_part], sizes[of_example] - _sums(in_parts)[of_part]
    )
    return ContextShares(tuple(names.tolist()), counts, sizes), left_out


def _members(of_example: Integers, weights: NDArray[np.float64]) -> scipy.sparse.csr_matrix:
    return scipy.sparse.csr_matrix((weights.astype(np.float32), (of_example, np.arange(len(of_example)))))


def _sums(members: scipy.sparse.csr_matrix) -> Matrix:
    return np.asarray(members.sum(axis=1), dtype=np.float32).ravel()


def _shares(counts: scipy.sparse.csr_matrix, sizes: Matrix) -> Matrix:
    # As if there were one more resource without skills: a context that was seen once says little.
    return np.asarray(counts.toarray() / (sizes + 1)[:, None], dtype=np.float32)
