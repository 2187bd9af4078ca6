"""The embedded broker and Redis that the other tests use."""

from __future__ import annotations

import aiokafka
import psutil
import redis

from deploy.local.broker import Broker
from deploy.local.redis import RedisServer
from services.common.kafka.connection import KafkaConnection, log_identity, topic_end_offsets
from services.common.kafka.envelope import LEARNER_EVENTS


async def test_the_session_broker_has_the_declared_topics(kafka_broker: KafkaConnection):
    identity = await log_identity(kafka_broker, LEARNER_EVENTS)

    assert identity.partitions == 4


async def test_a_restarted_broker_has_lost_its_log(fresh_kafka_broker: Broker):
    producer = aiokafka.AIOKafkaProducer(bootstrap_servers=fresh_kafka_broker.connection.bootstrap_servers)
    await producer.start()
    await producer.send_and_wait(LEARNER_EVENTS, b"value", partition=0)
    await producer.stop()
    assert (await topic_end_offsets(fresh_kafka_broker.connection, LEARNER_EVENTS))[0] == 1

    fresh_kafka_broker.stop()
    assert not psutil.pid_exists(fresh_kafka_broker.child.pid)
    fresh_kafka_broker.start()

    async with aiokafka.AIOKafkaConsumer(bootstrap_servers=fresh_kafka_broker.connection.bootstrap_servers) as consumer:
        assert LEARNER_EVENTS not in await consumer.topics()


def test_redis_is_new_enough_and_never_evicts(redis_server: str):
    with redis.Redis.from_url(redis_server) as client:
        major, minor = str(client.info("server")["redis_version"]).split(".")[:2]

        assert (int(major), int(minor)) >= (6, 2)
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}


def test_redis_is_empty_at_the_start_of_a_test_that_writes(redis_server: str):
    _write_once(redis_server)


def test_redis_is_empty_at_the_start_of_another_test_that_writes(redis_server: str):
    _write_once(redis_server)


def test_a_restarted_redis_is_empty(fresh_redis_server: RedisServer):
    _write_once(fresh_redis_server.url)

    fresh_redis_server.stop()
    fresh_redis_server.start()

    _write_once(fresh_redis_server.url)


def _write_once(url: str) -> None:
    with redis.Redis.from_url(url) as client:
        assert client.incr("writes") == 1
