"""Training: read the log to its end, fit each tenant's models, write a bundle."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import structlog

from services.recommender.application.ports.models import (
    BundleDraft,
    BundleUnreadableError,
    BundleWriter,
    CollaborativeChoice,
    ModelArrays,
    TenantModels,
)
from services.recommender.application.training.collect import Progress, TrainingLog, collect
from services.recommender.domain.learner.parameters import TenantParameters
from services.recommender.domain.learner.recall import RecallModel
from services.recommender.domain.learner.success_model import SuccessModel
from services.recommender.domain.training.event_columns import TenantResponses
from services.recommender.domain.training.positives import Positives, positives_of
from services.recommender.domain.training.responses import ResponseTable

_log = structlog.get_logger(__name__)

Advance = Callable[[int, int], None]
"""Reports progress: the number of steps done, and the total."""


class NothingToTrainOnError(ValueError):
    """The log holds no events."""


class TenantWithoutEventsError(ValueError):
    """The log holds no event of a named tenant."""


class TooFewPositivesError(ValueError):
    """Too little data for collaborative filtering; the message says how much there is and how much is needed."""


@dataclass(frozen=True, slots=True)
class FittedTracing:
    """A fitted learner model.

    Attributes:
        parameters: for the filter.
        metrics: on learners held out of a fit of the same kind; empty when there are too few learners.
        hyperparameters: its hyperparameters.
        success: the success model; None where the filter alone predicts at least as well.
        recall: the recall model; None where a review is due by the fixed formula.
    """

    parameters: TenantParameters
    metrics: Mapping[str, float]
    hyperparameters: Mapping[str, float]
    success: SuccessModel | None = None
    recall: RecallModel | None = None


@dataclass(frozen=True, slots=True)
class FittedCollaborative:
    """A fitted collaborative model.

    Attributes:
        model: as stored in a bundle.
        hyperparameters: its hyperparameters.
    """

    model: ModelArrays
    hyperparameters: Mapping[str, float]


class FitTracing(Protocol):
    """Fits the learner model to a tenant's responses."""

    def __call__(self, table: ResponseTable, *, advance: Advance) -> FittedTracing:
        """The same responses give the same parameters."""
        ...


class FitCollaborative(Protocol):
    """Fits collaborative filtering to a tenant's positives."""

    def __call__(
        self, positives: Positives, *, choice: CollaborativeChoice | None, advance: Advance
    ) -> FittedCollaborative:
        """Fit the chosen family, or the default. The same positives give the same model.

        Raises:
            TooFewPositivesError: when a model would be noise.
        """
        ...


class ChooseCollaborative(Protocol):
    """Chooses the collaborative model that best predicts what a tenant's learners did next."""

    def __call__(self, table: ResponseTable, *, advance: Progress) -> CollaborativeChoice | None:
        """None where there is too little data to choose. The same responses give the same choice."""
        ...


class FitRanker(Protocol):
    """Learns a ranking from what a tenant's learners did."""

    def __call__(self, table: ResponseTable, *, advance: Advance) -> ModelArrays | None:
        """None where there is too little data. The same responses give the same ranker."""
        ...


@dataclass(frozen=True, slots=True)
class Trained:
    """A finished training.

    Attributes:
        bundle_id: the bundle that was written.
        draft: its contents.
    """

    bundle_id: str
    draft: BundleDraft


