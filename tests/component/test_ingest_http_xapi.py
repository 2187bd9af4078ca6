"""/xAPI: what xAPI 1.0.3 (part 3) and 2.0 require of the statements resource, as far as Cairn has it."""

import hashlib
import json
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.common.auth.api_keys import create_api_key
from services.common.auth.tenant import Scope
from services.ingest.application.erase import EraseLearner
from services.ingest.domain.kinds.assessment import StampedAssessment
from services.ingest.domain.kinds.correction import Correction, Void
from tests.http_requests import NOW, HttpIngest

PATH = "/xAPI/statements"
VERSION = ("X-Experience-API-Version", "1.0.3")
ADL = "http://adlnet.gov/expapi/verbs/"
FIRST = "6690e6c9-3ef0-4ed3-8b37-7f3964730bee"
SECOND = "7e4f87d3-911b-581b-b41e-7b4d938c4647"
VOIDER = "8f87ccde-bb56-4c2e-ab83-44982ef22df0"
ADA = {"mbox": "mailto:ada@example.com", "name": "Ada Lovelace"}
ADMIN = {"account": {"homePage": "http://lms.example.com", "name": "admin"}}


def answered(statement_id=None, *, correct=True, actor=ADA, **more):
    statement = {
        "actor": actor,
        "verb": {"id": f"{ADL}answered", "display": {"en": "answered"}},
        "object": {"id": "http://example.com/q/1", "definition": {"interactionType": "numeric", "name": {"en": "1+1"}}},
        "result": {"success": correct},
        **more,
    }
    return statement if statement_id is None else {"id": statement_id, **statement}


def voiding(target, statement_id=VOIDER, actor=ADMIN):
    reference = {"objectType": "StatementRef", "id": target}
    return {"id": statement_id, "actor": actor, "verb": {"id": f"{ADL}voided"}, "object": reference}


@pytest.fixture
def service(tmp_path):
    return HttpIngest(tmp_path)


async def post(service, body, *headers, **more):
    return await service.request("POST", PATH, body, headers=(VERSION, *headers), **more)


async def put(service, statement_id, body):
    return await service.request("PUT", PATH, body, headers=(VERSION,), query=f"statementId={statement_id}")


async def get(service, query, version="1.0.3"):
    return await service.request("GET", PATH, headers=(("X-Experience-API-Version", version),), query=query)


def fields(answer):
    return [each["field"] for each in answer.error["field_violations"]]


async def test_a_statement_is_an_event_and_is_answered_by_its_id(service):
    answer = await post(service, answered(FIRST))
    assert (answer.status, answer.json) == (200, [FIRST])
    (event,) = service.events
    assert event.event_id == FIRST
    assert isinstance(event.body, StampedAssessment)
    assert event.body.assessment.item == "http://example.com/q/1"
    got = await get(service, f"statementId={FIRST.upper()}")
    assert got.status == 200
    kept = got.json
    assert kept["result"] == {"success": True}
    assert kept["stored"] == kept["timestamp"] == "2026-03-04T05:06:07.000Z"
    assert kept["authority"]["account"]["name"] == "riverbend"
    assert kept["version"] == "1.0.0"
    assert got.headers["last-modified"] == "Wed, 04 Mar 2026 05:06:07 GMT"


async def test_names_of_people_are_not_kept_and_those_of_activities_are(service):
    group = {"objectType": "Group", "name": "3b", "member": [{"mbox": "mailto:b@example.com", "name": "Ben"}]}
    await post(service, answered(FIRST, context={"team": group, "instructor": {**ADMIN, "name": "Mrs Hopper"}}))
    kept = (await get(service, f"statementId={FIRST}")).body.decode()
    assert not [name for name in ("Lovelace", "3b", "Ben", "Hopper") if name in kept]
    assert "1+1" in kept
    assert '"name":"admin"' in kept


async def test_every_answer_has_the_version_and_the_time_through_which_it_is_consistent(service):
    for answer in (
        await post(service, answered(FIRST)),
        await post(service, {}),
        await get(service, f"statementId={SECOND}"),
        await service.request("POST", PATH, answered(), key="cairn_none", headers=(VERSION,)),
    ):
        assert answer.headers["x-experience-api-version"] == "1.0.3"
        assert answer.headers["x-experience-api-consistent-through"] == "2026-03-04T05:06:07.000Z"
    newer = await get(service, f"statementId={FIRST}", version="2.0.0")
    assert newer.headers["x-experience-api-version"] == "2.0.0"


