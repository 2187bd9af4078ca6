"""PreviewRule: what a rule would change in the lists of some learners, without writing it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from datetime import datetime

from services.recommender.application.answers.fresh_state import FreshStates
from services.recommender.application.answers.recommend import Recommend, Recommendations, RecommendQuery
from services.recommender.application.answers.rosters import LearnerProblem, RosterEntry, read_roster
from services.recommender.application.ports.catalog import CatalogReader
from services.recommender.domain.ranking.policy import ResourceFilter
from services.recommender.domain.ranking.rules import Rule

# Ranking is arithmetic on one thread: between so many learners other calls have their turn.
_LEARNERS_PER_TURN = 2


@dataclass(frozen=True, slots=True)
class PreviewQuery:
    """What is asked for.

    Attributes:
        rule: the rule as it would be; one of its id is taken as replaced.
        removed: ask instead what removing the rule of that id would change.
        roster: the learners.
        limit: most resources for each.
        wanted: which resources may be in the lists.
        as_of: the moment to answer for; None: now, cut to the hour.
        class_id: the class it is asked for; empty: none.
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
    """The ids of one learner's list as it is, and as it would be, best first."""

    before: tuple[str, ...]
    after: tuple[str, ...]


class PreviewRule:
    """Ranks twice: with the rules that stand, and with those that would."""

    def __init__(self, states: FreshStates, recommend: Recommend, catalog: CatalogReader) -> None:
        """Args: ports and use cases; `catalog`, the one that `recommend` ranks."""
        self._states = states
        self._recommend = recommend
        self._catalog = catalog

    async def __call__(self, tenant: str, query: PreviewQuery) -> list[Preview | LearnerProblem]:
        """Both lists of each learner, in the order of the roster, from the same state.

        Raises:
            StateUnavailableError: when no state can be read.
        """
        found = await read_roster(self._states, tenant, query.roster)
        as_of = query.as_of or self._recommend.now()
        of_learner = RecommendQuery("", query.limit, query.wanted, as_of, None, query.class_id)
        previews: list[Preview | LearnerProblem] = []
        for number, (entry, fresh) in enumerate(zip(query.roster, found, strict=True), start=1):
            if isinstance(fresh, LearnerProblem):
                previews.append(fresh)
                continue
            asked = replace(of_learner, learner=entry.learner)
            # Rules point into a catalog that may have changed while others had their turn.
            catalog, standing = self._catalog.columns(tenant), self._catalog.rules(tenant)
            if query.removed:
                would_stand = standing.without_rule(query.rule.rule_id)
            else:
                would_stand = standing.with_rule(catalog, query.rule)
            before = self._recommend.answer(tenant, asked, fresh, rules=standing)
            after = self._recommend.answer(tenant, asked, fresh, rules=would_stand)
            previews.append(Preview(_ids(before), _ids(after)))
            if not number % _LEARNERS_PER_TURN:
                await asyncio.sleep(0)
        return previews


def _ids(answer: Recommendations) -> tuple[str, ...]:
    return tuple(answer.catalog.resource_ids[resource.row] for resource in answer.resources)
