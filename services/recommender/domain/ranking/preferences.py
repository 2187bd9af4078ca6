"""What a learner said they want, and what it does to ranking: goals, formats, interests, pace, and what they put away.

A goal is a skill; on its path are itself and, as long as they are not mastered, its prerequisites and theirs. With r a
resource and tag_rk as in `features`:

    goal_r       = sum over the skills k on a path of tag_rk
    preference_r = share of what the learner prefers that r has: one of the kinds, one of the topics

Both are in [0, 1] and count as the gap does, where a resource is open and the learner is ready for it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType

import numpy as np

from services.recommender.domain.learner.events import InteractionKind
from services.recommender.domain.learner.preferences import Pace, Preferences
from services.recommender.domain.learner.state import LearnerState
from services.recommender.domain.ranking.catalog import (
    BoolColumn,
    CatalogColumns,
    FloatColumn,
    IntColumn,
    ResourceKind,
)
from services.recommender.domain.ranking.explain import REASONS_MAX, Explanation, Reason, ReasonKind
from services.recommender.domain.ranking.features import Features, SkillEstimates
from services.recommender.domain.ranking.policy import Eligibility
from services.recommender.domain.ranking.scoring import Scores
from services.recommender.domain.ranking.weights import RankingWeights

SUCCESS_OF_PACE = MappingProxyType({Pace.GENTLE: 0.85, Pace.STEADY: 0.75, Pace.BRISK: 0.65})
"""The chance of success that practice is chosen for, by pace."""


def paced(weights: RankingWeights, preferences: Preferences) -> RankingWeights:
    """The weights for a learner's pace; where practice gives way to teaching moves with what fits best."""
    target = SUCCESS_OF_PACE.get(preferences.pace, weights.fit_target)
    if target == weights.fit_target:
        return weights
    teach_below = weights.teach_below + target - weights.fit_target
    return dataclasses.replace(weights, fit_target=target, teach_below=teach_below)


def keep_away(
    catalog: CatalogColumns,
    estimates: SkillEstimates,
    state: LearnerState | None,
    eligible: Eligibility,
    weights: RankingWeights,
) -> Eligibility:
    """Leave out what the learner put away, and what they completed unless a review of it is due."""
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
    allowed[completed[reviews < weights.review_opens]] = False
    suitable[dismissed] = allowed[dismissed] = False
    return Eligibility(suitable, allowed)


def goal_path(catalog: CatalogColumns, mastered: BoolColumn, goals: Sequence[str]) -> IntColumn:
    """For each skill the slot of the first goal it leads to, -1 where it leads to none or is mastered."""
    leads_to = np.full(len(catalog.skill_ids), -1, np.intp)
    for goal in goals:
        first = catalog.slot_of_skill.get(goal, -1)
        # One after the other, not recursively: chains may be long, and prerequisites may go in a circle.
        ahead = [first] if first >= 0 else []
        while ahead:
            slot = ahead.pop()
            if leads_to[slot] >= 0 or mastered[slot]:
                continue
            leads_to[slot] = first
            ahead += catalog.skill_prerequisites.row(slot).tolist()
    return leads_to


@dataclass(frozen=True)
class RankingPreferences:
    """What one learner wants of one catalog.

    Attributes:
        leads_to: S; the goal each skill leads to, as `goal_path` says.
        kinds: the kinds the learner prefers.
        topics: the topics they like.
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
        """How urgent each skill on a goal's path is, above 0; 0 off it. None when there is no path."""
        if not self.path.any():
            return None
        return np.where(self.path, np.maximum(estimates.urgencies, np.finfo(np.float64).tiny), 0.0)

    def mark(self, catalog: CatalogColumns, rows: IntColumn, features: Features) -> Features:
        """Features that know of the wishes."""
        if not self:
            return features
        goal: FloatColumn = np.zeros(len(rows))
        if self.path.any():
            owners, entries = catalog.tags.entries(rows)
            on_path = self.path[catalog.tags.values[entries]]
            np.add.at(goal, owners, catalog.tag_weights[entries] * on_path)
        asked = bool(self.kinds) + bool(self.topics)
        preference = np.zeros(len(rows))
        if self.kinds:
            preference += np.isin(catalog.kinds[rows], self.kinds) / asked
        if self.topics:
            preference += catalog.topics.carrying(self.topics)[rows] / asked
        return dataclasses.replace(features, on_goal_path=goal > 0.0, goal=goal, preference=preference)

    def tell(
        self,
        catalog: CatalogColumns,
        rows: IntColumn,
        scores: Scores,
        picked: IntColumn,
        explanations: Sequence[Explanation],
    ) -> list[Explanation]:
        """Explanations that also name what the learner asked for: it is told even where two reasons are stronger."""
        if scores.goal is None or scores.preference is None:
            return list(explanations)
        told = []
        for place, explanation in zip(picked.tolist(), explanations, strict=True):
            row = int(rows[place])
            asked = [
                Reason(kind, text(catalog, row), float(added[place]))
                for kind, text, added in (
                    (ReasonKind.GOAL, self._goal_sentence, scores.goal),
                    (ReasonKind.PREFERENCE, self._preference_sentence, scores.preference),
                )
                if added[place] > 0.0
            ]
            told.append(explanation._replace(reasons=_strongest(explanation.reasons, asked)))
        return told

    def _goal_sentence(self, catalog: CatalogColumns, row: int) -> str:
        slots, shares = catalog.tags.row(row), catalog.shares(row)
        slot = int(slots[np.argmax(shares * self.path[slots])])
        goal = int(self.leads_to[slot])
        if slot == goal:
            return f"{catalog.skill_labels[slot]} is a goal of the learner"
        return f"{catalog.skill_labels[slot]} leads to the goal {catalog.skill_labels[goal]}"

    def _preference_sentence(self, catalog: CatalogColumns, row: int) -> str:
        kind = int(catalog.kinds[row])
        liked = [topic for topic in self.topics if row in catalog.topics.rows.get(topic, ())]
        said = []
        if kind in self.kinds:
            said.append(f"of a kind the learner prefers ({ResourceKind(kind).name.lower()})")
        if liked:
            said.append(f"about what they like ({', '.join(liked[:2])})")
        told = " and ".join(said)
        return told[0].upper() + told[1:]


def ranking_preferences_of(
    catalog: CatalogColumns, estimates: SkillEstimates, preferences: Preferences
) -> RankingPreferences:
    """What a learner wants of a catalog; false when they want nothing of it."""
    return RankingPreferences(
        goal_path(catalog, estimates.mastered, preferences.goals), preferences.formats, preferences.interests
    )


def _strongest(reasons: Sequence[Reason], asked: Sequence[Reason]) -> tuple[Reason, ...]:
    """The strongest reasons, at least one of them asked for if any was."""
    every = sorted((*reasons, *asked), key=lambda reason: -reason.contribution)
    kept = every[:REASONS_MAX]
    if asked and not any(reason in asked for reason in kept):
        kept = [*every[: REASONS_MAX - 1], max(asked, key=lambda reason: reason.contribution)]
    return tuple(kept)
