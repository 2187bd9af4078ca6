"""Wires the ingest service."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import structlog
from prometheus_client import Gauge

from cairn.v1 import ingest_pb2_grpc
from services.common.auth.registry import TenantRegistry
from services.common.auth.tenants_file import load_tenants
from services.common.http.connections import ConnectionLimits
from services.common.http.routes import OpenRoute, Route
from services.common.http.server import HttpOptions, HttpServer
from services.common.process import announce, run_until_stopped
from services.common.rpc.admission import Admission
from services.common.rpc.server import GrpcServer, ServerOptions
from services.common.telemetry.certificates import report_expiry
from services.common.telemetry.http import serve_http
from services.common.telemetry.traces import NO_TRACES, Traces
from services.ingest.adapters.kafka.learner_keys import KafkaLearnerKeys
from services.ingest.adapters.kafka.log import KafkaEventLog, KafkaLogOptions
from services.ingest.adapters.kafka.tags import KafkaSkillTags
from services.ingest.adapters.metered_log import MeteredEventLog
from services.ingest.adapters.redis_recent_events import RedisRecentEvents
from services.ingest.adapters.redis_statements import RedisStatements
from services.ingest.application.erase import EraseLearner
from services.ingest.application.ports import EventLog, LearnerErasure, RecentEvents, SkillTags
from services.ingest.application.publish import PublishEvents
from services.ingest.application.repeats import NoRecentEvents
from services.ingest.application.statements import NoStatements, StatementStore
from services.ingest.entrypoints.grpc import SERVICE_NAME, IngestServicer
from services.ingest.entrypoints.http.caliper import caliper_routes
from services.ingest.entrypoints.http.events import event_routes
from services.ingest.entrypoints.http.publishing import POLICY, HttpPublisher
from services.ingest.entrypoints.http.xapi import xapi_routes
from services.ingest.entrypoints.stream import StreamLimits
from services.ingest.settings import IngestSettings

_log = structlog.get_logger(__name__)

_HEALTH_CHECK_S = 0.1
# A request slightly over the limit is still received, so that the reply can name the field and the remedy.
_RECEIVED_OVER_ACCEPTED = 2
# A client is asked to reconnect at this age, and is disconnected at twice the age.
_STREAM_TO_CONNECTION_AGE = 0.9
# The first is about what the requests hold that run at a time; the others are Python's own.
_GARBAGE_THRESHOLDS = (50_000, 10, 10)

_IN_FLIGHT = Gauge("cairn_ingest_events_in_flight", "Events that await Kafka's confirmation.")
_RESOURCES = Gauge("cairn_ingest_catalog_resources", "Resources known for stamping, over all tenants.")
_COMPARING = Gauge(
    "cairn_ingest_comparing", "1 while events are compared with those of earlier requests, else 0: Redis is away."
)


@dataclass(frozen=True, slots=True)
class IngestAdapters:
    """What an ingest server is built over.

    Attributes:
        log: the log of learner events.
        recent: what is remembered of its last events.
        tags: the skills that resources assess.
        keys: destroys learners' keys.
        tenants: the tenants and their API keys.
        clock: the time, aware.
        statements: what is kept of xAPI statements.
    """

    log: EventLog
    recent: RecentEvents
    tags: SkillTags
    keys: LearnerErasure
    tenants: TenantRegistry
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    statements: StatementStore = field(default_factory=NoStatements)


@dataclass(frozen=True, slots=True)
class IngestOptions:
    """How a server listens, and how it limits streams.

    Attributes:
        grpc: the gRPC server; its `max_message_bytes` is the largest request that is accepted.
        streams: the limits of streams.
        traces: where spans go.
        http_listen: where to take events over HTTP, which has the limits of gRPC; empty: nowhere.
    """

    grpc: ServerOptions
    streams: StreamLimits = field(default_factory=StreamLimits)
    traces: Traces = NO_TRACES
    http_listen: str = ""


@dataclass(frozen=True, slots=True)
class IngestServer:
    """A wired server.

    Attributes:
        servicer: the service.
        grpc: the gRPC server with the registered service; must be started.
        http: the HTTP server, which must be started too; None: there is none.
    """

    servicer: IngestServicer
    grpc: GrpcServer
    http: HttpServer | None = None

    async def stop(self) -> None:
        """End streams, and let running calls and requests finish."""
        self.servicer.end_streams()
        await asyncio.gather(self.grpc.stop(), *([] if self.http is None else [self.http.stop()]))


def ingest_server(adapters: IngestAdapters, options: IngestOptions) -> IngestServer:
    """A server over the adapters; nothing is started yet."""
    accepted_bytes_max = options.grpc.max_message_bytes
    publish = PublishEvents(MeteredEventLog(adapters.log), adapters.recent, adapters.tags, adapters.clock)
    servicer = IngestServicer(
        publish,
        EraseLearner(adapters.log, adapters.recent, adapters.keys, adapters.clock, adapters.statements),
        request_bytes_max=accepted_bytes_max,
        limits=options.streams,
        traces=options.traces,
    )
    grpc = GrpcServer(
        replace(options.grpc, max_message_bytes=accepted_bytes_max * _RECEIVED_OVER_ACCEPTED),
        adapters.tenants,
        options.traces,
    )
    grpc.register(lambda server: ingest_pb2_grpc.add_IngestServiceServicer_to_server(servicer, server), SERVICE_NAME)
    return IngestServer(servicer, grpc, _http_server(adapters, options, publish, grpc.admission))


def _http_server(
    adapters: IngestAdapters, options: IngestOptions, publish: PublishEvents, admission: Admission | None
) -> HttpServer | None:
    if not options.http_listen or admission is None:
        return None
    connections = ConnectionLimits(age_s=options.grpc.connection_age_s)
    http = HttpOptions(options.http_listen, "CAIRN_INGEST_HTTP_LISTEN", options.grpc, connections)
    return HttpServer(http, admission, http_routes(adapters, publish, admission), options.traces)


def http_routes(adapters: IngestAdapters, publish: PublishEvents, admission: Admission) -> list[Route | OpenRoute]:
    """What is served over HTTP."""

    def charge(tenant: str, events: int) -> None:
        admission.charge(tenant, POLICY, events)

    publisher = HttpPublisher(publish, charge)
    return [
        *event_routes(publisher),
        *xapi_routes(publisher, adapters.statements, adapters.clock),
        *caliper_routes(publisher),
    ]


async def run(settings: IngestSettings) -> None:
    """Run the service until it is stopped.

    Raises:
        ListenAddressError: when it may not or cannot listen on the address.
        TenantsFileError: when the tenants file cannot be used.
        BrokerUnavailableError: when Kafka cannot be reached at the start.
        TopicMissingError: when a topic does not exist.
        LogRecreatedError: when the topic of events was recreated while the service ran.
        RecentEventsUrlError: when CAIRN_REDIS is neither empty nor the URL of a Redis.
        TopicChangedError: when the topic of learners' keys was recreated or lost records while the service ran.
        KeysMissingError: when the topic of learners' keys does not hold the keys of the log's last records.
        OSError: when the metrics port is taken.
    """
    traces = settings.traces("ingest")
    tenants = load_tenants(settings.tenants)
    keys = KafkaLearnerKeys(
        settings.connection,
        tenants.get,
        lambda: datetime.now(UTC),
        accept_lost_keys=settings.ingest_accept_lost_keys,
    )
    log = KafkaEventLog(
        settings.connection,
        KafkaLogOptions(
            events_in_flight_max=settings.ingest_events_in_flight_max,
            delivery_timeout_s=settings.ingest_delivery_timeout_s,
        ),
        traces,
        keys,
    )
    tags = KafkaSkillTags(settings.connection)
    recent = await _recent_events(settings.redis_url)
    adapters = IngestAdapters(log, recent, tags, keys, tenants, statements=_statements(settings))
    server = ingest_server(adapters, _options(settings, traces))
    _IN_FLIGHT.set_function(lambda: log.in_flight)
    _RESOURCES.set_function(lambda: tags.resources)
    _COMPARING.set_function(lambda: recent.available)
    report_expiry("CAIRN_TLS_CERTIFICATE", settings.tls_certificate, read_again=True)
    report_expiry("CAIRN_KAFKA_CERTIFICATE", settings.kafka_certificate)
    if settings.metrics_port:
        serve_http("ingest", settings.metrics_port, settings.metrics_host, lambda: server.grpc.serving)
    address = await server.grpc.start()
    announce("ingest", address, settings.address_file)
    if server.http is not None:
        announce("ingest over HTTP", await server.http.start(), None)
    try:
        await run_until_stopped([_read_and_write(log, keys, tags, server)])
    finally:
        _log.info("stopping")
        traces.close()


async def _recent_events(url: str) -> RecentEvents:
    if not url:
        _log.warning("repeats are not compared with earlier requests", reason="CAIRN_REDIS is empty")
        return NoRecentEvents()
    recent = RedisRecentEvents(url)
    await recent.check()
    return recent


def _statements(settings: IngestSettings) -> StatementStore:
    if not settings.redis_url or not settings.ingest_http_listen or not settings.ingest_statements_kept_s:
        return NoStatements()
    return RedisStatements(
        settings.redis_url,
        kept_s=settings.ingest_statements_kept_s,
        statements_max=settings.ingest_statements_kept,
    )


def _options(settings: IngestSettings, traces: Traces) -> IngestOptions:
    grpc = replace(settings.server_options, connection_age_s=settings.connection_age_s or None)
    limits = StreamLimits(
        # A stream ends before the connection's age would cut it off in the middle of a batch.
        age_s=None if grpc.connection_age_s is None else _STREAM_TO_CONNECTION_AGE * grpc.connection_age_s,
        streams_max=settings.ingest_streams,
        streams_per_tenant_max=settings.ingest_streams_per_tenant,
    )
    return IngestOptions(grpc, limits, traces, settings.ingest_http_listen)


async def _read_and_write(
    log: KafkaEventLog, keys: KafkaLearnerKeys, tags: KafkaSkillTags, server: IngestServer
) -> None:
    jobs = [
        asyncio.create_task(job)
        for job in (_report_health(log, keys, tags, server.grpc), log.run(), tags.run(), keys.run())
    ]
    try:
        done, _ = await asyncio.wait(jobs, return_when=asyncio.FIRST_COMPLETED)
        for job in done:
            job.result()
    finally:
        # Running calls still need the log until they finish, so it is stopped last.
        jobs[0].cancel()
        await server.stop()
        for job in jobs:
            job.cancel()
        await asyncio.gather(*jobs, return_exceptions=True)


async def _report_health(log: KafkaEventLog, keys: KafkaLearnerKeys, tags: KafkaSkillTags, server: GrpcServer) -> None:
    reported = settled = False
    while True:
        serving = log.connected and keys.ready and tags.ready
        if serving and not settled:
            _collect_garbage_seldom()
            settled = True
        if serving != reported:
            await server.set_serving(serving=serving)
            _log.info("serving" if serving else "not serving", log=log.connected, keys=keys.ready, catalog=tags.ready)
            reported = serving
        await asyncio.sleep(_HEALTH_CHECK_S)


def _collect_garbage_seldom() -> None:
    """Make the cyclic garbage collector run rarely, and spare what was loaded at the start.

    Requests are thousands of objects, few of them in cycles. At Python's own thresholds, the collector traverses them
    and what was loaded so often that it takes a seventh of the time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GARBAGE_THRESHOLDS)
