"""The gateway transcodes JSON over HTTP, and refuses in Cairn's shape what is wrong. Its services are fakes."""

from __future__ import annotations

import gzip
import json
import random
import subprocess
import zlib
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.client import HTTPConnection
from pathlib import Path

import grpc
import pytest
import yaml
from grpc_status import rpc_status
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cairn.v1 import catalog_pb2, catalog_pb2_grpc, ingest_pb2_grpc, recommender_pb2, recommender_pb2_grpc
from deploy.local.gateway import GatewayServer, is_available
from deploy.processes import LOOPBACK, free_port
from services.common.rpc.statuses import FieldViolation, invalid_argument, resource_exhausted, unauthenticated
from tests.http_requests import Answer

pytestmark = pytest.mark.skipif(not is_available(), reason="there is no Envoy for this machine")

OPENAPI = Path(__file__).parents[2] / "docs/openapi.yaml"
COMPOSE = Path(__file__).parents[2] / "deploy/compose.yaml"
# The largest request, from docs/settings.md.
BYTES_MAX = 4_194_304


class Fakes:
    """All three services: keeps what it is sent, and answers with `status` where one is set."""

    def __init__(self):
        self.requests = []
        self.metadata = {}
        self.deadlines_s = []
        self.status = None
        self.reply = None

    def handle(self, request, context):
        self.requests.append(request)
        self.metadata = dict(context.invocation_metadata())
        self.deadlines_s.append(context.time_remaining())
        if self.status is not None:
            context.abort_with_status(rpc_status.to_status(self.status))
        return self.reply

    def handle_stream(self, request, context):
        self.handle(request, context)
        yield from self.reply


@pytest.fixture(scope="module")
def fakes():
    return Fakes()


@pytest.fixture(scope="module")
def upstream(fakes):
    with ThreadPoolExecutor(4) as pool:
        server = grpc.server(pool)
        ingest = ingest_pb2_grpc.IngestServiceServicer()
        catalog = catalog_pb2_grpc.CatalogServiceServicer()
        recommender = recommender_pb2_grpc.RecommendationServiceServicer()
        ingest.PublishEvents = ingest.DeleteLearner = fakes.handle
        catalog.PutSkill = catalog.GetSkill = catalog.ListResources = fakes.handle
        recommender.Recommend, recommender.Subscribe = fakes.handle, fakes.handle_stream
        ingest_pb2_grpc.add_IngestServiceServicer_to_server(ingest, server)
        catalog_pb2_grpc.add_CatalogServiceServicer_to_server(catalog, server)
        recommender_pb2_grpc.add_RecommendationServiceServicer_to_server(recommender, server)
        address = f"{LOOPBACK}:{server.add_insecure_port(f'{LOOPBACK}:0')}"
        server.start()
        yield address
        server.stop(None)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory, upstream):
    gateway = GatewayServer(
        tmp_path_factory.mktemp("gateway"), dict.fromkeys(("ingest", "catalog", "server"), upstream)
    )
    gateway.start()
    yield gateway
    gateway.stop()


def send(gateway, method, path, body=None, **headers):
    connection = HTTPConnection(gateway.address, timeout=20)
    content = body if body is None or isinstance(body, bytes) else json.dumps(body)
    connection.request(method, path, content, {"Authorization": "Bearer key"} | headers)
    reply = connection.getresponse()
    answer = Answer(reply.status, {name.lower(): value for name, value in reply.getheaders()}, reply.read())
    connection.close()
    return answer


@pytest.fixture
def call(gateway, fakes):
    fakes.__init__()
    return partial(send, gateway)


def test_a_request_reaches_its_rpc_with_path_query_body_and_key(call, fakes):
    fakes.reply = catalog_pb2.PutSkillResponse(etag="e2")
    answer = call("PUT", "/v1/skills/6.RP%2Fa%20b?must_be_new=true", {"code": "6.RP", "importance": 0.5})
    assert (answer.status, answer.json) == (200, {"etag": "e2"})
    (request,) = fakes.requests
    assert request == catalog_pb2.PutSkillRequest(
        skill=catalog_pb2.Skill(id="6.RP/a b", code="6.RP", importance=0.5), must_be_new=True
    )
    assert fakes.metadata["authorization"] == "Bearer key"


