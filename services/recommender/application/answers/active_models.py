"""The active epoch and models, from which answers are computed."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import structlog

from services.common.kafka.envelope import LogIdentity
from services.recommender.application.ports.epochs import EpochMeta, EpochReader
from services.recommender.application.ports.learners import StateUnavailableError
from services.recommender.application.ports.models import (
    Bundle,
    BundleReader,
    BundleUnreadableError,
    CollaborativeModel,
    TenantRanker,
)
from services.recommender.domain.learner.parameters import PRIOR_PARAMETERS_ID, TracingParameters
from services.recommender.domain.learner.recall import RecallModel
from services.recommender.domain.learner.success_model import SuccessModel

_log = structlog.get_logger(__name__)


class NoEpochError(StateUnavailableError):
    """There is no current epoch: none was created yet, or the state store lost it."""

    def __init__(self) -> None:
        super().__init__(
            "there is no current epoch: start a worker; if there was learner state before, the state store lost it: "
            "restore it, or run cairn replay and cairn epoch switch"
        )


@dataclass(frozen=True)
class ActiveEpoch:
    """The epoch that is served, and the parameters its states were folded with.

    Attributes:
        meta: the epoch.
        log: the log it was folded from.
        parameters: the parameters; the priors when `parameters_found` is false.
        parameters_found: whether these are the epoch's own.
        success: success models of the bundle the parameters come from, by tenant.
        recall: its recall models.
    """

    meta: EpochMeta
    log: LogIdentity
    parameters: TracingParameters
    parameters_found: bool
    success: Mapping[str, SuccessModel] = field(default_factory=dict)
    recall: Mapping[str, RecallModel] = field(default_factory=dict)


class ActiveModels:
    """Keeps the active epoch and models; `refresh_epoch` and `refresh_bundle` look for newer ones.

    Difficulties are always those that the epoch was folded with, even if a newer bundle has others, because a state is
    only valid with its own. The success and the recall model must match them: they are the newest bundle's if that has
    the epoch's parameters, else those of the bundle they come from. Collaborative filtering is always that of the
    newest bundle.
    """

    def __init__(self, epochs: EpochReader, bundles: BundleReader) -> None:
        self._epochs = epochs
        self._bundles = bundles
        self._epoch: ActiveEpoch | None = None
        self._bundle: Bundle | None = None
        self._broken: set[str] = set()
        self._unreadable: StateUnavailableError | None = StateUnavailableError(
            "the server is starting and has not read which epoch is current; send the call again in a few seconds"
        )

    @property
    def epoch(self) -> ActiveEpoch:
        """The epoch to answer from.

        Raises:
            NoEpochError: when there is none.
            StateUnavailableError: when it is unknown because the last read failed.
        """
        if self._epoch is not None:
            return self._epoch
        if self._unreadable is not None:
            raise StateUnavailableError(str(self._unreadable))
        raise NoEpochError

    @property
    def has_epoch(self) -> bool:
        """Whether there is an epoch to answer from."""
        return self._epoch is not None

    @property
    def bundle(self) -> Bundle | None:
        """The newest bundle that could be read."""
        return self._bundle

    def collaborative(self, tenant: str) -> CollaborativeModel | None:
        """The tenant's collaborative-filtering model, if any."""
        models: Mapping[str, CollaborativeModel] = {} if self._bundle is None else self._bundle.collaborative
        return models.get(tenant)

    def ranker(self, tenant: str) -> TenantRanker | None:
        """The tenant's learned ranker, if any."""
        rankers: Mapping[str, TenantRanker] = {} if self._bundle is None else self._bundle.rankers
        return rankers.get(tenant)

    def success(self, tenant: str) -> SuccessModel | None:
        """The tenant's success model, if there is one for the epoch's parameters."""
        source = self._with_epochs_parameters()
        return None if source is None else source.success.get(tenant)

    def recall(self, tenant: str) -> RecallModel | None:
        """The tenant's recall model, if there is one for the epoch's parameters."""
        source = self._with_epochs_parameters()
        return None if source is None else source.recall.get(tenant)

    def _with_epochs_parameters(self) -> Bundle | ActiveEpoch | None:
        """Where the models are that go with the epoch's parameters; None where these are not known."""
        epoch, bundle = self._epoch, self._bundle
        if epoch is None or not epoch.parameters_found:
            return None
        if bundle is not None and bundle.parameters.parameters_id == epoch.meta.parameters_id:
            return bundle
        return epoch

    async def refresh_epoch(self) -> None:
        """Switch to the epoch that is marked as current.

        Raises:
            StateUnavailableError: when it cannot be read now; the active epoch stays.
        """
        try:
            meta = await self._epochs.current()
        except StateUnavailableError as error:
            self._unreadable = error
            raise
        self._unreadable = None
        if meta is None:
            self._epoch = None
        elif self._epoch is None or meta.parameters_id != self._epoch.meta.parameters_id or self._must_look_again():
            self._epoch = await asyncio.to_thread(self._epoch_of, meta)
        elif meta != self._epoch.meta:
            self._epoch = replace(self._epoch, meta=meta, log=LogIdentity.parse(meta.log_identity))

    async def refresh_bundle(self) -> bool:
        """Switch to the newest bundle, if it can be read; return whether the bundle changed."""
        bundle = await asyncio.to_thread(self._newer_bundle)
        if bundle is None:
            return False
        self._bundle = bundle
        _log.info("bundle loaded", bundle=bundle.bundle_id, tenants=len(bundle.collaborative))
        return True

    def _must_look_again(self) -> bool:
        return self._epoch is not None and not self._epoch.parameters_found

    def _newer_bundle(self) -> Bundle | None:
        try:
            bundle_id = self._bundles.latest_id()
        except BundleUnreadableError as error:
            _log.error("the store of bundles cannot be read", reason=str(error))
            return None
        if bundle_id is None or bundle_id in self._broken or (self._bundle and bundle_id == self._bundle.bundle_id):
            return None
        return self._load(bundle_id)

    def _epoch_of(self, meta: EpochMeta) -> ActiveEpoch:
        log = LogIdentity.parse(meta.log_identity)
        if meta.parameters_id == PRIOR_PARAMETERS_ID:
            return ActiveEpoch(meta, log, TracingParameters(), parameters_found=True)
        bundle = self._bundle
        if bundle is None or bundle.parameters.parameters_id != meta.parameters_id:
            bundle = None if meta.parameters_bundle in self._broken else self._load(meta.parameters_bundle)
        if bundle is None or bundle.parameters.parameters_id != meta.parameters_id:
            return ActiveEpoch(meta, log, TracingParameters(), parameters_found=False)
        return ActiveEpoch(
            meta, log, bundle.parameters, parameters_found=True, success=bundle.success, recall=bundle.recall
        )

    def _load(self, bundle_id: str) -> Bundle | None:
        try:
            return self._bundles.load(bundle_id)
        except BundleUnreadableError as error:
            # Logged once: a bundle never changes, so it stays broken. The previous bundle stays active.
            self._broken.add(bundle_id)
            _log.error("bundle ignored", bundle=bundle_id, reason=str(error))
            return None
