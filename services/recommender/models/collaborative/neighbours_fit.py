"""Fits item-to-item weights: item-kNN, RP3beta, EASE and sequential co-occurrence.

All of them implement `CollaborativeModel`: a learner is folded in from their history alone, so learners outside
the training data are scored like any other. Only EASE's dual form keeps the rows of learners.
"""

from __future__ import annotations

from collections.abc import Sequence

import numba
import numpy as np
import scipy.sparse
from numpy.typing import NDArray
from scipy.linalg import lapack

from services.recommender.application.ports.models import ModelArrays
from services.recommender.domain.training.positives import Positives, known_rows
from services.recommender.models.collaborative.neighbours import ItemItemModel, Scores, SparseRows

# With more resources and learners than this, EASE's square matrix takes too much memory.
EASE_SIDE_MOST = 10_000
# With more resources than this, EASE's weights are too large for a bundle: 128 MB.
DENSE_RESOURCES_MOST = 4_000


class TooLargeError(ValueError):
    """A model would need too much memory; the message names how much."""


def fit_item_knn(
    positives: Positives, *, neighbours: int = 100, shrinkage: float = 10.0, half_life: float | None = 20.0
) -> ItemItemModel:
    """Cosine similarity of the learners of two resources, shrunk if they are few; only nearest neighbours count.

    Deshpande, Karypis: Item-Based Top-N Recommendation Algorithms, TOIS 22(1), 2004.

    Args:
        positives: the resources of each learner.
        neighbours: how many neighbours of each resource count.
        shrinkage: added to the product of norms.
        half_life: of a resource in a history, as a number of resources; None if the order does not matter.
    """
    together, counts = _together(positives)
    entries = together.tocoo()
    norms = np.sqrt(counts[entries.row] * counts[entries.col])
    entries.data = entries.data / (norms + shrinkage)
    return ItemItemModel(positives.resources, _nearest(entries.tocsr(), neighbours), half_life=half_life)


def fit_rp3beta(positives: Positives, *, alpha: float = 1.0, beta: float = 0.4, neighbours: int = 200) -> ItemItemModel:
    """RP3beta: three steps of a random walk over learners and resources, with popular ends damped.

    Paudel, Christoffel, Newell, Bernstein: Updatable, Accurate, Diverse, and Scalable Recommendations for Interactive
    Applications, TiiS 7(1), 2016.

    Args:
        positives: the resources of each learner.
        alpha: exponent of the transition probabilities.
        beta: exponent of the popularity that a score is divided by.
        neighbours: how many neighbours of each resource count.
    """
    matrix = matrix_of(positives)
    by_learner = np.maximum(np.diff(matrix.indptr), 1)
    by_resource = np.maximum(np.bincount(matrix.indices, minlength=matrix.shape[1]), 1)
    to_resource = scipy.sparse.diags(by_learner ** -float(alpha)) @ matrix
    to_learner = scipy.sparse.diags(by_resource ** -float(alpha)) @ matrix.T
    walk = _without_diagonal((to_learner @ to_resource).tocsr()) @ scipy.sparse.diags(by_resource ** -float(beta))
    return ItemItemModel(positives.resources, _nearest(walk.tocsr(), neighbours))


def fit_sequential(
    positives: Positives, *, window: int = 15, half_life: float = 6.0, popularity: float = 0.5, neighbours: int = 200
) -> ItemItemModel:
    """Sequential co-occurrence: how often a resource follows another within a window; closer ones count more.

    Args:
        positives: the resources of each learner, in order.
        window: how many resources after each one to consider.
        half_life: of a resource in a history and of the distance within the window, as a number of resources.
        popularity: exponent of the popularity of the following resource; counts are divided by it.
        neighbours: how many followers of each resource count.
    """
    size = len(positives.resources)
    learner = np.repeat(np.arange(len(positives.learners)), np.diff(positives.start))
    pairs: list[tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float64]]] = []
    for distance in range(1, window + 1):
        same = learner[distance:] == learner[:-distance]
        before, after = positives.resource[:-distance][same], positives.resource[distance:][same]
        pairs.append((before, after, np.full(len(before), 0.5 ** ((distance - 1) / half_life))))
    before, after, weight = (np.concatenate(column) for column in zip(*pairs, strict=True))
    follows = scipy.sparse.csr_matrix((weight, (before, after)), (size, size))
    counts = np.maximum(np.bincount(positives.resource, minlength=size), 1)
    damped = scipy.sparse.diags(1.0 / np.sqrt(counts)) @ follows @ scipy.sparse.diags(counts ** -float(popularity))
    return ItemItemModel(positives.resources, _nearest(damped.tocsr(), neighbours), half_life=half_life)


