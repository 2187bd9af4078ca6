"""Learners' values in the log, encrypted on a real broker: two writers racing, an erasure, readers that lag behind."""

from __future__ import annotations

import asyncio
import uuid
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import duckdb
import pytest
from typer.testing import CliRunner

from cairn.v1 import events_pb2
from services.cli.keys import app as keys_commands
from services.common.auth.api_keys import create_api_key
from services.common.auth.tenant import ALL_SCOPES, Tenant
from services.common.auth.tenants_file import load_tenants
from services.common.encryption.data_keys import new_data_key
from services.common.encryption.headers import key_id_of
from services.common.encryption.key_rotation import rewrap_learner_keys
from services.common.encryption.learner_key_log import LearnerKeyLog
from services.common.encryption.learner_keys import LearnerKeys
from services.common.encryption.tenant_keys import tenant_keys_in
from services.common.encryption.values import ERASED, LOST, TenantKeyMissingError
from services.common.kafka.envelope import record_key
from services.common.kafka.topics import TopicDeclaration, ensure_topics
from services.ingest.adapters.kafka.learner_keys import KafkaLearnerKeys
from services.ingest.adapters.kafka.log import KafkaEventLog, KafkaLogOptions
from services.ingest.application.ports import LogUnavailableError
from services.ingest.wire.records import learner_event_value
from services.recommender.adapters.files.parquet_tables import ParquetTable
from services.recommender.adapters.kafka.event_rows import KafkaEventRows
from services.recommender.wire.event_kinds import EVENT_COLUMNS
from tests.integration.test_ingest_kafka import new_topic, records_of, until
from tests.suites.event_log import event, learner

TENANTS = {
    "riverbend": Tenant("riverbend", b"s" * 16, b"e" * 32),
    "plain": Tenant("plain", b"s" * 16),
    "off": Tenant("off", b"s" * 16, b"e" * 32, encrypt=False),
}


def tenant_keys(name):
    return TENANTS[name].encryption_keys


class Scene:
    def __init__(self, connection):
        self.connection = connection
        self.topic = new_topic(connection)
        self.keys_topic = f"test.learner-keys.{uuid.uuid4()}"
        ensure_topics(connection, {self.keys_topic: TopicDeclaration(partitions=1)})

    @asynccontextmanager
    async def writer(self):
        keys = KafkaLearnerKeys(
            self.connection,
            TENANTS.get,
            lambda: datetime.now(UTC),
            topic=self.keys_topic,
            log_topic=self.topic,
            others_follow_s=0.05,
        )
        log = KafkaEventLog(
            self.connection, KafkaLogOptions(topic=self.topic, events_in_flight_max=5_000, reconnect_s=0.05), keys=keys
        )
        running = [asyncio.ensure_future(keys.run()), asyncio.ensure_future(log.run())]
        try:
            await keys.wait_ready()
            await until(lambda: log.connected)
            yield log, keys
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    @asynccontextmanager
    async def reader(self):
        keys = LearnerKeys(self.connection, tenant_keys, topic=self.keys_topic)
        try:
            yield keys
        finally:
            await keys.close()

    async def values(self, keys):
        records = await records_of(self.connection, self.topic)
        await keys.load_keys(records)
        opened = [(record, keys.decrypt(record.key, record.value, record.headers)) for record in records]
        return {
            (record.partition, record.offset): value
            if value in {ERASED, LOST}
            else events_pb2.LearnerEvent.FromString(value).event_id
            for record, value in opened
        }


@pytest.fixture
def scene(kafka_broker):
    return Scene(kafka_broker)


async def test_values_are_encrypted_and_every_reader_with_the_keys_can_read_them(scene):
    async with scene.writer() as (log, _), scene.reader() as reader:
        events = [event(number, learner=learner(number % 5)) for number in range(50)]
        positions = await log.append(events)
        records = await records_of(scene.connection, scene.topic)
        assert all(b"item-" not in record.value and b"gradebook" not in record.value for record in records)
        assert len({key_id_of(record.headers) for record in records}) == 5
        found = await scene.values(reader)
        assert [found[position.partition, position.offset] for position in positions] == [
            event.event_id for event in events
        ]


