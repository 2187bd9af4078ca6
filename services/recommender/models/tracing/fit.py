"""Fits the learner model to a tenant's responses: the filter, and the success model as far as it helps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from services.recommender.application.training.train import Advance, FittedTracing
from services.recommender.domain.learner.parameters import FilterSettings
from services.recommender.domain.training.metrics import auc, log_loss
from services.recommender.domain.training.responses import ResponseTable
from services.recommender.domain.training.twins import redundant
from services.recommender.models.tracing.difficulty_fit import (
    PASSES,
    UNFITTED,
    cv_folds,
    fit_difficulties,
    parameters_of,
)
from services.recommender.models.tracing.forecasts import Forecasts, forecast, share_of_success_model
from services.recommender.models.tracing.interval_fit import fit_inflation
from services.recommender.models.tracing.recall_fit import fit_recall
from services.recommender.models.tracing.settings_search import EVALUATIONS, search_settings
from services.recommender.models.tracing.success_fit import SUCCESS_STEPS, SuccessChoice, fit_success

# With fewer responses, a search has too little data.
_RESPONSES_TO_SEARCH = 2_000
_LEARNERS_TO_HOLD_OUT = 10
# With fewer learners, each fold is held out in turn: one alone has too few to judge by.
_LEARNERS_TO_JUDGE_BY = 50


def fit_filter(table: ResponseTable, *, seed: int, advance: Advance = lambda _done, _total: None) -> FilterSettings:
    """Return the filter's constants.

    The first fold of learners takes no part in their search, unless learners are few. With few responses, only the
    variances that are served are calibrated.

    Args:
        table: the responses, of one of near-identical learners only.
        seed: decides which learners are held out.
        advance: reports how many evaluations are done, and the total.
    """
    cv_fold = cv_folds(table, seed)
    folds = np.unique(cv_fold[table.learner]).tolist()
    settings = UNFITTED
    if _is_searched(table):
        searched_on = table if _has_few_learners(table) else table.of_learners(cv_fold != folds[0])
        settings = search_settings(searched_on, seed=seed, advance=advance)
    return fit_inflation(table, settings, cv_fold, folds, seed) if len(folds) > 1 else settings


def _is_searched(table: ResponseTable) -> bool:
    return len(table) >= _RESPONSES_TO_SEARCH


def _has_few_learners(table: ResponseTable) -> bool:
    return len(np.unique(table.learner)) < _LEARNERS_TO_JUDGE_BY


def fit_tracing(table: ResponseTable, *, seed: int, advance: Advance = lambda _done, _total: None) -> FittedTracing:
    """Fit the learner model to a tenant's responses.

    A fifth of the learners is held out of a first fit, to evaluate it and to decide how far the success model is
    trusted: on all items, and on each tenth of them as if they were new. With few learners, each fifth is held out in
    turn. The difficulties of the final fit are those of all learners. Everything that is chosen or fitted with learners
    held out uses only one of near-identical learners.

    Args:
        table: the responses.
        seed: decides which learners are held out.
        advance: reports how many steps are done, and the total.
    """
    cv_fold = cv_folds(table, seed)
    twins = redundant(table)
    distinct = table.of_learners(~twins)
    # A table may name learners without responses.
    learners = len(np.unique(table.learner))
    hyperparameters: dict[str, float] = {
        "tracing_passes": PASSES,
        "tracing_settings_searched": int(_is_searched(distinct)),
        "tracing_seed": seed,
        "tracing_twins": int(twins.sum()),
    }
    in_use = np.unique(cv_fold[distinct.learner]).tolist()
    if learners < _LEARNERS_TO_HOLD_OUT or len(in_use) < 2:
        advance(1, 1)
        parameters = parameters_of(table, fit_difficulties(table, UNFITTED))
        return FittedTracing(parameters, metrics={}, hyperparameters=hyperparameters)
    folds = in_use if _has_few_learners(distinct) else in_use[:1]
    steps = EVALUATIONS * _is_searched(distinct) + SUCCESS_STEPS * (len(folds) + 1)

    def further(before: int) -> Advance:
        return lambda done, _total: advance(before + done, steps)

    settings = fit_filter(distinct, seed=seed, advance=further(0))
    forecasts = []
    for number, fold in enumerate(folds):
        held_out, rest = distinct.of_learners(cv_fold == fold), distinct.of_learners(cv_fold != fold)
        before = steps - SUCCESS_STEPS * (len(folds) + 1 - number)
        forecasts.append(forecast(held_out, rest, settings, seed=seed, advance=further(before)))
    share, success_model = share_of_success_model(forecasts), None
    metrics = _metrics(forecasts, share)
    if share > 0.0:
        metrics |= _compared(_metrics(forecasts, 0.0))
        success_model, choice = fit_success(distinct, settings, seed=seed, advance=further(steps - SUCCESS_STEPS))
        success_model = success_model.shrunk(share)
        hyperparameters |= _described(choice) | {"success_skills": len(success_model.skills), "success_share": share}
    recall = fit_recall(distinct, settings, seed=seed)
    advance(steps, steps)
    parameters = parameters_of(table, fit_difficulties(table, settings))
    parameters = replace(parameters, recent_items=success_model is not None and success_model.recent_items)
    return FittedTracing(parameters, metrics | recall.metrics, hyperparameters, success_model, recall.model)


def _described(choice: SuccessChoice) -> dict[str, float]:
    return {
        "success_clocks": int(choice.clocks),
        "success_products": int(choice.products),
        "success_skill_penalty": choice.skill_penalty,
        "success_recent_items": int(choice.recent_items),
    }


def _compared(by_filter: dict[str, float]) -> dict[str, float]:
    """Return the log-losses of the filter alone, under names of their own."""
    names = {"tracing_log_loss": "filter_log_loss", "new_item_log_loss": "new_item_filter_log_loss"}
    return {names[name]: value for name, value in by_filter.items() if name in names}


def _metrics(forecasts: Sequence[Forecasts], share: float) -> dict[str, float]:
    """Return how well held-out learners are predicted with that share of the success model."""
    outcome = np.concatenate([each.response for each in forecasts])
    chance = np.concatenate([each.known.chance(share) for each in forecasts])
    base_rate = np.concatenate([np.full(len(each.response), each.base_rate) for each in forecasts])
    metrics = {"tracing_log_loss": log_loss(outcome, chance), "base_rate_log_loss": log_loss(outcome, base_rate)}
    if (has_item := np.concatenate([each.has_item for each in forecasts])).any():
        new = np.concatenate([each.new.chance(share) for each in forecasts])
        metrics["new_item_log_loss"] = log_loss(outcome[has_item], new[has_item])
    area = auc(outcome, chance)
    return metrics if area is None else metrics | {"tracing_auc": area}
