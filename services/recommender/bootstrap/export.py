"""Wires the exports of data teams."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from services.common.auth.tenants_file import load_tenants
from services.recommender.adapters.files.parquet_tables import ParquetTable
from services.recommender.adapters.kafka.catalog import KafkaCatalog
from services.recommender.adapters.kafka.event_rows import KafkaEventRows
from services.recommender.application.operations.export import (
    RECOMMENDATION_COLUMNS,
    STATE_COLUMNS,
    ExportBatch,
    NoCurrentEpochError,
    export_recommendations,
    export_state,
)
from services.recommender.application.ports.epochs import EpochStore
from services.recommender.application.state.epochs import parameters_of
from services.recommender.bootstrap.environment import server_settings
from services.recommender.bootstrap.epochs import stored_epochs
from services.recommender.bootstrap.keys import learner_keys
from services.recommender.bootstrap.server import AnswerAdapters, TenantPolicies, answer_dependencies
from services.recommender.bootstrap.stores import bundle_store, state_store
from services.recommender.settings import RecommenderServerSettings, TenantRanking
from services.recommender.wire.event_kinds import EVENT_COLUMNS

Progress = Callable[[int, int | None], None]
"""Progress callback: steps done, and steps in all; None: not known."""


@dataclass(frozen=True, slots=True)
class ExportResult:
    """The result of an export.

    Attributes:
        rows: rows written.
        files: their paths.
        erased: records that could not be read because their learner was erased.
        unreadable: records that are not learner events.
        damaged: pseudonyms of learners left out because what is stored about them is damaged.
    """

    rows: int
    files: tuple[Path, ...]
    erased: int = 0
    unreadable: int = 0
    damaged: tuple[str, ...] = ()


async def state_to_parquet(environment_file: Path, tenant: str, directory: Path, progress: Progress) -> ExportResult:
    """Runs `cairn export state`.

    Raises:
        SettingsError: when a setting is invalid.
        NoCurrentEpochError: when there is no current epoch.
        StateUnavailableError: when Redis cannot be read.
        ExportExistsError: when the export already exists.
    """
    settings = server_settings(environment_file)
    with ParquetTable(directory, "state", tenant, STATE_COLUMNS) as table:
        damaged: list[str] = []
        async with current_states(settings, tenant) as states:
            async for batch in states:
                table.add(batch.rows)
                damaged += batch.damaged
                progress(batch.done, None)
    return ExportResult(table.rows, tuple(table.files), damaged=tuple(damaged))


async def recommendations_to_parquet(
    environment_file: Path, tenant: str, directory: Path, progress: Progress, *, limit: int
) -> ExportResult:
    """Runs `cairn export recommendations`.

    Raises:
        SettingsError: when a setting is invalid.
        NoCurrentEpochError: when there is no current epoch.
        StateUnavailableError: when Redis cannot be read.
        ExportExistsError: when the export already exists.
        TenantsFileError: when the tenants file cannot be used.
        BrokerUnavailableError: when the catalog cannot be read.
    """
    settings = server_settings(environment_file)
    with ParquetTable(directory, "recommendations", tenant, RECOMMENDATION_COLUMNS) as table:
        async with aclosing(state_store(settings.redis_url)) as store, served_catalog(settings) as catalog:
            answers = answer_dependencies(
                AnswerAdapters(
                    learners=store.learners,
                    epochs=store.epochs,
                    catalog=catalog,
                    bundles=bundle_store(settings.bundles),
                    policies=TenantPolicies(load_tenants(settings.tenants, TenantRanking.model_validate)),
                )
            )
            epoch = await _current(store.epochs)
            await answers.active_models.refresh_bundle()
            await answers.active_models.refresh_epoch()
            damaged: list[str] = []
            async for batch in export_recommendations(store.epochs, answers, epoch, tenant, limit=limit):
                table.add(batch.rows)
                damaged += batch.damaged
                progress(batch.done, None)
    return ExportResult(table.rows, tuple(table.files), damaged=tuple(damaged))


async def events_to_parquet(environment_file: Path, tenant: str, directory: Path, progress: Progress) -> ExportResult:
    """Runs `cairn export events`.

    Raises:
        SettingsError: when a setting is invalid.
        ExportExistsError: when the export already exists.
        BrokerUnavailableError: when the log cannot be read.
        TopicMissingError: when the topic does not exist.
        TenantKeyMissingError: when values are encrypted and the tenant's key is unknown.
    """
    settings = server_settings(environment_file)
    keys = learner_keys(settings.connection, settings.tenants)
    log = KafkaEventRows(settings.connection, keys)
    erased = unreadable = 0
    with ParquetTable(directory, "events", tenant, EVENT_COLUMNS) as table:
        total = await log.total()
        async for batch in log.batches(tenant):
            table.add(batch.rows)
            erased, unreadable = batch.erased, batch.unreadable
            progress(batch.offsets, total)
    return ExportResult(table.rows, tuple(table.files), erased, unreadable)


@asynccontextmanager
async def current_states(settings: RecommenderServerSettings, tenant: str) -> AsyncIterator[AsyncIterator[ExportBatch]]:
    """The states of a tenant's learners in the epoch that is served.

    Raises:
        NoCurrentEpochError: when there is none.
        StateUnavailableError: when Redis cannot be read.
    """
    async with stored_epochs(settings.redis_url) as epochs:
        meta = await epochs.get(await _current(epochs))
        if meta is None:
            raise NoCurrentEpochError("the current epoch was dropped meanwhile: export again")
        parameters = await asyncio.to_thread(parameters_of, meta, bundle_store(settings.bundles))
        yield export_state(epochs, meta.epoch, tenant, parameters.for_tenant(tenant))


@asynccontextmanager
async def served_catalog(settings: RecommenderServerSettings) -> AsyncIterator[KafkaCatalog]:
    """The catalog, read to its end.

    Raises:
        BrokerUnavailableError: when it cannot be read.
    """
    catalog = KafkaCatalog(settings.connection)
    following = asyncio.create_task(catalog.run())
    ready = asyncio.create_task(catalog.wait_ready())
    try:
        await asyncio.wait((following, ready), return_when=asyncio.FIRST_COMPLETED)
        if not ready.done():
            # It ends only with an error.
            await following
        yield catalog
    finally:
        for task in (following, ready):
            task.cancel()
        await asyncio.gather(following, ready, return_exceptions=True)


async def _current(epochs: EpochStore) -> int:
    current = await epochs.current_epoch()
    if current is None:
        raise NoCurrentEpochError("no epoch is served: start a worker, or run cairn replay and cairn epoch switch")
    return current
