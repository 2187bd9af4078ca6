"""Every kind of event on a real broker and a real Redis: corrections in time and too late, and a replay."""

from __future__ import annotations

import asyncio
import random

import orjson
import pytest
import redis.asyncio
from typer.testing import CliRunner

from cairn.v1 import events_pb2
from services.common.encryption.learner_keys import LearnerKeys
from services.common.encryption.tenant_keys import tenant_keys_in
from services.common.kafka.connection import KafkaConnection
from services.common.kafka.envelope import LEARNER_EVENTS, LEARNER_EVENTS_DLT, cloud_event_headers, record_key
from services.common.kafka.topics import TopicDeclaration, ensure_topics
from services.recommender.adapters.kafka.dead_letters import KafkaLetterFile
from services.recommender.adapters.kafka.learner_records import KafkaLearnerRecords
from services.recommender.adapters.kafka.log import KafkaLog
from services.recommender.adapters.redis.epochs import RedisEpochs
from services.recommender.adapters.redis.stored_values import unseal
from services.recommender.application.ports.epochs import EpochMeta, EpochStatus
from services.recommender.application.state.epochs import EpochDigest, digest_epoch
from services.recommender.bootstrap.worker import FoldWiring
from services.recommender.cli.corrections import app
from services.recommender.domain.learner.parameters import PRIOR_PARAMETERS_ID, TracingParameters
from services.recommender.domain.learner.state import LearnerState, decode_state
from services.recommender.entrypoints.event_service_options import EventServiceOptions
from tests.integration.test_erasure_everywhere import everything_in
from tests.learner_events import PARTITIONS, TENANT, WHEN, Record, message, pseudonym, publish


@pytest.fixture
def broker(fresh_kafka_broker) -> KafkaConnection:
    topics = (LEARNER_EVENTS, LEARNER_EVENTS_DLT)
    connection = fresh_kafka_broker.connection
    ensure_topics(connection, {name: TopicDeclaration(partitions=PARTITIONS) for name in topics})
    return connection


def of_kind(number: int, learner: object, **body: object) -> Record:
    event = message(number, learner)
    event.ClearField("assessment")
    event.MergeFrom(events_pb2.LearnerEvent(**body))
    return sent(event)


def answer(number: int, learner: object = "ada", **assessment: object) -> Record:
    return sent(message(number, learner, **assessment))


def void(number: int, target: int, learner: object = "ada") -> Record:
    correction = events_pb2.CorrectionEvent(
        target_source="tests", target_event_id=f"event-{target}", voided=events_pb2.Void()
    )
    return of_kind(number, learner, correction=correction)


def sent(event: events_pb2.LearnerEvent) -> Record:
    names = {"assessment": "Assessment", "interaction": "Interaction", "preference": "Preference"}
    names |= {"correction": "Correction", "erasure": "Erasure"}
    headers = cloud_event_headers(
        event_id=event.event_id,
        source=event.source,
        event_type=f"cairn.v1.{names[event.WhichOneof('body')]}Event",
        time=WHEN,
    )
    return Record(record_key(event.tenant, event.learner), event.SerializeToString(), headers)


def of_all_kinds(seed: int, count: int) -> list[Record]:
    draw = random.Random(seed)
    records: list[Record] = []
    answered: dict[str, list[int]] = {}
    for number in range(count):
        learner = f"learner-{draw.randrange(8)}"
        match draw.choices(["answer", "did", "wants", "void", "erase"], [70, 10, 5, 14, 1])[0]:
            case "answer":
                records.append(answer(number, learner))
                answered.setdefault(learner, []).append(number)
            case "did":
                kind = draw.choice([events_pb2.INTERACTION_KIND_OPENED, events_pb2.INTERACTION_KIND_DISMISSED])
                body = events_pb2.InteractionEvent(resource=f"r{draw.randrange(9)}", kind=kind)
                records.append(of_kind(number, learner, interaction=body))
            case "wants":
                body = events_pb2.PreferenceEvent(goals=events_pb2.GoalSkills(skills=[f"s{number}"]))
                records.append(of_kind(number, learner, preference=body))
            case "void":
                # One in three waits for its target, which may never come.
                recent = answered.get(learner, [])[-20:]
                ahead = not recent or draw.random() < 1 / 3
                records.append(void(number, number + draw.randrange(40) if ahead else draw.choice(recent), learner))
            case _:
                records.append(of_kind(number, learner, erasure=events_pb2.ErasureEvent()))
                answered.pop(learner, None)
    return records


async def folded(
    broker: KafkaConnection, redis_url: str, epoch: int, *, known: bool, batch_records: int = 10_000
) -> EpochDigest:
    """Fold the whole log into an epoch, its corrections known beforehand or not."""
    log = KafkaLog(broker)
    ends = await log.end_offsets()
    known_to = ends if known else dict.fromkeys(ends, 0)
    meta = EpochMeta(epoch, EpochStatus.BUILDING, PRIOR_PARAMETERS_ID, "", await log.identity(), known_to)
    async with redis.asyncio.Redis.from_url(redis_url) as client:
        epochs = RedisEpochs(client)
        await epochs.create(meta)
        wiring = FoldWiring(broker, redis_url, options=EventServiceOptions(batch_records=batch_records))
        service = wiring.event_service(meta, TracingParameters(), group=None, goal=ends)
        await service.start()
        await service.wait_finished()
        await service.stop()
        await epochs.make_current(epoch)
        return await digest_epoch(epochs, epoch)


