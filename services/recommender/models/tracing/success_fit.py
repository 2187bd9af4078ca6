"""Fits the success model: features of every response in one pass, weights by a blockwise Newton method.

The features of a learner's responses come from difficulties and pairs of items fitted on other learners. Otherwise the
model would trust both too much on unseen learners. They are also fitted without a tenth of the items, another
tenth for each fold of learners. Otherwise the model would never have seen an item like those that are added later.
Weights are shrunk towards 0. Held-out learners decide whether products of features, times and recent items get
weights, and how strongly the weights per skill are shrunk.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from threadpoolctl import threadpool_limits

from services.recommender.application.training.train import Advance
from services.recommender.domain.learner.parameters import FilterSettings
from services.recommender.domain.learner.success_features import (
    CLOCK_FEATURES,
    RECENT_FEATURES,
    SHARED_FEATURES,
    LearnerFeature,
)
from services.recommender.domain.learner.success_model import SuccessModel
from services.recommender.domain.training.metrics import log_loss
from services.recommender.domain.training.responses import ResponseTable
from services.recommender.models.tracing.difficulty_fit import at_most, cv_folds, fit_difficulties, item_folds
from services.recommender.models.tracing.pair_fit import fit_item_pairs
from services.recommender.models.tracing.success_table import features_from_others

# Ridge penalties on standardised features and their products.
_SHARED_PENALTY = 3.0
# Whether times get weights, and whether products do.
_FORMS = ((False, False), (False, True), (True, False), (True, True))
_SKILL_PENALTIES = (8.0, 32.0, 128.0)
# A skill needs this many responses to get its own weights.
_RESPONSES_PER_SKILL = 50
# Stop when a round lowers the mean loss by less than this.
_ROUNDS = 40
_ROUNDS_WITH_CURVATURE = 2
_CONVERGED = 2e-6
# Limits on the responses of a fit and of a choice, of whole learners, to bound the time.
_RESPONSES_FITTED = 1_000_000
_RESPONSES_TO_CHOOSE_BY = 100_000
# With fewer responses, a fifth of the learners is too little to choose by, and each fifth is held out in turn.
_ENOUGH_FOR_ONE_FOLD = 20_000
_ROWS_AT_ONCE = 20_000
# Far above the rounding error of summing this many products in float32.
_ROUNDING = 1e-4

# Number of steps that `fit_success` reports.
SUCCESS_STEPS = len(_SKILL_PENALTIES) + len(_FORMS) + 2


class SuccessChoice(NamedTuple):
    """The form and the penalty of a success model, chosen on held-out learners.

    Attributes:
        clocks: whether CLOCK_FEATURES get weights: time since practice, and which skill was practised last.
        products: whether products of features get weights.
        skill_penalty: ridge penalty of the weights per skill.
        recent_items: whether RECENT_FEATURES get weights: the last outcomes, and what they say about the item.
        log_loss: on the held-out learners; nan if there were none.
    """

    clocks: bool
    products: bool
    skill_penalty: float
    log_loss: float
    recent_items: bool = True


def fit_success(
    table: ResponseTable, settings: FilterSettings, *, seed: int, advance: Advance = lambda _done, _total: None
) -> tuple[SuccessModel, SuccessChoice]:
    """Fit the success model to a tenant's responses; return the model and the choice.

    Args:
        table: the responses.
        settings: the filter's constants; its base is not read.
        seed: decides which learners are held out.
        advance: reports how many steps are done, and the total.
    """
    table = at_most(table, _RESPONSES_FITTED)
    features = features_from_others(table, settings, cv_folds(table, seed), item_folds(table, seed))
    looked_at = at_most(table, _RESPONSES_TO_CHOOSE_BY)
    choice = _chosen(looked_at, features[: len(looked_at)], cv_folds(table, seed), advance)
    success_model = fit_weights(table, features, choice)
    if choice.recent_items:
        pairs = fit_item_pairs(table, fit_difficulties(table, settings), of_resources=True)
        success_model = replace(success_model, pairs=pairs, recent_items=True)
    advance(SUCCESS_STEPS, SUCCESS_STEPS)
    return success_model, choice


def _chosen(
    table: ResponseTable, features: NDArray[np.float64], cv_fold: NDArray[np.int64], advance: Advance
) -> SuccessChoice:
    """Choose first the form and then the penalty that predict held-out learners best."""
    choice = SuccessChoice(clocks=False, products=False, skill_penalty=_SKILL_PENALTIES[1], log_loss=math.nan)
    fold_of_row = cv_fold[table.learner]
    folds = np.unique(fold_of_row)
    if len(folds) < 2:
        return choice
    if len(table) >= _ENOUGH_FOR_ONE_FOLD:
        folds = folds[:1]

    def tried(choice: SuccessChoice) -> SuccessChoice:
        chances = np.zeros(len(table))
        for fold in folds:
            held_out = fold_of_row == fold
            success_model = fit_weights(table.rows(~held_out), features[~held_out], choice)
            chances[held_out] = predict_success(table.rows(held_out), features[held_out], success_model)
        judged = np.isin(fold_of_row, folds)
        return choice._replace(log_loss=log_loss(table.response[judged], chances[judged]))

    found = []
    for number, (clocks, products) in enumerate(_FORMS):
        if not clocks or table.at_s.any():
            found.append(tried(choice._replace(clocks=clocks, products=products)))
        advance(1 + number, SUCCESS_STEPS)
    best = min(found, key=lambda each: each.log_loss)
    for number, penalty in enumerate(_SKILL_PENALTIES):
        if penalty != best.skill_penalty:
            found.append(tried(best._replace(skill_penalty=penalty)))
        advance(len(_FORMS) + 1 + number, SUCCESS_STEPS)
    found.append(tried(min(found, key=lambda each: each.log_loss)._replace(recent_items=False)))
    advance(SUCCESS_STEPS - 1, SUCCESS_STEPS)
    return min(found, key=lambda each: each.log_loss)


def predict_success(
    table: ResponseTable, features: NDArray[np.float64], success_model: SuccessModel
) -> NDArray[np.float64]:
    """Predict the success model's chance before each response."""
    features = np.clip(features, *success_model.ranges)
    logits = np.einsum("ri,ri->r", features @ success_model.products, features)
    row_of_skill = {skill: row for row, skill in enumerate(success_model.skills)}
    slot = np.array([row_of_skill.get(skill, -1) for skill in table.skills], np.int64)
    _add_skills(table.skill_start, slot[table.skill], features, success_model.per_skill, logits)
    return np.asarray(1.0 / (1.0 + np.exp(-logits)))


