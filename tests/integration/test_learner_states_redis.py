"""Learner states, positions and epochs in a real Redis."""

from __future__ import annotations

import asyncio
import itertools
import struct

import pytest
import redis.asyncio
import redis.exceptions
from redis.crc import key_slot

from services.recommender.adapters.redis.connection import RedisConnection
from services.recommender.adapters.redis.epochs import RedisEpochs
from services.recommender.adapters.redis.keys import learner_keys
from services.recommender.adapters.redis.reads import RedisReads
from services.recommender.adapters.redis.states import RedisFoldStore, RedisLearnerReader
from services.recommender.application.ports.epochs import EpochExistsError
from services.recommender.application.ports.learners import (
    CommitRefusedError,
    LearnerCommit,
    PartitionProgress,
    StateUnavailableError,
)
from services.recommender.domain.learner.batch import LearnerEvents
from services.recommender.domain.learner.events import CONTENT_BYTES, ContentKind, content_of
from services.recommender.domain.learner.record import NEW_LEARNER, SEEN_EVENTS
from tests.suites.learner_states import ADA, FOLD, LearnerStatesSuite, answer, commit, meta_of, record_key_of


@pytest.fixture
async def client(redis_server):
    client = redis.asyncio.Redis.from_url(redis_server, protocol=2)
    yield client
    await client.aclose()


@pytest.fixture
async def reads(redis_server):
    reads = RedisReads(RedisConnection(redis_server))
    yield reads
    await reads.close()


@pytest.fixture
async def make_fold_store(redis_server):
    connections = []

    def make(epoch, cache_bytes=1 << 20, fold_id=""):
        connections.append(RedisConnection(redis_server))
        return RedisFoldStore(connections[-1], epoch, cache_bytes=cache_bytes, fold_id=fold_id)

    yield make
    for connection in connections:
        await connection.close()


class TestRedisStates(LearnerStatesSuite):
    @pytest.fixture
    def epochs(self, client):
        return RedisEpochs(client, settle_s=0)

    @pytest.fixture
    def reader(self, reads):
        return RedisLearnerReader(reads)

    @pytest.fixture
    def make_fold_store(self, make_fold_store):
        return make_fold_store


def test_a_learners_keys_are_in_one_cluster_slot():
    assert len({key_slot(key) for key in learner_keys(7, b"riverbend/ADA")}) == 1
    assert key_slot(learner_keys(7, b"riverbend/ADA")[0]) != key_slot(learner_keys(7, b"riverbend/ALAN")[0])
    assert all(key.count(b"{") == key.count(b"}") == 1 for key in learner_keys(7, b"riverbend/ADA"))


