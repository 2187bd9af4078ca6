"""A gRPC server as every service runs it: authenticated, bounded, health-checked, drained on SIGTERM."""

from __future__ import annotations

import asyncio
import inspect
import re
import signal
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import grpc
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from services.common.auth.registry import TenantRegistry
from services.common.auth.tenant import Credential, Scope, Tenant
from services.common.rpc.rate_limits import RateLimit, TokenBuckets
from services.common.rpc.statuses import abort, permission_denied, resource_exhausted, unauthenticated
from services.common.rpc.tls import TlsFiles, TlsFilesError, is_loopback, server_credentials
from services.common.telemetry.traces import NO_TRACES, TRACEPARENT, SpanKind, Traces

if TYPE_CHECKING:
    # The stubs make these generic; the classes themselves are not.
    Handler = grpc.RpcMethodHandler[Any, Any]
    Context = grpc.aio.ServicerContext[Any, Any]

_log = structlog.get_logger(__name__)

_UNAUTHENTICATED_SERVICES = ("/grpc.health.v1.Health/", "/grpc.reflection.v1alpha.ServerReflection/")
_tenant: ContextVar[Tenant] = ContextVar("tenant")
_api_key_id: ContextVar[str] = ContextVar("api_key_id", default="")
_caller_traceparent: ContextVar[str | None] = ContextVar("caller_traceparent", default=None)
# What the audit line of the call being handled says besides; None: the call is not audited.
_audited: ContextVar[dict[str, object] | None] = ContextVar("audited", default=None)

_KEEPALIVE_MS = 60_000
_KEEPALIVE_TIMEOUT_MS = 20_000
_CLIENT_PINGS_EVERY_MS = 20_000

REQUEST_ID = "x-request-id"
# What a caller chose stands in logs and in replies, so it is short and plain.
_REQUEST_ID_PATTERN = re.compile(r"[A-Za-z0-9._:/@+=-]{1,128}")

# What a key needs to call a method, where it is not what its service needs.
METHOD_SCOPES = {
    "cairn.v1.IngestService/DeleteLearner": Scope.ADMIN,
}
# What a key needs to call a service; a service that is not here needs the scope admin.
SCOPES = {
    "cairn.v1.IngestService": Scope.INGEST,
    "cairn.v1.RecommendationService": Scope.RECOMMEND,
    "cairn.v1.CatalogService": Scope.CATALOG,
}

# Calls that change what others rely on, each noted.
AUDITED_METHODS = frozenset(
    {
        "cairn.v1.IngestService/DeleteLearner",
        *(
            f"cairn.v1.CatalogService/{name}"
            for name in (
                "ImportCatalog",
                "PutResource",
                "DeleteResource",
                "PutSkill",
                "DeleteSkill",
                "BatchPut",
                "PutRule",
                "DeleteRule",
                "ReviewTag",
            )
        ),
    }
)


class ListenAddressError(ValueError):
    """The server may not or cannot listen where it was told to."""


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """Limits and address of a server.

    Attributes:
        listen: `host:port`; port 0 picks a free one.
        insecure: allow other than loopback addresses without TLS.
        reflection: serve gRPC reflection.
        max_message_bytes: largest request and reply.
        max_concurrent_calls: calls handled at once; more get RESOURCE_EXHAUSTED.
        drain_s: how long running calls may finish once stopping.
        tls: speak TLS with these; None: plain text.
        rate_limit: how often a tenant may call; None: no limit.
        connection_age_s: after how long, give or take a tenth, clients are asked to connect anew, so that their calls
            spread over servers that came since; calls that run then may go on for as long again. None: never.
    """

    listen: str
    insecure: bool = False
    reflection: bool = False
    max_message_bytes: int = 4 * 1024 * 1024
    max_concurrent_calls: int = 200
    drain_s: float = 10.0
    tls: TlsFiles | None = None
    rate_limit: RateLimit | None = None
    connection_age_s: float | None = None


def current_tenant() -> Tenant:
    """The tenant of the call being handled, from its API key."""
    return _tenant.get()


def current_api_key_id() -> str:
    """Id of the API key of the call being handled, which an audit may name; empty outside of calls."""
    return _api_key_id.get()


def caller_traceparent() -> str | None:
    """The trace that the stream being handled was opened in; None: none, or this process makes no traces."""
    return _caller_traceparent.get()


