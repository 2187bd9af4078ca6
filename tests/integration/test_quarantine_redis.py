"""The quarantine in a real Redis, and every kind of damage to what it stores about a learner."""

from __future__ import annotations

import pytest
import redis.asyncio

from services.recommender.adapters.redis.connection import RedisConnection
from services.recommender.adapters.redis.epochs import RedisEpochs
from services.recommender.adapters.redis.keys import learner_keys
from services.recommender.adapters.redis.reads import RedisReads
from services.recommender.adapters.redis.states import RedisFoldStore, RedisLearnerReader
from services.recommender.application.ports.learners import PartitionProgress
from services.recommender.application.ports.quarantine import LearnersDamagedError
from tests.suites.learner_states import ADA, ALAN, commit, record_key_of
from tests.suites.quarantine import QuarantineSuite

STATE, JOURNAL, SEEN = learner_keys(1, record_key_of(ADA))


@pytest.fixture
async def client(redis_server):
    async with redis.asyncio.Redis.from_url(redis_server, protocol=2) as client:
        yield client


@pytest.fixture
async def reader(redis_server):
    reads = RedisReads(RedisConnection(redis_server))
    yield RedisLearnerReader(reads)
    await reads.close()


@pytest.fixture
async def make_fold_store(redis_server):
    connections = []

    def make(epoch, cache_bytes=0):
        connections.append(RedisConnection(redis_server))
        return RedisFoldStore(connections[-1], epoch, cache_bytes=cache_bytes)

    yield make
    for connection in connections:
        await connection.close()


class TestRedisQuarantine(QuarantineSuite):
    @pytest.fixture
    def epochs(self, client):
        return RedisEpochs(client, settle_s=0)

    @pytest.fixture
    def reader(self, reader):
        return reader

    @pytest.fixture
    def make_fold_store(self, make_fold_store):
        return make_fold_store

    @pytest.fixture
    def damage(self, client):
        async def damage(epoch, key):
            state = learner_keys(epoch, key)[0]
            blob = await client.hget(state, "blob")
            await client.hset(state, "blob", blob[:-3])

        return damage


async def changed(client, key, field, change):
    await client.hset(key, field, change(await client.hget(key, field)))


async def retyped(client, key):
    await client.delete(key)
    await client.set(key, "a string")


def bit_flipped(value: bytes) -> bytes:
    middle = len(value) // 2
    return value[:middle] + bytes((value[middle] ^ 1,)) + value[middle + 1 :]


DAMAGE = {
    "state truncated": lambda client: changed(client, STATE, "blob", lambda blob: blob[:-3]),
    "state with a flipped bit": lambda client: changed(client, STATE, "blob", bit_flipped),
    "state of another version": lambda client: changed(client, STATE, "blob", lambda blob: b"\x07" + blob[1:]),
    "state that lost its mark": lambda client: changed(client, STATE, "blob", lambda blob: b"\x02" + blob[1:]),
    "state of garbage": lambda client: changed(client, STATE, "blob", lambda _: b"\xff" * 200),
    "state of one byte": lambda client: changed(client, STATE, "blob", lambda _: b"\x02"),
    "state of the wrong type": lambda client: retyped(client, STATE),
    "state missing": lambda client: client.delete(STATE),
    "offset that is no number": lambda client: changed(client, STATE, "off", lambda _: b"abc"),
    "offset with a flipped bit": lambda client: changed(client, STATE, "off", bit_flipped),
    "offset missing": lambda client: client.hdel(STATE, "off"),
    "journal truncated": lambda client: changed(client, JOURNAL, "entries", lambda entries: entries[:-1]),
    "journal with a flipped bit": lambda client: changed(client, JOURNAL, "entries", bit_flipped),
    "journal of the wrong type": lambda client: retyped(client, JOURNAL),
    "journal missing": lambda client: client.delete(JOURNAL),
    "checkpoint truncated": lambda client: changed(client, JOURNAL, "checkpoint", lambda stored: stored[:-3]),
    "checkpoint with a flipped bit": lambda client: changed(client, JOURNAL, "checkpoint", bit_flipped),
    "window of the wrong type": lambda client: retyped(client, SEEN),
    "window with a short fingerprint": lambda client: client.lset(SEEN, 0, b"short"),
    "window missing": lambda client: client.delete(SEEN),
}


@pytest.mark.parametrize("name", DAMAGE)
async def test_any_damage_is_noticed_before_a_fold_and_stays_as_it_is(make_fold_store, client, name):
    await make_fold_store(1).commit([commit(ADA, range(200)), commit(ALAN, range(3))])
    await DAMAGE[name](client)
    before = [await client.dump(key) for key in (STATE, JOURNAL, SEEN)]
    with pytest.raises(LearnersDamagedError) as caught:
        await make_fold_store(1).read([], [record_key_of(ALAN), record_key_of(ADA)])
    assert caught.value.damaged.keys() == {record_key_of(ADA)}
    assert [await client.dump(key) for key in (STATE, JOURNAL, SEEN)] == before


@pytest.mark.parametrize("name", [name for name in DAMAGE if name.startswith("state ") and "missing" not in name])
async def test_damage_to_the_state_is_noticed_by_answers(make_fold_store, reader, client, name):
    await make_fold_store(1).commit([commit(ADA, range(200)), commit(ALAN, range(3))])
    await DAMAGE[name](client)
    ada, alan = await reader.read_many(1, [ADA, ALAN])
    assert ada.key == record_key_of(ADA)
    assert alan.offset == 2


@pytest.mark.parametrize("key", [JOURNAL, SEEN], ids=["journal", "window"])
async def test_a_cached_learner_whose_value_is_of_the_wrong_type_is_not_half_written(make_fold_store, client, key):
    store = make_fold_store(1, cache_bytes=1 << 20)
    first = commit(ADA, range(3))
    await store.commit([first])
    await retyped(client, key)
    before = await client.hgetall(STATE)
    with pytest.raises(LearnersDamagedError) as caught:
        await store.commit([commit(ALAN, range(3)), commit(ADA, range(3, 6), first.stored)])
    assert caught.value.damaged.keys() == {record_key_of(ADA)}
    assert await client.hgetall(STATE) == before
    _, (alan,) = await make_fold_store(1).read([], [record_key_of(ALAN)])
    assert alan.offset == 2


async def test_a_store_forgets_its_cache_when_learners_are_quarantined_or_released(make_fold_store, client):
    store = make_fold_store(1, cache_bytes=1 << 20)
    await store.commit([commit(ADA, range(3))])
    await store.advance({0: (None, PartitionProgress(3, 3, 0, 0))})
    await make_fold_store(1).quarantine.add(0, 3, {record_key_of(ADA): "damaged"})
    await changed(client, STATE, "blob", lambda blob: blob[:-3])
    await store.quarantine.read()
    with pytest.raises(LearnersDamagedError):
        await store.read([], [record_key_of(ADA)])
