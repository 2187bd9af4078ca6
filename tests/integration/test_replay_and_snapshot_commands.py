"""`cairn replay` interrupted and resumed, and `cairn epoch snapshot` and `restore`, on a real broker and Redis."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest
import redis
import redis.asyncio
from typer.testing import CliRunner

from cairn.v1 import catalog_pb2, events_pb2
from services.common.kafka.envelope import RESOURCES, SKILLS, record_key
from services.recommender.adapters.kafka.log import KafkaLog
from services.recommender.adapters.redis.epochs import RedisEpochs
from services.recommender.adapters.redis.keys import position_key
from services.recommender.application.ports.epochs import EpochMeta, EpochStatus
from services.recommender.application.ports.record_spill import SpilledRecord
from services.recommender.application.state.epochs import digest_epoch
from services.recommender.application.state.fold_events import FoldEvents
from services.recommender.bootstrap import worker as bootstrap_worker
from services.recommender.cli.epochs import app
from services.recommender.cli.prerequisites import app as prerequisites_app
from services.recommender.cli.train import app as train_app
from services.recommender.cli.unresolved import app as unresolved_app
from services.recommender.domain.learner.fold import LearnerFold
from services.recommender.domain.learner.parameters import PRIOR_PARAMETERS_ID, TracingParameters
from services.recommender.entrypoints.record_decoding import decode_batch
from tests.adapters.memory_states import MemoryDeadLetters, MemoryStates
from tests.learner_events import PARTITIONS, TENANT, Record, message, publish, record

EVENTS = 3_000
DEADLINE_S = 60.0


@pytest.fixture
def environment(fresh_kafka_broker, redis_server, tmp_path, monkeypatch):
    connection = fresh_kafka_broker.connection
    settings = {
        "CAIRN_KAFKA": connection.bootstrap_servers,
        "CAIRN_KAFKA_FETCH_WAIT_MS": str(connection.fetch_wait_ms),
        "CAIRN_REDIS": redis_server,
        "CAIRN_BATCH_RECORDS": "20",
        "CAIRN_BUNDLES": str(tmp_path / "bundles"),
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    # The collector of the tests' own process stays as it is.
    monkeypatch.setattr(bootstrap_worker, "collect_garbage_seldom", lambda: None)
    return os.environ | settings


@pytest.fixture
def process(environment):
    """The replay as a process, which can receive signals."""
    command = [sys.executable, "-m", "services.cli", "replay", "--epoch", "2", "--parameters", "same"]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True) as child:
        yield child
        child.kill()


@pytest.fixture
def cairn(environment):
    """Runs a command in this process, which has everything loaded; returns its exit code and output."""

    def cairn(*arguments: str) -> tuple[int, str]:
        result = CliRunner().invoke(app, list(arguments))
        return result.exit_code, result.output

    return cairn


@pytest.fixture
def log(fresh_kafka_broker, redis_server):
    """A log with events, and an epoch that is served, empty, whose parameters can be taken."""
    broker = fresh_kafka_broker.connection

    async def begin():
        await publish(broker, [record(message(number, f"learner-{number % 23}")) for number in range(EVENTS)])
        identity = await KafkaLog(broker).identity()
        async with redis.asyncio.Redis.from_url(redis_server) as client:
            epochs = RedisEpochs(client)
            await epochs.create(EpochMeta(1, EpochStatus.LIVE, PRIOR_PARAMETERS_ID, "", identity, {}))
            await epochs.make_current(1)

    asyncio.run(begin())


@pytest.fixture
def client(redis_server):
    with redis.Redis.from_url(redis_server) as client:
        yield client


@pytest.mark.usefixtures("log")
def test_a_replay_is_interrupted_and_resumed_and_a_concurrent_one_is_refused(process, cairn, client):
    until(lambda: position_sum(client, 2) > 0)
    # Paused, so that it is certainly still running.
    process.send_signal(signal.SIGSTOP)
    code, said = cairn("replay", "--epoch", "2", "--parameters", "same")
    assert code == 1
    assert "another process is replaying into epoch 2" in said
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGCONT)
    _, failed = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 130, failed
    assert re.search(r"interrupted at [\d,]+ of 3,000", failed), failed
    # The lock was released at once, and did not have to expire.
    code, said = cairn("replay", "--epoch", "2", "--parameters", "same")
    assert code == 0, said
    assert "continues at" in said
    assert "epoch 2 is built" in said
    # A restore put this back into an epoch 3 that Redis had lost a moment before.
    left_behind = next(iter(client.scan_iter("cairn:2:{*}:state")))
    client.hset(left_behind.replace(b"cairn:2:", b"cairn:3:"), mapping={b"blob": b"anything", b"off": 10**9})
    code, said = cairn("replay", "--epoch", "3", "--parameters", "same")
    assert code == 0, said
    digests = [cairn("epoch", "digest", number)[1].split()[0] for number in ("2", "3")]
    assert digests[0] == digests[1]
    assert sum(int(client.hget(position_key(2, p), "applied") or 0) for p in range(PARTITIONS)) == EVENTS


@pytest.mark.usefixtures("log")
def test_a_job_that_knows_no_numbers_replays_switches_and_removes_what_is_old(cairn, redis_server):
    code, said = cairn("replay", "--epoch", "next", "--parameters", "same")
    assert (code, "Serve it with: cairn epoch switch 2" in said) == (0, True), said
    code, said = cairn("epoch", "switch", "newest")
    assert (code, "workers are catching up with epoch 2" in said) == (0, True), said

    async def serve():
        async with redis.asyncio.Redis.from_url(redis_server) as client:
            await RedisEpochs(client).make_current(2)

    asyncio.run(serve())
    assert cairn("epoch", "switch", "newest", "--wait", "1") == (0, "epoch 2 is served\n")
    assert cairn("epoch", "prune", "--keep", "1") == (0, "there was nothing to remove\n")
    assert cairn("epoch", "prune", "--keep", "0") == (0, "removed: epoch 1\n")
    for wrong in (("replay", "--epoch", "0", "--parameters", "same"), ("epoch", "switch", "next")):
        code, said = cairn(*wrong)
        assert (code, "is not an epoch: give a number from 1" in said) == (2, True), said


def unresolved():
    result = CliRunner().invoke(unresolved_app, ["--tenant", TENANT])
    return result.exit_code, result.output


def prerequisites():
    result = CliRunner().invoke(prerequisites_app, ["--tenant", TENANT])
    return result.exit_code, result.output


def trained(folder):
    """The exit code, what was said, and how many skills the tenant's responses of the newest training have."""
    result = CliRunner().invoke(train_app, ["train", "--json", str(folder / "trained.json")])
    summary = json.loads((folder / "trained.json").read_text())
    return result.exit_code, result.output, summary["tenants"][TENANT]["counts"]["skills"]