async def test_the_window_of_seen_events_is_bounded_and_costs_at_most_12_bytes_per_id(make_fold_store, client):
    store = make_fold_store(1)
    written = commit(ADA, range(SEEN_EVENTS + 500))
    await store.commit([written])
    key = learner_keys(1, record_key_of(ADA))[2]
    _, (read,) = await make_fold_store(1).read([], [record_key_of(ADA)])
    assert (len(read.seen) // 8, read.seen[:8]) == (SEEN_EVENTS, struct.pack("<Q", 500))
    assert await client.memory_usage(key, samples=0) / SEEN_EVENTS <= 12


async def test_a_window_that_an_earlier_release_stored_is_read_and_continued(make_fold_store, client):
    store = make_fold_store(1, cache_bytes=0)
    first = commit(ADA, range(70))
    await store.commit([first])
    key = learner_keys(1, record_key_of(ADA))[2]
    await client.delete(key)
    await client.rpush(key, *(struct.pack("<Q", number) for number in range(70)))
    _, (read,) = await store.read([], [record_key_of(ADA)])
    assert read == first.stored
    second = commit(ADA, range(70, 75), read)
    await store.commit([second])
    _, (again,) = await store.read([], [record_key_of(ADA)])
    assert again == second.stored == commit(ADA, range(75)).stored


async def test_what_events_said_is_kept_over_commits_of_any_number_of_events(make_fold_store):
    store, stored = make_fold_store(1, cache_bytes=0), NEW_LEARNER
    for start, end in itertools.pairwise((0, 1, 3, 4, 9, 21, 22, 5_000, 5_002)):
        events = [
            (number, answer(number)._replace(content=content_of(ContentKind.ASSESSMENT, b"%d" % number)))
            for number in range(start, end)
        ]
        (folded,) = FOLD.fold([LearnerEvents(ADA.tenant, stored, events)])
        await store.commit(
            [LearnerCommit(record_key_of(ADA), stored.offset, folded.stored, folded.seen, folded.checkpoint_changed)]
        )
        _, (stored,) = await store.read([], [record_key_of(ADA)])
        assert stored == folded.stored
        assert len(stored.contents) == min(end, SEEN_EVENTS) * CONTENT_BYTES


async def test_a_learner_that_left_memory_is_read_from_redis(make_fold_store):
    store = make_fold_store(1, cache_bytes=0)
    first = commit(ADA, range(3))
    await store.commit([first])
    _, (read,) = await store.read([], [record_key_of(ADA)])
    assert read == first.stored
    assert read is not first.stored


async def test_a_kept_learner_is_not_read_again(make_fold_store):
    store = make_fold_store(1)
    first = commit(ADA, range(3))
    await store.commit([first])
    _, (read,) = await store.read([], [record_key_of(ADA)])
    assert read is first.stored


@pytest.mark.parametrize("cache_bytes", [0, 1 << 20], ids=["read", "kept and outdated"])
async def test_a_read_during_which_redis_loses_everything_shows_that_the_position_is_gone(
    make_fold_store, client, cache_bytes
):
    """Otherwise lost learners would be folded as new ones from the worker's position."""
    partition, flushed_after = 0, 0
    while True:
        store, other = make_fold_store(1, cache_bytes), make_fold_store(1, 0)
        first = commit(ADA, range(3))
        await store.commit([first])
        then = commit(ADA, range(3, 5), first.stored)
        await other.commit([then])
        await other.advance({partition: (None, PartitionProgress(5, 5, 0, 0))})
        flush = _FlushAfter(client, flushed_after, store._connection.execute)
        store._connection.execute = flush
        positions, learners = await store.read([partition], [record_key_of(ADA)])
        if not flush.happened:
            break
        assert positions == {}
        flushed_after += 1
    assert (positions, learners) == ({partition: 5}, [then.stored])
    assert flushed_after >= 4


async def test_an_interrupted_drop_blocks_writes_and_can_be_resumed(make_fold_store, client, monkeypatch):
    epochs, meta = RedisEpochs(client, settle_s=0), meta_of(1)
    await epochs.create(meta)
    store = make_fold_store(1, fold_id=meta.fold_id)
    first = commit(ADA, range(3))
    await store.commit([first])
    await store.advance({0: (None, PartitionProgress(3, 3, 0, 0))})
    with monkeypatch.context() as broken:
        broken.setattr(client, "unlink", _away)
        with pytest.raises(StateUnavailableError):
            await epochs.drop(1)
    assert await epochs.epochs() == []
    with pytest.raises(CommitRefusedError):
        await store.commit([commit(ADA, range(3, 5), first.stored)])
    with pytest.raises(EpochExistsError):
        await epochs.create(meta)
    assert await epochs.drop(1) == 1
    assert await client.keys("*") == []
    await epochs.create(meta)


async def _away(*_):
    raise redis.exceptions.ConnectionError("away")


class _FlushAfter:
    """Sends commands to Redis, which loses everything after a number of them."""

    def __init__(self, client, commands, execute):
        self._client, self._left, self._execute = client, commands, execute
        self.happened = False

    async def __call__(self, commands, **options):
        if self.happened or self._left >= len(commands):
            self._left -= len(commands)
            return await self._execute(commands, **options)
        before, after = commands[: self._left], commands[self._left :]
        answers = await self._execute(before, **options)
        await self._client.flushall()
        self.happened = True
        return answers + await self._execute(after, **options)


@pytest.mark.parametrize(
    ("index", "value"),
    [(9, b""), (10, b""), (8, b"not a number"), (12, b"seven b")],
    ids=["state", "journal", "offset", "ids"],
)
async def test_a_malformed_commit_writes_nothing(make_fold_store, client, monkeypatch, index, value):
    store = make_fold_store(1)
    execute = store._connection.execute

    async def corrupted(commands, **options):
        return await execute(
            [
                (*command[:index], value, *command[index + 1 :]) if command[0] == "EVALSHA" else command
                for command in commands
            ],
            **options,
        )

    monkeypatch.setattr(store._connection, "execute", corrupted)
    with pytest.raises(StateUnavailableError, match="malformed"):
        await store.commit([commit(ADA, range(3))])
    assert await client.keys("*") == []


async def test_a_failed_connection_is_reopened_and_replies_are_not_mixed_up(redis_server):
    connection = RedisConnection(redis_server)
    with pytest.raises(StateUnavailableError, match="unknown command"):
        await connection.execute([("GET", "a"), ("NO-SUCH-COMMAND",), ("GET", "b")])
    slow = asyncio.create_task(connection.execute([("BLPOP", "nothing", 30)]))
    _, running = await asyncio.wait([slow], timeout=0.1)
    assert running
    slow.cancel()
    with pytest.raises(asyncio.CancelledError):
        await slow
    assert await connection.execute([("ECHO", "mine")]) == [b"mine"]
    await connection.close()


async def test_a_redis_that_does_not_answer_in_time_is_unavailable(redis_server):
    connection = RedisConnection(redis_server, timeout_s=0.05)
    with pytest.raises(StateUnavailableError):
        await connection.execute([("BLPOP", "nothing", 30)])
    await connection.close()


async def test_a_redis_that_is_away_is_unavailable(fresh_redis_server):
    url = fresh_redis_server.url
    fresh_redis_server.stop()
    connection = RedisConnection(url)
    client = redis.asyncio.Redis.from_url(url)
    with pytest.raises(StateUnavailableError):
        await connection.execute([("PING",)])
    with pytest.raises(StateUnavailableError):
        await RedisLearnerReader(RedisReads(connection)).read(1, ADA)
    with pytest.raises(StateUnavailableError):
        await RedisEpochs(client).current()
    await client.aclose()


async def test_readers_at_the_same_time_each_get_their_own_replies(reads):
    asked = [[("ECHO", f"{caller}-{number}") for number in range(caller % 4)] for caller in range(100)]
    answers = await asyncio.gather(*(reads.execute(commands) for commands in asked))
    assert answers == [[text.encode() for _, text in commands] for commands in asked]


async def test_a_reader_that_gives_up_leaves_the_others_their_replies(reads):
    callers = [asyncio.create_task(reads.execute([("ECHO", str(number))])) for number in range(10)]
    await asyncio.sleep(0)
    callers[3].cancel()
    answers = await asyncio.gather(*callers, return_exceptions=True)
    assert isinstance(answers.pop(3), asyncio.CancelledError)
    assert answers == [[str(number).encode()] for number in range(10) if number != 3]


async def test_a_connection_that_was_closed_meanwhile_is_opened_again(reads, client):
    (own,) = await reads.execute([("CLIENT", "ID")])
    await client.client_kill_filter(_id=str(own))
    assert await reads.execute([("ECHO", "still here")]) == [b"still here"]


async def test_every_reader_gets_an_error_when_redis_is_away(fresh_redis_server):
    reads = RedisReads(RedisConnection(fresh_redis_server.url))
    assert await reads.execute([("PING",)]) == [b"PONG"]
    fresh_redis_server.stop()
    answers = await asyncio.gather(*(reads.execute([("PING",)]) for _ in range(5)), return_exceptions=True)
    assert [type(answer) for answer in answers] == [StateUnavailableError] * 5
    fresh_redis_server.start()
    assert await reads.execute([("PING",)]) == [b"PONG"]
    await reads.close()


async def test_waiting_callers_get_an_error_when_the_connection_is_closed(redis_server):
    reads = RedisReads(RedisConnection(redis_server))
    waiting = asyncio.create_task(reads.execute([("BLPOP", "nothing", 30)]))
    behind = asyncio.create_task(reads.execute([("PING",)]))
    await asyncio.sleep(0)
    await reads.close()
    for caller in (waiting, behind):
        with pytest.raises(StateUnavailableError):
            await caller
