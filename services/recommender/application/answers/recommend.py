"""Recommend: a ranked list for one learner, computed on request."""

from __future__ import annotations

from collections.abc import Callable

from services.common.turns import Turns
from services.recommender.application.answers.fresh_state import FreshStates
from services.recommender.application.answers.prepared_catalogs import PreparedCatalogs
from services.recommender.application.answers.rank_learner import RankLearner, Recommendations, RecommendQuery, Waited
from services.recommender.application.ports.learners import LearnerKey


class Recommend:
    """Ranks a tenant's catalog for a learner."""

    def __init__(
        self,
        states: FreshStates,
        catalogs: PreparedCatalogs,
        ranking: RankLearner,
        turns: Turns,
        timer: Callable[[], float],
    ) -> None:
        """Args: `timer` returns monotonic seconds."""
        self._states = states
        self._catalogs = catalogs
        self._ranking = ranking
        self._turns = turns
        self._timer = timer

    async def __call__(self, tenant: str, query: RecommendQuery, remaining_s: float) -> Recommendations:
        """A ranked list. The same query, state, epoch, catalog and bundle give the same list.

        Args:
            tenant: the tenant.
            query: the request.
            remaining_s: time until the caller gives up.

        Raises:
            LogDiffersError: when the freshness token belongs to another log.
            StateUnavailableError: when the learner's state cannot be read.
        """
        with self._turns.expected(tenant):
            began = self._timer()
            fresh = await self._states.read(LearnerKey(tenant, query.learner), query.freshness, remaining_s)
            read = self._timer()
            snapshot = await self._catalogs.snapshot(tenant, fresh.epoch)
            waited = Waited(read_s=read - began, prepare_s=self._timer() - read)
            async with self._turns.of(tenant):
                return self._ranking.rank(snapshot, query, fresh, waited=waited)
