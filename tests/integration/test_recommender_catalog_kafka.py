"""The catalog as a recommender server reads it from Kafka."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress

import kafka
import pytest
from google.protobuf import json_format

from cairn.v1 import catalog_pb2
from services.common.kafka.envelope import JSON, RESOURCES, RULES, SKILLS, record_key
from services.recommender.adapters.kafka.catalog import KafkaCatalog
from tests.suites.catalog_reader import LESSON, CatalogReaderSuite

WITHIN_S = 20


def resource_message(resource):
    return catalog_pb2.Resource(
        id=resource.resource_id,
        title=resource.title,
        url=resource.url,
        kind=int(resource.kind),
        teaches=[catalog_pb2.SkillTag(skill=skill, weight=weight) for skill, weight in resource.teaches],
        assesses=[catalog_pb2.SkillTag(skill=skill, weight=weight) for skill, weight in resource.assesses],
        grades=resource.grades,
        language=resource.language,
        minutes=resource.minutes,
        status=catalog_pb2.RESOURCE_STATUS_ACTIVE if resource.active else catalog_pb2.RESOURCE_STATUS_DRAFT,
    )


def skill_message(skill):
    return catalog_pb2.Skill(
        id=skill.skill_id, statement=skill.label, prerequisites=skill.prerequisites, importance=skill.importance
    )


def rule_message(rule):
    message = catalog_pb2.Rule(
        id=rule.rule_id,
        action=int(rule.action),
        resource_ids=rule.resource_ids,
        providers=rule.providers,
        skills=rule.skills,
        classes=rule.classes,
        grades=rule.grades,
        factor=rule.factor,
        note=rule.note,
    )
    if rule.expires_at_s is not None:
        message.expires_at.seconds = rule.expires_at_s
    return message


class Writer:
    """Writes records of the catalog's topics, and waits until a reader has them."""

    def __init__(self, connection):
        self._producer = kafka.KafkaProducer(bootstrap_servers=connection.bootstrap_servers, acks="all")
        self._written = {}
        self._rules = {}

    def write(self, topic, key, value, headers=()):
        return self._producer.send(topic, key=key, value=value, headers=list(headers)).get(timeout=WITHIN_S).offset

    def replace(self, tenant, resources, skills):
        records = {(RESOURCES, each.resource_id): resource_message(each) for each in resources}
        records |= {(SKILLS, each.skill_id): skill_message(each) for each in skills}
        return self._put(self._written, tenant, records)

    def replace_rules(self, tenant, rules):
        return self._put(self._rules, tenant, {(RULES, each.rule_id): rule_message(each) for each in rules})

    def _put(self, written, tenant, records):
        gone = written.get(tenant, {}).keys() - records.keys()
        written[tenant] = records
        offsets = {
            topic: self.write(topic, record_key(tenant, identifier), message.SerializeToString())
            for (topic, identifier), message in records.items()
        }
        return offsets | {
            topic: self.write(topic, record_key(tenant, identifier), None) for topic, identifier in sorted(gone)
        }

    def close(self):
        self._producer.close()


async def until(condition):
    async with asyncio.timeout(WITHIN_S):
        while not condition():  # noqa: ASYNC110 - the reader does not signal when a catalog is prepared.
            await asyncio.sleep(0.005)


def has_read(catalog, offsets):
    version = {
        RESOURCES: catalog.version.resources_offset,
        SKILLS: catalog.version.skills_offset,
        RULES: catalog.version.rules_offset,
    }
    return all(version[topic] > offset for topic, offset in offsets.items())


@asynccontextmanager
async def reading(connection):
    catalog = KafkaCatalog(connection)
    job = asyncio.create_task(catalog.run())
    try:
        async with asyncio.timeout(WITHIN_S):
            await catalog.wait_ready()
        yield catalog
    finally:
        job.cancel()
        with suppress(asyncio.CancelledError):
            await job


@pytest.fixture
def writer(kafka_broker):
    writer = Writer(kafka_broker)
    yield writer
    writer.close()


@pytest.fixture
async def catalog(kafka_broker):
    async with reading(kafka_broker) as catalog:
        yield catalog


@pytest.fixture
def replace(catalog, writer):
    async def put(tenant, resources, skills):
        offsets = await asyncio.to_thread(writer.replace, tenant, resources, skills)
        await until(lambda: has_read(catalog, offsets))

    return put


@pytest.fixture
def replace_rules(catalog, writer):
    async def put(tenant, rules):
        offsets = await asyncio.to_thread(writer.replace_rules, tenant, rules)
        await until(lambda: has_read(catalog, offsets))

    return put


class TestKafkaCatalog(CatalogReaderSuite):
    @pytest.fixture
    def catalog(self, catalog):
        return catalog

    @pytest.fixture
    def replace(self, replace):
        return replace

    @pytest.fixture
    def replace_rules(self, replace_rules):
        return replace_rules


async def test_existing_records_are_in_the_view_once_it_is_ready(kafka_broker, writer):
    offsets = await asyncio.to_thread(writer.replace, "early", [LESSON], [])
    async with reading(kafka_broker) as catalog:
        assert has_read(catalog, offsets)
        assert catalog.columns("early").resource_ids == ("lesson",)


async def test_json_is_read_and_unreadable_records_are_skipped(catalog, writer):
    as_json = json_format.MessageToJson(resource_message(LESSON)).encode()
    bad = [
        (b"mixed/empty", b""),
        (b"mixed/garbage", b"\xff\xff"),
        (b"mixed/other-id", resource_message(LESSON).SerializeToString()),
        (b"no-tenant", resource_message(LESSON).SerializeToString()),
    ]
    for key, value in bad:
        await asyncio.to_thread(writer.write, RESOURCES, key, value)
    content_type = [("content-type", JSON.encode())]
    offset = await asyncio.to_thread(writer.write, RESOURCES, b"mixed/lesson", as_json, content_type)
    await until(lambda: has_read(catalog, {RESOURCES: offset}))
    assert catalog.columns("mixed").resource_ids == ("lesson",)


async def test_empty_topics_are_ready_and_a_broker_that_goes_away_is_noticed(fresh_kafka_broker):
    async with reading(fresh_kafka_broker.connection) as catalog:
        assert (catalog.version.resources_offset, catalog.version.skills_offset) == (0, 0)
        await asyncio.to_thread(fresh_kafka_broker.stop)
        await until(lambda: not catalog.reachable)
        assert len(catalog.columns("anyone")) == 0
