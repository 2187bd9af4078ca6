"""Keys that are not on their topic, on a real broker: erased with a proof, otherwise lost, and everybody says so."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from services.common.encryption.erasure_proofs import KafkaErasureProofs
from services.common.encryption.learner_keys import LearnerKeys
from services.common.encryption.values import ERASED, LOST, KeysMissingError
from services.common.kafka.compacted import TopicChangedError
from services.common.kafka.connection import IdentityProbe
from services.common.kafka.envelope import LogIdentity
from services.common.kafka.topics import TopicDeclaration, ensure_topics
from services.ingest.adapters.kafka.learner_keys import KafkaLearnerKeys
from services.ingest.application.ports import LogUnavailableError
from services.ingest.domain.kinds.erasure import Erasure
from services.recommender.adapters.kafka.event_rows import KafkaEventRows
from services.recommender.adapters.kafka.training_log import KafkaTrainingLog
from services.recommender.application.training.collect import collect
from tests.integration.test_ingest_encryption import TENANTS, Scene, tenant_keys
from tests.integration.test_ingest_kafka import records_of, until
from tests.suites.event_log import event, learner


@pytest.fixture
def scene(kafka_broker):
    return Scene(kafka_broker)


@pytest.fixture
async def reader(scene):
    """Reads an empty topic of keys, as after a loss or after compaction, and the log's erasures."""
    keys = reader_of(scene, empty_topic(scene))
    yield keys
    await keys.close()


def empty_topic(scene):
    name = f"test.learner-keys.{uuid.uuid4()}"
    ensure_topics(scene.connection, {name: TopicDeclaration(partitions=1)})
    return name


def reader_of(scene, keys_topic):
    return LearnerKeys(
        scene.connection, tenant_keys, KafkaErasureProofs(scene.connection, topic=scene.topic), topic=keys_topic
    )


def erasure(number, of):
    return replace(event(number, learner=of), body=Erasure())


async def in_order(scene, keys):
    """What decrypting gives, in the order of offsets; of one partition."""
    return [found for _, found in sorted((await scene.values(keys)).items())]


async def test_a_key_that_is_not_on_the_topic_is_lost_and_the_records_are_counted(scene, reader):
    async with scene.writer() as (log, _):
        await log.append([event(number, learner=learner(number % 5)) for number in range(50)])
    assert await in_order(scene, reader) == [LOST] * 50
    missing = reader.missing_keys().missing
    assert (missing.records, missing.tenant) == (50, "riverbend")


async def test_an_erasure_ahead_in_the_log_proves_that_a_key_was_destroyed(scene, reader):
    async with scene.writer() as (log, keys):
        await log.append([event(1), event(2)])
        await keys.destroy("riverbend", learner(0))
        await log.append([erasure(3, learner(0))])
    assert await in_order(scene, reader) == [ERASED, ERASED, "event-3"]


async def test_the_new_key_of_a_learner_who_came_back_is_lost_and_not_erased(scene, reader):
    async with scene.writer() as (log, keys):
        await log.append([event(1)])
        await keys.destroy("riverbend", learner(0))
        await log.append([erasure(2, learner(0))])
        await log.append([event(3)])
    assert await in_order(scene, reader) == [ERASED, "event-2", LOST]
    assert reader.missing_keys().missing.records == 1


async def test_an_erasure_behind_proves_a_copy_of_a_record_that_came_before_it(scene, reader):
    async with scene.writer() as (log, keys):
        await log.append([event(1)])
        (first,) = await records_of(scene.connection, scene.topic)
        await keys.destroy("riverbend", learner(0))
        await log.append([erasure(2, learner(0))])
    copy = replace(first, offset=first.offset + 2)
    await reader.load_keys([copy])
    assert reader.decrypt(copy.key, copy.value, copy.headers) is ERASED


async def test_a_key_that_arrives_late_is_found(scene, reader):
    """The topic that the reader follows lags behind the one that ingest writes."""
    async with scene.writer() as (log, _):
        await log.append([event(1)])
    assert await in_order(scene, reader) == [LOST]
    lagging = await records_of(scene.connection, scene.keys_topic, 1)
    for one in lagging:
        reader.keyring.apply(one.key, one.value)
    assert await in_order(scene, reader) == ["event-1"]


