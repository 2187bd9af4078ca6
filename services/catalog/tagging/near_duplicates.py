"""Texts that say nearly the same, so that no copy of a held-out text is learned from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.sparse
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer

SIMILARITY_MIN = 0.85
_BLOCK_ROWS = 1_024


def near_duplicate_groups(texts: Sequence[str], similarity_min: float = SIMILARITY_MIN) -> NDArray[np.int64]:
    """Group of each text: two texts share one when a chain of near-duplicates joins them.

    Near-duplicates have a cosine similarity of at least `similarity_min` between the TF-IDF vectors of their single
    words. Numbers and signs are no words here, so exercises that differ in their numbers only are one group. A text
    without words is a group of its own.

    Args:
        texts: one per resource.
        similarity_min: above 0, at most 1.

    Returns:
        Group numbers from 0, in the order in which the groups first occur.
    """
    try:
        vectors = TfidfVectorizer(dtype=np.float32).fit_transform(texts)
    except ValueError:
        # scikit-learn's word for texts without a single word.
        return np.arange(len(texts))
    links = []
    for start in range(0, len(texts), _BLOCK_ROWS):
        similar = (vectors[start : start + _BLOCK_ROWS] @ vectors.T).tocsr()
        # Rounding may leave a text a little short of similarity 1 with its copy.
        similar.data = (similar.data >= similarity_min - 1e-6).astype(np.int8)
        similar.eliminate_zeros()
        links.append(similar)
    _, labels = scipy.sparse.csgraph.connected_components(scipy.sparse.vstack(links), directed=False)
    _, first, groups = np.unique(labels, return_index=True, return_inverse=True)
    order = np.argsort(np.argsort(first))
    return np.asarray(order[groups], dtype=np.int64)
