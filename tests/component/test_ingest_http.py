"""Events over HTTP: the same events, limits and keys as over gRPC, with the application in memory."""

from __future__ import annotations

import base64
import gzip
import json
import re

import pytest
import structlog
from google.protobuf import json_format
from hypothesis import example, given, settings
from hypothesis import strategies as st
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import REGISTRY
from starlette.responses import Response

from cairn.v1 import ingest_pb2
from services.common.auth.api_keys import create_api_key
from services.common.auth.tenant import Scope
from services.common.http.application import HttpContext, http_application
from services.common.http.bodies import BodyLimits
from services.common.http.routes import OpenRoute, Route
from services.common.rpc.freshness import decode
from services.common.rpc.rate_limits import RateLimit
from services.common.rpc.slots import SlotLimits
from services.common.telemetry.traces import traces_into
from services.ingest.application.ports import LeftOutRow
from services.ingest.application.publish import PublishEvents
from services.ingest.entrypoints.http.publishing import POLICY, HttpPublisher
from tests.http_requests import NOW, HttpIngest, call

PATH = "/v1/events:batch"
LINES = ("Content-Type", "application/x-ndjson")


def event(number=1, **fields):
    return {
        "learner_id": "ada",
        "source": "gradebook",
        "event_id": f"e{number}",
        "item": "q1",
        "correct": True,
    } | fields


@pytest.fixture
def service(tmp_path):
    return HttpIngest(tmp_path)


async def publish(service, body, **more):
    answer = await service.request("POST", PATH, body, **more)
    assert answer.status == 200, answer.body
    # The second implementation that must understand the answer: JSON of the contract.
    return json_format.Parse(answer.body, ingest_pb2.PublishEventsResponse()).results


def statuses(results):
    return [ingest_pb2.EventStatus.Name(result.status).removeprefix("EVENT_STATUS_") for result in results]


@pytest.mark.parametrize("form", ["object", "list", "one", "lines", "lines without a type", "typeless"])
async def test_events_come_in_any_of_the_forms(service, form):
    events = [event(1), event(2)]
    lines = b"".join(json.dumps(each).encode() + b"\n" for each in events)
    body, headers = {
        "object": ({"events": events}, ()),
        "list": (events, ()),
        "one": (event(1), ()),
        "lines": (lines, (LINES,)),
        "lines without a type": (lines, ()),
        "typeless": (json.dumps(events).encode(), ()),
    }[form]
    results = await publish(service, body, headers=headers)
    assert [result.event_id for result in results] == (["e1"] if form == "one" else ["e1", "e2"])
    assert {each.event_id for each in service.events} == {result.event_id for result in results}


@pytest.mark.parametrize("form", ["list", "lines"])
async def test_a_byte_order_mark_before_the_body_is_ignored(service, form):
    body = json.dumps([event(1)] if form == "list" else event(1)).encode()
    await publish(service, b"\xef\xbb\xbf" + body, headers=(LINES,) if form == "lines" else ())
    assert [each.event_id for each in service.events] == ["e1"]


async def test_an_answer_says_of_each_event_what_grpc_says(service):
    await publish(service, [event(3)])
    sent = [event(1), event(1), event(2, item=""), event(3, correct=False), event(4, skills=["x"])]
    results = await publish(service, {"events": sent})
    assert statuses(results) == ["ACCEPTED", "DUPLICATE", "REJECTED", "CONFLICT", "ACCEPTED"]
    accepted = results[0]
    tenant = service.tenants.get("riverbend")
    freshness = decode(accepted.freshness_token, tenant.secret)
    assert (freshness.position.partition, freshness.position.offset) == (
        accepted.position.partition,
        accepted.position.offset,
    )
    assert accepted.learner == tenant.pseudonym("ada")
    assert accepted.without_skills
    assert not results[4].without_skills
    assert results[2].problems[0].field.startswith("events[2].")
    assert not results[2].freshness_token


