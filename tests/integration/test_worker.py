"""The worker as a process, and the event service, on a real broker and a real Redis."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
import urllib.request
import uuid
from dataclasses import replace
from pathlib import Path

import aiokafka
import grpc
import pytest
import redis
import redis.asyncio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client.parser import text_string_to_metric_families

from deploy.processes import Child, Command, free_port
from services.common.kafka.connection import KafkaConnection, topic_end_offsets
from services.common.kafka.envelope import LEARNER_EVENTS, LEARNER_EVENTS_DLT
from services.common.kafka.topics import TopicDeclaration, ensure_topics
from services.recommender.adapters.files.bundle_store import FsspecBundleStore
from services.recommender.adapters.kafka.dead_letters import KafkaLetterFile
from services.recommender.adapters.kafka.log import KafkaLog
from services.recommender.adapters.redis.epochs import RedisEpochs
from services.recommender.adapters.redis.keys import position_key
from services.recommender.application.operations.status import DEAD_LETTER_AGENT
from services.recommender.application.ports.epochs import EpochMeta, EpochStatus
from services.recommender.application.ports.learners import CommitRefusedError
from services.recommender.application.state.epochs import digest_epoch
from services.recommender.bootstrap.worker import FoldWiring
from services.recommender.domain.learner.parameters import PRIOR_PARAMETERS_ID, TracingParameters
from services.recommender.entrypoints.event_service_options import EventServiceOptions
from tests.learner_events import PARTITIONS, TENANT, message, publish, record
from tests.suites.bundle_store import draft

DEADLINE_S = 60.0


class Worker:
    """The worker process, with small batches so that a kill interrupts its work."""

    def __init__(self, directory: Path, kafka: KafkaConnection, redis_url: str, **environment: str) -> None:
        self._log = directory / "worker.log"
        self._address = directory / "worker.address"
        self._metrics_port = free_port()
        self._command = Command(
            "worker",
            [sys.executable, "-m", "services.recommender", "worker"],
            self._log,
            {
                "CAIRN_KAFKA": kafka.bootstrap_servers,
                "CAIRN_KAFKA_FETCH_WAIT_MS": str(kafka.fetch_wait_ms),
                "CAIRN_REDIS": redis_url,
                "CAIRN_LISTEN": "127.0.0.1:0",
                "CAIRN_ADDRESS_FILE": str(self._address),
                "CAIRN_BATCH_RECORDS": "100",
                "CAIRN_REWIND_RECORDS": "10",
                # The embedded broker lets every join wait half of it.
                "CAIRN_SESSION_TIMEOUT_MS": "2000",
                "CAIRN_BUNDLES": str(directory / "bundles"),
                "CAIRN_METRICS_PORT": str(self._metrics_port),
                **environment,
            },
            grace_s=20.0,
        )
        self.child: Child | None = None

    def add_environment(self, **environment: str) -> None:
        self._command = replace(self._command, environment={**self._command.environment, **environment})

    def start(self) -> Child:
        self._address.unlink(missing_ok=True)
        self.child = Child(self._command)
        return self.child

    def stop(self) -> None:
        if self.child is not None:
            self.child.stop()

    def serving(self, part: str = "") -> bool:
        if not self._address.is_file():
            return False
        with grpc.insecure_channel(self._address.read_text()) as channel:
            try:
                answer = health_pb2_grpc.HealthStub(channel).Check(
                    health_pb2.HealthCheckRequest(service=part), timeout=1
                )
            except grpc.RpcError:
                return False
        return answer.status == health_pb2.HealthCheckResponse.SERVING

    def metric(self, name: str, **labels: str) -> float:
        """A metric's value, summed over the labels that are not given; 0 where there is none yet."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._metrics_port}/metrics", timeout=5) as reply:
                families = list(text_string_to_metric_families(reply.read().decode()))
        except OSError:
            return 0
        samples = [sample for family in families for sample in family.samples if sample.name == name]
        return sum(sample.value for sample in samples if labels.items() <= sample.labels.items())

    def exit_code(self) -> int:
        """Wait for it to end by itself."""
        assert self.child is not None
        return self.child._process.wait(DEADLINE_S)

    def last_line(self) -> str:
        return self._log.read_text().strip().splitlines()[-1]


