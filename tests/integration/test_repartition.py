"""`cairn topics repartition`: every record comes to its learner's partition, and a replay gives the same learners."""

from __future__ import annotations

import asyncio
from collections import defaultdict

import aiokafka
import pytest
from kafka.admin import KafkaAdminClient, NewTopic
from typer.testing import CliRunner

from services.cli.topics import app
from services.common.kafka import repartition as module
from services.common.kafka.connection import log_identity, read_span, topic_span
from services.common.kafka.envelope import LEARNER_EVENTS
from services.common.kafka.partitioner import partition_of
from services.common.kafka.repartition import RepartitionError, copy_of, repartition
from services.common.kafka.topic_admin import delete_topic
from tests.learner_events import message, record

BEFORE, AFTER = 4, 8
LEARNERS = 12


@pytest.fixture
def connection(fresh_kafka_broker):
    """A broker whose log has eight partitions."""
    connection = fresh_kafka_broker.connection
    asyncio.run(delete_topic(connection, LEARNER_EVENTS))
    admin = KafkaAdminClient(bootstrap_servers=connection.bootstrap_servers)
    admin.create_topics([NewTopic(LEARNER_EVENTS, AFTER, 1)])
    admin.close()
    return connection


async def write(connection, numbers, partitions, topic=LEARNER_EVENTS):
    """Records as ingest wrote them while the log had this number of partitions; the time is the number."""
    producer = aiokafka.AIOKafkaProducer(bootstrap_servers=connection.bootstrap_servers)
    await producer.start()
    try:
        for number in numbers:
            one = record(message(number, f"learner-{number % LEARNERS}"))
            await producer.send_and_wait(
                topic,
                one.value,
                one.key,
                partition=partition_of(one.key, partitions),
                timestamp_ms=1_700_000_000_000 + number,
                headers=one.headers,
            )
    finally:
        await producer.stop()


async def read(connection, topic=LEARNER_EVENTS):
    found = []
    async for part in read_span(connection, topic, await topic_span(connection, topic)):
        found += part.records
    return found


def by_learner(records):
    """Each learner's records in order, whole; a learner's records must be on one partition."""
    found, places = defaultdict(list), defaultdict(set)
    for one in sorted(records, key=lambda one: (one.partition, one.offset)):
        found[one.key].append((one.value, one.timestamp, tuple(one.headers)))
        places[one.key].add(one.partition)
    assert all(len(some) == 1 for some in places.values())
    return dict(found)


def quietly(*_):
    """No progress is shown."""


async def test_records_from_before_an_increase_come_before_those_after_it_whole_and_on_the_right_partition(connection):
    await write(connection, range(120), BEFORE)
    await write(connection, range(120, 200), AFTER)
    expected = defaultdict(list)
    for one in sorted(await read(connection), key=lambda one: one.timestamp):
        expected[one.key].append((one.value, one.timestamp, tuple(one.headers)))

    result = await repartition(connection, LEARNER_EVENTS, None, quietly, still_s=0)

    after = await read(connection)
    assert by_learner(after) == dict(expected)
    assert all(one.partition == partition_of(one.key, AFTER) for one in after)
    assert sum(result.records) == len(after) == 200
    assert result.moved > 0
    assert (await log_identity(connection, LEARNER_EVENTS)).partitions == AFTER
    assert len(await read(connection, copy_of(LEARNER_EVENTS))) == 202, "the copy stays, with its journal"


async def test_the_number_of_partitions_can_be_changed_in_both_directions(connection):
    await write(connection, range(60), AFTER)
    before = by_learner(await read(connection))
    await repartition(connection, LEARNER_EVENTS, 3, quietly, still_s=0)
    after = await read(connection)
    assert by_learner(after) == before
    assert {one.partition for one in after} <= {0, 1, 2}


@pytest.mark.parametrize("partitions", [None, AFTER])
async def test_a_log_whose_records_are_all_on_their_partitions_is_left_alone(connection, partitions):
    await write(connection, range(40), AFTER)
    before = await log_identity(connection, LEARNER_EVENTS)
    result = await repartition(connection, LEARNER_EVENTS, partitions, quietly, still_s=0)
    assert (sum(result.records), result.moved, result.replaced) == (40, 0, False)
    assert await log_identity(connection, LEARNER_EVENTS) == before
    # The copy is gone, so the command is not refused when it is needed.
    assert (await repartition(connection, LEARNER_EVENTS, 2, quietly, still_s=0)).replaced


