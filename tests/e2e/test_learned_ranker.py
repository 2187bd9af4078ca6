"""`cairn train` on a log that ingest wrote, and the lists that the ranker it fitted makes without a setting."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import grpc
import numpy as np
import pytest
import yaml

from cairn.v1 import (
    catalog_pb2,
    catalog_pb2_grpc,
    ingest_pb2,
    ingest_pb2_grpc,
    recommender_pb2,
    recommender_pb2_grpc,
)
from deploy.local.stack import Stack, StackOptions
from tests.benchmarks.synthetic import START
from tests.benchmarks.throughput import CAIRN
from tests.true_reasons import catalog_of, problems_of_reply

COURSES, PROBLEMS, LEARNERS, WORKED_ON = 2, 60, 60, 25
TIMEOUT_S = 30.0


def problem(course: int, number: int) -> str:
    return f"c{course}-p{number:02}"


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    with Stack(StackOptions(tmp_path_factory.mktemp("stack"), tenant="riverbend"), lambda _part: None) as started:
        yield started


CATALOG = catalog_of(
    [{"id": f"c{course}-s{part}", "statement": "x", "code": f"{course}.{part}"}
     for course in range(COURSES) for part in range(PROBLEMS // 10)],
    [{"id": problem(course, number), "kind": "practice",
      "assesses": [{"skill": f"c{course}-s{number // 10}", "weight": 1.0}]}
     for course in range(COURSES) for number in range(PROBLEMS)],
)  # fmt: skip


def channel(stack, name):
    return grpc.insecure_channel(stack.address(name))


def load(stack, metadata) -> None:
    """Two courses; each learner works through the problems of one course in order, from a different start."""
    skills = [catalog_pb2.Skill(id=f"c{course}-s{part}", framework="f", code=f"{course}.{part}", statement="x")
              for course in range(COURSES) for part in range(PROBLEMS // 10)]  # fmt: skip
    resources = [
        catalog_pb2.Resource(
            id=problem(course, number),
            title=f"Problem {number}",
            kind=catalog_pb2.RESOURCE_KIND_PRACTICE,
            url=f"https://example.org/{course}/{number}",
            assesses=[catalog_pb2.SkillTag(skill=f"c{course}-s{number // 10}", weight=1.0)],
        )
        for course in range(COURSES)
        for number in range(PROBLEMS)
    ]
    with channel(stack, "catalog") as at:
        requests = iter([catalog_pb2.ImportCatalogRequest(skills=skills, resources=resources)])
        catalog_pb2_grpc.CatalogServiceStub(at).ImportCatalog(requests, metadata=metadata, timeout=TIMEOUT_S)
    random = np.random.default_rng(3)
    with channel(stack, "ingest") as at:
        stub = ingest_pb2_grpc.IngestServiceStub(at)
        for learner in range(LEARNERS):
            first = int(random.integers(0, PROBLEMS - WORKED_ON - 5))
            events = []
            for place in range(WORKED_ON):
                event = ingest_pb2.EventSubmission(
                    event_id=f"{learner}-{place}",
                    learner_id=f"learner-{learner}",
                    source="test",
                    assessment=ingest_pb2.AssessmentSubmission(
                        item=problem(learner % COURSES, first + place), correct=bool(random.random() < 0.6)
                    ),
                )
                event.occurred_at.FromDatetime(START)
                event.occurred_at.seconds += place
                events.append(event)
            stub.PublishEvents(
                ingest_pb2.PublishEventsRequest(events=events), metadata=metadata, timeout=TIMEOUT_S
            )  # fmt: skip


def until(answer, accepted):
    give_up_at = time.monotonic() + TIMEOUT_S
    while not accepted(reply := answer()):
        assert time.monotonic() < give_up_at, reply
        time.sleep(0.05)
    return reply


@pytest.mark.slow
def test_training_is_all_that_the_lists_of_the_learned_ranker_need(stack):
    metadata = (("authorization", f"Bearer {stack.api_key}"),)
    load(stack, metadata)
    trained = subprocess.run(
        [*CAIRN, "train"],
        env={"PATH": "/usr/bin:/bin"} | stack.environment,
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "learning to rank" in trained.stderr
    bundle = trained.stdout.splitlines()[-1]

    with channel(stack, "server") as at:
        stub = recommender_pb2_grpc.RecommendationServiceStub(at)

        def lists():
            request = recommender_pb2.RecommendRequest(learner_id="learner-4", limit=5)
            return stub.Recommend(request, metadata=metadata, timeout=TIMEOUT_S)

        default = until(lists, lambda reply: reply.provenance.bundle == bundle and not reply.degraded)
        tenants = Path(stack.environment["CAIRN_TENANTS"])
        content = yaml.safe_load(tenants.read_text())
        content["tenants"]["riverbend"] |= {"need_share": 0.0}
        changed = tenants.with_name("tenants.changed")
        changed.touch(0o600)
        changed.write_text(yaml.safe_dump(content))
        changed.replace(tenants)
        without_need = until(lists, lambda reply: scores(reply) != scores(default))
        asked = recommender_pb2.GetLearnerRequest(learner_id="learner-4")
        learner = stub.GetLearner(asked, metadata=metadata, timeout=TIMEOUT_S)
    for reply in (default, without_need):
        assert problems_of_reply(reply, learner, CATALOG) == []

    # The next problem of the course comes first; its reason is recent work or what other learners did.
    for reply in (default, without_need):
        assert {each.resource_id[:2] for each in reply.recommendations} == {"c0"}
        assert kinds(reply) & {
            recommender_pb2.REASON_KIND_RECENT_WORK,
            recommender_pb2.REASON_KIND_SIMILAR_LEARNERS,
        }
        assert all(each.reasons for each in reply.recommendations)


def scores(reply) -> list[float]:
    return [each.score for each in reply.recommendations]


def kinds(reply) -> set[int]:
    return {reason.kind for each in reply.recommendations for reason in each.reasons}
