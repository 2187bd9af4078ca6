"""What operators do to a running system: they move a group's offsets, and replace an encryption key."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import aiokafka

from services.common.auth.encryption_keys import set_encryption
from services.common.kafka.connection import KafkaConnection, topic_end_offsets
from services.common.kafka.envelope import LEARNER_EVENTS
from tests.faults.scenarios import WORKER_RECOVERY_S, scenario
from tests.faults.scene import PARTITIONS, START_DEADLINE_S, TENANT, Scene

_GROUP = "cairn-recommender-1"
_BEYOND_THE_END = 1_000


@scenario("offsets-reset", "the group's offsets are set to the beginning, the end and beyond while workers are down")
def offsets_reset(scene: Scene) -> None:
    scene.start()
    events = scene.submissions(6_000)
    scene.platform.send(events[:3_000])
    scene.wait_applied(2_000)
    for number in range(3):
        for worker in scene.workers:
            worker.stop()
        # These are in no state yet; offsets at the end or beyond would skip them.
        scene.platform.send(events[3_000 + 1_000 * number : 4_000 + 1_000 * number])
        ends = asyncio.run(topic_end_offsets(scene.kafka, LEARNER_EVENTS))
        offsets = (
            dict.fromkeys(ends, 0),
            dict(ends),
            {partition: end + _BEYOND_THE_END for partition, end in ends.items()},
        )[number]
        asyncio.run(_commit(scene.kafka, offsets))
        scene.check(scene.committed(_GROUP) == offsets, f"the group's offsets are {scene.committed(_GROUP)}")
        for worker in scene.workers:
            worker.start()
        scene.fault_is_over()
        scene.recover(WORKER_RECOVERY_S)
        scene.wait_drained()
        committed, ends = scene.committed(_GROUP), asyncio.run(topic_end_offsets(scene.kafka, LEARNER_EVENTS))
        scene.wait(lambda: scene.committed(_GROUP) == ends, 10.0, f"committing {ends} after {committed}")  # noqa: B023
    scene.finish()
    scene.check(scene.row.duplicates <= scene.platform.resent, "records read again were counted as duplicates")


async def _commit(connection: KafkaConnection, offsets: Mapping[int, int]) -> None:
    """Set a group's offsets, as kafka-consumer-groups.sh does; the group must have no members."""
    consumer = aiokafka.AIOKafkaConsumer(
        bootstrap_servers=connection.bootstrap_servers, group_id=_GROUP, enable_auto_commit=False
    )
    await consumer.start()
    try:
        partitions = [aiokafka.TopicPartition(LEARNER_EVENTS, partition) for partition in range(PARTITIONS)]
        consumer.assign(partitions)
        await consumer.commit({each: offsets[each.partition] for each in partitions})
    finally:
        await consumer.stop()


@scenario("key-rotation", "kill -9 of each worker in turn while the tenant's encryption key is replaced")
def key_rotation(scene: Scene) -> None:
    set_encryption(scene.tenants_file, TENANT, encrypt=True)
    scene.start()
    scene.begin(6_000, per_s=400)
    scene.wait_applied(1_000)
    with ThreadPoolExecutor(1) as pool:
        for number, step in enumerate(("prepare", "switch", "finish")):
            worker = scene.workers[number % 2]
            command = pool.submit(scene.cairn, "keys", "rotate-encryption", step, "--tenant", TENANT)
            worker.kill()
            scene.wait(command.done, START_DEADLINE_S, f"the step {step}")
            command.result()
            # The next step may begin once every process has the tenants file; they read it again each second.
            scene.spend(2.0)
    scene.fault_is_over()
    scene.recover(WORKER_RECOVERY_S)
    scene.finish()
    scene.check(scene.row.dead_lettered == 0, f"{scene.row.dead_lettered} records could not be decrypted")
