"""Recommend: a ranked list for one learner, made on request."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from services.common.kafka.envelope import Position
from services.common.rpc.freshness import Freshness
from services.recommender.application.answers.active_models import ActiveEpoch, ActiveModels
from services.recommender.application.answers.fresh_state import FreshState, FreshStates
from services.recommender.application.answers.provenance import Degradation, Provenance
from services.recommender.application.ports.catalog import CatalogReader
from services.recommender.application.ports.learners import LearnerKey
from services.recommender.application.ports.models import CollaborativeModel, TenantRanker
from services.recommender.domain.learner.parameters import TenantParameters
from services.recommender.domain.learner.state import LearnerState
from services.recommender.domain.learner.success_model import SuccessModel
from services.recommender.domain.ranking.catalog import CatalogColumns, IntColumn
from services.recommender.domain.ranking.features import CollaborativeScores, collaborative_rows
from services.recommender.domain.ranking.next_item import ModelScores
from services.recommender.domain.ranking.pipeline import PreparedCatalog, RankedResource, RankingRequest, prepare, rank
from services.recommender.domain.ranking.policy import EVERYTHING, ResourceFilter
from services.recommender.domain.ranking.rules import RuleBook
from services.recommender.domain.ranking.weights import BY_WEIGHTS, DEFAULT_WEIGHTS, RankingPolicy, RankingWeights


@dataclass(frozen=True, slots=True)
class RecommendQuery:
    """What is asked for.

    Attributes:
        learner: the learner's pseudonym.
        limit: most resources wanted.
        wanted: which resources may be in the list.
        as_of: the moment to answer for; None: now, cut to the hour.
        freshness: the record the answer must include, if any.
        class_id: the class it is asked for; empty: none.
    """

    learner: str
    limit: int
    wanted: ResourceFilter = EVERYTHING
    as_of: datetime | None = None
    freshness: Freshness | None = None
    class_id: str = ""


@dataclass(frozen=True, slots=True)
class Recommendations:
    """A ranked list and what it was made from.

    Attributes:
        catalog: the catalog that the resources' rows point into.
        resources: the list, best first.
        recommendation_ids: one per resource.
        provenance: what it was made from.
        degraded: what was missing, in the order of the contract.
        candidates: how many resources were scored.
        stage_seconds: time by stage.
    """

    catalog: CatalogColumns
    resources: tuple[RankedResource, ...]
    recommendation_ids: tuple[str, ...]
    provenance: Provenance
    degraded: tuple[Degradation, ...]
    candidates: int
    stage_seconds: Mapping[str, float]


@dataclass(frozen=True)
class _Prepared:
    """A tenant's catalog prepared with the parameters and the model in force; stands until one of them changes."""

    catalog: CatalogColumns
    parameters: TenantParameters
    model: CollaborativeModel | None
    success_model: SuccessModel | None
    prepared: PreparedCatalog
    known: frozenset[str]
    rows: IntColumn
    index_of_row: IntColumn
    ranker: TenantRanker | None
    ranker_rows: IntColumn
    ranker_index_of_row: IntColumn

    def is_of(
        self,
        catalog: CatalogColumns,
        parameters: TenantParameters,
        model: CollaborativeModel | None,
        success_model: SuccessModel | None,
        ranker: TenantRanker | None,
    ) -> bool:
        return (
            self.catalog is catalog
            and self.parameters is parameters
            and self.model is model
            and self.success_model is success_model
            and self.ranker is ranker
        )  # fmt: skip

    def collaborative(self, state: LearnerState | None) -> CollaborativeScores | None:
        if self.model is None or state is None:
            return None
        history = [recent.resource for recent in state.resources]
        # Each is there once.
        positives = len(self.known.intersection(history))
        if not positives:
            return None
        return CollaborativeScores(self.model.scores(history), self.rows, self.index_of_row, positives)

    def models(self, state: LearnerState | None) -> ModelScores | None:
        """What the learned ranker's collaborative models say; None without a ranker, or work in the catalog."""
        if self.ranker is None or state is None or not self.catalog.has_any(one.resource for one in state.resources):
            return None
        scores = self.ranker.ensemble.scores([recent.resource for recent in state.resources])
        return ModelScores(scores, self.ranker_rows, self.ranker_index_of_row)


