"""Ranks the skills of a framework that no resource is tagged in yet, by their statements alone.

A logistic regression over the scores of the statements, learned from the tagged resources as if no skill had examples.
It has no products and no trees: how publishers word statements differs, and only the simplest model carries over.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from services.catalog.tagging.scores import WAYS, ScoreBlock
from services.catalog.tagging.stacking import (
    CANDIDATES_PER_WAY,
    Candidates,
    Integers,
    Stacker,
    Weights,
    best_of_each,
    fit_calibrated,
    fit_weights,
    joined,
    ranks,
    two_best,
)

WAYS_COMPARED = ("statement by words", "statement by pieces")
_FEATURES_PER_WAY = 5
_STATEMENT_WAYS = slice(WAYS.index("statement by words"), WAYS.index("statement within by pieces") + 1)


def candidates_by_statement(blocks: Iterable[ScoreBlock], columns: NDArray[np.bool_]) -> Candidates:
    """The pairs that are among the best of a text by some score of the statement, with features.

    Features of each way: the score, its margin over the best other skill of the text, its ratio to the best score,
    1 / rank among the text's candidates, and the best score of the text.

    Args:
        blocks: scores of texts.
        columns: (skills), which of the skills may be candidates.
    """
    return joined([_of_block(block, np.flatnonzero(columns)) for block in blocks])


def fit_statement_ranker(
    candidates: Candidates, targets: scipy.sparse.csr_matrix, groups: Integers, seed: int
) -> Stacker[Weights]:
    """Fit the regression on all pairs, and the calibration on logits of held-out folds.

    Args:
        candidates: of the examples' texts.
        targets: (texts, skills), 1 where the resource carries the skill.
        groups: of each text; a group is never split between folds.
        seed: of the folds.
    """
    stacker, _, _ = fit_calibrated(
        candidates, targets, groups, seed, lambda features, right: fit_weights(features, right, products=False)
    )
    return stacker


def scores_of(candidates: Candidates, way: str) -> NDArray[np.float32]:
    """The score of each pair by one way."""
    return candidates.features[:, _FEATURES_PER_WAY * WAYS[_STATEMENT_WAYS].index(way)]


def _of_block(block: ScoreBlock, columns: Integers) -> Candidates:
    scores = block.values[_STATEMENT_WAYS][:, :, columns]
    text, skill = np.nonzero(best_of_each(scores, CANDIDATES_PER_WAY))
    features = []
    for values in scores:
        value = values[text, skill]
        best, second = (found[text] for found in two_best(values))
        features += [value, value - np.where(value >= best, second, best)]
        features += [
            np.divide(value, best, out=np.zeros_like(value), where=best > 0),
            1 / (1 + ranks(text, value)),
            best,
        ]
    supported = np.any(scores[:, text, skill] > 0, axis=0)
    return Candidates(text + block.start, columns[skill], np.stack(features, axis=1).astype(np.float32), supported)
