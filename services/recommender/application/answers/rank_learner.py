"""Ranks a tenant's catalog for a learner whose state has been read."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from services.common.kafka.envelope import Position
from services.common.rpc.freshness import Freshness
from services.recommender.application.answers.answer_clock import AnswerClock
from services.recommender.application.answers.fresh_state import FreshState
from services.recommender.application.answers.prepared_catalogs import RankingSnapshot
from services.recommender.application.answers.provenance import Degradation, Provenance
from services.recommender.domain.ranking.catalog import CatalogColumns
from services.recommender.domain.ranking.pipeline import rank
from services.recommender.domain.ranking.policy import EVERYTHING, ResourceFilter
from services.recommender.domain.ranking.request import RankedList, RankedResource, RankingRequest
from services.recommender.domain.ranking.rules import RuleBook
from services.recommender.domain.ranking.weights import DEFAULT_WEIGHTS, RankingPolicy, RankingWeights


@dataclass(frozen=True, slots=True)
class RecommendQuery:
    """A request for a list.

    Attributes:
        learner: the learner's pseudonym.
        limit: most resources in the list.
        wanted: which resources the list may contain.
        as_of: the moment to answer for; None: now, truncated to the hour.
        freshness: the record the answer must include, if any.
        class_id: the class that the list is for; empty: none.
    """

    learner: str
    limit: int
    wanted: ResourceFilter = EVERYTHING
    as_of: datetime | None = None
    freshness: Freshness | None = None
    class_id: str = ""


@dataclass(frozen=True, slots=True)
class Recommendations:
    """A ranked list and what it was computed from.

    Attributes:
        catalog: the catalog that the resources' rows point into.
        resources: the list, best first.
        recommendation_ids: one per resource.
        provenance: what it was computed from.
        degraded: what was missing, ordered as in the contract.
        candidates: how many resources were scored.
        stage_seconds: time by stage.
        gap: id of the learner's most urgent gap; empty without any.
    """

    catalog: CatalogColumns
    resources: tuple[RankedResource, ...]
    recommendation_ids: tuple[str, ...]
    provenance: Provenance
    degraded: tuple[Degradation, ...]
    candidates: int
    stage_seconds: Mapping[str, float]
    gap: str = ""


@dataclass(frozen=True, slots=True)
class Waited:
    """Seconds spent before ranking: reading the state, and waiting for the catalog to be prepared."""

    read_s: float = 0.0
    prepare_s: float = 0.0


class RankLearner:
    """Makes a learner's list from a snapshot, without I/O."""

    def __init__(
        self, clock: AnswerClock, timer: Callable[[], float], weights: RankingWeights = DEFAULT_WEIGHTS
    ) -> None:
        """Args: `clock` for queries without a moment; `timer` returns monotonic seconds."""
        self._clock = clock
        self._timer = timer
        self._weights = weights

    def rank(
        self,
        snapshot: RankingSnapshot,
        query: RecommendQuery,
        fresh: FreshState,
        *,
        rules: RuleBook | None = None,
        waited: Waited = Waited(),
    ) -> Recommendations:
        """A list. The same snapshot, query and state give the same list.

        Args:
            snapshot: what the tenant's lists depend on.
            query: the request; its `freshness` is ignored.
            fresh: the learner's state.
            rules: replaces the tenant's rules.
            waited: the stages before ranking, for `stage_seconds`.
        """
        began = self._timer()
        as_of = query.as_of or self._clock.now()
        state = None if fresh.stored is None else fresh.stored.state
        book = snapshot.rules if rules is None else rules
        request = RankingRequest(
            tenant=snapshot.tenant,
            learner=query.learner,
            state=state,
            # The id of a bundle begins with its time, and equal models give equal lists.
            models_id=fresh.epoch.meta.parameters_id if snapshot.bundle else "",
            as_of_s=as_of.timestamp(),
            day=as_of.astimezone(UTC).date().isoformat(),
            wanted=query.wanted,
            limit=query.limit,
            rules=book.active(query.class_id, query.wanted.grades, as_of.timestamp()),
            models=snapshot.rankable.base_scores(state),
            need_share=snapshot.policy.need_share,
        )
        ranked_from = self._timer()
        ranked = rank(snapshot.prepared, request, self._weights, self._timer)
        provenance = Provenance(as_of, fresh.epoch.meta.epoch, fresh.applied, snapshot.version, snapshot.bundle or "")
        return Recommendations(
            catalog=snapshot.catalog,
            resources=ranked.resources,
            recommendation_ids=_recommendation_ids(snapshot, query, provenance, ranked.resources),
            provenance=provenance,
            degraded=_degraded(snapshot, fresh, ranked),
            candidates=ranked.candidates,
            stage_seconds={
                "read": waited.read_s,
                "prepare": waited.prepare_s + ranked_from - began,
                **ranked.stage_seconds,
            },
            gap=ranked.gap,
        )


def _degraded(snapshot: RankingSnapshot, fresh: FreshState, ranked: RankedList) -> tuple[Degradation, ...]:
    no_bundle = snapshot.bundle is None or not fresh.epoch.parameters_found
    missing = {
        Degradation.NEW_LEARNER: fresh.new_learner,
        Degradation.NO_BUNDLE: no_bundle,
        Degradation.NO_COLLABORATIVE_FILTERING: snapshot.rankable.inputs.score is None and not no_bundle,
        Degradation.EMPTY_CATALOG: not len(snapshot.catalog),
        Degradation.STALE_STATE: fresh.stale,
        Degradation.STALE_CATALOG: not snapshot.reachable,
        Degradation.GAP_WITHOUT_RESOURCE: not ranked.gap_has_resource,
    }
    return tuple(degradation for degradation, is_so in missing.items() if is_so)


def _recommendation_ids(
    snapshot: RankingSnapshot, query: RecommendQuery, provenance: Provenance, resources: tuple[RankedResource, ...]
) -> tuple[str, ...]:
    """An id per resource: a hash of everything the list depends on, so that the same list has the same ids."""
    applied: Position | None = provenance.applied
    policy: RankingPolicy = snapshot.policy
    inputs = (
        snapshot.tenant,
        query.learner,
        query.limit,
        query.wanted.identity,
        query.class_id,
        policy.need_share,
        provenance.as_of.timestamp(),
        provenance.epoch,
        None if applied is None else (applied.partition, applied.offset),
        (provenance.catalog.resources_offset, provenance.catalog.skills_offset, provenance.catalog.rules_offset),
        provenance.bundle,
    )
    of_list = hashlib.blake2b(repr(inputs).encode(), digest_size=16)

    def id_of(row: int) -> str:
        digest = of_list.copy()
        digest.update(snapshot.catalog.resource_ids[row].encode())
        return digest.hexdigest()

    return tuple(id_of(resource.row) for resource in resources)