async def test_an_event_that_cannot_be_read_is_rejected_with_its_field_and_the_others_are_taken(service):
    sent = [event(1), event(2, colour="red"), event(3, correct="yes"), 7, {**event(4), "interaction": "opened"}]
    results = await publish(service, sent)
    assert statuses(results) == ["ACCEPTED", "REJECTED", "REJECTED", "REJECTED", "REJECTED"]
    assert [result.problems[0].field for result in results[1:]] == [
        "events[1].colour",
        "events[2].correct",
        "events[3]",
        "events[4].correct",
    ]
    assert "remove it" in results[1].problems[0].reason


async def test_a_line_that_is_no_json_does_not_affect_the_other_lines(service):
    body = json.dumps(event(1)).encode() + b"\nnot json\n\n" + json.dumps(event(2)).encode()
    results = await publish(service, body, headers=[LINES])
    assert statuses(results) == ["ACCEPTED", "REJECTED", "ACCEPTED"]


async def test_more_events_than_one_batch_has_keep_their_order(service):
    sent = [event(number) for number in range(1_203)]
    results = await publish(HttpIngest(service.tenants_file.parent, bytes_max=10**6), sent)
    assert [result.event_id for result in results] == [f"e{number}" for number in range(1_203)]
    assert [result.position.offset for result in results] == list(range(1_203))


@pytest.mark.parametrize("form", ["list", "lines"])
async def test_more_events_than_a_request_takes_are_refused_before_they_are_read(service, form):
    body = b"[" + b",".join([b"{}"] * 5_001) + b"]" if form == "list" else b"{}\n" * 5_001
    answer = await service.request("POST", PATH, body, headers=[LINES] if form == "lines" else ())
    assert (answer.status, answer.error["field_violations"][0]["field"]) == (413, "events")
    assert "5001 events" in answer.error["message"]


async def test_a_document_of_very_many_values_is_not_decoded(tmp_path):
    service = HttpIngest(tmp_path, bytes_max=2_000_000)
    answer = await service.request("POST", PATH, b"[" + b"{}," * 400_001 + b"{}]")
    assert (answer.status, answer.error["field_violations"][0]["field"]) == (413, "body")
    assert "400000" in answer.error["message"]


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (b"", "body"),
        (b"{", "body"),
        (b"nothing", "body"),
        (b'"text"', "body"),
        (b"\xff\xfe[]", "body"),
        (b"[" * 100_000, "body"),
        (b"[]", "events"),
        (b'{"events": []}', "events"),
        (b'{"events": {}}', "events"),
        (b'{"events": [{}], "more": 1}', "events"),
        (b'{"events": [{}], "events": [{}]}', "events"),
        (b"\n\n", "body"),
    ],
    ids=lambda value: value if isinstance(value, str) else f"{len(value)} bytes",
)
async def test_a_body_without_events_is_refused_with_what_to_send(service, body, named):
    answer = await service.request("POST", PATH, body)
    assert answer.status == 400
    assert answer.error["code"] == "INVALID_ARGUMENT"
    assert [each["field"] for each in answer.error["field_violations"]] == [named]
    assert ": send" in answer.error["message"]


async def test_a_key_that_an_event_has_twice_is_not_lost_silently(service):
    body = b'[{"learner_id": "ada", "learner_id": "bob", "source": "s", "item": "i", "correct": true}]'
    (result,) = await publish(service, body)
    assert statuses([result]) == ["REJECTED"]
    assert result.problems[0].field == "events[0].learner_id"


async def test_another_media_type_is_refused(service):
    form = await service.request("POST", PATH, b"x=1", headers=[("Content-Type", "application/x-www-form-urlencoded")])
    assert (form.status, form.error["field_violations"][0]["field"]) == (415, "Content-Type")
    assert "application/json" in form.error["message"]


async def test_a_compressed_body_is_read(service):
    body = gzip.compress(json.dumps([event(1)]).encode()[:20]) + gzip.compress(json.dumps([event(1)]).encode()[20:])
    assert statuses(await publish(service, body, headers=[("Content-Encoding", "gzip")])) == ["ACCEPTED"]


