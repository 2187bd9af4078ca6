"""The compiled loops of ranking, where a request spends its time; a numpy call for each step would cost more.

All data is in columns; see `catalog.CatalogColumns` for their meaning.
"""

from __future__ import annotations

import math

import numba
import numpy as np
from numpy.typing import NDArray

_Bools = NDArray[np.bool_]
_Ints = NDArray[np.intp]
_Floats = NDArray[np.float64]


@numba.njit(cache=True)
def least(starts: _Ints, values: _Ints, row: int, column: _Floats) -> float:
    """The least of `column` over the values of a ragged row; 1 when it has none."""
    smallest = 1.0
    for entry in range(starts[row], starts[row + 1]):
        smallest = min(smallest, column[values[entry]])
    return smallest


@numba.njit(cache=True)
def least_of_rows(starts: _Ints, values: _Ints, rows: _Ints, column: _Floats) -> _Floats:
    """`least` of each of some rows."""
    smallest = np.empty(len(rows))
    for place in range(len(rows)):
        smallest[place] = least(starts, values, rows[place], column)
    return smallest


@numba.njit(cache=True)
def most_of_rows(starts: _Ints, values: _Ints, rows: _Ints, column: _Floats) -> _Floats:
    """The most of `column` over the values of each of some ragged rows; 0 when a row has none."""
    largest = np.zeros(len(rows))
    for place in range(len(rows)):
        for entry in range(starts[rows[place]], starts[rows[place] + 1]):
            largest[place] = max(largest[place], column[values[entry]])
    return largest


@numba.njit(cache=True)
def review_due(days_since: float, successes: float, half_life_days: float) -> float:
    """The urgency of reviewing a mastered skill: 1 - 2^(-days / (half-life sqrt(1 + successes))); 0 without a time.

    The share of the skill that is expected to be forgotten: exponential forgetting with a half-life that grows with
    practice (half-life regression; Settles and Meeder, A Trainable Spaced Repetition Model for Language Learning, ACL
    2016), by the square root because responses tend to come in bunches. With a half-life of 7 days and 3 successes one
    half, and so due, after two weeks; with 15 after four.
    """
    if math.isnan(days_since):
        return 0.0
    half_lives = max(days_since, 0.0) / (half_life_days * math.sqrt(1.0 + successes))
    return 1.0 - math.pow(2.0, -half_lives)


@numba.njit(cache=True)
def review_by_recall(recall: float, due_below: float) -> float:
    """The urgency of reviewing a mastered skill whose recall is expected to be this likely; 0 where that is not known.

    1 - recall, scaled so that it is one half, and so due, at `due_below`, and at most 1: (1 - r) / (2 (1 - .7)).
    """
    if math.isnan(recall):
        return 0.0
    return min(1.0, (1.0 - recall) / (2.0 * (1.0 - due_below)))


@numba.njit(cache=True)
def readiness(probability: float, responses: int, midpoint: float, steepness: float, half_known: float) -> float:
    """How ready a learner is for what builds on a skill: 1 - n/(n+3) (1 - sigmoid(8 (p - .6))).

    1 where nothing is known: an unknown prerequisite does not hold anyone back.
    """
    known = responses / (responses + half_known)
    return 1.0 - known * (1.0 - 1.0 / (1.0 + math.exp(-steepness * (probability - midpoint))))


@numba.njit(cache=True)
def challenge_fit(success: _Floats, practised: _Bools, target: float, width: float, elsewhere: float) -> _Floats:
    """How well challenges suit: exp(-(p - .75)^2 / (2 .15^2)) for practice and assessment, .5 for other kinds.

    So a lesson comes first where success at practice is less likely than 57 %.
    """
    fit = np.full(len(success), elsewhere)
    for place in range(len(success)):
        if practised[place]:
            distance = (success[place] - target) / width
            fit[place] = math.exp(-0.5 * distance * distance)
    return fit


