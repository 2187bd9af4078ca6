"""How far the success model is trusted, by what it and the filter alone predict of learners held out of the fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from services.recommender.application.training.train import Advance
from services.recommender.domain.learner.item_pairs import NO_PAIRS
from services.recommender.domain.learner.parameters import FilterSettings
from services.recommender.domain.training.metrics import log_loss, log_losses, mean_and_error
from services.recommender.domain.training.responses import NONE, ResponseTable
from services.recommender.models.tracing.difficulty_fit import fit_difficulties, item_folds, predict
from services.recommender.models.tracing.pair_fit import fit_item_pairs
from services.recommender.models.tracing.success_fit import fit_success, predict_success
from services.recommender.models.tracing.success_table import success_features

Floats = NDArray[np.float64]

# Chances are clipped to this distance from 0 and 1, so that their logits are finite.
_SMALLEST_CHANCE = 2.0**-53


@dataclass(frozen=True, eq=False)
class Pair:
    """The chances of each response by the filter alone and by the success model."""

    by_filter: Floats
    by_success: Floats

    @classmethod
    def joined(cls, pairs: Sequence[Pair]) -> Pair:
        """The pairs of some responses and then of others."""
        return cls(
            np.concatenate([each.by_filter for each in pairs]), np.concatenate([each.by_success for each in pairs])
        )

    def of(self, rows: NDArray[np.bool_]) -> Pair:
        """The pair of some of the responses."""
        return Pair(self.by_filter[rows], self.by_success[rows])

    def chance(self, share: float) -> Floats:
        """The chance with that share of the success model: logits are averaged, as `SuccessModel.shrunk` does."""
        of_filter, of_success = (
            np.log(chance / (1.0 - chance))
            for chance in np.clip((self.by_filter, self.by_success), _SMALLEST_CHANCE, 1.0 - _SMALLEST_CHANCE)
        )
        return np.asarray(1.0 / (1.0 + np.exp(-(share * of_success + (1.0 - share) * of_filter))))


@dataclass(frozen=True, eq=False)
class Forecasts:
    """What is predicted before each response of learners who were held out of the fit.

    Attributes:
        learner: of each response.
        response: the outcome.
        base_rate: the share of successes in the fit.
        known: predictions with the difficulties of all items that the others worked on.
        new: predictions as if the item of the response had been added after the fit.
        has_item: whether `new` is predicted: not for responses to no item, nor where there are few items.
    """

    learner: NDArray[np.int32]
    response: NDArray[np.float32]
    base_rate: float
    known: Pair
    new: Pair
    has_item: NDArray[np.bool_]


def forecast(
    held_out: ResponseTable, rest: ResponseTable, settings: FilterSettings, *, seed: int, advance: Advance
) -> Forecasts:
    """Fit both models to some learners and predict others.

    For new items, each tenth of the items is left out of the fit of the difficulties in turn: one tenth alone may be
    harder than the others by chance.

    Args:
        held_out: who is predicted.
        rest: who is fitted on.
        settings: the filter's constants.
        seed: of the fit.
        advance: reports how many steps are done, and the total.
    """
    success_model, _ = fit_success(rest, settings, seed=seed, advance=advance)

    def predicted(fitted_on: ResponseTable) -> Pair:
        difficulties = fit_difficulties(fitted_on, settings)
        pairs = fit_item_pairs(fitted_on, difficulties) if success_model.recent_items else NO_PAIRS
        features = success_features(held_out, difficulties, pairs)
        return Pair(predict(held_out, difficulties), predict_success(held_out, features, success_model))

    item_fold, item_fold_of_rest = item_folds(held_out, seed), item_folds(rest, seed)
    new = Pair(np.full(len(held_out), 0.5), np.full(len(held_out), 0.5))
    for tenth in np.unique(item_fold[item_fold != NONE]).tolist():
        rows, found = item_fold == tenth, predicted(rest.rows(item_fold_of_rest != tenth))
        new.by_filter[rows], new.by_success[rows] = found.by_filter[rows], found.by_success[rows]
    base_rate = float(rest.response.mean())
    return Forecasts(held_out.learner, held_out.response, base_rate, predicted(rest), new, item_fold != NONE)


def share_of_success_model(forecasts: Sequence[Forecasts]) -> float:
    """Return how far the success model is trusted: its share of the logit, from 0 to 1; the filter has the rest.

    The share with the least log-loss on held-out learners (stacking: Breiman 1996), times 1 - (error / gain)^2. Gain is
    how much lower that log-loss is than the filter's, and error its standard error over learners. So a gain that may be
    chance is shrunk, as by a positive-part James-Stein estimate, and one below its error counts as none. If items added
    after the fit are then predicted worse than by the filter, it is the share with the least log-loss on those.
    """
    learner, response, has_item = (
        np.concatenate([getattr(each, name) for each in forecasts]) for name in ("learner", "response", "has_item")
    )
    known, new = (Pair.joined([getattr(each, name) for each in forecasts]) for name in ("known", "new"))
    share = _best_share(known, response, 1.0)
    share *= certainty(learner, log_losses(response, known.by_filter) - log_losses(response, known.chance(share)))
    if has_item.any():
        new, response = new.of(has_item), response[has_item]
        if log_loss(response, new.chance(share)) > log_loss(response, new.by_filter):
            share = _best_share(new, response, share)
    # Six digits: no estimate is more precise.
    return float(f"{share:.6g}")


def _best_share(pair: Pair, response: NDArray[np.float32], most: float) -> float:
    """The share up to `most` with the least log-loss, which is convex in it."""
    found = minimize_scalar(
        lambda share: log_loss(response, pair.chance(share)), bounds=(0.0, most), options={"xatol": 1e-3}
    )
    return float(found.x) if found.fun < log_loss(response, pair.by_filter) else 0.0


def certainty(learner: NDArray[np.int32], gains: Floats) -> float:
    """1 - (error / gain)^2 of the mean over responses, which depend on each other within a learner; not below 0."""
    gain, error = mean_and_error(learner, gains)
    return max(1.0 - (error / gain) ** 2, 0.0) if gain > 0.0 else 0.0
