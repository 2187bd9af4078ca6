"""The faults, one function each. `Scene.finish` checks what must hold after every one of them."""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson

from cairn.v1 import events_pb2
from services.common.kafka.partitioner import partition_of
from services.recommender.adapters.fail_points import Step
from services.recommender.domain.learner.record import SEEN_EVENTS
from tests.faults import wire
from tests.faults.bench import Bench
from tests.faults.log_records import dead_letter_origins, read_log
from tests.faults.proxy import TcpProxy
from tests.faults.publishing import submissions
from tests.faults.reading import Reader
from tests.faults.redis_server import DurableRedis
from tests.faults.results import Row, ScenarioFailedError
from tests.faults.scene import (
    PARTITIONS,
    READERS_LEARNERS,
    START_DEADLINE_S,
    Scene,
    chunks,
)
from tests.learner_events import Record, message, publish, record

WORKER_RECOVERY_S = 15.0
BROKER_RECOVERY_S = 30.0
MOST_GROWTH_MIB = 64


@dataclass(frozen=True)
class Scenario:
    """One fault.

    Attributes:
        name: its name.
        fault: a short description.
        run: injects the fault and checks its specific guarantees.
        of_the_broker: whether it is a fault of the broker, which also runs on three nodes.
        secured: whether the cluster also has a listener with TLS, users and ACLs.
    """

    name: str
    fault: str
    run: Callable[[Scene], None]
    of_the_broker: bool
    secured: bool


SCENARIOS: dict[str, Scenario] = {}


def scenario(
    name: str, fault: str, *, of_the_broker: bool = False, secured: bool = False
) -> Callable[[Callable[[Scene], None]], None]:
    """Register a function in SCENARIOS."""

    def enter(run: Callable[[Scene], None]) -> None:
        SCENARIOS[name] = Scenario(name, fault, run, of_the_broker, secured)

    return enter


def run_scenario(bench: Bench, name: str, seed: int) -> Row:
    """Run a scenario; the row says whether all checks passed."""
    begun_s = time.monotonic()
    row = Row(name, bench.nodes, seed)
    try:
        with bench.scene(name, seed) as scene:
            row = scene.row
            SCENARIOS[name].run(scene)
    except ScenarioFailedError as error:
        row.failure = str(error)
    except Exception as error:  # noqa: BLE001 - one scenario that breaks must not hide what came of the others.
        row.failure = f"{type(error).__name__}: {error}"
    row.seconds = round(time.monotonic() - begun_s, 1)
    return row


@scenario("broker-killed", "kill -9 of the broker, or of a partition's leader, and its restart", of_the_broker=True)
def broker_killed(scene: Scene) -> None:
    scene.start()
    scene.begin(6_000, per_s=700)
    scene.wait_applied(1_500)
    cluster = scene.bench.cluster
    victim = cluster.nodes[0]
    victim.kill()
    if len(cluster.nodes) == 1:
        # While there is no broker, ingest answers UNAVAILABLE.
        scene.wait(lambda: scene.platform.answers["UNAVAILABLE"] > 0, 25.0, "UNAVAILABLE")
        told = len(scene.platform.acknowledged)
        scene.spend(1.0)
        scene.check(len(scene.platform.acknowledged) == told, "ingest acknowledged events without a broker")
        victim.start()
        scene.fault_is_over()
        scene.recover(BROKER_RECOVERY_S)
    else:
        # The others continue without it.
        scene.fault_is_over()
        scene.recover(BROKER_RECOVERY_S)
        victim.start()
    victim.wait_ready()
    scene.check(
        scene.platform.answers.keys() <= {"OK", "UNAVAILABLE", "RESOURCE_EXHAUSTED"},
        f"ingest answered {dict(scene.platform.answers)}",
    )
    scene.row.notes["answers"] = dict(scene.platform.answers)
    scene.finish()


def worker_killed(scene: Scene) -> None:
    scene.start()
    scene.begin(6_000, per_s=900)
    scene.wait_applied(2_000)
    scene.processes["worker-1"].kill()
    scene.fault_is_over()
    scene.recover(WORKER_RECOVERY_S)
    scene.finish()