@pytest.mark.parametrize("version", ["", "0.95", "1.1.0", "1.0.x", "3.0", "1.0.", "2"])
async def test_another_version_is_refused(service, version):
    answer = await service.request("POST", PATH, answered(), headers=(("X-Experience-API-Version", version),))
    assert (answer.status, fields(answer)) == (400, ["X-Experience-API-Version"])


@pytest.mark.parametrize("version", ["1.0", "1.0.0", "1.0.9", "2.0", "2.0.0"])
async def test_the_versions_1_0_and_2_0_are_taken(service, version):
    answer = await service.request("POST", PATH, answered(), headers=(("X-Experience-API-Version", version),))
    assert answer.status == 200


async def test_about_needs_no_key_and_no_version(service):
    answer = await service.request("GET", "/xAPI/about", key="cairn_none")
    assert answer.json == {"version": ["2.0.0", "1.0.3"]}


async def test_a_batch_is_taken_as_a_whole_or_not_at_all(service):
    assert (await post(service, [answered(FIRST), answered(SECOND, correct=False)])).json == [FIRST, SECOND]
    assert [event.body.response for event in service.events] == [1.0, 0.0]
    wrong = answered()
    wrong["verb"] = {"id": "no scheme"}
    answer = await post(service, [answered(VOIDER), wrong])
    assert (answer.status, fields(answer)) == (400, ["[1].verb.id"])
    assert len(service.events) == 2
    assert (await get(service, f"statementId={VOIDER}")).status == 404


async def test_an_event_that_the_service_refuses_refuses_its_batch(service):
    later = (NOW + timedelta(hours=1)).isoformat()
    answer = await post(service, [answered(FIRST), answered(SECOND, timestamp=later)])
    assert (answer.status, fields(answer)) == (400, ["[1].timestamp"])
    assert not service.events
    assert not service.statements.kept


INVISIBLE = "\u200b"
LESSON = {"id": f"http://example.com/lesson{INVISIBLE}"}


@pytest.mark.parametrize(
    ("statement", "field"),
    [
        (answered(actor={"account": {"homePage": "http://lms.example.com", "name": INVISIBLE}}), "actor.account.name"),
        (answered(actor={"mbox": f"mailto:{INVISIBLE}@example.com", "objectType": "Agent"}), "actor.mbox"),
        (answered(object=LESSON), "object.id"),
        (
            answered(context={"contextActivities": {"parent": [LESSON]}}),
            "context.contextActivities.parent[0].id",
        ),
        (answered(context={"contextActivities": {"parent": LESSON}}), "context.contextActivities.parent.id"),
        (answered(verb={"id": f"{ADL}passed"}, object=LESSON), "object.id"),
        (answered(verb={"id": f"{ADL}completed"}, object=LESSON, result={}), "object.id"),
        (answered(stored="2026-03-04T09:00:00Z"), "stored"),
    ],
)
async def test_what_is_wrong_with_an_event_is_named_by_its_path_in_the_statement(service, statement, field):
    answer = await post(service, statement)
    assert (answer.status, fields(answer)) == (400, [field])
    answer = await post(service, [answered(FIRST), statement])
    assert (answer.status, fields(answer)) == (400, [f"[1].{field}"])


async def test_ids_of_any_length_are_kept_by_their_hash(service):
    iri = "http://example.com/" + "q/" * 200
    name = "n" * 300
    actor = {"account": {"homePage": "http://lms.example.com", "name": name}}
    assert (await post(service, answered(FIRST, actor=actor, object={"id": iri}))).status == 200
    (event,) = service.events
    assert event.body.assessment.item == f"sha256:{hashlib.sha256(iri.encode()).hexdigest()}"
    learner = f"sha256:{hashlib.sha256(f'http://lms.example.com|{name}'.encode()).hexdigest()}"
    assert event.learner == service.tenants.get("riverbend").pseudonym(learner)


async def test_more_statements_than_a_request_takes_are_refused_before_they_are_read(service):
    answer = await post(service, [7] * 5_001)
    assert (answer.status, fields(answer)) == (413, ["events"])


