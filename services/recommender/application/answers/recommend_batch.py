"""RecommendBatch: lists for a roster in one call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from services.common.turns import Turns
from services.recommender.application.answers.answer_clock import AnswerClock
from services.recommender.application.answers.fresh_state import FreshState, FreshStates
from services.recommender.application.answers.prepared_catalogs import PreparedCatalogs
from services.recommender.application.answers.provenance import Provenance
from services.recommender.application.answers.rank_learner import RankLearner, Recommendations, RecommendQuery
from services.recommender.application.answers.rosters import LearnerProblem, RosterEntry, read_roster
from services.recommender.application.answers.show_learner import SkillMastery, skill_masteries
from services.recommender.domain.ranking.policy import ResourceFilter


@dataclass(frozen=True, slots=True)
class BatchQuery:
    """A request for lists.

    Attributes:
        roster: the learners.
        limit: most resources per learner.
        wanted: which resources the lists may contain.
        as_of: the moment to answer for; None: now, truncated to the hour.
        class_id: the class that the lists are for; empty: none.
    """

    roster: tuple[RosterEntry, ...]
    limit: int
    wanted: ResourceFilter
    as_of: datetime | None
    class_id: str


@dataclass(frozen=True, slots=True)
class LearnerAnswer:
    """One learner's list, and the gap to work on first; None: no gap."""

    answer: Recommendations
    gap: SkillMastery | None


class RecommendBatch:
    """Ranks a tenant's catalog for a roster. A problem with one learner does not fail the others."""

    def __init__(
        self,
        states: FreshStates,
        catalogs: PreparedCatalogs,
        ranking: RankLearner,
        turns: Turns,
        clock: AnswerClock,
    ) -> None:
        self._states = states
        self._turns = turns
        self._catalogs = catalogs
        self._ranking = ranking
        self._clock = clock

    async def __call__(self, tenant: str, query: BatchQuery) -> list[LearnerAnswer | LearnerProblem]:
        """An answer for each learner, in roster order: the list that `Recommend` would return.

        Raises:
            StateUnavailableError: when no state can be read.
        """
        found = await read_roster(self._states, tenant, query.roster)
        as_of = query.as_of or self._clock.now()
        of_learner = RecommendQuery("", query.limit, query.wanted, as_of, None, query.class_id)
        answers: list[LearnerAnswer | LearnerProblem] = []
        for entry, fresh in zip(query.roster, found, strict=True):
            if isinstance(fresh, LearnerProblem):
                answers.append(fresh)
                continue
            snapshot = await self._catalogs.snapshot(tenant, fresh.epoch)
            async with self._turns.piece(tenant):
                answer = self._ranking.rank(snapshot, replace(of_learner, learner=entry.learner), fresh)
                answers.append(LearnerAnswer(answer, _gap(tenant, answer, fresh)))
        return answers


def _gap(tenant: str, answer: Recommendations, fresh: FreshState) -> SkillMastery | None:
    """The most urgent of the skills in scope that the learner has worked on and not mastered."""
    if fresh.stored is None or not answer.gap:
        return None
    return skill_masteries(fresh.stored.state, [answer.gap], fresh.epoch.parameters.for_tenant(tenant))[0]


def shared_provenance(answers: Sequence[LearnerAnswer | LearnerProblem]) -> Provenance | None:
    """What all lists were computed from, without the learners' positions; None: there is no list."""
    for answer in answers:
        if isinstance(answer, LearnerAnswer):
            return replace(answer.answer.provenance, applied=None)
    return None
