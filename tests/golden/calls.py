"""What every RPC of the three services answers: to a good call, without rights, and to what cannot be done."""

from __future__ import annotations

import asyncio
import tempfile
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2, status_pb2

from cairn.v1 import (
    catalog_pb2,
    catalog_pb2_grpc,
    events_pb2,
    ingest_pb2,
    ingest_pb2_grpc,
    recommender_pb2,
    recommender_pb2_grpc,
)
from tests.adapters.memory_catalog_log import MemoryCatalogLog
from tests.catalogs import grpc_server
from tests.component.test_catalog_tag_calls import OneTagger
from tests.component.test_ingest_service import NOW
from tests.component.test_ingest_service import Service as IngestService
from tests.golden.tenants import api_key, metadata, write_tenants
from tests.golden.values import plain
from tests.subscribing import SubscribedServer

DEADLINE_S = 20
STREAMS_OF_REPLIES = {"StreamEvents", "Subscribe"}
# A key for another purpose, by service and method.
SCOPE_LACKING = {"IngestService": "recommend", "CatalogService": "ingest", "RecommendationService": "catalog"}
GOOD = "good call"


@dataclass(frozen=True)
class Case:
    """One call.

    `request` may be a list of the messages of a stream, or a function of what was answered before. A stream that is
    `refused_early` ends before the server has read all of it: the client keeps it open until the status has come.
    """

    service: str
    method: str
    name: str
    request: Any
    key: str | None = api_key("riverbend")
    deadline_s: float | None = DEADLINE_S
    refused_early: bool = False

    @property
    def title(self):
        return f"{self.method}: {self.name}"


def cases():
    """Every call in the order it is made: the services keep what earlier calls wrote."""
    good = [*_ingest(), *_catalog(), *_recommender()]
    without_rights, unlimited = [], []
    for case in good:
        if case.name != GOOD:
            continue
        request = case.request({}) if callable(case.request) else case.request
        # Nothing is written on a stream that is refused before anything is read.
        refused = {"request": [] if isinstance(request, list) else request, "refused_early": True}
        other = api_key("riverbend", SCOPE_LACKING[case.service])
        without_rights += [
            replace(case, name="no key", key=None, **refused),
            replace(case, name="unknown key", key="cairn_riverbend_unknown", **refused),
            replace(case, name="key without the scope", key=other, **refused),
        ]
        if case.method in STREAMS_OF_REPLIES:
            # They need no deadline, and go on.
            unlimited.append(replace(case, name="no deadline", deadline_s=None))
        else:
            without_rights.append(replace(case, name="no deadline", deadline_s=None, **refused))
    # Calls that must be refused come first: had one of them an effect, later answers would differ.
    return [*without_rights, *good, *unlimited]


async def call_values():
    """The answer of every call, by its title."""
    with tempfile.TemporaryDirectory() as folder:
        async with AsyncExitStack() as stack:
            stubs = {}
            for part, start in (("ingest", _ingest_stub), ("catalog", _catalog_stub), ("recommender", _recommend_stub)):
                directory = Path(folder) / part
                directory.mkdir()
                write_tenants(directory / "tenants.yaml")
                name, stub = await stack.enter_async_context(start(directory))
                stubs[name] = stub
            answers, values = {}, {}
            for case in cases():
                assert case.title not in values, case.title
                reply, values[case.title] = await _answer(stubs[case.service], case, answers)
                if reply is not None:
                    answers[case.title] = reply
            return values


def methods():
    """Every method of the three services, from the contract itself."""
    return [
        (service.name, method.name)
        for module in (ingest_pb2, catalog_pb2, recommender_pb2)
        for service in module.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    ]