scenario("worker-killed", "kill -9 of a worker between any two steps")(worker_killed)


@scenario("broker-unreachable", "broker unreachable for 20 s: 8 s silent, 12 s refused", of_the_broker=True)
def broker_unreachable(scene: Scene) -> None:
    cluster = scene.bench.cluster
    proxies = [scene.running.enter_context(TcpProxy(node.proxy_port, node.behind_proxy_port)) for node in cluster.nodes]
    scene.kafka = cluster.proxied_connection
    scene.start(server=True)
    scene.begin(5_000, per_s=1_500)
    scene.wait_applied(2_000)
    reader = scene.reader()
    before = {process.name: process.resident_bytes for process in scene.processes.values()}
    begun_s = time.monotonic()
    for proxy in proxies:
        proxy.stall()
    scene.spend(8.0)
    for proxy in proxies:
        proxy.refuse()
    scene.spend(6.0)
    reader.forget()
    scene.spend(max(0.0, 20.0 - (time.monotonic() - begun_s)))
    scene.check(reader.answers.keys() == {"OK"}, f"reads were answered {dict(reader.answers)} without a broker")
    scene.check(
        reader.degraded["DEGRADATION_STALE_CATALOG"] == reader.answers["OK"], "reads without a broker were not flagged"
    )
    scene.check(scene.platform.answers["UNAVAILABLE"] > 0, f"ingest answered {dict(scene.platform.answers)}")
    grown = {
        process.name: (process.resident_bytes - before[process.name]) >> 20 for process in scene.processes.values()
    }
    scene.check(max(grown.values()) <= MOST_GROWTH_MIB, f"memory grew by {grown} MiB")
    scene.row.notes |= {"grown_mib": grown, "reads": reader.answers["OK"]}
    for proxy in proxies:
        proxy.forward()
    scene.fault_is_over()
    scene.recover(BROKER_RECOVERY_S)
    scene.row.notes["answers"] = dict(scene.platform.answers)
    scene.finish()


def killed_at(step: Step) -> Callable[[Scene], None]:
    """A worker that is killed at a step of one of its first batches."""

    def run(scene: Scene) -> None:
        scene.redis.start()
        scene.start_ingest()
        doomed = scene.start_worker(
            1, CAIRN_FAIL_POINT=f"{step}:kill:{_OCCASION[step]}", CAIRN_ALLOW_FAIL_POINTS="true"
        )
        scene.start_worker(2)
        scene.wait_serving()
        scene.begin(6_000, per_s=700)
        scene.wait(lambda: bool(doomed.exits), START_DEADLINE_S, f"the worker's end at {step}")
        del doomed.environment["CAIRN_FAIL_POINT"]
        scene.fault_is_over()
        scene.check(doomed.exits == [-9], f"the worker ended with {doomed.exits}")
        scene.recover(WORKER_RECOVERY_S)
        scene.finish()
        scene.check(
            scene.row.duplicates <= scene.platform.resent, "records that were read again were counted as duplicates"
        )

    return run


# Offsets are committed to Kafka once a second, learners with every batch.
_OCCASION = {
    Step.BEFORE_COMMIT: 7,
    Step.AFTER_COMMIT: 7,
    Step.BEFORE_ACKNOWLEDGEMENT: 9,
    Step.AFTER_ACKNOWLEDGEMENT: 2,
}
scenario("killed-before-commit", "kill -9 after folding a batch, before storing it")(killed_at(Step.BEFORE_COMMIT))
scenario("killed-after-commit", "kill -9 after storing learners, before their position")(killed_at(Step.AFTER_COMMIT))
scenario("killed-before-ack", "kill -9 after storing everything, before the commit to Kafka")(
    killed_at(Step.BEFORE_ACKNOWLEDGEMENT)
)
scenario("killed-after-ack", "kill -9 right after the commit to Kafka")(killed_at(Step.AFTER_ACKNOWLEDGEMENT))


