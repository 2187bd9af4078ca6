"""What every service relies on from a real broker: correct end offsets, a log identity, live views."""

import asyncio
import os
import signal
import threading
import time
import uuid
from contextlib import suppress

import psutil
import pytest
from kafka import KafkaProducer
from kafka.admin import KafkaAdminClient, NewTopic
from kafka.errors import KafkaError

from services.common.kafka.compacted import CompactedView
from services.common.kafka.connection import (
    BrokerUnavailableError,
    KafkaConnection,
    LogIdentity,
    TopicMissingError,
    log_identity,
    read_span,
    topic_end_offsets,
    topic_span,
)
from services.common.kafka.producer import DiscardableProducer
from services.common.kafka.topics import TopicDeclaration, TopicOutcome, ensure_topics


@pytest.fixture
def producer(kafka_broker):
    producer = KafkaProducer(
        bootstrap_servers=kafka_broker.bootstrap_servers, acks="all", enable_idempotence=True, linger_ms=5
    )
    yield producer
    producer.close()


@pytest.fixture
def topic(kafka_broker):
    name = f"test.{uuid.uuid4().hex}"
    ensure_topics(kafka_broker, {name: TopicDeclaration(partitions=1)})
    return name


async def test_end_offsets_are_correct_after_batches_of_many_records(kafka_broker, producer, topic):
    for _ in range(3):
        for number in range(997):
            producer.send(topic, key=b"t/x", value=b"%d" % number)
        producer.flush()
    assert await topic_end_offsets(kafka_broker, topic) == {0: 3 * 997}
    assert await topic_span(kafka_broker, topic) == {0: (0, 3 * 997)}


async def test_an_empty_topic_ends_where_it_begins(kafka_broker, topic):
    assert await topic_end_offsets(kafka_broker, topic) == {0: 0}


async def test_a_span_is_read_once_from_its_beginning_to_its_end(kafka_broker, producer):
    name = f"test.{uuid.uuid4().hex}"
    ensure_topics(kafka_broker, {name: TopicDeclaration(partitions=3)})
    for number in range(300):
        producer.send(name, value=b"%d" % number, partition=number % 2)
    producer.flush()
    span = await topic_span(kafka_broker, name)
    assert span == {0: (0, 150), 1: (0, 150), 2: (0, 0)}
    parts = [part async for part in read_span(kafka_broker, name, span | {1: (100, 120)})]
    places = [(record.partition, record.offset) for part in parts for record in part.records]
    assert sorted(places) == [*((0, offset) for offset in range(150)), *((1, offset) for offset in range(100, 120))]
    assert parts[-1].done == 170
    assert [part.done for part in parts] == sorted({part.done for part in parts})


async def test_a_broker_that_goes_silent_within_a_span_is_given_up(kafka_broker, producer, topic):
    producer.send(topic, value=b"only").get(timeout=10)
    parts = read_span(kafka_broker, topic, {0: (0, 2)}, stalled_s=0.3)
    assert [record.value for record in (await anext(parts)).records] == [b"only"]
    with pytest.raises(BrokerUnavailableError, match=r"sent nothing for 0\.3 s, 1 records before the end"):
        async with asyncio.timeout(20):
            await anext(parts)


async def test_an_empty_span_needs_no_broker():
    assert [part async for part in read_span(KafkaConnection("127.0.0.1:1"), "any", {0: (7, 7)})] == []


async def test_a_missing_topic_is_named_with_the_command_that_creates_it(kafka_broker):
    with pytest.raises(TopicMissingError, match=r"test\.absent.*cairn topics create"):
        await topic_end_offsets(kafka_broker, "test.absent")
    with pytest.raises(TopicMissingError, match=r"test\.absent.*cairn topics create"):
        await log_identity(kafka_broker, "test.absent")


async def test_a_missing_broker_is_reported_as_unreachable():
    nowhere = KafkaConnection("127.0.0.1:1")
    with pytest.raises(BrokerUnavailableError, match=r"127\.0\.0\.1:1"):
        await topic_end_offsets(nowhere, "any")


async def test_a_recreated_topic_has_another_identity(kafka_broker, topic):
    before = await log_identity(kafka_broker, topic)
    assert before == await log_identity(kafka_broker, topic)
    assert LogIdentity.parse(str(before)) == before
    admin = KafkaAdminClient(bootstrap_servers=kafka_broker.bootstrap_servers)
    admin.delete_topics([topic])
    admin.create_topics([NewTopic(topic, 2, 1)])
    admin.close()
    after = await _identity_other_than(before, kafka_broker, topic)
    assert after.topic_id != before.topic_id
    assert after.partitions == 2


