"""The log in Kafka passes the suite of the port."""

from __future__ import annotations

import aiokafka
import pytest

from services.recommender.adapters.kafka.log import KafkaLog
from tests.integration.test_ingest_kafka import new_topic
from tests.learner_events import publish
from tests.suites.log_reader import LogReaderSuite, numbered


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

    async def test_no_more_records_are_decoded_than_were_asked_for(self, log, write, monkeypatch):
        await write([one for partition in range(4) for one in numbered(1_000 * partition, 500, partition)])
        returned = []
        getmany = aiokafka.AIOKafkaConsumer.getmany

        async def counted(*arguments, **options):
            fetched = await getmany(*arguments, **options)
            returned.extend(record for records in fetched.values() for record in records)
            return fetched

        monkeypatch.setattr(aiokafka.AIOKafkaConsumer, "getmany", counted)
        assert len(await log.fingerprints({partition: [0] for partition in range(4)})) == 4
        assert len(returned) == 4
