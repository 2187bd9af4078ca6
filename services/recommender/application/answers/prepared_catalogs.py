"""Tenants' catalogs, prepared for ranking with the active parameters and models."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from services.recommender.application.answers.active_models import ActiveEpoch, ActiveModels
from services.recommender.application.ports.catalog import CatalogReader
from services.recommender.application.ports.models import CollaborativeModel, TenantRanker
from services.recommender.domain.learner.parameters import TenantParameters
from services.recommender.domain.learner.recall import RecallModel
from services.recommender.domain.learner.state import LearnerState
from services.recommender.domain.learner.success_model import SuccessModel
from services.recommender.domain.ranking.catalog import CatalogColumns, CatalogVersion, IntColumn
from services.recommender.domain.ranking.features import collaborative_rows
from services.recommender.domain.ranking.learned import NO_RANKER, ONE_MODEL, LearnedRanker
from services.recommender.domain.ranking.next_item import ModelScores
from services.recommender.domain.ranking.prepared import PreparedCatalog, prepare
from services.recommender.domain.ranking.rules import RuleBook
from services.recommender.domain.ranking.weights import DEFAULT_POLICY, RankingPolicy

RankingPolicies = Callable[[str], RankingPolicy]
"""Returns the current ranking policy of a tenant, by name."""


def by_default(_tenant: str) -> RankingPolicy:
    """The default policy, for every tenant."""
    return DEFAULT_POLICY


@dataclass(frozen=True, slots=True)
class CatalogInputs:
    """What a catalog is prepared from. Its parts are immutable: a newer catalog or model is another object."""

    catalog: CatalogColumns
    parameters: TenantParameters
    collaborative: CollaborativeModel | None
    success_model: SuccessModel | None
    ranker: TenantRanker | None
    recall_model: RecallModel | None

    def is_same(self, other: CatalogInputs) -> bool:
        """Whether every part is the same object."""
        return (
            self.catalog is other.catalog
            and self.parameters is other.parameters
            and self.collaborative is other.collaborative
            and self.success_model is other.success_model
            and self.ranker is other.ranker
            and self.recall_model is other.recall_model
        )

    @property
    def learned(self) -> LearnedRanker:
        """The ranker; in a bundle of an earlier release, the collaborative model may be all there is."""
        if self.ranker is not None:
            return self.ranker.ranker
        return NO_RANKER if self.collaborative is None else ONE_MODEL

    @property
    def resources(self) -> Sequence[str]:
        """The resources that its base models know."""
        if self.ranker is not None:
            return self.ranker.ensemble.resources
        return () if self.collaborative is None else self.collaborative.resources

    @property
    def score(self) -> Callable[[Sequence[str]], NDArray[np.float32]] | None:
        """Returns the scores of its base models for a history, newest last; None without a model."""
        if self.ranker is not None:
            return self.ranker.ensemble.scores
        return None if self.collaborative is None else self.collaborative.scores


@dataclass(frozen=True)
class RankableCatalog:
    """A tenant's catalog, ready to be ranked for any of its learners.

    Attributes:
        inputs: what it was prepared from.
        prepared: the prepared catalog.
        rows: the catalog row of each resource that the base models know.
        index_of_row: their index of each catalog row.
    """

    inputs: CatalogInputs
    prepared: PreparedCatalog
    rows: IntColumn
    index_of_row: IntColumn

    def base_scores(self, state: LearnerState | None) -> ModelScores | None:
        """The scores of the base models for a learner; None without models or a known resource."""
        score, catalog = self.inputs.score, self.inputs.catalog
        if score is None or state is None or not catalog.has_any(recent.resource for recent in state.resources):
            return None
        scores = score([recent.resource for recent in state.resources])
        return ModelScores(np.atleast_2d(scores), self.rows, self.index_of_row)


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
        self, catalog: CatalogReader, active_models: ActiveModels, policies: RankingPolicies = by_default
    ) -> None:
        """Args: where catalogs and models come from; `policies` says how each tenant's lists are ranked."""
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
        return self._if_prepared(tenant, self._inputs(tenant, self._active_models.epoch), policy)

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
            inputs = self._inputs(tenant, epoch)
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

    def _inputs(self, tenant: str, epoch: ActiveEpoch) -> CatalogInputs:
        models = self._active_models
        return CatalogInputs(
            self._catalog.columns(tenant),
            epoch.parameters.for_tenant(tenant),
            models.collaborative(tenant),
            models.success(tenant),
            models.ranker(tenant),
            models.recall(tenant),
        )


def _rankable(inputs: CatalogInputs) -> RankableCatalog:
    return RankableCatalog(
        inputs,
        prepare(inputs.catalog, inputs.parameters, inputs.success_model, inputs.learned, inputs.recall_model),
        *collaborative_rows(inputs.catalog, inputs.resources),
    )
