"""One confidence from all the scores: logistic regression over each score's best candidates, then calibrated.

The regression reads the features and the products of the scores: how far a near neighbour may be trusted depends on
what the other scores say, and on how many examples the skill has.
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import scipy.sparse
from numpy.typing import NDArray
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold
from threadpoolctl import threadpool_limits

from services.catalog.tagging.scores import THREADS, WAYS, ScoreBlock

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

CANDIDATES_PER_WAY = 10
FOLDS = 5
# The best score of these ways also says how near anything is at all.
_OVERALL_WAYS = (0, 1, 4)
# Columns of the features that are scores themselves, and of how many examples the skill has.
_MULTIPLIED = [*range(0, 3 * len(WAYS), 3), 3 * len(WAYS)]
_REGULARISATION = 0.1
_ITERATIONS_MAX = 500


@dataclass(frozen=True, slots=True)
class Candidates:
    """Pairs of a text and a skill worth looking at.

    Attributes:
        texts: number of each pair's text, rising.
        skills: column of each pair's skill.
        features: (pairs, features), float32.
    """

    texts: Integers
    skills: Integers
    features: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Weights:
    """Weighs the features of a pair.

    Attributes:
        middle: mean of each feature where the weights were fitted.
        spread: its standard deviation there.
        coefficients: one per standardised feature, then one per product of two of the scores.
        intercept: added to the weighted sum.
    """

    middle: Floats
    spread: Floats
    coefficients: Floats
    intercept: float

    def sums(self, features: NDArray[np.float32]) -> Floats:
        """The weighted sum of each pair."""
        return np.asarray(_with_products(features, self.middle, self.spread) @ self.coefficients + self.intercept)


@dataclass(frozen=True, slots=True)
class Stacker:
    """Turns the features of a pair into a confidence.

    Attributes:
        weights: of the features.
        knots: sums, rising, at which confidences are known.
        confidences: at the knots, not falling; between two knots the confidence is in between.
    """

    weights: Weights
    knots: Floats
    confidences: Floats

    def sums(self, features: NDArray[np.float32]) -> Floats:
        """The weighted sum of each pair; orders the skills of a text."""
        return self.weights.sums(features)

    def confidence(self, sums: Floats) -> Floats:
        """The share of such pairs in which the resource carries the skill, above 0 and below 1."""
        return np.asarray(np.interp(sums, self.knots, self.confidences), dtype=np.float64)


def candidates_of(blocks: Iterable[ScoreBlock]) -> Candidates:
    """The pairs that some score has among its best of the text, with their features.

    Features of each way: the score, its lead over the best other skill of the text, and 1 / rank among the text's
    candidates. Besides: how many examples the skill has, and how good the best scores of the text are.
    """
    parts = [_candidates_of_block(block) for block in blocks]
    return Candidates(
        np.concatenate([part.texts for part in parts]),
        np.concatenate([part.skills for part in parts]),
        np.concatenate([part.features for part in parts]),
    )


def fit_stacker(
    candidates: Candidates, targets: scipy.sparse.csr_matrix, groups: Integers, seed: int
) -> tuple[Stacker, Floats, Floats]:
    """Fit the weights on all pairs, and the calibration on sums of folds that the weights were not fitted on.

    Args:
        candidates: from scores that left each example's group out.
        targets: (texts, skills), 1 where the resource carries the skill.
        groups: of each text; a group is in one fold.
        seed: deals the groups to folds.

    Returns:
        The stacker, and the held-out sum and confidence of each pair.
    """
    right = carried(candidates, targets)
    held_out = np.empty(len(right))
    folds = GroupKFold(min(FOLDS, len(np.unique(groups))), shuffle=True, random_state=seed)
    splits = list(folds.split(right, groups=groups[candidates.texts]))

    def fitted_on(pairs: Integers) -> Weights:
        return _fit_weights(candidates.features[pairs], right[pairs])

    # One thread a fit: more would wait for each other longer than they work on so few columns.
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(THREADS) as threads:
        *of_folds, weights = threads.map(fitted_on, [*(shown for shown, _ in splits), np.arange(len(right))])
    for (_, other), of_fold in zip(splits, of_folds, strict=True):
        held_out[other] = of_fold.sums(candidates.features[other])
    calibration = IsotonicRegression(out_of_bounds="clip").fit(held_out, right)
    # Never sure: with n texts, a share cannot be told from 1 more finely than this.
    doubt = 1 / (targets.shape[0] + 2)
    confidences = np.clip(calibration.y_thresholds_, doubt, 1 - doubt)
    knots = np.asarray(calibration.X_thresholds_, dtype=np.float64)
    stacker = Stacker(weights, knots, confidences)
    return stacker, held_out, stacker.confidence(held_out)


def carried(candidates: Candidates, targets: scipy.sparse.csr_matrix) -> NDArray[np.bool_]:
    """Whether each pair's resource carries the pair's skill."""
    return np.asarray(targets[candidates.texts, candidates.skills]).ravel() > 0


def ranks(texts: Integers, values: NDArray[np.floating]) -> Integers:
    """Place of each pair among those of its text, from 0, the highest value first; of equal ones, the earlier."""
    order = np.lexsort((-values, texts))
    first = np.flatnonzero(np.diff(texts[order], prepend=-1))
    placed = np.empty(len(texts), dtype=np.int64)
    placed[order] = np.arange(len(texts)) - np.repeat(first, np.diff(np.append(first, len(texts))))
    return placed


def _candidates_of_block(block: ScoreBlock) -> Candidates:
    _, texts, skills = block.values.shape
    chosen = np.zeros((texts, skills), dtype=np.bool_)
    size = min(CANDIDATES_PER_WAY, skills)
    for values in block.values:
        np.put_along_axis(chosen, np.argpartition(-values, size - 1, axis=1)[:, :size], values=True, axis=1)
    text, skill = np.nonzero(chosen)
    features = []
    for values in block.values:
        value = values[text, skill]
        best, second = _two_best(values)
        features += [value, value - np.where(value >= best[text], second[text], best[text])]
        features.append(1 / (1 + ranks(text, value)))
    features.append(np.log1p(block.counts[text, skill]))
    features += [block.values[way].max(axis=1)[text] for way in _OVERALL_WAYS]
    return Candidates(text + block.start, skill, np.stack(features, axis=1).astype(np.float32))


def _two_best(values: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    if values.shape[1] == 1:
        return values[:, 0], np.zeros(len(values), dtype=np.float32)
    two = np.partition(values, -2, axis=1)[:, -2:]
    return two[:, 1], two[:, 0]


def _fit_weights(features: NDArray[np.float32], right: NDArray[np.bool_]) -> Weights:
    middle = features.mean(axis=0, dtype=np.float64)
    spread = features.std(axis=0, dtype=np.float64)
    spread[spread == 0] = 1
    model = LogisticRegression(C=_REGULARISATION, solver="newton-cholesky", max_iter=_ITERATIONS_MAX)
    model.fit(_with_products(features, middle, spread), right)
    return Weights(middle, spread, model.coef_[0], float(model.intercept_[0]))


def _with_products(features: NDArray[np.float32], middle: Floats, spread: Floats) -> NDArray[np.float32]:
    standard = ((features - middle) / spread).astype(np.float32)
    left, right = np.triu_indices(len(_MULTIPLIED))
    scores = standard[:, _MULTIPLIED]
    return np.hstack([standard, scores[:, left] * scores[:, right]])
