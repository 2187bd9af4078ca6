"""Change notifications over a real Redis, and their behaviour when Redis goes away."""

from __future__ import annotations

import asyncio

import pytest

from services.recommender.adapters.redis.change_notifications import (
    CHANNELS,
    RedisChangeNotifications,
    notification_channel,
)
from services.recommender.adapters.redis.connection import RedisConnection
from services.recommender.adapters.redis.states import RedisFoldStore
from tests.suites.change_notifications import ChangeNotificationsSuite, Listener
from tests.suites.learner_states import ADA, ALAN, commit, record_key_of


@pytest.fixture
async def make_fold_store(redis_server):
    connections = []

    def make(epoch):
        connections.append(RedisConnection(redis_server))
        return RedisFoldStore(connections[-1], epoch, cache_bytes=0)

    yield make
    for connection in connections:
        await connection.close()


class TestRedisChangeNotifications(ChangeNotificationsSuite):
    @pytest.fixture
    def notifications(self, redis_server):
        return RedisChangeNotifications(redis_server)

    @pytest.fixture
    def make_fold_store(self, make_fold_store):
        return make_fold_store


def test_learners_spread_over_64_channels_and_epochs_share_none():
    keys = [f"riverbend/{number}".encode() for number in range(5_000)]
    assert len({notification_channel(1, key) for key in keys}) == CHANNELS == 64
    assert not {notification_channel(1, key) for key in keys} & {notification_channel(2, key) for key in keys}
    assert notification_channel(1, record_key_of(ADA)) != notification_channel(1, record_key_of(ALAN))


async def test_after_a_redis_restart_listening_resumes_and_a_gap_is_reported(fresh_redis_server):
    notifications, listener = RedisChangeNotifications(fresh_redis_server.url, reconnect_s=0.01), Listener()
    running = asyncio.create_task(notifications.run(listener))
    notifications.follow(1)
    notifications.watch([record_key_of(ADA)])
    await listener.until(lambda: listener.gaps == 1)
    fresh_redis_server.stop()
    fresh_redis_server.start()
    await listener.until(lambda: listener.gaps == 2)
    connection = RedisConnection(fresh_redis_server.url)
    await RedisFoldStore(connection, 1, cache_bytes=0).commit([commit(ADA, range(3))])
    await listener.until(lambda: listener.received)
    assert listener.received == [(record_key_of(ADA), 2)]
    await connection.close()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_cancellation_ends_listening_at_whatever_step_it_comes(redis_server):
    for steps in range(40):
        running = asyncio.create_task(RedisChangeNotifications(redis_server).run(Listener()))
        for _ in range(steps):
            await asyncio.sleep(0)  # one step of the event loop
        running.cancel()
        _, pending = await asyncio.wait([running], timeout=2)
        assert not pending, f"cancelled after {steps} steps of the event loop"
