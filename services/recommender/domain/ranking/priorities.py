"""What the first entries of a list must hold, whatever their scores.

    urgent     the first three hold a resource about the most urgent gap in scope
    missed     after a wrong answer, two of the first five are about that skill or a prerequisite that is not mastered
    other gap  the first five are not all about one skill while there is another gap in scope
    mastered   a mastered skill that is not due for review does not come first while there is a gap in scope
    first      otherwise what was missed or what that builds on comes first, or another skill of the latest work on
               which success is unlikely; as far as the learner can begin with it; among those, the best next step (see
               `first_step`) by its score and how well it suits as one

Each as far as there are candidates. A gap is a skill the learner worked on and has not mastered. The resources of one
gap among the first five are in the order teach, practise, re-assess. A skill that was never met begins with a lesson.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np

from services.common.resource_kinds import ResourceKind
from services.recommender.domain.ranking.catalog import BoolColumn, CatalogColumns, FloatColumn, IntColumn
from services.recommender.domain.ranking.evidence import RATHER_FAILS
from services.recommender.domain.ranking.features import SkillEstimates, explains
from services.recommender.domain.ranking.reasons import Step
from services.recommender.domain.ranking.signals.signal import Candidates

IN_SCOPE = 0.5
"""A skill with a smaller scope has no gap to work on now."""
_URGENT_WITHIN = 3
_MISSED_WITHIN_HEAD = 2
_SKILLS_WITHIN = 5
_WRONG_BELOW = 0.5
# As far as scope reaches down.
_STEPS_DOWN = 3
# As compiled code reads them.
_TEACH, _PRACTISE, _REASSESS = int(Step.TEACH), int(Step.PRACTISE), int(Step.REASSESS)


class Gaps(NamedTuple):
    """A learner's gaps in a catalog.

    Attributes:
        urgency: S; scope times urgency of each skill that the learner worked on and has not mastered, in scope; else 0.
        missed: S; whether the last response to it was wrong and it is among the skills responded to last, or it is a
            prerequisite of one that is not mastered.
        failing: S; whether it was missed, or what was missed builds on it, three steps down, and it is not mastered, or
            it is a gap among the skills responded to last on which success is unlikely.
        mastered: S; whether it is mastered and not due for review.
    """

    urgency: FloatColumn
    missed: BoolColumn
    failing: BoolColumn
    mastered: BoolColumn

    @property
    def to_work_on(self) -> list[tuple[list[int], int]]:
        """Slots of skills that a list must be about, with the least number of resources about any of them."""
        urgent = [] if self.most_urgent < 0 else [([self.most_urgent], 1)]
        return [*urgent, (self.missed.nonzero()[0].tolist(), _MISSED_WITHIN_HEAD)] if self.missed.any() else urgent

    @property
    def most_urgent(self) -> int:
        """The slot of the most urgent gap; -1 without any."""
        return int(self.urgency.argmax()) if self.urgency.any() else -1


def urgencies_in_scope(estimates: SkillEstimates, scope: FloatColumn) -> FloatColumn:
    """Scope times urgency of each skill in scope that the learner worked on and has not mastered; 0 for all others."""
    return np.where((estimates.responses > 0) & (scope >= IN_SCOPE), scope * estimates.urgencies, 0.0)


def gaps_of(
    catalog: CatalogColumns,
    estimates: SkillEstimates,
    scope: FloatColumn,
    latest: BoolColumn,
    review_opens: float,
) -> Gaps:
    """A learner's gaps.

    Args:
        catalog: the catalog.
        estimates: the learner's skills.
        scope: S; see `scope`.
        latest: S; whether a skill is among those responded to last.
        review_opens: a review is due from this value on.
    """
    urgency = urgencies_in_scope(estimates, scope)
    missed = latest & (estimates.last_responses < _WRONG_BELOW)
    missed |= _below(catalog, missed) & ~estimates.mastered
    failing = missed
    for _ in range(_STEPS_DOWN):
        failing = failing | (_below(catalog, failing) & ~estimates.mastered)
    failing = failing | (latest & (urgency > 0.0) & (estimates.probabilities < RATHER_FAILS))
    return Gaps(urgency, missed, failing, estimates.mastered & (estimates.reviews < review_opens))


def _below(catalog: CatalogColumns, skills: BoolColumn) -> BoolColumn:
    """S; the direct prerequisites of some skills."""
    below = np.zeros(len(skills), np.bool_)
    _, entries = catalog.skill_prerequisites.entries(skills.nonzero()[0])
    below[catalog.skill_prerequisites.values[entries]] = True
    return below


def latest_skills(catalog: CatalogColumns, estimates: SkillEstimates, recent: IntColumn) -> BoolColumn:
    """S; whether a skill is among those responded to last.

    Those are the skills of the latest time; where no times are known, those of the newest resource.

    Args:
        catalog: the catalog.
        estimates: the learner's skills.
        recent: rows of what they worked on lately, newest last.
    """
    days = np.where(estimates.responses > 0, estimates.days_since, np.inf)
    known = ~np.isnan(days)
    shortest = days[known].min(initial=np.inf)
    if shortest < np.inf:
        latest: BoolColumn = known & (days == shortest)
        return latest
    latest = np.zeros(len(days), np.bool_)
    if len(recent):
        slots = catalog.tags.row(int(recent[-1]))
        latest[slots] = True
        latest[catalog.equivalents.values[catalog.equivalents.entries(slots)[1]]] = True
    return latest


class Priorities(NamedTuple):
    """The candidates that the first entries of a list must hold.

    Attributes:
        served: C; the slot of the skill each serves, -1 for none.
        urgent: C; about the most urgent gap.
        missed: C; about a skill that was just missed, or a weak prerequisite.
        failing: C; possible as the first step, and about a skill that was missed or on which success is unlikely, see
            `Gaps`.
        mastered: C; serves a mastered skill that is not due for review; none where there is no gap.
        far: C; serves a gap where success is so unlikely that teaching comes first, or a skill that was never met.
        step: C; the number of the `Step` it is.
        gaps: S; whether a skill is a gap.
        ahead: S; whether a skill is a gap, or was never met.
        lead: C; what the first entry is chosen by.
    """

    served: IntColumn
    urgent: BoolColumn
    missed: BoolColumn
    failing: BoolColumn
    mastered: BoolColumn
    far: BoolColumn
    step: IntColumn
    gaps: BoolColumn
    ahead: BoolColumn
    lead: FloatColumn


def priorities_of(candidates: Candidates, gaps: Gaps, possible: BoolColumn, lead: FloatColumn) -> Priorities:
    """The priorities among some candidates.

    Args:
        candidates: the candidates.
        gaps: the learner's.
        possible: C; whether it is possible as the first step.
        lead: C; what the first entry is chosen by.
    """
    catalog, rows, served = candidates.catalog, candidates.rows, candidates.served
    owners, entries = catalog.tags.entries(rows)
    slots = catalog.tags.values[entries]

    def about(skills: BoolColumn) -> BoolColumn:
        found: BoolColumn = np.bincount(owners, skills[slots], minlength=len(rows)) > 0.0
        return found

    def serves(skills: BoolColumn) -> BoolColumn:
        return skills[served] & (served >= 0) if len(skills) else np.zeros(len(rows), np.bool_)

    is_gap = gaps.urgency > 0.0
    unmet = candidates.estimates.responses == 0
    urgent = np.zeros(len(is_gap), np.bool_)
    if gaps.most_urgent >= 0:
        urgent[gaps.most_urgent] = True
    return Priorities(
        served=served,
        urgent=about(urgent),
        missed=about(gaps.missed),
        failing=about(gaps.failing) & possible,
        mastered=serves(gaps.mastered & is_gap.any()),
        far=serves(unmet | (is_gap & (candidates.estimates.probabilities < RATHER_FAILS))),
        step=_steps(candidates, serves(unmet)),
        gaps=is_gap,
        ahead=is_gap | unmet,
        lead=lead,
    )


def _steps(candidates: Candidates, unmet: BoolColumn) -> IntColumn:
    """The step of each candidate on its skill's path: lessons and videos teach what is new, or rather failed at."""
    kinds = candidates.catalog.kinds[candidates.rows]
    lesson = candidates.teaches & explains(kinds)
    steps = np.where(kinds == ResourceKind.ASSESSMENT, _REASSESS, _PRACTISE)
    return np.where(lesson & (unmet | (candidates.success < RATHER_FAILS)), _TEACH, steps).astype(np.intp)