async def test_training_and_export_refuse_and_training_can_accept(scene, reader):
    async with scene.writer() as (log, _):
        await log.append([event(number) for number in range(7)])
    with pytest.raises(KeysMissingError, match="7 records of the log cannot be decrypted"):
        await collect(KafkaTrainingLog(scene.connection, reader, topic=scene.topic))
    accepting = KafkaTrainingLog(scene.connection, reader, topic=scene.topic, accept_lost_keys=True)
    window, _ = await collect(accepting)
    assert window.skipped == {"lost": 7}
    export = KafkaEventRows(scene.connection, reader, topic=scene.topic)
    await export.total()
    with pytest.raises(KeysMissingError, match="Restore"):
        async for _ in export.batches("riverbend"):
            pass


def ingest_keys(scene, keys_topic, **options):
    return KafkaLearnerKeys(
        scene.connection, TENANTS.get, lambda: datetime.now(UTC), topic=keys_topic, log_topic=scene.topic, **options
    )


async def test_ingest_does_not_start_on_a_topic_without_the_keys_of_the_last_records(scene):
    async with scene.writer() as (log, _):
        await log.append([event(1)])
    keys = ingest_keys(scene, empty_topic(scene))
    with pytest.raises(LogUnavailableError, match="not been read and checked"):
        await keys.keys_of([event(2)], [b"riverbend/A"])
    with pytest.raises(KeysMissingError, match="1 records"):
        await keys.run()
    assert not keys.ready


async def test_ingest_starts_without_the_keys_when_that_is_accepted(scene):
    async with scene.writer() as (log, _):
        await log.append([event(1)])
    keys = ingest_keys(scene, empty_topic(scene), accept_lost_keys=True)
    running = asyncio.create_task(keys.run())
    await until(lambda: keys.ready)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_ingest_starts_after_everybody_was_erased(scene):
    async with scene.writer() as (log, keys):
        await log.append([event(1)])
        await keys.destroy("riverbend", learner(0))
        await log.append([erasure(2, learner(0))])
    keys = ingest_keys(scene, empty_topic(scene))
    running = asyncio.create_task(keys.run())
    await until(lambda: keys.ready)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_ingest_acknowledges_nothing_and_ends_once_the_topic_of_keys_is_another_one(scene, monkeypatch):
    async with scene.writer() as (log, _):
        await log.append([event(1)])
        keys = log._keys
        other = LogIdentity(bytes(16), 1)

        async def recreated(_self):
            return other

        monkeypatch.setattr(IdentityProbe, "identity", recreated)
        await until(lambda: not keys.ready)
        with pytest.raises(LogUnavailableError, match="topic of learners' keys"):
            await log.append([event(2)])


async def test_ingest_acknowledges_nothing_while_it_cannot_be_found_out_whether_the_topic_is_the_same(
    scene, monkeypatch
):
    async with scene.writer() as (log, _):
        await log.append([event(1)])

        async def silent(_self):
            await asyncio.Event().wait()

        monkeypatch.setattr(IdentityProbe, "identity", silent)
        monkeypatch.setattr("services.ingest.adapters.kafka.learner_keys._TIMEOUT_S", 0.4)
        monkeypatch.setattr("services.ingest.adapters.kafka.learner_keys._CONFIRMED_WITHIN_S", 0.0)
        with pytest.raises(LogUnavailableError, match="does not answer"):
            await log.append([event(2)])


async def test_a_reader_reads_a_recreated_topic_from_its_beginning(scene, reader, monkeypatch):
    async with scene.writer() as (log, _):
        await log.append([event(1)])
    follower = reader_of(scene, scene.keys_topic)
    follower._identity_check_s = 0.01
    before = await follower.look()
    assert before.learners == 1
    keyring, identity, asked = follower.keyring, IdentityProbe.identity, []

    async def once_another(self):
        asked.append(1)
        return LogIdentity(bytes(16), 1) if len(asked) == 1 else await identity(self)

    monkeypatch.setattr(IdentityProbe, "identity", once_another)
    await until(follower._following.done)
    assert isinstance(follower._following.exception(), TopicChangedError)
    assert await follower.look() == before
    assert follower.keyring is not keyring
    await follower.close()