@pytest.mark.parametrize("tenant", ["plain", "off"])
async def test_a_tenant_without_encryption_has_plain_values(scene, tenant):
    async with scene.writer() as (log, keys):
        await log.append([event(1, tenant=tenant)])
        (record,) = await records_of(scene.connection, scene.topic)
        assert record.value == learner_event_value(event(1, tenant=tenant))
        assert key_id_of(record.headers) is None
        assert await keys.destroy(tenant, "A" * 26) == (tenant == "off")


async def test_concurrent_writers_for_a_learner_agree_on_the_first_key(scene):
    async with scene.writer() as (one, first), scene.writer() as (other, second), scene.reader() as reader:
        batches = [[event(100 * n + m, learner=learner(m)) for m in range(26)] for n in range(6)]
        await asyncio.gather(*((one if n % 2 else other).append(batch) for n, batch in enumerate(batches)))
        records = await records_of(scene.connection, scene.topic)
        used = {(record.key, key_id_of(record.headers)) for record in records}
        assert len(used) == 26
        assert ERASED not in (await scene.values(reader)).values()
        for keys in (first, second):
            assert {(key, keys._keys.keyring.key_id(key)) for key, _ in used} == used


async def test_the_active_key_is_written_again_after_a_later_one_on_the_topic(scene):
    key = record_key("riverbend", "A" * 26)
    async with scene.writer() as (log, keys):
        await log.append([event(1)])
        active = keys._keys.keyring.key_id(key)
        # What a writer appends if it did not see the first key in time.
        async with keys._appending:
            await keys._append({key: new_data_key(b"e" * 32, key)})
        await until(lambda: not keys._keys.keyring.overwritten)
        assert keys._keys.keyring.key_id(key) == active
    async with scene.reader() as reader:
        assert list((await scene.values(reader)).values()) == ["event-1"]
        assert reader.keyring.key_id(key) == active
        assert not reader.keyring.overwritten


async def test_a_key_that_is_destroyed_before_it_is_rewritten_is_not_written_again(scene):
    key = record_key("riverbend", "A" * 26)
    async with scene.writer() as (log, keys):
        await log.append([event(1)])
        async with keys._appending:
            await keys._append({key: new_data_key(b"e" * 32, key)})
            await until(lambda: bool(keys._appending._waiters))
            await keys._append({key: None})
        await until(lambda: not keys._appending.locked())
        assert await keys.destroy("riverbend", "B" * 26)
        records = await records_of(scene.connection, scene.keys_topic, 1)
        assert [record.key for record in records if record.value is None] == [key, record_key("riverbend", "B" * 26)]
        assert len(records) == 4


async def test_a_destroyed_key_that_another_process_writes_again_is_destroyed_again(scene):
    key = record_key("riverbend", "A" * 26)
    async with scene.writer() as (log, keys):
        await log.append([event(1)])
        (made,) = await records_of(scene.connection, scene.keys_topic, 1)
        assert await keys.destroy("riverbend", "A" * 26)
        async with keys._appending:
            await keys._append({key: made.value})
        await until(lambda: not keys._keys.keyring.overwritten)
        records = await records_of(scene.connection, scene.keys_topic, 1)
        assert [record.value for record in records] == [made.value, None, made.value, None]
        async with scene.reader() as reader:
            assert list((await scene.values(reader)).values()) == [ERASED]