def fit_weights(table: ResponseTable, features: NDArray[np.float64], choice: SuccessChoice) -> SuccessModel:
    """Return the weights with the lowest penalised log-loss.

    Newton steps alternate between the weights that skills share and those of each skill. The time grows with the
    responses and the number of skills; for all weights at once it would grow with the cube of the number of skills. The
    curvature of the shared weights is computed in the first rounds only: it hardly changes, and takes most of the time.

    Args:
        table: the responses.
        features: rows by SHARED_FEATURES.
        choice: the form and the penalty.
    """
    mean, deviation = features.mean(axis=0), features.std(axis=0)
    mean[LearnerFeature.INTERCEPT], deviation[deviation < 1e-9] = 0.0, 1.0
    deviation[LearnerFeature.INTERCEPT] = 1.0
    standard = (features - mean) / deviation
    width = len(SHARED_FEATURES)
    left, right = np.triu_indices(width) if choice.products else (np.zeros(width, np.intp), np.arange(width))
    left_out = (() if choice.clocks else CLOCK_FEATURES) + (() if choice.recent_items else RECENT_FEATURES)
    weighed = ~np.isin(SHARED_FEATURES, left_out)
    left, right = (numbers[weighed[left] & weighed[right]] for numbers in (left, right))
    of_skills = np.ascontiguousarray(standard[:, weighed])
    slot, chosen = _skills_with_weights(table)
    entries = slot[table.skill]
    by_skill = np.argsort(entries, kind="stable")[np.count_nonzero(entries < 0) :]
    first_entry = np.searchsorted(entries[by_skill], np.arange(len(chosen) + 1))
    rows_by_skill = table.skill_rows()[by_skill]
    shares = 1.0 / np.maximum(np.diff(table.skill_start), 1)

    penalty = np.full(len(left), _SHARED_PENALTY)
    penalty[0] = 1e-6
    weights, own = np.zeros(len(left)), np.zeros((len(chosen), of_skills.shape[1]))
    logits = np.zeros(len(table))
    previous = math.inf
    with threadpool_limits(1, "blas"):
        for number in range(_ROUNDS):
            if number < _ROUNDS_WITH_CURVATURE:
                curvature = _curvature(standard, left, right, penalty, logits)
            weights = _step(table.response, standard, left, right, penalty, curvature, weights, logits)
            _step_skills(
                table.response, first_entry, rows_by_skill, shares, of_skills, choice.skill_penalty, own, logits
            )  # fmt: skip
            loss = float(
                np.sum(np.logaddexp(0.0, logits) - table.response * logits)
                + 0.5 * (penalty @ weights**2 + choice.skill_penalty * (own**2).sum())
            )
            if previous - loss < _CONVERGED * len(table):
                break
            previous = loss
    shared, per_skill = np.zeros((width, width)), np.zeros((len(chosen), width))
    shared[left, right], per_skill[:, weighed] = weights, own
    shared, per_skill = _unstandardised(shared, per_skill, mean, deviation)
    ranges = np.vstack([features.min(axis=0), features.max(axis=0)])
    return SuccessModel(shared, ranges, tuple(table.skills[skill] for skill in chosen), per_skill)


