"""The loops of ranking that a request spends its time in, compiled: a call into numpy for each step would cost more.

Everything is in columns; see `catalog.CatalogColumns` for what the names mean.
"""

from __future__ import annotations

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
def pick_from_shelves(
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
def pick_highest(scores: NDArray[np.float32], rows: _Ints, fresh: _Bools, count: int, chosen: _Bools) -> None:
    """Mark the fresh resources with the `count` highest scores; of equal ones those that come first.

    Args:
        scores: M.
        rows: M; the resource of each score, -1 for none.
        fresh: N; which resources may be picked.
        count: how many.
        chosen: N; written.
    """
    best = np.empty(count, np.float32)
    best_rows = np.empty(count, np.intp)
    held = 0
    lowest = 0
    for index in range(len(scores)):
        row = rows[index]
        if row < 0 or not fresh[row]:
            continue
        if held < count:
            best[held], best_rows[held] = scores[index], row
            held += 1
            if held == count:
                lowest = int(np.argmin(best))
        elif scores[index] > best[lowest]:
            best[lowest], best_rows[lowest] = scores[index], row
            lowest = int(np.argmin(best))
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