async def test_after_an_erasure_old_values_are_gone_for_every_reader_and_new_ones_are_read(scene):
    async with scene.writer() as (log, keys), scene.reader() as reader:
        (old, kept) = await log.append([event(1), event(2, learner="B" * 26)])
        assert await keys.destroy("riverbend", "A" * 26)
        (new,) = await log.append([event(3)])
        expected = {
            (old.partition, old.offset): ERASED,
            (kept.partition, kept.offset): "event-2",
            (new.partition, new.offset): "event-3",
        }
        assert await scene.values(reader) == expected
    # Like a replay, this reader knows only that the first key is missing.
    async with scene.reader() as late:
        assert await scene.values(late) == expected


async def test_a_reader_that_has_not_seen_a_new_key_waits_for_it_rather_than_take_the_value_for_erased(scene):
    async with scene.reader() as reader, scene.writer() as (log, _):
        for number in range(10):
            await log.append([event(number, learner=learner(number))])
            assert ERASED not in (await scene.values(reader)).values()


async def test_events_are_refused_if_the_tenants_key_does_not_unwrap_the_data_key(scene, monkeypatch):
    async with scene.writer() as (log, _):
        await log.append([event(1)])
    monkeypatch.setitem(TENANTS, "riverbend", Tenant("riverbend", b"s" * 16, b"x" * 32))
    async with scene.writer() as (log, _):
        with pytest.raises(LogUnavailableError, match="cannot be unwrapped"):
            await log.append([event(2)])
    async with scene.reader() as reader:
        with pytest.raises(TenantKeyMissingError, match="does not unwrap a data key"):
            await scene.values(reader)


async def test_a_tenants_key_is_replaced_under_running_writers_and_readers(scene, monkeypatch):
    def have(*keys):
        monkeypatch.setitem(
            TENANTS, "riverbend", Tenant("riverbend", b"s" * 16, keys[0], other_encryption_keys=keys[1:])
        )

    async def rewrap():
        return await rewrap_learner_keys(
            scene.connection, "riverbend", tenant_keys, lambda: datetime.now(UTC), topic=scene.keys_topic
        )

    old, new = b"e" * 32, b"n" * 32
    async with scene.writer() as (log, keys), scene.reader() as reader:
        await log.append([event(number, learner=learner(number)) for number in range(5)])
        have(old, new)
        assert await rewrap() == 0
        have(new, old)
        await log.append([event(5, learner=learner(5))])
        assert await rewrap() == 5
        assert await rewrap() == 0
        have(new)
        await log.append([event(number, learner=learner(number)) for number in range(6, 9)])
        await log.append([event(9, learner=learner(0))])
        expected = [f"event-{number}" for number in range(10)]
        assert sorted((await scene.values(reader)).values()) == expected
        # A reader that starts now has only the new key.
        async with scene.reader() as late:
            assert sorted((await scene.values(late)).values()) == expected
        assert await keys.destroy("riverbend", learner(0))
        assert list((await scene.values(reader)).values()).count(ERASED) == 2


def test_the_command_replaces_a_tenants_key_on_the_topic(kafka_broker, tmp_path):
    tenants, name = tmp_path / "tenants.yaml", f"t-{uuid.uuid4().hex[:8]}"
    create_api_key(tenants, name, "test", ALL_SCOPES, encryption=True)
    learners = [record_key(name, learner(number)) for number in range(3)]
    wraps = load_tenants(tenants).get(name).encryption_key

    async def make_keys():
        log = LearnerKeyLog(kafka_broker, lambda: datetime.now(UTC), source="/test")
        await log.append({one: new_data_key(wraps, one) for one in learners})
        await log.close()

    asyncio.run(make_keys())
    output = []
    for step in ("prepare", "switch", "finish"):
        options = ["--tenant", name, "--tenants", str(tenants), "--kafka", kafka_broker.bootstrap_servers]
        result = CliRunner().invoke(keys_commands, ["rotate-encryption", step, *options])
        assert result.exit_code == 0, result.output
        output.append(result.stderr)
    assert "The keys of 3 learner(s) are wrapped" in output[1]
    assert "The keys of 0 more learner(s) were wrapped" in output[2]
    (replaced,) = load_tenants(tenants).get(name).encryption_keys
    assert replaced != wraps

    async def opened():
        keys = LearnerKeys(kafka_broker, tenant_keys_in(tenants))
        following = asyncio.ensure_future(keys.run())
        await keys.wait_ready()
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        return [keys.keyring.data_key(one) for one in learners]

    assert None not in asyncio.run(opened())


