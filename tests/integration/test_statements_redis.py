"""Statements kept in a real Redis."""

from __future__ import annotations

import pytest
import redis.asyncio

from deploy.processes import free_port
from services.ingest.adapters.redis_statements import RedisStatements
from services.ingest.application.statements import StatementsUnavailableError
from tests.suites.statement_store import RIVERBEND, STATEMENTS_MAX, StatementStoreSuite, statement

KEPT_S = 60


@pytest.fixture
async def client(redis_server):
    client = redis.asyncio.Redis.from_url(redis_server, protocol=2)
    yield client
    await client.aclose()


@pytest.fixture
async def store(redis_server):
    now = iter(range(1_000_000, 2_000_000))
    store = RedisStatements(redis_server, kept_s=KEPT_S, statements_max=STATEMENTS_MAX, now_s=lambda: next(now))
    yield store
    await store.close()


class TestRedisStatements(StatementStoreSuite):
    @pytest.fixture
    def store(self, store):
        return store


async def test_everything_expires_and_nothing_can_be_read(store, client):
    kept = statement(1, voids=statement(2).statement_id, learners=("A" * 26,), content=b"ada@example.com")
    await store.add(RIVERBEND, [kept])
    keys = sorted(await client.keys())
    prefix = "cairn:ingest:statements:riverbend"
    assert keys == [
        prefix.encode(),
        f"{prefix}/learner/{'A' * 26}".encode(),
        f"{prefix}/statement/{kept.statement_id}".encode(),
        f"{prefix}/voided/{kept.voids}".encode(),
    ]
    for key in keys:
        assert 0 < await client.ttl(key) <= KEPT_S
    assert b"ada" not in await client.get(keys[2])


async def test_statements_that_expired_leave_the_lists_of_ids(store, client):
    now = [1_000_000]
    store._now_s = lambda: now[0]
    await store.add(RIVERBEND, [statement(1, learners=("A" * 26,))])
    now[0] += KEPT_S
    await store.add(RIVERBEND, [statement(2, learners=("A" * 26,))])
    for key in ("cairn:ingest:statements:riverbend", f"cairn:ingest:statements:riverbend/learner/{'A' * 26}"):
        assert await client.zrange(key, 0, -1) == [statement(2).statement_id.encode()]


async def test_without_redis_every_call_fails_and_the_next_ones_at_once():
    store = RedisStatements(f"redis://127.0.0.1:{free_port()}", kept_s=KEPT_S, statements_max=5)
    for message in ("cannot be reached|refused|Connect", "a moment ago"):
        with pytest.raises(StatementsUnavailableError, match=message):
            await store.of(RIVERBEND, ["x"])
    with pytest.raises(StatementsUnavailableError):
        await store.forget(RIVERBEND, "A" * 26)
    await store.close()
