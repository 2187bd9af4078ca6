"""The catalog in the topics of a real broker: the suite of its ports, and what only a broker can do."""

import asyncio
import gc
import warnings
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime

import pytest
import structlog
from aiokafka import TopicPartition
from google.protobuf import json_format
from kafka import KafkaProducer

from cairn.v1 import catalog_pb2
from services.catalog.adapters.kafka_catalog import KafkaCatalogLog, KafkaCatalogView
from services.catalog.application.import_catalog import ImportCatalog
from services.catalog.application.ports import CatalogUnavailableError
from services.catalog.application.writing import CatalogLogRecreatedError, CatalogWriter
from services.catalog.domain.contents import Changes
from services.catalog.domain.model import Skill
from services.catalog.wire.resources import resource_to_proto
from services.common.kafka import envelope
from services.common.kafka.connection import new_consumer
from services.common.kafka.topics import ensure_topics, load_declarations
from tests.conftest import TOPICS
from tests.suites.catalog_log import BARE_RESOURCE, PAINT, CatalogLogSuite
from tests.suites.catalog_log import tenant as tenant  # noqa: PLC0414 - a fixture of the suite, used by name.

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)


@asynccontextmanager
async def running_view(connection):
    view = KafkaCatalogView(connection)
    running = asyncio.create_task(view.run())
    ready = asyncio.create_task(view.wait_ready())
    await asyncio.wait({running, ready}, return_when=asyncio.FIRST_COMPLETED)
    try:
        yield view
    finally:
        ready.cancel()
        running.cancel()
        await asyncio.gather(running, ready, return_exceptions=True)


@asynccontextmanager
async def open_log(connection):
    log = KafkaCatalogLog(connection, now=lambda: NOW)
    try:
        yield log
    finally:
        await log.close()


@pytest.fixture
async def log(kafka_broker):
    async with open_log(kafka_broker) as log:
        yield log


@pytest.fixture
async def another_log(kafka_broker):
    async with open_log(kafka_broker) as log:
        yield log


@pytest.fixture
async def new_view(kafka_broker):
    async with AsyncExitStack() as stack:

        async def start():
            return await stack.enter_async_context(running_view(kafka_broker))

        yield start


@pytest.fixture
def send(kafka_broker):
    """Write raw records, as another program would; returns the offset."""
    producer = KafkaProducer(bootstrap_servers=kafka_broker.bootstrap_servers.split(","))
    yield lambda topic, **record: producer.send(topic, partition=0, **record).get(timeout=10).offset
    producer.close()


@pytest.fixture
def lost_broker(fresh_kafka_broker):
    """A broker that the test can stop.

    kafka-python leaves sockets of refused connections to the garbage collector, which would complain during some later
    test.
    """
    yield fresh_kafka_broker
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


class TestKafkaCatalogLog(CatalogLogSuite):
    pass


async def test_a_record_has_the_key_value_and_headers_of_the_contract(kafka_broker, log, tenant):
    version = await log.append(tenant, Changes((PAINT,)))
    consumer = new_consumer(kafka_broker)
    await consumer.start()
    try:
        partition = TopicPartition(envelope.RESOURCES, 0)
        consumer.assign([partition])
        consumer.seek(partition, version.resources_offset - 1)
        record = await consumer.getone()
    finally:
        await consumer.stop()
    headers = dict(record.headers)
    assert record.key == f"{tenant}/vid/1".encode()
    assert catalog_pb2.Resource.FromString(record.value) == resource_to_proto(PAINT)
    assert headers["ce_type"] == b"cairn.v1.Resource"
    assert headers["ce_source"] == f"/cairn/catalog/{tenant}".encode()
    assert headers["ce_time"] == b"2026-03-04T05:06:07Z"
    assert headers["ce_specversion"] == b"1.0"
    assert headers["content-type"] == b"application/protobuf"
    assert len(headers["ce_id"]) == 36


async def test_a_null_value_removes_a_record_also_for_a_view_rebuilt_later(log, new_view, send, tenant):
    view = await new_view()
    await view.wait_for(await log.append(tenant, Changes((Skill(id="a"), Skill(id="b"), BARE_RESOURCE))))
    send(envelope.SKILLS, key=envelope.record_key(tenant, "a"), value=None)
    send(envelope.RESOURCES, key=envelope.record_key(tenant, "r"), value=None)
    await view.wait_for(await log.end())
    for seen in (view, await new_view()):
        assert list(seen.contents(tenant).skills) == ["b"]
        assert len(seen.contents(tenant).resources) == 0