def test_a_call_has_a_deadline_that_services_ask_for_and_a_stream_has_a_longer_one(call, fakes):
    fakes.reply = recommender_pb2.RecommendResponse()
    call("POST", "/v1/learners/ada:recommend", b"")
    fakes.reply = [recommender_pb2.SubscribeResponse()]
    call("POST", "/v1/learners:subscribe", {"learner_ids": ["ada"]}, **{"grpc-timeout": "1n"})
    short, long = fakes.deadlines_s
    assert 10 < short <= 15
    assert 3_000 < long <= 3_600


def test_both_names_of_a_field_are_taken_and_answers_have_those_of_the_contracts(call, fakes):
    fakes.reply = recommender_pb2.RecommendResponse(learner_id="ada")
    for body in ({"class_id": "3b", "filter": {"max_minutes": 9}}, {"classId": "3b", "filter": {"maxMinutes": 9}}):
        assert call("POST", "/v1/learners/ada:recommend", body).json == {"learner_id": "ada"}
    first, second = fakes.requests
    assert first == second
    assert (first.learner_id, first.class_id, first.filter.max_minutes) == ("ada", "3b", 9)


def test_a_filter_is_given_as_parameters(call, fakes):
    fakes.reply = catalog_pb2.ListResourcesResponse()
    kinds = "filter.kinds=RESOURCE_KIND_VIDEO&filter.kinds=RESOURCE_KIND_GAME"
    assert call("GET", f"/v1/resources?page_size=7&{kinds}").status == 200
    assert fakes.requests == [
        catalog_pb2.ListResourcesRequest(page_size=7, filter=catalog_pb2.ListResourcesFilter(kinds=[2, 4]))
    ]


def test_a_stream_of_answers_comes_as_json_lines(call, fakes):
    complete = recommender_pb2.SnapshotComplete(learners=2)
    fakes.reply = [recommender_pb2.SubscribeResponse(snapshot_complete=complete)] * 2
    answer = call("POST", "/v1/learners:subscribe", {"learner_ids": ["ada", "ben"]})
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert [json.loads(line) for line in answer.body.splitlines()] == [{"snapshot_complete": {"learners": 2}}] * 2


EVENT = {"learner_id": "ada", "source": "web", "assessment": {"item": "q1", "correct": True}}


@pytest.mark.parametrize(
    ("method", "path", "body", "field"),
    [
        ("POST", "/v1/events:publish", {"events": [EVENT, EVENT | {"learnr_id": "x"}]}, "events[1].learnr_id"),
        ("POST", "/v1/events:publish", {"events": [EVENT | {"assessment": {"itm": "q"}}]}, "events[0].assessment.itm"),
        ("POST", "/v1/events:stream", [{"events": [EVENT | {"x": 1}]}], "[0].events[0].x"),
        ("PUT", "/v1/skills/a", {"statment": "s"}, "skill.statment"),
        ("PUT", "/v1/skills/a", {"code": "a", "importance": "high"}, "skill.importance"),
        ("PUT", "/v1/rules/a", {"action": "RULE_ACTION_NOPE"}, "rule.action"),
        ("GET", "/v1/skills/a?idd=b", None, "idd"),
        ("GET", "/v1/skills?page_size=many", None, "page_size"),
        ("POST", "/v1/events:publish", b'{"events": [], "events": []}', "events"),
        ("POST", "/v1/events:publish", b'{"events": [{"learn', "body"),
        ("POST", "/v1/events:publish", b"{'events': []}", "body"),
        ("POST", "/v1/events:publish", b'{"events": []} {}', "body"),
        ("POST", "/v1/events:publish", b'{"events": [01x]}', "body"),
        ("POST", "/v1/events:publish", b'{"events": tru}', "body"),
        ("POST", "/v1/events:publish", b'{"events": ["\n"]}', "body"),
        ("POST", "/v1/events:publish", b'"' + b"x" * BYTES_MAX + b'"', "body"),
        ("POST", "/v1/events:publish", b'{"events":[' + b"0," * 400_000 + b"0]}", "body"),
        ("POST", "/v1/learners/ada:recommend", {"as_of": {"x": 1}}, "as_of"),
        ("POST", "/v1/learners/ada:recommend", {"class_id": "a", "classId": "b"}, "classId"),
        ("POST", "/v1/learners/ada:recommend", b'{"\xff": 1}', "?"),
        (
            "POST",
            "/v1/learners/ada:recommend",
            b'{"as_of":{"' + b"x" * 2_000_000 + b'":[' + b"0," * 100_000 + b"0]}}",
            "as_of",
        ),
        ("POST", "/v1/learners/ada:recommend", {"x" * 2_000: 1}, "x" * 256 + "..."),
    ],
    ids=[
        "unknown field of an event",
        "unknown field further in",
        "unknown field in a stream",
        "unknown field of a resource",
        "text for a number",
        "unknown value of an enum",
        "unknown parameter",
        "text for a number in a parameter",
        "a field twice",
        "cut short",
        "other quotes",
        "two documents",
        "no number",
        "no word",
        "control character in a string",
        "too large",
        "too many values",
        "an object for a time",
        "a field by both of its names",
        "a name that is no text",
        "a long name before a long list",
        "a long name",
    ],
)
def test_what_is_wrong_is_refused_with_the_path_of_the_field_and_reaches_no_service(
    call, fakes, method, path, body, field
):
    answer = call(method, path, body)
    assert answer.status == (413 if isinstance(body, bytes) and len(body) > BYTES_MAX else 400)
    assert answer.headers["content-type"] == "application/json"
    assert answer.error["code"] == "INVALID_ARGUMENT"
    assert answer.error["message"].startswith(f"{field}: ")
    assert [violation["field"] for violation in answer.error["field_violations"]] == [field]
    assert fakes.requests == []


SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)


def no_constant(name):
    raise ValueError(name)


@st.composite
def spoilt(draw):
    """JSON of a request with a few characters changed, which is rarely JSON any more."""
    text = json.dumps({"limit": draw(VALUES)}, ensure_ascii=draw(st.booleans()))
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(text)))
        text = text[:at] + draw(st.sampled_from(" \n\t\\\"'{}[],:0-+.eEtnx\x00")) + text[at + draw(st.integers(0, 2)) :]
    return text


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(spoilt())
def test_only_json_is_taken_as_json_and_any_body_gets_an_answer(call, fakes, text):
    fakes.reply = recommender_pb2.RecommendResponse()
    answer = call("POST", "/v1/learners/ada:recommend", text.encode("utf-8", "surrogatepass"))
    assert answer.status in {200, 400}
    try:
        json.loads(text, parse_constant=no_constant)
    except ValueError:
        assert answer.status == 400
    else:
        assert answer.status == 200 or "is no JSON document" not in answer.error["message"]


@pytest.mark.parametrize("body", [b"[]", b"null", b"7", b'"text"'])
def test_a_body_that_is_no_object_is_refused_with_the_remedy(call, body):
    answer = call("POST", "/v1/learners/ada:recommend", body)
    assert answer.status == 400
    (violation,) = answer.error["field_violations"]
    assert violation["field"] == "body"
    assert violation["description"].startswith("is no JSON object: send one")


def test_a_body_nested_too_deeply_is_refused_and_the_gateway_lives(call):
    assert call("POST", "/v1/events:publish", b'{"events":' + b"[" * 200_000).status == 400
    assert call("GET", "/openapi.yaml").status == 200


def test_a_body_in_gzip_is_checked_and_taken_like_a_plain_one(call, fakes):
    fakes.reply = recommender_pb2.RecommendResponse()
    path, coding = "/v1/learners/ada:recommend", {"Content-Encoding": "gzip", "Cache-Control": "no-transform"}
    assert call("POST", path, gzip.compress(b'{"limit": 3}'), **coding).status == 200
    assert fakes.requests == [recommender_pb2.RecommendRequest(learner_id="ada", limit=3)]
    assert not any(name.startswith("x-cairn-") for name in fakes.metadata)
    wrong = call("POST", path, gzip.compress(b'{"limt": 3}'), **coding)
    assert (wrong.status, wrong.error["field_violations"][0]["field"]) == (400, "limt")
    assert len(fakes.requests) == 1


def test_a_body_that_is_said_to_be_in_no_encoding_is_plain_and_may_be_empty(call, fakes):
    fakes.reply = recommender_pb2.RecommendResponse()
    for body in (b"", b'{"limit": 3}'):
        assert call("POST", "/v1/learners/ada:recommend", body, **{"Content-Encoding": "Identity"}).status == 200
    assert [request.limit for request in fakes.requests] == [0, 3]


