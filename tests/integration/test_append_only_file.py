"""The end of Redis' append-only file after a power cut, and how it is repaired."""

from __future__ import annotations

import asyncio

import psutil
import pytest
import redis.asyncio

from services.recommender.adapters.redis.connection import RedisConnection
from services.recommender.adapters.redis.epochs import RedisEpochs
from services.recommender.adapters.redis.states import RedisFoldStore
from tests.faults.redis_server import DurableRedis
from tests.suites.learner_states import ADA, ALAN, commit

# The end of a transaction in the file: its last bytes are cut off.
_EXEC_CUT = len(b"$4\r\nEXEC\r\n") - 1


@pytest.fixture
def server(tmp_path):
    server = DurableRedis(tmp_path / "redis", appendonly=True, options=("--appendfsync", "always"))
    server.start()
    yield server
    server.stop()


async def test_a_commit_cut_off_by_a_power_cut_is_not_applied_at_a_later_start(server):
    first = commit(ADA, range(3))
    await store(server, first)
    whole = await contents(server)
    await store(server, commit(ADA, range(3, 6), first.stored))
    power_cut(server)
    assert await contents(server) == whole

    await keep_readable(server)
    await store(server, commit(ALAN, range(3)))
    both = await contents(server)
    server.kill()
    server.start()
    assert await contents(server) == both


async def test_a_file_is_rewritten_once_after_each_start(server):
    await keep_readable(server)
    async with redis.asyncio.Redis.from_url(server.url) as client:
        await client.config_resetstat()
        for _ in range(3):
            await RedisEpochs(client).keep_readable()
        assert "cmdstat_bgrewriteaof" not in await client.info("commandstats")
    server.kill()
    server.start()
    assert not server.rewritten


async def test_a_rewrite_that_fails_is_requested_again_a_minute_later(server):
    now_s = [0.0]
    async with redis.asyncio.Redis.from_url(server.url) as client:
        epochs = RedisEpochs(client, clock_s=lambda: now_s[0])
        for number in range(20):
            await client.set(f"key-{number}", "value")
        # Slow enough to be killed before it is done.
        await client.config_set("rdb-key-save-delay", 1_000_000)
        await epochs.keep_readable()
        async with asyncio.timeout(20):
            while not (writing := psutil.Process(server.child.pid).children()):  # noqa: ASYNC110 - another process.
                await asyncio.sleep(0.01)
            writing[0].kill()
            while (await client.info("persistence"))["aof_rewrite_in_progress"]:  # noqa: ASYNC110 - as above.
                await asyncio.sleep(0.01)
        await client.config_set("rdb-key-save-delay", 0)
        await client.config_resetstat()
        for _ in range(3):
            await epochs.keep_readable()
        assert "cmdstat_bgrewriteaof" not in await client.info("commandstats")
        now_s[0] += 61
        async with asyncio.timeout(20):
            while not server.rewritten:
                await epochs.keep_readable()


async def test_a_rewrite_that_redis_refuses_is_not_requested_again_and_a_warning_is_logged(server, capsys):
    async with redis.asyncio.Redis.from_url(server.url) as client:
        await client.acl_setuser("default", enabled=True, nopass=True, keys=["*"], commands=["+@all", "-bgrewriteaof"])
        epochs = RedisEpochs(client)
        for _ in range(2):
            await epochs.keep_readable()
    assert capsys.readouterr().out.count("have its operator run it") == 1
    assert not server.rewritten


async def keep_readable(server):
    """Does what a worker does every second, until it is done."""
    async with redis.asyncio.Redis.from_url(server.url) as client, asyncio.timeout(20):
        epochs = RedisEpochs(client)
        while not server.rewritten:
            await epochs.keep_readable()


async def store(server, written):
    connection = RedisConnection(server.url)
    await RedisFoldStore(connection, 1, cache_bytes=0).commit([written])
    await connection.close()


async def contents(server):
    async with redis.asyncio.Redis.from_url(server.url) as client:
        return [learner async for learner in RedisEpochs(client).contents(1)]


def power_cut(server):
    """Kills Redis and cuts off the end of its last write."""
    server.kill()
    file = next(
        path for pattern in ("appendonly.aof", "appendonlydir/*.incr.aof") for path in server.directory.glob(pattern)
    )
    with file.open("r+b") as opened:
        opened.truncate(file.stat().st_size - _EXEC_CUT)
    server.start()
