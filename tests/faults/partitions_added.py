"""Partitions are added to the log: nothing is folded or lost until `cairn topics repartition` has moved the records."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread

import grpc
from kafka import KafkaProducer
from kafka.admin import KafkaAdminClient

from cairn.v1 import ingest_pb2, ingest_pb2_grpc, recommender_pb2, recommender_pb2_grpc
from services.common.kafka.envelope import LEARNER_EVENTS
from services.common.kafka.partitioner import partition_of
from services.common.kafka.repartition import copy_of
from tests.faults.checks import digest_of
from tests.faults.log_records import read_all, read_log
from tests.faults.scenarios import BROKER_RECOVERY_S, scenario
from tests.faults.scene import START_DEADLINE_S, Scene

_LEARNER = "learner-1"
_REMEDY = "cairn topics repartition"


@scenario("partitions-added", "partitions are added, first while nothing is sent, then while events arrive")
def partitions_added(scene: Scene) -> None:
    scene.start(server=True)
    events = scene.submissions(5_000)
    scene.platform.send(events[:2_500])
    token = _publish(scene, events[2_500])
    scene.wait_drained()
    cursor = _subscribe(scene, "")
    scene.check(bool(cursor), "no list was sent to a new subscriber")
    before = digest_of(scene, 1)
    reader = scene.reader()

    _add_partitions(scene, 8)
    _check_refused(scene)
    _stop(scene)
    _repartition(scene, 8)
    _replay(scene, 2)
    after = digest_of(scene, 2)
    scene.check(after == before, f"before the records were moved the epoch was {before}, then {after}")
    _start(scene, 2)
    scene.check(reader.answers.keys() == {"OK"}, f"reads were answered {dict(reader.answers)} meanwhile")
    reader.close()
    # What platforms hold: a token belongs to the log before, a cursor says what the reader has.
    # A server looks for the epoch that is served about once a second.
    refused = "FAILED_PRECONDITION"
    scene.wait(lambda: _code_with(scene, token) == refused, BROKER_RECOVERY_S, "refusing a token of the log before")
    scene.wait(lambda: not _subscribe(scene, cursor), BROKER_RECOVERY_S, "a cursor that stays valid")
    fresh = _publish(scene, events[2_501])
    answered = _code_with(scene, fresh)
    scene.check(answered == "OK", f"a freshness token of the log now was answered {answered}")

    _delete_copy(scene)
    _add_partitions(scene, 12)
    with _another_writer(scene, 12):
        done = scene.run("topics", "repartition", "--kafka", scene.kafka.bootstrap_servers)
    scene.check(
        done.returncode == 2 and "somebody writes to" in done.stderr, f"while events arrive it ended with {done}"
    )
    scene.begin(events[2_502:], per_s=500)
    _check_refused(scene)
    scene.wait(lambda: scene.platform.done, START_DEADLINE_S, "acknowledging every event")
    _stop(scene)
    _repartition(scene, 12)
    _replay(scene, 3)
    _start(scene, 3)
    scene.fault_is_over()
    scene.recover(BROKER_RECOVERY_S)
    _check_order(scene)
    scene.finish()


def _add_partitions(scene: Scene, partitions: int) -> None:
    admin = KafkaAdminClient(bootstrap_servers=scene.kafka.bootstrap_servers.split(","))
    try:
        admin.create_partitions({LEARNER_EVENTS: partitions})
    finally:
        admin.close()


@contextmanager
def _another_writer(scene: Scene, partitions: int) -> Iterator[None]:
    """Something writes an event to the log again and again; ingest may notice the new partitions and end meanwhile."""
    record = asyncio.run(read_all(scene.kafka, LEARNER_EVENTS))[0]
    producer = KafkaProducer(bootstrap_servers=scene.kafka.bootstrap_servers.split(","))
    enough = Event()

    def write() -> None:
        while not enough.wait(0.05):
            producer.send(
                LEARNER_EVENTS,
                record.value,
                record.key,
                list(record.headers),
                partition=partition_of(record.key, partitions),
            )
            scene.platform.resent += 1

    writer = Thread(target=write)
    writer.start()
    try:
        yield
    finally:
        enough.set()
        writer.join()
        producer.close()


def _delete_copy(scene: Scene) -> None:
    admin = KafkaAdminClient(bootstrap_servers=scene.kafka.bootstrap_servers.split(","))
    try:
        admin.delete_topics([copy_of(LEARNER_EVENTS)])
    finally:
        admin.close()


def _check_refused(scene: Scene) -> None:
    """Workers end and name the remedy, and so does a replay."""
    exits = {worker.name: len(worker.exits) for worker in scene.workers}
    scene.wait(
        lambda: all(len(worker.exits) > exits[worker.name] for worker in scene.workers),
        START_DEADLINE_S,
        "workers noticing that partitions were added",
    )
    for worker in scene.workers:
        scene.check(_REMEDY in worker.log.read_text(), f"{worker.name} names no remedy: {worker.last_lines()}")
    done = scene.run("replay", "--epoch", "9", "--parameters", "same")
    scene.check(done.returncode == 2 and _REMEDY in done.stderr, f"cairn replay ended with {done}")


def _stop(scene: Scene) -> None:
    """Stop ingest and the workers, as the remedy says."""
    for process in (scene.processes["ingest"], *scene.workers):
        process.stop()


def _repartition(scene: Scene, partitions: int) -> None:
    """Move the records; every acknowledged event must still be in the log, from now on at another position."""
    said = scene.cairn("topics", "repartition", "--kafka", scene.kafka.bootstrap_servers)
    scene.check(f"{partitions} partitions" in said and "from another one" in said, f"cairn topics repartition: {said}")
    scene.partitions = partitions
    at = {record.event_id: record.position for record in asyncio.run(read_log(scene.kafka))}
    acknowledged = scene.platform.acknowledged
    gone = acknowledged.keys() - at.keys()
    scene.check(not gone, f"{len(gone)} acknowledged events are not in the log any more")
    acknowledged.update({event_id: at[event_id] for event_id in acknowledged})


def _replay(scene: Scene, epoch: int) -> None:
    scene.cairn("replay", "--epoch", str(epoch), "--parameters", "same")
    scene.cairn("epoch", "switch", str(epoch))


def _start(scene: Scene, epoch: int) -> None:
    for process in (scene.processes["ingest"], *scene.workers):
        process.start()
    scene.wait_serving()
    scene.wait(lambda: scene.current_epoch() == epoch, START_DEADLINE_S, f"serving epoch {epoch}")


def _check_order(scene: Scene) -> None:
    """Each learner's records are on one partition, in the order in which they were sent."""
    # In order, by learner; what was sent again is there once.
    numbers: dict[bytes | None, dict[int, None]] = defaultdict(dict)
    places: dict[bytes | None, set[int]] = defaultdict(set)
    for record in sorted(asyncio.run(read_log(scene.kafka)), key=lambda record: record.position):
        places[record.key].add(record.position.partition)
        numbers[record.key].setdefault(int(record.event_id.rpartition("-")[2]))
    torn = [key for key, found in places.items() if len(found) > 1]
    scene.check(not torn, f"records of {len(torn)} learners are on several partitions")
    mixed = [key for key, found in numbers.items() if list(found) != sorted(found)]
    scene.check(not mixed, f"records of {len(mixed)} learners are in another order than they were sent")


