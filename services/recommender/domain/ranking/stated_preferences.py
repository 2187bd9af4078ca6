"""A learner's stated preferences: goals, formats, interests, pace and dismissals.

A goal is a skill. The path to it consists of the skill and its direct and indirect prerequisites, as long as they are
not mastered. `signals.goal` and `signals.preference` decide how goals and preferences count in the score.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import TypeVar

import numpy as np

from services.recommender.domain.learner.events import InteractionKind
from services.recommender.domain.learner.preferences import Pace, Preferences
from services.recommender.domain.learner.state import LearnerState
from services.recommender.domain.ranking.catalog import BoolColumn, CatalogColumns, FloatColumn, IntColumn
from services.recommender.domain.ranking.features import SkillEstimates
from services.recommender.domain.ranking.policy import Eligibility
from services.recommender.domain.ranking.thresholds import RankingThresholds

_Thresholds = TypeVar("_Thresholds", bound=RankingThresholds)

SUCCESS_OF_PACE = MappingProxyType({Pace.GENTLE: 0.85, Pace.STEADY: 0.75, Pace.BRISK: 0.65})
"""The chance of success at which practice fits best, by pace."""


def paced(thresholds: _Thresholds, preferences: Preferences) -> _Thresholds:
    """The thresholds for a learner's pace."""
    target = SUCCESS_OF_PACE.get(preferences.pace, thresholds.fit_target)
    return thresholds if target == thresholds.fit_target else dataclasses.replace(thresholds, fit_target=target)


def keep_away(
    catalog: CatalogColumns,
    estimates: SkillEstimates,
    state: LearnerState | None,
    eligible: Eligibility,
    thresholds: RankingThresholds,
) -> Eligibility:
    """Exclude resources that the learner dismissed, and those they completed unless a review is due."""
    if state is None:
        return eligible
    completed = catalog.rows_of(
        recent.resource for recent in state.resources if recent.kind is InteractionKind.COMPLETED
    )
    dismissed = catalog.rows_of(state.dismissals)
    if not len(completed) and not len(dismissed):
        return eligible
    owners, entries = catalog.tags.entries(completed)
    due = catalog.tag_weights[entries] * estimates.reviews[catalog.tags.values[entries]]
    reviews = np.bincount(owners, due, minlength=len(completed))
    suitable, allowed = eligible.suitable.copy(), eligible.allowed.copy()
    allowed[completed[reviews < thresholds.review_opens]] = False
    suitable[dismissed] = allowed[dismissed] = False
    return Eligibility(suitable, allowed)


def goal_path(catalog: CatalogColumns, mastered: BoolColumn, goals: Sequence[str]) -> IntColumn:
    """For each skill the slot of the first goal it leads to, -1 where it leads to none or is mastered."""
    leads_to = np.full(len(catalog.skill_ids), -1, np.intp)
    for goal in goals:
        first = catalog.slot_of_skill.get(goal, -1)
        # A loop instead of recursion, because chains can be long, and prerequisites can be circular.
        ahead = [first] if first >= 0 else []
        while ahead:
            slot = ahead.pop()
            if leads_to[slot] >= 0 or mastered[slot]:
                continue
            leads_to[slot] = first
            ahead += catalog.skill_prerequisites.row(slot).tolist()
            ahead += catalog.equivalents.row(slot).tolist()
    return leads_to


@dataclass(frozen=True)
class RankingPreferences:
    """One learner's stated preferences, looked up in one catalog.

    Attributes:
        leads_to: S; slot of the goal each skill leads to; see `goal_path`.
        kinds: the kinds the learner prefers.
        topics: the topics the learner likes.
    """

    leads_to: IntColumn
    kinds: tuple[int, ...]
    topics: tuple[str, ...]

    @cached_property
    def path(self) -> BoolColumn:
        """S; whether a skill is on the path to a goal."""
        return self.leads_to >= 0

    def __bool__(self) -> bool:
        return bool(self.kinds or self.topics) or bool(self.path.any())

    def urgency(self, estimates: SkillEstimates) -> FloatColumn | None:
        """The urgency of each skill on the path to a goal, above 0, and 0 for others. None when there is no path."""
        if not self.path.any():
            return None
        return np.where(self.path, np.maximum(estimates.urgencies, np.finfo(np.float64).tiny), 0.0)


def ranking_preferences_of(
    catalog: CatalogColumns, estimates: SkillEstimates, preferences: Preferences
) -> RankingPreferences:
    """A learner's preferences, looked up in a catalog; false when nothing in it is preferred."""
    return RankingPreferences(
        goal_path(catalog, estimates.mastered, preferences.goals), preferences.formats, preferences.interests
    )
