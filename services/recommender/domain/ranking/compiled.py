"""The loops of ranking that a request spends its time in, compiled: a call into numpy for each step would cost more.

Everything is in columns; see `catalog.CatalogColumns` for what the names mean.
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
def review_due(days_since: float, successes: float, half_life_days: float) -> float:
    """How due a review of a mastered skill is: 1 - 2^(-days / (half-life sqrt(1 + successes))); 0 without a clock.

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
def readiness(probability: float, responses: int, midpoint: float, steepness: float, half_known: float) -> float:
    """How ready a learner is for what builds on a skill: 1 - n/(n+3) (1 - sigmoid(8 (p - .6))).

    1 where nothing is known: an unknown prerequisite bars nobody.
    """
    known = responses / (responses + half_known)
    return 1.0 - known * (1.0 - 1.0 / (1.0 + math.exp(-steepness * (probability - midpoint))))


@numba.njit(cache=True)
def challenge_fit(success: _Floats, practised: _Bools, target: float, width: float, elsewhere: float) -> _Floats:
    """How well challenges suit: exp(-(p - .75)^2 / (2 .15^2)) for practice and assessment, .5 for other kinds.

    So a lesson leads where a practice would succeed less than 57 times in a hundred.
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
) -> tuple[_Floats, _Ints]:
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
        (6, S): mu_uk, v_uk, the logit on the average item, its variance v_u + v_uk, the sum of responses, and the days
        since the last one, NaN where nobody knows. S: responses.
    """
    skills = len(skill_logits)
    columns = np.zeros((6, skills))
    responses = np.zeros(skills, np.intp)
    for slot in range(skills):
        columns[1, slot] = prior_variance
        columns[5, slot] = np.nan
    for number in range(len(slots)):
        slot = slots[number]
        if slot < 0:
            continue
        record = records[number]
        columns[0, slot], columns[1, slot] = record.mean, record.variance
        columns[4, slot] = record.successes
        responses[slot] = record.attempts
        if record.last_at_s > 0:
            columns[5, slot] = (as_of_s - record.last_at_s) / 86_400.0
    for slot in range(skills):
        columns[2, slot] = learner_logit + columns[0, slot] - skill_logits[slot]
        columns[3, slot] = learner_variance + columns[1, slot]
    return columns, responses


@numba.njit(cache=True)
def judge_skills(
    probabilities: _Floats,
    mastered: _Bools,
    columns: _Floats,
    responses: _Ints,
    importance: _Floats,
    prerequisite_starts: _Ints,
    prerequisites: _Ints,
    prior_variance: float,
    gap_target: float,
    half_life_days: float,
    midpoint: float,
    steepness: float,
    half_known: float,
) -> _Floats:
    """What a learner needs on each skill of a catalog.

    Args:
        probabilities: S; p_k.
        mastered: S.
        columns: (6, S); of `spread_state`.
        responses: S; n_k.
        importance: S.
        prerequisite_starts: S + 1.
        prerequisites: slots of each skill's prerequisites.
        prior_variance: v_u0 + v_k0.
        gap_target: success probability below which there is a gap.
        half_life_days: of `review_due`.
        midpoint: of `readiness`.
        steepness: of `readiness`.
        half_known: of `readiness`.

    Returns:
        (5, S): importance_k max(0, .85 - p_k) / .85 where not mastered, else 0; `review_due` where mastered, else 0;
        `readiness`; (v_u + v_uk) / prior variance, at most 1; and the first times the least readiness of the skill's
        prerequisites.
    """
    skills = len(probabilities)
    judged = np.zeros((5, skills))
    for slot in range(skills):
        if mastered[slot]:
            judged[1, slot] = review_due(columns[5, slot], columns[4, slot], half_life_days)
        else:
            judged[0, slot] = importance[slot] * max(0.0, gap_target - probabilities[slot]) / gap_target
        judged[2, slot] = readiness(probabilities[slot], responses[slot], midpoint, steepness, half_known)
        judged[3, slot] = min(1.0, columns[3, slot] / prior_variance)
    for slot in range(skills):
        judged[4, slot] = judged[0, slot] * least(prerequisite_starts, prerequisites, slot, judged[2])
    return judged