async def digest_as_if(records):
    """The digest of an epoch of these records, folded in memory."""
    states = MemoryStates()
    await states.create(EpochMeta(1, EpochStatus.LIVE, PRIOR_PARAMETERS_ID, "", "log/1", {}))
    fold = FoldEvents(states.fold_store(1), MemoryDeadLetters(), LearnerFold(TracingParameters()))
    await fold.on_assigned({0: 0})
    placed = [SpilledRecord(0, at, one.key, one.value, tuple(one.headers)) for at, one in enumerate(records)]
    await fold.fold([decode_batch(0, placed, 1)])
    return (await digest_epoch(states, 1)).digest


@pytest.mark.usefixtures("log")
def test_a_replay_makes_events_evidence_of_skills_that_their_items_were_tagged_with_later(
    cairn, fresh_kafka_broker, client, tmp_path
):
    """Learners of the fixture's log have skills; this one answered items of which the catalog knew nothing."""
    broker, untagged = fresh_kafka_broker.connection, {"skills": [], "skills_from": events_pb2.SKILLS_FROM_NONE}
    later = range(EVENTS, EVENTS + 40)
    sent = [message(number, "late", item="item-late", **untagged) for number in later]
    tags = [catalog_pb2.SkillTag(skill="ratios", weight=0.5), catalog_pb2.SkillTag(skill="area", weight=1)]
    resource = catalog_pb2.Resource(id="item-late", title="A late one", assesses=tags)
    tagged = {"skills": ["area", "ratios"], "skills_from": events_pb2.SKILLS_FROM_CATALOG, "resource": "item-late"}
    as_if = [record(message(number, f"learner-{number % 23}")) for number in range(EVENTS)]
    as_if += [record(message(number, "late", item="item-late", **tagged)) for number in later]
    key = record_key(TENANT, resource.id)
    asyncio.run(publish(broker, map(record, sent)))
    code, said = unresolved()
    assert (code, "responses without a skill: 40 (items: 1, activities: 0)" in said) == (0, True), said
    asyncio.run(publish(broker, [Record(key, resource.SerializeToString(), partition=0)], RESOURCES))
    assert "Next: all of them are tagged now" in unresolved()[1]
    code, said = cairn("replay", "--epoch", "2", "--parameters", "same", "--restamp")
    assert (code, "events without skills restamped by catalog 1/0" in said) == (0, True), said
    assert cairn("epoch", "digest", "2")[1].split()[0] == asyncio.run(digest_as_if(as_if))
    (listed,) = [epoch for epoch in json.loads(cairn("epoch", "list", "--json")[1]) if epoch["epoch"] == 2]
    assert (listed["restamp"]["events"], listed["restamp"]["catalog_version"]) == ("without-skills", "1/0")
    code, said = cairn("replay", "--epoch", "3", "--parameters", "same", "--restamp-all", "--no-restamp")
    assert (code, "contradict each other" in said) == (2, True), said
    client.set("cairn:current-epoch", 2)
    assert "every response is evidence of a skill" in unresolved()[1]
    code, said, skills = trained(tmp_path)
    assert (code, "events without skills restamped by catalog 1/0, as in the current epoch" in said) == (0, True), said
    assert skills == 7 + 2
    building = catalog_pb2.Skill(id="area", prerequisites=["ratios"])
    skill = Record(record_key(TENANT, building.id), building.SerializeToString(), partition=0)
    asyncio.run(publish(broker, [skill], SKILLS))
    # In the log itself, no event has either.
    code, said = prerequisites()
    assert (code, "of 1 prerequisites, 1 have both ends in the log" in said) == (0, True), said
    client.delete("cairn:2:skills")
    code, said = prerequisites()
    assert (code, "the state store has lost them" in said) == (2, True), said
    code, said, _ = trained(tmp_path)
    assert (code, "the state store has lost them" in said) == (1, True), said
    code, said = cairn("epoch", "snapshot", "2", "epoch-2.cairn")
    assert (code, "the state store has lost them" in said) == (2, True), said