@numba.njit(cache=True)
def spread_state(
    slots: _Ints,
    records: NDArray[np.void],
    skill_logits: _Floats,
    learner_logit: float,
    learner_variance: float,
    prior_variance: float,
    as_of_s: float,
) -> tuple[_Floats, _Floats, _Floats, _Floats, _Floats, _Floats, _Floats, _Ints]:
    """A learner's skill records over a catalog's skills; priors where there is none.

    Args:
        slots: the slot of each record, -1 for a skill the catalog does not know.
        records: SKILL_RECORDs.
        skill_logits: S; difficulty of each skill's average item.
        learner_logit: b0 + mu_u.
        learner_variance: v_u.
        prior_variance: v_k0.
        as_of_s: the moment to answer for, Unix seconds.

    Returns:
        S values each: mu_uk, v_uk, the logit on the average item, its variance v_u + v_uk, the sum of responses, the
        days since the last one (NaN: not known), the last response (NaN without any), and the number of responses.
    """
    skills = len(skill_logits)
    means, variances = np.zeros(skills), np.full(skills, prior_variance)
    successes, responses = np.zeros(skills), np.zeros(skills, np.intp)
    days_since, last_responses = np.full(skills, np.nan), np.full(skills, np.nan)
    for number in range(len(slots)):
        slot = slots[number]
        if slot < 0:
            continue
        record = records[number]
        means[slot], variances[slot] = record.mean, record.variance
        successes[slot] = record.successes
        responses[slot] = record.attempts
        if record.attempts > 0:
            last_responses[slot] = record.last_response
        if record.last_at_s > 0:
            days_since[slot] = (as_of_s - record.last_at_s) / 86_400.0
    logits, unknown = np.empty(skills), np.empty(skills)
    for slot in range(skills):
        logits[slot] = learner_logit + means[slot] - skill_logits[slot]
        unknown[slot] = learner_variance + variances[slot]
    return means, variances, logits, unknown, successes, days_since, last_responses, responses


@numba.njit(cache=True)
def judge_skills(
    probabilities: _Floats,
    mastered: _Bools,
    unknown: _Floats,
    successes: _Floats,
    days_since: _Floats,
    recalls: _Floats,
    responses: _Ints,
    importance: _Floats,
    prerequisite_starts: _Ints,
    prerequisites: _Ints,
    prior_variance: float,
    gap_target: float,
    half_life_days: float,
    due_below: float,
    midpoint: float,
    steepness: float,
    half_known: float,
) -> tuple[_Floats, _Floats, _Floats, _Floats, _Floats]:
    """A learner's needs on each skill of a catalog.

    Args:
        probabilities: S; p_k.
        mastered: S.
        unknown: S; v_u + v_uk.
        successes: S.
        days_since: S; NaN: not known.
        recalls: S; expected recall, NaN: none; empty: reviews are by `review_due`.
        responses: S; n_k.
        importance: S.
        prerequisite_starts: S + 1.
        prerequisites: slots of each skill's prerequisites.
        prior_variance: v_u0 + v_k0.
        gap_target: success probability below which there is a gap.
        half_life_days: of `review_due`.
        due_below: of `review_by_recall`.
        midpoint: of `readiness`.
        steepness: of `readiness`.
        half_known: of `readiness`.

    Returns:
        S values each. Where not mastered, needs: importance_k max(0, .85 - p_k) / .85; where mastered, reviews; else 0.
        Readiness. Unknowns: (v_u + v_uk) / prior variance, at most 1. Urgencies: needs times least readiness below.
    """
    skills = len(probabilities)
    needs, reviews, ready = np.zeros(skills), np.zeros(skills), np.empty(skills)
    unknowns, urgencies = np.empty(skills), np.empty(skills)
    for slot in range(skills):
        if mastered[slot]:
            if len(recalls):
                reviews[slot] = review_by_recall(recalls[slot], due_below)
            else:
                reviews[slot] = review_due(days_since[slot], successes[slot], half_life_days)
        else:
            needs[slot] = importance[slot] * max(0.0, gap_target - probabilities[slot]) / gap_target
        ready[slot] = readiness(probabilities[slot], responses[slot], midpoint, steepness, half_known)
        unknowns[slot] = min(1.0, unknown[slot] / prior_variance)
    for slot in range(skills):
        urgencies[slot] = needs[slot] * least(prerequisite_starts, prerequisites, slot, ready)
    return needs, reviews, ready, unknowns, urgencies


@numba.njit(cache=True)
def pick_from_index(
    slots: _Ints,
    targets: _Floats,
    starts: _Ints,
    middles: _Ints,
    rows: _Ints,
    difficulties: _Floats,
    fresh: _Bools,
    skills_max: int,
    per_skill: int,
    rest_max: int,
    chosen: _Bools,
) -> None:
    """Mark what is picked from the inverted index, most urgent skill first.

    Of each skill it takes first up to `rest_max` resources that are not practised, then practised ones, nearest to the
    target difficulty first. A skill without a fresh resource does not count.

    Args:
        slots: the skills, most urgent first.
        targets: the difficulty that fits the learner, of each.
        starts: S + 1; where each skill's resources start.
        middles: S; where what is practised ends and the rest begins.
        rows: E; the resources of the skills.
        difficulties: E; of those practised, ascending for each skill.
        fresh: N; which resources may be picked.
        skills_max: most skills picked from.
        per_skill: most resources picked of each.
        rest_max: most of those that are not practised.
        chosen: N; updated.
    """
    skills = 0
    for place in range(len(slots)):
        slot, target = slots[place], targets[place]
        start, middle, end = starts[slot], middles[slot], starts[slot + 1]
        picked = 0
        for entry in range(middle, end):
            if picked == rest_max:
                break
            if fresh[rows[entry]]:
                chosen[rows[entry]] = True
                picked += 1
        right = start + np.searchsorted(difficulties[start:middle], target)
        left = right - 1
        while picked < per_skill and (left >= start or right < middle):
            if right >= middle or (left >= start and target - difficulties[left] <= difficulties[right] - target):
                entry = left
                left -= 1
            else:
                entry = right
                right += 1
            if fresh[rows[entry]]:
                chosen[rows[entry]] = True
                picked += 1
        if picked:
            skills += 1
        if skills == skills_max:
            break


