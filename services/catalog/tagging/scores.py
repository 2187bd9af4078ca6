"""Several scores of how well each skill matches a text. The stacker combines them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from services.catalog.tagging.contexts import ContextShares, fit_contexts
from services.catalog.tagging.ridge import Matrix, fit_leaving_groups_out
from services.catalog.tagging.vectors import Vectors

WAYS = (
    "ridge",
    "nearest by words",
    "nearest by pieces",
    "neighbours",
    "statement by words",
    "statement by pieces",
    "statement within by words",
    "statement within by pieces",
    "context",
)
_PENALTY = 0.3
Scores = NDArray[np.float32]

# The power gives the nearest neighbours most of the weight.
_NEIGHBOUR_POWER = 4
_BLOCK_ROWS = 512
# Sparse products and column sums use one core each; more threads would need more memory.
THREADS = 2


@dataclass(frozen=True, slots=True)
class ScoreBlock:
    """Scores of some texts.

    Attributes:
        start: index of the first text.
        values: (ways, texts, skills), float32, the ways in the order of `WAYS`.
        counts: (texts, skills), number of tagged resources with the skill among those the scores are computed from.
    """

    start: int
    values: Scores
    counts: Matrix


@dataclass(frozen=True, slots=True)
class Scorer:
    """Computes scores.

    Attributes:
        examples: vectors of the tagged resources.
        statements: vectors of the skills' statements, in the order of the skills.
        targets: (examples, skills), 1 where the resource carries the skill.
        weights: the ridge's dual weights, (examples, skills).
        contexts: the skills of each context.
    """

    examples: Vectors
    statements: Vectors
    targets: scipy.sparse.csr_matrix
    weights: Matrix
    contexts: ContextShares

    def score(self, vectors: Vectors, contexts: Sequence[str]) -> Iterator[ScoreBlock]:
        """Scores of new texts in their contexts, in blocks."""
        by_skill = _ExamplesBySkill(self.targets)
        for start in range(0, vectors.words.shape[0], _BLOCK_ROWS):
            block = vectors.rows(start, start + _BLOCK_ROWS)
            words, pieces = _similarities(block, self.examples)
            mean = _mean(words, pieces)
            values: Scores = np.stack(
                [
                    mean @ self.weights,
                    by_skill.nearest(words),
                    by_skill.nearest(pieces),
                    by_skill.neighbours(mean),
                    *_similarities(block, self.statements),
                    *_within(self.statements, block),
                    self.contexts.of(contexts[start : start + _BLOCK_ROWS]),
                ]
            )
            yield ScoreBlock(start, values, np.broadcast_to(by_skill.counts, values.shape[1:]))


def fit_scorer(
    examples: Vectors,
    statements: Vectors,
    targets: scipy.sparse.csr_matrix,
    groups: NDArray[np.int64],
    contexts: Sequence[str],
) -> tuple[Scorer, list[ScoreBlock]]:
    """Fit the scores, and compute each example's scores with its whole group left out.

    Args:
        examples: vectors of the tagged resources.
        statements: vectors of the skills' statements.
        targets: (examples, skills), 1 where the resource carries the skill.
        groups: of each example; near-duplicates share one.
        contexts: of each example; empty: none.

    Returns:
        The scorer, and the leave-out scores of the examples in their order.
    """
    size, skills = targets.shape
    by_skill = _ExamplesBySkill(targets)
    shares, left_out_shares = fit_contexts(contexts, targets, groups)
    left_out_counts = _counts_by_group(targets, groups)
    kernel = np.empty((size, size), dtype=np.float32)

    def scored_without_ridge(start: int) -> ScoreBlock:
        rows = slice(start, start + _BLOCK_ROWS)
        block = examples.rows(start, start + _BLOCK_ROWS)
        words, pieces = _similarities(block, examples)
        kernel[rows] = _mean(words, pieces)
        own = groups[rows, None] == groups[None, :]
        words[own] = 0
        pieces[own] = 0
        values = np.empty((len(WAYS), len(words), skills), dtype=np.float32)
        values[1] = by_skill.nearest(words)
        values[2] = by_skill.nearest(pieces)
        values[3] = by_skill.neighbours(_mean(words, pieces))
        values[4:6] = _similarities(block, statements)
        values[6:8] = _within(statements, block)
        values[8] = left_out_shares.rows(rows)
        counts = by_skill.counts - left_out_counts[groups[rows]].toarray()
        return ScoreBlock(start, values, np.asarray(counts, dtype=np.float32))

    with ThreadPoolExecutor(THREADS) as threads:
        blocks = list(threads.map(scored_without_ridge, range(0, size, _BLOCK_ROWS)))
    weights, left_out = fit_leaving_groups_out(kernel, targets, groups, _PENALTY)
    for scored in blocks:
        scored.values[0] = left_out[scored.start : scored.start + _BLOCK_ROWS]
    return Scorer(examples, statements, targets, weights, shares), blocks


class _ExamplesBySkill:
    """Reduces the columns of a similarity matrix by skill."""

    def __init__(self, targets: scipy.sparse.csr_matrix) -> None:
        columns = targets.tocsc()
        per_skill = np.diff(columns.indptr)
        self.counts: Matrix = per_skill.astype(np.float32)
        self._examples = columns.indices
        # A skill without examples has no segment to reduce.
        self._skills = np.flatnonzero(per_skill)
        self._starts = columns.indptr[self._skills]

    def nearest(self, similarities: Matrix) -> Matrix:
        """Similarity to the nearest example of each skill; 0 where it has none."""
        return self._reduced(np.maximum, similarities)

    def neighbours(self, similarities: Matrix) -> Matrix:
        """Each skill's share of the votes of all examples, weighted by similarity."""
        votes = similarities**_NEIGHBOUR_POWER
        total: Matrix = votes.sum(axis=1, keepdims=True)
        total[total == 0] = 1
        return np.divide(self._reduced(np.add, votes), total, dtype=np.float32)

    def _reduced(self, ufunc: np.ufunc, similarities: Matrix) -> Matrix:
        reduced = np.zeros((len(similarities), len(self.counts)), dtype=np.float32)
        if len(self._skills):
            reduced[:, self._skills] = ufunc.reduceat(similarities[:, self._examples], self._starts, axis=1)
        return reduced


def _similarities(left: Vectors, right: Vectors) -> tuple[Matrix, Matrix]:
    return (left.words @ right.words.T).toarray(), (left.pieces @ right.pieces.T).toarray()


def _within(statements: Vectors, texts: Vectors) -> tuple[Matrix, Matrix]:
    """The share of each statement that is in the text, which does not fall with the length of the text."""

    def share(statement: scipy.sparse.csr_matrix, text: scipy.sparse.csr_matrix) -> Matrix:
        # The rows have unit length, so that the squares of each add up to 1.
        return np.asarray(((text > 0).astype(np.float32) @ statement.power(2).T).toarray())

    return share(statements.words, texts.words), share(statements.pieces, texts.pieces)


def _mean(words: Matrix, pieces: Matrix) -> Matrix:
    mean: Matrix = (words + pieces) / np.float32(2)
    return mean


def _counts_by_group(targets: scipy.sparse.csr_matrix, groups: NDArray[np.int64]) -> scipy.sparse.csr_matrix:
    members = scipy.sparse.csr_matrix(
        (np.ones(len(groups), dtype=np.float32), (groups, np.arange(len(groups)))),
        shape=(int(groups.max()) + 1, len(groups)),
    )
    return (members @ targets).tocsr()