def prioritised(
    order: IntColumn, priorities: Priorities, *, head: int, first: int, fresh: int, limit: int
) -> IntColumn:
    """A list in which the first entries hold what they must.

    Args:
        order: candidates, best first.
        priorities: of the candidates.
        head: how many first entries.
        first: this many entries of `order` keep their places: rules pinned them.
        fresh: only this many entries of `order` may be moved ahead; those after them are held back.
        limit: length of the list.
    """
    size = min(head, limit)
    chosen: IntColumn = _head(order[:fresh], *priorities, min(first, size), size)
    is_rest = np.ones(len(priorities.step), np.bool_)
    is_rest[chosen] = False
    rest = order[is_rest[order]]
    listed: IntColumn = np.concatenate((chosen, rest))[:limit]
    return listed


@numba.njit(cache=True)
def _head(
    order: IntColumn,
    served: IntColumn,
    urgent: BoolColumn,
    missed: BoolColumn,
    failing: BoolColumn,
    mastered: BoolColumn,
    far: BoolColumn,
    step: IntColumn,
    gaps: BoolColumn,
    ahead: BoolColumn,
    lead: FloatColumn,
    first: int,
    size: int,
) -> IntColumn:
    """The first entries."""
    size = min(size, len(order))
    taken = np.zeros(len(served), np.bool_)
    head = np.empty(size, np.intp)
    for place in range(first):
        head[place] = order[place]
        taken[order[place]] = True
    for position in range(first, size):
        chosen = _wanted(order, taken, head[:position], served, urgent, missed, failing, mastered, gaps, lead, size)
        head[position] = chosen
        taken[chosen] = True
    for position in range(first, size):
        slot = served[head[position]]
        if slot >= 0 and ahead[slot] and not (served[head[first:position]] == slot).any():
            _order_as_path(order, taken, head, first, slot, served, urgent, missed, far, step)
    return head