async def test_a_learner_erased_while_their_key_is_rewrapped_stays_erased(scene, monkeypatch):
    key = record_key("riverbend", "A" * 26)
    async with scene.writer() as (log, keys):
        await log.append([event(1)])
        replaced = Tenant("riverbend", b"s" * 16, b"n" * 32, other_encryption_keys=(b"e" * 32,))
        monkeypatch.setitem(TENANTS, "riverbend", replaced)

        class AfterAnErasure(LearnerKeyLog):
            async def append(self, records):
                if b"A" * 26 in next(iter(records)) and None not in records.values():
                    assert await keys.destroy("riverbend", "A" * 26)
                return await super().append(records)

        with monkeypatch.context() as patched:
            patched.setattr("services.common.encryption.key_rotation.LearnerKeyLog", AfterAnErasure)
            await rewrap_learner_keys(
                scene.connection, "riverbend", tenant_keys, lambda: datetime.now(UTC), topic=scene.keys_topic
            )
        records = await records_of(scene.connection, scene.keys_topic, 1)
        assert [record.value is None for record in records][:3] == [False, True, False]
        async with scene.reader() as reader:
            assert list((await scene.values(reader)).values()) == [ERASED]
            assert reader.keyring.key_id(key) is None
            assert records[-1].value is None


async def test_a_reader_of_plain_values_needs_neither_the_keys_nor_a_tenants_file(scene, tmp_path):
    async with scene.writer() as (log, _):
        await log.append([event(1, tenant="plain")])
    reader = LearnerKeys(scene.connection, tenant_keys_in(tmp_path / "none.yaml"), topic="test.none")
    assert list((await scene.values(reader)).values()) == ["event-1"]
    await reader.close()


async def test_without_the_topic_of_keys_a_value_is_lost_and_not_erased(scene):
    async with scene.writer() as (log, _):
        await log.append([event(1)])
    reader = LearnerKeys(scene.connection, tenant_keys, topic="test.none")
    assert list((await scene.values(reader)).values()) == [LOST]
    await reader.close()


async def test_the_log_is_exported_decrypted_without_those_who_were_forgotten(scene, tmp_path):
    async with scene.writer() as (log, keys):
        await log.append([event(number, learner=learner(number % 3)) for number in range(30)])
        await log.append([event(99, tenant="plain")])
        assert await keys.destroy("riverbend", learner(1))
    export = KafkaEventRows(
        scene.connection, LearnerKeys(scene.connection, tenant_keys, topic=scene.keys_topic), topic=scene.topic
    )
    assert await export.total() == 31
    with ParquetTable(tmp_path, "events", "riverbend", EVENT_COLUMNS) as table:
        async for batch in export.batches("riverbend"):
            table.add(batch.rows)
    assert (batch.offsets, batch.erased, batch.unreadable) == (31, 10, 0)
    with duckdb.connect() as database:
        rows = database.execute(
            f"SELECT event_id, learner, item, skills FROM read_parquet('{tmp_path}/events/**/*.parquet')"
        ).fetchall()
    assert {row[0] for row in rows} == {f"event-{number}" for number in range(30) if number % 3 != 1}
    assert ("event-3", learner(0), "item-3", ["fractions"]) in rows


async def test_an_event_written_while_its_learner_is_erased_is_not_acknowledged(scene):
    async with scene.writer() as (log, keys):
        await log.append([event(1)])
        confirmation = await log.submit([event(2)])
        await keys.destroy("riverbend", "A" * 26)
        with pytest.raises(LogUnavailableError, match="was erased while they were written"):
            await confirmation
        assert await log.append([event(2)])
