"""The topic of learners' keys is lost, comes back in parts, and lags behind: nothing counts as erased or is lost."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

import aiokafka
from kafka.admin import KafkaAdminClient

from services.common.auth.api_keys import create_api_key
from services.common.auth.tenants_file import load_tenants
from services.common.kafka.envelope import LEARNER_KEYS
from services.common.kafka.topics import ensure_topics, load_declarations
from services.recommender.adapters.redis.keys import position_key
from tests.faults.log_records import read_all
from tests.faults.scenarios import scenario
from tests.faults.scene import PARTITIONS, START_DEADLINE_S, TENANT, Scene

_NOTICED_WITHIN_S = 30.0


@scenario("keys-lost", "the topic of learners' keys is deleted and created again empty, then restored from a copy")
def keys_lost(scene: Scene) -> None:
    _encrypt(scene)
    scene.start()
    events = scene.submissions(4_000)
    scene.platform.send(events[:1_000])
    scene.wait_drained()
    _lost_while_workers_are_down(scene, events[1_000:2_000])
    _lost_while_all_run(scene, events[2_000:])
    scene.check(_counted(scene, "erased") == 0, "records whose keys were lost for a while count as erased")
    scene.finish()


def _lost_while_workers_are_down(scene: Scene, events: Sequence[object]) -> None:
    for worker in scene.workers:
        worker.stop()
    scene.platform.send(events)
    before = scene.positions(1)
    copy = _lose(scene)
    ingest = scene.processes["ingest"]
    scene.wait(lambda: bool(ingest.exits), _NOTICED_WITHIN_S, "ingest noticing that its keys are lost")
    for worker in scene.workers:
        worker.start()
    scene.wait(lambda: all(worker.serving is False for worker in scene.workers), START_DEADLINE_S, "workers starting")
    scene.wait(lambda: "keys of learners are missing" in _log(scene), START_DEADLINE_S, "a worker naming the keys")
    scene.spend(5.0)
    scene.check(scene.positions(1) == before, "workers went on although keys were missing")
    scene.check(not ingest.serving, "ingest serves without the keys of the log")
    _check_refused(scene, "replay", "--epoch", "2", "--parameters", "same")
    _check_refused(scene, "train")
    scene.check("waits for keys of learners" in _status(scene), "cairn status does not name the missing keys")
    # The copy arrives in two parts, as from a replica that lags behind.
    restarts = [worker.restarts for worker in scene.workers]
    _restore(scene, copy[: len(copy) // 2])
    scene.spend(3.0)
    scene.check(not scene.drained(scene.ends()), "half of the keys sufficed for every record")
    _restore(scene, copy[len(copy) // 2 :])
    scene.fault_is_over()
    scene.wait_drained()
    scene.wait_serving()
    scene.check([worker.restarts for worker in scene.workers] == restarts, "workers did not go on by themselves")


def _lost_while_all_run(scene: Scene, events: Sequence[object]) -> None:
    scene.begin(events, per_s=400)  # type: ignore[arg-type]
    scene.wait_applied(2_500)
    ingest = scene.processes["ingest"]
    exits = len(ingest.exits)
    copy = _lose(scene)
    scene.wait(lambda: len(ingest.exits) > exits, _NOTICED_WITHIN_S, "ingest noticing that its keys are lost")
    acknowledged = len(scene.platform.acknowledged)
    scene.wait(lambda: not any(worker.serving for worker in scene.workers), _NOTICED_WITHIN_S, "workers noticing it")
    scene.spend(5.0)
    scene.check(len(scene.platform.acknowledged) == acknowledged, "ingest acknowledges events without their keys")
    _restore(scene, copy)
    scene.fault_is_over()
    scene.wait_drained()
    scene.wait_serving()


def _encrypt(scene: Scene) -> None:
    scene.tenants_file.unlink()
    scene.api_key = create_api_key(scene.tenants_file, TENANT, "faults", encryption=True)
    scene.tenant = load_tenants(scene.tenants_file).get(TENANT)


def _lose(scene: Scene) -> list[aiokafka.ConsumerRecord]:
    """Delete the topic and create it again; return what it held."""
    connection = scene.bench.cluster.connection
    copy = asyncio.run(read_all(connection, LEARNER_KEYS))
    admin = KafkaAdminClient(bootstrap_servers=connection.bootstrap_servers.split(","))
    try:
        admin.delete_topics([LEARNER_KEYS])
        scene.wait(lambda: LEARNER_KEYS not in admin.list_topics(), 20.0, "deleting the topic")
    finally:
        admin.close()
    declared = {LEARNER_KEYS: load_declarations()[LEARNER_KEYS]}

    def created() -> bool:
        with contextlib.suppress(ConnectionError):
            ensure_topics(connection, declared, replication_factor=scene.bench.nodes)
            return True
        return False

    scene.wait(created, 30.0, "creating the topic again")
    return copy


def _restore(scene: Scene, copy: Sequence[aiokafka.ConsumerRecord]) -> None:
    async def write() -> None:
        producer = aiokafka.AIOKafkaProducer(bootstrap_servers=scene.bench.cluster.connection.bootstrap_servers)
        await producer.start()
        try:
            for one in copy:
                await producer.send_and_wait(LEARNER_KEYS, one.value, one.key, headers=list(one.headers))
        finally:
            await producer.stop()

    asyncio.run(write())


def _check_refused(scene: Scene, *words: str) -> None:
    done = scene.run(*words)
    named = "learner-keys" in done.stderr and "Restore" in done.stderr
    scene.check(done.returncode != 0 and named, f"cairn {words[0]} ended with {done.returncode}: {done.stderr}")


def _status(scene: Scene) -> str:
    return scene.run("status", "--json", "-", CAIRN_TARGET_WORKER=scene.workers[0].address).stdout


def _log(scene: Scene) -> str:
    return "".join(worker.log.read_text(errors="replace") for worker in scene.workers)


def _counted(scene: Scene, field: str) -> int:
    with scene.redis.client() as client:
        return sum(int(client.hget(position_key(1, partition), field) or 0) for partition in range(PARTITIONS))
