"""A TCP proxy that can stop forwarding or refuse connections, like a failing network."""

from __future__ import annotations

import asyncio
import ssl
import threading
from contextlib import suppress
from typing import Self

from deploy.processes import LOOPBACK

_CHUNK_BYTES = 1 << 16


class TcpProxy:
    """Forwards a loopback port to another on its own thread; use it as a context manager.

    `stall` keeps connections open and forwards nothing, like a lost route. `refuse` closes them and stops listening,
    like a lost host. `forward` ends both. `swallow` makes the open connections half-open: they stay open, and what is
    sent on them is lost, like after a NAT flush; new connections work.
    """

    def __init__(self, port: int, target_port: int, tls: ssl.SSLContext | None = None) -> None:
        """Args: `port` to listen on; `target_port` to forward to; `tls`, which clients then speak to this proxy."""
        self.port = port
        self._target_port = target_port
        self._tls = tls
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"proxy-{port}", daemon=True)
        self._server: asyncio.Server | None = None
        self._pumps: set[asyncio.Task[None]] = set()
        self._flowing = asyncio.Event()
        self._generation = 0

    def __enter__(self) -> Self:
        self._thread.start()
        self.forward()
        return self

    def __exit__(self, *_: object) -> None:
        self.refuse()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def forward(self) -> None:
        """Forward from now on."""
        self._run(self._forward())

    def stall(self) -> None:
        """Forward nothing in either direction; new connections are accepted and wait too."""
        self._run(self._stall())

    def refuse(self) -> None:
        """Close every connection and accept no new ones."""
        self._run(self._refuse())

    def swallow(self) -> None:
        """Lose everything that is sent on the connections that are open now, in both directions, for good."""
        self._generation += 1

    def _run(self, work) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _forward(self) -> None:
        self._flowing.set()
        if self._server is None:
            self._server = await asyncio.start_server(self._connected, LOOPBACK, self.port, ssl=self._tls)

    async def _stall(self) -> None:
        self._flowing.clear()

    async def _refuse(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        pumps = list(self._pumps)
        for pump in pumps:
            pump.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._pumps.add(task)
        target = None
        try:
            await self._flowing.wait()
            target_reader, target = await asyncio.open_connection(LOOPBACK, self._target_port)
            async with asyncio.TaskGroup() as pumps:
                pumps.create_task(self._pump(reader, target))
                pumps.create_task(self._pump(target_reader, writer))
        except (OSError, ExceptionGroup, asyncio.CancelledError):
            # One side closed the connection, or `refuse` was called; both sides are closed below.
            return
        finally:
            self._pumps.discard(task)
            for side in (writer, target):
                if side is not None:
                    side.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        generation = self._generation
        while data := await reader.read(_CHUNK_BYTES):
            await self._flowing.wait()
            if generation == self._generation:
                writer.write(data)
                await writer.drain()
        if generation != self._generation:
            # That this side closed the connection is lost as well.
            await asyncio.Event().wait()
        with suppress(OSError):
            writer.close()
        raise ConnectionResetError("one side is done, and Kafka uses no half-open connections")
