"""Records what a release leaves behind: run it with the code of that release.

    git worktree add ../release COMMIT
    cd ../release
    PYTHONPATH=.:protos python ../cairn/tests/releases/record.py ../cairn/tests/releases/NAME.tar.gz

It runs the release's own stack: a class works, a bundle is trained, an epoch is built with it and served, and the
class works on. Then it writes one archive: the records of all topics, the keys of Redis, the tenants file, the bundles,
and in `facts.json` the digest and the answers that the release gave. Its secrets were made for it and open nothing.
Of the project it uses what every release has: `deploy.local.stack`, how to read a topic, the `cairn` command and the
contracts.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import random
import subprocess
import sys
import tarfile
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import redis

from cairn.v1 import ingest_pb2, ingest_pb2_grpc, recommender_pb2, recommender_pb2_grpc
from deploy.local.stack import TOPICS, Stack, StackOptions
from services.common.kafka.connection import read_span, topic_span
from services.common.kafka.topics import load_declarations

LEARNERS = [f"learner-{number}" for number in range(24)]
ERASED = "learner-23"
SOURCE = "gradebook"
START = datetime(2026, 9, 1, 8, tzinfo=UTC)
# Its questions have the resource's id, a slash and a number.
ASSESSMENTS = ("asm-3oaa1-1", "asm-3oaa2-1")
LESSONS = ("les-3oaa1-1", "vid-3oaa1-1", "pra-3oaa1-1", "gam-3oaa1-1")
_DEADLINE_S = 120.0
_TIMEOUT_S = 30.0


def main(archive):
    """Run the release, and write its archive."""
    with tempfile.TemporaryDirectory() as temporary:
        directory = Path(temporary)
        with Stack(StackOptions(directory / "stack"), lambda _component: None) as stack:
            facts = run(stack)
            topics = asyncio.run(records_of(stack.kafka))
            _write(directory / "topics.json", topics)
            _write(directory / "redis.json", _redis(stack.environment["CAIRN_REDIS"]))
            _write(directory / "facts.json", facts)
            with tarfile.open(archive, "w:gz") as tar:
                for name in ("topics.json", "redis.json", "facts.json", "stack/tenants.yaml", "stack/bundles"):
                    tar.add(directory / name, Path(name).name)


def run(stack):
    """A class works, models are trained, an epoch is built and served; what the release says in the end."""
    environment = os.environ | stack.environment
    sample = Path(sys.modules[Stack.__module__].__file__).parent / "sample"
    catalog = ("--skills", sample / "skills.jsonl", "--resources", sample / "resources.jsonl")
    _cairn(environment, "catalog", "import", *catalog)
    metadata = (("authorization", f"Bearer {stack.environment['CAIRN_API_KEY']}"),)
    events = list(_events())
    with grpc.insecure_channel(stack.environment["CAIRN_TARGET_INGEST"]) as channel:
        ingest = ingest_pb2_grpc.IngestServiceStub(channel)
        half = len(events) // 2
        _publish(ingest, metadata, events[:half])
        _caught_up(environment, stack.kafka, 1)
        bundle = _cairn(environment, "train").split()[-1]
        _cairn(environment, "replay", "--epoch", "2", "--parameters", bundle)
        _cairn(environment, "epoch", "switch", "2")
        _publish(ingest, metadata, events[half:])
        ingest.DeleteLearner(ingest_pb2.DeleteLearnerRequest(learner_id=ERASED), metadata=metadata, timeout=_TIMEOUT_S)
    _caught_up(environment, stack.kafka, 2)
    with grpc.insecure_channel(stack.environment["CAIRN_TARGET_RECOMMENDER"]) as channel:
        stub = recommender_pb2_grpc.RecommendationServiceStub(channel)
        responses = {}
        for learner in LEARNERS:
            request = recommender_pb2.GetLearnerRequest(learner_id=learner)
            reply = stub.GetLearner(request, metadata=metadata, timeout=_TIMEOUT_S)
            responses[learner] = reply.responses
    return {
        "api_key": stack.environment["CAIRN_API_KEY"],
        "bundle": bundle,
        "digest": json.loads(_cairn(environment, "epoch", "digest", "2", "--json")),
        "responses": responses,
    }


def _events():
    """Answers with ids, interactions, a preference and corrections; the same in every run."""
    draw = random.Random(20_260_901).random
    for step in range(20):
        for number, learner in enumerate(LEARNERS):
            name = f"{learner}-{step}"
            event = ingest_pb2.EventSubmission(event_id=name, learner_id=learner, source=SOURCE)
            event.occurred_at.FromDatetime(START + timedelta(days=step, minutes=number))
            if step % 5 == 4:
                event.interaction.resource = LESSONS[number % len(LESSONS)]
                event.interaction.kind = (
                    ingest_pb2.EventSubmission.DESCRIPTOR.file.pool.FindEnumTypeByName("cairn.v1.InteractionKind")
                    .values_by_name["INTERACTION_KIND_COMPLETED"]
                    .number
                )
            elif step == 18 and number % 4 == 0:
                event.correction.target_source = SOURCE
                event.correction.target_event_id = f"{learner}-17"
                event.correction.voided.SetInParent()
            else:
                activity = ASSESSMENTS[(step + number) % len(ASSESSMENTS)]
                event.assessment.activity = activity
                event.assessment.item = f"{activity}/q{1 + int(8 * draw())}"
                event.assessment.correct = draw() < 0.4 + number / 60
            yield event


def _publish(ingest, metadata, events):
    for first in range(0, len(events), 100):
        request = ingest_pb2.PublishEventsRequest(events=events[first : first + 100])
        reply = ingest.PublishEvents(request, metadata=metadata, timeout=_TIMEOUT_S)
        for result in reply.results:
            assert result.HasField("position"), result


def _caught_up(environment, connection, epoch):
    """Return once an epoch is served and has every record."""
    end = len(asyncio.run(records_of(connection))["cairn.learner-events"])
    give_up_s = time.monotonic() + _DEADLINE_S
    with redis.Redis.from_url(environment["CAIRN_REDIS"]) as client:
        while time.monotonic() < give_up_s:
            reached = sum(int(client.hget(key, "offset")) for key in client.scan_iter(f"cairn:{epoch}:position:*"))
            if reached == end and client.get("cairn:current-epoch") == b"%d" % epoch:
                return
            time.sleep(0.1)
    raise TimeoutError(f"the worker is at {reached} of {end}")


def _cairn(environment, *words):
    command = [sys.executable, "-m", "services.cli", *map(str, words)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=_DEADLINE_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


async def records_of(connection):
    """Every record of the topics, as [partition, offset, time, key, value, headers], bytes in Base64."""
    found = {}
    for topic in load_declarations(TOPICS):
        span = await topic_span(connection, topic)
        found[topic] = [
            [
                each.partition,
                each.offset,
                each.timestamp,
                _text(each.key),
                _text(each.value),
                [[name, _text(value)] for name, value in each.headers],
            ]
            async for part in read_span(connection, topic, span)
            for each in part.records
        ]
        found[topic].sort(key=lambda each: each[:2])
    return found


def _redis(url):
    """Every key as [name, type, value], as it takes to write it again."""
    found = []
    with redis.Redis.from_url(url) as client:
        for key in sorted(client.scan_iter("*")):
            kind = client.type(key).decode()
            if kind == "string":
                value = _text(client.get(key))
            elif kind == "hash":
                value = [[_text(name), _text(field)] for name, field in sorted(client.hgetall(key).items())]
            elif kind == "set":
                value = [_text(each) for each in sorted(client.smembers(key))]
            elif kind == "list":
                value = [_text(each) for each in client.lrange(key, 0, -1)]
            else:
                raise ValueError(f"{key!r} is a {kind}")
            found.append([_text(key), kind, value])
    return found


def _text(raw):
    return None if raw is None else base64.b64encode(raw).decode()


def _write(path, values):
    path.write_text(json.dumps(values, sort_keys=True))


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