async def _answer(stub, case, answers):
    request = case.request(answers) if callable(case.request) else case.request
    options = {"metadata": metadata(case.key)}
    if case.deadline_s is not None:
        options["timeout"] = case.deadline_s
    try:
        async with asyncio.timeout(2 * DEADLINE_S):
            if isinstance(request, list):
                call = getattr(stub, case.method)(**options)
                for message in request:
                    await call.write(message)
                if not case.refused_early:
                    await call.done_writing()
            else:
                call = getattr(stub, case.method)(request, **options)
            if case.method not in STREAMS_OF_REPLIES:
                reply = await call
                return reply, {"code": "OK", "reply": plain(reply)}
            replies = await _replies(call)
            return replies, {"code": "OK", "replies": [plain(one) for one in replies]}
    except grpc.aio.AioRpcError as error:
        return None, _refusal(error.code(), error.trailing_metadata())


async def _replies(call):
    """What a stream says: all of it, or up to the end of a snapshot."""
    replies = []
    while (one := await call.read()) is not grpc.aio.EOF:
        replies.append(one)
        if isinstance(one, recommender_pb2.SubscribeResponse) and one.HasField("snapshot_complete"):
            call.cancel()
            return replies
    if await call.code() is not grpc.StatusCode.OK:
        raise grpc.aio.AioRpcError(
            await call.code(), await call.initial_metadata(), await call.trailing_metadata(), await call.details()
        )
    return replies


def _refusal(code, trailing):
    """A status as numbers and names: its code, the fields at fault, the reason in a word, when to come back."""
    found = {"code": code.name}
    details = dict(trailing or ()).get("grpc-status-details-bin")
    for detail in status_pb2.Status.FromString(details).details if details else ():
        info, bad, retry = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
        if detail.Unpack(info):
            found["reason"] = info.reason
            found["facts"] = sorted(info.metadata)
        elif detail.Unpack(bad):
            found["fields"] = [violation.field for violation in bad.field_violations]
        elif detail.Unpack(retry):
            found["retry_ms"] = retry.retry_delay.ToMilliseconds()
    return found


# The services, each with everything behind its ports in memory.


@asynccontextmanager
async def _ingest_stub(directory):
    service = IngestService(directory)
    await service.start()
    try:
        yield "IngestService", ingest_pb2_grpc.IngestServiceStub(service.channel)
    finally:
        await service.stop()


@asynccontextmanager
async def _catalog_stub(directory):
    log = MemoryCatalogLog()
    view = await log.view()
    server = grpc_server(log, view, directory / "tenants.yaml", taggers=OneTagger())
    address = await server.start()
    try:
        async with grpc.aio.insecure_channel(address) as channel:
            yield "CatalogService", catalog_pb2_grpc.CatalogServiceStub(channel)
    finally:
        await server.stop()


@asynccontextmanager
async def _recommend_stub(directory):
    world = SubscribedServer(directory)
    await world.begin_epoch()
    await world.answer("amy", 6)
    await world.answer("ben", 4, response=1.0)
    await world.answer("zoe", 4, tenant="lakeside")
    async with world.serving() as process, grpc.aio.insecure_channel(process.address) as channel:
        yield "RecommendationService", recommender_pb2_grpc.RecommendationServiceStub(channel)


# The calls.


def _event(number, **fields):
    body = {"item": "item-1", "correct": True}
    body |= {name: fields.pop(name) for name in ("item", "skills", "attempt", "score", "grain") if name in fields}
    if "score" in body:
        del body["correct"]
    event = {"event_id": f"e{number}", "learner_id": "ada", "source": "gradebook"} | fields
    return ingest_pb2.EventSubmission(assessment=ingest_pb2.AssessmentSubmission(**body), **event)


def _other(number, **body):
    return ingest_pb2.EventSubmission(event_id=f"e{number}", learner_id="ada", source="gradebook", **body)