@pytest.mark.parametrize(
    ("body", "coding", "status"),
    [
        (gzip.compress(b"0" * 200_001), "gzip", 413),
        (gzip.compress(b"x" * 150_000) * 2, "gzip", 413),
        (gzip.compress(b"") * 101, "gzip", 400),
        (b"no gzip", "gzip", 400),
        (gzip.compress(json.dumps(event()).encode())[:-4], "gzip", 400),
        (b"x", "br", 415),
        (b"x", "gzip, gzip", 415),
        (b"0" * 200_001, "identity", 413),
    ],
    ids=["bomb", "bomb in parts", "many parts", "no gzip", "cut short", "other coding", "two codings", "large"],
)
async def test_a_body_that_is_too_large_or_not_in_its_coding_is_refused(service, body, coding, status):
    answer = await service.request("POST", PATH, body, headers=[("Content-Encoding", coding)])
    assert answer.status == status, answer.body
    assert not service.events


async def test_a_body_that_announces_too_much_is_not_awaited(service):
    headers = [("Authorization", f"Bearer {service.key}"), ("Content-Length", "200001"), ("Expect", "100-continue")]
    answer = await call(service.app, "POST", PATH, headers=headers, chunks=[])
    assert answer.status == 413
    assert answer.headers["connection"] == "close"


async def test_a_client_that_goes_away_gets_no_answer_and_gives_its_slot_back(service):
    headers = [("Authorization", f"Bearer {service.key}")]
    assert await call(service.app, "POST", PATH, headers=headers, chunks=[b"[", None]) is None
    assert service.slots.held == 0


def basic(password, user="anything"):
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@pytest.mark.parametrize("scheme", ["Bearer {}", "bearer  {}", "basic"])
async def test_the_key_comes_as_bearer_or_as_the_password_of_basic(service, scheme):
    value = basic(service.key) if scheme == "basic" else scheme.format(service.key)
    answer = await call(
        service.app, "POST", PATH, headers=[("Authorization", value)], chunks=[json.dumps(event()).encode()]
    )
    assert answer.status == 200


@pytest.mark.parametrize(
    "value", [None, "", "Bearer", "Bearer wrong", "Basic", "Basic %%%", basic("wrong"), basic(""), "Digest x"]
)
async def test_a_request_without_a_known_key_is_refused_before_its_body_is_read(service, value):
    headers = [("Expect", "100-continue")] + ([] if value is None else [("Authorization", value)])
    answer = await call(service.app, "POST", PATH, headers=headers, chunks=[])
    assert answer.status == 401
    assert "Basic" in answer.headers["www-authenticate"]
    assert (answer.error["code"], answer.error["reason"]) == ("UNAUTHENTICATED", "API_KEY_INVALID")
    assert "Authorization: Bearer" in answer.error["message"]


async def test_a_key_without_the_scope_is_refused(service):
    reader = create_api_key(service.tenants_file, "riverbend", "reader", frozenset({Scope.RECOMMEND}))
    # The file is read again when it changed, at most once a second; a second registry reads it now.
    other = HttpIngest(service.tenants_file.parent)
    answer = await other.request("POST", PATH, [event()], key=reader)
    assert (answer.status, answer.error["reason"]) == (403, "SCOPE_MISSING")
    assert "--scope ingest" in answer.error["message"]


async def test_a_tenant_over_its_rate_is_told_when_to_come_back(tmp_path):
    service = HttpIngest(tmp_path, rate_limit=RateLimit(calls_per_s=0.5, burst=1))
    await publish(service, [event()])
    answer = await service.request("POST", PATH, [event(2)])
    assert (answer.status, answer.error["code"], answer.error["reason"]) == (429, "RESOURCE_EXHAUSTED", "RATE_LIMITED")
    # One token fills in 1 / 0.5 s.
    assert answer.error["retry_after_s"] == 2.0
    assert answer.headers["retry-after"] == "2"


