"""Where a learner is in a catalog and what they may be given, for judging lists; nothing is computed by ranking.

Written a second time from `domain/ranking/scope.py`, docs/science.md and decision 43, in plain Python:

    scope          2^(-resources since / 3) or 2^(-days since the latest work / 7), whichever is larger; .7 of the
                   scope of a skill for each prerequisite that is not mastered, three steps down; the urgency of a
                   review that is due; 1 on the path to a goal
    gap            a skill of any importance that was worked on, is not mastered, has a chance of success below .85, is
                   within reach, and has a scope of at least .5
    working level  the median of the levels of the skills that were answered, weighted by scope, at least .01; without
                   any, of the resources that were worked on lately
    due            a mastered skill whose review is at least one half: 1 - 2^(-days / (7 sqrt(1 + successes))), or
                   (1 - expected recall) / .6, at most 1, with a recall model

What learners usually do next also counts in scope, up to .3. It is not known here: where there is such a count, the
working level lies between two levels, as it does where rounding decides. What is beyond the upper one is beyond reach;
what may be given is within the lower one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from services.recommender.domain.learner.events import InteractionKind
from services.recommender.domain.learner.state import LearnerState
from services.recommender.domain.ranking.catalog import BoolColumn, CatalogColumns, IntColumn
from services.recommender.evaluation.reason_facts import KnownSkill

_OPENED_AGAIN = 2
"""A resource opened again this often was opened three times."""
_DAY_S = 86_400.0
_IN_SCOPE, _ROUNDING = 0.5, 1e-9
_CHANCE_OF_GAP = 0.85
_BELOW, _STEPS_DOWN = 0.7, 3
_USUAL = 0.3
_LEAST_WEIGHT = 0.01
_LEVELS_ABOVE = 1.0
_REVIEW_HALF_LIFE_DAYS, _DUE = 7.0, 0.5
_FORGOTTEN_AT_MOST = 0.6


@dataclass(frozen=True)
class Whereabouts:
    """Where a learner is, and what they may be given.

    Attributes:
        catalog: the catalog.
        state: the learner's state.
        known: what is known of the learner on a skill; see `reason_facts`.
        as_of_s: the moment of the list, Unix seconds.
        allowed: N; what the request allows.
        usual: whether ranking knows what learners usually do next.
        by_recall: whether reviews are due by a recall model.
    """

    catalog: CatalogColumns
    state: LearnerState
    known: Callable[[str], KnownSkill]
    as_of_s: float
    allowed: BoolColumn
    usual: bool = False
    by_recall: bool = False

    def about(self, skills: Iterable[str]) -> BoolColumn:
        """N; whether a resource is about one of some skills."""
        return self.catalog.rows_about(skills)

    def weak_prerequisites(self, skills: Iterable[str]) -> frozenset[str]:
        """The direct prerequisites of some skills that are not mastered."""
        needed = {each for skill in skills if skill in self._slot for each in self._prerequisites(skill)}
        return frozenset(each for each in needed if not self.known(each).mastered)

    @cached_property
    def offered(self) -> BoolColumn:
        """N; what may be given: allowed, within reach, not dismissed, completed, or opened three times in vain."""
        refused = [
            *self.state.dismissals,
            *(
                touched.resource
                for touched in self.state.resources
                if touched.kind is InteractionKind.COMPLETED or touched.reopened >= _OPENED_AGAIN
            ),
        ]
        offered = self.allowed & ~self._far[0]
        offered[self.catalog.rows_of(refused)] = False
        return offered

    @property
    def beyond(self) -> BoolColumn:
        """N; what is more than a level above the working level, without mastered prerequisites or a goal."""
        return self._far[1]

    @cached_property
    def working_levels(self) -> tuple[float, float]:
        """The lowest and the highest that the working level can be; NaN: not known."""
        least: dict[float, float] = {}
        most: dict[float, float] = {}
        for skill in self._practised:
            level = float(self.catalog.skill_levels[self._slot[skill]])
            if not math.isnan(level):
                weight = max(self._scope.get(skill, 0.0), _LEAST_WEIGHT)
                least[level] = least.get(level, 0.0) + weight
                most[level] = most.get(level, 0.0) + (max(weight, _USUAL) if self.usual else weight)
        if not least:
            levels = self.catalog.levels[self._recent_rows()].tolist()
            least = most = {level: float(levels.count(level)) for level in levels if not math.isnan(level)}
        lowest = next((level for level in sorted(least) if _reach_half(most, least, level, 1.0 + _ROUNDING)), math.nan)
        highest = next((level for level in sorted(least) if _reach_half(least, most, level, 1.0 - _ROUNDING)), math.nan)
        return lowest, highest

    @cached_property
    def gaps(self) -> frozenset[str]:
        """The gaps in scope."""
        return frozenset(
            skill
            for skill in self._practised
            if _is_in_scope(self._scope.get(skill, 0.0))
            and not self.known(skill).mastered
            and self.known(skill).chance < _CHANCE_OF_GAP - _ROUNDING
            and self.catalog.importance[self._slot[skill]] > 0.0
            and self._is_near(skill)
        )

    @cached_property
    def mastered_not_due(self) -> frozenset[str]:
        """The mastered skills that are not due for review."""
        return frozenset(
            skill for skill in self._practised if self.known(skill).mastered and self._review(skill) < _DUE
        )

    @property
    def _slot(self) -> Mapping[str, int]:
        return self.catalog.slot_of_skill

    @cached_property
    def _practised(self) -> tuple[str, ...]:
        """The skills of the catalog that the learner responded to."""
        return tuple(each for each in self.state.skill_names if each in self._slot and self.known(each).responses > 0)

    @cached_property
    def _path(self) -> frozenset[str]:
        """The goals and what they build on, down to what is mastered."""
        path: set[str] = set()
        ahead = [goal for goal in self.state.preferences.goals if goal in self._slot]
        while ahead:
            skill = ahead.pop()
            if skill not in path and not self.known(skill).mastered:
                path.add(skill)
                ahead += self._prerequisites(skill)
        return frozenset(path)

    @cached_property
    def _scope(self) -> dict[str, float]:
        """The scope of each skill that has any, without what learners usually do next."""
        scope = self._worked_on()
        for _ in range(_STEPS_DOWN):
            for skill, value in list(scope.items()):
                for below in () if self.known(skill).mastered else self._prerequisites(skill):
                    if not self.known(below).mastered:
                        scope[below] = max(scope.get(below, 0.0), _BELOW * value)
        for skill in self._practised:
            if self.known(skill).mastered and (review := self._review(skill)) >= _DUE:
                scope[skill] = max(scope.get(skill, 0.0), review)
        return scope | dict.fromkeys(self._path, 1.0)

    def _recent_rows(self) -> IntColumn:
        """The rows of what was worked on lately, newest last."""
        return self.catalog.rows_of(touched.resource for touched in self.state.resources)

    def _worked_on(self) -> dict[str, float]:
        """The scope of each skill by how lately it was worked on."""
        scope: dict[str, float] = {}
        rows = self._recent_rows()
        for since, row in enumerate(reversed(rows.tolist())):
            for slot in self.catalog.tags.row(row).tolist():
                scope.setdefault(self.catalog.skill_ids[slot], 2.0 ** (-since / 3.0))
        times = {skill: self.known(skill).last_at_s for skill in self._practised}
        # A time after the moment of the list counts as that moment.
        timed = {skill: min(at_s, self.as_of_s) for skill, at_s in times.items() if at_s > 0.0}
        latest = max(timed.values(), default=0.0)
        for skill, at_s in timed.items():
            scope[skill] = max(scope.get(skill, 0.0), 2.0 ** (-(latest - at_s) / (7.0 * _DAY_S)))
        if not len(rows) and not timed:
            scope = dict.fromkeys(self._practised, 1.0)
        return scope

    def _is_near(self, skill: str) -> bool:
        """Whether a skill is within reach."""
        if not self.catalog.skill_levels[self._slot[skill]] > self.working_levels[0] + _LEVELS_ABOVE:
            return True
        needed = self._prerequisites(skill)
        return skill in self._path or bool(needed and all(self.known(each).mastered for each in needed))

    @cached_property
    def _far(self) -> tuple[BoolColumn, BoolColumn]:
        """N; whether a resource is too far above the lowest and the highest that the working level can be."""
        lowest, highest = self.working_levels
        above_lowest = self._too_far(lowest)
        return above_lowest, above_lowest if lowest == highest else self._too_far(highest)

    def _too_far(self, level: float) -> BoolColumn:
        """N; whether a resource is too far above a level."""
        far: BoolColumn = self.catalog.levels > level + _LEVELS_ABOVE
        for row in far.nonzero()[0].tolist():
            own = {self.catalog.skill_ids[slot] for slot in self.catalog.tags.row(row).tolist()}
            needed = {each for skill in own for each in self._prerequisites(skill)} - own
            far[row] = not (own & self._path or (needed and all(self.known(each).mastered for each in needed)))
        return far

    def _review(self, skill: str) -> float:
        """How much of a mastered skill is probably forgotten; 0 without a time."""
        known = self.known(skill)
        if self.by_recall:
            return 0.0 if known.recall is None else min(1.0, (1.0 - known.recall) / _FORGOTTEN_AT_MOST)
        if known.last_at_s <= 0.0:
            return 0.0
        days = max(self.as_of_s - known.last_at_s, 0.0) / _DAY_S
        return 1.0 - math.exp2(-days / (_REVIEW_HALF_LIFE_DAYS * math.sqrt(1.0 + known.successes)))

    def _prerequisites(self, skill: str) -> list[str]:
        return [self.catalog.skill_ids[slot] for slot in self.catalog.skill_prerequisites.row(self._slot[skill])]


def _reach_half(below: Mapping[float, float], above: Mapping[float, float], level: float, favour: float) -> bool:
    """Whether the weights up to a level, times `favour`, are at least those above it."""
    up_to = math.fsum(weight for each, weight in below.items() if each <= level)
    return up_to * favour >= math.fsum(weight for each, weight in above.items() if each > level)


def _is_in_scope(scope: float) -> bool:
    """Whether a scope is at least half, also with the rounding of another program; a power of two is not rounded."""
    return scope == _IN_SCOPE or scope >= _IN_SCOPE + _ROUNDING
