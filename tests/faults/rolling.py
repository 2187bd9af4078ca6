"""A rolling update of the workers, as an orchestrator does it: the new one serves before the old one is stopped."""

from __future__ import annotations

import threading
import time
from typing import Self

from tests.faults.log_load import LogLoad
from tests.faults.scenarios import WORKER_RECOVERY_S, scenario
from tests.faults.scene import Scene

# A little more than what must be reached on average.
_PER_S = 5_200
_PER_S_AT_LEAST = 5_000
_UNREAD_MOST_S = 3.0
_STOP_DEADLINE_S = 30.0
_SAMPLE_EVERY_S = 0.02


@scenario("rolling-update", "both workers are replaced, one after the other, under 5,000 events a second")
def rolling_update(scene: Scene) -> None:
    scene.redis.start()
    scene.start_ingest()
    for number in (1, 2):
        _start_worker(scene, number)
    scene.wait_serving()
    with LogLoad(scene.kafka, scene.partitions, per_s=_PER_S, seed=scene.row.seed) as load:
        scene.wait_applied(2 * _PER_S)
        begun_s, before = time.monotonic(), load.confirmed
        with _Unread(scene, load) as unread:
            for number in (1, 2):
                _start_worker(scene, number + 2)
                scene.wait_serving()
                old = scene.processes.pop(f"worker-{number}")
                old.signal_stop()
                scene.wait(lambda old=old: not old.child.running, _STOP_DEADLINE_S, "stopping")  # type: ignore[misc]
                scene.check(
                    old.child._process.returncode == 0, f"{old.name} ended with {old.child._process.returncode}"
                )
            scene.spend(1.0)
        took_s = time.monotonic() - begun_s
        per_s = round((load.confirmed - before) / took_s)
    scene.row.notes |= {
        "update_s": round(took_s, 1),
        "events_per_s": per_s,
        "partition_unread_s": round(unread.longest_s, 2),
        "all_unread_s": round(unread.all_s, 2),
    }
    scene.check(per_s >= _PER_S_AT_LEAST, f"the load was {per_s} events/s")
    scene.check(
        unread.longest_s <= _UNREAD_MOST_S, f"partition {unread.partition} was not read for {unread.longest_s:.1f} s"
    )
    scene.include(load)
    scene.fault_is_over()
    scene.recover(WORKER_RECOVERY_S)
    scene.finish()


def _start_worker(scene: Scene, number: int) -> None:
    # As workers are configured by default.
    scene.start_worker(
        number, CAIRN_BATCH_RECORDS="20000", CAIRN_REWIND_RECORDS="1000", CAIRN_SESSION_TIMEOUT_MS="6000"
    )


class _Unread:
    """While the block runs, the longest time in which a partition's position stood still although records waited.

    Attributes:
        longest_s: that time.
        partition: the partition.
        all_s: the longest time in which none moved.
    """

    def __init__(self, scene: Scene, load: LogLoad) -> None:
        self._scene = scene
        self._load = load
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.longest_s = 0.0
        self.partition = -1
        self.all_s = 0.0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()

    def _watch(self) -> None:
        moved: dict[int, tuple[int, float]] = {}
        any_moved_s = time.monotonic()
        while not self._stopping.wait(_SAMPLE_EVERY_S):
            now_s = time.monotonic()
            for partition, position in self._scene.positions(1).items():
                before, since_s = moved.get(partition, (-1, now_s))
                if now_s - since_s > self.longest_s:
                    self.longest_s, self.partition = now_s - since_s, partition
                if position != before or position >= self._load.ends.get(partition, 0):
                    moved[partition] = (position, now_s)
                    any_moved_s = now_s
            self.all_s = max(self.all_s, now_s - any_moved_s)