async def test_an_id_twice_in_a_batch_is_refused(service):
    answer = await post(service, [answered(FIRST), answered(FIRST.upper(), correct=False)])
    assert (answer.status, fields(answer)) == (400, ["[1].id"])


@pytest.mark.parametrize(
    ("body", "field"), [([], "body"), (["x"], "body"), (3, "body"), (None, "body"), (b"{", "body"), (b"", "body")]
)
async def test_what_is_no_statement_is_refused(service, body, field):
    headers = (("Content-Type", "application/json"),) if isinstance(body, bytes) else ()
    answer = await post(service, body, *headers)
    assert (answer.status, fields(answer)) == (400, [field])


async def test_a_statement_without_an_id_gets_one_which_a_repeat_gets_too_where_it_has_a_time(service):
    timed = answered(timestamp="2026-03-01T09:30:00Z")
    first, again = await post(service, [timed, timed]), await post(service, timed)
    assert len({*first.json}) == 2
    assert again.json == first.json[:1]
    assert len(service.events) == 2
    untimed = [(await post(service, answered())).json[0] for _ in range(2)]
    assert len({*untimed}) == 2
    assert [event.event_id for event in service.events] == [*first.json, *untimed]


async def test_the_same_statement_again_is_a_repeat_and_another_one_a_conflict(service):
    assert (await put(service, FIRST, answered())).status == 204
    described = answered(FIRST, version="1.0.1", stored="2026-03-04T00:00:00Z", authority=ADMIN)
    described["verb"]["display"] = {"de": "beantwortete"}
    assert (await put(service, FIRST, described)).status == 204
    assert (await post(service, described)).json == [FIRST]
    assert len(service.events) == 1
    assert (await put(service, FIRST, answered(correct=False))).status == 409
    answer = await post(service, [answered(SECOND), answered(FIRST, correct=False)])
    assert answer.status == 409
    assert FIRST in answer.error["message"]
    assert len(service.events) == 1


GROUP = {"objectType": "Group", "member": [ADA, ADMIN]}
REGISTRATION = "ec531277-b57b-4c15-8d91-d292c5b2b8f7"


@pytest.mark.parametrize(
    ("sent", "again"),
    [
        ({"timestamp": "2026-03-01T09:30:00Z"}, {"timestamp": "2026-03-01T09:30:00+00:00"}),
        ({"timestamp": "2026-03-01T09:30:00Z"}, {"timestamp": "2026-03-01T10:30:00.000+01:00"}),
        ({"timestamp": "2026-03-01T09:30:00.1234Z"}, {"timestamp": "2026-03-01T09:30:00.123Z"}),
        ({"result": {"score": {"raw": 1, "max": 2}}}, {"result": {"score": {"raw": 1.0, "max": 2.0}}}),
        (
            {"result": {"success": True, "extensions": {"http://example.com/e": [{"n": 3}]}}},
            {"result": {"success": True, "extensions": {"http://example.com/e": [{"n": 3.0}]}}},
        ),
        (
            {"result": {"success": True, "duration": "PT1.234S"}},
            {"result": {"success": True, "duration": "PT1.23S"}},
        ),
        ({"actor": ADA}, {"actor": {"objectType": "Agent", **ADA, "mbox": "mailto:ada@Example.COM"}}),
        ({"context": {"team": GROUP}}, {"context": {"team": GROUP | {"member": [ADMIN, ADA]}}}),
        (
            {"context": {"registration": REGISTRATION, "language": "en-GB"}},
            {"context": {"registration": REGISTRATION.upper(), "language": "en-gb"}},
        ),
    ],
    ids=["Z", "offset", "finer than ms", "1.0", "in extensions", "duration", "domain", "order of members", "case"],
)
async def test_a_copy_that_is_only_written_otherwise_is_a_repeat(service, sent, again):
    for statement in (answered(FIRST) | sent, answered(FIRST) | again):
        assert (await put(service, FIRST, statement)).status == 204
    assert len(service.events) == 1