def _ingest():
    def publish(name, *events, **options):
        return Case("IngestService", "PublishEvents", name, ingest_pb2.PublishEventsRequest(events=events), **options)

    def stream(name, *batches, **options):
        requests = [ingest_pb2.StreamEventsRequest(batch=n, events=events) for n, events in enumerate(batches)]
        return Case("IngestService", "StreamEvents", name, requests, **options)

    def delete(name, learner_id, **options):
        request = ingest_pb2.DeleteLearnerRequest(learner_id=learner_id)
        return Case("IngestService", "DeleteLearner", name, request, **options)

    late = _event(9)
    late.occurred_at.FromDatetime(NOW + timedelta(days=1))
    score = events_pb2.Score(raw=3, min=0, max=4)
    return [
        publish(GOOD, _event(1), _event(2, score=score, item="item-9", skills=["a", "b"]), _event(1)),
        publish(
            "every kind",
            _other(10, interaction=ingest_pb2.InteractionSubmission(resource="r", kind=1, recommendation_id="x")),
            _other(11, preference=events_pb2.PreferenceEvent(pace=2)),
            _other(12, correction=ingest_pb2.CorrectionSubmission(target_event_id="e1", correct=False)),
            _other(13, correction=ingest_pb2.CorrectionSubmission(target_event_id="e2", voided=events_pb2.Void())),
        ),
        publish("no id", _event("", source_sequence="7"), _event("", source_sequence="8")),
        publish("foreign item", _event(1, item="item-2"), key=api_key("hilltop")),
        publish("empty"),
        publish("too many", *(_event(number) for number in range(501))),
        publish("too large", *(_event(number, item="i" * 60_000) for number in range(4))),
        publish(
            "events at fault",
            _event(20),
            _event(21, learner_id=""),
            _event(22, source=""),
            _event(23, item="", grain=1, attempt=0),
            _event(24, grain=7),
            _event(25, score=events_pb2.Score(raw=5, min=0, max=4)),
            _event(26, skills=["a"] * 2 + [""]),
            late,
            ingest_pb2.EventSubmission(event_id="e27", learner_id="ada", source="gradebook"),
            _other(28, interaction=ingest_pb2.InteractionSubmission()),
            _other(29, preference=events_pb2.PreferenceEvent()),
            _other(30, correction=ingest_pb2.CorrectionSubmission(correct=True)),
            _other(31, correction=ingest_pb2.CorrectionSubmission(target_event_id="e1")),
        ),
        stream(GOOD, [_event(40), _event(41, attempt=0)], [_event(42), _event(42)]),
        stream("no batch"),
        stream("empty batch", [], refused_early=True),
        stream("too many", [_event(number) for number in range(501)], refused_early=True),
        delete(GOOD, "ada"),
        delete("absent", "nobody"),
        delete("foreign", "ada", key=api_key("hilltop")),
        delete("empty id", ""),
        delete("long id", "x" * 257),
        delete("admin key", "ada", key=api_key("riverbend", "admin")),
        delete("ingest key", "ada", key=api_key("riverbend", "ingest")),
    ]