class Recommend:
    """Ranks a tenant's catalog for a learner."""

    def __init__(
        self,
        states: FreshStates,
        catalog: CatalogReader,
        active_models: ActiveModels,
        clock: Callable[[], datetime],
        timer: Callable[[], float],
        weights: RankingWeights = DEFAULT_WEIGHTS,
        policy: Callable[[str], RankingPolicy] = lambda _tenant: BY_WEIGHTS,
    ) -> None:
        """Args: ports; `clock` gives the time, aware; `timer` monotonic seconds; `policy` a tenant's, by its name."""
        self._policy = policy
        self._states = states
        self._catalog = catalog
        self._active_models = active_models
        self._clock = clock
        self._timer = timer
        self._weights = weights
        self._prepared: dict[str, _Prepared] = {}

    async def __call__(self, tenant: str, query: RecommendQuery, remaining_s: float) -> Recommendations:
        """A ranked list. The same query, state, epoch, catalog and bundle give the same list.

        Args:
            tenant: the tenant.
            query: what is asked for.
            remaining_s: time until the caller gives up.

        Raises:
            LogDiffersError: when the freshness asked for is about another log.
            StateUnavailableError: when the learner's state cannot be read.
        """
        began = self._timer()
        fresh = await self._states.read(LearnerKey(tenant, query.learner), query.freshness, remaining_s)
        read_s = self._timer() - began
        return self.answer(tenant, query, fresh, read_s)

    def answer(
        self,
        tenant: str,
        query: RecommendQuery,
        fresh: FreshState,
        read_s: float = 0.0,
        *,
        rules: RuleBook | None = None,
    ) -> Recommendations:
        """The same from a state that was read already; `query.freshness` is not looked at.

        Args:
            tenant: the tenant.
            query: what is asked for.
            fresh: the learner's state.
            read_s: what reading it took.
            rules: instead of the tenant's.
        """
        began = self._timer()
        as_of = query.as_of or self.now()
        bundle = self._active_models.bundle
        prepared, policy = self._prepare(tenant, fresh.epoch), self._policy(tenant)
        book = self._catalog.rules(tenant) if rules is None else rules
        state = None if fresh.stored is None else fresh.stored.state
        models = prepared.models(state)
        request = RankingRequest(
            tenant=tenant,
            learner=query.learner,
            state=state,
            collaborative=prepared.collaborative(state) if models is None else None,
            bundle="" if bundle is None else bundle.bundle_id,
            as_of_s=as_of.timestamp(),
            day=as_of.astimezone(UTC).date().isoformat(),
            wanted=query.wanted,
            limit=query.limit,
            rules=book.active(query.class_id, query.wanted.grades, as_of.timestamp()),
            models=models,
            need_share=policy.need_share,
        )
        ranked_from = self._timer()
        ranked = rank(prepared.prepared, request, self._weights, self._timer)
        provenance = Provenance(as_of, fresh.epoch.meta.epoch, fresh.applied, self._catalog.version, request.bundle)
        return Recommendations(
            catalog=prepared.catalog,
            resources=ranked.resources,
            recommendation_ids=_recommendation_ids(
                tenant, query, policy, provenance, prepared.catalog, ranked.resources
            ),
            provenance=provenance,
            degraded=self._degraded(fresh, prepared),
            candidates=ranked.candidates,
            stage_seconds={"read": read_s, "prepare": ranked_from - began, **ranked.stage_seconds},
        )

    def now(self) -> datetime:
        """The moment answers are made for when nobody says one: now, cut to the hour."""
        return self._clock().replace(minute=0, second=0, microsecond=0)

    def policy(self, tenant: str) -> RankingPolicy:
        """How the tenant's lists are ranked now."""
        return self._policy(tenant)

    def is_prepared(self, tenant: str) -> bool:
        """Whether the next request finds the tenant's catalog prepared.

        Raises:
            NoEpochError: when there is no epoch to be prepared for.
        """
        held = self._prepared.get(tenant)
        return held is not None and held.is_of(
            self._catalog.columns(tenant),
            self._active_models.epoch.parameters.for_tenant(tenant),
            self._active_models.collaborative(tenant),
            self._active_models.success(tenant),
            self._ranker(tenant),
        )

    def prepare(self, tenant: str) -> None:
        """Prepare a tenant's catalog ahead of the next request. Safe in another thread.

        Raises:
            NoEpochError: when there is no epoch to prepare for.
        """
        self._prepare(tenant, self._active_models.epoch)

    def prepared(self, tenant: str, epoch: ActiveEpoch) -> PreparedCatalog:
        """A tenant's catalog, prepared with the parameters of an epoch."""
        return self._prepare(tenant, epoch).prepared

    def _prepare(self, tenant: str, epoch: ActiveEpoch) -> _Prepared:
        catalog = self._catalog.columns(tenant)
        parameters = epoch.parameters.for_tenant(tenant)
        model, success_model = self._active_models.collaborative(tenant), self._active_models.success(tenant)
        ranker = self._ranker(tenant)
        held = self._prepared.get(tenant)
        if held is not None and held.is_of(catalog, parameters, model, success_model, ranker):
            return held
        resources = () if model is None else model.resources
        rows, index_of_row = collaborative_rows(catalog, resources)
        prepared = _Prepared(
            catalog,
            parameters,
            model,
            success_model,
            prepare(catalog, parameters, success_model, None if ranker is None else ranker.ranker),
            frozenset(resources),
            rows,
            index_of_row,
            ranker,
            *collaborative_rows(catalog, () if ranker is None else ranker.ensemble.resources),
        )
        self._prepared[tenant] = prepared
        return prepared

    def _ranker(self, tenant: str) -> TenantRanker | None:
        return self._active_models.ranker(tenant) if self._policy(tenant).learned else None

    def _degraded(self, fresh: FreshState, prepared: _Prepared) -> tuple[Degradation, ...]:
        no_bundle = self._active_models.bundle is None or not fresh.epoch.parameters_found
        missing = {
            Degradation.NEW_LEARNER: fresh.new_learner,
            Degradation.NO_BUNDLE: no_bundle,
            Degradation.NO_COLLABORATIVE_FILTERING: prepared.model is None and not no_bundle,
            Degradation.EMPTY_CATALOG: not len(prepared.catalog),
            Degradation.STALE_STATE: fresh.stale,
            Degradation.STALE_CATALOG: not self._catalog.reachable,
        }
        return tuple(degradation for degradation, is_so in missing.items() if is_so)


def _recommendation_ids(
    tenant: str,
    query: RecommendQuery,
    policy: RankingPolicy,
    provenance: Provenance,
    catalog: CatalogColumns,
    resources: tuple[RankedResource, ...],
) -> tuple[str, ...]:
    """A name for each resource of a list: a hash of all the list depends on, so the same list has the same names."""
    applied: Position | None = provenance.applied
    inputs = (
        tenant,
        query.learner,
        query.limit,
        query.wanted.identity,
        query.class_id,
        (policy.learned, policy.need_share),
        provenance.as_of.timestamp(),
        provenance.epoch,
        None if applied is None else (applied.partition, applied.offset),
        (provenance.catalog.resources_offset, provenance.catalog.skills_offset, provenance.catalog.rules_offset),
        provenance.bundle,
    )
    of_list = hashlib.blake2b(repr(inputs).encode(), digest_size=16)

    def name(row: int) -> str:
        digest = of_list.copy()
        digest.update(catalog.resource_ids[row].encode())
        return digest.hexdigest()

    return tuple(name(resource.row) for resource in resources)
