"""Tenants' catalogs, prepared for ranking with the active parameters and models."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from services.recommender.application.answers.active_models import ActiveEpoch, ActiveModels
from services.recommender.application.ports.catalog import CatalogReader
from services.recommender.application.ports.models import CollaborativeModel, TenantRanker
from services.recommender.domain.learner.parameters import TenantParameters
from services.recommender.domain.learner.state import LearnerState
from services.recommender.domain.learner.success_model import SuccessModel
from services.recommender.domain.ranking.catalog import CatalogColumns, CatalogVersion, IntColumn
from services.recommender.domain.ranking.features import CollaborativeScores, collaborative_rows
from services.recommender.domain.ranking.next_item import ModelScores
from services.recommender.domain.ranking.prepared import PreparedCatalog, prepare
from services.recommender.domain.ranking.rules import RuleBook
from services.recommender.domain.ranking.weights import BY_WEIGHTS, RankingPolicy

RankingPolicies = Callable[[str], RankingPolicy]
"""Returns the current ranking policy of a tenant, by name."""


def by_weights(_tenant: str) -> RankingPolicy:
    """The policy that ranks every tenant's lists by hand-set weights."""
    return BY_WEIGHTS


@dataclass(frozen=True, slots=True)
class CatalogInputs:
    """What a catalog is prepared from. Its parts are immutable: a newer catalog or model is another object."""

    catalog: CatalogColumns
    parameters: TenantParameters
    collaborative: CollaborativeModel | None
    success_model: SuccessModel | None
    ranker: TenantRanker | None

    def is_same(self, other: CatalogInputs) -> bool:
        """Whether every part is the same object."""
        return (
            self.catalog is other.catalog
            and self.parameters is other.parameters
            and self.collaborative is other.collaborative
            and self.success_model is other.success_model
            and self.ranker is other.ranker
        )


@dataclass(frozen=True)
class RankableCatalog:
    """A tenant's catalog, ready to be ranked for any of its learners.

    Attributes:
        inputs: what it was prepared from.
        prepared: the prepared catalog.
        known: resources that the collaborative model can score.
        rows: the catalog row of each of its resources.
        index_of_row: its index of each catalog row.
        ranker_rows: the catalog row of each resource of the learned ranker's base models.
        ranker_index_of_row: their index of each catalog row.
    """

    inputs: CatalogInputs
    prepared: PreparedCatalog
    known: frozenset[str]
    rows: IntColumn
    index_of_row: IntColumn
    ranker_rows: IntColumn
    ranker_index_of_row: IntColumn

    def collaborative_scores(self, state: LearnerState | None) -> CollaborativeScores | None:
        """The collaborative model's scores for a learner; None without a model or a known resource."""
        model = self.inputs.collaborative
        if model is None or state is None:
            return None
        history = [recent.resource for recent in state.resources]
        # The history holds each resource once.
        positives = len(self.known.intersection(history))
        if not positives:
            return None
        return CollaborativeScores(model.scores(history), self.rows, self.index_of_row, positives)

    def base_scores(self, state: LearnerState | None) -> ModelScores | None:
        """The scores of the learned ranker's base models; None without a ranker or a known resource."""
        ranker, catalog = self.inputs.ranker, self.inputs.catalog
        if ranker is None or state is None or not catalog.has_any(recent.resource for recent in state.resources):
            return None
        scores = ranker.ensemble.scores([recent.resource for recent in state.resources])
        return ModelScores(scores, self.ranker_rows, self.ranker_index_of_row)


@dataclass(frozen=True, slots=True)
class RankingSnapshot:
    """Everything that a tenant's lists depend on at one moment, except learners' states and requests.

    Attributes:
        tenant: the tenant.
        rules: its rules; they point into this catalog.
        version: the version of the catalog and the rules.
        reachable: whether the catalog could be reached; if not, it may have changed since.
        bundle: id of the bundle; None: there is none.
        policy: how its lists are ranked.
        rankable: its catalog.
    """

    tenant: str
    rules: RuleBook
    version: CatalogVersion
    reachable: bool
    bundle: str | None
    policy: RankingPolicy
    rankable: RankableCatalog

    @property
    def catalog(self) -> CatalogColumns:
        """The catalog that rows point into."""
        return self.rankable.inputs.catalog

    @property
    def prepared(self) -> PreparedCatalog:
        """The prepared catalog."""
        return self.rankable.prepared


