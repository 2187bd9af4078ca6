"""PreviewRule: how a rule would change the lists of some learners; the rule is not stored."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from services.common.turns import Turns
from services.recommender.application.answers.answer_clock import AnswerClock
from services.recommender.application.answers.fresh_state import FreshStates
from services.recommender.application.answers.prepared_catalogs import PreparedCatalogs
from services.recommender.application.answers.rank_learner import RankLearner, Recommendations, RecommendQuery
from services.recommender.application.answers.rosters import LearnerProblem, RosterEntry, read_roster
from services.recommender.domain.ranking.policy import ResourceFilter
from services.recommender.domain.ranking.rules import Rule


@dataclass(frozen=True, slots=True)
class PreviewQuery:
    """A request for a preview.

    Attributes:
        rule: the rule; it replaces a stored rule of the same id.
        removed: preview the removal of the rule with this id instead.
        roster: the learners.
        limit: most resources per learner.
        wanted: which resources the lists may contain.
        as_of: the moment to answer for; None: now, truncated to the hour.
        class_id: the class that the lists are for; empty: none.
    """

    rule: Rule
    removed: bool
    roster: tuple[RosterEntry, ...]
    limit: int
    wanted: ResourceFilter
    as_of: datetime | None
    class_id: str


@dataclass(frozen=True, slots=True)
class Preview:
    """The resource ids of one learner's list without and with the change, best first."""

    before: tuple[str, ...]
    after: tuple[str, ...]


class PreviewRule:
    """Ranks twice: with the tenant's current rules, and with the change."""

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

    async def __call__(self, tenant: str, query: PreviewQuery) -> list[Preview | LearnerProblem]:
        """Both lists of each learner, in roster order, from the same state.

        Raises:
            StateUnavailableError: when no state can be read.
        """
        found = await read_roster(self._states, tenant, query.roster)
        as_of = query.as_of or self._clock.now()
        of_learner = RecommendQuery("", query.limit, query.wanted, as_of, None, query.class_id)
        previews: list[Preview | LearnerProblem] = []
        for entry, fresh in zip(query.roster, found, strict=True):
            if isinstance(fresh, LearnerProblem):
                previews.append(fresh)
                continue
            asked = replace(of_learner, learner=entry.learner)
            snapshot = await self._catalogs.snapshot(tenant, fresh.epoch)
            async with self._turns.piece(tenant):
                if query.removed:
                    changed = snapshot.rules.without_rule(query.rule.rule_id)
                else:
                    changed = snapshot.rules.with_rule(snapshot.catalog, query.rule)
                before = self._ranking.rank(snapshot, asked, fresh)
            async with self._turns.piece(tenant):
                after = self._ranking.rank(snapshot, asked, fresh, rules=changed)
            previews.append(Preview(_ids(before), _ids(after)))
        return previews


def _ids(answer: Recommendations) -> tuple[str, ...]:
    return tuple(answer.catalog.resource_ids[resource.row] for resource in answer.resources)