def _unstandardised(
    shared: NDArray[np.float64],
    per_skill: NDArray[np.float64],
    mean: NDArray[np.float64],
    deviation: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the weights of the raw features: x standardised is T x, so W is T' V T and w_k is T' v_k."""
    transform = np.diag(1.0 / deviation)
    transform[:, LearnerFeature.INTERCEPT] -= mean / deviation
    shared = transform.T @ shared @ transform
    return np.triu(shared) + np.tril(shared, -1).T, per_skill @ transform


def _skills_with_weights(table: ResponseTable) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return each skill's index among the skills with their own weights, or -1; and those skills."""
    chosen = np.flatnonzero(np.bincount(table.skill, minlength=len(table.skills)) >= _RESPONSES_PER_SKILL)
    slot = np.full(len(table.skills), -1, np.int64)
    slot[chosen] = np.arange(len(chosen))
    return slot, chosen


def _curvature(
    standard: NDArray[np.float64],
    left: NDArray[np.intp],
    right: NDArray[np.intp],
    penalty: NDArray[np.float64],
    logits: NDArray[np.float64],
) -> tuple[NDArray[np.float64], bool]:
    """Return the factorised Hessian of the weights that skills share."""
    hessian = np.diag(penalty)
    for block in _blocks(len(logits)):
        chance = 1.0 / (1.0 + np.exp(-logits[block]))
        values = standard[block][:, left] * standard[block][:, right] * np.sqrt(chance * (1.0 - chance))[:, None]
        # float32 halves the time and is precise enough for a direction; the gradient decides where the steps end.
        values = values.astype(np.float32)
        hessian += values.T @ values
    # A larger diagonal also limits the step: in nearly equal columns, rounding may remove all of the curvature.
    hessian[np.diag_indices_from(hessian)] *= 1.0 + _ROUNDING
    factors: tuple[NDArray[np.float64], bool] = cho_factor(hessian)
    return factors


def _step(
    response: NDArray[np.float32],
    standard: NDArray[np.float64],
    left: NDArray[np.intp],
    right: NDArray[np.intp],
    penalty: NDArray[np.float64],
    curvature: tuple[NDArray[np.float64], bool],
    weights: NDArray[np.float64],
    logits: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return the shared weights after a Newton step; update `logits` in place."""
    # The gradient of the weight of x_i x_j is an entry of X' diag(error) X, so products are never materialised.
    error = 1.0 / (1.0 + np.exp(-logits)) - response
    gradient = penalty * weights + (standard.T @ (standard * error[:, None]))[left, right]
    step = cho_solve(curvature, gradient)
    moved = np.zeros((standard.shape[1], standard.shape[1]))
    moved[left, right] = step
    logits -= np.einsum("ri,ri->r", standard @ moved, standard)
    return np.asarray(weights - step)


def _blocks(rows: int) -> list[slice]:
    return [slice(first, first + _ROWS_AT_ONCE) for first in range(0, rows, _ROWS_AT_ONCE)]


@numba.njit(cache=True)
def _add_skills(
    skill_start: NDArray[np.int64],
    slots: NDArray[np.int64],
    features: NDArray[np.float64],
    per_skill: NDArray[np.float64],
    logits: NDArray[np.float64],
) -> None:
    """Add the weights per skill to the rows' logits; `slots` are the slots of the rows' skills, -1 if none."""
    for row in range(len(logits)):
        share = 1.0 / max(skill_start[row + 1] - skill_start[row], 1)
        for entry in range(skill_start[row], skill_start[row + 1]):
            if slots[entry] >= 0:
                for column in range(features.shape[1]):
                    logits[row] += share * per_skill[slots[entry], column] * features[row, column]


@numba.njit(cache=True)
def _step_skills(
    response: NDArray[np.float32],
    first_entry: NDArray[np.int64],
    rows_by_skill: NDArray[np.int64],
    shares: NDArray[np.float64],
    features: NDArray[np.float64],
    penalty: float,
    per_skill: NDArray[np.float64],
    logits: NDArray[np.float64],
) -> None:
    """Take a Newton step for each skill's weights in turn; update `per_skill` and `logits` in place."""
    width = features.shape[1]
    for skill in range(len(per_skill)):
        gradient, hessian = penalty * per_skill[skill], penalty * np.eye(width)
        entries = range(first_entry[skill], first_entry[skill + 1])
        for entry in entries:
            row = rows_by_skill[entry]
            chance = 1.0 / (1.0 + math.exp(-logits[row]))
            error = shares[row] * (chance - response[row])
            information = shares[row] * shares[row] * chance * (1.0 - chance)
            for i in range(width):
                gradient[i] += error * features[row, i]
                scaled = information * features[row, i]
                for j in range(i + 1):
                    hessian[i, j] += scaled * features[row, j]
        for i in range(width):
            for j in range(i):
                hessian[j, i] = hessian[i, j]
        step = np.linalg.solve(hessian, gradient)
        for entry in entries:
            row = rows_by_skill[entry]
            moved = 0.0
            for i in range(width):
                moved += step[i] * features[row, i]
            logits[row] -= shares[row] * moved
        per_skill[skill] -= step
