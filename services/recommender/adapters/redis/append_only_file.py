"""Keeps the append-only file of Redis loadable."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import redis.asyncio
import redis.exceptions
import structlog

from services.recommender.adapters.redis.connection import unavailable_when_redis_is

_log = structlog.get_logger(__name__)

_REWRITTEN = b"cairn:rewritten-in"

# A failed rewrite (perhaps for lack of space) is not retried sooner: each one copies everything that Redis holds.
_REWRITE_AGAIN_S = 60.0


class AppendOnlyFile:
    """Has Redis rewrite its append-only file once after each start."""

    def __init__(self, client: redis.asyncio.Redis, clock_s: Callable[[], float]) -> None:
        """Args: `client` returns replies as bytes; `clock_s` is monotonic."""
        self._client: Any = client
        self._clock_s = clock_s
        self._asked_in = ""
        self._due_s = 0.0
        self._forbidden = False

    async def keep_readable(self) -> None:
        """Have Redis rewrite its append-only file once after each start.

        The writes of a script are a transaction. After a power cut, the file may end with the beginning of one. Redis
        ignores it when it loads the file, but does not remove it, and appends after a MULTI that has no EXEC. At the
        next start the next EXEC executes it, so that half a commit takes effect late (fixed in Valkey by
        https://github.com/valkey-io/valkey/pull/4342). A rewritten file does not have this problem.
        """
        if self._forbidden:
            return
        with unavailable_when_redis_is():
            pipeline = self._client.pipeline(transaction=False)
            pipeline.info("server").info("persistence").get(_REWRITTEN)
            server, persistence, rewritten = await pipeline.execute()
            run = server["run_id"]
            if not persistence.get("aof_enabled") or rewritten == run.encode():
                return
            if persistence.get("aof_rewrite_in_progress") or persistence.get("aof_rewrite_scheduled"):
                return
            if self._asked_in == run:
                if persistence.get("aof_last_bgrewrite_status") == "ok":
                    await self._client.set(_REWRITTEN, run)
                    _log.info("append-only file rewritten after a start of Redis")
                    return
                if self._clock_s() < self._due_s:
                    return
            try:
                await self._client.bgrewriteaof()
            except redis.exceptions.ResponseError as error:
                self._forbidden = True
                _log.warning(
                    "Redis does not allow BGREWRITEAOF, which rewrites its append-only file: have its operator run it "
                    "after each start, or half a commit may take effect at the next one",
                    error=str(error),
                )
            else:
                self._asked_in, self._due_s = run, self._clock_s() + _REWRITE_AGAIN_S