def ease_memory(positives: Positives) -> str:
    """Return the memory of EASE's square matrix, in words."""
    side = min(len(positives.learners), len(positives.resources))
    return f"{8 * side**2 / 2**30:.2f} GiB for {side:,} by {side:,}"


def dense_memory(resources: int) -> str:
    """Return the size in a bundle of a weight for every pair of resources, in words."""
    return f"{8 * resources**2 / 2**30:.1f} GiB"


class EaseModel:
    """Linear regression of every resource on all others, in closed form.

    Steck: Embarrassingly Shallow Autoencoders for Sparse Data, WWW 2019. B = I - P diag(P)^-1 with P = (X'X + l I)^-1.
    With fewer learners than resources, P is computed from the learners' side, P = (I - X'(XX' + l I)^-1 X) / l, and
    never materialised.
    """

    def __init__(self, positives: Positives, *, regularization: float = 100.0) -> None:
        """Fit the model.

        Args:
            positives: the resources of each learner.
            regularization: l.

        Raises:
            TooLargeError: when the smaller of the two sides is too large.
        """
        self._resources = positives.resources
        self._row_of_resource = {resource: row for row, resource in enumerate(self._resources)}
        matrix = matrix_of(positives).astype(np.float64)
        learners, resources = matrix.shape
        side = min(learners, resources)
        if side > EASE_SIDE_MOST:
            raise TooLargeError(
                f"EASE over {learners:,} learners and {resources:,} resources needs {8 * side**2 / 2**30:.1f} GiB"
            )
        self._regularization = regularization
        self._dual = learners < resources
        gram = (matrix @ matrix.T if self._dual else matrix.T @ matrix).toarray()
        gram[np.diag_indices(side)] += regularization
        inverse = _inverse(gram)
        if self._dual:
            # Resources by learners: (XX' + l I)^-1 X, transposed, so that a history gathers rows.
            self._through = (matrix.T @ inverse).astype(np.float32)
            self._learners_of = matrix.T.tocsr().astype(np.float32)
            explained = np.asarray(self._learners_of.multiply(self._through).sum(axis=1)).ravel()
            self._diagonal = ((1.0 - explained) / regularization).astype(np.float32)
        else:
            self._weights = (-inverse / np.diag(inverse)).astype(np.float32)
            np.fill_diagonal(self._weights, 0.0)

    @property
    def resources(self) -> tuple[str, ...]:
        """Resources the model can score, in the order of the scores."""
        return self._resources

    def scores(self, history: Sequence[str]) -> Scores:
        """Score every resource for a learner with these positives."""
        return self.scores_of(known_rows(self._row_of_resource, history))

    def scores_of(self, rows: NDArray[np.intp]) -> Scores:
        """Like `scores`, given the rows of the positives."""
        rows = np.unique(rows)
        if not len(rows):
            return np.zeros(len(self._resources), np.float32)
        if not self._dual:
            summed: Scores = self._weights[rows].sum(axis=0)
            return summed
        scaled = self._regularization * self._diagonal
        scores: Scores = (self._learners_of @ self._through[rows].sum(axis=0)) / scaled
        # A resource has no weight on itself.
        scores[rows] -= (1.0 - scaled[rows]) / scaled[rows]
        return scores

    def written_out(self) -> ItemItemModel:
        """Return the model with all its weights, as stored in a bundle.

        Raises:
            TooLargeError: when that is too large. With only the largest weights of each resource it would rank much
                worse, because the many small negative weights keep popular resources down.
        """
        size = len(self._resources)
        if size > DENSE_RESOURCES_MOST:
            raise TooLargeError(f"EASE over {size:,} resources holds {dense_memory(size)} of weights")
        return ItemItemModel(self._resources, _rows(scipy.sparse.csr_matrix(self._weights_between())))

    def to_arrays(self) -> ModelArrays:
        """Return `written_out` as stored in a bundle.

        Raises:
            TooLargeError: when that is too large.
        """
        return self.written_out().to_arrays()

    def _weights_between(self) -> NDArray[np.float32]:
        if not self._dual:
            return self._weights
        weights = np.asarray(self._learners_of @ self._through.T).T / (self._regularization * self._diagonal)
        np.fill_diagonal(weights, 0.0)
        written: NDArray[np.float32] = weights
        return written