@pytest.mark.parametrize(
    ("sent", "again"),
    [
        ({"timestamp": "2026-03-01T09:30:00Z"}, {"timestamp": "2026-03-01T09:30:00+01:00"}),
        ({"result": {"score": {"raw": 1, "max": 2}}}, {"result": {"score": {"raw": 1.5, "max": 2}}}),
        # Part 2, 2.3.1: a duration is compared as a text.
        (
            {"result": {"success": True, "duration": "PT60S"}},
            {"result": {"success": True, "duration": "PT1M"}},
        ),
        (
            {"result": {"success": True, "response": "1"}},
            {"result": {"success": True, "response": "1.0"}},
        ),
        ({"actor": ADA}, {"actor": ADA | {"mbox": "mailto:Ada@example.com"}}),
    ],
    ids=["another time", "another score", "duration", "another text", "another address"],
)
async def test_a_copy_that_says_something_else_is_a_conflict(service, sent, again):
    assert (await put(service, FIRST, answered(FIRST) | sent)).status == 204
    assert (await put(service, FIRST, answered(FIRST) | again)).status == 409


async def test_a_byte_order_mark_before_the_body_is_ignored(service):
    body = b"\xef\xbb\xbf" + json.dumps(answered(FIRST)).encode()
    assert (await post(service, body, ("Content-Type", "application/json"))).json == [FIRST]


async def test_a_conflict_is_known_from_the_log_too(service):
    await post(service, answered(FIRST))
    service.statements.kept.clear()
    assert (await post(service, answered(FIRST, correct=False))).status == 409
    assert (await post(service, answered(FIRST))).status == 200


@pytest.mark.parametrize(
    "query", ["", "statementId=", "statementId=x", "StatementId=" + FIRST, f"statementId={FIRST}&x=1"]
)
async def test_put_needs_the_id_in_the_query_and_nothing_else(service, query):
    answer = await service.request("PUT", PATH, answered(), headers=(VERSION,), query=query)
    assert answer.status == 400


async def test_put_takes_one_statement_whose_id_is_that_of_the_query(service):
    assert fields(await put(service, FIRST, answered(SECOND))) == ["id"]
    assert fields(await put(service, FIRST, [answered(FIRST)])) == ["body"]
    assert (await put(service, FIRST, answered(FIRST.upper()))).status == 204


@pytest.mark.parametrize(
    ("query", "status"),
    [
        (f"statementId={SECOND}", 404),
        (f"voidedStatementId={FIRST}", 404),
        (f"statementId={FIRST}&format=exact&attachments=false", 200),
        (f"statementId={FIRST}&format=other", 400),
        (f"statementId={FIRST}&attachments=maybe", 400),
        (f"statementId={FIRST}&voidedStatementId={FIRST}", 400),
        (f"statementId={FIRST}&agent=x", 400),
        ("statementId=x", 400),
        ("foo=bar", 400),
        ("Verb=x", 400),
        ("", 501),
        ("verb=http://example.com/v", 501),
    ],
)
async def test_statements_are_answered_by_id_only(service, query, status):
    await post(service, answered(FIRST))
    assert (await get(service, query)).status == status


async def test_head_answers_as_get_does(service):
    await post(service, answered(FIRST))
    answer = await service.request("HEAD", PATH, headers=(VERSION,), query=f"statementId={FIRST}")
    assert answer.status == 200


async def test_a_key_without_the_scope_is_refused_and_so_is_none(service):
    reader = create_api_key(service.tenants_file, "riverbend", "reader", frozenset({Scope.RECOMMEND}))
    # A registry of its own reads the file now.
    other = HttpIngest(service.tenants_file.parent)
    assert (await post(other, answered(), key=reader)).status == 403
    assert (await post(service, answered(), key="nonsense")).status == 401


async def test_voiding_corrects_the_event_of_the_learner_whose_statement_it_was(service):
    await post(service, answered(FIRST))
    assert (await post(service, voiding(FIRST))).json == [VOIDER]
    event, correction = service.events
    assert correction.learner == event.learner
    assert (correction.event_id, correction.body) == (VOIDER, Correction(FIRST, Void(), "xapi"))
    assert (await get(service, f"statementId={FIRST}")).status == 404
    assert (await get(service, f"voidedStatementId={FIRST}")).json["id"] == FIRST
    assert (await get(service, f"statementId={VOIDER}")).status == 200