async def test_many_events_count_as_several_calls_as_over_grpc(tmp_path):
    service = HttpIngest(tmp_path, rate_limit=RateLimit(calls_per_s=1.0, burst=2))
    # 60 events at 20 per call are 3 calls: the bucket of 2 then owes 1, and needs 2 more for a whole token.
    await publish(service, [event(number) for number in range(60)])
    answer = await service.request("POST", PATH, [event(100)])
    assert answer.error["retry_after_s"] == 2.0


async def test_slots_are_shared_and_given_back(tmp_path):
    service = HttpIngest(tmp_path, slots=SlotLimits(calls=1))
    await publish(service, [event(1)])
    with service.admission.slot("hilltop", "elsewhere"):
        answer = await service.request("POST", PATH, [event(2)])
        assert (answer.status, answer.error["reason"], answer.headers["retry-after"]) == (429, "SLOTS", "1")
    await publish(service, [event(2)])


@pytest.mark.parametrize(("state", "reason"), [("log", "LOG_UNAVAILABLE"), ("catalog", "CATALOG_NOT_READY")])
async def test_nothing_is_acknowledged_while_the_log_or_the_catalog_is_away(tmp_path, state, reason):
    service = HttpIngest(tmp_path, ready=state != "catalog")
    service.log.reachable = state != "log"
    answer = await service.request("POST", PATH, [event()])
    assert (answer.status, answer.error["code"], answer.error["reason"]) == (503, "UNAVAILABLE", reason)
    assert answer.headers["retry-after"] == "1"
    assert not service.events


async def test_every_answer_has_a_request_id(service):
    given = await service.request("POST", PATH, [event()], headers=[("X-Request-Id", "abc-1")])
    assert given.headers["x-request-id"] == "abc-1"
    made = await service.request("POST", PATH, b"[", headers=[("X-Request-Id", "with space")])
    assert re.fullmatch("[0-9a-f]{32}", made.headers["x-request-id"])


async def test_a_request_is_a_span_of_the_callers_trace(tmp_path):
    exporter, trace_id = InMemorySpanExporter(), "a" * 32
    service = HttpIngest(tmp_path, traces=traces_into(SimpleSpanProcessor(exporter), service="ingest", share=0.0))
    await publish(service, [event()], headers=[("traceparent", f"00-{trace_id}-{'b' * 16}-01")])
    (span,) = exporter.get_finished_spans()
    assert (span.name, f"{span.context.trace_id:032x}") == ("POST /v1/events:batch", trace_id)
    assert span.attributes["http.response.status_code"] == 200


async def test_an_unknown_path_or_method_is_answered_in_the_same_shape(service):
    unknown = await service.request("GET", "/nowhere")
    assert (unknown.status, unknown.error["code"]) == (404, "NOT_FOUND")
    method = await service.request("GET", PATH)
    assert (method.status, method.error["code"], method.headers["allow"]) == (405, "UNIMPLEMENTED", "POST")


async def broken(_admitted):
    raise RuntimeError("the secret is 1234")


async def test_an_unexpected_failure_is_logged_and_answered_without_its_text(tmp_path):
    def versioned(_request):
        return {"X-Version": "1"}

    service = HttpIngest(tmp_path, more_routes=[Route("/broken", ("GET",), broken, POLICY, headers=versioned)])
    counted = REGISTRY.get_sample_value("cairn_http_refused_requests_total", {"reason": "failed"})
    with structlog.testing.capture_logs() as logs:
        answer = await service.request("GET", "/broken", headers=[("X-Request-Id", "abc-1")])
    assert (answer.status, answer.error["code"]) == (500, "INTERNAL")
    assert "abc-1" in answer.error["message"]
    assert "1234" not in answer.body.decode()
    assert [line["path"] for line in logs if line["log_level"] == "error"] == ["/broken"]
    assert REGISTRY.get_sample_value("cairn_http_refused_requests_total", {"reason": "failed"}) == counted + 1


async def test_the_headers_of_a_route_are_on_its_refusals_too(tmp_path):
    def versioned(_request):
        return {"X-Version": "1"}

    routes = [Route("/broken", ("GET",), broken, POLICY, headers=versioned)]
    service = HttpIngest(tmp_path, more_routes=routes)
    unknown_key = await service.request("GET", "/broken", key="wrong")
    assert (unknown_key.status, unknown_key.headers["x-version"]) == (401, "1")
    failed = await service.request("GET", "/broken")
    assert (failed.status, failed.headers["x-version"]) == (500, "1")


