"""Ingest's ports on a real broker: the suite of the log, a broker that goes away, and the catalog view."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import uuid
from contextlib import asynccontextmanager

import psutil
import pytest
from aiokafka import TopicPartition
from google.protobuf import json_format
from kafka import KafkaProducer

from cairn.v1 import catalog_pb2, events_pb2
from services.common.kafka.connection import TopicMissingError, end_offsets, log_identity, new_consumer
from services.common.kafka.envelope import JSON, PROTOBUF, RESOURCES, record_key
from services.common.kafka.topics import TopicDeclaration, ensure_topics
from services.ingest.adapters.kafka.log import KafkaEventLog, KafkaLogOptions, LogRecreatedError
from services.ingest.adapters.kafka.tags import KafkaSkillTags
from services.ingest.application.ports import LogUnavailableError
from tests.suites.event_log import EventLogSuite, event, learner

PARTITIONS = 4

# kafka-python leaves the sockets of refused connections to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(autouse=True)
def _collect_sockets_here():
    yield
    gc.collect()


def new_topic(connection):
    topic = f"test.learner-events.{uuid.uuid4()}"
    ensure_topics(connection, {topic: TopicDeclaration(partitions=PARTITIONS)})
    return topic


async def until(condition, deadline_s=20.0):
    async with asyncio.timeout(deadline_s):
        while not condition():  # noqa: ASYNC110 - what is waited for is a property of somebody else's making.
            await asyncio.sleep(0.01)


async def gathered(awaitables):
    return await asyncio.gather(*awaitables, return_exceptions=True)


@asynccontextmanager
async def running_log(connection, **options):
    log = KafkaEventLog(connection, KafkaLogOptions(events_in_flight_max=1_000, reconnect_s=0.05, **options))
    running = asyncio.ensure_future(log.run())
    try:
        await until(lambda: log.connected or running.done())
        yield log, running
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def records_of(connection, topic, partitions=PARTITIONS):
    consumer = new_consumer(connection)
    await consumer.start()
    try:
        partitions = [TopicPartition(topic, number) for number in range(partitions)]
        consumer.assign(partitions)
        ends = await end_offsets(connection, consumer, partitions)
        records = []
        while any([await consumer.position(partition) < end for partition, end in ends.items()]):
            for batch in (await consumer.getmany(timeout_ms=50)).values():
                records += batch
        return records
    finally:
        await consumer.stop()


class TestKafkaEventLog(EventLogSuite):
    @pytest.fixture
    async def log(self, kafka_broker):
        self.topic = new_topic(kafka_broker)
        async with running_log(kafka_broker, topic=self.topic) as (log, _):
            yield log

    @pytest.fixture
    def stored(self, kafka_broker):
        async def read(_log):
            records = await records_of(kafka_broker, self.topic)
            return {
                (record.partition, record.offset): events_pb2.LearnerEvent.FromString(record.value).event_id
                for record in records
            }

        return read

    async def test_a_record_has_its_key_and_the_headers_of_a_cloud_event(self, log, kafka_broker):
        await log.append([event(1), event(2)])
        known_time, unknown_time = await records_of(kafka_broker, self.topic)
        assert known_time.key == record_key("riverbend", "A" * 26)
        assert dict(known_time.headers) == {
            "ce_specversion": b"1.0",
            "ce_id": b"event-1",
            "ce_source": b"gradebook",
            "ce_type": b"cairn.v1.AssessmentEvent",
            "ce_time": b"2023-11-14T22:13:21.000005Z",
            "content-type": b"application/protobuf",
        }
        # An event without a time has the time of its receipt.
        assert dict(unknown_time.headers)["ce_time"] == b"2027-01-15T08:00:00Z"

    async def test_its_identity_is_the_topics(self, log, kafka_broker):
        assert log.identity == await log_identity(kafka_broker, self.topic)


async def test_a_topic_that_does_not_exist_ends_the_start_with_an_error_message(kafka_broker):
    log = KafkaEventLog(kafka_broker, KafkaLogOptions(topic="test.none"))
    with pytest.raises(TopicMissingError, match="create the topics with"):
        await log.run()
    assert not log.connected
    with pytest.raises(LogUnavailableError):
        await log.append([event(1)])


async def test_a_broker_that_dies_causes_unavailable_and_never_a_false_acknowledgement(fresh_kafka_broker):
    connection = fresh_kafka_broker.connection
    async with running_log(connection, delivery_timeout_s=1.0) as (log, _):
        assert await log.append([event(0)])
        acknowledged = []

        async def keep_appending():
            number = 1
            while True:
                acknowledged.append(await log.append([event(number, learner=learner(number))]))
                number += 1

        appending = asyncio.ensure_future(keep_appending())
        await until(lambda: len(acknowledged) > 5)
        fresh_kafka_broker.stop()
        count = len(acknowledged)
        with pytest.raises(LogUnavailableError):
            await appending
        # At most the append under way was confirmed before the broker was gone.
        assert len(acknowledged) <= count + 1
        await until(lambda: not log.connected)
        with pytest.raises(LogUnavailableError, match="cannot be reached"):
            await log.append([event(1)])
        await until(lambda: log.in_flight == 0)


async def test_a_broker_that_hangs_is_abandoned_and_used_again_once_it_answers(fresh_kafka_broker):
    connection = fresh_kafka_broker.connection
    topic = new_topic(connection)
    async with running_log(connection, topic=topic, delivery_timeout_s=1.0) as (log, _):
        confirmed = dict(zip(await log.append([event(n) for n in range(50)]), range(50), strict=True))
        os.kill(fresh_kafka_broker.child.pid, signal.SIGSTOP)
        try:
            await until(lambda: psutil.Process(fresh_kafka_broker.child.pid).status() == psutil.STATUS_STOPPED)
            waiting = [asyncio.ensure_future(log.append([event(100 + n, learner=learner(n))])) for n in range(10)]
            assert [type(result) for result in await gathered(waiting)] == 10 * [LogUnavailableError]
            await until(lambda: not log.connected)
        finally:
            os.kill(fresh_kafka_broker.child.pid, signal.SIGCONT)
        await until(lambda: log.connected)
        again = await log.append([event(100 + n, learner=learner(n)) for n in range(10)])
        confirmed |= dict(zip(again, range(100, 110), strict=True))
        assert log.in_flight == 0
    records = {
        (record.partition, record.offset): events_pb2.LearnerEvent.FromString(record.value).event_id
        for record in await records_of(connection, topic)
    }
    # Records of the hung appends may be there, too; every acknowledged position has its own event.
    assert {position: records[position.partition, position.offset] for position in confirmed} == {
        position: f"event-{number}" for position, number in confirmed.items()
    }


async def test_a_caller_that_goes_away_leaves_its_events_counted_until_they_are_settled(fresh_kafka_broker):
    async with running_log(fresh_kafka_broker.connection, delivery_timeout_s=1.0) as (log, _):
        os.kill(fresh_kafka_broker.child.pid, signal.SIGSTOP)
        try:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await log.append([event(n) for n in range(10)])
            assert log.in_flight == 10
        finally:
            os.kill(fresh_kafka_broker.child.pid, signal.SIGCONT)
        await until(lambda: log.in_flight == 0)


async def test_a_recreated_log_ends_the_process(fresh_kafka_broker):
    connection = fresh_kafka_broker.connection
    async with running_log(connection, delivery_timeout_s=1.0) as (log, running):
        await log.append([event(n, learner=learner(n)) for n in range(50)])
        fresh_kafka_broker.stop()
        fresh_kafka_broker.start()
        ensure_topics(connection, {"cairn.learner-events": TopicDeclaration(partitions=PARTITIONS)})
        # The first records would get offsets that other records had, the later ones new offsets.
        batches = [log.append([event(n, learner=learner(n)) for n in range(50)]) for _ in range(6)]
        assert all(isinstance(result, LogUnavailableError) for result in await gathered(batches))
        with pytest.raises(LogRecreatedError, match=r"was recreated .* fold it into a new epoch with cairn replay"):
            await running


class TestKafkaSkillTags:
    @pytest.fixture
    def topic(self, kafka_broker):
        topic = f"test.resources.{uuid.uuid4()}"
        ensure_topics(kafka_broker, {topic: TopicDeclaration(partitions=1)})
        return topic

    @pytest.fixture
    def put(self, kafka_broker, topic):
        producer = KafkaProducer(bootstrap_servers=kafka_broker.bootstrap_servers)

        def send(key, value, content_type=PROTOBUF):
            headers = [("content-type", content_type.encode())]
            return producer.send(topic, key=key, value=value, headers=headers).get(10).offset

        yield send
        producer.close()

    @asynccontextmanager
    async def view(self, connection, topic):
        tags = KafkaSkillTags(connection, topic=topic)
        running = asyncio.ensure_future(tags.run())
        try:
            yield tags
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    @staticmethod
    def resource(identifier, status=catalog_pb2.RESOURCE_STATUS_ACTIVE, **weights):
        tags = [catalog_pb2.SkillTag(skill=skill, weight=weight) for skill, weight in weights.items()]
        return catalog_pb2.Resource(
            id=identifier, assesses=tags, teaches=[catalog_pb2.SkillTag(skill="taught", weight=1)], status=status
        )

    async def test_it_is_ready_at_the_end_and_orders_skills_by_weight_then_id(self, kafka_broker, topic, put):
        for number in range(50):
            put(
                record_key("riverbend", f"r-{number}"),
                self.resource(f"r-{number}", z=1.0, a=0.5, b=0.5).SerializeToString(),
            )
        retired = self.resource("old", catalog_pb2.RESOURCE_STATUS_RETIRED, m=1.0)
        put(record_key("riverbend", "old"), retired.SerializeToString())
        put(
            record_key("riverbend", "as-json"),
            json_format.MessageToJson(self.resource("as-json", j=1.0)).encode(),
            JSON,
        )
        async with self.view(kafka_broker, topic) as tags:
            assert not tags.ready
            await asyncio.wait_for(tags.wait_ready(), 20)
            assert tags.assessed_skills("riverbend", "r-49") == ("z", "a", "b")
            assert tags.assessed_skills("riverbend", "old") == ("m",)
            assert tags.assessed_skills("riverbend", "as-json") == ("j",)
            assert tags.assessed_skills("hilltop", "r-49") is None
            assert tags.assessed_skills("riverbend", "none") is None

    async def test_later_changes_count_and_a_null_value_removes(self, kafka_broker, topic, put):
        key = record_key("riverbend", "quiz/1")
        put(key, self.resource("quiz/1", a=1.0).SerializeToString())
        async with self.view(kafka_broker, topic) as tags:
            await asyncio.wait_for(tags.wait_ready(), 20)
            assert tags.assessed_skills("riverbend", "quiz/1") == ("a",)
            await asyncio.wait_for(tags.wait_for(topic, put(key, self.resource("quiz/1").SerializeToString())), 20)
            assert tags.assessed_skills("riverbend", "quiz/1") == ()
            await asyncio.wait_for(tags.wait_for(topic, put(key, None)), 20)
            assert tags.assessed_skills("riverbend", "quiz/1") is None
            assert tags.resources == 0

    async def test_a_foreign_record_does_not_keep_events_out(self, kafka_broker, topic, put):
        put(record_key("riverbend", "r"), self.resource("r", a=1.0).SerializeToString())
        put(record_key("riverbend", "r"), b"")
        put(record_key("riverbend", "r"), b"\xff\xff")
        put(record_key("riverbend", "r"), b"{", JSON)
        put(record_key("riverbend", "r"), self.resource("other", b=1.0).SerializeToString())
        put(b"no-slash", self.resource("r", b=1.0).SerializeToString())
        async with self.view(kafka_broker, topic) as tags:
            await asyncio.wait_for(tags.wait_ready(), 20)
            assert tags.assessed_skills("riverbend", "r") == ("a",)


def test_the_view_reads_the_catalogs_topic_by_default(kafka_broker):
    assert KafkaSkillTags(kafka_broker)._view._topics == (RESOURCES,)
