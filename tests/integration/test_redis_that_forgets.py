"""A Redis that evicts keys when it is full is refused; one that refuses writes is accepted."""

from __future__ import annotations

import pytest
import redis.asyncio

from services.recommender.adapters.redis.epochs import RedisEpochs
from services.recommender.application.ports.state_store import EvictingStoreError


@pytest.fixture
async def client(redis_server):
    async with redis.asyncio.Redis.from_url(redis_server, protocol=2) as client:
        before = (await client.config_get("maxmemory-policy"))["maxmemory-policy"]
        yield client
        await client.config_set("maxmemory-policy", before)


@pytest.mark.parametrize("policy", ["noeviction", "volatile-lru", "volatile-ttl"])
async def test_a_policy_that_evicts_nothing_without_an_expiry_is_accepted(client, policy):
    await client.config_set("maxmemory-policy", policy)
    await RedisEpochs(client).check_nothing_is_evicted()


@pytest.mark.parametrize("policy", ["allkeys-lru", "allkeys-lfu", "allkeys-random"])
async def test_a_policy_that_evicts_learners_is_refused_with_the_remedy(client, policy):
    await client.config_set("maxmemory-policy", policy)
    with pytest.raises(EvictingStoreError, match=f"{policy}.*noeviction.*CAIRN_ALLOW_EVICTION"):
        await RedisEpochs(client).check_nothing_is_evicted()