async def test_voiding_before_its_target_corrects_it_once_it_comes(service):
    await post(service, voiding(FIRST))
    await post(service, answered(FIRST))
    (event,) = (event for event in service.events if isinstance(event.body, StampedAssessment))
    corrections = {event.learner: event for event in service.events if isinstance(event.body, Correction)}
    assert len(corrections) == 2
    assert corrections[event.learner].body == Correction(FIRST, Void(), "xapi")
    assert (await get(service, f"statementId={FIRST}")).status == 404


async def test_a_learner_may_void_a_statement_before_it_comes(service):
    await post(service, voiding(FIRST, actor=ADA) | {"timestamp": "2026-03-01T00:00:00Z"})
    for _ in range(2):
        assert (await post(service, answered(FIRST))).json == [FIRST]
    assert {event.body for event in service.events if isinstance(event.body, Correction)} == {
        Correction(FIRST, Void(), "xapi")
    }


@pytest.mark.parametrize("language", ["account", "mbox", "openid"])
async def test_a_language_named_as_an_identifier_is_nobody(service, language):
    verb = {"id": f"{ADL}answered", "display": {language: ""}}
    definition = {"name": {language: ""}, "description": {language: ""}}
    scan = attachment(fileUrl="http://example.com/1", display={language: ""}, description={language: ""})
    target = {"id": "http://example.com/q/1", "definition": definition}
    assert (await post(service, answered(verb=verb, object=target, attachments=[scan]))).status == 200


@pytest.mark.parametrize("value", ["9" * 30, "[" * 300 + "]" * 300], ids=["long number", "deep"])
@pytest.mark.parametrize("holder", ["context", "result", "definition"])
async def test_what_no_store_can_keep_is_refused(service, value, holder):
    statement = answered(FIRST, context={})
    (statement["object"] if holder == "definition" else statement)[holder]["extensions"] = {"http://example.com/e": "@"}
    body = json.dumps(statement).replace('"@"', value).encode()
    answer = await post(service, body, ("Content-Type", "application/json"))
    assert (answer.status, fields(answer)) == (400, ["body"])
    assert not service.events


async def test_voiding_in_the_batch_of_its_target_is_of_the_same_learner(service):
    await post(service, [voiding(FIRST), answered(FIRST)])
    assert len({event.learner for event in service.events}) == 1


async def test_a_voiding_statement_cannot_be_voided(service):
    await post(service, [answered(FIRST), voiding(FIRST)])
    answer = await post(service, voiding(VOIDER, SECOND))
    assert (answer.status, fields(answer)) == (400, ["object.id"])
    assert (await get(service, f"statementId={VOIDER}")).status == 200


async def test_statements_are_taken_without_what_is_kept_but_voiding_and_asking_wait_for_it(service):
    service.statements.available = False
    assert (await post(service, answered(FIRST))).status == 200
    assert len(service.events) == 1
    for answer in (await post(service, voiding(FIRST)), await get(service, f"statementId={FIRST}")):
        assert answer.status == 503
        assert int(answer.headers["retry-after"]) > 0


async def test_the_tenant_that_sends_statements_is_none_of_their_learners(service):
    await post(service, answered(FIRST))
    await post(service, answered(SECOND, authority=ADMIN))
    tenant = service.tenants.get("riverbend")
    ada, admin = map(tenant.pseudonym, (ADA["mbox"], "http://lms.example.com|admin"))
    learners = {kept.statement_id: set(kept.learners) for kept in service.statements.kept.values()}
    assert learners == {FIRST: {ada}, SECOND: {ada, admin}}


async def test_an_erased_learner_leaves_no_statement(service):
    await post(service, [answered(FIRST), answered(SECOND, actor={"mbox": "mailto:ben@example.com"})])
    tenant = service.tenants.get("riverbend")
    adapters = service.adapters
    erase = EraseLearner(adapters.log, adapters.recent, adapters.keys, adapters.clock, service.statements)
    await erase(tenant, ADA["mbox"])
    assert [statement_id for _, statement_id in service.statements.kept] == [SECOND]


SCAN = b"a scan of\r\n--a page\x00\xff"
SHA2 = hashlib.sha256(SCAN).hexdigest()


def attachment(**more):
    described = {"usageType": "http://example.com/scan", "display": {"en": "Scan"}, "contentType": "image/png"}
    return {**described, "length": len(SCAN), "sha2": SHA2, **more}


