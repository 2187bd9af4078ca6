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

import msgspec
import redis.asyncio
import redis.exceptions
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from services.common.auth.tenant import Tenant
from services.common.redis_pool import connection_pool, unreachable
from services.common.turns import Pauses
from services.ingest.adapters.sealed_statements import opened, seal
from services.ingest.application.statements import KeptStatement, Known, StatementsUnavailableError

_TIMEOUT_S = 2.0
_PAUSE_S = 10.0
_UNKNOWN = Known()

# One argument, because redis-py takes about 1 us for each: the ids. Answers the id, the value and the id that voids it,
# of those of which something is kept.
_OF = """
local all, found = KEYS[1], {}
for _, id in ipairs(cmsgpack.unpack(ARGV[1])) do
  local value, voided = redis.call('GET', all .. '/statement/' .. id), redis.call('GET', all .. '/voided/' .. id)
  if value or voided then
    found[#found + 1] = {id, value, voided}
  end
end
return found
"""

# Arguments: now, the seconds to keep, the most to keep; in one, each statement's id, the id that it voids and its
# learners; and the values, because Redis reads no bytes in MessagePack.
_ADD = """
local all, now, kept, max = KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
for number, each in ipairs(cmsgpack.unpack(ARGV[4])) do
  local id, voids, learners = unpack(each)
  if redis.call('SET', all .. '/statement/' .. id, ARGV[4 + number], 'NX', 'EX', kept) then
    redis.call('ZADD', all, now + kept, id)
    if voids ~= '' then
      redis.call('SET', all .. '/voided/' .. voids, id, 'NX', 'EX', kept)
    end
    for _, learner in ipairs(learners) do
      local of = all .. '/learner/' .. learner
      redis.call('ZADD', of, now + kept, id)
      redis.call('ZREMRANGEBYSCORE', of, '-inf', now)
      redis.call('EXPIRE', of, kept)
    end
  end
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
        self._of = self._client.register_script(_OF)
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
        async with self._asking():
            found = await self._of(keys=[_prefix(tenant)], args=[msgspec.msgpack.encode(ids)])
        pauses, known = Pauses(), dict[str, Known]()
        for raw_id, value, voided in found:
            statement_id = raw_id.decode()
            statement = None if value is None else opened(tenant, statement_id, value)
            known[statement_id] = Known(statement, "" if voided is None else voided.decode())
            await pauses.when_due()
        return [known.get(each, _UNKNOWN) for each in ids]

    async def add(self, tenant: Tenant, statements: Sequence[KeptStatement]) -> None:
        """See StatementStore."""
        if not statements:
            return
        pauses, values = Pauses(), list[bytes]()
        for each in statements:
            values.append(seal(tenant, each))
            await pauses.when_due()
        described = msgspec.msgpack.encode([(each.statement_id, each.voids, each.learners) for each in statements])
        arguments: list[int | bytes] = [int(self._now_s()), self._kept_s, self._statements_max, described, *values]
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
