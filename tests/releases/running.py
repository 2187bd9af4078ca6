"""A stack that a test looks at from outside, as operators and platforms do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import grpc
import redis

from cairn.v1 import ingest_pb2, ingest_pb2_grpc, recommender_pb2, recommender_pb2_grpc
from deploy.local.stack import Stack
from tests.releases.record import SOURCE

DEADLINE_S = 120.0
TIMEOUT_S = 30.0


class Running:
    """A stack, and a platform with an API key."""

    def __init__(self, stack: Stack, api_key: str) -> None:
        self.stack = stack
        self.metadata = (("authorization", f"Bearer {api_key}"),)

    def cairn(self, *words: str) -> str:
        """The output of a command."""
        done = subprocess.run(
            [sys.executable, "-m", "services.cli", *words],
            env=os.environ | self.stack.environment,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def log_of(self, service: str) -> str:
        """What a service has logged."""
        return (self.stack.directory / f"{service}.log").read_text()

    def digest(self, epoch: int) -> dict[str, object]:
        """An epoch's digest, learners and applied events."""
        return json.loads(self.cairn("epoch", "digest", str(epoch), "--json"))

    def epochs(self) -> list[int]:
        """The numbers of all epochs."""
        return [each["epoch"] for each in json.loads(self.cairn("epoch", "list", "--json"))]

    def responses(self, learner: str) -> int:
        """How many responses of a learner are known."""
        with grpc.insecure_channel(self.stack.address("server")) as channel:
            request = recommender_pb2.GetLearnerRequest(learner_id=learner)
            stub = recommender_pb2_grpc.RecommendationServiceStub(channel)
            return stub.GetLearner(request, metadata=self.metadata, timeout=TIMEOUT_S).responses

    def recommended(self, learner: str, token: str = "") -> recommender_pb2.RecommendResponse:
        """A learner's list."""
        with grpc.insecure_channel(self.stack.address("server")) as channel:
            request = recommender_pb2.RecommendRequest(learner_id=learner, limit=5, freshness_token=token)
            stub = recommender_pb2_grpc.RecommendationServiceStub(channel)
            return stub.Recommend(request, metadata=self.metadata, timeout=TIMEOUT_S)

    def answer(self, event_id: str, learner: str) -> ingest_pb2.EventResult:
        """Send a response of a learner."""
        event = ingest_pb2.EventSubmission(event_id=event_id, learner_id=learner, source=SOURCE)
        event.assessment.item, event.assessment.activity = "asm-3oaa1-1/q1", "asm-3oaa1-1"
        event.assessment.correct = True
        with grpc.insecure_channel(self.stack.address("ingest")) as channel:
            request = ingest_pb2.PublishEventsRequest(events=[event])
            stub = ingest_pb2_grpc.IngestServiceStub(channel)
            return stub.PublishEvents(request, metadata=self.metadata, timeout=TIMEOUT_S).results[0]

    def counts(self, epoch: int) -> dict[str, int]:
        """Records by what became of them, over all partitions."""
        counts = dict.fromkeys(("applied", "duplicates", "conflicts"), 0)
        with redis.Redis.from_url(self.stack.redis) as client:
            for key in client.scan_iter(f"cairn:{epoch}:position:*"):
                for name in counts:
                    counts[name] += int(client.hget(key, name) or 0)
        return counts

    def wait_until(self, condition) -> None:
        """Return once a condition holds."""
        give_up_s = time.monotonic() + DEADLINE_S
        while not condition():
            assert time.monotonic() < give_up_s, "the condition was not met in time"
            self.stack.check_running()
            time.sleep(0.05)
