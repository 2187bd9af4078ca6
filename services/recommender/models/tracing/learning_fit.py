"""Fits what responses teach: the filter's learning term, kept only where learners held out of its search say so.

Without it, the filter takes learning for ability: difficulties absorb what most learners learn, and skills that were
never practised look easier than they are.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from services.recommender.application.training.train import Advance
from services.recommender.domain.learner.parameters import FilterSettings
from services.recommender.domain.training.metrics import log_loss, log_losses, mean_and_error
from services.recommender.domain.training.responses import ResponseTable
from services.recommender.models.tracing.difficulty_fit import (
    RESPONSES_SEARCHED,
    SEARCHED,
    at_most,
    fit_difficulties,
    implausibility,
    predict,
    short,
)

# What a response teaches at first, in logits, and the share of the ability that it takes away: where searches start.
_STARTS = (0.02, 0.05, 0.1, 0.2, 0.3)
_LOSSES = (0.02, 0.05, 0.1)
_LEARNING_BOUNDS, _LOSS_BOUNDS = (-0.2, 1.0), (0.0, 0.5)
_EVALUATIONS = 120
# A learning term is kept if it predicts better by this many standard errors.
_ERRORS = 2.0

LEARNING_EVALUATIONS = len(_STARTS) + len(_STARTS) * len(_LOSSES) + 2 * _EVALUATIONS


def search_learning(
    table: ResponseTable,
    settings: FilterSettings,
    cv_fold: NDArray[np.int64],
    folds: Sequence[int],
    *,
    advance: Advance = lambda _done, _total: None,
) -> FilterSettings:
    """Return the filter's constants with a learning term, or as they are where that predicts no better.

    A steady gain from each response is searched first, then one that slows down with practice. Each is searched on one
    fold of learners, after a fit to the others, and judged on each of these others, after a fit without them.

    Args:
        table: the responses.
        settings: the constants found without a learning term.
        cv_fold: of each learner.
        folds: the fold to search on, and then those to judge on.
        advance: reports how many evaluations are done, and the total.
    """
    table = at_most(table, RESPONSES_SEARCHED)
    fold = cv_fold[table.learner]
    searched_on, fitted_on = table.rows(fold == folds[0]), table.rows(np.isin(fold, folds[1:]))
    judged = np.isin(fold, folds[1:])
    done = 0

    def loss(candidate: FilterSettings) -> float:
        nonlocal done
        done += 1
        advance(min(done, LEARNING_EVALUATIONS), LEARNING_EVALUATIONS)
        chances = predict(searched_on, fit_difficulties(fitted_on, candidate))
        return log_loss(searched_on.response, chances) + implausibility(candidate, len(searched_on))

    def losses(candidate: FilterSettings) -> NDArray[np.float64]:
        chances = np.full(len(table), 0.5)
        for one in folds[1:]:
            rest = table.rows((fold != one) & np.isin(fold, folds))
            chances[fold == one] = predict(table.rows(fold == one), fit_difficulties(rest, candidate))
        return log_losses(table.response[judged], chances[judged])

    if not len(searched_on) or len(np.unique(fold[judged])) < 2:
        return settings
    kept, losses_of_kept = settings, losses(settings)
    for shares_lost in ((0.0,), _LOSSES):
        found = _searched(settings, shares_lost, loss)
        losses_of_found = losses(found)
        gain, error = mean_and_error(table.learner[judged], losses_of_kept - losses_of_found)
        if gain > _ERRORS * error:
            kept, losses_of_kept = found, losses_of_found
    advance(LEARNING_EVALUATIONS, LEARNING_EVALUATIONS)
    return kept


def _searched(settings: FilterSettings, shares_lost: Sequence[float], loss) -> FilterSettings:
    """The constants with the least loss: the best of a grid of learning terms, then Nelder-Mead over all constants."""
    grid = [
        dataclasses.replace(settings, learning=learning, retention=1.0 - lost)
        for learning in _STARTS
        for lost in shares_lost
    ]
    begun = min(grid, key=loss)
    slows = begun.retention < 1.0

    def at(point: NDArray[np.float64]) -> FilterSettings:
        constants = {name: short(math.exp(value)) for name, value in zip(SEARCHED, point[: len(SEARCHED)], strict=True)}
        learning, lost = point[len(SEARCHED)], point[-1] if slows else 0.0
        return dataclasses.replace(settings, **constants, learning=short(learning), retention=short(1.0 - lost))

    logarithms = [math.log(getattr(begun, name)) for name in SEARCHED]
    start = np.array([*logarithms, begun.learning, *([1.0 - begun.retention] * slows)])
    steps = np.array([*[0.5] * len(SEARCHED), *np.maximum(0.3 * start[len(SEARCHED) :], 0.01)])
    result = minimize(
        lambda point: loss(at(point)),
        start,
        method="Nelder-Mead",
        bounds=[
            *[(math.log(low), math.log(high)) for low, high in SEARCHED.values()],
            _LEARNING_BOUNDS,
            *([_LOSS_BOUNDS] * slows),
        ],
        options={
            "maxfev": _EVALUATIONS,
            "initial_simplex": np.vstack([start, start + np.diag(steps)]),
            "fatol": 1e-6,
            "xatol": 0.01,
        },
    )
    return at(result.x)
