"""A rolling update of the workers, as an orchestrator does it: the new one serves before the old one is stopped."""

from __future__ import annotations

import time

from tests.faults.log_load import LogLoad
from tests.faults.scenarios import WORKER_RECOVERY_S, scenario
from tests.faults.scene import Scene
from tests.faults.unread import Unread

# A little more than what must be reached on average.
_PER_S = 5_200
_PER_S_AT_LEAST = 5_000
_UNREAD_MOST_S = 3.0
_STOP_DEADLINE_S = 30.0


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
        with Unread(lambda: scene.positions(1), load.ends) as unread:
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