def mixed(*parts):
    """A body of parts, each its headers and its content, and the header that names its boundary."""
    body = b"".join(
        b"--page\r\n"
        + "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode()
        + b"\r\n"
        + content
        + b"\r\n"
        for headers, content in parts
    )
    return body + b"--page--\r\n", ("Content-Type", 'multipart/mixed; boundary="page"')


BINARY = {"Content-Type": "image/png", "Content-Transfer-Encoding": "binary", "X-Experience-API-Hash": SHA2}
JSON = {"Content-Type": "application/json"}


async def test_attachments_are_checked_and_dropped(service):
    statement = json.dumps(answered(FIRST, attachments=[attachment()])).encode()
    assert (await post(service, *mixed((JSON, statement), (BINARY, SCAN)))).json == [FIRST]
    assert (await get(service, f"statementId={FIRST}&attachments=true")).headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("parts", "field"),
    [
        ([(BINARY, SCAN)], "body"),
        ([(JSON, None)], "attachments[0]"),
        ([(JSON, None), (BINARY, SCAN), (BINARY | {"X-Experience-API-Hash": "0" * 64}, SCAN)], "X-Experience-API-Hash"),
        ([(JSON, None), ({"Content-Transfer-Encoding": "binary"}, SCAN)], "X-Experience-API-Hash"),
        ([(JSON, None), (BINARY | {"Content-Transfer-Encoding": "base64"}, SCAN)], "Content-Transfer-Encoding"),
    ],
    ids=str,
)
async def test_parts_that_do_not_fit_the_attachments_are_refused(service, parts, field):
    statement = json.dumps(answered(FIRST, attachments=[attachment()])).encode()
    answer = await post(service, *mixed(*((headers, content or statement) for headers, content in parts)))
    assert (answer.status, fields(answer)) == (400, [field])


LONG = b'application/json; a="' + b"; " * 40_000 + b'"'


@pytest.mark.parametrize(
    "parts",
    [[b""] * 5_001, [b"Content-Type: " + LONG], [b"A: b\r\n" * 21]],
    ids=["many", "long headers", "many headers"],
)
async def test_parts_that_take_long_to_read_are_refused(service, parts):
    body = b"".join(b"--page\r\n" + part + b"\r\n\r\n" for part in parts) + b"--page--"
    answer = await post(service, body, ("Content-Type", "multipart/mixed; boundary=page"))
    assert (answer.status, fields(answer)) == (400, ["body"])


async def test_parts_within_parts_and_long_parameters_get_an_answer(service):
    nested = b"".join(
        b"--page%d\r\nContent-Type: multipart/mixed; boundary=page%d\r\n\r\n" % (n, n + 1) for n in range(2_000)
    )
    for body, parameters in ((nested + b"--page0--", "boundary=page0"), (b"--p--", "boundary=p; a=" + "(" * 50_000)):
        answer = await post(service, body, ("Content-Type", f"multipart/mixed; {parameters}"))
        assert (answer.status, fields(answer)) == (400, ["body"])


async def test_json_alone_may_name_attachments_by_address_only(service):
    assert fields(await post(service, answered(attachments=[attachment()]))) == ["attachments[0]"]
    addressed = attachment(fileUrl="http://example.com/scan.png")
    assert (await post(service, answered(attachments=[addressed]))).status == 200


@pytest.mark.parametrize("media_type", ["text/plain", "multipart/form-data; boundary=page", "multipart/mixed", ""])
async def test_another_type_of_content_is_refused(service, media_type):
    answer = await service.request("POST", PATH, b"--page", headers=(VERSION, ("Content-Type", media_type)))
    assert answer.status == 400


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from([*answered(FIRST), "x"]), inner),
        max_leaves=12,
    )
)
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_any_json_gets_an_answer(tmp_path_factory, document):
    service = HttpIngest(tmp_path_factory.mktemp("tenants"))
    assert (await post(service, document)).status in (200, 400)


@given(st.binary(max_size=60), st.sampled_from(["application/json", 'multipart/mixed; boundary="page"']))
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_any_bytes_get_an_answer(tmp_path_factory, body, media_type):
    service = HttpIngest(tmp_path_factory.mktemp("tenants"))
    assert (await post(service, body, ("Content-Type", media_type))).status in (200, 400)
