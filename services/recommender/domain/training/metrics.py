"""How good forecasts are. Each takes outcomes in [0, 1] and the chances of success foreseen for them."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]

# Where a measure needs right or wrong, an outcome of at least this counts as right.
SUCCESS_FROM = 0.5
_SMALLEST_CHANCE = 1e-9


def log_loss(outcome: Floats, chance: Floats) -> float:
    """Mean negative log-likelihood, in nats. A graded outcome counts as that share of a success."""
    clipped = np.clip(chance.astype(np.float64), _SMALLEST_CHANCE, 1 - _SMALLEST_CHANCE)
    return float(-np.mean(outcome * np.log(clipped) + (1 - outcome) * np.log1p(-clipped)))


def auc(outcome: Floats, chance: Floats) -> float | None:
    """The chance that a success was foreseen as likelier than a failure, ties counting half (area under the ROC curve).

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


def rmse(outcome: Floats, chance: Floats) -> float:
    """Root mean squared error."""
    return float(np.sqrt(np.mean((outcome - chance) ** 2)))


def expected_calibration_error(outcome: Floats, chance: Floats, *, bins: int = 15) -> float:
    """Mean distance between foreseen and observed success over bins of equal width, weighted by their responses.

    Naeini, Cooper, Hauskrecht: Obtaining Well Calibrated Probabilities Using Bayesian Binning, AAAI 2015.
    """
    which = np.minimum((chance * bins).astype(np.int64), bins - 1)
    predicted = np.bincount(which, weights=chance, minlength=bins)
    observed = np.bincount(which, weights=outcome, minlength=bins)
    return float(np.abs(predicted - observed).sum() / len(outcome))


def ndcg(ranked: Sequence[int], relevant: Collection[int], most: int) -> float:
    """Normalised discounted cumulative gain of a list's first so many, with binary relevance.

    Järvelin, Kekäläinen: Cumulated Gain-Based Evaluation of IR Techniques, TOIS 20(4), 2002. The ideal list holds
    min(most, relevant) relevant ones.
    """
    gains = 1.0 / np.log2(np.arange(2, most + 2))
    found = sum(float(gains[place]) for place, resource in enumerate(ranked[:most]) if resource in relevant)
    return found / float(gains[: min(most, len(relevant))].sum())
