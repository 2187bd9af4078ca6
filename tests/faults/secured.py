"""Every connection is encrypted; each part logs in as itself, and may do no more than the documents say."""

from __future__ import annotations

import asyncio
import time

from deploy.local.redis import binary
from deploy.processes import LOOPBACK, free_port
from tests.benchmarks.synthetic import log_events, preload
from tests.faults.redis_server import DurableRedis, has_tls, tls_options, tls_proxy
from tests.faults.scenarios import WORKER_RECOVERY_S, scenario
from tests.faults.scene import START_DEADLINE_S, Scene
from tests.redis_rights import documented_rights

_EVENTS = 200_000
_LEARNERS = 2_000
_RUNS_EACH = 3
# TLS and SCRAM may cost this share of a worker's throughput.
_COST_MAX = 0.25


@scenario("tls", "every part over TLS, logged in, with only the rights it needs; a worker is killed", secured=True)
def tls(scene: Scene) -> None:
    scene.log_in()
    scene.serve_tls()
    redis_over_tls = scene.redis_settings = _start_redis(scene)
    scene.start_ingest()
    for number in (1, 2):
        scene.start_worker(number)
    scene.wait_serving()
    scene.start_server()
    scene.wait_serving()
    reader = scene.reader()
    scene.begin(5_000, per_s=1_000)
    scene.wait_applied(1_000)
    scene.workers[0].kill()
    scene.fault_is_over()
    scene.recover(WORKER_RECOVERY_S)
    scene.finish()
    scene.check(reader.answers["OK"] > 0, f"readers were answered {dict(reader.answers)}")
    _compare_throughput(scene, redis_over_tls)


def _start_redis(scene: Scene) -> dict[str, str]:
    """Start a Redis with TLS.

    Returns:
        How it is reached over TLS, as a user who has the rights that docs/security.md gives.
    """
    assert scene.bench.access is not None
    authority, port = scene.bench.access.authority, free_port()
    signed = authority.sign("redis")
    if has_tls(binary()):
        scene.redis = DurableRedis(scene.directory / "redis", options=tls_options(port, signed, authority.certificate))
    else:
        scene.running.enter_context(tls_proxy(port, scene.redis.port, signed))
    scene.redis.start()
    password = scene.directory / "redis.password"
    password.touch(mode=0o600)
    password.write_text("secret", encoding="utf-8")
    with scene.redis.client() as client:
        client.execute_command("ACL", "SETUSER", "cairn", "on", ">secret", *documented_rights())
    return {
        "CAIRN_REDIS": f"rediss://cairn@{LOOPBACK}:{port}/0?ssl_ca_certs={authority.certificate}",
        "CAIRN_REDIS_PASSWORD_FILE": str(password),
    }


def _compare_throughput(scene: Scene, redis_over_tls: dict[str, str]) -> None:
    """A worker folds the same log over plain connections and over TLS, in turns.

    A proxy in Python would cost more than TLS does, so that a Redis without TLS is reached in plain text.
    """
    redis_settings = {"plain": {}, "tls": redis_over_tls if has_tls(binary()) else {}}
    for process in list(scene.processes.values()):
        process.kill(restart=False)
    scene.processes.clear()
    asyncio.run(
        preload(
            scene.bench.cluster.connection,
            log_events(_EVENTS, _LEARNERS, skills=100, items=2_000, seed=scene.row.seed),
            scene.partitions,
        )
    )
    rates: dict[str, list[float]] = {"plain": [], "tls": []}
    for _ in range(_RUNS_EACH):
        for name, of_one in rates.items():
            scene.log_in(secured=name == "tls")
            scene.redis_settings = redis_settings[name]
            of_one.append(_rate(scene))
    # The best of each: whatever else the machine does meanwhile can only slow a run down.
    best = {name: round(max(of_one)) for name, of_one in rates.items()}
    share = round(best["tls"] / best["plain"], 2)
    with_tls = "Kafka and Redis" if redis_settings["tls"] else "Kafka alone: this Redis was built without TLS"
    scene.row.notes |= {"worker_events_per_s": best, "tls_to_plain": share, "with_tls": with_tls}
    scene.check(share >= 1.0 - _COST_MAX, f"over TLS a worker does {share} of what it does without: {rates} events/s")


def _rate(scene: Scene) -> float:
    """Events per second of a worker that starts with an empty Redis, from its first batch on."""
    with scene.redis.client() as client:
        client.flushall()
    worker = scene.start_worker(1, CAIRN_BATCH_RECORDS="20000")
    try:
        end = sum(scene.ends().values())
        scene.wait(lambda: sum(scene.positions(1).values()) > 0, START_DEADLINE_S, "the first batch")
        began_s, first = time.monotonic(), sum(scene.positions(1).values())
        while (done := sum(scene.positions(1).values())) < end:
            scene.tend()
            time.sleep(0.01)
            scene.check(time.monotonic() - began_s < START_DEADLINE_S, f"a worker folded {done} of {end} records")
        return (done - first) / (time.monotonic() - began_s)
    finally:
        worker.kill(restart=False)
        del scene.processes[worker.name]
