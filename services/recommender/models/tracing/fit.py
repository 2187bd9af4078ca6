"""Fits the learner model to a tenant's responses: the filter, and the success model if it helps."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.recommender.application.training.train import Advance, FittedTracing
from services.recommender.domain.learner.parameters import FilterSettings
from services.recommender.domain.learner.success_model import SuccessModel
from services.recommender.domain.training.metrics import auc, log_loss
from services.recommender.domain.training.responses import NONE, ResponseTable
from services.recommender.domain.training.twins import redundant
from services.recommender.models.tracing.difficulty_fit import (
    EVALUATIONS,
    PASSES,
    Difficulties,
    cv_folds,
    fit_difficulties,
    item_folds,
    parameters_of,
    predict,
    search_settings,
)
from services.recommender.models.tracing.success_fit import (
    SUCCESS_STEPS,
    SuccessChoice,
    fit_success,
    predict_success,
    success_features,
)

# Below these sizes, the defaults and the filter alone are better than a search on too little data.
_LEARNERS_TO_SEARCH = 50
_RESPONSES_TO_SEARCH = 2_000
_LEARNERS_TO_HOLD_OUT = 10


def fit_tracing(table: ResponseTable, *, seed: int, advance: Advance = lambda _done, _total: None) -> FittedTracing:
    """Fit the learner model to a tenant's responses.

    A fifth of the learners is held out of a first fit, to evaluate it and to decide whether the success model is better
    than the filter alone: on all items, and on each tenth of them as if they were new. The difficulties of the final
    fit are those of all learners. Everything that is chosen or fitted with learners held out uses only one of
    near-identical learners.

    Args:
        table: the responses.
        seed: decides which learners are held out.
        advance: reports how many steps are done, and the total.
    """
    cv_fold = cv_folds(table, seed)
    twins = redundant(table)
    distinct = table.of_learners(~twins)
    held_out, rest = distinct.of_learners(cv_fold == 0), distinct.of_learners(cv_fold != 0)
    settings = FilterSettings()
    hyperparameters: dict[str, float] = {
        "tracing_passes": PASSES,
        "tracing_settings_searched": 0,
        "tracing_seed": seed,
        "tracing_twins": int(twins.sum()),
    }
    evaluated = len(table.learners) >= _LEARNERS_TO_HOLD_OUT and len(held_out) and len(rest)
    if len(table.learners) < _LEARNERS_TO_SEARCH or len(table) < _RESPONSES_TO_SEARCH or not evaluated:
        metrics = _metrics(held_out, predict(held_out, fit_difficulties(rest, settings)), rest) if evaluated else {}
        advance(1, 1)
        return FittedTracing(
            parameters_of(table, fit_difficulties(table, settings)), metrics=metrics, hyperparameters=hyperparameters
        )
    steps = EVALUATIONS + 2 * SUCCESS_STEPS

    def further(before: int) -> Advance:
        return lambda done, _total: advance(before + done, steps)

    settings = search_settings(
        rest.of_learners(cv_fold != 1), distinct.of_learners(cv_fold == 1), advance=further(0)
    )  # fmt: skip
    hyperparameters["tracing_settings_searched"] = 1
    by_filter = predict(held_out, difficulties := fit_difficulties(rest, settings))
    metrics = _metrics(held_out, by_filter, rest)
    success_model, _ = fit_success(rest, settings, seed=seed, advance=further(EVALUATIONS))
    by_success = _chances(held_out, difficulties, success_model)
    on_new_items = _losses_on_new_items(held_out, rest, settings, success_model, seed=seed)
    helps = log_loss(held_out.response, by_success) < metrics["tracing_log_loss"] and (
        on_new_items is None or on_new_items.of_success < on_new_items.of_filter
    )
    if helps:
        metrics = _metrics(held_out, by_success, rest) | {"filter_log_loss": metrics["tracing_log_loss"]}
        if on_new_items is not None:
            metrics |= {
                "new_item_log_loss": on_new_items.of_success,
                "new_item_filter_log_loss": on_new_items.of_filter,
            }
        success_model, choice = fit_success(
            distinct, settings, seed=seed, advance=further(EVALUATIONS + SUCCESS_STEPS)
        )  # fmt: skip
        hyperparameters |= _described(choice) | {"success_skills": len(success_model.skills)}
    advance(steps, steps)
    return FittedTracing(
        parameters_of(table, fit_difficulties(table, settings)),
        metrics=metrics,
        hyperparameters=hyperparameters,
        success=success_model if helps else None,
    )


class _Losses(NamedTuple):
    """Log-loss of the success model and of the filter on the same responses."""

    of_success: float
    of_filter: float


def _losses_on_new_items(
    held_out: ResponseTable, rest: ResponseTable, settings: FilterSettings, success_model: SuccessModel, *, seed: int
) -> _Losses | None:
    """Return the losses on responses to items whose difficulties were not fitted; None: there are too few items.

    Each tenth of the items is left out in turn. One tenth alone may be harder than the others by chance.
    """
    item_fold, item_fold_of_rest = item_folds(held_out, seed), item_folds(rest, seed)
    by_success, by_filter = np.zeros(len(held_out)), np.zeros(len(held_out))
    for tenth in np.unique(item_fold[item_fold != NONE]).tolist():
        new = item_fold == tenth
        difficulties = fit_difficulties(rest.rows(item_fold_of_rest != tenth), settings)
        by_success[new] = _chances(held_out, difficulties, success_model)[new]
        by_filter[new] = predict(held_out, difficulties)[new]
    rows = item_fold != NONE
    if not rows.any():
        return None
    return _Losses(*(log_loss(held_out.response[rows], chances[rows]) for chances in (by_success, by_filter)))


def _described(choice: SuccessChoice) -> dict[str, float]:
    return {
        "success_clocks": int(choice.clocks),
        "success_products": int(choice.products),
        "success_skill_penalty": choice.skill_penalty,
    }


def _chances(table: ResponseTable, difficulties: Difficulties, success_model: SuccessModel) -> NDArray[np.float64]:
    return predict_success(table, success_features(table, difficulties), success_model)


def _metrics(held_out: ResponseTable, chance: NDArray[np.float64], rest: ResponseTable) -> dict[str, float]:
    base_rate = np.full(len(held_out), float(rest.response.mean()))
    metrics = {
        "tracing_log_loss": log_loss(held_out.response, chance),
        "base_rate_log_loss": log_loss(held_out.response, base_rate),
    }
    area = auc(held_out.response, chance)
    return metrics if area is None else metrics | {"tracing_auc": area}
