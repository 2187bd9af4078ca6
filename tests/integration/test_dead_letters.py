"""Dead letters on a broker: each is listed once and replayed unchanged; and the commands about them."""

from __future__ import annotations

import asyncio
import uuid
from contextlib import aclosing

import orjson
import pytest
from typer.testing import CliRunner

from services.common.kafka.envelope import Position
from services.common.kafka.topics import TopicDeclaration, ensure_topics
from services.ingest.adapters.kafka.message_letters import KafkaMessageLetters
from services.ingest.application.ports import FieldReason
from services.ingest.application.take_message import Message
from services.recommender.adapters.kafka.dead_letters import KafkaDeadLetters, KafkaLetterFile
from services.recommender.application.ports.log import DeadLetter
from services.recommender.cli.dead_letters import app
from tests.learner_events import PARTITIONS, message, record


@pytest.fixture
def topics(kafka_broker):
    log, letters = (f"{name}-{uuid.uuid4().hex}" for name in ("log", "letters"))
    ensure_topics(kafka_broker, {name: TopicDeclaration(partitions=PARTITIONS) for name in (log, letters)})
    return log, letters


def letter(number: int, **changes: object) -> DeadLetter:
    made = record(message(number), **changes)
    return DeadLetter(made.right_partition, number, made.key, made.value, tuple(made.headers), "value", "it is broken")


async def test_a_letter_is_listed_once_and_replayed_unchanged(kafka_broker, topics):
    log, name = topics
    writer = KafkaDeadLetters(kafka_broker, origin=log, topic=name)
    file = KafkaLetterFile(kafka_broker, origin=log, topic=name)
    assert await file.letters() == []
    await writer.write([letter(1), letter(2), letter(1)])
    await writer.close()

    first, second = await file.letters()
    assert (first.letter, second.letter) == (letter(1), letter(2))

    position = await file.append_to_log(first.letter)
    await file.note_replayed(first.letter, position)
    assert position == Position(letter(1).partition, 0)
    assert [filed.replayed_to for filed in await file.letters()] == [position, None]
    (again,) = await KafkaLetterFile(kafka_broker, topic=log).letters()
    assert (again.letter.key, again.letter.value) == (letter(1).key, letter(1).value)
    assert again.letter.headers == (*letter(1).headers, ("cairn-replayed-from", b"%d/1" % letter(1).partition))


def test_the_commands_list_show_and_replay(fresh_kafka_broker, tmp_path):
    broker = fresh_kafka_broker.connection
    runner, environment = CliRunner(), {"CAIRN_KAFKA": broker.bootstrap_servers, "CAIRN_KAFKA_FETCH_WAIT_MS": "10"}

    def cairn(*words: str):
        return runner.invoke(app, [*words, "--env-file", str(tmp_path / "none")], env=environment)

    async def write() -> None:
        writer = KafkaDeadLetters(broker)
        await writer.write([letter(1), letter(2, value=b"\xff\x00[red]")])
        await writer.close()

    asyncio.run(write())
    partition = str(letter(1).partition)
    listed = orjson.loads(cairn("list", "--json").stdout)
    assert [(each["offset"], each["code"]) for each in listed] == [(1, "value"), (2, "value")]

    shown = cairn("show", partition, "2", "--value", str(tmp_path / "value"))
    assert "it is broken" in shown.stdout
    assert "ff 00 5b" in shown.stdout
    assert (tmp_path / "value").read_bytes() == b"\xff\x00[red]"
    assert cairn("show", partition, "9").exit_code == 2

    assert cairn("replay").exit_code == 2
    assert "can be applied" in cairn("replay", partition, "1", "--dry-run").stdout
    replayed = cairn("replay", "--code", "value")
    assert replayed.exit_code == 1
    assert f"partition {partition}, offset 1: replayed to" in replayed.stdout
    assert "offset 2: stays, value" in replayed.stdout
    assert [each["offset"] for each in orjson.loads(cairn("list", "--json").stdout)] == [2]
    assert len(orjson.loads(cairn("list", "--json", "--all").stdout)) == 2


def test_the_commands_show_the_letters_of_open_edx_whose_topics_have_the_same_places(kafka_broker, topics, tmp_path):
    _, name = topics
    environment = {"CAIRN_KAFKA": kafka_broker.bootstrap_servers, "CAIRN_KAFKA_FETCH_WAIT_MS": "10"}

    def cairn(*words: str):
        return CliRunner().invoke(app, [*words, "--topic", name, "--env-file", str(tmp_path / "none")], env=environment)

    async def write() -> None:
        async with aclosing(KafkaMessageLetters(kafka_broker, name)) as letters:
            for topic in ("analytics", "grades"):
                await letters.write(Message(topic, 0, 7, None, topic.encode()), FieldReason("ce_type", "is missing"))

    asyncio.run(write())
    listed = orjson.loads(cairn("list", "--json").stdout)
    assert [(each["topic"], each["offset"], each["reason"]) for each in listed] == [
        ("analytics", 7, "ce_type is missing"),
        ("grades", 7, "ce_type is missing"),
    ]
    ambiguous = cairn("show", "0", "7")
    assert ambiguous.exit_code == 2
    assert "--of: analytics, grades" in ambiguous.stderr
    assert cairn("show", "0", "7", "--of", "grades", "--value", str(tmp_path / "value")).exit_code == 0
    assert (tmp_path / "value").read_bytes() == b"grades"
