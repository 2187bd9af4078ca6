"""The gRPC server that every service runs: authenticated, bounded, health-checked, drained on SIGTERM."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from services.common.auth.registry import TenantRegistry
from services.common.rpc.addresses import ListenAddressError, check_listen_address, check_tenants
from services.common.rpc.admission import Admission
from services.common.rpc.authentication import Authentication
from services.common.rpc.bodies import Bodies
from services.common.rpc.interceptors import Audit, CallTraces, Failures, RequestIds
from services.common.rpc.open_calls import OpenCallLimits, OpenCalls
from services.common.rpc.rate_limits import RateLimit, TokenBuckets
from services.common.rpc.slots import SlotLimits, Slots
from services.common.rpc.tls import TlsFiles, server_credentials
from services.common.telemetry.traces import NO_TRACES, Traces

_KEEPALIVE_MS = 60_000
_KEEPALIVE_TIMEOUT_MS = 20_000
_CLIENT_PINGS_EVERY_MS = 5_000
_HANDSHAKE_TIMEOUT_MS = 10_000


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """Limits and address of a server.

    Attributes:
        listen: `host:port`; port 0 picks a free one.
        insecure: allow addresses other than loopback without TLS.
        reflection: serve gRPC reflection.
        max_message_bytes: largest request and reply.
        slots: calls handled at the same time; more get RESOURCE_EXHAUSTED.
        open_calls: limits on calls that need no API key; they take no slots.
        body_timeout_s: how long a request's body may take to come once its headers have.
        drain_s: how long running calls may take to finish once the server stops.
        tls: the files to use TLS with; None: plain text.
        rate_limit: the limit on each tenant's calls; None: no limit.
        connection_age_s: the age, plus or minus 10 %, at which clients are asked to reconnect, so that their calls
            spread over servers that started since. Running calls may continue for the same time again. None: never.
    """

    listen: str
    insecure: bool = False
    reflection: bool = False
    max_message_bytes: int = 4 * 1024 * 1024
    slots: SlotLimits = field(default_factory=SlotLimits)
    open_calls: OpenCallLimits = field(default_factory=OpenCallLimits)
    body_timeout_s: float = 10.0
    drain_s: float = 10.0
    tls: TlsFiles | None = None
    rate_limit: RateLimit | None = None
    connection_age_s: float | None = None


class GrpcServer:
    """One process's gRPC server.

    Call `register` for each servicer before `start`. The health service reports NOT_SERVING until `set_serving`. `stop`
    lets running calls finish.

    Attributes:
        serving: what the health service reports for the whole server.
        admission: who may call it; None for a process that serves health only.
    """

    def __init__(self, options: ServerOptions, tenants: TenantRegistry | None, traces: Traces = NO_TRACES) -> None:
        """Args: `options`; `tenants`, None for a process that serves health only; `traces` of its calls.

        Raises:
            ListenAddressError: when it may not listen at the address.
        """
        check_listen_address(options.listen, insecure=options.insecure or options.tls is not None)
        if tenants is not None:
            check_tenants(tenants, options.listen)
        self.serving = False
        self.admission = None if tenants is None else _admission(options, tenants)
        self._options = options
        self._server = grpc.aio.server(
            interceptors=_interceptors(options, self.admission, traces),
            options=[
                ("grpc.max_receive_message_length", options.max_message_bytes),
                ("grpc.max_send_message_length", options.max_message_bytes),
                ("grpc.so_reuseport", 0),
                # Further calls wait in the client, so that it need not be told to send them again.
                ("grpc.max_concurrent_streams", options.slots.on_connection),
                # Otherwise a connection on which nothing comes stays for two minutes.
                ("grpc.server_handshake_timeout_ms", _HANDSHAKE_TIMEOUT_MS),
                # Detects clients that disappeared. A client with an open stream may ping, too.
                ("grpc.keepalive_time_ms", _KEEPALIVE_MS),
                ("grpc.keepalive_timeout_ms", _KEEPALIVE_TIMEOUT_MS),
                ("grpc.http2.min_ping_interval_without_data_ms", _CLIENT_PINGS_EVERY_MS),
                *_age_options(options.connection_age_s),
            ],
        )
        self._health = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        self._service_names: list[str] = []
        self._bound_port = 0

    def register(self, add: Callable[[grpc.aio.Server], None], service_name: str) -> None:
        """Add a servicer: `add` receives the server, `service_name` is the full proto name."""
        add(self._server)
        self._service_names.append(service_name)

    async def start(self) -> str:
        """Listen and return `host:port`.

        Raises:
            CertificateFileError: when the TLS files cannot be used.
            ListenAddressError: when the address is in use or on another machine.
        """
        if self._options.reflection:
            names = [*self._service_names, health.SERVICE_NAME, reflection.SERVICE_NAME]
            reflection.enable_server_reflection(names, self._server)
        try:
            self._bound_port = self._listen()
        except RuntimeError as error:
            raise ListenAddressError(
                f"cannot listen on {self._options.listen}: {error}; stop the process that uses the port, "
                "or set CAIRN_LISTEN to another address (port 0 picks a free one)"
            ) from error
        await self.set_serving(serving=False)
        await self._server.start()
        host = self._options.listen.rpartition(":")[0]
        return f"{host}:{self._bound_port}"

    def _listen(self) -> int:
        if self._options.tls is None:
            return self._server.add_insecure_port(self._options.listen)
        return self._server.add_secure_port(self._options.listen, server_credentials(self._options.tls))

    async def set_serving(self, *, serving: bool, name: str | None = None) -> None:
        """Set the health of the whole server and of each registered service, or of one named part of the process."""
        status = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
        if name is None:
            self.serving = serving
        for service in ("", *self._service_names) if name is None else (name,):
            await self._health.set(service, status)

    async def stop(self) -> None:
        """Report NOT_SERVING, let running calls finish within the drain time, then close."""
        self.serving = False
        await self._health.enter_graceful_shutdown()
        await self._server.stop(self._options.drain_s)


def _admission(options: ServerOptions, tenants: TenantRegistry) -> Admission:
    buckets = None if options.rate_limit is None else TokenBuckets(options.rate_limit)
    return Admission(tenants, Slots(options.slots), buckets)


def _interceptors(
    options: ServerOptions, admission: Admission | None, traces: Traces
) -> list[grpc.aio.ServerInterceptor]:
    # The first one is the outermost. `Bodies` is the last one, so the others have handlers that run on the headers.
    open_calls, failures = OpenCalls(options.open_calls), Failures()
    if admission is None:
        return [failures, open_calls, Bodies(options.body_timeout_s)]
    traced = [CallTraces(traces)] if traces.on else []
    bodies = Bodies(options.body_timeout_s, admission.buckets)
    return [*traced, RequestIds(), Audit(), failures, Authentication(admission), open_calls, bodies]


def _age_options(age_s: float | None) -> list[tuple[str, int]]:
    if age_s is None:
        return []
    age_ms = round(age_s * 1000)
    return [("grpc.max_connection_age_ms", age_ms), ("grpc.max_connection_age_grace_ms", age_ms)]