def note_for_audit(**facts: object) -> None:
    """Add to the audit line of the call being handled: ids and counts, nothing about people."""
    line = _audited.get()
    if line is not None:
        line.update(facts)


def calling_as(tenant: Tenant) -> ContextVar[Tenant]:
    """Make `tenant` the current one without a call, for component tests of servicers."""
    _tenant.set(tenant)
    return _tenant


def new_request_id() -> str:
    """An id for a call that brought none."""
    return uuid.uuid4().hex


class RequestIds(grpc.aio.ServerInterceptor):
    """Gives every call an id: the caller's `x-request-id` if it is usable, else a new one.

    It is on every log line of the call, and comes back in the trailing metadata.
    """

    def __init__(self, new_id: Callable[[], str] = new_request_id) -> None:
        """Args: `new_id`, makes an id for a call that brought none."""
        self._new_id = new_id

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """Bind the id to the call's context, which is the call's own."""
        given = _metadata_of(handler_call_details, REQUEST_ID)
        request_id = next(filter(_REQUEST_ID_PATTERN.fullmatch, given), None) or self._new_id()
        structlog.contextvars.bind_contextvars(request_id=request_id)
        handler = await continuation(handler_call_details)
        if handler is None or handler_call_details.method.startswith(_UNAUTHENTICATED_SERVICES):
            return handler

        async def echo(context: Context) -> None:
            context.set_trailing_metadata(((REQUEST_ID, request_id),))

        return _preceded(handler, echo)


class CallTraces(grpc.aio.ServerInterceptor):
    """Makes each call with one reply a span, part of the caller's trace where it brings one.

    A stream may last for hours: what it carries makes spans of its own, as parts of `caller_traceparent`. Health checks
    are not worth any.
    """

    def __init__(self, traces: Traces) -> None:
        self._traces = traces

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """Wrap the method's handler."""
        traceparent = next(iter(_metadata_of(handler_call_details, TRACEPARENT)), None)
        _caller_traceparent.set(traceparent)
        handler = await continuation(handler_call_details)
        if (
            handler is None
            or handler.response_streaming
            or handler_call_details.method.startswith(_UNAUTHENTICATED_SERVICES)
        ):
            return handler
        behaviour: Any = handler.stream_unary if handler.request_streaming else handler.unary_unary
        method = handler_call_details.method.removeprefix("/")

        async def traced(request: Any, context: Context) -> Any:
            with self._traces.span(method, traceparent, kind=SpanKind.SERVER) as span:
                try:
                    return await behaviour(request, context)
                finally:
                    span.set_attribute("rpc.grpc.status_code", _code_of(context))

        return _remade(handler, traced)


class Audit(grpc.aio.ServerInterceptor):
    """Notes every call that changes what others rely on: what was called, with which key, and how it ended.

    One log line a call, marked `audit`, with what the method said with `note_for_audit`; it names no learner and holds
    no payload. Refused calls are noted too.
    """

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """Wrap the method's handler."""
        handler = await continuation(handler_call_details)
        method = handler_call_details.method.removeprefix("/")
        if handler is None or method not in AUDITED_METHODS:
            return handler
        behaviour: Any = handler.stream_unary if handler.request_streaming else handler.unary_unary

        async def audited(request: Any, context: Context) -> Any:
            done, facts = False, dict[str, object]()
            _audited.set(facts)
            try:
                reply = await behaviour(request, context)
                done = True
                return reply
            finally:
                tenant, code = _tenant.get(None), _code_of(context)
                _log.info(
                    "audit",
                    audit=True,
                    method=method,
                    tenant="" if tenant is None else tenant.name,
                    api_key=_api_key_id.get(),
                    code=code if done or code else grpc.StatusCode.UNKNOWN.value[0],
                    **facts,
                )

        return _remade(handler, audited)


def _code_of(context: Context) -> int:
    code = context.code()
    return int(code.value[0] if isinstance(code, grpc.StatusCode) else code or 0)