@numba.njit(cache=True)
def mean_and_deviation(values: _Floats) -> tuple[float, float]:
    """The mean of some values and their standard deviation, 0 exactly where all are equal; 0 and 0 without any."""
    if not len(values):
        return 0.0, 0.0
    total, all_equal = 0.0, True
    for value in values:
        total += value
        all_equal &= value == values[0]
    if all_equal:
        return values[0], 0.0
    mean, squares = total / len(values), 0.0
    for value in values:
        squares += (value - mean) ** 2
    return mean, math.sqrt(squares / len(values))


@numba.njit(cache=True)
def pick_highest(scores: NDArray[np.float32], rows: _Ints, fresh: _Bools, count: int, chosen: _Bools) -> None:
    """Mark the fresh resources with the `count` highest scores; of those equal to the lowest of them, any.

    Args:
        scores: M.
        rows: M; the resource of each score, -1 for none.
        fresh: N; which resources may be picked.
        count: how many.
        chosen: N; updated.
    """
    # A heap whose root is the lowest score held.
    best = np.empty(count, np.float32)
    best_rows = np.empty(count, np.intp)
    held = 0
    for index in range(len(scores)):
        score = scores[index]
        # Most are too low: the rest of the columns is not looked at for them.
        if held == count and score <= best[0]:
            continue
        row = rows[index]
        if row < 0 or not fresh[row]:
            continue
        if held < count:
            place = held
            held += 1
            while place > 0 and best[(place - 1) // 2] > score:
                best[place], best_rows[place] = best[(place - 1) // 2], best_rows[(place - 1) // 2]
                place = (place - 1) // 2
        else:
            place = 0
            while 2 * place + 1 < count:
                child = 2 * place + 1
                if child + 1 < count and best[child + 1] < best[child]:
                    child += 1
                if best[child] >= score:
                    break
                best[place], best_rows[place] = best[child], best_rows[child]
                place = child
        best[place], best_rows[place] = score, row
    for place in range(held):
        chosen[best_rows[place]] = True


@numba.njit(cache=True)
def average_over_tags(
    rows: _Ints,
    tag_starts: _Ints,
    tag_slots: _Ints,
    tag_weights: _Floats,
    tag_measures: _Floats,
    skills: _Floats,
    wanted: _Floats,
    means: _Floats,
    variances: _Floats,
) -> tuple[_Floats, _Floats, _Floats, _Ints]:
    """Averages of values per skill over the tags of some resources.

    Args:
        rows: C resources.
        tag_starts: N + 1.
        tag_slots: E.
        tag_weights: E; a resource's sum to 1.
        tag_measures: E.
        skills: (K, S); values to average by tag weight.
        wanted: S; how much each skill counts in the choice of the one that a resource serves.
        means: S; mu_uk.
        variances: S; v_uk.

    Returns:
        (K, C): sums over each resource's tags of weight * value. C: sums of measure * mean. C: sums of measure^2 *
        variance. C: the tag with the largest weight * wanted, then the largest weight; -1 without tags.
    """
    columns = len(skills)
    averages, ability, variance = np.zeros((columns, len(rows))), np.zeros(len(rows)), np.zeros(len(rows))
    served = np.full(len(rows), -1, np.intp)
    for place in range(len(rows)):
        most_wanted, most_weight = -1.0, -1.0
        for tag in range(tag_starts[rows[place]], tag_starts[rows[place] + 1]):
            slot, weight, measure = tag_slots[tag], tag_weights[tag], tag_measures[tag]
            for column in range(columns):
                averages[column, place] += weight * skills[column, slot]
            ability[place] += measure * means[slot]
            variance[place] += measure * measure * variances[slot]
            counts = weight * wanted[slot]
            if counts > most_wanted or (counts == most_wanted and weight > most_weight):
                most_wanted, most_weight = counts, weight
                served[place] = tag
    return averages, ability, variance, served