@scenario("zombie", "SIGSTOP before storing a folded batch, for longer than the session timeout; then SIGCONT")
def zombie(scene: Scene) -> None:
    scene.redis.start()
    scene.start_ingest()
    worker = scene.start_worker(1, CAIRN_FAIL_POINT="before-commit:stop:12", CAIRN_ALLOW_FAIL_POINTS="true")
    scene.start_worker(2)
    scene.wait_serving()
    scene.begin(6_000, per_s=700)
    scene.wait(lambda: worker.stopped, START_DEADLINE_S, "stopping before a commit")
    scene.fault_is_over()
    before = scene.positions(1)
    scene.wait(
        lambda: all(now > before[partition] for partition, now in scene.positions(1).items()),
        WORKER_RECOVERY_S,
        "taking over the silent worker's partitions",
    )
    scene.recover(WORKER_RECOVERY_S)
    del worker.environment["CAIRN_FAIL_POINT"]
    worker.resume()
    scene.wait(lambda: bool(worker.exits), WORKER_RECOVERY_S, "the exit of the worker whose writes are refused")
    scene.check(worker.exits == [1], f"the worker ended with {worker.exits}")
    said = worker.log.read_text()
    scene.check("another worker folds" in said, f"its writes were not refused: {worker.last_lines()}")
    scene.finish()


