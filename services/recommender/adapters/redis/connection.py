"""A connection to Redis for many commands at once, and what Redis errors mean.

redis-py spends 15 to 30 us on each command of a pipeline; packing with hiredis and parsing replies in bulk takes
about 3. redis-py still opens the connection, so that URLs, TLS, users and passwords work as everywhere else.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import hiredis
import redis.asyncio
import redis.exceptions

from services.common.loop_time import loop_timeout
from services.common.redis_pool import connection_pool, unreachable
from services.recommender.application.ports.learners import StateRefusedError, StateUnavailableError

Command = tuple[bytes | str | int | float | memoryview, ...]

# Error codes of Redis while it is full, cannot write to its disk, loads, fails over or is a replica, and NOSCRIPT after
# a restart. All are temporary. In an error of a script the code is inside the message.
_PASSING = re.compile(r"\b(OOM|MISCONF|LOADING|READONLY|NOREPLICAS|MASTERDOWN|CLUSTERDOWN|TRYAGAIN|BUSY|NOSCRIPT) ")
# What a Redis Cluster answers where one server would not.
_CLUSTERED = re.compile(r"\b(MOVED|ASK|CROSSSLOT) |don't hash to the same slot")
# For these, redis-py removes the code from the message and raises a class of its own.
_PASSING_KINDS = (
    redis.exceptions.OutOfMemoryError,
    redis.exceptions.ReadOnlyError,
    redis.exceptions.NoScriptError,
    redis.exceptions.ClusterDownError,
    redis.exceptions.TryAgainError,
    redis.exceptions.MasterDownError,
)
_CLUSTERED_KINDS = (redis.exceptions.AskError, redis.exceptions.ClusterCrossSlotError)
NO_CLUSTER = (
    "CAIRN_REDIS is a Redis Cluster, which Cairn does not support: it stores many learners and the position in the log "
    "in one transaction, and a cluster has none over several slots. Use one primary, with replicas and Sentinel if it "
    "must not be missing: redis+sentinel://host:26379/NAME"
)

# A connection on which Redis sends nothing for this long is given up. A machine or a NAT entry that is gone closes
# nothing: the connection swallows what is sent.
SILENCE_S = 8.0
_KEEPALIVE = {
    # The names of these options differ between systems.
    getattr(socket, name): value
    for name, value in (("TCP_KEEPIDLE", 5), ("TCP_KEEPINTVL", 2), ("TCP_KEEPCNT", 2))
    if hasattr(socket, name)
}

_COMMANDS_PER_WRITE = 256
_READ_BYTES = 1 << 18


def connection_options(url: str, timeout_s: float | None = None) -> dict[str, Any]:
    """The options of every connection to the Redis at `url`; `timeout_s` for a command, SILENCE_S at most."""
    wait_s = SILENCE_S if timeout_s is None else min(timeout_s, SILENCE_S)
    options: dict[str, Any] = {"protocol": 2, "socket_timeout": wait_s, "socket_connect_timeout": wait_s}
    if not url.startswith("unix:"):  # A socket in the file system has no machine at its other end.
        options |= {"socket_keepalive": True, "socket_keepalive_options": _KEEPALIVE}
    return options


def is_wrong_type(reply: Any) -> bool:
    """Whether a reply says that a value is of the wrong type, perhaps in a script."""
    return isinstance(reply, hiredis.ReplyError) and "WRONGTYPE" in str(reply)


def streams_of(connection: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """The streams of a connected redis-py connection.

    redis-py has no public way to read replies or messages in bulk. Its upper bound in pyproject.toml is due to this.
    """
    return connection._reader, connection._writer  # noqa: SLF001 - as above.


@contextmanager
def unavailable_when_redis_is() -> Iterator[None]:
    """Turn errors of Redis into StateUnavailableError, or StateRefusedError for those that will not pass."""
    try:
        yield
    except redis.exceptions.ResponseError as error:
        if isinstance(error, _CLUSTERED_KINDS) or _CLUSTERED.search(str(error)):
            raise StateRefusedError(NO_CLUSTER) from error
        passes = isinstance(error, _PASSING_KINDS) or _PASSING.search(str(error)) is not None
        kind = StateUnavailableError if passes else StateRefusedError
        raise kind(f"Redis returned an error: {error}; check its memory limit, its disk and its log") from error
    except (redis.exceptions.RedisError, hiredis.HiredisError, OSError, asyncio.IncompleteReadError) as error:
        raise StateUnavailableError(unreachable(error)) from error


class RedisConnection:
    """One connection that sends lists of commands and returns their replies, in order."""

    def __init__(self, url: str, timeout_s: float | None = None) -> None:
        """Args: `url` of Redis 6.2 or later; `timeout_s` for a whole list of commands; None: no limit while it answers.

        Whatever the limit, Redis may be silent for SILENCE_S at most.
        """
        # The connection holds its pool weakly, and asks it for the primary's address.
        self._pool = cast("Any", connection_pool(url, **connection_options(url, timeout_s)))
        self._connection: Any = self._pool.make_connection()
        self._timeout_s = timeout_s
        self._replies = hiredis.Reader()
        self._one_at_a_time = asyncio.Lock()

    async def execute(self, commands: Sequence[Command], *, wrong_types: bool = False) -> list[Any]:
        """Send commands and return their replies.

        Args:
            commands: what to send.
            wrong_types: return the error about a value of the wrong type in place of the reply, instead of raising it.

        Raises:
            StateUnavailableError: when Redis cannot be reached, returns an error, or does not answer in time. Some
                commands may have been executed. The connection is closed; the next call opens another.
        """
        if not commands:
            return []
        async with self._one_at_a_time:
            with unavailable_when_redis_is():
                try:
                    async with loop_timeout(self._timeout_s):
                        return await self._exchange(commands, wrong_types=wrong_types)
                except BaseException:
                    # Replies that nobody waits for must not be taken for those of the next commands.
                    await self._disconnect()
                    raise

    async def close(self) -> None:
        """Close the connection."""
        await self._disconnect()

    async def _exchange(self, commands: Sequence[Command], *, wrong_types: bool) -> list[Any]:
        await self._connection.connect()
        reader, writer = streams_of(self._connection)
        for start in range(0, len(commands), _COMMANDS_PER_WRITE):
            chunk = commands[start : start + _COMMANDS_PER_WRITE]
            writer.write(b"".join(hiredis.pack_command(command) for command in chunk))  # type: ignore[arg-type]  # stub bug
        answers: list[Any] = []
        while len(answers) < len(commands):
            async with loop_timeout(SILENCE_S):
                data = await reader.read(_READ_BYTES)
            if not data:
                raise ConnectionResetError("the connection was closed")
            self._replies.feed(data)
            answer = self._replies.gets()
            while answer is not False:
                answers.append(answer)
                answer = self._replies.gets()
        for answer in answers:
            if isinstance(answer, hiredis.ReplyError) and not (wrong_types and is_wrong_type(answer)):
                raise redis.exceptions.ResponseError(str(answer))
        return answers

    async def _disconnect(self) -> None:
        self._replies = hiredis.Reader()
        await self._connection.disconnect(nowait=True)