async def _identity_other_than(before, broker, topic):
    """The topic's identity once the broker knows what its controller has confirmed already."""
    async with asyncio.timeout(20):
        while True:
            with suppress(TopicMissingError):
                if (found := await log_identity(broker, topic)) != before:
                    return found


def test_creating_topics_twice_changes_nothing_and_a_difference_is_reported(kafka_broker, topic):
    again = ensure_topics(kafka_broker, {topic: TopicDeclaration(partitions=1)})
    assert [report.outcome for report in again] == [TopicOutcome.AS_DECLARED]
    (report,) = ensure_topics(kafka_broker, {topic: TopicDeclaration(partitions=3)})
    assert report.outcome == TopicOutcome.DIFFERS
    assert "has 1 partitions, 3 are declared" in report.detail


async def test_a_view_is_ready_at_the_end_seen_at_start_and_then_follows(kafka_broker, producer, topic):
    content = {}

    def apply(_, records):
        for record in records:
            if record.value is None:
                content.pop(record.key, None)
            else:
                content[record.key] = record.value

    for number in range(500):
        producer.send(topic, key=b"t/%d" % number, value=b"first")
    producer.flush()
    view = CompactedView(kafka_broker, [topic], apply)
    reading = asyncio.create_task(view.run())
    try:
        await asyncio.wait_for(view.wait_ready(), 20)
        assert len(content) == 500
        assert view.reachable
        removal = producer.send(topic, key=b"t/7", value=None).get(timeout=10)
        change = producer.send(topic, key=b"t/8", value=b"second").get(timeout=10)
        assert removal.offset < change.offset
        await asyncio.wait_for(view.wait_for(topic, change.offset), 20)
        assert b"t/7" not in content
        assert content[b"t/8"] == b"second"
        assert view.next_offsets == {topic: 502}
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)


async def test_a_view_of_an_empty_topic_is_ready_at_once(kafka_broker, topic):
    view = CompactedView(kafka_broker, [topic], lambda *_: None)
    reading = asyncio.create_task(view.run())
    try:
        await asyncio.wait_for(view.wait_ready(), 20)
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)


async def test_a_view_of_a_missing_topic_fails_with_the_remedy(kafka_broker):
    with pytest.raises(TopicMissingError, match="cairn topics create"):
        await CompactedView(kafka_broker, ["test.absent"], lambda *_: None).run()


async def test_a_view_notices_a_silent_broker_and_trusts_it_again_once_it_answers(fresh_kafka_broker):
    connection = fresh_kafka_broker.connection
    topic = f"test.{uuid.uuid4().hex}"
    ensure_topics(connection, {topic: TopicDeclaration(partitions=1)})
    view = CompactedView(connection, [topic], lambda *_: None)
    reading = asyncio.create_task(view.run())
    try:
        await asyncio.wait_for(view.wait_ready(), 20)
        await asyncio.sleep(1.0)
        assert view.reachable
        os.kill(fresh_kafka_broker.child.pid, signal.SIGSTOP)
        try:
            await until(lambda: not view.reachable)
        finally:
            os.kill(fresh_kafka_broker.child.pid, signal.SIGCONT)
        await until(lambda: view.reachable)
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)


def test_a_discarded_producer_fails_its_records_and_closes_without_waiting(fresh_kafka_broker):
    connection = fresh_kafka_broker.connection
    topic = f"test.{uuid.uuid4().hex}"
    ensure_topics(connection, {topic: TopicDeclaration(partitions=1)})
    producer = DiscardableProducer(
        bootstrap_servers=connection.bootstrap_servers, client_id="discarded", acks="all", enable_idempotence=True
    )
    producer.send(topic, value=b"confirmed").get(timeout=10)
    broker = psutil.Process(fresh_kafka_broker.child.pid)
    broker.suspend()
    try:
        # The signal takes effect a moment later: until then the broker still answers.
        while broker.status() != psutil.STATUS_STOPPED:
            time.sleep(0.001)
        held = [producer.send(topic, value=b"held") for _ in range(10)]
        began = time.monotonic()
        producer.discard()
        assert time.monotonic() - began < 1.0
        for record in held:
            with pytest.raises(KafkaError):
                record.get(timeout=10)
        while any(thread.name.startswith("discarded") for thread in threading.enumerate()):
            assert time.monotonic() - began < 10.0
            time.sleep(0.01)
    finally:
        broker.resume()


async def until(condition):
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - the view reports nothing when it loses the broker.
            await asyncio.sleep(0.01)