@scenario("rebalance-storm", "every 2 s, 15 times, a worker is added or one is killed, in turn")
def rebalance_storm(scene: Scene) -> None:
    scene.start()
    scene.begin(6_000, per_s=180)
    for change in range(15):
        if change % 2 == 0:
            scene.start_worker(3 + change // 2)
        else:
            settled = [worker for worker in scene.workers if worker.serving]
            running = [worker for worker in scene.workers if worker.child.running]
            # Kill the longest member if there is another one; else the newest.
            victim = settled[0] if len(settled) > 1 else running[-1]
            victim.kill(restart=False)
        scene.spend(2.0)
    scene.fault_is_over()
    scene.recover(WORKER_RECOVERY_S)
    scene.finish()


@scenario("redis-killed", "kill -9 of Redis, and the last 30 % of its append-only file gone")
def redis_killed(scene: Scene) -> None:
    scene.redis = DurableRedis(scene.directory / "redis", appendonly=True)
    scene.start()
    scene.begin(6_000, per_s=900)
    scene.wait_applied(2_500)
    before = sum(scene.positions(1).values())
    lose_tail(scene)
    scene.fault_is_over()
    after = sum(scene.positions(1).values())
    scene.check(after < before, f"Redis lost nothing: {before} records before, {after} after")
    scene.recover(WORKER_RECOVERY_S)
    # Again while idle, when no write fails in a worker: lose what came after the file was rewritten.
    scene.wait(lambda: scene.redis.rewritten, 10.0, "rewriting the append-only file")
    scene.platform.send(scene.submissions(7_000)[6_000:])
    scene.wait_drained()
    ends = sum(scene.positions(1).values())
    lose_tail(scene)
    lost = ends - sum(scene.positions(1).values())
    scene.check(lost > 0, "Redis lost nothing the second time")
    scene.row.notes["records_lost"] = [before - after, lost]
    scene.finish()


def lose_tail(scene: Scene) -> None:
    """Kill Redis and restart it without its latest data."""
    scene.wait(lambda: scene.redis.rewritten, 10.0, "rewriting the append-only file after the last start")
    base_bytes = scene.redis.base_bytes
    scene.redis.kill()
    scene.redis.truncate_tail(0.3, base_bytes)
    scene.redis.start()


@scenario("redis-flushed", "FLUSHALL while a server answers")
def redis_flushed(scene: Scene) -> None:
    scene.start(server=True)
    scene.platform.send(scene.submissions(6_000))
    scene.wait_applied(6_000)
    reader = scene.reader()
    known = {learner: reader.responses(learner) for learner in READERS_LEARNERS}
    reader.forget()
    with scene.redis.client() as client:
        client.flushall()
    scene.fault_is_over()
    server = scene.processes["server"]
    scene.wait(lambda: not server.serving, 5.0, "NOT_SERVING")
    scene.recover(BROKER_RECOVERY_S)
    scene.wait(lambda: server.serving, 10.0, "SERVING")
    reader.close()
    scene.check(reader.answers.keys() <= {"OK", "UNAVAILABLE"}, f"reads were answered {dict(reader.answers)}")
    scene.check(reader.answers["UNAVAILABLE"] > 0, "no call reported that state is lost")
    wrong = {learner: found for learner, found in reader.fewest.items() if found < known[learner]}
    scene.check(not wrong, f"learners were shown with fewer responses: {wrong} of {known}")
    scene.row.notes["answers"] = dict(reader.answers)
    scene.finish()


def paused(scene: Scene, stop: Callable[[], None], mend: Callable[[], None]) -> None:
    """Redis refuses writes: workers pause without acknowledging, and continue by themselves."""
    scene.start()
    scene.begin(6_000, per_s=900)
    scene.wait_applied(2_000)
    stop()
    scene.wait(
        lambda: all(not worker.serving for worker in scene.workers), 20.0, "NOT_SERVING of workers that cannot store"
    )
    positions = scene.positions(1)
    scene.spend(2.0)
    scene.check(scene.positions(1) == positions, "positions moved though nothing could be stored")
    committed = scene.committed("cairn-recommender-1")
    ahead = {partition: offset for partition, offset in committed.items() if offset > positions[partition]}
    scene.check(not ahead, f"Kafka has offsets {committed}, Redis holds {positions}")
    mend()
    scene.fault_is_over()
    scene.recover(WORKER_RECOVERY_S)
    scene.finish()
    scene.check(scene.row.restarts == 0, f"{scene.row.restarts} processes had to be restarted")


@scenario("redis-full", "Redis reaches maxmemory under noeviction")
def redis_full(scene: Scene) -> None:
    def set_limit(size: int) -> None:
        with scene.redis.client() as client:
            client.config_set("maxmemory", size)

    paused(scene, lambda: set_limit(1_000_000), lambda: set_limit(0))


@scenario("redis-disk", "Redis cannot write to its disk and refuses writes")
def redis_disk(scene: Scene) -> None:
    # A folder in the place of the snapshot makes it fail as on a disk that cannot be written. Taking the data folder
    # away would need CONFIG SET dir to mend it, which Redis 7 and later refuse.
    in_the_way = scene.redis.directory / "dump.rdb"

    def take_away() -> None:
        (in_the_way / "taken").mkdir(parents=True)
        with scene.redis.client() as client:
            client.config_set("save", "1 1")
            scene.wait(lambda: client.info("persistence")["rdb_last_bgsave_status"] == "err", 15.0, "a failed save")

    def bring_back() -> None:
        shutil.rmtree(in_the_way)
        with scene.redis.client() as client:
            client.config_set("save", "")
            client.bgsave()

    paused(scene, take_away, bring_back)


@scenario("duplicates", "10 % of the events sent again: same source and id, new offset")
def duplicates(scene: Scene) -> None:
    scene.start()
    events = scene.submissions(6_000)
    scene.begin(events, per_s=1_500)
    scene.wait(lambda: scene.platform.done, 20.0, "acknowledging every event")
    again = events[::10]
    for request in chunks(again, 100):
        scene.platform.send(request)
    scene.fault_is_over()
    scene.recover(WORKER_RECOVERY_S)
    scene.finish()
    expected = len(again) + scene.platform.resent
    scene.check(scene.row.duplicates == expected, f"{scene.row.duplicates} duplicates were counted, not {expected}")


@scenario("duplicates-outside-window", "a learner's events sent again after 4,096 other events: they count again")
def duplicates_outside_window(scene: Scene) -> None:
    scene.start()
    events = [*submissions(SEEN_EVENTS + 500, seed=scene.row.seed, learners=1)]
    scene.platform.send(events)
    outside, inside = events[:100], events[-100:]
    scene.platform.send(outside)
    # These 100 pushed 100 others out of the window, which still contains the last ones.
    scene.platform.send(inside)
    scene.fault_is_over()
    scene.recover(WORKER_RECOVERY_S)
    scene.finish(window_exceeded=True)
    counted = (scene.row.applied - scene.row.events, scene.row.duplicates)
    scene.check(counted == (len(outside), len(inside)), f"{counted} were counted again and skipped, not (100, 100)")


@scenario("clock-skew", "one worker's clock is a day ahead")
def clock_skew(scene: Scene) -> None:
    scene.redis.start()
    scene.start_ingest()
    ahead = Path(__file__).with_name("skewed_clock")
    scene.start_worker(
        1, PYTHONPATH=f"{ahead}{os.pathsep}{os.environ.get('PYTHONPATH', '')}", CAIRN_TEST_CLOCK_SKEW_S="86400"
    )
    scene.start_worker(2)
    scene.wait_serving()
    scene.begin(6_000, per_s=1_500)
    scene.fault_is_over()
    scene.recover(WORKER_RECOVERY_S)
    scene.finish()
    said = [line for line in scene.processes["worker-1"].log.read_text().splitlines() if line.startswith("{")]
    tomorrow = datetime.now(UTC) + timedelta(hours=23)
    logged = orjson.loads(said[0])["timestamp"]
    scene.check(datetime.fromisoformat(logged) > tomorrow, f"the clock was not ahead: {logged}")


@scenario("poison", "records that cannot be applied among records that can")
def poison(scene: Scene) -> None:
    scene.start()
    good = scene.submissions(5_000)
    scene.platform.send(good[:2_500])
    poisoned = asyncio.run(publish(scene.kafka, poisoned_records(scene)))
    scene.platform.send(good[2_500:])
    scene.fault_is_over()
    scene.recover(WORKER_RECOVERY_S)
    scene.wait_drained()
    letters = asyncio.run(dead_letter_origins(scene.kafka))
    scene.check(len(letters) == poisoned, f"{len(letters)} dead letters, {poisoned} were expected")
    originals = {record.position: record for record in asyncio.run(read_log(scene.kafka))}
    for origin, letter in letters.items():
        same = (letter.key, letter.value) == (originals[origin].key, originals[origin].value)
        scene.check(same, f"the dead letter of {origin} does not hold the original bytes")
        scene.check(bool(dict(letter.headers)["cairn-dlt-reason"]), f"the dead letter of {origin} has no reason")
    listed = orjson.loads(scene.cairn("dlt", "list", "--json"))
    scene.check(len(listed) == poisoned, f"cairn dlt list shows {len(listed)} of {poisoned}")
    misplaced = next(letter for letter in listed if letter["code"] == "partition")
    place = (str(misplaced["partition"]), str(misplaced["offset"]))
    scene.check("belongs on partition" in scene.cairn("dlt", "show", *place), "cairn dlt show does not show the reason")
    scene.cairn("dlt", "replay", *place)
    scene.row.notes["codes"] = sorted({letter["code"] for letter in listed})
    scene.finish(dead_letters=True)
    left = orjson.loads(scene.cairn("dlt", "list", "--json"))
    scene.check(len(left) == poisoned - 1, f"{len(left)} dead letters are left after one of {poisoned} was replayed")


def poisoned_records(scene: Scene) -> list[Record]:
    """Every kind of record that cannot be applied, each among a learner's good events."""
    entry = scene.submissions(1)[0]
    key = scene.key_of(entry.learner_id)
    learner = key.decode().partition("/")[2]

    def event(number: int, **assessment: object) -> events_pb2.LearnerEvent:
        made = message(number, **assessment)
        made.learner = learner
        return made

    plain = event(1)
    text = event(2).SerializeToString().replace(b"item-2", b"it\xff\xfe-2")
    nested = b"\x6b" * 5_000
    newer = event(3)
    newer.ClearField("assessment")
    json_type = [("content-type", b"application/json")]
    deep_json = b'{"assessment":' * 5_000 + b"1" + b"}" * 5_000
    return [
        record(event(10), value=b"\xde\xad\xbe\xef" * 8),
        record(event(11), value=b""),
        record(event(12), value=None),
        record(event(13), value=b"\xff" * 1_000_000),
        record(event(14, response=float("nan"))),
        record(event(15, response=float("inf"))),
        record(event(16), value=text),
        record(event(17), value=nested),
        record(event(18), value=deep_json, headers=json_type),
        record(event(19), value=b'{"assessment": {"response": NaN, "item": 7', headers=json_type),
        record(event(20), headers=[("content-type", b"application/x-unknown")]),
        # A kind of event that a later release may support.
        record(newer, value=newer.SerializeToString() + b"\xfa\x06\x03abc"),
        record(event(21, item="i" * 100_000)),
        record(event(22, skills=[f"skill-{number}" for number in range(1_000)])),
        record(plain, key=b"no tenant here"),
        record(plain, key=None, partition=0),
        record(event(23), partition=(partition_of(key, PARTITIONS) + 1) % PARTITIONS),
    ]


@scenario("malformed-frames", "bytes that are not gRPC, and payloads around the limit")
def malformed_frames(scene: Scene) -> None:
    limit = 64 * 1024
    scene.redis.start()
    scene.start_ingest(CAIRN_MAX_MESSAGE_BYTES=str(limit))
    scene.start_worker(1)
    scene.wait_serving()
    scene.start_server(CAIRN_MAX_MESSAGE_BYTES=str(limit))
    scene.wait_serving()
    scene.begin(5_000, per_s=1_000)
    pids = {name: process.pid for name, process in scene.processes.items()}
    for name in ("ingest", "server"):
        for malformed in wire.MALFORMED:
            wire.send_raw(scene.processes[name].address, malformed)
    answers = wire.payloads_around(scene.processes["ingest"].address, scene.api_key, limit)
    expected = {-1: "OK", 0: "OK", 1: "INVALID_ARGUMENT", limit + 1: "RESOURCE_EXHAUSTED"}
    scene.check(answers == expected, f"payloads around the limit were answered {answers}, not {expected}")
    reads = wire.reads_around(scene.processes["server"].address, scene.api_key, limit)
    scene.check(reads == {1: "RESOURCE_EXHAUSTED"}, f"requests over the limit were answered {reads}")
    now = {name: process.pid for name, process in scene.processes.items() if process.serving}
    scene.check(now == pids, f"processes were {pids}, and now are {now}")
    scene.fault_is_over()
    scene.recover(WORKER_RECOVERY_S)
    scene.finish()


@scenario("abandoned-calls", "callers and subscribers that cancel, go silent, disappear or never read")
def abandoned_calls(scene: Scene) -> None:
    scene.start(server=True)
    scene.platform.send(scene.submissions(5_000))
    scene.wait_applied(5_000)
    server = scene.processes["server"]
    readers = [scene.reader(pause_s=0.01) for _ in range(2)]
    scene.spend(3.0)
    for reader in readers:
        reader.forget()
    scene.spend(6.0)
    quiet_ms = p99(readers)
    with wire.Abandoning(server.address, scene.api_key) as abandoning:
        # Allocations made once for many calls are not growth.
        scene.spend(4.0)
        before = server.resident_bytes
        for reader in readers:
            reader.forget()
        # The only scenario of more than 45 s: a small leak per call is visible after a minute.
        scene.spend(60.0)
        abandoned_ms, grown_mib = p99(readers), (server.resident_bytes - before) >> 20
    answers = sum((reader.answers for reader in readers), Counter())
    scene.row.notes |= {"p99_ms": [quiet_ms, abandoned_ms], "grown_mib": grown_mib, "answers": dict(answers)}
    scene.row.notes["subscribed"] = abandoning.subscribed
    scene.check(abandoning.subscribed > 0, "nobody subscribed")
    scene.check(answers.keys() == {"OK"}, f"other callers were answered {dict(answers)}")
    scene.check(grown_mib <= 16, f"the server's memory grew by {grown_mib} MiB")
    scene.check(abandoned_ms <= max(2 * quiet_ms, 50.0), f"p99 of others went from {quiet_ms} to {abandoned_ms} ms")
    scene.fault_is_over()
    scene.recover(WORKER_RECOVERY_S)
    scene.finish()


def p99(readers: Sequence[Reader]) -> float:
    """The 99th percentile of readers' latencies, in milliseconds."""
    waited = sorted(itertools.chain.from_iterable(reader.latencies_ms for reader in readers))
    return round(waited[int(len(waited) * 0.99)], 1)
