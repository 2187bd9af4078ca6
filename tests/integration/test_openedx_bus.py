"""Open edX's event bus on a broker: its answers reach ingest, nothing is skipped, and what is no message is kept."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import uuid

import aiokafka
import pytest

from deploy.processes import LOOPBACK, Child, Command, free_port
from services.common.kafka.connection import aiokafka_options
from services.common.kafka.envelope import LEARNER_EVENTS
from services.common.kafka.faust_app import run_app
from services.common.kafka.topics import TopicDeclaration, ensure_topics
from services.ingest.adapters.kafka.message_letters import KafkaMessageLetters
from services.ingest.application.ports import PublisherUnavailableError
from services.ingest.application.take_message import TakeMessage
from services.ingest.entrypoints.message_agent import MessageApp
from services.ingest.formats.openedx.bus import rows_of_message
from services.recommender.adapters.kafka.dead_letters import KafkaLetterFile
from tests.adapters.memory_publisher import MemoryPublisher
from tests.integration.test_ingest_kafka import records_of
from tests.integration.test_ingest_process import SERVING, Ingest
from tests.openedx_messages import HEADERS, answer


@pytest.fixture
def topics(kafka_broker):
    bus, letters = (f"{name}-{uuid.uuid4().hex}" for name in ("bus", "letters"))
    ensure_topics(kafka_broker, {bus: TopicDeclaration(partitions=2), letters: TopicDeclaration(partitions=1)})
    return bus, letters


async def send(connection, topic, values, headers=HEADERS):
    async with aiokafka.AIOKafkaProducer(**aiokafka_options(connection)) as producer:
        for value in values:
            await producer.send_and_wait(topic, value, partition=0, headers=headers)


async def run_until(connection, topics, publisher, count):
    """Run an app until the publisher has this many events, or it fails."""
    bus, name = topics
    letters = KafkaMessageLetters(connection, name)
    take = TakeMessage(
        lambda message: rows_of_message(dict(message.headers), message.value, "openedx", message.offset),
        publisher,
        letters,
    )
    app = MessageApp(
        connection, take, topics=[bus], group=f"group-{bus}", assigned=lambda: None, session_timeout_ms=6_000
    )
    running = asyncio.create_task(run_app(app))
    try:
        async with asyncio.timeout(40):
            while len(publisher.came) < count and not running.done():  # noqa: ASYNC110 - another library runs it.
                await asyncio.sleep(0.02)
    finally:
        if running.done():
            await asyncio.gather(letters.aclose(), running)
        running.cancel()
        await asyncio.gather(running, letters.aclose(), return_exceptions=True)


# The group waits for the session of a member that failed.
@pytest.mark.slow
async def test_a_message_that_ingest_did_not_take_is_taken_by_the_next_start(kafka_broker, topics):
    await send(kafka_broker, topics[0], [answer(number) for number in range(5)])
    publisher = MemoryPublisher()
    publisher.requests_left = 2
    with pytest.raises(PublisherUnavailableError):
        await run_until(kafka_broker, topics, publisher, 5)
    assert publisher.learners == ["0", "1"]
    publisher.requests_left = 100
    await run_until(kafka_broker, topics, publisher, 5)
    # At least once: what was taken before the failure may come again, and its order stays.
    assert publisher.learners[-3:] == ["2", "3", "4"]


async def test_what_is_not_taken_is_kept_unchanged_with_the_reason(kafka_broker, topics):
    await send(kafka_broker, topics[0], [b"\xff\xff", answer(1, name="play_video"), answer(2, item="bad")])
    await send(kafka_broker, topics[0], [b"{}"], headers=[])
    await send(kafka_broker, topics[0], [answer(3, registry=True)])
    publisher = MemoryPublisher()
    await run_until(kafka_broker, topics, publisher, 2)
    letters = [filed.letter for filed in await KafkaLetterFile(kafka_broker, topic=topics[1]).letters()]
    assert [(letter.offset, letter.value, letter.code) for letter in letters] == [
        (0, b"\xff\xff", "value"),
        (2, answer(2, item="bad"), "assessment.item"),
        (3, b"{}", "ce_type"),
    ]
    assert letters[0].headers == tuple(HEADERS)
    assert publisher.learners == ["2", "3"]


@pytest.mark.slow
async def test_an_answer_in_open_edx_is_in_the_log_of_learner_events(fresh_kafka_broker, tmp_path):
    kafka = fresh_kafka_broker.connection
    names = {"bus": TopicDeclaration(partitions=1), "cairn.openedx.dlt": TopicDeclaration(partitions=1)}
    ensure_topics(kafka, names)
    ingest = Ingest(tmp_path, kafka.bootstrap_servers)
    ingest.start()
    child = None
    try:
        ingest.wait_health(SERVING)
        key = tmp_path / "key"
        key.write_text(ingest.api_keys["riverbend"])
        environment = {
            "CAIRN_KAFKA": kafka.bootstrap_servers,
            "CAIRN_OPENEDX_TOPICS": "bus",
            "CAIRN_OPENEDX_API_KEY_FILE": str(key),
            "CAIRN_TARGET_INGEST": ingest.wait_address(),
            "CAIRN_METRICS_HOST": LOOPBACK,
            "CAIRN_METRICS_PORT": str(free_port()),
        }
        command = [sys.executable, "-m", "services.ingest.openedx"]
        child = Child(Command("openedx", command, tmp_path / "openedx.log", environment))
        await send(kafka, "bus", [answer(7), b"\xff"])
        async with asyncio.timeout(60):
            while not (records := await records_of(kafka, LEARNER_EVENTS)):
                child.check_running()
                await asyncio.sleep(0.1)
        assert b"name7" not in records[0].value
        while not await KafkaLetterFile(kafka, topic="cairn.openedx.dlt").letters():
            child.check_running()
        child.signal_stop()
    finally:
        if child is not None:
            child.stop()
        ingest.process.terminate()
        ingest.process.wait(20)


def test_wrong_settings_are_named(tmp_path):
    command = [sys.executable, "-m", "services.ingest.openedx"]
    environment = os.environ | {"CAIRN_OPENEDX_API_KEY_FILE": str(tmp_path / "none")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "CAIRN_OPENEDX_API_KEY_FILE" in done.stderr