@numba.njit(cache=True)
def _wanted(
    order: IntColumn,
    taken: BoolColumn,
    head: IntColumn,
    served: IntColumn,
    urgent: BoolColumn,
    missed: BoolColumn,
    failing: BoolColumn,
    mastered: BoolColumn,
    gaps: BoolColumn,
    lead: FloatColumn,
    size: int,
) -> int:
    """The best candidate that leaves room for what the head must still hold."""
    position = len(head)
    must_be_urgent = position == min(_URGENT_WITHIN, size) - 1 and not urgent[head].any()
    # One place is left for another skill.
    must_be_missed = _MISSED_WITHIN_HEAD - missed[head].sum() >= max(size - 1, 1) - position
    one_skill = position == _SKILLS_WITHIN - 1 and served[head[0]] >= 0 and (served[head] == served[head[0]]).all()
    must_be_other = one_skill and gaps.sum() > gaps[served[head[0]]]
    best, best_fulfilled = -1, -1
    for place in order:
        if taken[place]:
            continue
        # What comes first in this sum outweighs all that follows.
        fulfilled = 0
        if position == 0 and not mastered[place]:
            fulfilled += 16
        if must_be_urgent and urgent[place]:
            fulfilled += 8
        if must_be_missed and missed[place]:
            fulfilled += 4
        if must_be_other and served[place] != served[head[0]]:
            fulfilled += 2
        if position == 0 and failing[place]:
            fulfilled += 1
        leads = position == 0 and fulfilled == best_fulfilled and lead[place] > lead[best]
        if fulfilled > best_fulfilled or leads:
            best, best_fulfilled = place, fulfilled
    return best


@numba.njit(cache=True)
def _best_of_step(
    order: IntColumn, taken: BoolColumn, own: IntColumn, serves: BoolColumn, step: IntColumn, wanted: int
) -> int:
    """The first candidate of a step that is free, or among `own`; -1 without any."""
    for place in order:
        if serves[place] and step[place] == wanted and (not taken[place] or (own == place).any()):
            return int(place)
    return -1


@numba.njit(cache=True)
def _order_as_path(
    order: IntColumn,
    taken: BoolColumn,
    head: IntColumn,
    first: int,
    slot: int,
    served: IntColumn,
    urgent: BoolColumn,
    missed: BoolColumn,
    far: BoolColumn,
    step: IntColumn,
) -> None:
    """Put the best resources of a skill at its places in the head, in the order of the path."""
    places = first + np.flatnonzero(served[head[first:]] == slot)
    path = np.empty(len(places), np.intp)
    found = 0
    for wanted in (_TEACH, _PRACTISE, _REASSESS):
        if found == len(places) or (wanted == _TEACH and not far[head[places[0]]]):
            continue
        best = _best_of_step(np.concatenate((head[places], order)), taken, head[places], served == slot, step, wanted)
        if best >= 0:
            path[found] = best
            found += 1
    for place in head[places]:
        if found < len(places) and not (path[:found] == place).any():
            path[found] = place
            found += 1
    for number in range(len(places)):
        before, after = head[places[number]], path[number]
        # What had to be about something else stays.
        if urgent[before] > urgent[after] or missed[before] > missed[after]:
            return
    for number in range(len(places)):
        taken[head[places[number]]] = False
    for number in range(len(places)):
        head[places[number]] = path[number]
        taken[path[number]] = True
