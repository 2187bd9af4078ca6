"""The background jobs of a recommender server: keep epoch, models and catalogs current, and report health."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol

import structlog
from prometheus_client import Gauge

from services.common.daemon_threads import in_daemon_thread
from services.recommender.application.answers.active_models import ActiveModels
from services.recommender.application.answers.prepared_catalogs import PreparedCatalogs
from services.recommender.application.ports.catalog import CatalogReader
from services.recommender.application.ports.learners import StateUnavailableError
from services.recommender.domain.ranking.warm_up import warm_up

_log = structlog.get_logger(__name__)

_EPOCH_EVERY_S = 1.0
_BUNDLE_EVERY_S = 2.0
_PREPARE_EVERY_S = 0.1
_HEALTH_EVERY_S = 0.1

_EPOCH = Gauge("cairn_server_epoch", "The epoch that is served; 0: none.")
_RESOURCES = Gauge("cairn_server_catalog_resources", "Active resources of a tenant.", ["tenant"])


class ReadableCatalog(CatalogReader, Protocol):
    """A catalog that reports when it has been read completely."""

    @property
    def ready(self) -> bool:
        """Whether everything that existed at the start has been read."""
        ...


class Tenants(Protocol):
    """The current tenants; one may be added at any time."""

    @property
    def names(self) -> Iterable[str]:
        """Their names."""
        ...


class BackgroundRefresh:
    """Re-reads the epoch every second and the newest bundle every two, prepares catalogs ahead of requests.

    Health: serving when the catalog has been read and the last read of the current epoch succeeded.
    """

    def __init__(
        self,
        active_models: ActiveModels,
        catalog: ReadableCatalog,
        catalogs: PreparedCatalogs,
        tenants: Tenants,
        report_serving: Callable[[bool], Awaitable[None]],
    ) -> None:
        """Args: `tenants` to prepare `catalogs` for; `report_serving` sets the health that is served."""
        self._active_models = active_models
        self._catalog = catalog
        self._catalogs = catalogs
        self._tenants = tenants
        self._report_serving = report_serving
        self._state_readable = False

    async def run(self) -> None:
        """Run until cancelled."""
        await in_daemon_thread(warm_up)
        jobs = [
            asyncio.create_task(job)
            for job in (self._keep_epoch(), self._keep_bundle(), self._keep_prepared(), self._report_health())
        ]
        try:
            await asyncio.gather(*jobs)
        finally:
            for job in jobs:
                job.cancel()
            await asyncio.gather(*jobs, return_exceptions=True)

    async def _keep_epoch(self) -> None:
        # Before the first epoch, so that its parameters are loaded once.
        await self._active_models.refresh_bundle()
        while True:
            try:
                await self._active_models.refresh_epoch()
            except StateUnavailableError as error:
                if self._state_readable:
                    _log.warning("the epoch cannot be read", reason=str(error))
                self._state_readable = False
            else:
                self._state_readable = True
            _EPOCH.set(self._active_models.epoch.meta.epoch if self._active_models.has_epoch else 0)
            await asyncio.sleep(_EPOCH_EVERY_S)

    async def _keep_bundle(self) -> None:
        while True:
            await asyncio.sleep(_BUNDLE_EVERY_S)
            await self._active_models.refresh_bundle()

    async def _keep_prepared(self) -> None:
        while True:
            for tenant in self._tenants.names:
                if self._active_models.has_epoch and self._catalogs.current(tenant) is None:
                    await self._catalogs.prepare(tenant)
                    _RESOURCES.labels(tenant).set(len(self._catalog.columns(tenant)))
            await asyncio.sleep(_PREPARE_EVERY_S)

    async def _report_health(self) -> None:
        reported = settled = False
        while True:
            serving = self._catalog.ready and self._active_models.has_epoch and self._state_readable
            if serving and not settled:
                # The catalog stays in memory: repeated garbage collection over it would stall calls.
                gc.collect()
                gc.freeze()
                settled = True
            if serving != reported:
                await self._report_serving(serving)
                _log.info(
                    "serving" if serving else "not serving",
                    catalog=self._catalog.ready,
                    epoch=self._active_models.has_epoch,
                    state=self._state_readable,
                )
                reported = serving
            await asyncio.sleep(_HEALTH_EVERY_S)
