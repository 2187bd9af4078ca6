"""Learners' last events in a real Redis."""

from __future__ import annotations

import pytest
import redis.asyncio

from deploy.processes import free_port
from services.ingest.adapters.redis_recent_events import (
    ERASURE_KEPT_S,
    EVENTS_MAX,
    KEPT_S,
    RecentEventsUrlError,
    RedisRecentEvents,
)
from services.ingest.application.ports import RecentEventsUnavailableError
from services.ingest.domain.repeats import RecentLearner
from tests.suites.recent_events import ADA, LOG, RecentEventsSuite, addition, digest, identity


@pytest.fixture
async def client(redis_server):
    client = redis.asyncio.Redis.from_url(redis_server, protocol=2)
    yield client
    await client.aclose()


@pytest.fixture
async def recent(redis_server):
    recent = RedisRecentEvents(redis_server)
    yield recent
    await recent.close()


class TestRedisRecentEvents(RecentEventsSuite):
    @pytest.fixture
    def recent(self, recent):
        return recent


async def test_a_learner_takes_at_most_16_kb_and_24_bytes_an_event(recent, client):
    for start in range(0, 5_000, 70):
        await recent.add(LOG, [addition(*range(start, start + 70))])
    (key,) = await client.keys()
    assert await client.strlen(key) <= 8 + 24 * EVENTS_MAX < 16_000
    # Redis reserves up to twice the length while a string grows.
    assert await client.memory_usage(key) < 2 * 16_000 + 200


async def test_keys_name_the_log_and_the_pseudonym_and_values_nothing_that_was_sent(recent, client):
    await recent.add(LOG, [addition(1)])
    (key,) = await client.keys()
    assert key == f"cairn:ingest:{LOG}:riverbend/{ADA.learner}".encode()
    value = await client.get(key)
    assert b"gradebook" not in value
    assert b"event" not in value


async def test_learners_without_events_are_forgotten(recent, client):
    await recent.add(LOG, [addition(1)])
    (key,) = await client.keys()
    assert KEPT_S - 60 < await client.ttl(key) <= KEPT_S


async def test_what_is_left_of_an_erased_learner_is_an_offset_for_an_hour(recent, client):
    await recent.add(LOG, [addition(1)])
    await recent.forget(LOG, ADA, 11)
    (key,) = await client.keys()
    assert await client.get(key) == b"11"
    assert 0 < await client.ttl(key) <= ERASURE_KEPT_S


async def test_a_damaged_value_is_taken_for_nothing_and_written_over(recent, client):
    await recent.add(LOG, [addition(1)])
    (key,) = await client.keys()
    await client.set(key, b"a damaged value of no known length")
    assert await recent.of(LOG, [ADA]) == [RecentLearner()]
    await recent.add(LOG, [addition(1)])
    (ada,) = await recent.of(LOG, [ADA])
    assert ada.digest_of(identity(1)) == digest(7)


async def test_a_redis_that_is_away_is_reported_once_and_is_not_asked_again_at_once(capfd):
    recent = RedisRecentEvents(f"redis://127.0.0.1:{free_port()}/0")
    assert not recent.available
    for _ in range(3):
        with pytest.raises(RecentEventsUnavailableError):
            await recent.of(LOG, [ADA])
    with pytest.raises(RecentEventsUnavailableError, match="a moment ago"):
        await recent.add(LOG, [addition(1)])
    # An erasure is.
    with pytest.raises(RecentEventsUnavailableError, match="that CAIRN_REDIS names it"):
        await recent.forget(LOG, ADA, 11)
    assert capfd.readouterr().out.count("repeats are not compared") == 1
    await recent.close()


def test_an_unusable_url_is_refused_without_its_password():
    with pytest.raises(RecentEventsUrlError, match="CAIRN_REDIS='http://nowhere'") as error:
        RedisRecentEvents("http://:secret@nowhere")
    assert "secret" not in str(error.value)
