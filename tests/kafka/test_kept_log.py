"""A stack with Apache Kafka goes on with its log, tenants and bundles after it was stopped."""

from __future__ import annotations

import asyncio

import aiokafka

from deploy.local.stack import BrokerKind, Stack, StackOptions
from services.common.auth.tenants_file import load_tenants
from services.common.kafka.connection import aiokafka_options, log_identity, topic_end_offsets
from services.common.kafka.envelope import LEARNER_EVENTS


async def written(connection):
    producer = aiokafka.AIOKafkaProducer(**aiokafka_options(connection))
    await producer.start()
    try:
        await producer.send_and_wait(LEARNER_EVENTS, b"value", partition=2)
    finally:
        await producer.stop()


def test_a_stack_with_kafka_keeps_its_log_tenants_and_bundles(tmp_path):
    def stack(broker=BrokerKind.KAFKA, **options):
        return Stack(StackOptions(tmp_path / "up", broker=broker, services=(), **options), lambda _component: None)

    with stack() as first:
        asyncio.run(written(first.kafka))
        identity = asyncio.run(log_identity(first.kafka, LEARNER_EVENTS))
        api_key, tenants = first.api_key, first.environment["CAIRN_TENANTS"]
    # One with the embedded broker in between begins empty, and leaves alone what is kept.
    with stack(BrokerKind.EMBEDDED) as between:
        assert sum(asyncio.run(topic_end_offsets(between.kafka, LEARNER_EVENTS)).values()) == 0
    with stack() as again:
        assert asyncio.run(log_identity(again.kafka, LEARNER_EVENTS)) == identity
        assert asyncio.run(topic_end_offsets(again.kafka, LEARNER_EVENTS)) == {0: 0, 1: 0, 2: 1, 3: 0}
        assert again.environment["CAIRN_TENANTS"] == tenants
        assert load_tenants(tmp_path / "up" / "kept" / "tenants.yaml").credential(api_key) is not None
