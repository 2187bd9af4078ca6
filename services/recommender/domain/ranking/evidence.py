"""What the reasons of a list can refer to: the learner's answers, latest work and preferences, and the catalog."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from services.recommender.domain.learner.state import LearnerState
from services.recommender.domain.ranking.answer_record import Answers
from services.recommender.domain.ranking.catalog import CatalogColumns, IntColumn
from services.recommender.domain.ranking.features import CollaborativeScores, SkillEstimates
from services.recommender.domain.ranking.interaction_statistics import InteractionColumns
from services.recommender.domain.ranking.reasons import Step
from services.recommender.domain.ranking.stated_preferences import RankingPreferences
from services.recommender.domain.ranking.thresholds import RankingThresholds

RATHER_FAILS = 0.5
"""Below this chance of success a learner rather fails than succeeds, so teaching comes before practice."""
_LATEST_RESOURCES = 3
_USUAL_NEXT_SKILLS = 5
_LEARNERS_LEAST = 5
_POINT_WIDTH = 0.1


@dataclass(frozen=True, slots=True)
class Pick:
    """A candidate that made it into the list.

    Attributes:
        row: its row of the catalog.
        slot: slot of the skill it serves, -1 without tags.
        kind: number of its resource kind.
        success: chance of success on it.
        step: what to do with it.
        number: how many resources of the list serve that skill up to this one.
    """

    row: int
    slot: int
    kind: int
    success: float
    step: Step
    number: int


@dataclass(frozen=True)
class Evidence:
    """What the reasons of one list can refer to.

    Attributes:
        catalog: the catalog.
        estimates: the learner's skills.
        preferences: what the learner prefers; None: nothing.
        thresholds: the thresholds.
        state: the learner's state; None for a new learner.
        recent: rows of the catalog that the learner worked on lately, oldest first.
        similar: the collaborative scores that count, if any.
        statistics: what learners usually work on; None without a learned ranker.
        sources: whose answers count for skills that the learner never answered; see `crosswalk`.
    """

    catalog: CatalogColumns
    estimates: SkillEstimates
    preferences: RankingPreferences | None
    thresholds: RankingThresholds
    state: LearnerState | None
    recent: IntColumn
    similar: CollaborativeScores | None = None
    statistics: InteractionColumns | None = None
    sources: Mapping[int, int] = field(default_factory=dict)
    _answers: dict[int, Answers] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def knows_nothing(self) -> bool:
        """Whether the learner has given no answer yet."""
        return self.state is None or self.state.responses == 0

    def answers(self, slot: int) -> Answers:
        """The learner's answers on a skill."""
        known = self._answers.get(slot)
        if known is None:
            estimates = self.estimates
            known = self._answers[slot] = Answers(
                responses=int(estimates.responses[slot]),
                successes=float(estimates.successes[slot]),
                recent_failures=self._recent_failures(slot),
                chance=float(estimates.probabilities[slot]),
                mastered=bool(estimates.mastered[slot]),
            )
        return known

    def _recent_failures(self, slot: int) -> float:
        if self.state is None:
            return 0.0
        place = self.state.slot_of_skill.get(self.catalog.skill_ids[slot])
        return 0.0 if place is None else float(self.state.skill_records["recent_failures"][place])

    @cached_property
    def latest_skills(self) -> tuple[int, ...]:
        """Slots of the skills of the latest work, the latest first."""
        found: dict[int, None] = {}
        for row in self.recent[::-1][:_LATEST_RESOURCES].tolist():
            found |= dict.fromkeys(self.catalog.tags.row(row).tolist())
        return tuple(found)

    @cached_property
    def usually_next(self) -> frozenset[int]:
        """Slots of the few skills that learners most often work on soon after one of the latest resource's skills."""
        if self.statistics is None or not len(self.recent):
            return frozenset()
        links, found = self.statistics.follows, set()
        for slot in self.catalog.tags.row(int(self.recent[-1])).tolist():
            first, last = int(links.starts[slot]), int(links.starts[slot + 1])
            order = (-links.strengths[first:last]).argsort(kind="stable").tolist()
            following = [int(links.skills[first + place]) for place in order if links.strengths[first + place] > 0.0]
            found.update([each for each in following if each not in self.latest_skills][:_USUAL_NEXT_SKILLS])
        return frozenset(found)

    def usually_at_this_point(self, row: int) -> bool:
        """Whether learners usually work on a resource about as far into their work as the learner now is."""
        if self.statistics is None or not len(self.recent):
            return False
        places, learners = self.statistics.places, self.statistics.popularity
        latest = self.recent[-_LATEST_RESOURCES:]
        known = latest[learners[latest] > 0.0]
        if not len(known) or learners[row] < np.log1p(_LEARNERS_LEAST):
            return False
        return abs(float(places[row]) - float(places[known].mean())) <= _POINT_WIDTH

    @property
    def by_popularity(self) -> bool:
        """Whether the collaborative scores that count are the same for every learner."""
        return self.similar is not None and self.similar.for_all

    def rank_for_similar_learners(self, row: int) -> tuple[int, int] | None:
        """The place of a resource among those that the learner has not worked on lately, by the collaborative scores.

        Returns:
            The place, from 1, and the number of resources; None where similar learners are no reason for it: nothing
            of the learner's history is known to the model, or the resource scores no better than the mean of them.
        """
        similar = self.similar
        if similar is None or not similar.positives:
            return None
        index = int(similar.index_of_row[row])
        others, mean = self._scores_of_others
        if index < 0 or not similar.scores[index] > mean:
            return None
        return 1 + int(np.count_nonzero(others > similar.scores[index])), len(others)

    @cached_property
    def _scores_of_others(self) -> tuple[NDArray[np.float32], float]:
        """The collaborative scores of the resources that the learner has not worked on lately, and their mean."""
        if self.similar is None:
            return np.zeros(0, np.float32), 0.0
        own = self.similar.index_of_row[self.recent]
        others = np.delete(self.similar.scores, own[own >= 0])
        return others, float(others.mean()) if len(others) else 0.0

    def needed_for(self, slot: int) -> int | None:
        """The slot of a skill of the latest work that builds on a skill directly; None: there is none."""
        if slot in self.latest_skills:
            return None
        builds_on = self.catalog.skill_prerequisites
        return next((latest for latest in self.latest_skills if slot in builds_on.row(latest)), None)
