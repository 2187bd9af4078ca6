"""What is kept of statements, in Redis.

`cairn:ingest:statements:TENANT` is a sorted set of the ids by when they expire, `...:TENANT/statement/ID` the sealed
statement, `...:TENANT/voided/ID` the id of the statement that voids it, and `...:TENANT/learner/PSEUDONYM` a sorted set
of the ids of the statements with a learner. Everything expires.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import redis.asyncio
import redis.exceptions
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from services.common.auth.tenant import Tenant
from services.common.redis_pool import connection_pool, unreachable
from services.ingest.adapters.sealed_statements import opened, seal
from services.ingest.application.statements import KeptStatement, Known, StatementsUnavailableError

_TIMEOUT_S = 2.0
_PAUSE_S = 10.0

# Arguments: now, the seconds to keep, the most to keep; then for each statement its id, its value, the id that it
# voids, the number of its learners and each of them.
_ADD = """
local all, now, kept, max = KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local at = 4
while at <= #ARGV do
  local id, value, voids, learners = ARGV[at], ARGV[at + 1], ARGV[at + 2], tonumber(ARGV[at + 3])
  if redis.call('SET', all .. '/statement/' .. id, value, 'NX', 'EX', kept) then
    redis.call('ZADD', all, now + kept, id)
    if voids ~= '' then
      redis.call('SET', all .. '/voided/' .. voids, id, 'NX', 'EX', kept)
    end
    for number = 1, learners do
      local of = all .. '/learner/' .. ARGV[at + 3 + number]
      redis.call('ZADD', of, now + kept, id)
      redis.call('ZREMRANGEBYSCORE', of, '-inf', now)
      redis.call('EXPIRE', of, kept)
    end
  end
  at = at + 4 + learners
end
redis.call('ZREMRANGEBYSCORE', all, '-inf', now)
local over = redis.call('ZCARD', all) - max
if over > 0 then
  local oldest = redis.call('ZRANGE', all, 0, over - 1)
  for _, id in ipairs(oldest) do
    redis.call('DEL', all .. '/statement/' .. id)
  end
  redis.call('ZREMRANGEBYRANK', all, 0, over - 1)
end
redis.call('EXPIRE', all, kept)
"""

_FORGET = """
local of = KEYS[1] .. '/learner/' .. ARGV[1]
for _, id in ipairs(redis.call('ZRANGE', of, 0, -1)) do
  redis.call('DEL', KEYS[1] .. '/statement/' .. id)
  redis.call('ZREM', KEYS[1], id)
end
redis.call('DEL', of)
"""


class RedisStatements:
    """Implements StatementStore. After a failure, calls fail at once for ten seconds; erasures are tried always."""

    def __init__(self, url: str, *, kept_s: int, statements_max: int, now_s: Callable[[], float] = time.time) -> None:
        """See redis_pool for the URL.

        Args:
            url: of Redis 6.2 or later.
            kept_s: how long a statement is kept.
            statements_max: how many statements of a tenant are kept.
            now_s: the time, in seconds since 1970.
        """
        self._client: Any = redis.asyncio.Redis.from_pool(connection_pool(url, protocol=2, retry=Retry(NoBackoff(), 1)))
        self._add = self._client.register_script(_ADD)
        self._forget = self._client.register_script(_FORGET)
        self._kept_s = kept_s
        self._statements_max = statements_max
        self._now_s = now_s
        self._paused_until = 0.0

    async def of(self, tenant: Tenant, ids: Sequence[str]) -> list[Known]:
        """See StatementStore."""
        if not ids:
            return []
        prefix = _prefix(tenant)
        keys = [f"{prefix}/{kind}/{each}" for kind in ("statement", "voided") for each in ids]
        async with self._asking():
            values = await self._client.mget(keys)
        return [
            Known(None if value is None else opened(tenant, each, value), "" if voided is None else voided.decode())
            for each, value, voided in zip(ids, values[: len(ids)], values[len(ids) :], strict=True)
        ]

    async def add(self, tenant: Tenant, statements: Sequence[KeptStatement]) -> None:
        """See StatementStore."""
        if not statements:
            return
        arguments: list[bytes | str | int] = [int(self._now_s()), self._kept_s, self._statements_max]
        for each in statements:
            arguments += (each.statement_id, seal(tenant, each), each.voids, len(each.learners), *each.learners)
        async with self._asking():
            await self._add(keys=[_prefix(tenant)], args=arguments)

    async def forget(self, tenant: Tenant, learner: str) -> None:
        """See StatementStore."""
        self._paused_until = 0.0
        async with self._asking():
            await self._forget(keys=[_prefix(tenant)], args=[learner])

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    @asynccontextmanager
    async def _asking(self) -> AsyncIterator[None]:
        if asyncio.get_running_loop().time() < self._paused_until:
            raise StatementsUnavailableError("Redis did not answer a moment ago")
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                yield
        except (redis.exceptions.RedisError, OSError) as error:
            self._paused_until = asyncio.get_running_loop().time() + _PAUSE_S
            reason = unreachable(error) if str(error) else f"Redis did not answer in {_TIMEOUT_S} s: check CAIRN_REDIS"
            raise StatementsUnavailableError(reason) from error


def _prefix(tenant: Tenant) -> str:
    return f"cairn:ingest:statements:{tenant.name}"
