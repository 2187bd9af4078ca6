"""Which resources may be in a list, and how the list is picked from scored candidates."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numba
import numpy as np

from services.common.resource_kinds import ResourceKind
from services.recommender.domain.ranking.catalog import (
    MINUTES_UNKNOWN,
    BoolColumn,
    CatalogColumns,
    FloatColumn,
    IntColumn,
)


@dataclass(frozen=True, slots=True)
class ResourceFilter:
    """Which resources may be in a list. An empty field allows everything.

    Attributes:
        kinds: only these kinds.
        skills: only resources about at least one of these.
        grades: only resources for at least one of these, or for any.
        languages: only resources in one of these, or tied to none. A range such as `es` covers `es-MX` (RFC 4647 basic
            filtering).
        max_minutes: only resources known to take at most this long.
        excluded: never these.
    """

    kinds: tuple[ResourceKind, ...] = ()
    skills: tuple[str, ...] = ()
    grades: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    max_minutes: int | None = None
    excluded: tuple[str, ...] = ()

    @property
    def identity(self) -> tuple[object, ...]:
        """The fields as plain values: equal for equal filters."""
        kinds = tuple(int(kind) for kind in self.kinds)
        return (kinds, self.skills, self.grades, self.languages, self.max_minutes, self.excluded)


EVERYTHING = ResourceFilter()

# Multiplying by the one modulo the other spreads candidates that are next to one another.
_SPREAD, _PRIME = 1_640_531_527, 2_147_483_647


@dataclass(frozen=True, slots=True)
class Eligibility:
    """What a request allows.

    Attributes:
        suitable: rows that may be given to the learner at all: grade and language fit, not excluded.
        allowed: those of them that also have a requested kind, skill and length.
    """

    suitable: BoolColumn
    allowed: BoolColumn

    def narrowed(self, reach: BoolColumn) -> Eligibility:
        """Only rows within reach; where that leaves nothing, the request asks for what is beyond it."""
        allowed = self.allowed & reach
        return Eligibility(self.suitable & reach, allowed) if allowed.any() else self


def eligibility(catalog: CatalogColumns, wanted: ResourceFilter) -> Eligibility:
    """Apply a filter to a catalog."""
    suitable = np.ones(len(catalog), np.bool_)
    if wanted == EVERYTHING:
        return Eligibility(suitable, suitable)
    if wanted.grades:
        suitable &= catalog.grades.matching(wanted.grades)
    if wanted.languages:
        suitable &= catalog.languages.matching(_covered(catalog.languages.rows, wanted.languages))
    suitable[catalog.rows_of(wanted.excluded)] = False
    allowed = suitable.copy()
    if wanted.kinds:
        allowed &= np.isin(catalog.kinds, wanted.kinds)
    if wanted.skills:
        allowed &= catalog.rows_about(wanted.skills)
    if wanted.max_minutes is not None:
        allowed &= (catalog.minutes != MINUTES_UNKNOWN) & (catalog.minutes <= wanted.max_minutes)
    return Eligibility(suitable, allowed)


def by_score(scores: FloatColumn, rows: IntColumn, seed: int) -> IntColumn:
    """Indices of the candidates, best first; equal ones in an order that their rows and the seed decide."""
    ties = (rows * _SPREAD + seed % _PRIME) % _PRIME
    order: IntColumn = np.lexsort((ties, -scores))
    return order


def compose(
    order: IntColumn,
    served: IntColumn,
    held_back: BoolColumn,
    limit: int,
    per_skill: int,
    first: Sequence[int] = (),
) -> IntColumn:
    """Pick a list from candidates.

    First the entries of `first`, in their order; then the others in the order given. If the list would fall short,
    resources beyond a skill's cap follow, and last those held back (the learner answered them lately and they are not
    due).

    Args:
        order: the candidates, best first.
        served: the skill each serves; -1 for none, which counts against no skill.
        held_back: whether to list it only when nothing else is left.
        limit: the length of the list.
        per_skill: most resources that serve one skill, unless the list would fall short.
        first: indices of candidates that come first, whatever they serve; they count towards the cap.

    Returns:
        Indices of the picked candidates, in list order.
    """
    picked: IntColumn = _composed(order, served, held_back, per_skill, np.array(first[:limit], np.intp))
    return picked[:limit]


@numba.njit(cache=True)
def _composed(
    order: IntColumn, served: IntColumn, held_back: BoolColumn, per_skill: int, first: IntColumn
) -> IntColumn:
    """All candidates in list order; see `compose`."""
    count = len(served)
    taken, of_skill = np.zeros(count, np.bool_), np.zeros(1 + (served.max() if count else 0), np.intp)
    picked, passed_over, last = np.empty(count, np.intp), np.empty(count, np.intp), np.empty(count, np.intp)
    picks, passed, lasts = 0, 0, 0
    for place in first:
        picked[picks] = place
        picks += 1
        taken[place] = True
        if served[place] >= 0:
            of_skill[served[place]] += 1
    for place in order:
        if taken[place]:
            continue
        slot = served[place]
        if held_back[place]:
            last[lasts] = place
            lasts += 1
        elif slot >= 0 and of_skill[slot] >= per_skill:
            passed_over[passed] = place
            passed += 1
        else:
            if slot >= 0:
                of_skill[slot] += 1
            picked[picks] = place
            picks += 1
    return np.concatenate((picked[:picks], passed_over[:passed], last[:lasts]))


class Reassessments:
    """The best resource to re-assess each skill with, for one request.

    Of the resources that assess the skill and suit the learner: one not answered lately, else any; assessments before
    other kinds, then the most about the skill.
    """

    def __init__(self, catalog: CatalogColumns, suitable: BoolColumn, answered: BoolColumn) -> None:
        self._catalog = catalog
        self._suitable = suitable
        self._unanswered = suitable & ~answered
        self._best: dict[int, list[int]] = {}

    def after(self, row: int, slot: int) -> str:
        """Id of the resource to re-assess the skill at `slot` with after the one at `row`; empty when there is none."""
        if slot < 0:
            return ""
        if slot not in self._best:
            self._best[slot] = self._best_two(slot)
        for best in self._best[slot]:
            if best != row:
                return self._catalog.resource_ids[best]
        return ""

    def _best_two(self, slot: int) -> list[int]:
        """Two, because a resource is not measured with itself."""
        first = [row for row in self._catalog.first_assessments[slot] if self._unanswered[row]]
        if len(first) >= 2:
            return first[:2]
        every = self._catalog.assessments.row(slot)
        fresh = every[self._unanswered[every]][:2].tolist()
        return (
            fresh
            if len(fresh) == 2
            else [*fresh, *every[self._suitable[every] & ~self._unanswered[every]][:2].tolist()]
        )


def _covered(tags: Iterable[str], ranges: tuple[str, ...]) -> list[str]:
    lowered = [wanted.lower() for wanted in ranges]
    return [tag for tag in tags if any(tag == wanted or tag.startswith(wanted + "-") for wanted in lowered)]
