"""Disks that are full, for Redis and for a broker.

A process whose files may grow no further (RLIMIT_FSIZE) gets an error from every write, as on a full disk, and no
privileges are needed. The error is EFBIG instead of ENOSPC; neither Redis nor Kafka tells them apart.
"""

from __future__ import annotations

import resource
from contextlib import suppress
from pathlib import Path

import psutil

from services.common.kafka.envelope import LEARNER_EVENTS
from tests.faults.redis_server import DurableRedis
from tests.faults.scenarios import BROKER_RECOVERY_S, paused, scenario
from tests.faults.scene import Scene

_ROOM_BYTES = 64 * 1024


def fill_disk(pid: int, largest_bytes: int) -> None:
    """Let no file of a process grow beyond this size; it goes on without a limit after `free_disk`."""
    psutil.Process(pid).rlimit(resource.RLIMIT_FSIZE, (largest_bytes, resource.RLIM_INFINITY))


def free_disk(pid: int) -> None:
    """Let the files of a process, if it still runs, grow again."""
    with suppress(psutil.NoSuchProcess):
        psutil.Process(pid).rlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


@scenario("redis-disk-full", "the disk of Redis's append-only file is full")
def redis_disk_full(scene: Scene) -> None:
    scene.redis = DurableRedis(scene.directory / "redis", appendonly=True, survives_full_disk=True)

    def fill() -> None:
        scene.wait(lambda: scene.redis.rewritten, 10.0, "rewriting the append-only file")
        fill_disk(scene.redis.child.pid, _largest(scene.redis.directory) + _ROOM_BYTES)

    paused(scene, fill, lambda: free_disk(scene.redis.child.pid))


@scenario("broker-disk-full", "the disk of a broker is full, until it is restarted with room", of_the_broker=True)
def broker_disk_full(scene: Scene) -> None:
    scene.start()
    scene.begin(6_000, per_s=700)
    scene.wait_applied(1_500)
    node = scene.bench.cluster.nodes[0]
    broker = node.child.pid
    scene.running.callback(free_disk, broker)
    fill_disk(broker, node.largest_log_bytes(LEARNER_EVENTS) + _ROOM_BYTES)
    # A broker whose only log folder fails gives up.
    scene.wait(lambda: not node.running, BROKER_RECOVERY_S, "the end of a broker without room")
    if len(scene.bench.cluster.nodes) == 1:
        scene.wait(lambda: scene.platform.answers["UNAVAILABLE"] > 0, 25.0, "UNAVAILABLE")
    node.start()
    node.wait_ready()
    scene.fault_is_over()
    scene.recover(BROKER_RECOVERY_S)
    scene.row.notes["answers"] = dict(scene.platform.answers)
    scene.finish()


def _largest(directory: Path) -> int:
    return max(path.stat().st_size for path in directory.rglob("*") if path.is_file())