async def test_a_protobuf_json_record_is_read_too(log, new_view, send, tenant):
    view = await new_view()
    value = json_format.MessageToJson(resource_to_proto(PAINT)).encode()
    headers = [("content-type", b"application/json; charset=utf-8")]
    send(envelope.RESOURCES, key=envelope.record_key(tenant, PAINT.id), value=value, headers=headers)
    await view.wait_for(await log.end())
    assert view.contents(tenant).resources[PAINT.id] == PAINT


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"value": b""}, "the value has no bytes; a removal is a null value"),
        ({"value": b"\xff\xff"}, "the value cannot be decoded as application/protobuf"),
        ({"value": catalog_pb2.Skill(id="other").SerializeToString()}, "the value has the id 'other', its key 'a'"),
        ({"value": b"{}", "headers": [("content-type", b"text/html")]}, "the content-type 'text/html' is not known"),
        ({"value": b"{", "headers": [("content-type", b"application/json")]}, "cannot be decoded as application/json"),
        ({"key": b"no-slash", "value": b"x"}, "is not of the form tenant/id"),
        ({"key": b"\xff/a", "value": None}, "is not UTF-8"),
    ],
)
async def test_an_invalid_record_is_logged_with_its_offset_and_changes_nothing(
    log, new_view, send, tenant, record, reason
):
    view = await new_view()
    await view.wait_for(await log.append(tenant, Changes((Skill(id="a", statement="stays"),))))
    before = view.ignored
    with structlog.testing.capture_logs() as logged:
        offset = send(envelope.SKILLS, **({"key": envelope.record_key(tenant, "a")} | record))
        await view.wait_for(await log.end())
    assert view.contents(tenant).skills["a"].statement == "stays"
    assert view.ignored == before + 1
    (line,) = logged
    assert (line["topic"], line["offset"]) == (envelope.SKILLS, offset)
    assert reason in line["reason"]


async def test_without_a_broker_nothing_is_acknowledged_and_reads_continue(lost_broker, monkeypatch):
    monkeypatch.setattr("services.catalog.adapters.kafka_catalog._DELIVERY_TIMEOUT_MS", 1_500)
    monkeypatch.setattr("services.common.kafka.connection.REQUEST_TIMEOUT_MS", 1_000)
    connection = lost_broker.connection
    async with open_log(connection) as log, running_view(connection) as view:
        importing = ImportCatalog(CatalogWriter(log, view))
        await importing.run("riverbend", [Skill(id="a")], [BARE_RESOURCE])
        lost_broker.stop()
        with pytest.raises(CatalogUnavailableError):
            await importing.run("riverbend", [Skill(id="b")], [])
        assert list(view.contents("riverbend").skills) == ["a"]


async def test_topics_that_were_recreated_are_not_taken_for_the_old_ones(lost_broker):
    connection = lost_broker.connection
    async with open_log(connection) as log, running_view(connection) as view:
        importing = ImportCatalog(CatalogWriter(log, view))
        await importing.run("riverbend", [Skill(id="a")], [BARE_RESOURCE])
    read_to = view.version
    lost_broker.stop()
    lost_broker.start()
    ensure_topics(connection, load_declarations(TOPICS))
    async with open_log(connection) as log:
        assert not (await log.end()).includes(read_to)
        with pytest.raises(CatalogLogRecreatedError):
            await ImportCatalog(CatalogWriter(log, view)).run("riverbend", [Skill(id="b")], [])


async def test_an_append_that_was_not_delivered_fails_and_the_next_one_has_a_new_producer(lost_broker, monkeypatch):
    monkeypatch.setattr("services.catalog.adapters.kafka_catalog._DELIVERY_TIMEOUT_MS", 1_500)
    monkeypatch.setattr("services.common.kafka.connection.REQUEST_TIMEOUT_MS", 1_000)
    connection = lost_broker.connection
    async with open_log(connection) as log:
        await log.append("riverbend", Changes((Skill(id="a"),)))
        lost_broker.stop()
        with pytest.raises(CatalogUnavailableError):
            await log.append("riverbend", Changes((Skill(id="b"),)))
        lost_broker.start()
        ensure_topics(connection, load_declarations(TOPICS))
        assert (await log.append("riverbend", Changes((Skill(id="c"),)))).skills_offset == 1
