"""Ridge regression of every skill at once, in its dual form, and what it says of examples left out of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.linalg
import scipy.sparse
from numpy.typing import NDArray

Matrix = NDArray[np.float32]


def fit_leaving_groups_out(
    similarities: Matrix, targets: scipy.sparse.csr_matrix, groups: NDArray[np.int64], penalty: float
) -> tuple[Matrix, Matrix]:
    """Solve `(K + penalty I) A = Y`, and say what the solution without each group would score for that group.

    The left-out scores are exact and need no refitting: with C the inverse of `K + penalty I`, the residuals of a group
    G left out are `inverse(C_GG) A_G` (Cawley and Talbot 2003, for leave-one-out; Pahikkala et al. 2012, for groups).

    Args:
        similarities: K, (examples, examples), symmetric positive semi-definite. Overwritten to save its size in memory.
        targets: Y, (examples, skills), float32.
        groups: of each example.
        penalty: above 0.

    Returns:
        A, the dual weights, so that `K_new A` scores new examples; and the left-out scores; both (examples, skills).
    """
    size = len(similarities)
    similarities.flat[:: size + 1] += np.float32(penalty)
    inverse = _inverted(similarities)
    # The inverse is symmetric, and a sparse matrix on the left costs next to nothing.
    weights = np.ascontiguousarray((targets.T.tocsr() @ inverse).T)
    left_out = targets.toarray()
    order = np.argsort(groups, kind="stable")
    starts = np.flatnonzero(np.diff(groups[order], prepend=-1))
    for members in np.split(order, starts[1:]):
        residuals = np.linalg.solve(inverse[np.ix_(members, members)], weights[members])
        left_out[members] -= residuals
    return weights, left_out


def _inverted(matrix: Matrix) -> Matrix:
    # The transpose of a symmetric matrix in C order is the same in Fortran order: LAPACK then works in place.
    factor: Any = scipy.linalg.cholesky(matrix.T, lower=True, overwrite_a=True, check_finite=False)
    inverse, info = scipy.linalg.lapack.spotri(factor, lower=1, overwrite_c=1)
    if info:
        raise np.linalg.LinAlgError(f"spotri ended with {info}")
    # Only the lower triangle is filled; in blocks, so that no second matrix of this size is made.
    for start in range(0, len(inverse), 1_024):
        stop = min(start + 1_024, len(inverse))
        inverse[start:stop, stop:] = inverse[stop:, start:stop].T
        block = np.tril(inverse[start:stop, start:stop])
        inverse[start:stop, start:stop] = block + np.tril(block, -1).T
    return np.asarray(inverse)
