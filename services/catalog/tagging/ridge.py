"""Ridge regression of all skills at once, in its dual form, with exact leave-group-out predictions."""

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
    """Solve `(K + penalty I) A = Y`, and predict each group from the solution without it.

    The leave-out scores are exact and need no refitting: with C the inverse of `K + penalty I`, the residuals of a
    left-out group G are `inverse(C_GG) A_G` (Cawley and Talbot 2003, for leave-one-out; Pahikkala et al. 2012, for
    groups).

    Args:
        similarities: K, (examples, examples), symmetric positive semi-definite. Overwritten to save memory.
        targets: Y, (examples, skills), float32.
        groups: of each example.
        penalty: above 0.

    Returns:
        A, the dual weights, so that `K_new A` scores new examples; and the leave-out scores; both (examples, skills).
    """
    size = len(similarities)
    similarities.flat[:: size + 1] += np.float32(penalty)
    inverse = _inverted(similarities)
    # The inverse is symmetric, and multiplying by a sparse matrix on the left is cheap.
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
        raise np.linalg.LinAlgError(f"spotri failed with {info}")
    # Only the lower triangle is filled. Mirror it in blocks, to avoid a second matrix of this size.
    for start in range(0, len(inverse), 1_024):
        stop = min(start + 1_024, len(inverse))
        inverse[start:stop, stop:] = inverse[stop:, start:stop].T
        block = np.tril(inverse[start:stop, start:stop])
        inverse[start:stop, start:stop] = block + np.tril(block, -1).T
    return np.asarray(inverse)
