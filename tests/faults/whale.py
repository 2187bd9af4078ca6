"""One learner whose events name ever new skills, while others learn."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence

import grpc

from cairn.v1 import ingest_pb2, recommender_pb2, recommender_pb2_grpc
from services.recommender.domain.learner.state import MOST_SKILLS
from tests.faults.publishing import SOURCE, Platform
from tests.faults.scenarios import WORKER_RECOVERY_S, scenario
from tests.faults.scene import Scene

WHALE = "whale"
EVENTS = 2_000
SKILLS_EACH = 16
# What the whale may add to the time from an event's acknowledgement until it is applied. On the whale's own partition
# an event also waits for those of the whale that are before it in the log.
ELSEWHERE_S = 1.0
BEHIND_IT_S = 3.0


@scenario("whale", "2,000 events of one learner name 16 new skills each")
def whale(scene: Scene) -> None:
    scene.redis.start()
    scene.start_ingest()
    for number in (1, 2):
        # Batches of the usual size, so that one may hold everything that the learner sends.
        scene.start_worker(number, CAIRN_BATCH_RECORDS="20000")
    scene.wait_serving()
    scene.start_server()
    scene.wait_serving()
    elsewhere, behind = _learner(scene, same_partition=False), _learner(scene, same_partition=True)
    probes = Platform(scene.processes["ingest"].address, scene.api_key)
    try:
        usual_s = statistics.median(_applied_after_s(scene, probes, [elsewhere], f"usual-{n}") for n in range(10))
        rebalances = _assignments(scene)
        scene.begin(_made_up(scene.row.seed), per_s=1_000)
        waited_s: dict[str, list[float]] = {elsewhere: [], behind: []}
        number = 0
        while not (scene.platform.done and len(waited_s[behind]) >= 5):
            for learner, waited in waited_s.items():
                number += 1
                waited.append(_applied_after_s(scene, probes, [learner], f"meanwhile-{number}"))
        scene.fault_is_over()
    finally:
        probes.close()
        scene.include(probes)
    longest = {"usual": usual_s, "elsewhere": max(waited_s[elsewhere]), "behind": max(waited_s[behind])}
    scene.row.notes |= {"waited_s": {name: round(seconds, 2) for name, seconds in longest.items()}}
    scene.check(longest["elsewhere"] <= usual_s + ELSEWHERE_S, f"events on another partition waited {longest} s")
    scene.check(longest["behind"] <= usual_s + BEHIND_IT_S, f"events on the same partition waited {longest} s")
    scene.check(_assignments(scene) == rebalances, "workers lost their partitions: heartbeats did not go on")
    scene.recover(WORKER_RECOVERY_S)
    _check_answer(scene)
    scene.finish()
    scene.check(scene.row.restarts == 0, f"{scene.row.restarts} processes had to be restarted")


def _made_up(seed: int) -> Sequence[ingest_pb2.EventSubmission]:
    return [
        ingest_pb2.EventSubmission(
            event_id=f"{seed}-{WHALE}-{number}",
            learner_id=WHALE,
            source=SOURCE,
            assessment=ingest_pb2.AssessmentSubmission(
                item=f"item-{number}",
                skills=[f"made up {number:05d}-{skill:02d} {'and so on ' * 5}" for skill in range(SKILLS_EACH)],
                correct=True,
            ),
        )
        for number in range(EVENTS)
    ]


def _learner(scene: Scene, *, same_partition: bool) -> str:
    """A learner on the whale's partition, or on another one."""
    names = (f"small-{number}" for number in range(1_000))
    return next(name for name in names if (scene.partition_of(name) == scene.partition_of(WHALE)) is same_partition)


def _applied_after_s(scene: Scene, probes: Platform, learners: Sequence[str], event_id: str) -> float:
    """Send an event of each learner; the seconds from acknowledgement until all are applied."""
    events = [
        ingest_pb2.EventSubmission(
            event_id=f"{scene.row.seed}-{event_id}-{learner}",
            learner_id=learner,
            source=SOURCE,
            assessment=ingest_pb2.AssessmentSubmission(item="small", skills=["small"], correct=True),
        )
        for learner in learners
    ]
    probes.send(events)
    begun_s = time.monotonic()
    places = [probes.acknowledged[event.event_id] for event in events]

    def applied() -> bool:
        reached = scene.positions(1)
        return all(reached[place.partition] > place.offset for place in places)

    scene.wait(applied, 60.0, f"applying {event_id}")
    return time.monotonic() - begun_s


def _assignments(scene: Scene) -> list[int]:
    """How often each worker was assigned partitions."""
    return [worker.log.read_text().count("partitions assigned") for worker in scene.workers]


def _check_answer(scene: Scene) -> None:
    """The learner's state is answered, and says that it has no room."""
    with grpc.insecure_channel(scene.processes["server"].address) as channel:
        stub = recommender_pb2_grpc.RecommendationServiceStub(channel)
        metadata = (("authorization", f"Bearer {scene.api_key}"),)
        begun_s = time.monotonic()
        reply = stub.GetLearner(recommender_pb2.GetLearnerRequest(learner_id=WHALE), metadata=metadata, timeout=10.0)
        answered_s = time.monotonic() - begun_s
    scene.row.notes["get_learner_s"] = round(answered_s, 2)
    scene.check(
        (len(reply.skills), reply.skill_limit_reached) == (MOST_SKILLS, True),
        f"GetLearner shows {len(reply.skills)} skills, limit reached: {reply.skill_limit_reached}",
    )
    scene.check(answered_s <= 1.0, f"GetLearner took {answered_s:.1f} s")