class Authentication(grpc.aio.ServerInterceptor):
    """Finds the tenant of `authorization: Bearer <API key>`.

    Refuses calls without a key, with one that may not call the service, without a deadline (streams of replies may go
    on for as long as the server lets them), or more often than the tenant's limit. Each message of a stream of requests
    counts as a call: a sender over the limit is not read from until there is room.
    """

    def __init__(self, tenants: TenantRegistry, rate_limit: RateLimit | None = None) -> None:
        self._tenants = tenants
        self._buckets = None if rate_limit is None else TokenBuckets(rate_limit)

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """Wrap the method's handler; health and reflection stay open."""
        handler = await continuation(handler_call_details)
        if handler is None or handler_call_details.method.startswith(_UNAUTHENTICATED_SERVICES):
            return handler
        api_key = _api_key_of(handler_call_details)
        credential = self._tenants.credential(api_key) if api_key else None
        method = handler_call_details.method.removeprefix("/")

        async def admit(context: Context) -> None:
            if credential is None:
                problem = "the API key is not known, was revoked or has expired" if api_key else "there is no API key"
                await abort(context, unauthenticated(f"{problem}; send the metadata authorization: Bearer <API key>"))
            await self._check_scope(context, credential, method)
            if context.time_remaining() is None and not handler.response_streaming:
                message = "the call has no deadline; set one, for example timeout=5 in Python or -max-time 5 in grpcurl"
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, message)
            await self._check_rate(context, credential.tenant.name)
            _tenant.set(credential.tenant)
            _api_key_id.set(credential.api_key.key_id)

        return _preceded(handler, admit, self._paced if handler.request_streaming else None)

    @staticmethod
    async def _check_scope(context: Context, credential: Credential, method: str) -> None:
        service = method.partition("/")[0]
        needed, key = METHOD_SCOPES.get(method) or SCOPES.get(service, Scope.ADMIN), credential.api_key
        if needed in key.scopes:
            return
        what = method if method in METHOD_SCOPES else service
        message = (
            f"the API key {key.name!r} ({key.key_id}) may be used for {', '.join(sorted(key.scopes))}, and {what} "
            f"needs the scope {needed}; use a key that has it, or have one made: "
            f"cairn keys create --tenant {key.tenant} --scope {needed}"
        )
        await abort(context, permission_denied(message, reason="SCOPE_MISSING"))

    async def _check_rate(self, context: Context, tenant: str) -> None:
        wait_s = 0.0 if self._buckets is None else self._buckets.take(tenant)
        if wait_s:
            message = f"tenant {tenant!r} calls more often than it may; send the call again in {wait_s:.3f} s"
            await abort(context, resource_exhausted(message, reason="RATE_LIMITED", retry_after_s=wait_s))

    async def _paced(self, requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
        """The messages of a stream, no more often than the tenant may call."""
        async for request in requests:
            while self._buckets is not None and (wait_s := self._buckets.take(_tenant.get().name)):  # noqa: ASYNC110 - what is waited for is time.
                await asyncio.sleep(wait_s)
            yield request


class GrpcServer:
    """One process's gRPC server.

    `register` adds servicers before `start`; `set_serving` tells the health service (start says NOT_SERVING until told
    otherwise); `stop` lets running calls finish.
    """

    def __init__(self, options: ServerOptions, tenants: TenantRegistry | None, traces: Traces = NO_TRACES) -> None:
        """Args: `options`; `tenants`, None for a process that serves health only; `traces` of its calls."""
        check_listen_address(options.listen, insecure=options.insecure or options.tls is not None)
        self._options = options
        self._server = grpc.aio.server(
            interceptors=_interceptors(options, tenants, traces),
            maximum_concurrent_rpcs=options.max_concurrent_calls,
            options=[
                ("grpc.max_receive_message_length", options.max_message_bytes),
                ("grpc.max_send_message_length", options.max_message_bytes),
                ("grpc.so_reuseport", 0),
                # A client that vanished without a word is found out, and one that holds a stream may look whether we
                # are there.
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
            ListenAddressError: when the address is taken or is not this machine's, or the TLS files cannot be used.
        """
        if self._options.reflection:
            names = [*self._service_names, health.SERVICE_NAME, reflection.SERVICE_NAME]
            reflection.enable_server_reflection(names, self._server)
        try:
            self._bound_port = self._listen()
        except TlsFilesError as error:
            raise ListenAddressError(f"cannot speak TLS on {self._options.listen}: {error}") from error
        except RuntimeError as error:
            raise ListenAddressError(
                f"cannot listen on {self._options.listen}: {error}; stop what uses the port, "
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

    async def set_serving(self, *, serving: bool) -> None:
        """Tell the health service about the whole server and each registered service."""
        status = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
        for name in ("", *self._service_names):
            await self._health.set(name, status)

    async def stop(self) -> None:
        """Say NOT_SERVING, let running calls finish within the drain time, then close."""
        await self._health.enter_graceful_shutdown()
        await self._server.stop(self._options.drain_s)


def _interceptors(
    options: ServerOptions, tenants: TenantRegistry | None, traces: Traces
) -> list[grpc.aio.ServerInterceptor]:
    if tenants is None:
        return []
    traced = [CallTraces(traces)] if traces.on else []
    return [*traced, RequestIds(), Audit(), Authentication(tenants, options.rate_limit)]


def check_listen_address(listen: str, *, insecure: bool) -> None:
    """Refuse addresses that others can reach, unless told to.

    Raises:
        ListenAddressError: when `listen` is not host:port, or not loopback and `insecure` is false.
    """
    _, colon, port = listen.rpartition(":")
    if not colon or not port.isdigit():
        raise ListenAddressError(f"listen={listen!r} is not host:port, for example 127.0.0.1:50051")
    if not is_loopback(listen) and not insecure:
        raise ListenAddressError(
            f"listen={listen!r} can be reached from other machines and there is no TLS: listen on 127.0.0.1 "
            "behind a TLS proxy, set CAIRN_TLS_CERTIFICATE and CAIRN_TLS_KEY, or set CAIRN_INSECURE=true to accept it"
        )


def announce(service: str, address: str, address_file: Path | None) -> None:
    """Say where a server listens: in the log and, where a file is named, in it (whole or not at all)."""
    _log.info("listening", server=service, address=address)
    if address_file is not None:
        temporary = address_file.with_name(address_file.name + ".new")
        temporary.write_text(address)
        temporary.replace(address_file)


async def run_until_stopped(jobs: Sequence[Coroutine[Any, Any, None]]) -> None:
    """Run jobs until SIGTERM or SIGINT, or until one of them fails.

    Raises:
        Exception: whatever a job raised first; a job that ends by itself ends them all.
    """
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    tasks = [asyncio.create_task(job) for job in jobs]
    waiting = asyncio.create_task(stopping.wait())
    try:
        done, _ = await asyncio.wait([*tasks, waiting], return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in (*tasks, waiting):
            task.cancel()
        await asyncio.gather(*tasks, waiting, return_exceptions=True)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


def _age_options(age_s: float | None) -> list[tuple[str, int]]:
    if age_s is None:
        return []
    age_ms = round(age_s * 1000)
    return [("grpc.max_connection_age_ms", age_ms), ("grpc.max_connection_age_grace_ms", age_ms)]


def _metadata_of(details: grpc.HandlerCallDetails, wanted: str) -> list[str]:
    return [value for name, value in details.invocation_metadata or () if name == wanted and isinstance(value, str)]


def _api_key_of(details: grpc.HandlerCallDetails) -> str | None:
    for value in _metadata_of(details, "authorization"):
        scheme, _, api_key = value.partition(" ")
        if scheme.lower() == "bearer" and api_key:
            return api_key.strip()
    return None


def _remade(handler: Handler, behaviour: Any) -> Handler:
    """A handler of the same form with another behaviour."""
    make: Any = {
        (False, False): grpc.unary_unary_rpc_method_handler,
        (False, True): grpc.unary_stream_rpc_method_handler,
        (True, False): grpc.stream_unary_rpc_method_handler,
        (True, True): grpc.stream_stream_rpc_method_handler,
    }[handler.request_streaming, handler.response_streaming]
    return cast("Handler", make(behaviour, handler.request_deserializer, handler.response_serializer))


def _preceded(
    handler: Handler,
    before: Callable[[Context], Awaitable[None]],
    paced: Callable[[AsyncIterator[Any]], AsyncIterator[Any]] | None = None,
) -> Handler:
    """The handler, run after `before`, which may end the call; a stream of requests is read through `paced`."""
    behaviour: Any = handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
    if handler.response_streaming:

        async def stream(request: Any, context: Context) -> AsyncIterator[Any]:
            await before(context)
            async for reply in behaviour(paced(request) if paced else request, context):
                yield reply

        async def writing(request: Any, context: Context) -> None:
            await before(context)
            await behaviour(paced(request) if paced else request, context)

        # A method yields its replies, or writes them itself and so sees how long a reader takes.
        return _remade(handler, stream if inspect.isasyncgenfunction(behaviour) else writing)

    async def unary(request: Any, context: Context) -> Any:
        await before(context)
        return await behaviour(paced(request) if paced else request, context)

    return _remade(handler, unary)