@pytest.fixture
def broker(fresh_kafka_broker):
    return fresh_kafka_broker.connection


@pytest.fixture
def worker(tmp_path, broker, redis_server):
    worker = Worker(tmp_path, broker, redis_server)
    yield worker
    worker.stop()


@pytest.fixture
def client(redis_server):
    with redis.Redis.from_url(redis_server) as client:
        yield client


def position_sum(client: redis.Redis, epoch: int = 1) -> int:
    return sum(int(client.hget(position_key(epoch, p), "offset") or 0) for p in range(PARTITIONS))


def cairn(worker: Worker, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "services.cli", *arguments]
    environment = os.environ | dict(worker._command.environment)
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


def counts(client: redis.Redis, name: str, epoch: int = 1) -> int:
    return sum(int(client.hget(position_key(epoch, p), name) or 0) for p in range(PARTITIONS))


async def digest(redis_url: str, epoch: int):
    async with redis.asyncio.Redis.from_url(redis_url) as client:
        return await digest_epoch(RedisEpochs(client), epoch)


async def clean_fold(broker: KafkaConnection, redis_url: str, epoch: int, *, batch_records: int = 10_000):
    """Fold the whole log at once into another epoch, and return its digest."""
    log = KafkaLog(broker)
    ends = await log.end_offsets()
    meta = EpochMeta(epoch, EpochStatus.BUILDING, PRIOR_PARAMETERS_ID, "", await log.identity(), ends)
    async with redis.asyncio.Redis.from_url(redis_url) as client:
        await RedisEpochs(client).create(meta)
    wiring = FoldWiring(broker, redis_url, options=EventServiceOptions(batch_records=batch_records))
    service = wiring.event_service(meta, TracingParameters(), group=None, goal=ends)
    await service.start()
    await service.wait_finished()
    await service.stop()
    return await digest(redis_url, epoch)


def some_records(count: int, *, first: int = 0):
    return [record(message(number, f"learner-{number % 23}")) for number in range(first, first + count)]


