"""What is remembered of learners' last events, in Redis.

`cairn:ingest:LOG:TENANT/LEARNER` is one string: 8 bytes for the latest time, then 24 bytes for each event, the newest
last. A learner's last 512 to 640 events are kept, so at most 15.4 kB (Redis reserves up to twice that while a string
grows), and learners without events for 400 days are forgotten. A learner's string is read and written as a whole,
because a command for each event would take longer than the log does.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import redis.asyncio
import redis.exceptions
import structlog
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from services.common.kafka.envelope import LogIdentity
from services.common.redis_pool import connection_pool, shown, unreachable
from services.ingest.application.ports import Addition, RecentEventsUnavailableError
from services.ingest.domain.repeats import ENTRY_BYTES, LearnerKey, RecentLearner

EVENTS_KEPT = 512
EVENTS_MAX = 640
KEPT_S = 400 * 24 * 3600
ERASURE_KEPT_S = 3600

# Long enough for a busy process to get round to the answer.
_TIMEOUT_S = 2.0
_PAUSE_S = 10.0
_LATEST = struct.Struct("<d")
_UNKNOWN = float("-inf")

# Arguments: the seconds to keep a learner; then for each learner the offset of the last event, the latest time, and
# the entries. A value of another length than ours is replaced. A script, because redis-py takes 15 to 30 us for each
# command of a pipeline.
_ADD = f"""
for number, key in ipairs(KEYS) do
  local offset, latest, entries = ARGV[3 * number - 1], ARGV[3 * number], ARGV[3 * number + 1]
  local erased = redis.call('GET', key .. ':erased')
  if not erased or tonumber(offset) > tonumber(erased) then
    if redis.call('STRLEN', key) % {ENTRY_BYTES} ~= {_LATEST.size} then
      redis.call('SET', key, latest)
    elseif struct.unpack('<d', redis.call('GETRANGE', key, 0, {_LATEST.size - 1})) < struct.unpack('<d', latest) then
      redis.call('SETRANGE', key, 0, latest)
    end
    if redis.call('APPEND', key, entries) > {_LATEST.size + EVENTS_MAX * ENTRY_BYTES} then
      local kept = redis.call('GETRANGE', key, -{EVENTS_KEPT * ENTRY_BYTES}, -1)
      redis.call('SET', key, redis.call('GETRANGE', key, 0, {_LATEST.size - 1}) .. kept)
    end
    redis.call('EXPIRE', key, ARGV[1])
  end
end
"""


class RecentEventsUrlError(ValueError):
    """CAIRN_REDIS is not the URL of a Redis."""


class RedisRecentEvents:
    """Implements RecentEvents. After a failure, reads and additions fail at once for ten seconds."""

    def __init__(self, url: str) -> None:
        """Args: `url` of Redis 6.2 or later, see `redis_pool`.

        Raises:
            RecentEventsUrlError: when it is not such a URL.
        """
        try:
            self._client: Any = redis.asyncio.Redis.from_pool(
                connection_pool(url, protocol=2, retry=Retry(NoBackoff(), 1))
            )
        except ValueError as error:
            raise RecentEventsUrlError(
                f"CAIRN_REDIS={shown(url)!r} is not the URL of a Redis: {error}; correct it, or leave it empty"
            ) from error
        self._add = self._client.register_script(_ADD)
        self._one_at_a_time = asyncio.Lock()
        self._paused_until = 0.0
        self._log = structlog.get_logger(__name__)
        self._available: bool | None = None

    @property
    def available(self) -> bool:
        """See RecentEvents."""
        return bool(self._available)

    async def check(self) -> None:
        """Find out whether Redis answers, and report it."""
        try:
            async with self._asking():
                await self._client.ping()
        except RecentEventsUnavailableError:
            return

    async def of(self, log: LogIdentity, learners: Sequence[LearnerKey]) -> list[RecentLearner]:
        """See RecentEvents."""
        async with self._asking():
            values = await self._client.mget(_keys(log, learners))
        return [_learner_of(value) for value in values]

    async def add(self, log: LogIdentity, additions: Sequence[Addition]) -> None:
        """See RecentEvents."""
        arguments: list[bytes | int] = [KEPT_S]
        for each in additions:
            latest = _LATEST.pack(_UNKNOWN if each.latest_at_s is None else each.latest_at_s)
            arguments += (each.offset, latest, each.entries)
        async with self._asking():
            await self._add(keys=_keys(log, (each.learner for each in additions)), args=arguments)

    async def forget(self, log: LogIdentity, learner: LearnerKey, offset: int) -> None:
        """See RecentEvents."""
        (key,) = _keys(log, [learner])
        # An erasure is tried even just after a failure.
        self._paused_until = 0.0
        async with self._asking():
            await self._client.set(f"{key}:erased", offset, ex=ERASURE_KEPT_S)
            await self._client.delete(key)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    @asynccontextmanager
    async def _asking(self) -> AsyncIterator[None]:
        async with self._one_at_a_time:
            if asyncio.get_running_loop().time() < self._paused_until:
                raise RecentEventsUnavailableError("Redis did not answer a moment ago")
            try:
                async with asyncio.timeout(_TIMEOUT_S):
                    yield
            except (redis.exceptions.RedisError, OSError) as error:
                self._paused_until = asyncio.get_running_loop().time() + _PAUSE_S
                too_late = f"Redis did not answer in {_TIMEOUT_S} s: check CAIRN_REDIS"
                reason = unreachable(error) if str(error) else too_late
                if self._available is not False:
                    self._log.warning("repeats are not compared with earlier requests", reason=reason)
                self._available = False
                raise RecentEventsUnavailableError(reason) from error
            if not self._available:
                self._log.info("repeats are compared with earlier requests")
            self._available = True


def _keys(log: LogIdentity, learners: Iterable[LearnerKey]) -> list[str]:
    prefix = f"cairn:ingest:{log}:"
    return [f"{prefix}{learner.tenant}/{learner.learner}" for learner in learners]


def _learner_of(value: bytes | None) -> RecentLearner:
    # A value of another length is not one of ours, or damaged; it was a hint at best.
    if value is None or len(value) % ENTRY_BYTES != _LATEST.size:
        return RecentLearner()
    (latest,) = _LATEST.unpack_from(value)
    return RecentLearner(value[_LATEST.size :], None if latest == _UNKNOWN else int(latest))