def _catalog():
    foreign = {"key": api_key("lakeside")}
    wrong_etag = "0" * 32

    def case(method, name, request, **options):
        message = request
        if not (callable(request) or isinstance(request, list)):
            message = getattr(catalog_pb2, f"{method}Request")(**request)
        return Case("CatalogService", method, name, message, **options)

    def skill(name, **fields):
        return catalog_pb2.Skill(id=name, **fields)

    def resource(name, **fields):
        return catalog_pb2.Resource(**({"id": name, "title": f"add {name}", "kind": 3} | fields))

    def rule(name, **fields):
        return catalog_pb2.Rule(**({"id": name, "action": 1, "resource_ids": ["r1"], "author": "t-1"} | fields))

    def tag(name, **fields):
        return catalog_pb2.SkillTag(skill=name, weight=1.0, **fields)

    def imported(*, skills=(), resources=()):
        return [catalog_pb2.ImportCatalogRequest(skills=skills), catalog_pb2.ImportCatalogRequest(resources=resources)]

    def page_after(method, key):
        def request(answers):
            token = answers[key].next_page_token if key in answers else ""
            return getattr(catalog_pb2, f"{method}Request")(page_size=1, page_token=token)

        return request

    return [
        case(
            "ImportCatalog",
            GOOD,
            imported(
                skills=[skill("add", grades=["3"]), skill("other", prerequisites=["add"], importance=0.5)],
                resources=[
                    resource("r1", teaches=[tag("add")], grades=["3"], minutes=12, provider="p", topics=["space"]),
                    resource("r2", kind=5, assesses=[tag("add", origin=2, confidence=0.7)], language="en"),
                    resource("r3", status=3),
                ],
            ),
        ),
        case("ImportCatalog", "nothing", []),
        case("ImportCatalog", "the same again", imported(skills=[skill("add", grades=["3"])])),
        case(
            "ImportCatalog",
            "invalid",
            imported(
                skills=[
                    skill("", prerequisites=["absent"]),
                    skill("x", importance=2.0),
                    skill("y", prerequisites=["y"]),
                ],
                resources=[resource("r9", kind=0, minutes=0, url="nowhere"), resource("r9", grades=["99"], title="")],
            ),
        ),
        case("PutSkill", GOOD, {"skill": skill("count", statement="Counts")}),
        case("PutSkill", "unchanged", {"skill": skill("count", statement="Counts")}),
        case("PutSkill", "must be new", {"skill": skill("count"), "must_be_new": True}),
        case("PutSkill", "other etag", {"skill": skill("count"), "etag": wrong_etag}),
        case("PutSkill", "nothing", {}),
        case("PutSkill", "invalid", {"skill": skill("bad", prerequisites=["absent", "bad"], grades=["X"])}),
        case("PutSkill", "a cycle", {"skill": skill("add", prerequisites=["other"])}),
        case("GetSkill", GOOD, {"id": "count"}),
        case("GetSkill", "absent", {"id": "absent"}),
        case("GetSkill", "foreign", {"id": "count"}, **foreign),
        case("GetSkill", "empty id", {}),
        case("ListSkills", GOOD, {"page_size": 1}),
        case("ListSkills", "next page", page_after("ListSkills", f"ListSkills: {GOOD}")),
        case("ListSkills", "foreign", {}, **foreign),
        case("ListSkills", "large page", {"page_size": 1_001}),
        case("ListSkills", "no token", {"page_token": "!"}),
        case("PutResource", GOOD, {"resource": resource("r4", kind=1, teaches=[tag("add")])}),
        case("PutResource", "must be new", {"resource": resource("r4"), "must_be_new": True}),
        case("PutResource", "other etag", {"resource": resource("r4"), "etag": wrong_etag}),
        case("PutResource", "etag of none", {"resource": resource("r99"), "etag": wrong_etag}),
        case("PutResource", "nothing", {}),
        case(
            "PutResource",
            "invalid",
            {
                "resource": resource(
                    "r5",
                    title="",
                    kind=0,
                    minutes=0,
                    difficulty=2.0,
                    url="x",
                    topics=["A B"],
                    teaches=[tag("absent"), catalog_pb2.SkillTag(skill="add", weight=-1)],
                )
            },
        ),
        case("GetResource", GOOD, {"id": "r1"}),
        case("GetResource", "absent", {"id": "absent"}),
        case("GetResource", "foreign", {"id": "r1"}, **foreign),
        case("ListResources", GOOD, {"page_size": 2}),
        case("ListResources", "next page", page_after("ListResources", f"ListResources: {GOOD}")),
        case("ListResources", "filtered", {"filter": {"kinds": [3], "skills": ["add"], "grades": ["3"]}}),
        case("ListResources", "untagged", {"filter": {"untagged": True, "statuses": [3]}}),
        case("ListResources", "foreign", {}, **foreign),
        case("ListResources", "large page", {"page_size": 1_001}),
        case("ListResources", "no token", {"page_token": "AAAA"}),
        case("ListResources", "invalid filter", {"filter": {"kinds": [99], "grades": ["X"]}}),
        case(
            "BatchPut",
            GOOD,
            {
                "skills": [
                    {"skill": skill("batch")},
                    {"skill": skill("count", statement="Counts")},
                    {"skill": skill("")},
                ],
                "resources": [
                    {"resource": resource("r6")},
                    {"resource": resource("r4"), "must_be_new": True},
                    {"resource": resource("r7", kind=0)},
                ],
            },
        ),
        case("BatchPut", "empty", {}),
        case("BatchPut", "too many", {"skills": [{"skill": skill(f"s{number}")} for number in range(501)]}),
        case("PutRule", GOOD, {"rule": rule("pin")}),
        case("PutRule", "boost", {"rule": rule("boost", action=3, factor=2.0, skills=["add"], classes=["4b"])}),
        case("PutRule", "ended", {"rule": rule("ended", expires_at=Timestamp(seconds=1_000_000_000))}),
        case("PutRule", "must be new", {"rule": rule("pin"), "must_be_new": True}),
        case("PutRule", "other etag", {"rule": rule("pin"), "etag": wrong_etag}),
        case("PutRule", "nothing", {}),
        case(
            "PutRule",
            "invalid",
            {"rule": rule("bad", action=0, resource_ids=[], author="", factor=99.0, skills=["no"])},
        ),
        case("GetRule", GOOD, {"id": "pin"}),
        case("GetRule", "absent", {"id": "absent"}),
        case("GetRule", "foreign", {"id": "pin"}, **foreign),
        case("ListRules", GOOD, {"page_size": 1}),
        case("ListRules", "ended too", {"include_expired": True}),
        case("ListRules", "foreign", {}, **foreign),
        case("ListRules", "large page", {"page_size": 1_001}),
        case("SuggestTags", GOOD, {"resource_ids": ["r1"], "texts": ["add other"], "limit": 2}),
        case("SuggestTags", "nothing", {}),
        case("SuggestTags", "absent", {"resource_ids": ["absent"], "limit": 21}),
        case("SuggestTags", "no tagger", {"texts": ["add"]}, **foreign),
        case("ListTagReviews", GOOD, {"page_size": 2}),
        case("ListTagReviews", "next page", page_after("ListTagReviews", f"ListTagReviews: {GOOD}")),
        case("ListTagReviews", "foreign", {}, **foreign),
        case("ListTagReviews", "no token", {"page_token": "!"}),
        case("ReviewTag", GOOD, {"resource_id": "r2", "skill": "add", "decision": 1}),
        case("ReviewTag", "rejected", {"resource_id": "r6", "skill": "other", "decision": 2}),
        case("ReviewTag", "absent", {"resource_id": "absent", "skill": "add", "decision": 1}),
        case("ReviewTag", "foreign", {"resource_id": "r2", "skill": "add", "decision": 1}, **foreign),
        case("ReviewTag", "absent skill", {"resource_id": "r2", "skill": "absent", "decision": 1}),
        case("ReviewTag", "no decision", {"resource_id": "r2", "skill": "add"}),
        case("ReviewTag", "other etag", {"resource_id": "r2", "skill": "add", "decision": 2, "etag": wrong_etag}),
        case("DeleteSkill", "in use", {"id": "add"}),
        case("DeleteSkill", "other etag", {"id": "count", "etag": wrong_etag}),
        case("DeleteSkill", "foreign", {"id": "count"}, **foreign),
        case("DeleteSkill", GOOD, {"id": "count"}),
        case("DeleteSkill", "absent", {"id": "count"}),
        case("DeleteResource", "other etag", {"id": "r4", "etag": wrong_etag}),
        case("DeleteResource", "foreign", {"id": "r4"}, **foreign),
        case("DeleteResource", GOOD, {"id": "r4"}),
        case("DeleteResource", "absent", {"id": "r4"}),
        case("DeleteRule", "other etag", {"id": "pin", "etag": wrong_etag}),
        case("DeleteRule", "foreign", {"id": "pin"}, **foreign),
        case("DeleteRule", GOOD, {"id": "pin"}),
        case("DeleteRule", "absent", {"id": "pin"}),
    ]


