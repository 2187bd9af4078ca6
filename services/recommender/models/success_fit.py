"""Fitting the success head: features of every response in one pass, weights by Newton's method.

The features of a learner's responses come from difficulties fitted on other learners, else the head would trust the
filter's logit more than it may be on learners it has not seen. Weights are shrunk towards 0. Whether products of
features are weighed, and how strongly weights per skill are shrunk, is what foresees learners held out best.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from services.recommender.application.train import Advance
from services.recommender.domain.kernel import RECENCY_DECAY
from services.recommender.domain.metrics import log_loss
from services.recommender.domain.responses import ResponseTable
from services.recommender.domain.success import SHARED_FEATURES, SKILL_FEATURES, SuccessHead
from services.recommender.domain.tracing import FilterSettings
from services.recommender.models.difficulty_fit import Difficulties, at_most, fit_difficulties, learner_folds

# Ridge penalties on standardised features and their products.
_SHARED_PENALTY = 3.0
_SKILL_PENALTIES = (2.0, 8.0, 32.0, 128.0)
# A skill needs this many responses for weights of its own, and at most so many skills get some: time is cubic in them.
_RESPONSES_PER_SKILL = 50
_SKILLS_MOST = 400
_NEWTON_STEPS = 12
# Steps end when one lowers the mean loss by less.
_CONVERGED = 1e-6
# A fit looks at most at so many responses, of learners taken whole, so that its time is bounded.
_RESPONSES_FITTED = 1_000_000
_ROWS_AT_ONCE = 20_000

# How many steps `fit_success` says it is through.
HEAD_STEPS = len(_SKILL_PENALTIES) + 3


class HeadChoice(NamedTuple):
    """What is chosen about a head on learners held out.

    Attributes:
        products: whether products of features are weighed.
        skill_penalty: ridge penalty of the weights per skill.
        log_loss: on the learners held out; nan when there were none.
    """

    products: bool
    skill_penalty: float
    log_loss: float


class ResponseFeatures(NamedTuple):
    """Features of the rows of a table.

    Attributes:
        shared: float64, rows by SHARED_FEATURES.
        counts: float64, by entry of `table.skill`: log(1 + successes) and log(1 + failures) on that skill.
    """

    shared: NDArray[np.float64]
    counts: NDArray[np.float64]


def fit_success(
    table: ResponseTable, settings: FilterSettings, *, seed: int, advance: Advance = lambda _done, _total: None
) -> tuple[SuccessHead, HeadChoice]:
    """Fit the head to a tenant's responses, and say what was chosen.

    Args:
        table: the responses.
        settings: the filter's constants; its base is not looked at.
        seed: decides which learners are held out.
        advance: told how many of how many steps are done.
    """
    table = at_most(table, _RESPONSES_FITTED)
    fold = learner_folds(table, seed)
    features = _features_from_others(table, settings, fold)
    # The first fold that has learners: of a table that another fold was taken from, the next one.
    held_out = (fold == fold[table.learner].min(initial=4))[table.learner]
    choice = HeadChoice(products=False, skill_penalty=_SKILL_PENALTIES[1], log_loss=math.nan)
    if held_out.any() and not held_out.all():
        rest, judged = table.rows(~held_out), table.rows(held_out)
        of_rest, of_judged = _rows_of(table, features, ~held_out), _rows_of(table, features, held_out)

        def tried(choice: HeadChoice) -> HeadChoice:
            head = fit_weights(rest, of_rest, choice.skill_penalty, products=choice.products)
            return choice._replace(log_loss=log_loss(judged.response, foresee_success(judged, of_judged, head)))

        found = [tried(choice._replace(products=products)) for products in (False, True)]
        advance(2, HEAD_STEPS)
        best = min(found, key=lambda each: each.log_loss)
        for number, penalty in enumerate(_SKILL_PENALTIES):
            if penalty != best.skill_penalty:
                found.append(tried(best._replace(skill_penalty=penalty)))
            advance(3 + number, HEAD_STEPS)
        choice = min(found, key=lambda each: each.log_loss)
    head = fit_weights(table, features, choice.skill_penalty, products=choice.products)
    advance(HEAD_STEPS, HEAD_STEPS)
    return head, choice


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
    shared = np.clip(features.shared, *head.ranges)
    logits = np.einsum("ri,ri->r", shared @ head.products, shared)
    _add_skills(
        table.skill_start, table.skill, features.counts, features.shared[:, 1], _aligned(table, head), logits
    )  # fmt: skip
    return np.asarray(1.0 / (1.0 + np.exp(-logits)))


def fit_weights(
    table: ResponseTable, features: ResponseFeatures, skill_penalty: float, *, products: bool = False
) -> SuccessHead:
    """The weights with the least penalised log-loss (Newton's method).

    Args:
        table: the responses.
        features: theirs.
        skill_penalty: ridge penalty of the weights per skill.
        products: whether products of features are weighed too.
    """
    shared, counts = features
    mean, deviation = shared.mean(axis=0), shared.std(axis=0)
    mean[0], deviation[deviation < 1e-9] = 0.0, 1.0
    deviation[0] = 1.0
    standard = (shared - mean) / deviation
    count_deviation = np.maximum(counts.std(axis=0), 1e-9) if len(counts) else np.ones(2)
    slot, chosen = _skills_with_weights(table)
    width = len(SHARED_FEATURES)
    left, right = np.triu_indices(width) if products else (np.zeros(width, np.intp), np.arange(width))
    pairs = len(left)
    penalty = np.full(pairs + len(chosen) * len(SKILL_FEATURES), skill_penalty)
    penalty[:pairs] = _SHARED_PENALTY
    penalty[0] = 1e-6
    weights = np.zeros(len(penalty))
    previous = math.inf
    with threadpool_limits(1, "blas"):
        for _ in range(_NEWTON_STEPS):
            gradient, hessian = np.zeros(len(weights)), np.zeros((len(weights), len(weights)))
            loss = 0.5 * float(penalty @ weights**2)
            for first in range(0, len(table), _ROWS_AT_ONCE):
                block = slice(first, first + _ROWS_AT_ONCE)
                rows = standard[block]
                loss += _accumulate(
                    table.response[block],
                    table.skill_start[first : first + _ROWS_AT_ONCE + 1],
                    slot,
                    table.skill,
                    rows[:, left] * rows[:, right],
                    counts / count_deviation,
                    rows[:, 1].copy(),
                    weights,
                    gradient,
                    hessian,
                )
            if previous - loss < _CONVERGED * len(table):
                break
            previous = loss
            hessian[:pairs, pairs:] = hessian[pairs:, :pairs].T
            hessian[np.diag_indices(len(weights))] += penalty
            weights = weights - np.linalg.solve(hessian, gradient + penalty * weights)
    # Weights of features as they are, not as standardised: x standardised is T x, so W is T' V T.
    standardised = np.zeros((width, width))
    standardised[left, right] = weights[:pairs]
    transform = np.diag(1.0 / deviation)
    transform[:, 0] -= mean / deviation
    plain = transform.T @ standardised @ transform
    own = weights[pairs:].reshape(-1, len(SKILL_FEATURES)).copy()
    own[:, 1:3] /= count_deviation
    own[:, 3] /= deviation[1]
    own[:, 0] -= own[:, 3] * mean[1]
    return SuccessHead(
        products=np.triu(plain) + np.tril(plain, -1).T,
        ranges=np.vstack([shared.min(axis=0), shared.max(axis=0)]),
        skills=tuple(table.skills[skill] for skill in chosen),
        per_skill=own,
    )


def _skills_with_weights(table: ResponseTable) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Per skill its place among those with weights of their own, or -1; and those skills."""
    responses = np.bincount(table.skill, minlength=len(table.skills))
    chosen = np.argsort(-responses, kind="stable")[:_SKILLS_MOST]
    chosen = np.sort(chosen[responses[chosen] >= _RESPONSES_PER_SKILL])
    slot = np.full(len(table.skills), -1, np.int64)
    slot[chosen] = np.arange(len(chosen))
    return slot, chosen


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


def _accumulate(
    response: NDArray[np.float32],
    skill_start: NDArray[np.int64],
    slot: NDArray[np.int64],
    skill: NDArray[np.int32],
    shared: NDArray[np.float64],
    counts: NDArray[np.float64],
    foreseen: NDArray[np.float64],
    weights: NDArray[np.float64],
    gradient: NDArray[np.float64],
    hessian: NDArray[np.float64],
) -> float:
    """Add gradient and Hessian of some rows' log-loss, its upper right part left out, and return the loss."""
    pairs = shared.shape[1]
    own = np.zeros((len(slot), len(SKILL_FEATURES)))
    own[slot >= 0] = weights[pairs:].reshape(-1, len(SKILL_FEATURES))
    logits = shared @ weights[:pairs]
    _add_skills(skill_start, skill, counts, foreseen, own, logits)
    chance = 1.0 / (1.0 + np.exp(-logits))
    error, information = chance - response, chance * (1.0 - chance)
    gradient[:pairs] += error @ shared
    hessian[:pairs, :pairs] += shared.T @ (shared * information[:, None])
    _accumulate_skills(
        skill_start, slot, skill, shared, counts, foreseen, error, information, gradient, hessian
    )  # fmt: skip
    return float(np.sum(np.logaddexp(0.0, logits) - response * logits))


@numba.njit(cache=True)
def _add_skills(
    skill_start: NDArray[np.int64],
    skill: NDArray[np.int32],
    counts: NDArray[np.float64],
    foreseen: NDArray[np.float64],
    skill_weights: NDArray[np.float64],
    logits: NDArray[np.float64],
) -> None:
    """Add to the rows' logits what the weights per skill say."""
    for row in range(len(logits)):
        share = 1.0 / max(skill_start[row + 1] - skill_start[row], 1)
        for entry in range(skill_start[row], skill_start[row + 1]):
            own = skill_weights[skill[entry]]
            logits[row] += share * (
                own[0] + own[1] * counts[entry, 0] + own[2] * counts[entry, 1] + own[3] * foreseen[row]
            )


@numba.njit(cache=True)
def _accumulate_skills(
    skill_start: NDArray[np.int64],
    slot: NDArray[np.int64],
    skill: NDArray[np.int32],
    shared: NDArray[np.float64],
    counts: NDArray[np.float64],
    foreseen: NDArray[np.float64],
    error: NDArray[np.float64],
    information: NDArray[np.float64],
    gradient: NDArray[np.float64],
    hessian: NDArray[np.float64],
) -> None:
    """Add what the weights per skill have to do with: their gradient, their rows of the Hessian."""
    pairs = shared.shape[1]
    values, others = np.empty(4), np.empty(4)
    for row in range(len(shared)):
        start, end = skill_start[row], skill_start[row + 1]
        share = 1.0 / max(end - start, 1)
        for entry in range(start, end):
            if slot[skill[entry]] < 0:
                continue
            first = pairs + 4 * slot[skill[entry]]
            values[0], values[3] = share, share * foreseen[row]
            values[1], values[2] = share * counts[entry, 0], share * counts[entry, 1]
            for i in range(4):
                gradient[first + i] += error[row] * values[i]
                scaled = information[row] * values[i]
                for column in range(pairs):
                    hessian[first + i, column] += scaled * shared[row, column]
            for other in range(start, end):
                if slot[skill[other]] < 0:
                    continue
                second = pairs + 4 * slot[skill[other]]
                others[0], others[3] = share, share * foreseen[row]
                others[1], others[2] = share * counts[other, 0], share * counts[other, 1]
                for i in range(4):
                    for j in range(4):
                        hessian[first + i, second + j] += information[row] * values[i] * others[j]


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
