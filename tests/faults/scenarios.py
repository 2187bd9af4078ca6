"""The faults, one function each. What must hold after every one of them, `Scene.finish` checks."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from tests.faults.results import Row, ScenarioFailedError
from tests.faults.scene import PARTITIONS, SESSION_TIMEOUT_MS, Bench, Scene

WORKER_RECOVERY_S = 15.0
BROKER_RECOVERY_S = 30.0


@dataclass(frozen=True)
class Scenario:
    """One fault.

    Attributes:
        name: what to call it.
        fault: what happens, in a few words.
        run: makes it happen, and checks what must hold.
        of_the_broker: whether the fault is the broker's, so that it is of interest on three nodes too.
    """

    name: str
    fault: str
    run: Callable[[Scene], None]
    of_the_broker: bool


SCENARIOS: dict[str, Scenario] = {}


def scenario(name: str, fault: str, *, of_the_broker: bool = False) -> Callable[[Callable[[Scene], None]], None]:
    """Enter a function into SCENARIOS."""

    def enter(run: Callable[[Scene], None]) -> None:
        SCENARIOS[name] = Scenario(name, fault, run, of_the_broker)

    return enter


def run_scenario(bench: Bench, name: str, seed: int) -> Row:
    """Run a scenario; the row tells whether everything held."""
    begun_s = time.monotonic()
    row = Row(name, bench.nodes, seed)
    try:
        with bench.scene(name, seed) as scene:
            row = scene.row
            SCENARIOS[name].run(scene)
    except (ScenarioFailedError, AssertionError) as error:
        row.failure = str(error) or repr(error)
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
        # As long as there is no broker, ingest says so.
        scene.wait(lambda: scene.platform.answers["UNAVAILABLE"] > 0, 25.0, "UNAVAILABLE")
        told = len(scene.platform.acknowledged)
        scene.spend(1.0)
        scene.check(len(scene.platform.acknowledged) == told, "ingest acknowledged events without a broker")
    victim.start()
    scene.fault_is_over()
    victim.wait_ready()
    scene.recover(BROKER_RECOVERY_S)
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


@scenario("zombie", "a worker is stopped for longer than the session timeout, then runs on")
def zombie(scene: Scene) -> None:
    scene.start()
    scene.begin(6_000, per_s=700)
    scene.wait_applied(1_500)
    worker = scene.processes["worker-1"]
    worker.pause()
    scene.fault_is_over()
    before = scene.positions(1)
    scene.wait(
        lambda: all(now > before[partition] for partition, now in scene.positions(1).items()),
        WORKER_RECOVERY_S,
        "taking the silent worker's partitions over",
    )
    scene.spend(SESSION_TIMEOUT_MS / 1000)
    worker.resume()
    scene.recover(WORKER_RECOVERY_S)
    scene.finish()
