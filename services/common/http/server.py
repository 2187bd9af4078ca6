"""The HTTP server that a process may run next to its gRPC server: authenticated and bounded like it, and drained."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable
from dataclasses import dataclass, field

from services.common.http.application import HttpContext, http_application
from services.common.http.bodies import BodyLimits
from services.common.http.connections import ConnectionLimits, ConnectionServer
from services.common.http.routes import OpenRoute, Route
from services.common.rpc.addresses import ListenAddressError, check_listen_address, check_tenants
from services.common.rpc.admission import Admission
from services.common.rpc.server import ServerOptions
from services.common.rpc.tls import server_context
from services.common.telemetry.traces import NO_TRACES, Traces

_STARTED_CHECK_S = 0.01


@dataclass(frozen=True, slots=True)
class HttpOptions:
    """Where a server listens, and what its connections may do.

    Attributes:
        listen: `host:port`; port 0 picks a free one.
        setting: the setting that names it, for messages.
        server: TLS, the limits on bodies and the drain time, which are those of the gRPC server.
        connections: the limits of connections.
    """

    listen: str
    setting: str
    server: ServerOptions
    connections: ConnectionLimits = field(default_factory=ConnectionLimits)


class HttpServer:
    """One process's HTTP server. `stop` lets running requests finish."""

    def __init__(
        self,
        options: HttpOptions,
        admission: Admission,
        routes: Iterable[Route | OpenRoute],
        traces: Traces = NO_TRACES,
    ) -> None:
        """Args: `options`; `admission`, shared with the gRPC server; the table of `routes`; and `traces`.

        Raises:
            ListenAddressError: when it may not listen at the address.
        """
        server = options.server
        check_listen_address(
            options.listen, insecure=server.insecure or server.tls is not None, setting=options.setting
        )
        check_tenants(admission.tenants, options.listen)
        limits = BodyLimits(server.max_message_bytes, server.body_timeout_s)
        self._options = options
        self._application = http_application(routes, HttpContext(admission, limits, traces))
        self._running: tuple[ConnectionServer, asyncio.Task[None]] | None = None

    async def start(self) -> str:
        """Listen and return `host:port`.

        Raises:
            CertificateFileError: when the TLS files cannot be used.
            ListenAddressError: when the address is in use or on another machine.
        """
        options = self._options
        context = None if options.server.tls is None else server_context(options.server.tls)
        listener = _listener(options.listen, options.setting)
        server = ConnectionServer(self._application, context, options.connections, drain_s=options.server.drain_s)
        running = asyncio.create_task(server.serve(sockets=[listener]))
        self._running = server, running
        while not server.started:
            await asyncio.sleep(_STARTED_CHECK_S)
            if running.done():
                running.result()
        return f"{options.listen.rpartition(':')[0]}:{listener.getsockname()[1]}"

    async def stop(self) -> None:
        """Take no more requests, let running ones finish within the drain time, then close."""
        if self._running is None:
            return
        server, running = self._running
        server.should_exit = True
        await running


def _listener(listen: str, setting: str) -> socket.socket:
    host, _, port = listen.rpartition(":")
    host = host.strip("[]")
    try:
        family = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, int(port)), family=family)
    except OSError as error:
        raise ListenAddressError(
            f"cannot listen on {listen}: {error}; stop the process that uses the port, or set {setting} to another "
            "address (port 0 picks a free one)"
        ) from error
