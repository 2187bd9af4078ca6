"""One confidence from all scores: a regression and boosted trees over each score's best candidates, then calibration.

How informative a near neighbour is depends on the other scores, and on the number of examples of the skill. The
regression therefore uses the products of the scores, too. Trees find more of this where there are many examples, the
regression errs less where there are few: the mean of the two logits is at least about as good as the better one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

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
# More examples count as this many. A left-out example has taken one from its own skill's, which trees would find.
_EXAMPLES_MAX = 16
_REGULARISATION = 0.1
_ITERATIONS_MAX = 500


@dataclass(frozen=True, slots=True)
class Candidates:
    """Candidate pairs of a text and a skill.

    Attributes:
        texts: index of each pair's text, increasing.
        skills: column of each pair's skill.
        features: (pairs, features), float32.
        supported: whether each pair has a score above 0.
    """

    texts: Integers
    skills: Integers
    features: NDArray[np.float32]
    supported: NDArray[np.bool_]

    @property
    def with_examples(self) -> NDArray[np.bool_]:
        """Whether each pair's skill has examples, apart from the text's own group."""
        return np.asarray(self.features[:, _EXAMPLES] > 0)


class Model(Protocol):
    """Gives pairs logits."""

    def sums(self, features: NDArray[np.float32]) -> Floats:
        """The logit of each pair."""


@dataclass(frozen=True, slots=True)
class Weights:
    """A logistic regression.

    Attributes:
        middle: mean of each feature in the training data.
        spread: its standard deviation, or more where that is very small.
        coefficients: one for each standardised feature, then, if it has products, one for each product of two scores.
        intercept: of the regression.
    """

    middle: Floats
    spread: Floats
    coefficients: Floats
    intercept: float

    def sums(self, features: NDArray[np.float32]) -> Floats:
        """The logit of each pair."""
        standard = _standardised(features, self.middle, self.spread)
        if len(self.coefficients) > standard.shape[1]:
            standard = _with_products(standard)
        return np.asarray(standard @ self.coefficients + self.intercept)


@dataclass(frozen=True, slots=True)
class Mean:
    """The mean of a logistic regression and of boosted trees."""

    weights: Weights
    trees: Trees

    def sums(self, features: NDArray[np.float32]) -> Floats:
        """The logit of each pair."""
        return (self.weights.sums(features) + self.trees.total(features)) / 2


AnyModel = TypeVar("AnyModel", bound=Model)


@dataclass(frozen=True, slots=True)
class Stacker(Generic[AnyModel]):
    """Turns the features of a pair into a confidence.

    Attributes:
        model: gives each pair a logit.
        knots: logits, increasing, of the calibration curve.
        confidences: at the knots, not decreasing; linear in between.
    """

    model: AnyModel
    knots: Floats
    confidences: Floats

    def sums(self, candidates: Candidates) -> Floats:
        """The logit of each pair, which orders the skills of a text; the lowest where a pair has no score above 0."""
        return np.where(candidates.supported, self.model.sums(candidates.features), self.knots[0])

    def confidence(self, sums: Floats) -> Floats:
        """The calibrated probability that the resource carries the skill, above 0 and below 1."""
        return np.asarray(np.interp(sums, self.knots, self.confidences), dtype=np.float64)


def candidates_of(blocks: Iterable[ScoreBlock], columns: NDArray[np.bool_]) -> Candidates:
    """The pairs that are among the best of a text by some score, with their features.

    Features of each way but the context: the score, its margin over the best other skill of the text, and 1 / rank
    among the text's candidates. In addition: the context's share of the skill, the number of examples of the skill, and
    the best scores of the text.

    Args:
        blocks: scores of texts.
        columns: (skills), which of the skills may be candidates.
    """
    return joined([_candidates_of_block(block, np.flatnonzero(columns)) for block in blocks])


def joined(parts: Sequence[Candidates]) -> Candidates:
    """The pairs of several blocks."""
    return Candidates(
        np.concatenate([part.texts for part in parts]),
        np.concatenate([part.skills for part in parts]),
        np.concatenate([part.features for part in parts]),
        np.concatenate([part.supported for part in parts]),
    )


def fit_stacker(
    candidates: Candidates, targets: scipy.sparse.csr_matrix, groups: Integers, seed: int
) -> tuple[Stacker[Mean], Floats, Floats]:
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

    def fitted(features: NDArray[np.float32], right: NDArray[np.bool_]) -> Mean:
        return Mean(fit_weights(features, right), grow_trees(features, right, seed))

    return fit_calibrated(candidates, targets, groups, seed, fitted)


def fit_calibrated(
    candidates: Candidates,
    targets: scipy.sparse.csr_matrix,
    groups: Integers,
    seed: int,
    fit: Callable[[NDArray[np.float32], NDArray[np.bool_]], AnyModel],
) -> tuple[Stacker[AnyModel], Floats, Floats]:
    """Fit a model of features and rightness on all pairs, and its calibration; see `fit_stacker`."""
    right = carried(candidates, targets)
    held_out = np.empty(len(right))
    folds = GroupKFold(min(FOLDS, len(np.unique(groups))), shuffle=True, random_state=seed)
    splits = list(folds.split(right, groups=groups[candidates.texts]))

    def fitted_on(pairs: Integers) -> AnyModel:
        return fit(candidates.features[pairs], right[pairs])

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


def best_of_each(scores: NDArray[np.float32], count: int) -> NDArray[np.bool_]:
    """(texts, skills), whether a skill is among the best of the text by some of the scores: (ways, texts, skills)."""
    _, texts, skills = scores.shape
    chosen = np.zeros((texts, skills), dtype=np.bool_)
    size = min(count, skills)
    for values in scores:
        np.put_along_axis(chosen, np.argpartition(-values, size - 1, axis=1)[:, :size], values=True, axis=1)
    return chosen


def _candidates_of_block(block: ScoreBlock, columns: Integers) -> Candidates:
    scores, counts = block.values[:, :, columns], block.counts[:, columns]
    text, skill = np.nonzero(best_of_each(scores, CANDIDATES_PER_WAY))
    features = []
    for values in scores[:_COMPARED]:
        value = values[text, skill]
        best, second = two_best(values)
        features += [value, value - np.where(value >= best[text], second[text], best[text])]
        features.append(1 / (1 + ranks(text, value)))
    features.append(scores[_COMPARED][text, skill])
    features.append(np.log1p(np.minimum(counts[text, skill], _EXAMPLES_MAX)))
    features += [scores[way].max(axis=1)[text] for way in _OVERALL_WAYS]
    supported = np.any(scores[:_COMPARED, text, skill] > 0, axis=0)
    return Candidates(text + block.start, columns[skill], np.stack(features, axis=1).astype(np.float32), supported)


def two_best(values: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The best and the second best score of each text: (texts, skills)."""
    if values.shape[1] == 1:
        return values[:, 0], np.zeros(len(values), dtype=np.float32)
    two = np.partition(values, -2, axis=1)[:, -2:]
    return two[:, 1], two[:, 0]


def fit_weights(features: NDArray[np.float32], right: NDArray[np.bool_], *, products: bool = True) -> Weights:
    """Fit a logistic regression, of the products of the scores, too, if told so."""
    middle = features.mean(axis=0, dtype=np.float64)
    spread = np.maximum(features.std(axis=0, dtype=np.float64), _SPREAD_MIN)
    standard = _standardised(features, middle, spread)
    model = LogisticRegression(C=_REGULARISATION, solver="newton-cholesky", max_iter=_ITERATIONS_MAX)
    model.fit(_with_products(standard) if products else standard, right)
    return Weights(middle, spread, model.coef_[0], float(model.intercept_[0]))


def _standardised(features: NDArray[np.float32], middle: Floats, spread: Floats) -> NDArray[np.float32]:
    return ((features - middle) / spread).astype(np.float32)


def _with_products(standard: NDArray[np.float32]) -> NDArray[np.float32]:
    left, right = np.triu_indices(len(_MULTIPLIED))
    scores = standard[:, _MULTIPLIED]
    return np.hstack([standard, scores[:, left] * scores[:, right]])