class PreparedCatalogs:
    """Keeps each tenant's catalog prepared; prepares one in a thread when its inputs changed.

    Preparing a large catalog takes seconds. Requests that need the same catalog wait for it together; others continue.
    """

    def __init__(
        self, catalog: CatalogReader, active_models: ActiveModels, policies: RankingPolicies = by_weights
    ) -> None:
        """Args: where catalogs and models come from; `policies` decides whether a tenant gets a learned ranker."""
        self._catalog = catalog
        self._active_models = active_models
        self._policies = policies
        self._prepared: dict[str, RankableCatalog] = {}
        self._preparing: dict[str, asyncio.Task[RankingSnapshot]] = {}

    def current(self, tenant: str) -> RankingSnapshot | None:
        """A snapshot for the active epoch; None while the tenant's catalog is not prepared.

        Raises:
            NoEpochError: when there is no epoch.
        """
        policy = self._policies(tenant)
        return self._if_prepared(tenant, self._inputs(tenant, self._active_models.epoch, policy), policy)

    async def prepare(self, tenant: str) -> None:
        """Prepare a tenant's catalog ahead of the next request.

        Raises:
            NoEpochError: when there is no epoch to prepare for.
        """
        await self.snapshot(tenant, self._active_models.epoch)

    async def snapshot(self, tenant: str, epoch: ActiveEpoch) -> RankingSnapshot:
        """A snapshot no older than this call.

        Args:
            tenant: the tenant.
            epoch: the epoch that learners' states were read from.
        """
        while True:
            policy = self._policies(tenant)
            inputs = self._inputs(tenant, epoch, policy)
            found = self._if_prepared(tenant, inputs, policy)
            if found is not None:
                return found
            preparing = self._preparing.get(tenant)
            if preparing is None:
                # Rules point into the catalog, which may be replaced meanwhile, so they are taken now.
                preparing = asyncio.create_task(self._prepare(tenant, inputs, self._view(tenant, policy)))
                self._preparing[tenant] = preparing
            # A caller that gives up does not cancel the preparation that others wait for.
            snapshot = await asyncio.shield(preparing)
            if snapshot.rankable.inputs.is_same(inputs):
                return snapshot

    def _if_prepared(self, tenant: str, inputs: CatalogInputs, policy: RankingPolicy) -> RankingSnapshot | None:
        rankable = self._prepared.get(tenant)
        if rankable is None or not rankable.inputs.is_same(inputs):
            return None
        return self._view(tenant, policy)(rankable)

    async def _prepare(
        self, tenant: str, inputs: CatalogInputs, view: Callable[[RankableCatalog], RankingSnapshot]
    ) -> RankingSnapshot:
        try:
            self._prepared[tenant] = rankable = await asyncio.to_thread(_rankable, inputs)
        finally:
            del self._preparing[tenant]
        return view(rankable)

    def _view(self, tenant: str, policy: RankingPolicy) -> Callable[[RankableCatalog], RankingSnapshot]:
        """The other inputs of lists, and the catalog prepared for them."""
        bundle = self._active_models.bundle
        return partial(
            RankingSnapshot,
            tenant,
            self._catalog.rules(tenant),
            self._catalog.version,
            self._catalog.reachable,
            None if bundle is None else bundle.bundle_id,
            policy,
        )

    def _inputs(self, tenant: str, epoch: ActiveEpoch, policy: RankingPolicy) -> CatalogInputs:
        models = self._active_models
        return CatalogInputs(
            self._catalog.columns(tenant),
            epoch.parameters.for_tenant(tenant),
            models.collaborative(tenant),
            models.success(tenant),
            models.ranker(tenant) if policy.learned else None,
        )


def _rankable(inputs: CatalogInputs) -> RankableCatalog:
    catalog, model, ranker = inputs.catalog, inputs.collaborative, inputs.ranker
    resources = () if model is None else model.resources
    return RankableCatalog(
        inputs,
        prepare(catalog, inputs.parameters, inputs.success_model, None if ranker is None else ranker.ranker),
        frozenset(resources),
        *collaborative_rows(catalog, resources),
        *collaborative_rows(catalog, () if ranker is None else ranker.ensemble.resources),
    )
