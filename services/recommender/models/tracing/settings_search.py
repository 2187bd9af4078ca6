"""Searches the filter's constants: those with the lowest log-loss on learners held out of a fit of the difficulties.

A learning term, what responses teach, is kept only where it predicts better for sure. Without it, the filter takes
learning for ability: difficulties absorb what most learners learn, and skills that were never practised look easier
than they are.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from services.recommender.application.training.train import Advance
from services.recommender.domain.learner.parameters import FilterSettings
from services.recommender.domain.training.metrics import log_losses, mean_and_error
from services.recommender.domain.training.responses import ResponseTable
from services.recommender.models.tracing.difficulty_fit import (
    UNFITTED,
    at_most,
    drawn,
    fit_difficulties,
    predict,
    short,
)

# A search reads at most this many responses, of whole learners, to bound its time.
_RESPONSES_SEARCHED = 120_000
_EVALUATIONS, _EVALUATIONS_OF_LEARNING = 150, 100

# The searched constants and their bounds; all are positive, so the search steps in the logarithm.
_BOUNDS = {
    "learner_variance": (0.05, 4.0),
    "skill_variance": (0.02, 3.0),
    "learner_noise": (1e-5, 0.1),
    "skill_noise": (1e-5, 0.2),
    "item_difficulty_variance": (0.05, 4.0),
    "skill_difficulty_variance": (0.05, 6.0),
}
# Where the search begins, and the most plausible constants: abilities hardly move by themselves unless data say so.
_PLAUSIBLE = dataclasses.replace(UNFITTED, learner_noise=3e-4, skill_noise=5e-4)
# What a response teaches at first, in logits, and the share of the ability that it takes away: where searches start.
_LEARNING, _LOST = (0.02, 0.04, 0.08, 0.16, 0.32), (0.02, 0.05, 0.1)
_LEARNING_BOUNDS, _LOST_BOUNDS = (-0.2, 1.0), (0.0, 0.5)
# A learning term is kept if it predicts better by this many standard errors.
_ERRORS = 2.0

EVALUATIONS = _EVALUATIONS + 2 * len(_LEARNING) * (1 + len(_LOST)) + 2 * _EVALUATIONS_OF_LEARNING

Loss = Callable[[FilterSettings], float]


def search_settings(
    table: ResponseTable, *, seed: int, advance: Advance = lambda _done, _total: None, evaluations: int = EVALUATIONS
) -> FilterSettings:
    """Return the filter's constants with the lowest log-loss on each half of the learners after a fit to the other.

    They are searched without a learning term, with a steady one, and with one that slows down with practice. Of
    constants that predict as well as each other, the more plausible ones are taken.

    Args:
        table: the responses.
        seed: decides which learners are in which half.
        advance: reports how many evaluations are done, and the total.
        evaluations: at most about this many.
    """
    table = at_most(table, _RESPONSES_SEARCHED)
    first = (drawn(table.learners, 2, seed) == 0)[table.learner]
    halves = table.rows(first), table.rows(~first)
    if not len(halves[0]) or not len(halves[1]):
        return UNFITTED
    done = 0

    def losses(settings: FilterSettings) -> NDArray[np.float64]:
        found = [
            log_losses(held_out.response, predict(held_out, fit_difficulties(fitted_on, settings)))
            for fitted_on, held_out in (halves, halves[::-1])
        ]
        return np.concatenate(found)

    def loss(settings: FilterSettings) -> float:
        nonlocal done
        done += 1
        advance(min(done, evaluations), evaluations)
        return float(losses(settings).mean()) + implausibility(settings, len(table))

    learner = np.concatenate([half.learner for half in halves[::-1]])
    share = evaluations / EVALUATIONS
    kept = _descended(_PLAUSIBLE, loss, evaluations=int(share * _EVALUATIONS), step=0.7)
    for lost in ((0.0,), _LOST):
        # Constants found without a learning term explain learning by noise, so those of the start may be nearer.
        start = min([*_with_learning(kept, lost), *_with_learning(_PLAUSIBLE, lost)], key=loss)
        found = _descended(start, loss, evaluations=int(share * _EVALUATIONS_OF_LEARNING), step=0.5)
        # What is gained by the other constants alone is not gained by the term.
        without = dataclasses.replace(found, learning=kept.learning, retention=kept.retention)
        kept = min(kept, without, key=loss)
        losses_of_kept, losses_of_found = losses(kept), losses(found)
        gain, error = mean_and_error(learner, losses_of_kept - losses_of_found)
        if gain > _ERRORS * error:
            kept = found
    advance(evaluations, evaluations)
    return kept


def implausibility(settings: FilterSettings, responses: int) -> float:
    """Minus the log-density of the searched constants, per response: log-normal around plausible ones, deviation e."""
    ratios = (math.log(getattr(settings, name) / getattr(_PLAUSIBLE, name)) for name in _BOUNDS)
    return 0.5 * sum(ratio * ratio for ratio in ratios) / max(responses, 1)


def _with_learning(settings: FilterSettings, shares_lost: Sequence[float]) -> list[FilterSettings]:
    return [
        dataclasses.replace(settings, learning=learning, retention=1.0 - lost)
        for learning in _LEARNING
        for lost in shares_lost
    ]


def _descended(start: FilterSettings, loss: Loss, *, evaluations: int, step: float) -> FilterSettings:
    """Constants with less loss, by a bounded Nelder-Mead search; a part of the learning term that is absent stays so.

    Args:
        start: where the search begins; kept if nothing is better.
        loss: what to minimise.
        evaluations: at most this many.
        step: the first steps in the logarithms.
    """
    slows = start.retention < 1.0
    learns = slows or start.learning != 0.0
    known = len(_BOUNDS)

    def at(point: NDArray[np.float64]) -> FilterSettings:
        constants = {name: short(math.exp(value)) for name, value in zip(_BOUNDS, point[:known], strict=True)}
        if learns:
            constants["learning"] = short(point[known])
        if slows:
            constants["retention"] = short(1.0 - point[-1])
        return dataclasses.replace(start, **constants)

    of_learning = np.array([start.learning] * learns + [1.0 - start.retention] * slows)
    begin = np.concatenate([[math.log(getattr(start, name)) for name in _BOUNDS], of_learning])
    steps = np.concatenate([np.full(known, step), np.maximum(0.3 * of_learning, 0.01)])
    logarithms = [(math.log(low), math.log(high)) for low, high in _BOUNDS.values()]
    result = minimize(
        lambda point: loss(at(point)),
        begin,
        method="Nelder-Mead",
        bounds=[*logarithms, *[_LEARNING_BOUNDS] * learns, *[_LOST_BOUNDS] * slows],
        options={
            "maxfev": evaluations,
            "initial_simplex": np.vstack([begin, begin + np.diag(steps)]),
            "fatol": 1e-6,
            "xatol": 0.01,
        },
    )
    return at(result.x)
