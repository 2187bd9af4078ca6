"""From an empty cluster to the first recommendation."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import grpc

from cairn.v1 import ingest_pb2, ingest_pb2_grpc, recommender_pb2, recommender_pb2_grpc
from tests.kubernetes.release import NAME, READY_DEADLINE_S, until
from tests.kubernetes.results import check, must
from tests.kubernetes.site import Site

SAMPLE = Path(__file__).parents[2] / "deploy" / "local" / "sample"

_SKILL = "3.OA.A.1"
_CALL_TIMEOUT_S = 15.0
_FIRST_DEADLINE_S = 60.0


@check(
    "install", "one helm install of everything there is makes it ready, in a namespace that allows restricted pods only"
)
def install(site: Site) -> str:
    begun_s = time.monotonic()
    site.apply()
    pods = site.release.pods()
    must(all(pod.ready for pod in pods), f"helm waited, but these are not ready: {', '.join(map(str, pods))}")
    processes = sorted({pod.process for pod in pods})
    must(
        processes == ["catalog", "gateway", "ingest", "lag", "openedx", "server", "worker"],
        f"pods of {', '.join(processes)} are running only",
    )
    restarted = [pod.name for pod in pods if pod.restarts]
    must(not restarted, f"{', '.join(restarted)} was restarted")
    return f"{len(pods)} pods after {time.monotonic() - begun_s:.0f} s"


@check("helm-test", "helm test reaches the Services by their names, from a pod")
def helm_test(site: Site) -> str:
    site.apply()
    site.release.helm("test", NAME, "--timeout", f"{READY_DEADLINE_S:.0f}s")
    return ""


@check("first-recommendation", "a catalog, a learner's answers and their first recommendation go through the Services")
def first_recommendation(site: Site) -> str:
    begun_s = time.monotonic()
    files = ("--skills", str(SAMPLE / "skills.jsonl"), "--resources", str(SAMPLE / "resources.jsonl"))
    site.cairn("catalog", "import", *files, "--target", site.release.address("catalog"), "--insecure")
    answered = answer(site, "ada", correct=False)
    metadata = (("authorization", f"Bearer {site.api_key}"),)
    with grpc.insecure_channel(site.release.address("server")) as channel:
        stub: Any = recommender_pb2_grpc.RecommendationServiceStub(channel)
        found = []

        def recommended() -> bool:
            request = recommender_pb2.RecommendRequest(learner_id="ada", limit=3, freshness_token=answered)
            try:
                reply = stub.Recommend(request, timeout=_CALL_TIMEOUT_S, metadata=metadata)
            except grpc.RpcError as error:
                must(error.code() is grpc.StatusCode.UNAVAILABLE, f"Recommend was answered with {error}")
                return False
            found[:] = reply.recommendations
            return bool(found)

        # A server reads the catalog on its own.
        until(recommended, _FIRST_DEADLINE_S, "the first recommendation")
    must(_SKILL in {each.skill for each in found}, f"{found[0]} is not about {_SKILL}, which the learner failed")
    return f"after {time.monotonic() - begun_s:.1f} s: {found[0].title!r}"


def answer(site: Site, learner: str, *, correct: bool) -> str:
    """Send a learner's answer to an item and return the freshness token."""
    event = ingest_pb2.EventSubmission(
        learner_id=learner,
        source="kubernetes",
        assessment=ingest_pb2.AssessmentSubmission(item=f"item-{learner}", skills=[_SKILL], correct=correct),
    )
    with grpc.insecure_channel(site.release.address("ingest")) as channel:
        stub: Any = ingest_pb2_grpc.IngestServiceStub(channel)
        reply = stub.PublishEvents(
            ingest_pb2.PublishEventsRequest(events=[event]),
            timeout=_CALL_TIMEOUT_S,
            metadata=(("authorization", f"Bearer {site.api_key}"),),
        )
    (result,) = reply.results
    must(result.status == ingest_pb2.EVENT_STATUS_ACCEPTED, f"ingest answered {result}")
    return str(result.freshness_token)
