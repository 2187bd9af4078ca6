"""A learner is forgotten through ingest; then Redis, training and the topics are searched for the learner's data."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest
import redis.asyncio

from services.common.auth.api_keys import create_api_key
from services.common.auth.tenant import ALL_SCOPES
from services.common.auth.tenants_file import load_tenants
from services.common.encryption.learner_keys import LearnerKeys
from services.common.encryption.tenant_keys import tenant_keys_in
from services.common.kafka.connection import KafkaConnection
from services.common.kafka.envelope import LEARNER_EVENTS, LEARNER_EVENTS_DLT, LEARNER_KEYS, record_key
from services.common.kafka.topics import TopicDeclaration, ensure_topics
from services.ingest.adapters.kafka.learner_keys import KafkaLearnerKeys
from services.ingest.adapters.kafka.log import KafkaEventLog, KafkaLogOptions
from services.ingest.adapters.redis_recent_events import RedisRecentEvents
from services.ingest.application.erase import EraseLearner
from services.ingest.application.publish import PublishEvents
from services.ingest.domain.kinds.assessment import Assessment
from services.ingest.domain.submission import Submission
from services.recommender.adapters.kafka.learner_records import KafkaLearnerRecords
from services.recommender.adapters.kafka.log import KafkaLog
from services.recommender.adapters.kafka.training_log import KafkaTrainingLog
from services.recommender.adapters.redis.epochs import RedisEpochs
from services.recommender.adapters.redis.keys import position_key
from services.recommender.application.ports.epochs import EpochMeta, EpochStatus
from services.recommender.application.state.epochs import EpochDigest, digest_epoch
from services.recommender.application.training.collect import collect
from services.recommender.bootstrap.worker import FoldWiring
from services.recommender.domain.learner.parameters import PRIOR_PARAMETERS_ID, TracingParameters
from services.recommender.domain.training.positives import positives_of
from tests.adapters.memory_event_log import MemorySkillTags
from tests.integration.test_ingest_kafka import records_of, until
from tests.suites.event_log import event

TENANT = "riverbend"
PARTITIONS = 4


@pytest.fixture
def broker(fresh_kafka_broker) -> KafkaConnection:
    connection = fresh_kafka_broker.connection
    topics = {name: TopicDeclaration(partitions=PARTITIONS) for name in (LEARNER_EVENTS, LEARNER_EVENTS_DLT)}
    ensure_topics(connection, topics | {LEARNER_KEYS: TopicDeclaration(partitions=1)})
    return connection


@pytest.fixture
def tenants_file(tmp_path):
    path = tmp_path / "tenants.yaml"
    create_api_key(path, TENANT, "tests", ALL_SCOPES, encryption=True)
    return path


@asynccontextmanager
async def ingest(broker: KafkaConnection, redis_url: str, tenants_file):
    keys = KafkaLearnerKeys(broker, load_tenants(tenants_file).get, lambda: datetime.now(UTC), others_follow_s=0.05)
    log = KafkaEventLog(broker, KafkaLogOptions(events_in_flight_max=5_000, reconnect_s=0.05), keys=keys)
    running = [asyncio.ensure_future(keys.run()), asyncio.ensure_future(log.run())]
    try:
        await keys.wait_ready()
        await until(lambda: log.connected)
        recent = RedisRecentEvents(redis_url)
        publish = PublishEvents(log, recent, MemorySkillTags(), lambda: datetime.now(UTC))
        yield log, publish, EraseLearner(log, recent, keys, lambda: datetime.now(UTC))
        await recent.close()
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def folded(broker: KafkaConnection, redis_url: str, tenants_file, epoch: int) -> EpochDigest:
    """Continue to fold the log into an epoch, up to its current end."""
    log = KafkaLog(broker)
    ends = await log.end_offsets()
    meta = EpochMeta(epoch, EpochStatus.LIVE, PRIOR_PARAMETERS_ID, "", await log.identity(), dict.fromkeys(ends, 0))
    async with redis.asyncio.Redis.from_url(redis_url) as client:
        epochs = RedisEpochs(client)
        if await epochs.get(epoch) is None:
            await epochs.create(meta)
        service = FoldWiring(broker, redis_url, tenants=tenants_file).event_service(
            meta, TracingParameters(), group=None, goal=ends
        )
        await service.start()
        await service.wait_finished()
        await service.stop()
        return await digest_epoch(epochs, epoch)


async def everything_in(redis_url: str) -> bytes:
    """Every key and every value, uncompressed; DUMP would compress them."""
    async with redis.asyncio.Redis.from_url(redis_url) as client:
        found = []
        for key in [key async for key in client.scan_iter()]:
            found.append(key)
            match await client.type(key):
                case b"hash":
                    found += [part for pair in (await client.hgetall(key)).items() for part in pair]
                case b"list":
                    found += await client.lrange(key, 0, -1)
                case b"set":
                    found += await client.smembers(key)
                case _:
                    found.append(await client.get(key))
        return b"\0".join(found)


def ingest_keys(held: bytes, learner: str) -> int:
    return sum(part.startswith(b"cairn:ingest:") and learner.encode() in part for part in held.split(b"\0"))


async def count_of(redis_url: str, epoch: int, name: str) -> int:
    async with redis.asyncio.Redis.from_url(redis_url) as client:
        counts = [await client.hget(position_key(epoch, number), name) for number in range(PARTITIONS)]
        return sum(int(count or 0) for count in counts)


async def test_no_data_of_a_forgotten_learner_is_found(broker, redis_server, tenants_file):
    tenant = load_tenants(tenants_file).get(TENANT)
    amy, ben = tenant.pseudonym("amy"), tenant.pseudonym("ben")
    # Items are named item-N: amy's from 9001 on, ben's below.
    async with ingest(broker, redis_server, tenants_file) as (log, publish, erase):
        await log.append([event(number, learner=amy) for number in range(9_001, 9_070)])
        await log.append([event(number, learner=ben) for number in range(70)])
        before = await folded(broker, redis_server, tenants_file, 1)
        assert before.learners == 2
        assert b"item-9069" in await everything_in(redis_server)
        await publish(tenant, [Submission("amy", "gradebook", Assessment(item="item-1", outcome=True), "e1")])
        assert ingest_keys(await everything_in(redis_server), amy) == 1
        erased = await erase(tenant, "amy")
        assert erased.key_destroyed
        live = await folded(broker, redis_server, tenants_file, 1)
    assert live.learners == 1

    held = await everything_in(redis_server)
    # The offset of the erasure, for an hour.
    assert ingest_keys(held, amy) == held.count(f"{amy}:erased".encode()) == 1
    assert b"item-69" in held
    assert b"item-90" not in held

    # A replay, which cannot read any of amy's records, has the same result.
    replayed = await folded(broker, redis_server, tenants_file, 2)
    assert replayed == live
    assert await count_of(redis_server, 2, "erased") == 70
    assert await count_of(redis_server, 2, "dlt") == 0

    decryptor = LearnerKeys(broker, tenant_keys_in(tenants_file))
    window, responses = await collect(KafkaTrainingLog(broker, decryptor))
    table = responses[TENANT].distinct
    assert table.learners == (ben,)
    assert not [item for item in table.items if item.startswith("item-90")]
    assert positives_of(table).learners == (ben,)
    assert window.skipped == {"erased": 70}

    for topic in (LEARNER_EVENTS, LEARNER_EVENTS_DLT):
        for record in await records_of(broker, topic):
            assert b"item-" not in (record.value or b"")
    decryptor = LearnerKeys(broker, tenant_keys_in(tenants_file))
    records = await KafkaLearnerRecords(broker, decryptor).of(record_key(TENANT, amy))
    await decryptor.close()
    # What remains shows only that there was a learner who must be forgotten.
    assert [record.content for record in records[:-1]] == [None] * 70
    assert "erasure" in records[-1].content