@pytest.mark.usefixtures("log")
def test_an_epoch_saved_to_a_file_is_restored_after_redis_lost_everything(cairn, client, tmp_path):
    path = tmp_path / "epoch-2.cairn"
    assert cairn("replay", "--epoch", "2", "--parameters", "same")[0] == 0
    code, said = cairn("epoch", "snapshot", "2", str(path))
    assert code == 0, said
    assert "23 learners, 3,000 events applied" in said
    code, said = cairn("epoch", "snapshot", "2", str(path))
    assert (code, "--overwrite" in said) == (2, True)
    before = {key: client.type(key) for key in client.keys("cairn:2:*")}
    client.flushall()
    code, said = cairn("epoch", "restore", str(path))
    assert code == 0, said
    assert "cairn epoch switch 2" in said
    assert {key: client.type(key) for key in client.keys("cairn:2:*")} == before
    assert client.hget("cairn:2:meta", "status") == b"built"
    code, said = cairn("epoch", "restore", str(path))
    assert (code, "--epoch" in said) == (2, True)
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    path.write_bytes(damaged)
    code, said = cairn("epoch", "restore", str(path), "--epoch", "5")
    assert (code, "checksum" in said) == (2, True)
    assert client.keys("cairn:5:*") == []
    code, said = cairn("epoch", "restore", str(tmp_path / "nothing"))
    assert (code, "cannot be read" in said) == (2, True)


def position_sum(client: redis.Redis, epoch: int) -> int:
    return sum(int(client.hget(position_key(epoch, p), "offset") or 0) for p in range(PARTITIONS))


def until(condition) -> None:
    deadline_s = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline_s, "the condition was not met in time"
        time.sleep(0.005)


@pytest.mark.usefixtures("log")
def test_a_replay_by_time_of_records_of_one_time_is_one_in_the_order_of_the_log(cairn, client):
    code, said = cairn("replay", "--epoch", "2", "--parameters", "same", "--order", "occurred")
    assert code == 0, said
    assert "3,000 applied" in said
    assert "continues" not in said
    assert cairn("replay", "--epoch", "3", "--parameters", "same")[0] == 0
    digests = [cairn("epoch", "digest", number)[1].split()[0] for number in ("2", "3")]
    assert digests[0] == digests[1]
    assert '"order": "occurred"' in cairn("epoch", "list", "--json")[1]
    assert client.hget(position_key(2, 0), "marks") is not None
    assert cairn("epoch", "switch", "2")[0] == 0