@pytest.mark.parametrize(
    ("body", "coding", "status", "field"),
    [
        (b'{"limit": 3}', "gzip", 400, "Content-Encoding"),
        (gzip.compress(b'{"limit": 3}')[:15], "gzip", 400, "body"),
        (gzip.compress(b'"%s"' % random.Random(0).randbytes(BYTES_MAX // 2).hex().encode(), 1), "gzip", 413, "body"),
        (gzip.compress(b"[" + b" " * BYTES_MAX + b"]"), "gzip", 400, "body"),
        (zlib.compress(b'{"limit": 3}'), "deflate", 415, "Content-Encoding"),
        (gzip.compress(gzip.compress(b'{"limit": 3}')), "gzip, gzip", 415, "Content-Encoding"),
    ],
    ids=["not compressed", "cut short", "too large once it is decompressed", "a bomb", "another encoding", "twice"],
)
def test_a_body_that_cannot_be_decompressed_reaches_no_service(call, fakes, body, coding, status, field):
    fakes.reply = recommender_pb2.RecommendResponse()
    answer = call("POST", "/v1/learners/ada:recommend", body, **{"Content-Encoding": coding})
    assert answer.status == status
    assert [violation["field"] for violation in answer.error["field_violations"]] == [field]
    assert fakes.requests == []


def test_a_long_answer_is_compressed_for_a_client_that_accepts_gzip(call, fakes):
    fakes.reply = recommender_pb2.RecommendResponse(learner_id="ada" * 1_000)
    path = "/v1/learners/ada:recommend"
    answer = call("POST", path, {}, **{"Accept-Encoding": "gzip"})
    assert answer.headers["content-encoding"] == "gzip"
    assert json.loads(gzip.decompress(answer.body)) == call("POST", path, {}).json == {"learner_id": "ada" * 1_000}


def test_a_stream_is_not_compressed_as_its_lines_would_wait_for_each_other(call, fakes):
    complete = recommender_pb2.SnapshotComplete(learners=2)
    fakes.reply = [recommender_pb2.SubscribeResponse(snapshot_complete=complete)] * 100
    answer = call("POST", "/v1/learners:subscribe", {"learner_ids": ["ada"]}, **{"Accept-Encoding": "gzip"})
    assert "content-encoding" not in answer.headers
    assert len(answer.body.splitlines()) == 100


def test_a_request_that_the_code_failed_to_check_reaches_no_service(tmp_path, fakes, upstream, monkeypatch):
    broken = tmp_path / "broken.lua"
    broken.write_text("function envoy_on_request(handle) handle:body() error('broken') end", encoding="utf-8")
    monkeypatch.setattr("deploy.envoy.config._LUA", broken)
    fakes.__init__()
    fakes.reply = recommender_pb2.RecommendResponse()
    gateway = GatewayServer(tmp_path, dict.fromkeys(("ingest", "catalog", "server"), upstream))
    gateway.start()
    try:
        for method, path in (("POST", "/v1/learners/ada:recommend"), ("GET", "/v1/skills/a")):
            answer = send(gateway, method, path, None if method == "GET" else {})
            assert (answer.status, answer.error["code"]) == (500, "INTERNAL")
            assert answer.error["message"].startswith("the gateway could not check the request")
        assert fakes.requests == []
        assert 'envoy_http_lua_errors{envoy_http_conn_manager_prefix="rest"} 2' in gateway.metrics()
    finally:
        gateway.stop()


def test_headers_are_bounded_by_what_services_take(call, fakes):
    fakes.reply = recommender_pb2.RecommendResponse()
    largest = {f"X-{number}": "x" * 100 for number in range(40)}
    assert call("POST", "/v1/learners/ada:recommend", {}, **largest).status == 200
    for larger in ({"X-A": "x" * 6_144}, {f"X-{number}": "" for number in range(60)}):
        answer = call("POST", "/v1/learners/ada:recommend", {}, **larger)
        assert (answer.status, answer.error["code"]) == (431, "INVALID_ARGUMENT")
        assert "6 KiB" in answer.error["message"]
    assert len(fakes.requests) == 1


def test_an_unknown_path_and_another_method_are_refused_as_ingest_refuses_them(call):
    unknown = call("GET", "/v1/nothing")
    assert (unknown.status, unknown.error["code"], unknown.error["reason"]) == (404, "NOT_FOUND", "PATH_UNKNOWN")
    method = call("DELETE", "/v1/events:publish")
    assert (method.status, method.error["code"], method.error["reason"]) == (405, "UNIMPLEMENTED", "METHOD_UNKNOWN")
    assert method.headers["allow"] == "POST"


def test_a_refusal_of_a_service_has_its_violations(call, fakes):
    fakes.status = invalid_argument(
        [FieldViolation("limit", 'is "9", {too} [much]: ask for \\ 5'), FieldViolation("b", "ö")]
    )
    answer = call("POST", "/v1/learners/ada:recommend", {"limit": 9})
    assert answer.status == 400
    assert answer.error == {
        "code": "INVALID_ARGUMENT",
        "message": 'limit: is "9", {too} [much]: ask for \\ 5; b: ö',
        "field_violations": [
            {"field": "limit", "description": 'is "9", {too} [much]: ask for \\ 5'},
            {"field": "b", "description": "ö"},
        ],
    }


def test_without_a_key_the_answer_is_401_with_a_challenge(call, fakes):
    fakes.status = unauthenticated("there is no API key")
    answer = call("GET", "/v1/skills/a")
    assert (answer.status, answer.headers["www-authenticate"]) == (401, 'Bearer realm="cairn"')
    assert answer.error == {"code": "UNAUTHENTICATED", "message": "there is no API key", "reason": "API_KEY_INVALID"}


def test_over_the_rate_limit_the_answer_is_429_and_says_when_to_come_again(call, fakes):
    fakes.status = resource_exhausted("too many calls", reason="RATE", retry_after_s=1.25)
    answer = call("POST", "/v1/events:publish", {"events": [EVENT]})
    assert (answer.status, answer.headers["retry-after"]) == (429, "2")
    assert answer.error == {
        "code": "RESOURCE_EXHAUSTED",
        "message": "too many calls",
        "reason": "RATE",
        "retry_after_s": 1.25,
    }


def test_a_stream_that_is_refused_at_once_is_an_error_and_no_stream(call, fakes):
    fakes.status = unauthenticated("there is no API key")
    answer = call("POST", "/v1/learners:subscribe", {"learner_ids": ["ada"]})
    assert (answer.status, answer.headers["content-type"], answer.error["code"]) == (
        401,
        "application/json",
        "UNAUTHENTICATED",
    )


def test_the_document_is_served_without_a_key(call):
    answer = call("GET", "/openapi.yaml", Authorization="")
    assert (answer.status, answer.headers["content-type"]) == (200, "application/yaml")
    assert answer.body.decode() == OPENAPI.read_text(encoding="utf-8")


def test_grpc_itself_is_not_served(call, fakes):
    path = "/cairn.v1.IngestService/PublishEvents"
    answer = call("POST", path, b"", **{"Content-Type": "application/grpc"})
    assert answer.headers["grpc-status"] == str(grpc.StatusCode.UNIMPLEMENTED.value[0])
    assert fakes.requests == []


def test_the_compose_file_sees_whether_it_is_ready(gateway):
    service = yaml.safe_load(COMPOSE.read_text())["services"]["gateway"]
    program, *arguments = service["healthcheck"]["test"][1:]
    asked = [argument.replace("/9464", f"/{gateway.metrics_address.rpartition(':')[2]}") for argument in arguments]
    assert subprocess.run([program, *asked], timeout=20, check=False).returncode == 0
    nobody = [argument.replace("/9464", f"/{free_port()}") for argument in arguments]
    assert subprocess.run([program, *nobody], timeout=20, check=False).returncode != 0


def test_a_service_that_is_away_is_503_in_the_same_shape(tmp_path):
    gateway = GatewayServer(tmp_path, dict.fromkeys(("ingest", "catalog", "server"), f"{LOOPBACK}:{free_port()}"))
    gateway.start()
    try:
        connection = HTTPConnection(gateway.address, timeout=20)
        connection.request("GET", "/v1/skills/a")
        reply = connection.getresponse()
        assert reply.status == 503
        assert json.loads(reply.read())["error"]["code"] == "UNAVAILABLE"
        connection.close()
        assert (
            'envoy_cluster_upstream_rq_xx{envoy_response_code_class="5",envoy_cluster_name="catalog"} 1'
            in gateway.metrics()
        )
    finally:
        gateway.stop()
