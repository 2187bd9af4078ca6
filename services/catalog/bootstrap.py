"""Wires the catalog service."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

import prometheus_client
from prometheus_client import CollectorRegistry
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay, wait_fixed

from cairn.v1 import catalog_pb2_grpc
from services.catalog.adapters.kafka_catalog import KafkaCatalogLog, KafkaCatalogView
from services.catalog.application.edit_catalog import EditCatalog
from services.catalog.application.import_catalog import ImportCatalog
from services.catalog.application.ports import CatalogLog, CatalogUnavailableError, CatalogView
from services.catalog.application.review_tags import ListTagReviews, ReviewTag
from services.catalog.application.suggest_tags import SuggestTags
from services.catalog.application.taggers import Taggers
from services.catalog.application.writing import CatalogWriter
from services.catalog.domain.model import RecordKind
from services.catalog.entrypoints.calls.shared import UseCases
from services.catalog.entrypoints.grpc import SERVICE_NAME, CatalogServicer, ImportLimits
from services.catalog.entrypoints.metrics import CatalogMetrics
from services.catalog.settings import CatalogSettings
from services.catalog.tagging.served import TaggerFolders
from services.common.auth.registry import TenantRegistry
from services.common.auth.tenants_file import load_tenants
from services.common.process import announce, run_until_stopped
from services.common.rpc.server import GrpcServer, ServerOptions
from services.common.telemetry.certificates import report_expiry
from services.common.telemetry.http import serve_http
from services.common.telemetry.traces import NO_TRACES, Traces

_TAGGERS_EVERY_S = 2.0
_FIRST_TURN_S = 30.0
_AGAIN_S = 0.2


@dataclass(frozen=True, slots=True)
class CatalogAdapters:
    """What a catalog server is built over.

    Attributes:
        log: the log of changes.
        view: the log's contents.
        taggers: the tenants' taggers.
        tenants: the tenants and their API keys.
        registry: where metrics are registered.
        clock: the time, aware.
    """

    log: CatalogLog
    view: CatalogView
    taggers: Taggers
    tenants: TenantRegistry
    registry: CollectorRegistry
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class CatalogOptions:
    """How a server listens, and how large imports may be.

    Attributes:
        grpc: the gRPC server; pages of a list fit in its `max_message_bytes`.
        imports: how large one import may be.
        traces: where spans go.
    """

    grpc: ServerOptions
    imports: ImportLimits = field(default_factory=ImportLimits)
    traces: Traces = NO_TRACES


@dataclass(frozen=True, slots=True)
class CatalogServer:
    """A wired server.

    Attributes:
        metrics: the metrics of its calls.
        grpc: the gRPC server with the registered service; must be started.
    """

    metrics: CatalogMetrics
    grpc: GrpcServer


def catalog_server(adapters: CatalogAdapters, options: CatalogOptions) -> CatalogServer:
    """A server over the adapters; nothing is started yet."""
    view, taggers = adapters.view, adapters.taggers
    writer = CatalogWriter(adapters.log, view)
    edit = EditCatalog(writer, adapters.clock)
    metrics = CatalogMetrics(adapters.registry)
    servicer = CatalogServicer(
        view,
        UseCases(
            import_catalog=ImportCatalog(writer),
            edit=edit,
            suggest_tags=SuggestTags(view, taggers),
            list_tag_reviews=ListTagReviews(view, taggers),
            review_tag=ReviewTag(edit, taggers),
        ),
        metrics,
        limits=options.imports,
        reply_bytes_max=options.grpc.max_message_bytes,
        now=adapters.clock,
    )
    grpc = GrpcServer(options.grpc, adapters.tenants, options.traces)
    grpc.register(lambda server: catalog_pb2_grpc.add_CatalogServiceServicer_to_server(servicer, server), SERVICE_NAME)
    return CatalogServer(metrics, grpc)


async def run(settings: CatalogSettings, registry: CollectorRegistry = prometheus_client.REGISTRY) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        TenantsFileError: when the tenants file cannot be used.
        ListenAddressError: when the address cannot be listened on.
        BrokerUnavailableError: when Kafka cannot be reached at the start.
        TopicMissingError: when a catalog topic does not exist.
        OSError: when the metrics port is taken.
    """
    view = KafkaCatalogView(settings.connection)
    log = KafkaCatalogLog(settings.connection, now=lambda: datetime.now(UTC))
    taggers = TaggerFolders(settings.catalog_taggers)
    traces = settings.traces("catalog")
    server = catalog_server(
        CatalogAdapters(log, view, taggers, load_tenants(settings.tenants), registry),
        CatalogOptions(
            settings.server_options,
            ImportLimits(settings.catalog_import_records_max, settings.catalog_import_bytes_max),
            traces,
        ),
    )
    _watch_view(server.metrics, view)
    report_expiry("CAIRN_TLS_CERTIFICATE", settings.tls_certificate, read_again=True)
    report_expiry("CAIRN_KAFKA_CERTIFICATE", settings.kafka_certificate)
    if settings.metrics_port:
        serve_http("catalog", settings.metrics_port, settings.metrics_host, lambda: server.grpc.serving, registry)

    async def serve_once_ready() -> None:
        # Aborts the open transaction of a process that died: until then readers would wait for it.
        await take_first_turn(log)
        await view.wait_ready()
        await server.grpc.set_serving(serving=True)
        await asyncio.Event().wait()

    await asyncio.to_thread(taggers.refresh)
    address = await server.grpc.start()
    announce("catalog", address, settings.address_file)
    following = asyncio.create_task(view.run())
    try:
        await run_until_stopped([_until_it_ends(following), serve_once_ready(), _keep_fresh(taggers)])
    finally:
        # The view outlives the draining: an import returns once the view holds what it wrote.
        await server.grpc.stop()
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        await log.close()
        traces.close()


async def take_first_turn(log: CatalogLog) -> None:
    """Take the turn to write, with patience: a new cluster makes its topic of transactions when it is first asked.

    Raises:
        CatalogUnavailableError: when the turn cannot be taken within half a minute.
    """
    await AsyncRetrying(
        retry=retry_if_exception_type(CatalogUnavailableError),
        stop=stop_after_delay(_FIRST_TURN_S),
        wait=wait_fixed(_AGAIN_S),
        reraise=True,
    )(log.take_turn)


async def _until_it_ends(task: asyncio.Task[None]) -> None:
    await asyncio.shield(task)


async def _keep_fresh(taggers: TaggerFolders) -> None:
    while True:
        await asyncio.sleep(_TAGGERS_EVERY_S)
        await asyncio.to_thread(taggers.refresh)


def _watch_view(metrics: CatalogMetrics, view: KafkaCatalogView) -> None:
    metrics.watch("skills", "Skills of all tenants.", lambda: view.sizes[RecordKind.SKILL])
    metrics.watch("resources", "Resources of all tenants.", lambda: view.sizes[RecordKind.RESOURCE])
    metrics.watch("rules", "Rules of all tenants, with those that have ended.", lambda: view.sizes[RecordKind.RULE])
    metrics.watch("skills_offset", "Next offset of cairn.skills.", lambda: view.version.skills_offset)
    metrics.watch("resources_offset", "Next offset of cairn.resources.", lambda: view.version.resources_offset)
    metrics.watch("rules_offset", "Next offset of cairn.rules.", lambda: view.version.rules_offset)
    metrics.watch("records_ignored", "Records that were not what their topic carries.", lambda: view.ignored)
    metrics.watch("broker_reachable", "1 when the last read reached the broker.", lambda: view.reachable)