async def state(redis_url: str, epoch: int, learner: str = "ada") -> LearnerState:
    async with redis.asyncio.Redis.from_url(redis_url) as client:
        key = f"cairn:{epoch}:{{{TENANT}/{pseudonym(learner)}}}:state"
        blob, offset = await client.hmget(key, "blob", "off")
    return decode_state(unseal(blob, offset))


async def test_a_log_of_all_kinds_has_the_same_digest_whether_or_not_corrections_are_known_beforehand(
    broker, redis_server
):
    await publish(broker, of_all_kinds(1, 900))
    met = await folded(broker, redis_server, 1, known=False, batch_records=17)
    assert await KafkaLetterFile(broker).letters() == []
    known = await folded(broker, redis_server, 2, known=True)
    assert known == met
    assert met.learners > 0


async def test_a_correction_that_comes_too_late_is_applied_by_a_replay(broker, redis_server, monkeypatch):
    monkeypatch.setenv("CAIRN_KAFKA", broker.bootstrap_servers)
    monkeypatch.setenv("CAIRN_KAFKA_FETCH_WAIT_MS", str(broker.fetch_wait_ms))
    monkeypatch.setenv("CAIRN_REDIS", redis_server)
    await publish(broker, [*(answer(number) for number in range(80)), void(900, 0), void(901, 79)])
    await folded(broker, redis_server, 1, known=False)
    assert (await state(redis_server, 1)).responses == 79
    (filed,) = await KafkaLetterFile(broker).letters()
    assert filed.letter.code == "correction-beyond-journal"
    shown = await asyncio.to_thread(CliRunner().invoke, app, ["pending"])
    assert shown.exit_code == 0, shown.output
    assert "event-900" in shown.output
    assert "event-901" not in shown.output

    await folded(broker, redis_server, 2, known=True)
    assert (await state(redis_server, 2)).responses == 78
    assert len(await KafkaLetterFile(broker).letters()) == 1
    shown = await asyncio.to_thread(CliRunner().invoke, app, ["pending", "--json"])
    assert shown.output.strip() == "[]"


async def test_a_correction_whose_target_never_comes_is_listed_with_its_target_and_its_age(
    broker, redis_server, monkeypatch
):
    monkeypatch.setenv("CAIRN_KAFKA", broker.bootstrap_servers)
    monkeypatch.setenv("CAIRN_KAFKA_FETCH_WAIT_MS", str(broker.fetch_wait_ms))
    monkeypatch.setenv("CAIRN_REDIS", redis_server)
    await publish(broker, [answer(1), void(900, 7_777), void(901, 2), void(902, 7_777), answer(2)])
    await folded(broker, redis_server, 1, known=False)
    shown = await asyncio.to_thread(CliRunner().invoke, app, ["pending", "--json"])
    assert shown.exit_code == 0, shown.output
    (waiting,) = orjson.loads(shown.stdout)
    assert (waiting["event_id"], waiting["target_event_id"]) == ("event-902", "event-7777")
    assert waiting["code"] == "waits-for-target"
    assert 0 <= waiting["age_s"] < 600
    await publish(broker, [answer(7_777)])
    await folded(broker, redis_server, 2, known=False)
    shown = await asyncio.to_thread(CliRunner().invoke, app, ["pending"])
    assert "no correction waits" in shown.output


async def test_an_erased_learner_leaves_only_a_tombstone_in_redis(broker, redis_server):
    likes = events_pb2.PreferenceEvent(interests=events_pb2.InterestTopics(topics=["marker-topic"]))
    dismissal = events_pb2.InteractionEvent(resource="marker-resource", kind=events_pb2.INTERACTION_KIND_DISMISSED)
    before = [answer(number, item="marker-item", skills=["marker-skill"]) for number in range(70)]
    erasure = of_kind(902, "ada", erasure=events_pb2.ErasureEvent())
    await publish(
        broker,
        [*before, of_kind(900, "ada", preference=likes), of_kind(901, "ada", interaction=dismissal), erasure],
    )
    found = await folded(broker, redis_server, 1, known=False)
    assert found.learners == 0
    async with redis.asyncio.Redis.from_url(redis_server) as client:
        keys = [key async for key in client.scan_iter()]
    contents = await everything_in(redis_server)
    assert b"position" in contents
    assert b"marker" not in contents
    mine = sorted(key.rpartition(b":")[2] for key in keys if pseudonym("ada").encode() in key)
    assert mine == [b"seen", b"state"]


async def test_the_export_finds_a_learners_records_wherever_they_are_in_the_log(broker, tmp_path):
    astray = answer(3, "ada")
    astray.partition = (astray.right_partition + 1) % PARTITIONS
    await publish(broker, [*(answer(number, f"learner-{number % 5}") for number in range(100, 300)), answer(1), astray])
    await publish(broker, [answer(2)], LEARNER_EVENTS_DLT)
    decryptor = LearnerKeys(broker, tenant_keys_in(tmp_path / "tenants.yaml"))
    records = await KafkaLearnerRecords(broker, decryptor).of(record_key(TENANT, pseudonym("ada")))
    assert sorted((record.topic, record.content["event_id"]) for record in records) == [
        (LEARNER_EVENTS, "event-1"),
        (LEARNER_EVENTS, "event-3"),
        (LEARNER_EVENTS_DLT, "event-2"),
    ]
    assert records[0].headers["ce_source"] == "tests"
    assert records[0].content["assessment"]["item"]
