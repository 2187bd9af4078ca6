"""A connection to Redis that swallows everything is given up, and the next one works."""

from __future__ import annotations

import asyncio

import pytest
import redis.asyncio

from deploy.processes import LOOPBACK, free_port
from services.recommender.adapters.redis import change_notifications, connection
from services.recommender.adapters.redis.change_notifications import RedisChangeNotifications
from services.recommender.adapters.redis.connection import RedisConnection, connection_options
from services.recommender.adapters.redis.epochs import RedisEpochs
from services.recommender.application.ports.learners import StateUnavailableError
from tests.faults.proxy import TcpProxy
from tests.suites.change_notifications import Listener


@pytest.fixture
def proxy(fresh_redis_server, monkeypatch):
    for module in (connection, change_notifications):
        monkeypatch.setattr(module, "SILENCE_S", 0.3)
    monkeypatch.setattr(change_notifications, "_PING_EVERY_S", 0.05)
    port = free_port()
    with TcpProxy(port, fresh_redis_server.port) as opened:
        opened.url = f"redis://{LOOPBACK}:{port}/0"
        yield opened


async def test_commands_of_a_fold_fail_after_the_silence_and_then_succeed(proxy):
    opened = RedisConnection(proxy.url)
    assert await opened.execute([("SET", b"key", b"value")]) == [b"OK"]
    proxy.swallow()
    with pytest.raises(StateUnavailableError):
        await opened.execute([("GET", b"key")])
    assert await opened.execute([("GET", b"key")]) == [b"value"]
    await opened.close()


async def test_commands_about_epochs_fail_after_the_silence_and_then_succeed(proxy):
    async with redis.asyncio.Redis.from_url(proxy.url, **connection_options(proxy.url)) as client:
        epochs = RedisEpochs(client)
        await client.set("cairn:current-epoch", "3")
        assert await epochs.current_epoch() == 3
        proxy.swallow()
        with pytest.raises(StateUnavailableError):
            await epochs.current_epoch()
        assert await epochs.current_epoch() == 3


async def test_a_listener_for_changes_reconnects_after_the_silence_and_reports_the_gap(proxy):
    notifications, listener = RedisChangeNotifications(proxy.url, reconnect_s=0.01), Listener()
    running = asyncio.create_task(notifications.run(listener))
    notifications.follow(1)
    notifications.watch([b"riverbend/ada"])
    await listener.until(lambda: listener.gaps == 1)
    proxy.swallow()
    await listener.until(lambda: listener.gaps == 2)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
