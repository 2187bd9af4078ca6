"""Which resources may be in a list, and how the list is picked from scored candidates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

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


@dataclass(frozen=True, slots=True)
class Eligibility:
    """What a request allows.

    Attributes:
        suitable: rows that may be given to the learner at all: grade and language fit, not excluded.
        allowed: those of them that also have a requested kind, skill and length.
    """

    suitable: BoolColumn
    allowed: BoolColumn


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


def compose(
    scores: FloatColumn,
    served: IntColumn,
    held_back: BoolColumn,
    limit: int,
    per_skill: int,
    first: Sequence[int] = (),
) -> list[int]:
    """Pick a list from scored candidates.

    First the entries of `first`, in their order; then by score, ties in the order given. If the list would fall short,
    resources beyond a skill's cap follow, and last those held back (the learner answered them lately and they are not
    due).

    Args:
        scores: of the candidates.
        served: the skill each serves; -1 for none, which counts against no skill.
        held_back: whether to list it only when nothing else is left.
        limit: the length of the list.
        per_skill: most resources that serve one skill, unless the list would fall short.
        first: indices of candidates that come first, whatever they serve; they count towards the cap.

    Returns:
        Indices of the picked candidates, in list order.
    """
    slots, back = served.tolist(), held_back.tolist()
    picked = list(first[:limit])
    passed_over: list[int] = []
    last: list[int] = []
    of_skill: dict[int, int] = Counter(slots[place] for place in picked)
    taken = set(picked)
    for place in np.argsort(-scores, kind="stable").tolist():
        if len(picked) == limit:
            return picked
        if place in taken:
            continue
        if back[place]:
            last.append(place)
            continue
        slot = slots[place]
        already = of_skill.get(slot, 0)
        if slot >= 0 and already >= per_skill:
            passed_over.append(place)
            continue
        of_skill[slot] = already + 1
        picked.append(place)
    return (picked + passed_over + last)[:limit]


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
