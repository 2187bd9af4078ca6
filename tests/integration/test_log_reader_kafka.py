"""The log in Kafka passes the suite of the port."""

from __future__ import annotations

import pytest

from services.recommender.adapters.kafka.log import KafkaLog
from tests.integration.test_ingest_kafka import new_topic
from tests.learner_events import publish
from tests.suites.log_reader import LogReaderSuite


class TestKafkaLog(LogReaderSuite):
    @pytest.fixture
    def topic(self, kafka_broker):
        return new_topic(kafka_broker)

    @pytest.fixture
    def log(self, kafka_broker, topic):
        return KafkaLog(kafka_broker, topic)

    @pytest.fixture
    def write(self, kafka_broker, topic):
        async def write(records):
            await publish(kafka_broker, records, topic)

        return write
