"""How much each candidate is about what the learner is likely to get wrong, where they are now.

    need_r = max over the skills k of r of  log F_k + .1 log s_k,  + log readiness of r
    F_k    = 1 - q_k^sqrt(n_k): the chance of a wrong answer in the next few responses
    s_k    = share of skill k's candidates in the softmax of 2 z, with z what is likely to come next

q_k is the mean chance of success over the skill's candidates, and n_k how many responses to the skill a learner usually
gives. The mean over a skill matters: what is hard for everyone is not what the learner needs. A candidate
without skills has the mean need of the others.
"""

from __future__ import annotations

import numba
import numpy as np

from services.recommender.domain.ranking.catalog import CatalogColumns, FloatColumn, IntColumn

SCOPE_EXPONENT = 0.1
SHARPNESS = 2.0
_LEAST = 1e-6
_LEAST_READY = 0.05


def need_of(
    catalog: CatalogColumns,
    rows: IntColumn,
    success: FloatColumn,
    ready: FloatColumn,
    next_item: FloatColumn,
    responses: FloatColumn,
) -> FloatColumn:
    """The need of each of C candidates, at most 0.

    Args:
        catalog: the catalog.
        rows: the candidates.
        success: C; their chances of success.
        ready: C; readiness for each.
        next_item: C; how likely each comes next, standardised.
        responses: S; how many responses to each skill a learner usually gives, at least 1.
    """
    need: FloatColumn = _need(
        rows, catalog.tags.starts, catalog.tags.values, success, ready, next_item, np.sqrt(responses)
    )
    return need


@numba.njit(cache=True)
def _need(
    rows: IntColumn,
    starts: IntColumn,
    slots: IntColumn,
    success: FloatColumn,
    ready: FloatColumn,
    next_item: FloatColumn,
    responses: FloatColumn,
) -> FloatColumn:
    skills = len(responses)
    counts, chances, mass = np.zeros(skills), np.zeros(skills), np.zeros(skills)
    most = next_item.max() if len(next_item) else 0.0
    for place in range(len(rows)):
        share = np.exp(SHARPNESS * (next_item[place] - most))
        for tag in range(starts[rows[place]], starts[rows[place] + 1]):
            counts[slots[tag]] += 1.0
            chances[slots[tag]] += success[place]
            mass[slots[tag]] += share
    whole = max(mass.sum(), _LEAST)
    of_skill = np.zeros(skills)
    for slot in range(skills):
        if counts[slot] > 0.0:
            fails = 1.0 - (chances[slot] / counts[slot]) ** responses[slot]
            of_skill[slot] = np.log(max(fails, _LEAST)) + SCOPE_EXPONENT * np.log(max(mass[slot] / whole, _LEAST))
    need = np.zeros(len(rows))
    total, tagged = 0.0, 0
    for place in range(len(rows)):
        first, end = starts[rows[place]], starts[rows[place] + 1]
        if first == end:
            continue
        largest = -np.inf
        for tag in range(first, end):
            largest = max(largest, of_skill[slots[tag]])
        need[place] = largest + np.log(max(ready[place], _LEAST_READY))
        total += need[place]
        tagged += 1
    for place in range(len(rows)):
        if starts[rows[place]] == starts[rows[place] + 1] and tagged:
            need[place] = total / tagged
    return need
