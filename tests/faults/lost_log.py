"""The log loses records: its end, as after an unclean election or with a restored disk, or its beginning."""

from __future__ import annotations

import asyncio
import shutil
from collections import Counter
from pathlib import Path

import kafka
from kafka.admin import KafkaAdminClient

from cairn.v1 import ingest_pb2
from services.common.kafka.connection import topic_span
from services.common.kafka.envelope import LEARNER_EVENTS
from tests.faults import checks
from tests.faults.log_records import read_log
from tests.faults.scenarios import BROKER_RECOVERY_S, scenario
from tests.faults.scene import START_DEADLINE_S, Scene

_LOST = "the log lost records that were there when epoch 1 was folded"
_DELETED = "records were deleted from the log before epoch 1 had folded them"


@scenario(
    "log-tail-lost",
    "brokers' disks are restored to an earlier state while workers are down; later the log grows past their position",
    of_the_broker=True,
)
def log_tail_lost(scene: Scene) -> None:
    events, early = _begin(scene)
    _stop_workers(scene)
    late = _copy_disks(scene, "late")
    before = scene.positions(1)

    _restore_disks(scene, early)
    _check_refused_by_workers(scene, _LOST)
    scene.check(scene.positions(1) == before, "workers moved the positions of an epoch that holds lost records")
    _check_refused(scene, ("replay", "--epoch", "2", "--parameters", "same"), _LOST)
    # The first remedy: the records come back.
    _stop_workers(scene)
    _restore_disks(scene, late)
    _start_workers(scene)
    scene.platform.send(events[3_000:3_500])
    scene.wait_drained()
    scene.wait_serving()

    # Now the log grows past the position, with other records, before a worker looks at it.
    _stop_workers(scene)
    before = scene.positions(1)
    _restore_disks(scene, early)
    scene.platform.send(events[3_500:6_000])
    ends = scene.ends()
    scene.check(all(ends[number] > offset for number, offset in before.items()), f"the log did not grow past {before}")
    _check_refused_by_workers(scene, _LOST)
    scene.check(scene.positions(1) == before, "workers moved the positions of an epoch that holds lost records")
    # The second remedy, as the message says.
    _stop_workers(scene)
    scene.cairn("replay", "--epoch", "2", "--parameters", "same", "--accept-loss")
    scene.cairn("epoch", "switch", "2", "--accept-loss")
    _start_workers(scene)
    scene.fault_is_over()
    scene.wait(lambda: scene.current_epoch() == 2, START_DEADLINE_S, "serving epoch 2")
    scene.platform.send_again(events[2_000:3_500])
    scene.wait_serving()
    scene.finish()


@scenario(
    "log-tail-lost-running",
    "brokers' disks are restored to an earlier state while workers run, and other events arrive",
    of_the_broker=True,
)
def log_tail_lost_running(scene: Scene) -> None:
    events, early = _begin(scene)
    exits = [len(worker.exits) for worker in scene.workers]
    _restore_disks(scene, early)
    scene.platform.send(events[3_000:])
    # Twice: a worker that starts again must not go on either.
    scene.wait(
        lambda: all(len(worker.exits) >= number + 2 for worker, number in zip(scene.workers, exits, strict=True)),
        START_DEADLINE_S,
        "workers noticing it while they run, and again when they start",
    )
    for worker in scene.workers:
        scene.check(_LOST in worker.log.read_text(), f"{worker.name} ended without a reason: {worker.last_lines()}")
    # The remedy for a store in which nothing is needed.
    _stop_workers(scene)
    with scene.redis.client() as client:
        client.flushall()
    _start_workers(scene)
    scene.platform.send_again(events[2_000:3_000])
    scene.fault_is_over()
    scene.recover(BROKER_RECOVERY_S)
    scene.finish()


