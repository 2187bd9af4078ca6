"""Where a learner is: how much each skill of the catalog concerns them now, from 0 to 1.

    practised    2^(-resources since / 3) or 2^(-days since / 7), whichever is larger, relative to the latest work
    below        .7 of the scope of a skill that is not mastered for each of its prerequisites that is not either, three
                 steps down
    next         .3 for a skill never met whose prerequisites are all mastered, and .3 times how usually learners work
                 on it after the latest skills, relative to the most usual one; for a new learner, .3 for each skill
                 without prerequisites
    reviews      the urgency of a review that is due
    goals        1 on the path to a goal of the learner

The largest counts. A skill that was never met is no gap: nothing is known about it.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np

from services.recommender.domain.ranking.catalog import BoolColumn, CatalogColumns, FloatColumn, IntColumn, Ragged
from services.recommender.domain.ranking.compiled import least_of_rows, most_of_rows
from services.recommender.domain.ranking.features import SkillEstimates

HALF_LIFE_RESOURCES = 3.0
HALF_LIFE_DAYS = 7.0
BELOW = 0.7
NEXT = 0.3
_STEPS_DOWN = 3
_LEAST_SCOPE = 0.01


def scope_of(
    catalog: CatalogColumns,
    estimates: SkillEstimates,
    recent: IntColumn,
    follows: FloatColumn | None = None,
    path: BoolColumn | None = None,
    review_opens: float = 1.0,
) -> FloatColumn:
    """The scope of each of the catalog's S skills.

    Args:
        catalog: the catalog.
        estimates: the learner's skills.
        recent: rows of what they worked on lately, newest last.
        follows: S; how usually learners work on a skill after the latest ones; None: not known.
        path: S; whether a skill is on the path to a goal; None: there is no goal.
        review_opens: a review is due from this urgency on.
    """
    scope = np.zeros(len(catalog.skill_ids))
    _fill_practised(scope, estimates.responses, estimates.days_since, recent, catalog.tags.starts, catalog.tags.values)
    if len(catalog.equivalents.values):
        same = catalog.equivalents
        np.maximum(scope, most_of_rows(same.starts, same.values, np.arange(len(scope)), scope), out=scope)
    met = (scope > 0.0) | (estimates.responses > 0)
    needed = catalog.skill_prerequisites
    _fill_below(scope, estimates.mastered, needed.starts, needed.values)
    if met.any():
        _fill_ready(scope, met, estimates.mastered, needed.starts, needed.values)
    else:
        scope[needed.starts[1:] == needed.starts[:-1]] = NEXT
    if follows is not None and follows.any():
        np.maximum(scope, NEXT * follows / follows.max(), out=scope)
    due = estimates.reviews >= review_opens
    scope[due] = np.maximum(scope[due], estimates.reviews[due])
    if path is not None:
        scope[path] = 1.0
    return scope


@numba.njit(cache=True)
def _fill_practised(
    scope: FloatColumn,
    responses: IntColumn,
    days_since: FloatColumn,
    recent: IntColumn,
    tag_starts: IntColumn,
    tag_slots: IntColumn,
) -> None:
    for since in range(len(recent)):
        row = recent[len(recent) - 1 - since]
        share = 2.0 ** (-since / HALF_LIFE_RESOURCES)
        for tag in range(tag_starts[row], tag_starts[row + 1]):
            scope[tag_slots[tag]] = max(scope[tag_slots[tag]], share)
    latest = np.inf
    for days in days_since:
        # NaN is not smaller.
        latest = min(latest, days)
    for slot in range(len(scope)):
        if responses[slot] > 0:
            if not np.isnan(days_since[slot]):
                scope[slot] = max(scope[slot], 2.0 ** (-(days_since[slot] - latest) / HALF_LIFE_DAYS))
            elif not len(recent) and latest == np.inf:
                # Neither order nor times are known.
                scope[slot] = 1.0


@numba.njit(cache=True)
def _fill_below(scope: FloatColumn, mastered: BoolColumn, starts: IntColumn, values: IntColumn) -> None:
    for _ in range(_STEPS_DOWN):
        before = scope.copy()
        for slot in range(len(scope)):
            if mastered[slot]:
                continue
            for entry in range(starts[slot], starts[slot + 1]):
                below = values[entry]
                if not mastered[below]:
                    scope[below] = max(scope[below], BELOW * before[slot])


@numba.njit(cache=True)
def _fill_ready(
    scope: FloatColumn, met: BoolColumn, mastered: BoolColumn, starts: IntColumn, values: IntColumn
) -> None:
    for slot in range(len(scope)):
        if met[slot] or starts[slot] == starts[slot + 1]:
            continue
        ready = True
        for entry in range(starts[slot], starts[slot + 1]):
            ready = ready and mastered[values[entry]]
        if ready:
            scope[slot] = max(scope[slot], NEXT)


class Reach(NamedTuple):
    """What is not too far above a learner's working level.

    The working level is the median of the levels of the skills they responded to, weighted by scope, or else of what
    they worked on lately. A skill above it is within reach if it is on the path to a goal, or if it has prerequisites
    and the learner has mastered all of them; a resource likewise, with the prerequisites of its skills. Without a
    working level, and where a level is not known, everything is within reach.

    Attributes:
        level: the working level; NaN where it is not known.
        skills: S.
        resources: N.
    """

    level: float

    skills: BoolColumn
    resources: BoolColumn


def reach_of(
    catalog: CatalogColumns,
    estimates: SkillEstimates,
    scope: FloatColumn,
    recent: IntColumn,
    path: BoolColumn,
    levels_above: float,
) -> Reach:
    """What is within a learner's reach.

    Args:
        catalog: the catalog.
        estimates: the learner's skills.
        scope: S; the scope of each skill.
        recent: rows of what they worked on lately.
        path: S; whether a skill is on the path to a goal.
        levels_above: how many levels above the working level are within reach.
    """
    level = working_level(catalog, estimates, scope, recent)
    if np.isnan(level):
        return Reach(level, np.ones(len(scope), np.bool_), np.ones(len(catalog), np.bool_))
    skills: BoolColumn = ~(catalog.skill_levels > level + levels_above)
    resources: BoolColumn = ~(catalog.levels > level + levels_above)
    beyond = (~skills).nonzero()[0]
    skills[beyond] = _builds_on_mastered(catalog.skill_prerequisites, beyond, estimates.mastered) | path[beyond]
    beyond = (~resources).nonzero()[0]
    leads = most_of_rows(catalog.tags.starts, catalog.tags.values, beyond, path.astype(np.float64)) > 0.0
    resources[beyond] = _builds_on_mastered(catalog.prerequisites, beyond, estimates.mastered) | leads
    return Reach(level, skills, resources)


def _builds_on_mastered(needed: Ragged, rows: IntColumn, mastered: BoolColumn) -> BoolColumn:
    """Whether each of some rows has values, and all of them are mastered."""
    least = least_of_rows(needed.starts, needed.values, rows, mastered.astype(np.float64))
    builds: BoolColumn = (needed.starts[rows + 1] > needed.starts[rows]) & (least > 0.0)
    return builds


def working_level(catalog: CatalogColumns, estimates: SkillEstimates, scope: FloatColumn, recent: IntColumn) -> float:
    """The working level, see `Reach`; NaN where it is not known."""
    known = (estimates.responses > 0) & ~np.isnan(catalog.skill_levels)
    if known.any():
        return _median(catalog.skill_levels[known], np.maximum(scope[known], _LEAST_SCOPE))
    levels = catalog.levels[recent]
    levels = levels[~np.isnan(levels)]
    return _median(levels, np.ones(len(levels))) if len(levels) else float("nan")


def _median(levels: FloatColumn, weights: FloatColumn) -> float:
    order = np.argsort(levels, kind="stable")
    reached = np.cumsum(weights[order])
    return float(levels[order][np.searchsorted(reached, reached[-1] / 2.0)])
