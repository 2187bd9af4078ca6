"""uvicorn's server as we need it: without its signal handlers, and impatient with connections that say nothing."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

_HEADERS_BYTES_MAX = 65_536


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """What connections may do.

    Attributes:
        keep_alive_s: how long one stays open after a request.
        headers_s: how long the TLS handshake may take, and how long the headers of a request.
        silent: connections whose request has not come yet. Another one takes the place of the oldest.
        age_s: the age from which an answer is the last one of its connection, so that clients spread over servers that
            started since. None: any.
    """

    keep_alive_s: float = 60.0
    headers_s: float = 10.0
    silent: int = 500
    age_s: float | None = None


class ConnectionServer(uvicorn.Server):
    """Serves an application on a socket."""

    def __init__(self, app: Any, context: ssl.SSLContext | None, limits: ConnectionLimits, *, drain_s: float) -> None:
        """Args: the ASGI application; TLS, None: plain text; the limits; and how long requests may last at the end."""
        super().__init__(
            uvicorn.Config(
                app,
                http=_Connection,
                ws="none",
                lifespan="off",
                interface="asgi3",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                h11_max_incomplete_event_size=_HEADERS_BYTES_MAX,
                # uvicorn passes both to asyncio, which takes parts of a second.
                timeout_keep_alive=limits.keep_alive_s,  # type: ignore[arg-type]
                timeout_graceful_shutdown=drain_s,  # type: ignore[arg-type]
            )
        )
        self._context = context
        self._limits = limits
        # It would log each request that is no HTTP, however many come.
        logging.getLogger("uvicorn.error").setLevel(logging.ERROR)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the process."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen on the one socket."""
        if not sockets:
            raise AssertionError("there is no socket to listen on")
        silent: dict[_Connection, asyncio.TimerHandle] = {}

        def connection() -> _Connection:
            return _Connection(self.config, self.server_state, self._limits, silent)

        server = await asyncio.get_running_loop().create_server(
            connection,
            sock=sockets[0],
            ssl=self._context,
            ssl_handshake_timeout=None if self._context is None else self._limits.headers_s,
        )
        self.servers = [server]
        self.started = True


class _Connection(H11Protocol):
    """A connection that is closed when no whole head of a request comes in time, however slowly its bytes drip."""

    def __init__(
        self,
        config: uvicorn.Config,
        state: Any,
        limits: ConnectionLimits,
        silent: dict[_Connection, asyncio.TimerHandle],
    ) -> None:
        super().__init__(config, state, {})
        self._limits = limits
        self._silent = silent

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # asyncio does so only for sockets that it made. Without, a body waits 40 ms until the client confirms its head.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._made_s = self.loop.time()
        self._await_request()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop_waiting()
            if self._limits.age_s is not None and self.loop.time() - self._made_s > self._limits.age_s:
                # As if the client had asked for it.
                self.headers.append((b"connection", b"close"))
        elif self not in self._silent and not self.transport.is_closing():
            self._await_request()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def _await_request(self) -> None:
        if len(self._silent) >= self._limits.silent:
            oldest = next(iter(self._silent))
            oldest._stop_waiting()  # noqa: SLF001 - of the same class.
            oldest.transport.abort()
        self._silent[self] = self.loop.call_later(self._limits.headers_s, self.transport.abort)

    def _stop_waiting(self) -> None:
        if (timer := self._silent.pop(self, None)) is not None:
            timer.cancel()
