"""Derived state in Redis 6.2 or later."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import redis.asyncio

from services.common.redis_pool import connection_pool
from services.recommender.adapters.redis.change_notifications import RedisChangeNotifications
from services.recommender.adapters.redis.connection import (
    RedisConnection,
    connection_options,
    unavailable_when_redis_is,
)
from services.recommender.adapters.redis.epochs import RedisEpochs
from services.recommender.adapters.redis.reads import RedisReads
from services.recommender.adapters.redis.states import RedisFoldStore, RedisLearnerReader
from services.recommender.application.ports.state_store import StoreFigures

_REFUSED_COMMITS = b"cairn:refused-commits"


class RedisStateStore:
    """Implements StateStore. Learners, epochs, notifications and each fold store have a connection of their own."""

    def __init__(self, url: str, timeout_s: float | None = None) -> None:
        """Args: `url`, see `redis_pool`; `timeout_s` for a read of learners or epochs; None: no limit."""
        self._url = url
        self._client = redis.asyncio.Redis.from_pool(connection_pool(url, **connection_options(url, timeout_s)))
        self._reads = RedisReads(RedisConnection(url, timeout_s))
        self.learners = RedisLearnerReader(self._reads)
        self.epochs = RedisEpochs(self._client)

    @cached_property
    def notifications(self) -> RedisChangeNotifications:
        """Notifications over pub/sub."""
        return RedisChangeNotifications(self._url)

    def fold_store(self, epoch: int, *, cache_bytes: int = 0, fold_id: str = "") -> RedisFoldStore:
        """The write side of an epoch. The caller closes it."""
        return RedisFoldStore(RedisConnection(self._url), epoch, cache_bytes=cache_bytes, fold_id=fold_id)

    async def check_is_one_server(self) -> None:
        """Raise StateRefusedError when Redis is a cluster."""
        await self.epochs.check_is_one_server()

    async def check_nothing_is_evicted(self) -> None:
        """Raise EvictingStoreError when Redis evicts learners."""
        await self.epochs.check_nothing_is_evicted()

    async def count_refused_commit(self) -> None:
        """Count a worker that ends because a commit was refused."""
        with unavailable_when_redis_is():
            await self._client.incr(_REFUSED_COMMITS)

    async def figures(self) -> StoreFigures:
        """What Redis says about itself."""
        pipeline: Any = self._client.pipeline(transaction=False)
        pipeline.info("memory").info("stats").get(_REFUSED_COMMITS)
        with unavailable_when_redis_is():
            memory, stats, refused = await pipeline.execute()
        return StoreFigures(
            memory["used_memory"], memory.get("maxmemory", 0), stats.get("evicted_keys", 0), int(refused or 0)
        )

    async def aclose(self) -> None:
        """Close the connections of `learners` and `epochs`."""
        await self._reads.close()
        await self._client.aclose()