def test_a_route_whose_policy_is_audited_is_refused(service):
    route = Route("/forget", ("POST",), broken, "cairn.v1.IngestService/DeleteLearner")
    with pytest.raises(ValueError, match="is audited"):
        http_application([route], HttpContext(service.admission, BodyLimits(1, 1.0)))


async def test_an_open_route_needs_no_key_and_answers_head(tmp_path):
    service = HttpIngest(tmp_path, more_routes=[OpenRoute("/about", lambda _request: Response(b"hello"))])
    for method in ("GET", "HEAD"):
        assert (await call(service.app, method, "/about")).status == 200


async def test_rows_that_a_reader_leaves_out_are_counted_and_not_answered(tmp_path):
    service = HttpIngest(tmp_path)
    counted = REGISTRY.get_sample_value("cairn_ingest_left_out_events_total")
    publisher = HttpPublisher(
        PublishEvents(service.log, service.recent, service.tags, lambda: NOW), lambda: NOW, lambda *_: None
    )
    assert await publisher(service.tenants.get("riverbend"), [LeftOutRow(1, "navigation")]) == [None]
    assert REGISTRY.get_sample_value("cairn_ingest_left_out_events_total") == counted + 1


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text() | st.sampled_from(list(event())), inner, max_size=6)
    ),
    max_leaves=20,
)
_BODIES = st.binary(max_size=300) | _JSON.map(lambda document: json.dumps(document).encode())


_LATIN = st.text(st.characters(max_codepoint=255, exclude_characters="\r\n\0"), max_size=12)
_NAMES = ("Authorization", "Content-Type", "Content-Encoding", "Content-Length", "Expect", "Host", "traceparent")
_VALUES = _LATIN | st.sampled_from(["[", "Basic Og==", "Basic 7Q==", "gzip", "9" * 5_000, "100-continue"])


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    return HttpIngest(tmp_path_factory.mktemp("shared"))


@given(
    body=_BODIES,
    media_type=st.sampled_from(["", "application/json", "application/x-ndjson", "text/csv"]),
    coding=st.sampled_from(["", "gzip"]),
)
@settings(max_examples=100)
async def test_any_bytes_at_all_get_an_answer_in_a_known_shape(shared, body, media_type, coding):
    headers = [("Content-Type", media_type), ("Content-Encoding", coding)]
    answer = await shared.request("POST", PATH, body, headers=headers)
    assert answer.status in {200, 400, 415}, answer.body
    assert answer.json["results"] if answer.status == 200 else answer.error["field_violations"]


@given(
    method=st.sampled_from(["GET", "POST", "PUT", "OPTIONS"]) | _LATIN,
    path=st.sampled_from([PATH, "/"]) | st.text().map(lambda text: f"/{text}"),
    headers=st.lists(st.tuples(st.sampled_from([*_NAMES, "X-Request-Id"]), _VALUES), max_size=5),
    known=st.booleans(),
)
@example(method="POST", path=PATH, headers=[("Content-Length", "9" * 5_000)], known=True)
@example(method="GET", path="/", headers=[("Host", "[")], known=False)
@example(method="OPTIONS", path=PATH, headers=[("Host", "[")], known=False)
@example(method="POST", path=PATH, headers=[("Authorization", "Basic \xff")], known=False)
@example(method="POST", path=PATH, headers=[("traceparent", "\xff")], known=True)
@settings(max_examples=150)
async def test_any_method_path_and_headers_get_an_answer_too(shared, method, path, headers, known):
    key = [("Authorization", f"Bearer {shared.key}")] if known else []
    answer = await call(shared.app, method, path, headers=[*key, *headers], chunks=[b"[]"])
    assert answer.status in {400, 401, 404, 405, 413, 415}, answer.body
    assert answer.error["message"]