def _recommender():
    def case(method, name, request, **options):
        message = request if callable(request) else getattr(recommender_pb2, f"{method}Request")(**request)
        return Case("RecommendationService", method, name, message, **options)

    def fresh(answers):
        published = answers.get(f"PublishEvents: {GOOD}")
        token = "" if published is None else published.results[0].freshness_token
        return recommender_pb2.RecommendRequest(learner_id="amy", freshness_token=token)

    long, foreign = "x" * 257, {"key": api_key("lakeside")}
    pin = catalog_pb2.Rule(id="p", action=1, resource_ids=["s5-practice"], author="t-1")
    wrong = {"kinds": [99], "skills": ["s"] * 101, "grades": ["x" * 65], "exclude_resource_ids": [long]}
    return [
        case("Recommend", GOOD, {"learner_id": "amy", "limit": 3}),
        case("Recommend", "absent learner", {"learner_id": "nobody", "limit": 1}),
        case("Recommend", "foreign learner", {"learner_id": "zoe", "limit": 1}),
        case("Recommend", "own learner of another tenant", {"learner_id": "zoe", "limit": 1}, **foreign),
        case("Recommend", "empty id", {}),
        case("Recommend", "invalid", {"learner_id": long, "limit": 101, "class_id": long, "filter": wrong}),
        case("Recommend", "bad moment", {"learner_id": "amy", "as_of": Timestamp(seconds=-99_999_999_999_999)}),
        case("Recommend", "no token", {"learner_id": "amy", "freshness_token": "!"}),
        case("Recommend", "token of another log", fresh),
        case("GetLearner", GOOD, {"learner_id": "amy"}),
        case("GetLearner", "absent learner", {"learner_id": "nobody"}),
        case("GetLearner", "foreign learner", {"learner_id": "zoe"}),
        case("GetLearner", "invalid", {"learner_id": long, "freshness_token": "!"}),
        case("RecommendBatch", GOOD, {"learner_ids": ["amy", "ben", "nobody", "", long], "limit": 2}),
        case("RecommendBatch", "nobody asked for", {}),
        case("RecommendBatch", "too many", {"learner_ids": [f"l{number}" for number in range(501)]}),
        case("RecommendBatch", "too many in all", {"learner_ids": [f"l{n}" for n in range(500)], "limit": 20}),
        case("RecommendBatch", "invalid", {"learner_ids": ["amy"], "limit": 21, "filter": wrong}),
        case("PlanGroup", GOOD, {"learner_ids": ["amy", "ben", "nobody", long]}),
        case("PlanGroup", "nobody asked for", {}),
        case("PlanGroup", "invalid", {"learner_ids": ["amy"], "groups_max": 21, "minutes_max": 601, "class_id": long}),
        case("Subscribe", GOOD, {"learner_ids": ["amy"], "limit": 2}),
        case("Subscribe", "whole tenant", {"whole_tenant": True, "limit": 1}, **foreign),
        case("Subscribe", "nobody asked for", {}),
        case("Subscribe", "invalid", {"learner_ids": ["amy", long], "limit": 21, "class_id": long}),
        case("Subscribe", "both", {"learner_ids": ["amy"], "whole_tenant": True}),
        case(
            "Subscribe", "cursor of no one", {"learner_ids": ["amy"], "cursors": [{"learner_id": "x", "cursor": "!"}]}
        ),
        case("PreviewRule", GOOD, {"rule": pin, "learner_ids": ["amy", "nobody", long], "limit": 3}),
        case("PreviewRule", "removal of none", {"rule": {"id": "q"}, "removed": True, "learner_ids": ["amy"]}),
        case("PreviewRule", "nobody asked for", {"rule": pin}),
        case("PreviewRule", "no rule", {"learner_ids": ["amy"]}),
        case("PreviewRule", "invalid", {"rule": {"id": "", "action": 0}, "learner_ids": ["amy"], "limit": 21}),
    ]
