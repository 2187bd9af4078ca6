"""Derived state in Redis 6.2 or later."""

from __future__ import annotations

from functools import cached_property

import redis.asyncio

from services.common.redis_pool import connection_pool
from services.recommender.adapters.redis.change_notifications import RedisChangeNotifications
from services.recommender.adapters.redis.connection import RedisConnection, connection_options
from services.recommender.adapters.redis.epochs import RedisEpochs
from services.recommender.adapters.redis.reads import RedisReads
from services.recommender.adapters.redis.states import RedisFoldStore, RedisLearnerReader


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

    async def aclose(self) -> None:
        """Close the connections of `learners` and `epochs`."""
        await self._reads.close()
        await self._client.aclose()
