"""Fitting the success head: features of every response in one pass, weights by Newton's method.

The features of a learner's responses come from difficulties fitted on other learners, else the head would trust the
filter's logit more than it may be on learners it has not seen. Weights are shrunk towards 0: those per skill by a
strength that is chosen on learners held out.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from services.recommender.domain.kernel import RECENCY_DECAY
from services.recommender.domain.metrics import log_loss
from services.recommender.domain.responses import ResponseTable
from services.recommender.domain.success import SHARED_FEATURES, SKILL_FEATURES, SuccessHead
from services.recommender.domain.tracing import FilterSettings
from services.recommender.models.difficulty_fit import Difficulties, fit_difficulties, learner_folds

# Ridge penalties on standardised features.
_SHARED_PENALTY = 1.0
_SKILL_PENALTIES = (2.0, 8.0, 32.0, 128.0)
# A skill needs this many responses for weights of its own, and at most so many skills get some: time is cubic in them.
_RESPONSES_PER_SKILL = 50
_SKILLS_MOST = 400
_NEWTON_STEPS = 12
# Steps end when one lowers the mean loss by less.
_CONVERGED = 1e-6


class ResponseFeatures(NamedTuple):
    """Features of the rows of a table.

    Attributes:
        shared: float64, rows by SHARED_FEATURES.
        counts: float64, by entry of `table.skill`: log(1 + successes) and log(1 + failures) on that skill.
    """

    shared: NDArray[np.float64]
    counts: NDArray[np.float64]


def fit_success(table: ResponseTable, settings: FilterSettings, *, seed: int) -> tuple[SuccessHead, float]:
    """Fit the head to a tenant's responses, and say which strength of shrinking was chosen.

    Args:
        table: the responses.
        settings: the filter's constants; its base is not looked at.
        seed: decides which learners are held out.
    """
    fold = learner_folds(table, seed)
    features = _features_from_others(table, settings, fold)
    held_out = (fold == 0)[table.learner]
    penalty = _SKILL_PENALTIES[1]
    if held_out.any() and not held_out.all():
        losses = []
        for candidate in _SKILL_PENALTIES:
            head = fit_weights(table.rows(~held_out), _rows_of(table, features, ~held_out), candidate)
            chance = foresee_success(table.rows(held_out), _rows_of(table, features, held_out), head)
            losses.append(log_loss(table.response[held_out], chance))
        penalty = _SKILL_PENALTIES[int(np.argmin(losses))]
    return fit_weights(table, features, penalty), penalty


def success_features(table: ResponseTable, difficulties: Difficulties) -> ResponseFeatures:
    """What the head reads before each response of a table, difficulties staying as they are."""
    settings = difficulties.settings
    shared = np.zeros((len(table), len(SHARED_FEATURES)))
    counts = np.zeros((len(table.skill), 2))
    _run_features(
        table.learner,
        table.item,
        table.response,
        table.skill_start,
        table.skill,
        np.array([
            settings.base,
            settings.learner_variance,
            settings.skill_variance,
            settings.learner_noise,
            settings.skill_noise,
            settings.item_difficulty_variance,
            settings.variance_floor,
        ]),
        difficulties.item_mean,
        difficulties.item_variance,
        difficulties.skill_mean,
        difficulties.skill_variance,
        shared,
        counts,
    )  # fmt: skip
    return ResponseFeatures(shared, counts)


def foresee_success(table: ResponseTable, features: ResponseFeatures, head: SuccessHead) -> NDArray[np.float64]:
    """The chance of success that a head gives before each response."""
    weights = _aligned(table, head)
    return 1.0 / (1.0 + np.exp(-_logits(table.skill_start, table.skill, *features, head.shared, weights)))


def fit_weights(table: ResponseTable, features: ResponseFeatures, skill_penalty: float) -> SuccessHead:
    """The weights with the least penalised log-loss (Newton's method)."""
    shared, counts = features
    mean, deviation = shared.mean(axis=0), shared.std(axis=0)
    mean[0], deviation[deviation < 1e-9] = 0.0, 1.0
    deviation[0] = 1.0
    standard = (shared - mean) / deviation
    count_deviation = np.maximum(counts.std(axis=0), 1e-9) if len(counts) else np.ones(2)
    responses_of_skill = np.bincount(table.skill, minlength=len(table.skills))
    chosen = np.argsort(-responses_of_skill, kind="stable")[:_SKILLS_MOST]
    chosen = np.sort(chosen[responses_of_skill[chosen] >= _RESPONSES_PER_SKILL])
    slot = np.full(len(table.skills), -1, np.int64)
    slot[chosen] = np.arange(len(chosen))
    width = len(SHARED_FEATURES) + len(chosen) * len(SKILL_FEATURES)
    penalty = np.full(width, skill_penalty)
    penalty[: len(SHARED_FEATURES)] = _SHARED_PENALTY
    penalty[0] = 1e-6
    weights = np.zeros(width)
    previous = math.inf
    for _ in range(_NEWTON_STEPS):
        gradient, hessian = np.zeros(width), np.zeros((width, width))
        loss = _accumulate(
            table.response,
            table.skill_start,
            slot[table.skill],
            standard,
            counts / count_deviation,
            weights,
            gradient,
            hessian,
        ) + 0.5 * float(penalty @ weights**2)
        if previous - loss < _CONVERGED * len(table):
            break
        previous = loss
        hessian += np.tril(hessian, -1).T + np.diag(penalty)
        weights = weights - np.linalg.solve(hessian, gradient + penalty * weights)
    # Weights of features as they are, not as standardised.
    plain = weights[: len(SHARED_FEATURES)] / deviation
    plain[0] -= float(plain @ mean)
    own = weights[len(SHARED_FEATURES) :].reshape(-1, len(SKILL_FEATURES)).copy()
    own[:, 1:3] /= count_deviation
    own[:, 3] /= deviation[1]
    own[:, 0] -= own[:, 3] * mean[1]
    return SuccessHead(plain, tuple(table.skills[skill] for skill in chosen), own)


def _features_from_others(table: ResponseTable, settings: FilterSettings, fold: NDArray[np.int64]) -> ResponseFeatures:
    shared = np.zeros((len(table), len(SHARED_FEATURES)))
    counts = np.zeros((len(table.skill), 2))
    for number in range(int(fold.max(initial=0)) + 1):
        rows = (fold == number)[table.learner]
        if not rows.any():
            continue
        part = success_features(table.rows(rows), fit_difficulties(table.rows(~rows), settings))
        shared[rows] = part.shared
        counts[np.repeat(rows, np.diff(table.skill_start))] = part.counts
    return ResponseFeatures(shared, counts)


def _rows_of(table: ResponseTable, features: ResponseFeatures, rows: NDArray[np.bool_]) -> ResponseFeatures:
    return ResponseFeatures(features.shared[rows], features.counts[np.repeat(rows, np.diff(table.skill_start))])


def _aligned(table: ResponseTable, head: SuccessHead) -> NDArray[np.float64]:
    row_of_skill = {skill: row for row, skill in enumerate(head.skills)}
    weights = np.zeros((len(table.skills), len(SKILL_FEATURES)))
    for number, skill in enumerate(table.skills):
        if skill in row_of_skill:
            weights[number] = head.per_skill[row_of_skill[skill]]
    return weights


@numba.njit(cache=True)
def _logits(
    skill_start: NDArray[np.int64],
    skill: NDArray[np.int32],
    shared: NDArray[np.float64],
    counts: NDArray[np.float64],
    shared_weights: NDArray[np.float64],
    skill_weights: NDArray[np.float64],
) -> NDArray[np.float64]:
    logits = np.empty(len(shared))
    for row in range(len(shared)):
        logit = 0.0
        for column in range(shared.shape[1]):
            logit += shared[row, column] * shared_weights[column]
        share = 1.0 / max(skill_start[row + 1] - skill_start[row], 1)
        for entry in range(skill_start[row], skill_start[row + 1]):
            own = skill_weights[skill[entry]]
            logit += share * (own[0] + own[1] * counts[entry, 0] + own[2] * counts[entry, 1] + own[3] * shared[row, 1])
        logits[row] = logit
    return logits


@numba.njit(cache=True)
def _accumulate(
    response: NDArray[np.float32],
    skill_start: NDArray[np.int64],
    slot: NDArray[np.int64],
    shared: NDArray[np.float64],
    counts: NDArray[np.float64],
    weights: NDArray[np.float64],
    gradient: NDArray[np.float64],
    hessian: NDArray[np.float64],
) -> float:
    """Add up gradient and lower Hessian of the log-loss at `weights`, and return the loss."""
    width = shared.shape[1]
    columns, values = np.empty(width + 4 * 256, np.int64), np.empty(width + 4 * 256)
    loss = 0.0
    for row in range(len(response)):
        for column in range(width):
            columns[column], values[column] = column, shared[row, column]
        used = width
        share = 1.0 / max(skill_start[row + 1] - skill_start[row], 1)
        for entry in range(skill_start[row], skill_start[row + 1]):
            if slot[entry] < 0:
                continue
            first = width + 4 * slot[entry]
            for column in range(4):
                columns[used + column] = first + column
            values[used] = share
            values[used + 1], values[used + 2] = share * counts[entry, 0], share * counts[entry, 1]
            values[used + 3] = share * shared[row, 1]
            used += 4
        logit = 0.0
        for column in range(used):
            logit += weights[columns[column]] * values[column]
        chance = 1.0 / (1.0 + math.exp(-logit))
        loss += math.log1p(math.exp(-abs(logit))) + max(logit, 0.0) - response[row] * logit
        error, information = chance - response[row], chance * (1.0 - chance)
        for i in range(used):
            gradient[columns[i]] += error * values[i]
            scaled = information * values[i]
            for j in range(used):
                if columns[j] <= columns[i]:
                    hessian[columns[i], columns[j]] += scaled * values[j]
    return loss


@numba.njit(cache=True)
def _run_features(  # noqa: PLR0915 - one loop, so that one pass over the rows is all there is.
    learner: NDArray[np.int32],
    item: NDArray[np.int32],
    response: NDArray[np.float32],
    skill_start: NDArray[np.int64],
    skill: NDArray[np.int32],
    settings: NDArray[np.float64],
    item_mean: NDArray[np.float64],
    item_variance: NDArray[np.float64],
    skill_mean: NDArray[np.float64],
    skill_variance: NDArray[np.float64],
    shared: NDArray[np.float64],
    counts: NDArray[np.float64],
) -> None:
    """Run the filter and the counts of a state over a table, and write the features of `domain.success`."""
    base, prior_variance, prior_skill_variance, learner_noise, skill_noise, prior_item_variance, floor = settings
    skills = len(skill_mean)
    owner = np.full(skills, -1, np.int64)
    # Per skill: ability, variance, attempts, successes, recent successes, recent failures, last response.
    of_skill = np.zeros((skills, 7))
    ability, variance, attempts, successes, current = 0.0, prior_variance, 0.0, 0.0, -1
    for row in range(len(response)):
        if learner[row] != current:
            current = learner[row]
            ability, variance, attempts, successes = 0.0, prior_variance, 0.0, 0.0
        start, end = skill_start[row], skill_start[row + 1]
        share = 1.0 / max(end - start, 1)
        this = item[row]
        delta = item_mean[this] if this >= 0 else 0.0
        of_item = item_variance[this] if this >= 0 else prior_item_variance
        out = shared[row]
        out[0], out[2], out[3], out[4] = 1.0, ability, delta, math.sqrt(of_item)
        out[5], out[6] = math.log1p(attempts), (successes + 2.0) / (attempts + 4.0) - 0.5
        variance = min(variance + learner_noise, prior_variance)
        logit, logit_variance = base + ability - delta, variance + of_item
        for entry in range(start, end):
            k = skill[entry]
            state = of_skill[k]
            if owner[k] != current:
                owner[k] = current
                state[:] = 0.0
                state[1], state[6] = prior_skill_variance, 0.5
            state[1] = min(state[1] + skill_noise, prior_skill_variance)
            logit += share * (state[0] - skill_mean[k])
            logit_variance += share * share * (state[1] + skill_variance[k])
            counts[entry, 0], counts[entry, 1] = math.log1p(state[3]), math.log1p(max(state[2] - state[3], 0.0))
            out[7] += share * math.log1p(state[2])
            out[8] += share * ((state[3] + 1.0) / (state[2] + 2.0) - 0.5)
            out[9] += share * counts[entry, 0]
            out[10] += share * counts[entry, 1]
            out[11] += share * (state[4] - state[5]) / (1.0 + state[4] + state[5])
            out[12] += share * (state[6] - 0.5)
            out[13] += share * (1.0 if state[2] == 0.0 else 0.0)
        out[1] = logit / math.sqrt(1.0 + math.pi / 8.0 * logit_variance)

        y = response[row]
        expected = 1.0 / (1.0 + math.exp(-logit))
        information = expected * (1.0 - expected)
        damping = 1.0 + information * logit_variance
        gain, shrink = (y - expected) / damping, information / damping
        ability += variance * gain
        variance = max(variance - variance * variance * shrink, floor)
        for entry in range(start, end):
            state = of_skill[skill[entry]]
            v = state[1]
            state[0] += share * v * gain
            state[1] = max(v - share * share * v * v * shrink, floor)
            state[2] += 1.0
            state[3] += y
            state[4] = state[4] * RECENCY_DECAY + y
            state[5] = state[5] * RECENCY_DECAY + (1.0 - y)
            state[6] = y
            attempts += 1.0
            successes += y
