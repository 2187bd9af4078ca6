"""Metrics of predictions. Each takes outcomes in [0, 1] and the predicted chances of success."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]

# For metrics that need right or wrong, an outcome of at least this counts as right.
SUCCESS_FROM = 0.5
# Bins of equal width for the calibration of predictions.
CALIBRATION_BINS = 15
# Chances nearer to 0 or 1 count as this far from them: no single response decides a log-loss.
SMALLEST_CHANCE = 1e-9


def log_loss(outcome: Floats, chance: Floats) -> float:
    """Mean negative log-likelihood, in nats. A graded outcome counts as that share of a success."""
    return float(np.mean(log_losses(outcome, chance)))


def log_losses(outcome: Floats, chance: Floats) -> NDArray[np.float64]:
    """Negative log-likelihood of each response, in nats; `log_loss` is their mean."""
    clipped = np.clip(chance.astype(np.float64), SMALLEST_CHANCE, 1 - SMALLEST_CHANCE)
    return np.asarray(-(outcome * np.log(clipped) + (1 - outcome) * np.log1p(-clipped)))


def mean_and_error(learner: NDArray[np.integer], values: NDArray[np.float64]) -> tuple[float, float]:
    """The mean over responses, and its standard error over learners: responses of one learner depend on each other.

    The error is infinite with fewer than two learners.
    """
    mean = float(values.mean())
    _, numbers = np.unique(learner, return_inverse=True)
    deviations = np.bincount(numbers, weights=values - mean)
    learners = len(deviations)
    if learners < 2:
        return mean, math.inf
    return mean, math.sqrt(learners / (learners - 1) * float(np.sum(deviations**2))) / len(values)


def calibration_bins(chance: Floats) -> NDArray[np.int64]:
    """Which of CALIBRATION_BINS each chance is in."""
    return np.minimum((chance * CALIBRATION_BINS).astype(np.int64), CALIBRATION_BINS - 1)


def auc(outcome: Floats, chance: Floats) -> float | None:
    """The chance that a success was predicted to be likelier than a failure, ties counting half: area under the ROC.

    None when all outcomes are successes or none is.
    """
    success = outcome >= SUCCESS_FROM
    successes = int(success.sum())
    failures = len(success) - successes
    if not successes or not failures:
        return None
    _, group, sizes = np.unique(chance, return_inverse=True, return_counts=True)
    mean_rank = np.cumsum(sizes) - (sizes - 1) / 2
    rank_sum = float(mean_rank[group[success]].sum())
    return (rank_sum - successes * (successes + 1) / 2) / (successes * failures)


def ndcg(ranked: Sequence[int], relevant: Collection[int], most: int) -> float:
    """Normalised discounted cumulative gain at k (NDCG@k), with binary relevance; k is `most`.

    Järvelin, Kekäläinen: Cumulated Gain-Based Evaluation of IR Techniques, TOIS 20(4), 2002. The ideal list holds
    min(k, relevant) relevant ones.
    """
    gains = 1.0 / np.log2(np.arange(2, most + 2))
    found = sum(float(gains[place]) for place, resource in enumerate(ranked[:most]) if resource in relevant)
    return found / float(gains[: min(most, len(relevant))].sum())
