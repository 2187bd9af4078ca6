"""Notifications of changed learners, over Redis pub/sub.

The script that stores a learner publishes on one of 64 channels of its epoch, by the learner's key, so that a server
receives only the channels of its learners:

    cairn:<epoch>:changed:<0..63>     `<tenant>/<learner> <offset>[ <traceparent>]`, the stored offset

Redis keeps nothing for listeners that are away: they miss what is published meanwhile.
"""

from __future__ import annotations

import asyncio
import zlib
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import Any, cast

import hiredis
import redis.asyncio
import structlog

from services.common.redis_pool import connection_pool
from services.recommender.adapters.redis.connection import (
    SILENCE_S,
    connection_options,
    streams_of,
    unavailable_when_redis_is,
)
from services.recommender.application.ports.learners import ChangeListener, StateUnavailableError

_log = structlog.get_logger(__name__)

CHANNELS = 64

_READ_BYTES = 1 << 16
_PING_EVERY_S = 3.0
_RECONNECT_S = 0.5


def notification_channel(epoch: int, key: bytes) -> bytes:
    """The channel that changes of a learner are published on."""
    return _channel_name(epoch, _channel_of(key))


def notification_message(key: bytes, offset: int, traceparent: str) -> bytes:
    """The message published after a learner was stored. `traceparent` is its trace; empty: none."""
    return b"%b %d %b" % (key, offset, traceparent.encode()) if traceparent else b"%b %d" % (key, offset)


class RedisChangeNotifications:
    """Listens for changed learners.

    Reads the socket itself: redis-py spends 50 us or more on each message.
    """

    def __init__(self, url: str, timeout_s: float = 5.0, *, reconnect_s: float = _RECONNECT_S) -> None:
        """Args: `url` of Redis; `timeout_s` for connecting; `reconnect_s` between attempts."""
        self._pool: Any = connection_pool(url, **connection_options(url, timeout_s))
        self._reconnect_s = reconnect_s
        self._epoch: int | None = None
        self._watched: Counter[int] = Counter()
        self._wanted_changed = asyncio.Event()
        self._confirmed: set[bytes] = set()

    def follow(self, epoch: int) -> None:
        """See the port."""
        self._epoch = epoch
        self._wanted_changed.set()

    def watch(self, keys: Iterable[bytes]) -> None:
        """See the port."""
        self._count(map(_channel_of, keys), 1)

    def unwatch(self, keys: Iterable[bytes]) -> None:
        """See the port."""
        self._count(map(_channel_of, keys), -1)

    def watch_all(self) -> None:
        """See the port."""
        self._count(range(CHANNELS), 1)

    def unwatch_all(self) -> None:
        """See the port."""
        self._count(range(CHANNELS), -1)

    async def run(self, listener: ChangeListener) -> None:
        """See the port."""
        away = False
        while True:
            try:
                with unavailable_when_redis_is():
                    await self._listen(listener)
            except (StateUnavailableError, TimeoutError) as error:
                if self._confirmed or not away:
                    _log.warning(
                        "no notifications of changed learners; their offsets are compared instead", reason=str(error)
                    )
                away = True
                self._confirmed.clear()
            await asyncio.sleep(self._reconnect_s)

    def _count(self, channels: Iterable[int], by: int) -> None:
        before = self._watched.keys()
        counted = Counter(self._watched)
        for channel in channels:
            counted[channel] += by
        self._watched = +counted
        if self._watched.keys() != before:
            self._wanted_changed.set()

    def _wanted(self) -> set[bytes]:
        if self._epoch is None:
            return set()
        return {_channel_name(self._epoch, channel) for channel in self._watched}

    async def _listen(self, listener: ChangeListener) -> None:
        connection = cast("Any", self._pool).make_connection()
        try:
            await connection.connect()
            reader, writer = streams_of(connection)
            self._wanted_changed.set()
            jobs = [asyncio.create_task(job) for job in (self._read(reader, listener), self._ask(writer))]
            try:
                await asyncio.gather(*jobs)
            finally:
                for job in jobs:
                    job.cancel()
                await asyncio.gather(*jobs, return_exceptions=True)
        finally:
            await connection.disconnect(nowait=True)

    async def _ask(self, writer: Any) -> None:
        """Subscribe to the wanted channels, and ping now and then."""
        subscribed: set[bytes] = set()
        while True:
            try:
                async with asyncio.timeout(_PING_EVERY_S):
                    await self._wanted_changed.wait()
            except TimeoutError:
                _send(writer, b"PING")
            else:
                self._wanted_changed.clear()
                wanted = self._wanted()
                _send(writer, b"UNSUBSCRIBE", subscribed - wanted)
                _send(writer, b"SUBSCRIBE", wanted - subscribed)
                subscribed = wanted
            await writer.drain()

    async def _read(self, reader: Any, listener: ChangeListener) -> None:
        replies = hiredis.Reader()
        while True:
            async with asyncio.timeout(SILENCE_S):
                data = await reader.read(_READ_BYTES)
            if not data:
                raise ConnectionResetError("the connection was closed")
            replies.feed(data)
            subscribed = False
            message = replies.gets()
            while message is not False:
                subscribed |= self._take(message, listener)
                message = replies.gets()
            if subscribed and self._confirmed >= self._wanted():
                # Changes before the subscription were missed.
                listener.missed_some()

    def _take(self, message: Any, listener: ChangeListener) -> bool:
        """Handle one message; return whether it confirms a subscription."""
        if isinstance(message, hiredis.ReplyError):
            raise redis.exceptions.ResponseError(str(message))
        kind, channel, content = cast("Sequence[Any]", (*message, None)[:3])
        if kind == b"message":
            # Learners are pseudonyms, so a key contains no blank.
            key, offset, *traceparent = content.split(b" ")
            listener.changed(key, int(offset), traceparent[0].decode() if traceparent else "")
        elif kind == b"subscribe":
            self._confirmed.add(channel)
            return True
        elif kind == b"unsubscribe":
            self._confirmed.discard(channel)
        return False


def _channel_of(key: bytes) -> int:
    return zlib.crc32(key) % CHANNELS


def _channel_name(epoch: int, channel: int) -> bytes:
    return b"cairn:%d:changed:%d" % (epoch, channel)


def _send(writer: Any, command: bytes, arguments: Collection[bytes] | None = None) -> None:
    if arguments is None or arguments:
        writer.write(hiredis.pack_command((command, *sorted(arguments or ()))))  # type: ignore[arg-type]  # stub bug
