"""Texts as sparse TF-IDF vectors of words and of character n-grams."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer

from services.catalog.tagging.examples import NotEnoughExamplesError

# Punctuation counts as words: in mathematics `=` and `\frac` are as informative as nouns.
_WORD = r"\w+|[^\w\s]"
_PIECE_SHARE_MAX = 0.1
_PIECE_COUNT_MIN = 100


@dataclass(frozen=True, slots=True)
class Vectors:
    """Rows of unit length, one for each text, float32.

    Attributes:
        words: of words and word bigrams.
        pieces: of character n-grams of 3 to 5 characters within words.
    """

    words: scipy.sparse.csr_matrix
    pieces: scipy.sparse.csr_matrix

    def rows(self, start: int, stop: int) -> Vectors:
        """The vectors of a slice of the texts."""
        return Vectors(self.words[start:stop], self.pieces[start:stop])


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The terms of one kind of vector in the order of their columns, and their IDF weights."""

    terms: tuple[str, ...]
    weights: NDArray[np.float32]


class TextVectors:
    """Turns texts into vectors, with the vocabulary and the IDF weights of the training texts."""

    def __init__(self, words: Any, pieces: Any) -> None:
        """Args: fitted vectorizers; use `fit` or `from_vocabularies`."""
        self._words = words
        self._pieces = pieces

    @classmethod
    def fit(cls, texts: Sequence[str]) -> tuple[TextVectors, Vectors]:
        """Learn the vocabulary of some texts; returns it with the vectors of these texts.

        Character n-grams in more than a tenth of the texts are not informative and take most of the time, so they are
        left out, as are those in one text only.

        Raises:
            NotEnoughExamplesError: when no terms are left.
        """
        words, pieces = _word_vectorizer(), _piece_vectorizer()
        pieces.max_df = max(_PIECE_COUNT_MIN, round(_PIECE_SHARE_MAX * len(texts)))
        pieces.min_df = 2 if len(texts) > _PIECE_COUNT_MIN else 1
        try:
            vectors = Vectors(words.fit_transform(texts), pieces.fit_transform(texts))
        except ValueError as error:
            raise NotEnoughExamplesError(
                f"nothing in the texts of {len(texts)} resources and skills tells them apart: add their texts"
            ) from error
        return cls(words, pieces), vectors

    @classmethod
    def from_vocabularies(cls, words: Vocabulary, pieces: Vocabulary) -> TextVectors:
        """Restore from the `vocabularies` of another instance."""
        return cls(_restored(_word_vectorizer(), words), _restored(_piece_vectorizer(), pieces))

    def transform(self, texts: Sequence[str]) -> Vectors:
        """The vectors of any texts. A text without known terms has an empty row."""
        return Vectors(self._words.transform(texts), self._pieces.transform(texts))

    @property
    def vocabularies(self) -> tuple[Vocabulary, Vocabulary]:
        """The vocabularies of the words and of the character n-grams."""
        return _vocabulary(self._words), _vocabulary(self._pieces)


def _word_vectorizer() -> Any:
    return TfidfVectorizer(ngram_range=(1, 2), token_pattern=_WORD, sublinear_tf=True, dtype=np.float32)


def _piece_vectorizer() -> Any:
    return TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5), sublinear_tf=True, dtype=np.float32)


def _vocabulary(vectorizer: Any) -> Vocabulary:
    return Vocabulary(tuple(vectorizer.get_feature_names_out()), vectorizer.idf_.astype(np.float32))


def _restored(vectorizer: Any, vocabulary: Vocabulary) -> Any:
    vectorizer.vocabulary = {term: column for column, term in enumerate(vocabulary.terms)}
    vectorizer.idf_ = vocabulary.weights
    return vectorizer
