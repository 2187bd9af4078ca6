"""Caliper over HTTP: what an endpoint answers, and which events reach the log."""

from __future__ import annotations

import hashlib
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.common.rpc.rate_limits import RateLimit
from services.ingest.domain.kinds.assessment import StampedAssessment
from services.ingest.domain.kinds.interaction import Interaction
from tests.caliper_events import APP, CONTEXT, ITEM, LEARNER, QUIZ, envelope, event, graded, score
from tests.http_requests import HttpIngest

PATH = "/caliper"


@pytest.fixture
def service(tmp_path):
    return HttpIngest(tmp_path)


def fields(answer):
    return [violation["field"] for violation in answer.error["field_violations"]]


async def test_an_envelope_is_answered_with_200_and_nothing(service):
    started = event("AssessmentEvent", "Started", object=QUIZ) | {"id": "urn:uuid:1"}
    answer = await service.request("POST", PATH, envelope(started, graded()))
    assert (answer.status, answer.body) == (200, b"")
    first, second = service.events
    assert isinstance(first.body, Interaction)
    assert isinstance(second.body, StampedAssessment)
    assert (second.body.assessment.item, second.body.response, second.source) == (ITEM, 0.75, APP)
    assert LEARNER not in repr(service.events)


async def test_ids_of_any_length_are_kept_by_their_hash(service):
    quiz = f"{QUIZ}/{'q/' * 200}"
    started = event("AssessmentEvent", "Started", object=quiz) | {"id": "urn:uuid:1"}
    assert (await service.request("POST", PATH, envelope(started))).status == 200
    (kept,) = service.events
    assert kept.body.resource == f"sha256:{hashlib.sha256(quiz.encode()).hexdigest()}"


async def test_the_media_type_may_have_a_charset(service):
    body = json.dumps(envelope(graded())).encode()
    headers = (("Content-Type", "application/json; charset=utf-8"),)
    assert (await service.request("POST", PATH, body, headers=headers)).status == 200


async def test_an_envelope_that_is_sent_again_is_a_copy_that_changes_nothing(service):
    for _ in range(2):
        assert (await service.request("POST", PATH, envelope(graded()))).status == 200
    assert len({event.identity for event in service.events}) == 1


async def test_a_regrade_is_a_revision(service):
    await service.request("POST", PATH, envelope(graded()))
    regrade = graded(generated=score(scoreGiven=4)) | {"id": "urn:uuid:2"}
    assert (await service.request("POST", PATH, envelope(regrade))).status == 200
    first, second = service.events
    assert first.identity == second.identity
    assert second.revises


async def test_what_is_left_out_is_received(service):
    media = event("MediaEvent", "Paused", object="https://lms.example.edu/videos/1")
    person = {"@context": CONTEXT, "type": "Person", "id": LEARNER}
    assert (await service.request("POST", PATH, envelope(person, media))).status == 200
    assert service.events == []


@pytest.mark.parametrize("media_type", ["text/plain", "application/ld+json", ""])
async def test_another_media_type_is_a_415(service, media_type):
    headers = (("Content-Type", media_type),) if media_type else ()
    answer = await service.request("POST", PATH, json.dumps(envelope(graded())).encode(), headers=headers)
    assert answer.status == 415
    assert fields(answer) == ["Content-Type"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (graded(), "body"),
        ([graded()], "body"),
        (7, "body"),
        ({"sensor": "s", "data": [graded()], "dataVersion": CONTEXT}, "sendTime"),
        (envelope(graded(), data="graded"), "data"),
        (envelope(graded(), sensor=7), "sensor"),
        (envelope(graded(), dataVersion=7), "dataVersion"),
        (envelope(graded(), event("GradeEvent", "Graded", object=7)), "data[1].object"),
        (envelope(graded(edApp=f"{APP}/\u200b")), "data[0].source"),
    ],
)
async def test_what_is_malformed_is_a_400_with_the_path_and_nothing_is_written(service, body, field):
    answer = await service.request("POST", PATH, body)
    assert answer.status == 400
    assert fields(answer)[0] == field
    assert service.events == []


async def test_bytes_that_are_no_json_are_a_400(service):
    answer = await service.request("POST", PATH, b"{", headers=(("Content-Type", "application/json"),))
    assert answer.status == 400


async def test_a_version_that_is_not_read_is_a_422_even_where_more_is_wrong(service):
    later = {"dataVersion": "http://purl.imsglobal.org/ctx/caliper/v9p9", "data": []}
    answer = await service.request("POST", PATH, later)
    assert answer.status == 422
    assert fields(answer) == ["dataVersion"]


async def test_an_envelope_of_1_0_has_no_version(service):
    old = {
        "@context": "http://purl.imsglobal.org/ctx/caliper/v1/Context",
        "@type": "http://purl.imsglobal.org/caliper/v1/AssessmentEvent",
        "actor": {"@id": LEARNER, "@type": "http://purl.imsglobal.org/caliper/v1/lis/Person"},
        "action": "http://purl.imsglobal.org/vocab/caliper/v1/action#Started",
        "object": {"@id": QUIZ, "@type": "http://purl.imsglobal.org/caliper/v1/Assessment"},
        "eventTime": "2015-09-15T10:15:00.000Z",
    }
    answer = await service.request("POST", PATH, {"sensor": "s", "sendTime": "2015-09-15T10:16:00Z", "data": [old]})
    assert answer.status == 200
    assert [each.source for each in service.events] == ["caliper"]


async def test_an_id_that_says_something_else_is_a_409(service):
    started = event("AssessmentEvent", "Started", object=QUIZ)
    await service.request("POST", PATH, envelope(started))
    answer = await service.request("POST", PATH, envelope(graded(), started | {"object": f"{QUIZ}9"}))
    assert answer.status == 409
    assert fields(answer) == ["data[1]"]


async def test_a_wrong_key_is_a_401_and_a_get_a_405(service):
    assert (await service.request("POST", PATH, envelope(graded()), key="nobody")).status == 401
    assert (await service.request("GET", PATH)).status == 405


async def test_too_many_events_are_a_429_that_says_when_to_try_again(tmp_path):
    service = HttpIngest(tmp_path, rate_limit=RateLimit(1, 1))
    assert (await service.request("POST", PATH, envelope(*(graded(),) * 50))).status == 200
    answer = await service.request("POST", PATH, envelope(graded()))
    assert answer.status == 429
    assert int(answer.headers["retry-after"]) >= 1


NUMBERS = st.integers(-9, 2**53) | st.floats(allow_nan=False, allow_infinity=False)
NAMES = st.sampled_from(["sensor", "sendTime", "data", "dataVersion", "type", "id"])
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=10,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(JSON.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=40))
async def test_any_bytes_get_an_answer(service, body):
    answer = await service.request("POST", PATH, body, headers=(("Content-Type", "application/json"),))
    assert answer.status in {400, 422}
    assert answer.error["field_violations"]