@numba.njit(cache=True)
def weigh(
    gap: _Floats,
    fit: _Floats,
    review: _Floats,
    ready: _Floats,
    similar: _Floats,
    uncertainty: _Floats,
    opened: _Bools,
    weights: _Floats,
) -> _Floats:
    """The score of each candidate: ready * open * (1.0 gap + .8 fit + .5 review + .4 cf) + .1 uncertainty.

    Args:
        gap: C.
        fit: C.
        review: C.
        ready: C.
        similar: C; what cf is where open.
        uncertainty: C.
        opened: C; where false, open is `closed` and cf is 0.
        weights: of gap, fit, review, similar and uncertainty, and closed.

    Returns:
        (6, C): what gap, fit, review, cf and uncertainty add, and the score, their sum.
    """
    parts = np.empty((6, len(gap)))
    for place in range(len(gap)):
        factor = ready[place] * (1.0 if opened[place] else weights[5])
        parts[0, place] = factor * weights[0] * gap[place]
        parts[1, place] = factor * weights[1] * fit[place]
        parts[2, place] = factor * weights[2] * review[place]
        parts[3, place] = factor * weights[3] * similar[place] if opened[place] else 0.0
        parts[4, place] = weights[4] * uncertainty[place]
        parts[5, place] = parts[0, place] + parts[1, place] + parts[2, place] + parts[3, place] + parts[4, place]
    return parts


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
    """Mark what is picked from the shelves of some skills, most urgent first.

    Of each shelf first up to `rest_max` of what is not practised, then what is practised nearest to the target
    difficulty, walking outwards. A shelf without anything fresh does not count.

    Args:
        slots: the skills, most urgent first.
        targets: the difficulty that fits the learner, of each.
        starts: S + 1; where each skill's shelf starts.
        middles: S; where what is practised ends and the rest begins.
        rows: E; the resources on the shelves.
        difficulties: E; of those practised, ascending on each shelf.
        fresh: N; which resources may be picked.
        skills_max: most skills picked from.
        per_skill: most resources picked of each.
        rest_max: most of those that are not practised.
        chosen: N; written.
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
        chosen: N; written.
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
def sum_over_tags(
    rows: _Ints,
    tag_starts: _Ints,
    tag_slots: _Ints,
    tag_weights: _Floats,
    tag_measures: _Floats,
    needs: _Floats,
    reviews: _Floats,
    unknowns: _Floats,
    means: _Floats,
    variances: _Floats,
    gap_weight: float,
    review_weight: float,
) -> tuple[_Floats, _Ints]:
    """What features are made of, for each of some resources.

    Args:
        rows: C resources.
        tag_starts: N + 1.
        tag_slots: E.
        tag_weights: E.
        tag_measures: E.
        needs: S.
        reviews: S.
        unknowns: S.
        means: S; mu_uk.
        variances: S; v_uk.
        gap_weight: weight of the gap, to tell which skill a resource serves.
        review_weight: weight of a review, for the same.

    Returns:
        (5, C): sums over each resource's tags of weight * need, weight * review, weight * unknown, measure * mean and
        measure^2 * variance. C: the tag of the skill that gap or review is mostly about, else of the one the resource
        is mostly about; -1 without tags.
    """
    sums = np.zeros((5, len(rows)))
    served = np.full(len(rows), -1, np.intp)
    for place in range(len(rows)):
        most_wanted, most_weight = -1.0, -1.0
        for tag in range(tag_starts[rows[place]], tag_starts[rows[place] + 1]):
            slot, weight, measure = tag_slots[tag], tag_weights[tag], tag_measures[tag]
            sums[0, place] += weight * needs[slot]
            sums[1, place] += weight * reviews[slot]
            sums[2, place] += weight * unknowns[slot]
            sums[3, place] += measure * means[slot]
            sums[4, place] += measure * measure * variances[slot]
            wanted = weight * (gap_weight * needs[slot] + review_weight * reviews[slot])
            if wanted > most_wanted or (wanted == most_wanted and weight > most_weight):
                most_wanted, most_weight = wanted, weight
                served[place] = tag
    return sums, served