@dataclass(frozen=True)
class Trainer:
    """Fits models on everything in the log and writes them as a bundle.

    Attributes:
        log: the source of events.
        fit_tracing: fits the learner model.
        fit_collaborative: fits collaborative filtering.
        choose_collaborative: chooses its family and settings.
        bundles: receives the bundle.
        clock: returns the time.
        libraries: versions of the libraries that affect the numbers, by name.
        fit_ranker: learns a ranking.
    """

    log: TrainingLog
    fit_tracing: FitTracing
    fit_collaborative: FitCollaborative
    choose_collaborative: ChooseCollaborative
    bundles: BundleWriter
    clock: Callable[[], datetime]
    libraries: Mapping[str, str]
    fit_ranker: FitRanker

    async def train(
        self, *, tenants: Collection[str] = (), tune: bool = False, progress: Progress = lambda *_: None
    ) -> Trained:
        """Fit and write.

        Args:
            tenants: fit only these; the others' models are carried over from the newest bundle. Empty: every tenant
                in the log.
            tune: choose the family of the collaborative model again; otherwise the newest bundle's choice is used.
            progress: reports each step.

        Raises:
            NothingToTrainOnError: when the log holds no event.
            TenantWithoutEventsError: when it holds none of a named tenant.
            BundleUnreadableError: when the newest bundle is needed and cannot be read.
            BundleUnwritableError: when the bundle cannot be written.
        """
        window, responses = await collect(self.log, progress)
        if not responses:
            raise NothingToTrainOnError(
                "the log holds no events yet; load some first, for example with: cairn ingest load"
            )
        for tenant in tenants:
            if tenant not in responses:
                raise TenantWithoutEventsError(
                    f"the log holds no event of the tenant {tenant}; it has events of {', '.join(sorted(responses))}"
                )
        newest = self._newest(needed=bool(tenants))
        models = dict(newest) if tenants else {}
        for tenant in sorted(tenants or responses):
            if tune:
                choice = self._choose(tenant, responses[tenant], progress)
            else:
                choice = newest[tenant].choice if tenant in newest else None
            models[tenant] = self._fit(tenant, responses[tenant], choice, progress)
        draft = BundleDraft(created_at=self.clock(), window=window, tenants=models, libraries=self.libraries)
        return Trained(self.bundles.write(draft), draft)

    def _newest(self, *, needed: bool) -> Mapping[str, TenantModels]:
        """The newest bundle's models by tenant; none if it cannot be read and is not needed."""
        try:
            latest = self.bundles.latest_id()
            return {} if latest is None else self.bundles.tenant_models(latest)
        except BundleUnreadableError as error:
            if needed:
                raise
            _log.warning("the choices of the newest bundle are not known", reason=str(error))
            return {}

    def _choose(self, tenant: str, responses: TenantResponses, progress: Progress) -> CollaborativeChoice | None:
        return self.choose_collaborative(
            responses.distinct, advance=lambda step, done, total: progress(f"{tenant}: {step}", done, total)
        )

    def _fit(
        self, tenant: str, responses: TenantResponses, choice: CollaborativeChoice | None, progress: Progress
    ) -> TenantModels:
        tracing = self.fit_tracing(
            responses.evidence, advance=lambda done, total: progress(f"{tenant}: learner model", done, total)
        )
        positives = positives_of(responses.distinct)
        absent, collaborative = "", None
        try:
            collaborative = self.fit_collaborative(
                positives,
                choice=choice,
                advance=lambda done, total: progress(f"{tenant}: collaborative filtering", done, total),
            )
        except TooFewPositivesError as error:
            absent = str(error)
        ranker = self.fit_ranker(
            responses.distinct, advance=lambda done, total: progress(f"{tenant}: learning to rank", done, total)
        )
        return TenantModels(
            parameters=tracing.parameters,
            success=tracing.success,
            recall=tracing.recall,
            ranker=ranker,
            choice=choice,
            collaborative=collaborative.model if collaborative else None,
            collaborative_absent=absent,
            counts={
                "learners": len(responses.distinct.learners),
                "events": len(responses.distinct),
                "responses": len(responses.evidence),
                "items": len(responses.evidence.items),
                "skills": len(responses.evidence.skills),
                "resources": len(positives.resources),
                "positives": len(positives),
            },
            metrics=tracing.metrics,
            hyperparameters={
                **tracing.hyperparameters,
                **(collaborative.hyperparameters if collaborative else {}),
            },
        )
