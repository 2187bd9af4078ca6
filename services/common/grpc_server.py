"""A gRPC server as every service runs it: authenticated, bounded, health-checked, drained on SIGTERM."""

from __future__ import annotations

import asyncio
import ipaddress
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import grpc
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from services.common.statuses import abort, unauthenticated
from services.common.tenants import Tenant, TenantRegistry

if TYPE_CHECKING:
    # The stubs make these generic; the classes themselves are not.
    Handler = grpc.RpcMethodHandler[Any, Any]
    Context = grpc.aio.ServicerContext[Any, Any]

_log = structlog.get_logger(__name__)

_UNAUTHENTICATED_SERVICES = ("/grpc.health.v1.Health/", "/grpc.reflection.v1alpha.ServerReflection/")
_tenant: ContextVar[Tenant] = ContextVar("tenant")


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
    """

    listen: str
    insecure: bool = False
    reflection: bool = False
    max_message_bytes: int = 4 * 1024 * 1024
    max_concurrent_calls: int = 200
    drain_s: float = 10.0


def current_tenant() -> Tenant:
    """The tenant of the call being handled, from its API key."""
    return _tenant.get()


def calling_as(tenant: Tenant) -> ContextVar[Tenant]:
    """Make `tenant` the current one without a call, for component tests of servicers."""
    _tenant.set(tenant)
    return _tenant


class Authentication(grpc.aio.ServerInterceptor):
    """Finds the tenant of `authorization: Bearer <API key>` and refuses calls without one or without a deadline."""

    def __init__(self, tenants: TenantRegistry) -> None:
        self._tenants = tenants

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """Wrap the method's handler; health and reflection stay open."""
        handler = await continuation(handler_call_details)
        if handler is None or handler_call_details.method.startswith(_UNAUTHENTICATED_SERVICES):
            return handler
        api_key = _api_key_of(handler_call_details.invocation_metadata)
        tenant = self._tenants.authenticate(api_key) if api_key else None
        return _guarded(handler, tenant, has_key=bool(api_key))


class GrpcServer:
    """One process's gRPC server.

    `register` adds servicers before `start`; `set_serving` tells the health service (start says NOT_SERVING until told
    otherwise); `stop` lets running calls finish.
    """

    def __init__(self, options: ServerOptions, tenants: TenantRegistry | None) -> None:
        """Args: `options`, and `tenants`, None for a process that serves health only."""
        check_listen_address(options.listen, insecure=options.insecure)
        self._options = options
        self._server = grpc.aio.server(
            interceptors=[] if tenants is None else [Authentication(tenants)],
            maximum_concurrent_rpcs=options.max_concurrent_calls,
            options=[
                ("grpc.max_receive_message_length", options.max_message_bytes),
                ("grpc.max_send_message_length", options.max_message_bytes),
                ("grpc.so_reuseport", 0),
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
            ListenAddressError: when the address is taken or is not this machine's.
        """
        if self._options.reflection:
            names = [*self._service_names, health.SERVICE_NAME, reflection.SERVICE_NAME]
            reflection.enable_server_reflection(names, self._server)
        try:
            self._bound_port = self._server.add_insecure_port(self._options.listen)
        except RuntimeError as error:
            raise ListenAddressError(
                f"cannot listen on {self._options.listen}: {error}; stop what uses the port, "
                "or set CAIRN_LISTEN to another address (port 0 picks a free one)"
            ) from error
        await self.set_serving(serving=False)
        await self._server.start()
        host = self._options.listen.rpartition(":")[0]
        return f"{host}:{self._bound_port}"

    async def set_serving(self, *, serving: bool) -> None:
        """Tell the health service about the whole server and each registered service."""
        status = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
        for name in ("", *self._service_names):
            await self._health.set(name, status)

    async def stop(self) -> None:
        """Say NOT_SERVING, let running calls finish within the drain time, then close."""
        await self._health.enter_graceful_shutdown()
        await self._server.stop(self._options.drain_s)


def check_listen_address(listen: str, *, insecure: bool) -> None:
    """Refuse addresses that others can reach, unless told to.

    Raises:
        ListenAddressError: when `listen` is not host:port, or not loopback and `insecure` is false.
    """
    host, colon, port = listen.rpartition(":")
    if not colon or not port.isdigit():
        raise ListenAddressError(f"listen={listen!r} is not host:port, for example 127.0.0.1:50051")
    name = host.strip("[]")
    try:
        loopback = name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        loopback = False
    if not loopback and not insecure:
        raise ListenAddressError(
            f"listen={listen!r} can be reached from other machines and there is no TLS: listen on 127.0.0.1 "
            "behind a TLS proxy, or set CAIRN_INSECURE=true to accept it"
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


def _api_key_of(metadata: Sequence[tuple[str, str | bytes]]) -> str | None:
    for name, value in metadata or ():
        if name == "authorization" and isinstance(value, str):
            scheme, _, api_key = value.partition(" ")
            if scheme.lower() == "bearer" and api_key:
                return api_key.strip()
    return None


def _guarded(handler: Handler, tenant: Tenant | None, *, has_key: bool) -> Handler:
    async def admit(context: Context) -> None:
        if tenant is None:
            problem = "the API key is not known or was revoked" if has_key else "there is no API key"
            await abort(context, unauthenticated(f"{problem}; send the metadata authorization: Bearer <API key>"))
        if context.time_remaining() is None:
            message = "the call has no deadline; set one, for example timeout=5 in Python or -max-time 5 in grpcurl"
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, message)
        _tenant.set(tenant)

    behaviour: Any = handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
    make: Any
    if handler.response_streaming:

        async def stream(request: Any, context: Context) -> AsyncIterator[Any]:
            await admit(context)
            async for reply in behaviour(request, context):
                yield reply

        make = (
            grpc.stream_stream_rpc_method_handler if handler.request_streaming else grpc.unary_stream_rpc_method_handler
        )
        return cast("Handler", make(stream, handler.request_deserializer, handler.response_serializer))

    async def unary(request: Any, context: Context) -> Any:
        await admit(context)
        return await behaviour(request, context)

    make = grpc.stream_unary_rpc_method_handler if handler.request_streaming else grpc.unary_unary_rpc_method_handler
    return cast("Handler", make(unary, handler.request_deserializer, handler.response_serializer))
