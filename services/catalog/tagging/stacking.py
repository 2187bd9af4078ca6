"""One confidence from all scores: logistic regression and boosted trees over each score's best candidates, then calibration.

How informative a near neighbour is depends on the other scores, and on the number of examples of the skill. The
regression therefore uses the products of the scores, too. Trees find more of this where there are many examples, the
regression errs less where there are few: the mean of the two logits is at least about as good as the better one.
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
from services.catalog.tagging.trees import Trees

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

CANDIDATES_PER_WAY = 10
FOLDS = 5
# Ways whose best score of a text is a feature of all of its candidates.
_OVERALL_WAYS = tuple(map(WAYS.index, ("ridge", "nearest by words", "context", "statement by words")))
# The context has no margin and no rank. Where all resources share one context, the skill of the one that is left out is
# one resource short, and margin and rank would give it away.
_COMPARED = len(WAYS) - 1
_EXAMPLES = 3 * _COMPARED + 1
# Feature columns that are multiplied: the scores, and the number of examples of the skill.
_MULTIPLIED = [*range(0, 3 * _COMPARED, 3), 3 * _COMPARED, _EXAMPLES]
# For the same reason no feature is magnified: scores, shares and logarithms of counts that hardly differ say little.
_SPREAD_MIN = 0.05
_REGULARISATION = 0.1
_ITERATIONS_MAX = 500


@dataclass(frozen=True, slots=True)
class Candidates:
    """Candidate pairs of a text and a skill.

    Attributes:
        texts: index of each pair's text, increasing.
        skills: column of each pair's skill.
        features: (pairs, features), float32.
    """

    texts: Integers
    skills: Integers
    features: NDArray[np.float32]

    @property
    def with_examples(self) -> NDArray[np.bool_]:
        """Whether each pair's skill has examples, apart from the text's own group."""
        return np.asarray(self.features[:, _EXAMPLES] > 0)


@dataclass(frozen=True, slots=True)
class Weights:
    """The logistic regression.

    Attributes:
        middle: mean of each feature in the training data.
        spread: its standard deviation, or more where that is very small.
        coefficients: one for each standardised feature, then one for each product of two scores.
        intercept: of the regression.
    """

    middle: Floats
    spread: Floats
    coefficients: Floats
    intercept: float

    def sums(self, features: NDArray[np.float32]) -> Floats:
        """The logit of each pair."""
        return np.asarray(_with_products(features, self.middle, self.spread) @ self.coefficients + self.intercept)


@dataclass(frozen=True, slots=True)
class Model:
    """The mean of a logistic regression and of boosted trees."""

    weights: Weights
    trees: Trees

    def sums(self, features: NDArray[np.float32]) -> Floats:
        """The logit of each pair."""
        return (self.weights.sums(features) + self.trees.total(features)) / 2


@dataclass(frozen=True, slots=True)
class Stacker:
    """Turns the features of a pair into a confidence.

    Attributes:
        model: gives each pair a logit.
        knots: logits, increasing, of the calibration curve.
        confidences: at the knots, not decreasing; linear in between.
    """

    model: Model
    knots: Floats
    confidences: Floats

    def sums(self, features: NDArray[np.float32]) -> Floats:
        """The logit of each pair, which orders the skills of a text; the lowest where its text has no score above 0."""
        supported = (features[:, : 3 * _COMPARED : 3] > 0).any(axis=1)
        return np.where(supported, self.model.sums(features), self.knots[0])

    def confidence(self, sums: Floats) -> Floats:
        """The calibrated probability that the resource carries the skill, above 0 and below 1."""
        return np.asarray(np.interp(sums, self.knots, self.confidences), dtype=np.float64)


def candidates_of(blocks: Iterable[ScoreBlock]) -> Candidates:
    """The pairs that are among the best of a text by some score, with their features.

    Features of each way but the context: the score, its margin over the best other skill of the text, and 1 / rank
    among the text's candidates. In addition: the context's share of the skill, the number of examples of the skill, and
    the best scores of the text.
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
    """Fit the regression and the trees on all pairs, and the calibration on logits of held-out folds.

    Args:
        candidates: from leave-group-out scores.
        targets: (texts, skills), 1 where the resource carries the skill.
        groups: of each text; a group is never split between folds.
        seed: of the folds and of the trees' samples.

    Returns:
        The stacker, and the held-out logit and confidence of each pair.
    """
    from services.catalog.tagging.growing import grow_trees  # noqa: PLC0415 - a service does not have LightGBM.

    right = carried(candidates, targets)
    held_out = np.empty(len(right))
    folds = GroupKFold(min(FOLDS, len(np.unique(groups))), shuffle=True, random_state=seed)
    splits = list(folds.split(right, groups=groups[candidates.texts]))

    def fitted_on(pairs: Integers) -> Model:
        features, labels = candidates.features[pairs], right[pairs]
        return Model(_fit_weights(features, labels), grow_trees(features, labels, seed))

    # One thread for each fit: with so few columns, more would mostly wait for each other.
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(THREADS) as threads:
        *of_folds, model = threads.map(fitted_on, [*(shown for shown, _ in splits), np.arange(len(right))])
    for (_, other), of_fold in zip(splits, of_folds, strict=True):
        held_out[other] = of_fold.sums(candidates.features[other])
    calibration = IsotonicRegression(out_of_bounds="clip").fit(held_out, right)
    # Never certain: with n texts, a probability this close to 1 cannot be distinguished from 1.
    doubt = 1 / (targets.shape[0] + 2)
    confidences = np.clip(calibration.y_thresholds_, doubt, 1 - doubt)
    knots = np.asarray(calibration.X_thresholds_, dtype=np.float64)
    stacker = Stacker(model, knots, confidences)
    return stacker, held_out, stacker.confidence(held_out)


def carried(candidates: Candidates, targets: scipy.sparse.csr_matrix) -> NDArray[np.bool_]:
    """Whether each pair's resource carries the pair's skill."""
    return np.asarray(targets[candidates.texts, candidates.skills]).ravel() > 0


def ranks(texts: Integers, values: NDArray[np.floating]) -> Integers:
    """Rank of each pair within its text, from 0 for the highest value; ties in the order of the pairs."""
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
    for values in block.values[:_COMPARED]:
        value = values[text, skill]
        best, second = _two_best(values)
        features += [value, value - np.where(value >= best[text], second[text], best[text])]
        features.append(1 / (1 + ranks(text, value)))
    features.append(block.values[_COMPARED][text, skill])
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
    spread = np.maximum(features.std(axis=0, dtype=np.float64), _SPREAD_MIN)
    model = LogisticRegression(C=_REGULARISATION, solver="newton-cholesky", max_iter=_ITERATIONS_MAX)
    model.fit(_with_products(features, middle, spread), right)
    return Weights(middle, spread, model.coef_[0], float(model.intercept_[0]))


def _with_products(features: NDArray[np.float32], middle: Floats, spread: Floats) -> NDArray[np.float32]:
    standard = ((features - middle) / spread).astype(np.float32)
    left, right = np.triu_indices(len(_MULTIPLIED))
    scores = standard[:, _MULTIPLIED]
    return np.hstack([standard, scores[:, left] * scores[:, right]])