async def test_killed_again_and_again_the_worker_loses_nothing_and_doubles_nothing(
    broker, redis_server, worker, client
):
    events, kills = 12_000, 4
    await publish(broker, some_records(events))
    for kill in range(1, kills + 1):
        child = worker.start()
        child.wait_ready(lambda goal=events * kill // (kills + 2): position_sum(client) >= goal, DEADLINE_S)
        assert position_sum(client) < events, "it was killed too late to prove anything"
        child.kill()
    child = worker.start()
    child.wait_ready(lambda: position_sum(client) == events, DEADLINE_S)
    child.wait_ready(lambda: client.get("cairn:current-epoch") == b"1", DEADLINE_S)
    live = await digest(redis_server, 1)
    assert live.applied == events
    assert live == await clean_fold(broker, redis_server, 2)
    assert counts(client, "applied") == events


async def test_a_duplicate_is_counted_a_poisoned_record_is_dead_lettered_and_neighbours_are_applied(
    broker, redis_server, worker, client
):
    good = some_records(60)
    poison = [
        record(message(900), value=b"\xff\xff"),
        record(message(901, response=float("nan"))),
        record(message(902), partition=(good[0].right_partition + 1) % PARTITIONS, key=good[0].key),
        record(message(903), key=None, partition=0),
    ]
    await publish(broker, [*good[:30], *poison, *good[30:], *good[:10]])
    child = worker.start()
    child.wait_ready(lambda: position_sum(client) == 74, DEADLINE_S)
    child.wait_ready(worker.serving, DEADLINE_S)
    assert [counts(client, name) for name in ("applied", "duplicates", "dlt")] == [60, 10, 4]
    worker.stop()

    filed = await KafkaLetterFile(broker).letters()
    assert sorted(each.letter.code for each in filed) == ["field", "key", "partition", "value"]
    raw = await all_records(broker, LEARNER_EVENTS_DLT)
    for letter in raw:
        headers = dict(letter.headers)
        origin = aiokafka.TopicPartition(headers["cairn-dlt-topic"].decode(), int(headers["cairn-dlt-partition"]))
        first = await record_at(broker, origin, int(headers["cairn-dlt-offset"]))
        assert (letter.key, letter.value) == (first.key, first.value)
        assert letter.headers[: len(first.headers)] == tuple(first.headers)
        assert headers["cairn-dlt-reason"]


def poisoned(count: int, *, first: int):
    return [
        record(message(number, f"learner-{number % 23}"), value=b"\xff\xff") for number in range(first, first + count)
    ]


@pytest.mark.slow
async def test_dead_letters_on_the_topic_before_and_after_the_start_are_counted_for_prometheus(broker, worker, client):
    await publish(broker, [*some_records(20), *poisoned(3, first=900)])
    child = worker.start()
    held = {"reason": "value", "tenant": TENANT, "age": "hour"}
    child.wait_ready(lambda: worker.metric("cairn_dead_letters_held", **held) == 3, DEADLINE_S)
    worker.stop()
    await publish(broker, poisoned(2, first=950))
    child = worker.start()
    child.wait_ready(lambda: worker.metric("cairn_dead_letters_held", **held) == 5, DEADLINE_S)
    assert worker.metric("cairn_dead_letters_held") == 5
    assert worker.metric("cairn_dead_letter_agent_running") == 1
    oldest = worker.metric("cairn_dead_letters_oldest_timestamp_seconds", reason="value")
    newest = worker.metric("cairn_dead_letters_newest_timestamp_seconds", reason="value")
    assert time.time() - 300 < oldest < newest <= time.time() + 1


@pytest.mark.slow
async def test_a_worker_that_lost_its_broker_ends_at_once_when_asked_to(worker, fresh_kafka_broker):
    worker.start()
    await until(worker.serving)
    await until(lambda: worker.metric("cairn_dead_letter_agent_running") == 1)
    fresh_kafka_broker.stop()
    await until(lambda: "the epochs cannot be read" in worker._log.read_text())
    asked_s = time.monotonic()
    worker.child.signal_stop()
    assert worker.exit_code() == 0
    assert time.monotonic() - asked_s < 2.0


@pytest.mark.slow
async def test_a_crash_of_the_dead_letter_agent_affects_neither_the_fold_nor_health_nor_the_exit_code(
    broker, redis_server, client, tmp_path
):
    worker = Worker(
        tmp_path, broker, redis_server, CAIRN_FAIL_POINT="dead-letter-count:raise:2", CAIRN_ALLOW_FAIL_POINTS="true"
    )
    try:
        await publish(broker, [*some_records(20), *poisoned(3, first=900)])
        child = worker.start()
        child.wait_ready(worker.serving, DEADLINE_S)
        served = True
        child.wait_ready(lambda: worker.metric("cairn_dead_letter_agent_failures_total") == 1, DEADLINE_S)
        child.wait_ready(lambda: not worker.serving(DEAD_LETTER_AGENT), DEADLINE_S)
        assert worker.metric("cairn_dead_letter_agent_running") == 0
        assert worker.metric("cairn_dead_letters_held") == 0
        served &= worker.serving()
        await publish(broker, some_records(30, first=20))
        child.wait_ready(lambda: counts(client, "applied") == 50, DEADLINE_S)
        served &= worker.serving()
        # It is started again, reads the topic from its beginning and misses nothing.
        child.wait_ready(lambda: worker.metric("cairn_dead_letters_held") == 3, DEADLINE_S)
        child.wait_ready(lambda: worker.serving(DEAD_LETTER_AGENT), DEADLINE_S)
        assert worker.metric("cairn_dead_letter_agent_failures_total") == 1
        assert served & worker.serving()
        child.signal_stop()
        assert worker.exit_code() == 0
    finally:
        worker.stop()


async def test_a_clean_stop_exits_with_0_and_another_worker_continues(broker, redis_server, worker, client):
    await publish(broker, some_records(300))
    child = worker.start()
    child.wait_ready(lambda: position_sum(client) == 300, DEADLINE_S)
    child.wait_ready(worker.serving, DEADLINE_S)
    child.signal_stop()
    assert worker.exit_code() == 0
    await publish(broker, some_records(100, first=300))
    child = worker.start()
    child.wait_ready(lambda: position_sum(client) == 400, DEADLINE_S)
    assert counts(client, "applied") == 400
    assert (await digest(redis_server, 1)).applied == 400


async def test_after_redis_lost_everything_the_log_is_folded_again_despite_the_offsets_committed_to_kafka(
    broker, redis_server, worker, client
):
    await publish(broker, some_records(400))
    child = worker.start()
    child.wait_ready(lambda: position_sum(client) == 400, DEADLINE_S)
    child.signal_stop()
    assert worker.exit_code() == 0
    before = await digest(redis_server, 1)
    committed = await committed_offsets(broker, "cairn-recommender-1")
    assert sum(committed.values()) == 400
    client.flushall()
    child = worker.start()
    child.wait_ready(lambda: position_sum(client) == 400, DEADLINE_S)
    assert await digest(redis_server, 1) == before


@pytest.mark.slow
async def test_after_redis_was_set_back_the_worker_goes_back_with_it(broker, redis_server, worker, client):
    await publish(broker, some_records(200))
    child = worker.start()
    child.wait_ready(lambda: position_sum(client) == 200, DEADLINE_S)
    child.kill()
    backup = {key: client.dump(key) for key in client.keys("*")}
    await publish(broker, some_records(200, first=200))
    child = worker.start()
    child.wait_ready(lambda: position_sum(client) == 400, DEADLINE_S)
    child.signal_stop()
    assert worker.exit_code() == 0
    after = await digest(redis_server, 1)
    client.flushall()
    for key, value in backup.items():
        client.restore(key, 0, value)
    child = worker.start()
    child.wait_ready(lambda: position_sum(client) == 400, DEADLINE_S)
    assert await digest(redis_server, 1) == after


async def test_redis_losing_its_data_while_the_worker_runs_ends_it_with_an_error_message(broker, worker, client):
    await publish(broker, some_records(50))
    child = worker.start()
    child.wait_ready(lambda: client.get("cairn:current-epoch") == b"1", DEADLINE_S)
    client.flushall()
    assert worker.exit_code() == 1
    assert "lost" in worker.last_line()


async def test_a_recreated_topic_is_refused_with_the_remedy(fresh_kafka_broker, redis_server, worker, client, tmp_path):
    await publish(fresh_kafka_broker.connection, some_records(50))
    child = worker.start()
    child.wait_ready(lambda: client.get("cairn:current-epoch") == b"1", DEADLINE_S)
    worker.stop()
    before = {key: client.dump(key) for key in client.keys("*")}
    fresh_kafka_broker.stop()
    fresh_kafka_broker.start()
    declared = {name: TopicDeclaration(partitions=PARTITIONS) for name in (LEARNER_EVENTS, LEARNER_EVENTS_DLT)}
    ensure_topics(fresh_kafka_broker.connection, declared)
    worker.start()
    assert worker.exit_code() == 1
    assert "recreated" in worker.last_line()
    assert "cairn replay --epoch 2" in worker.last_line()
    assert {key: client.dump(key) for key in client.keys("*")} == before


async def test_an_unexpected_exception_ends_the_process_and_commits_nothing(broker, redis_server, worker, client):
    await publish(broker, some_records(10))
    child = worker.start()
    child.wait_ready(lambda: position_sum(client) == 10, DEADLINE_S)
    worker.stop()
    await publish(broker, some_records(23, first=10))
    before = position_sum(client)
    worker.add_environment(CAIRN_FAIL_POINT="before-commit:raise:1", CAIRN_ALLOW_FAIL_POINTS="true")
    worker.start()
    assert worker.exit_code() not in {0, None}
    assert "FailPointReachedError" in worker.last_line()
    assert position_sum(client) == before


@pytest.mark.slow
async def test_a_damaged_learner_is_quarantined_and_repaired_while_the_worker_runs(
    broker, redis_server, worker, client
):
    await publish(broker, some_records(100))
    child = worker.start()
    child.wait_ready(lambda: position_sum(client) == 100, DEADLINE_S)
    worker.stop()
    state = min(client.keys("*:state"))
    client.hset(state, "blob", client.hget(state, "blob")[:-3])
    damaged = client.dump(state)
    await publish(broker, some_records(300, first=100))
    child = worker.start()
    child.wait_ready(lambda: position_sum(client) == 400, DEADLINE_S)
    child.wait_ready(lambda: worker.metric("cairn_learners_quarantined") == 1, DEADLINE_S)
    assert client.dump(state) == damaged
    assert counts(client, "quarantined") > 0
    assert counts(client, "applied") + counts(client, "quarantined") == 400
    done = cairn(worker, "learner", "repair", "--all")
    assert done.returncode == 0, done.stderr
    assert "is repaired" in done.stdout
    assert counts(client, "applied") == 400
    assert counts(client, "quarantined") == 0
    await publish(broker, some_records(50, first=400))
    child.wait_ready(lambda: position_sum(client) == 450, DEADLINE_S)
    assert await digest(redis_server, 1) == await clean_fold(broker, redis_server, 2)


@pytest.mark.slow
async def test_after_redis_was_lost_the_rebuilt_epoch_has_the_parameters_that_were_served(
    broker, redis_server, worker, client, tmp_path
):
    bundle = FsspecBundleStore(str(tmp_path / "bundles"), {}).write(draft())
    await publish(broker, some_records(100))
    child = worker.start()
    child.wait_ready(lambda: client.get("cairn:current-epoch") == b"1", DEADLINE_S)
    assert cairn(worker, "replay", "--epoch", "2", "--parameters", bundle).returncode == 0
    switched = cairn(worker, "epoch", "switch", "2", "--wait", "30")
    assert switched.returncode == 0, switched.stderr
    remembered = tmp_path / "bundles" / "served.json"
    child.wait_ready(lambda: remembered.is_file() and bundle in remembered.read_text(), DEADLINE_S)
    before = await digest(redis_server, 2)
    client.flushall()
    assert worker.exit_code() == 1
    child = worker.start()
    child.wait_ready(lambda: client.get("cairn:current-epoch") == b"1", DEADLINE_S)
    assert client.hget("cairn:1:meta", "parameters_bundle") == bundle.encode()
    assert await digest(redis_server, 1) == before


@pytest.mark.slow
async def test_an_epoch_is_replayed_switched_to_and_the_old_one_dropped_while_events_come(
    broker, redis_server, worker, client
):
    await publish(broker, some_records(500))
    child = worker.start()
    child.wait_ready(lambda: client.get("cairn:current-epoch") == b"1", DEADLINE_S)
    replayed = cairn(worker, "replay", "--epoch", "2", "--parameters", "same")
    assert replayed.returncode == 0, replayed.stderr
    assert "500 applied" in replayed.stdout
    assert (await digest(redis_server, 1)) == (await digest(redis_server, 2))
    await publish(broker, some_records(50, first=500))
    switched = cairn(worker, "epoch", "switch", "2", "--wait", "30")
    assert switched.returncode == 0, switched.stderr
    assert client.get("cairn:current-epoch") == b"2"
    child.wait_ready(lambda: position_sum(client, 2) == position_sum(client, 1) == 550, DEADLINE_S)
    assert (await digest(redis_server, 1)) == (await digest(redis_server, 2))
    assert '"applied":550' in cairn(worker, "epoch", "digest", "2", "--json").stdout
    assert cairn(worker, "epoch", "drop", "2").returncode == 2
    dropped = cairn(worker, "epoch", "drop", "1")
    assert dropped.returncode == 0, dropped.stderr
    assert client.keys("cairn:1:*") == []
    await publish(broker, some_records(20, first=550))
    child.wait_ready(lambda: position_sum(client, 2) == 570, DEADLINE_S)
    assert client.keys("cairn:1:*") == []
    listed = cairn(worker, "epoch", "list", "--json")
    assert '"current": true' in listed.stdout
    child.check_running()


async def test_any_batching_of_the_log_gives_the_same_digest_and_any_further_event_another(broker, redis_server):
    await publish(broker, some_records(700))
    digests = {(await clean_fold(broker, redis_server, 10 + size, batch_records=size)).digest for size in (1, 7, 500)}
    assert len(digests) == 1
    await publish(broker, some_records(1, first=700))
    assert (await clean_fold(broker, redis_server, 1_000)).digest not in digests


async def test_an_interrupted_replay_continues_where_it_stopped(broker, redis_server, client):
    await publish(broker, some_records(600))
    log = KafkaLog(broker)
    meta = EpochMeta(1, EpochStatus.BUILDING, PRIOR_PARAMETERS_ID, "", await log.identity(), await log.end_offsets())
    async with redis.asyncio.Redis.from_url(redis_server) as store:
        await RedisEpochs(store).create(meta)
    enough = asyncio.Event()
    wiring = FoldWiring(broker, redis_server, options=EventServiceOptions(batch_records=20, rewind_records=0))
    first = wiring.event_service(
        meta, TracingParameters(), group=None, goal=meta.end_positions, on_batch=lambda _: enough.set()
    )
    await first.start()
    await enough.wait()
    await first.stop()
    assert 0 < position_sum(client) < 600
    applied = []
    second = wiring.event_service(
        meta, TracingParameters(), group=None, goal=meta.end_positions, on_batch=lambda r: applied.append(r.applied)
    )
    before = counts(client, "applied")
    await second.start()
    await second.wait_finished()
    await second.stop()
    assert sum(applied) + before == 600
    assert await digest(redis_server, 1) == await clean_fold(broker, redis_server, 2)


async def test_two_workers_share_the_partitions_and_a_rebalance_loses_nothing(
    broker, redis_server, worker, tmp_path, client
):
    second = Worker(tmp_path / "second", broker, redis_server)
    child = worker.start()
    child.wait_ready(worker.serving, DEADLINE_S)
    try:
        other = second.start()
        for start in range(0, 2_000, 200):
            await publish(broker, some_records(200, first=start))
        other.wait_ready(second.serving, DEADLINE_S)
        await publish(broker, some_records(500, first=2_000))
        child.wait_ready(lambda: position_sum(client) == 2_500, DEADLINE_S)
        child.check_running()
        other.check_running()
    finally:
        second.stop()
    live = await digest(redis_server, 1)
    assert live.applied == 2_500
    assert live == await clean_fold(broker, redis_server, 2)


async def test_a_worker_whose_commit_is_refused_ends_and_leaves_a_count_of_it(broker, redis_server, worker, client):
    child = worker.start()
    child.wait_ready(worker.serving, DEADLINE_S)
    for partition in range(PARTITIONS):
        client.hset(position_key(1, partition), "offset", 1_000)
    await publish(broker, some_records(50))
    assert worker.exit_code() == 1
    assert "another worker folds it" in child.command.log.read_text()
    assert client.get("cairn:refused-commits") == b"1"


async def test_a_failure_in_a_rebalance_crashes_the_service_even_though_aiokafka_swallows_it(broker, redis_server):
    service = await group_service(broker, redis_server)
    error = CommitRefusedError("another worker has it")

    async def refuse(_beginnings):
        raise error

    service._fold.on_assigned = refuse
    await service.start()
    await service.wait_until_stopped()
    assert service.crash_reason is error
    await service.stop()


async def test_a_partition_that_does_not_advance_makes_the_service_unhealthy(broker, redis_server):
    now_s = [0.0]
    service = await group_service(broker, redis_server, clock_s=lambda: now_s[0])
    held = asyncio.Event()
    fold = service._fold.fold

    async def hold(batches):
        await held.wait()
        return await fold(batches)

    service._fold.fold = hold
    assert not service.healthy
    await service.start()
    await until(lambda: service.healthy)
    await publish(broker, some_records(200))
    await until(lambda: sum(service.lag.values()) > 0)
    assert service.healthy
    now_s[0] += 31
    assert not service.healthy
    held.set()
    await until(lambda: sum(service.lag.values()) == 0 and service.healthy)
    await service.stop()


async def test_records_read_ahead_of_where_the_epoch_is_are_read_again_in_order(broker, redis_server, client):
    await publish(broker, some_records(300))
    service = await group_service(broker, redis_server)
    await service.start()
    fetch, cut = service._consumer.fetch, []

    async def ahead(records_max):
        records = await fetch(records_max)
        if records and not cut:
            cut.append(True)
            return {partition: some[3:] for partition, some in records.items()}
        return records

    service._consumer.fetch = ahead
    await until(lambda: position_sum(client) == 300)
    await service.stop()
    assert cut
    assert (counts(client, "applied"), len(client.keys("*:state"))) == (300, 23)


async def test_a_service_between_two_assignments_is_not_healthy(broker, redis_server):
    service = await group_service(broker, redis_server)
    await service.start()
    await until(lambda: service.healthy)
    await service.on_revoked(service._consumer.assignment)
    assert not service.healthy
    await service.stop()


async def group_service(broker, redis_server, **options):
    log = KafkaLog(broker)
    meta = EpochMeta(1, EpochStatus.LIVE, PRIOR_PARAMETERS_ID, "", await log.identity(), await log.end_offsets())
    async with redis.asyncio.Redis.from_url(redis_server) as client:
        await RedisEpochs(client).create(meta)
    wiring = FoldWiring(broker, redis_server)
    service = wiring.event_service(meta, TracingParameters(), group=f"group-{uuid.uuid4()}")
    for name, value in options.items():
        setattr(service, f"_{name}", value)
    return service


async def until(condition) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110 - what is waited for is in another process or thread.
            await asyncio.sleep(0.01)


async def committed_offsets(broker: KafkaConnection, group: str) -> dict[int, int]:
    consumer = aiokafka.AIOKafkaConsumer(bootstrap_servers=broker.bootstrap_servers, group_id=group)
    await consumer.start()
    try:
        partitions = [aiokafka.TopicPartition(LEARNER_EVENTS, number) for number in range(PARTITIONS)]
        consumer.assign(partitions)
        return {tp.partition: await consumer.committed(tp) or 0 for tp in partitions}
    finally:
        await consumer.stop()


async def all_records(broker: KafkaConnection, topic: str) -> list[aiokafka.ConsumerRecord]:
    ends = await topic_end_offsets(broker, topic)
    return [
        await record_at(broker, aiokafka.TopicPartition(topic, partition), offset)
        for partition, end in ends.items()
        for offset in range(end)
    ]


async def record_at(
    broker: KafkaConnection, partition: aiokafka.TopicPartition, offset: int
) -> aiokafka.ConsumerRecord:
    consumer = aiokafka.AIOKafkaConsumer(bootstrap_servers=broker.bootstrap_servers, fetch_max_wait_ms=10)
    await consumer.start()
    try:
        consumer.assign([partition])
        consumer.seek(partition, offset)
        return await consumer.getone()
    finally:
        await consumer.stop()
