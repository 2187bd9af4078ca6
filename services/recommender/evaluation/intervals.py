"""Measures with bootstrap intervals: learners are resampled with replacement, and each resample is measured.

Efron, Tibshirani: An Introduction to the Bootstrap, 1993 (percentile intervals). Learners are drawn whole, because the
responses of one learner are not independent. Models are compared on the same draws.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from services.recommender.domain.training.metrics import CALIBRATION_BINS, SUCCESS_FROM, calibration_bins, log_losses

Floats = NDArray[np.float64]

_CENTRAL_95 = (2.5, 97.5)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A measure and the bounds of its central 95 % interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Draws:
    """How often each learner was drawn. The first row has every learner once, for the measure itself.

    Attributes:
        weights: float64, draws by learners.
    """

    weights: Floats

    @classmethod
    def of(cls, learners: int, *, draws: int, seed: int) -> Draws:
        """Draw as many learners as there are, `draws` times."""
        rng = np.random.default_rng(seed)
        drawn = rng.multinomial(learners, np.full(learners, 1.0 / learners), size=draws).astype(np.float64)
        return cls(np.vstack([np.ones(learners), drawn]))


def estimate(values: Floats) -> Estimate:
    """Return the estimate from a measure's value on every draw; the first value is the measure itself."""
    low, high = np.percentile(values[1:], _CENTRAL_95)
    return Estimate(float(values[0]), float(low), float(high))


def centred(values: Floats) -> Floats:
    """Shift a measure's values so that their mean over the draws is the measure itself.

    Use it for measures that depend on the number of different learners, such as the share of a catalog that their
    lists cover. A draw holds only two thirds of the learners, so its values vary as they should, but are biased.
    """
    moved = values.copy()
    moved[1:] += values[0] - values[1:].mean()
    return moved


def of_learners(values: Floats, draws: Draws) -> Floats:
    """Return the mean over learners on every draw.

    Args:
        values: one per learner.
        draws: how often each was drawn.
    """
    mean: Floats = draws.weights @ values / draws.weights.sum(axis=1)
    return mean


def of_forecasts(learner: NDArray[np.integer], outcome: Floats, chance: Floats, draws: Draws) -> dict[str, Floats]:
    """AUC, log-loss, RMSE and expected calibration error, pooled over responses, on every draw.

    The calibration error is the mean distance between predicted and observed success over CALIBRATION_BINS, weighted
    by their responses (Naeini, Cooper, Hauskrecht: Obtaining Well Calibrated Probabilities Using Bayesian Binning,
    AAAI 2015).

    Args:
        learner: number of each response's learner, from 0.
        outcome: of each response, in [0, 1]; for the AUC, outcomes of at least SUCCESS_FROM are successes.
        chance: predicted chance of success of each response.
        draws: how often each learner was drawn.
    """
    learners = draws.weights.shape[1]

    def summed(values: Floats) -> Floats:
        return draws.weights @ np.bincount(learner, weights=values, minlength=learners)

    responses = summed(np.ones(len(outcome)))
    return {
        "auc": _areas(learner, outcome >= SUCCESS_FROM, chance, draws),
        "log_loss": summed(log_losses(outcome, chance)) / responses,
        "rmse": np.sqrt(summed((outcome - chance) ** 2) / responses),
        "ece": _calibration_errors(learner, outcome, chance, draws) / responses,
    }


def compared(values: Mapping[str, Mapping[str, Floats]], reference: str) -> dict[str, dict[str, Estimate]]:
    """Return the difference of `reference` minus each other model, by measure, on the same draws."""
    return {
        name: {
            measure: estimate(values[reference][measure] - other)
            for measure, other in measures.items()
            if measure in values[reference]
        }
        for name, measures in values.items()
        if name != reference
    }


def _areas(learner: NDArray[np.integer], success: NDArray[np.bool_], chance: Floats, draws: Draws) -> Floats:
    order = np.argsort(chance, kind="stable")
    ends_group = np.diff(chance[order], append=np.inf) > 0
    areas: Floats = _drawn_areas(learner[order].astype(np.int64), success[order], ends_group, draws.weights)
    return areas


@numba.njit(cache=True)
def _drawn_areas(
    learner: NDArray[np.int64], success: NDArray[np.bool_], ends_group: NDArray[np.bool_], weights: Floats
) -> Floats:
    """Return the area under the ROC curve on every draw. Rows are sorted by chance; equal chances form a group."""
    areas = np.empty(len(weights))
    for draw in range(len(weights)):
        pairs = successes = failures = group_successes = group_failures = 0.0
        for row in range(len(learner)):
            weight = weights[draw, learner[row]]
            if success[row]:
                group_successes += weight
            else:
                group_failures += weight
            if ends_group[row]:
                # A success ranks above the failures of lower groups and half of those in its own.
                pairs += group_successes * (failures + group_failures / 2)
                successes += group_successes
                failures += group_failures
                group_successes = group_failures = 0.0
        areas[draw] = pairs / (successes * failures) if successes * failures > 0 else np.nan
    return areas


def _calibration_errors(learner: NDArray[np.integer], outcome: Floats, chance: Floats, draws: Draws) -> Floats:
    learners = draws.weights.shape[1]
    bins = learner * CALIBRATION_BINS + calibration_bins(chance)
    gaps = np.bincount(bins, weights=chance - outcome, minlength=learners * CALIBRATION_BINS)
    gaps = gaps.reshape(learners, CALIBRATION_BINS)
    errors: Floats = np.abs(draws.weights @ gaps).sum(axis=1)
    return errors