def matrix_of(positives: Positives) -> scipy.sparse.csr_matrix:
    """Return learners by resources, 1 where a learner worked on a resource, with sorted columns."""
    return scipy.sparse.csr_matrix(
        (np.ones(len(positives), np.float32), positives.resource, positives.start),
        shape=(len(positives.learners), len(positives.resources)),
    ).sorted_indices()


def _together(positives: Positives) -> tuple[scipy.sparse.csr_matrix, NDArray[np.int64]]:
    matrix = matrix_of(positives)
    counts = np.bincount(matrix.indices, minlength=matrix.shape[1])
    return _without_diagonal((matrix.T @ matrix).tocsr()), counts


def _without_diagonal(matrix: scipy.sparse.csr_matrix) -> scipy.sparse.csr_matrix:
    entries = matrix.tocoo()
    other = entries.row != entries.col
    return scipy.sparse.csr_matrix((entries.data[other], (entries.row[other], entries.col[other])), matrix.shape)


def _rows(matrix: scipy.sparse.csr_matrix) -> SparseRows:
    return SparseRows(matrix.indptr, matrix.indices, matrix.data)


def _nearest(matrix: scipy.sparse.csr_matrix, neighbours: int) -> SparseRows:
    """Keep the largest entries of each row; on ties, those of the lower columns."""
    matrix = matrix.sorted_indices()
    lengths = np.minimum(np.diff(matrix.indptr), neighbours)
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    entries = _largest(matrix.indptr, matrix.data, starts)
    return SparseRows(starts, matrix.indices[entries], matrix.data[entries])


@numba.njit(cache=True)
def _largest(indptr: NDArray[np.int32], data: NDArray[np.float64], starts: NDArray[np.int64]) -> NDArray[np.int64]:
    entries = np.empty(starts[-1], np.int64)
    for row in range(len(starts) - 1):
        first, count = indptr[row], starts[row + 1] - starts[row]
        values = data[first : indptr[row + 1]]
        if count == len(values):
            entries[starts[row] : starts[row + 1]] = first + np.arange(count)
            continue
        bar = np.partition(values, len(values) - count)[len(values) - count]
        above = 0
        for value in values:
            above += value > bar
        # Keep values above the threshold, and the first ones equal to it, in the order of columns.
        place, level = starts[row], count - above
        for index in range(len(values)):
            if values[index] > bar or (values[index] == bar and level > 0):
                level -= values[index] == bar
                entries[place] = first + index
                place += 1
    return entries


def _inverse(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Invert a symmetric positive definite matrix, which is overwritten."""
    factor, failed = lapack.dpotrf(matrix.T, lower=1, overwrite_a=1)
    if not failed:
        inverse, failed = lapack.dpotri(factor, lower=1, overwrite_c=1)
    if failed:
        raise ArithmeticError(f"the matrix of {len(matrix)} rows is not positive definite (LAPACK {failed})")
    lower = np.tril(inverse)
    return np.asarray(lower + np.tril(inverse, -1).T)