def _publish(scene: Scene, event: ingest_pb2.EventSubmission) -> str:
    """Send an event of the learner; return its freshness token."""
    mine = ingest_pb2.EventSubmission()
    mine.CopyFrom(event)
    mine.learner_id = _LEARNER
    platform = scene.platform
    with grpc.insecure_channel(scene.processes["ingest"].address) as channel:
        request = ingest_pb2.PublishEventsRequest(events=[mine])
        reply = ingest_pb2_grpc.IngestServiceStub(channel).PublishEvents(
            request, metadata=_key(scene), timeout=10, wait_for_ready=True
        )
    platform.sent.add(mine.event_id)
    platform.note(reply)
    return str(reply.results[0].freshness_token)


def _code_with(scene: Scene, token: str) -> str:
    """The status of reading the learner with a freshness token."""
    with grpc.insecure_channel(scene.processes["server"].address) as channel:
        stub = recommender_pb2_grpc.RecommendationServiceStub(channel)
        request = recommender_pb2.GetLearnerRequest(learner_id=_LEARNER, freshness_token=token)
        try:
            reply = stub.GetLearner(request, metadata=_key(scene), timeout=10)
        except grpc.RpcError as error:
            return str(error.code().name)
    return "STALE" if reply.degraded else "OK"


def _subscribe(scene: Scene, cursor: str) -> str:
    """The cursor of the learner's list, if one is sent to a subscriber who has this cursor."""
    cursors = [recommender_pb2.LearnerCursor(learner_id=_LEARNER, cursor=cursor)] if cursor else []
    request = recommender_pb2.SubscribeRequest(learner_ids=[_LEARNER], cursors=cursors)
    sent = ""
    with grpc.insecure_channel(scene.processes["server"].address) as channel:
        stub = recommender_pb2_grpc.RecommendationServiceStub(channel)
        for one in stub.Subscribe(request, metadata=_key(scene), timeout=30):
            if one.HasField("snapshot_complete"):
                break
            sent = one.update.cursor
    return sent


def _key(scene: Scene) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {scene.api_key}"),)
