"""Groups of near-duplicate texts, so that no copy of a held-out text is in the training data."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import scipy.sparse
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer

SIMILARITY_MIN = 0.85
# Two letters or more: exercises differ in their numbers, the names of variables and signs.
_WORD = re.compile(r"[^\W\d]{2,}")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_BLOCK_ROWS = 1_024


def near_duplicate_groups(texts: Sequence[str], similarity_min: float = SIMILARITY_MIN) -> NDArray[np.int64]:
    """The group of each text: the connected components of the near-duplicate relation.

    Near-duplicates have a cosine similarity of at least `similarity_min` between the TF-IDF vectors of their single
    words. Numbers, single letters and punctuation are no words, so exercises that differ only in these are one group.
    Texts without words are one group when they differ only in their numbers. An empty text is its own group.

    Args:
        texts: one per resource.
        similarity_min: above 0, at most 1.

    Returns:
        Group numbers from 0, in the order in which the groups first occur.
    """
    try:
        vectors = TfidfVectorizer(analyzer=_words, dtype=np.float32).fit_transform(texts)
    except ValueError:
        # scikit-learn raises it when no text has a word.
        return np.arange(len(texts))
    links = []
    for start in range(0, len(texts), _BLOCK_ROWS):
        similar = (vectors[start : start + _BLOCK_ROWS] @ vectors.T).tocsr()
        # Because of rounding, a text and its copy may have a similarity slightly below 1.
        similar.data = (similar.data >= similarity_min - 1e-6).astype(np.int8)
        similar.eliminate_zeros()
        links.append(similar)
    _, labels = scipy.sparse.csgraph.connected_components(scipy.sparse.vstack(links), directed=False)
    _, first, groups = np.unique(labels, return_index=True, return_inverse=True)
    order = np.argsort(np.argsort(first))
    return np.asarray(order[groups], dtype=np.int64)


def _words(text: str) -> list[str]:
    skeleton = " ".join(_NUMBER.sub("0", text).split())
    return _WORD.findall(text.lower()) or ([skeleton] if skeleton else [])