@scenario("log-beginning-lost", "records are deleted that replays need, and then records that no worker has folded")
def log_beginning_lost(scene: Scene) -> None:
    scene.start()
    events = scene.submissions(5_000)
    scene.platform.send(events[:2_000])
    scene.wait_drained()
    _delete_records(scene, {number: end // 2 for number, end in scene.ends().items()})
    scene.platform.send(events[2_000:3_000])
    scene.wait_drained()
    _check_held(scene, 1, 3_000)
    replay = ("replay", "--epoch", "2", "--parameters", "same")
    _check_refused(scene, replay, "the log no longer holds its beginning")
    scene.cairn(*replay, "--accept-loss")
    _check_refused(scene, ("epoch", "switch", "2"), "that epoch 1, which is served, has folded")
    scene.cairn("epoch", "drop", "2")

    _stop_workers(scene)
    before = scene.positions(1)
    scene.platform.send(events[3_000:4_000])
    _delete_records(scene, {number: (before[number] + end) // 2 for number, end in scene.ends().items()})
    _check_refused_by_workers(scene, _DELETED)
    scene.check(scene.positions(1) == before, "workers skipped deleted records")
    # The remedy, as the message says.
    _stop_workers(scene)
    _check_refused(scene, replay, "the log no longer holds its beginning")
    scene.cairn(*replay, "--accept-loss")
    _check_refused(scene, ("epoch", "switch", "2"), "that epoch 1, which is served, has folded")
    scene.cairn("epoch", "switch", "2", "--accept-loss")
    _start_workers(scene)
    scene.fault_is_over()
    scene.wait(lambda: scene.current_epoch() == 2, START_DEADLINE_S, "serving epoch 2")
    scene.wait_serving()
    # Platforms send again what was acknowledged and is gone.
    held = {record.event_id for record in asyncio.run(read_log(scene.bench.cluster.connection))}
    scene.platform.send_again([event for event in events[:4_000] if event.event_id not in held])
    scene.platform.send(events[4_000:])
    scene.recover(BROKER_RECOVERY_S)
    scene.finish()


def _begin(scene: Scene) -> tuple[list[ingest_pb2.EventSubmission], list[Path]]:
    """Fold 3,000 events of 6,000; return all, and copies of the disks from when they held 2,000."""
    scene.start()
    events = scene.submissions(6_000)
    scene.platform.send(events[:2_000])
    scene.wait_drained()
    early = _copy_disks(scene, "early")
    scene.platform.send(events[2_000:3_000])
    scene.wait_drained()
    return events, early


def _copy_disks(scene: Scene, name: str) -> list[Path]:
    """Stop all brokers, copy their disks, and start them again."""
    cluster = scene.bench.cluster
    copies = [scene.directory / name / str(node.node_id) for node in cluster.nodes]
    cluster.stop()
    for node, copy in zip(cluster.nodes, copies, strict=True):
        node.copy_data(copy)
    cluster.start()
    scene.running.callback(shutil.rmtree, scene.directory / name)
    return copies


def _restore_disks(scene: Scene, copies: list[Path]) -> None:
    """Kill all brokers, and start them with the disks that they had."""
    cluster = scene.bench.cluster
    for node in cluster.nodes:
        node.kill()
    for node, copy in zip(cluster.nodes, copies, strict=True):
        node.restore_data(copy)
    cluster.start()


def _delete_records(scene: Scene, before: dict[int, int]) -> None:
    """Delete what is before an offset of each partition, as retention does."""
    admin = KafkaAdminClient(bootstrap_servers=scene.bench.cluster.connection.bootstrap_servers.split(","))
    try:
        admin.delete_records({kafka.TopicPartition(LEARNER_EVENTS, number): end for number, end in before.items()})
    finally:
        admin.close()
    span = asyncio.run(topic_span(scene.bench.cluster.connection, LEARNER_EVENTS))
    scene.check({number: begin for number, (begin, _) in span.items()} == before, f"the log holds {span}")


def _stop_workers(scene: Scene) -> None:
    for worker in scene.workers:
        worker.stop()


def _start_workers(scene: Scene) -> None:
    for worker in scene.workers:
        worker.start()


def _check_refused_by_workers(scene: Scene, reason: str) -> None:
    """Start the workers: each must end with a reason, also when it is started again."""
    exits = {worker.name: len(worker.exits) for worker in scene.workers}
    said = {worker.name: worker.log.read_text().count(reason) for worker in scene.workers}
    _start_workers(scene)
    scene.wait(
        lambda: all(len(worker.exits) >= exits[worker.name] + 2 for worker in scene.workers),
        START_DEADLINE_S,
        "the end of workers, twice",
    )
    for worker in scene.workers:
        scene.check(set(worker.exits) == {1}, f"{worker.name} ended with {worker.exits}")
        more = worker.log.read_text().count(reason) - said[worker.name]
        scene.check(more >= 2, f"{worker.name} ended without the reason: {worker.last_lines()}")


def _check_refused(scene: Scene, words: tuple[str, ...], reason: str) -> None:
    done = scene.run(*words)
    named = reason in done.stderr and "--accept-loss" in done.stderr
    scene.check(done.returncode == 2 and named, f"cairn {words} ended with {done.returncode}: {done.stderr}")


def _check_held(scene: Scene, epoch: int, events: int) -> None:
    """The epoch has each of the scenario's first events once, whatever the log still holds."""
    expected: Counter[bytes | None] = Counter(scene.key_of(event.learner_id) for event in scene.submissions(events))
    checks.check_held(scene, epoch, expected)
