"""JSON over HTTP through the gateway and every process: events and a catalog in, lists out, and no input that fails."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from http.client import HTTPConnection
from pathlib import Path

import pytest

from deploy.local.gateway import OPENAPI, is_available
from deploy.local.stack import Stack, StackOptions

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not is_available(), reason="there is no Envoy for this machine"),
]

CALLS_PER_S = 100
EXAMPLES = 10
SCHEMATHESIS = shutil.which("schemathesis", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("CAIRN_TENANT_CALLS_PER_S", str(CALLS_PER_S))
        environment.setenv("CAIRN_TENANT_CALLS_BURST", str(CALLS_PER_S))
        with Stack(StackOptions(tmp_path_factory.mktemp("stack")), lambda component: None) as stack:
            yield stack


@pytest.fixture
def call(stack):
    connection = HTTPConnection(stack.environment["CAIRN_TARGET_REST"], timeout=30)

    def send(method, path, body=None, key=stack.api_key):
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        reply = connection.getresponse()
        return reply.status, json.loads(reply.read()), dict(reply.getheaders())

    yield send
    connection.close()


def event(number):
    assessment = {"item": f"q{number}", "activity": "a", "skills": ["6.RP/1"], "correct": number % 2 == 0}
    return {"learner_id": "ada", "source": "web", "event_id": f"e{number}", "assessment": assessment}


def test_a_skill_a_resource_and_events_go_in_and_a_list_comes_out(call):
    status, written, _ = call("PUT", "/v1/skills/6.RP%2F1?must_be_new=true", {"code": "6.RP", "statement": "Ratios"})
    assert (status, written["skill"]["id"]) == (200, "6.RP/1")
    resource = {
        "title": "Ratios",
        "kind": "RESOURCE_KIND_LESSON",
        "teaches": [{"skill": "6.RP/1", "weight": 1}],
        "status": "RESOURCE_STATUS_ACTIVE",
    }
    assert call("PUT", "/v1/resources/r1", resource)[0] == 200
    assert call("PUT", "/v1/skills/6.RP%2F1?must_be_new=true", {"code": "6.RP"})[0] == 409

    status, published, _ = call("POST", "/v1/events:publish", {"events": [event(1), event(2)]})
    assert status == 200
    assert [result["status"] for result in published["results"]] == ["EVENT_STATUS_ACCEPTED"] * 2
    token = published["results"][-1]["freshness_token"]

    status, learner, _ = call("GET", f"/v1/learners/ada?freshness_token={token}")
    assert (status, learner["responses"], learner["skills"][0]["skill"]) == (200, 2, "6.RP/1")
    status, reply, _ = call("POST", "/v1/learners/ada:recommend", {"limit": 1})
    assert status == 200
    assert [recommended["resource_id"] for recommended in reply["recommendations"]] == ["r1"]
    assert reply["recommendations"][0]["reasons"]


def test_without_a_key_nothing_is_answered(call):
    for method, path in (("GET", "/v1/learners/ada"), ("GET", "/v1/skills"), ("DELETE", "/v1/learners/ada")):
        status, refused, headers = call(method, path, key="")
        assert (status, refused["error"]["code"]) == (401, "UNAUTHENTICATED")
        assert headers["www-authenticate"] == 'Bearer realm="cairn"'


def test_a_tenant_over_its_rate_is_told_when_to_come_again(call):
    # A request of 500 events counts as 25 calls, so the bucket is empty after four of them.
    batch = {"events": [event(number) for number in range(500)]}
    answers = [call("POST", "/v1/events:publish", batch) for _ in range(30)]
    refused = [(error, headers) for status, error, headers in answers if status == 429]
    assert refused
    for error, headers in refused:
        assert error["error"]["code"] == "RESOURCE_EXHAUSTED"
        assert error["error"]["retry_after_s"] > 0
        assert int(headers["retry-after"]) >= 1


@pytest.mark.timeout(900)
@pytest.mark.skipif(SCHEMATHESIS is None, reason="schemathesis is not installed: make setup")
def test_no_request_that_the_document_describes_or_forbids_makes_a_service_fail(stack):
    # A subscription does not end by itself.
    arguments = [
        *(SCHEMATHESIS, "run", str(OPENAPI), "--url", f"http://{stack.environment['CAIRN_TARGET_REST']}"),
        *("-H", f"Authorization: Bearer {stack.api_key}", "--exclude-operation-id", "Subscribe"),
        *("--checks", "not_a_server_error,content_type_conformance,response_schema_conformance"),
        *("--phases", "coverage,fuzzing", "--max-examples", str(EXAMPLES), "--seed", "1"),
        *("--suppress-health-check", "all", "--generation-database", "none", "--no-color"),
    ]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=800, check=False)
    assert done.returncode == 0, done.stdout[-6_000:] + done.stderr