async def test_a_finished_copy_is_in_the_way_until_it_is_deleted(connection):
    await write(connection, range(20), AFTER)
    await repartition(connection, LEARNER_EVENTS, 2, quietly, still_s=0)
    with pytest.raises(RepartitionError, match="is the copy that was kept"):
        await repartition(connection, LEARNER_EVENTS, 4, quietly, still_s=0)
    await delete_topic(connection, copy_of(LEARNER_EVENTS))
    await repartition(connection, LEARNER_EVENTS, 4, quietly, still_s=0)
    assert len(await read(connection)) == 20


class CtrlCError(Exception):
    """Stands for Ctrl-C."""


@pytest.mark.parametrize("step", ["copy", "verify", "copy back"])
async def test_it_continues_after_an_interruption_in_any_step(connection, step):
    await write(connection, range(100), BEFORE)
    await write(connection, range(100, 150), AFTER)
    expected = defaultdict(list)
    for one in sorted(await read(connection), key=lambda one: one.timestamp):
        expected[one.key].append((one.value, one.timestamp, tuple(one.headers)))

    def interrupt(at, *_):
        if at == step:
            raise CtrlCError

    with pytest.raises(CtrlCError):
        await repartition(connection, LEARNER_EVENTS, None, interrupt, still_s=0)
    await repartition(connection, LEARNER_EVENTS, None, quietly, still_s=0)
    assert by_learner(await read(connection)) == dict(expected)


async def test_it_continues_when_it_died_between_deleting_the_topic_and_creating_it(connection, monkeypatch):
    await write(connection, range(50), BEFORE)

    async def dies(*_):
        raise CtrlCError

    create = module.create_topic
    calls = []

    async def dies_the_second_time(*arguments):
        calls.append(arguments)
        await (dies() if len(calls) == 2 else create(*arguments))

    monkeypatch.setattr(module, "create_topic", dies_the_second_time)
    with pytest.raises(CtrlCError):
        await repartition(connection, LEARNER_EVENTS, None, quietly, still_s=0)
    await repartition(connection, LEARNER_EVENTS, None, quietly, still_s=0)
    assert len(await read(connection)) == 50


async def test_a_log_that_somebody_writes_to_is_left_alone(connection):
    await write(connection, range(50), BEFORE)
    before = await log_identity(connection, LEARNER_EVENTS)

    def write_once(step, done, total):
        if step == "verify" and done == total:
            written.append(asyncio.ensure_future(write(connection, [900], AFTER)))

    written = []
    replace = module._replace

    async def after_the_write(*arguments):
        await asyncio.gather(*written)
        await replace(*arguments)

    module._replace = after_the_write
    try:
        with pytest.raises(RepartitionError, match=r"somebody wrote to cairn\.learner-events after it was copied"):
            await repartition(connection, LEARNER_EVENTS, None, write_once, still_s=0)
    finally:
        module._replace = replace
    assert await log_identity(connection, LEARNER_EVENTS) == before
    assert len(await read(connection)) == 51


def test_the_command_shows_progress_and_what_to_do_next(connection):
    asyncio.run(write(connection, range(30), BEFORE))
    result = CliRunner().invoke(app, ["repartition", "--kafka", connection.bootstrap_servers, "--partitions", "2"])
    assert result.exit_code == 0, result.stderr
    assert "copy back: 30 of 30 records" in result.stderr
    assert "30 records are on the partitions of their learners" in result.stdout
    assert "cairn replay" in result.stdout


def test_the_command_says_when_there_is_nothing_to_move(connection):
    asyncio.run(write(connection, range(10), AFTER))
    result = CliRunner().invoke(app, ["repartition", "--kafka", connection.bootstrap_servers])
    assert result.exit_code == 0, result.stderr
    assert result.stdout.strip().endswith("already. Nothing was changed")
