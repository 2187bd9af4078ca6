"""Damaged values in Redis: their learners are quarantined, the others go on, and a repair brings them back."""

from __future__ import annotations

import grpc

from cairn.v1 import recommender_pb2, recommender_pb2_grpc
from services.recommender.adapters.redis.keys import learner_keys, position_key
from tests.faults.scenarios import WORKER_RECOVERY_S, scenario
from tests.faults.scene import PARTITIONS, Scene

# Each kind of value is damaged in its own way, one learner each.
LEARNERS = ("learner-1", "learner-2", "learner-3", "learner-4", "learner-5")


@scenario("damaged-value", "values in Redis truncated, with a flipped bit, of the wrong type or version, or gone")
def damaged_value(scene: Scene) -> None:
    scene.start(server=True)
    events = scene.submissions(6_000)
    scene.platform.send(events[:3_000])
    scene.wait_drained()
    # Without their caches, workers read what is stored.
    for worker in scene.workers:
        worker.kill(restart=False)
    damage(scene)
    for worker in scene.workers:
        worker.start()
    scene.wait_serving()
    scene.fault_is_over()
    scene.begin(events[3_000:], per_s=700)
    scene.recover(WORKER_RECOVERY_S)
    scene.wait_drained()
    ended = {worker.name: worker.exits for worker in scene.workers if worker.restarts}
    scene.check(not ended, f"workers ended because of damaged values: {ended}")
    quarantined = sum_of(scene, "quarantined")
    scene.check(quarantined > 0, "no record was counted as quarantined")
    answers = {learner: code_of(scene, learner) for learner in (*LEARNERS, "learner-6")}
    expected = dict.fromkeys(LEARNERS, "DATA_LOSS") | {"learner-6": "OK"}
    scene.check(answers == expected, f"reads were answered {answers}")
    said = scene.cairn("learner", "repair", "--all")
    scene.check(said.count("is repaired") == len(LEARNERS), f"the repair said {said!r}")
    answers = {learner: code_of(scene, learner) for learner in LEARNERS}
    scene.check(set(answers.values()) == {"OK"}, f"after the repair, reads were answered {answers}")
    scene.row.notes["quarantined"] = quarantined
    scene.finish()


def damage(scene: Scene) -> None:
    """Damage what is stored about each of the learners."""
    one, two, three, four, five = (learner_keys(1, scene.key_of(learner)) for learner in LEARNERS)
    with scene.redis.client() as client:
        client.hset(one[0], "blob", client.hget(one[0], "blob")[:-3])
        entries = client.hget(two[1], "entries")
        client.hset(two[1], "entries", entries[:9] + bytes((entries[9] ^ 4,)) + entries[10:])
        client.delete(three[2])
        client.set(three[2], "a string")
        client.hset(four[0], "blob", b"\x07" + client.hget(four[0], "blob")[1:])
        client.delete(five[0])


def sum_of(scene: Scene, field: str) -> int:
    """A count of the first epoch, over its partitions."""
    with scene.redis.client() as client:
        return sum(int(client.hget(position_key(1, partition), field) or 0) for partition in range(PARTITIONS))


def code_of(scene: Scene, learner: str) -> str:
    """The status of reading a learner."""
    with grpc.insecure_channel(scene.processes["server"].address) as channel:
        stub = recommender_pb2_grpc.RecommendationServiceStub(channel)
        metadata = (("authorization", f"Bearer {scene.api_key}"),)
        try:
            stub.GetLearner(recommender_pb2.GetLearnerRequest(learner_id=learner), metadata=metadata, timeout=10)
        except grpc.RpcError as error:
            return str(error.code().name)
    return "OK"
