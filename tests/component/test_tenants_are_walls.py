"""Tenants are isolated: every method answers another tenant's id like an id that does not exist."""

from __future__ import annotations

import itertools

import grpc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cairn.v1 import (
    catalog_pb2,
    catalog_pb2_grpc,
    events_pb2,
    ingest_pb2,
    ingest_pb2_grpc,
    recommender_pb2,
    recommender_pb2_grpc,
)
from services.common.auth.identity import normalised_id, unusable_character
from tests.component.test_catalog_grpc import catalog  # noqa: F401 - a fixture.
from tests.component.test_ingest_service import service  # noqa: F401 - a fixture.
from tests.subscribing import SubscribedServer, bearer

# The prefix occurs nowhere else, so that the id can be found in replies.
characters = st.characters(exclude_categories=["C", "Z"], exclude_characters="\"'\\")
usable = st.text(characters, min_size=1, max_size=40).map(normalised_id).filter(lambda it: not unusable_character(it))
identifiers = usable.map("owned-{}".format)
a_few = settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
# Ids that do not exist, different each time: an attempt may have created something.
absent = map("absent-{}".format, itertools.count())


def about(identifier, **fields):
    return catalog_pb2.Resource(id=identifier, title="T", kind=catalog_pb2.RESOURCE_KIND_LESSON, **fields)


def rule_of(identifier):
    return catalog_pb2.Rule(id=identifier, action=catalog_pb2.RULE_ACTION_BLOCK, providers=["p"], author="a")


# In this order: reads, changes that find nothing to change, then writes.
CATALOG_CALLS = {
    "GetResource": lambda name: catalog_pb2.GetResourceRequest(id=name),
    "GetSkill": lambda name: catalog_pb2.GetSkillRequest(id=name),
    "GetRule": lambda name: catalog_pb2.GetRuleRequest(id=name),
    "ListResources": lambda name: catalog_pb2.ListResourcesRequest(
        filter=catalog_pb2.ListResourcesFilter(skills=[name])
    ),
    "ListSkills": lambda _: catalog_pb2.ListSkillsRequest(),
    "ListRules": lambda _: catalog_pb2.ListRulesRequest(),
    "ListTagReviews": lambda _: catalog_pb2.ListTagReviewsRequest(),
    "SuggestTags": lambda name: catalog_pb2.SuggestTagsRequest(resource_ids=[name]),
    "ReviewTag": lambda name: catalog_pb2.ReviewTagRequest(
        resource_id=name, skill=name, decision=catalog_pb2.TAG_DECISION_ACCEPT
    ),
    "DeleteResource": lambda name: catalog_pb2.DeleteResourceRequest(id=name),
    "DeleteRule": lambda name: catalog_pb2.DeleteRuleRequest(id=name),
    "DeleteSkill": lambda name: catalog_pb2.DeleteSkillRequest(id=name),
    "ImportCatalog": lambda name: iter(
        [
            catalog_pb2.ImportCatalogRequest(
                resources=[about("mine", teaches=[catalog_pb2.SkillTag(skill=name, weight=1.0)])]
            )
        ]
    ),
    "BatchPut": lambda name: catalog_pb2.BatchPutRequest(
        resources=[
            catalog_pb2.PutResourceRequest(
                resource=about("mine", teaches=[catalog_pb2.SkillTag(skill=name, weight=1.0)])
            )
        ]
    ),
    "PutResource": lambda name: catalog_pb2.PutResourceRequest(resource=about(name), must_be_new=True),
    "PutSkill": lambda name: catalog_pb2.PutSkillRequest(skill=catalog_pb2.Skill(id=name), must_be_new=True),
    "PutRule": lambda name: catalog_pb2.PutRuleRequest(rule=rule_of(name), must_be_new=True),
}


def assessed(learner):
    return ingest_pb2.EventSubmission(
        learner_id=learner,
        source="gradebook",
        event_id="e",
        assessment=ingest_pb2.AssessmentSubmission(item="i", correct=True),
    )


INGEST_CALLS = {
    "PublishEvents": lambda name: ingest_pb2.PublishEventsRequest(events=[assessed(name)]),
    "StreamEvents": lambda name: iter([ingest_pb2.StreamEventsRequest(events=[assessed(name)])]),
    "DeleteLearner": lambda name: ingest_pb2.DeleteLearnerRequest(learner_id=name),
}

RECOMMENDER_CALLS = {
    "Recommend": lambda name: recommender_pb2.RecommendRequest(learner_id=name),
    "GetLearner": lambda name: recommender_pb2.GetLearnerRequest(learner_id=name),
    "RecommendBatch": lambda name: recommender_pb2.RecommendBatchRequest(learner_ids=[name]),
    "PlanGroup": lambda name: recommender_pb2.PlanGroupRequest(learner_ids=[name]),
    "PreviewRule": lambda name: recommender_pb2.PreviewRuleRequest(rule=rule_of("r"), learner_ids=[name]),
    "Subscribe": lambda name: recommender_pb2.SubscribeRequest(learner_ids=[name]),
}


@pytest.mark.parametrize(
    ("service_name", "calls"),
    [
        (catalog_pb2.DESCRIPTOR.services_by_name["CatalogService"], CATALOG_CALLS),
        (ingest_pb2.DESCRIPTOR.services_by_name["IngestService"], INGEST_CALLS),
        (recommender_pb2.DESCRIPTOR.services_by_name["RecommendationService"], RECOMMENDER_CALLS),
    ],
    ids=["catalog", "ingest", "recommender"],
)
def test_every_method_is_tried(service_name, calls):
    assert {method.name for method in service_name.methods} == set(calls)


async def outcome(stub, method, request, api_key, name):
    """The outcome of a call without what differs between calls: positions in the log, and values derived from an id."""
    call = getattr(stub, method)(request, metadata=bearer(api_key), timeout=10)
    try:
        reply = await (first_of(call) if hasattr(call, "read") else call)
    except grpc.aio.AioRpcError as error:
        return error.code(), without(repr(name), without(name, error.details()))
    for path in (
        "version", "etag", "position", "freshness_token", "provenance", "updated_at", "updated_with",
        "results.position", "results.freshness_token", "results.learner", "results.recommendations.recommendation_id",
        "recommendations.recommendation_id", "update.recommendations.recommendation_id", "update.provenance",
        "update.cursor", "rule.updated_at", "rule.updated_with", "results.applied", "applied", "resources.etag",
    ):  # fmt: skip
        clear(reply, path.split("."))
    return without(name, str(reply))


async def first_of(call):
    reply = await call.read()
    call.cancel()
    return reply


def clear(message, path):
    name, *rest = path
    field = message.DESCRIPTOR.fields_by_name.get(name)
    if field is None:
        return
    if not rest:
        message.ClearField(name)
        return
    inner = getattr(message, name)
    for each in inner if field.is_repeated else [inner]:
        clear(each, rest)


def without(name, text):
    as_text = str(ingest_pb2.DeleteLearnerRequest(learner_id=name)).removeprefix("learner_id: ").strip()
    return text.replace(as_text, "<id>").replace(name, "<id>")


@a_few
@given(name=identifiers)
async def test_another_tenants_catalog_is_not_found_and_not_changed(catalog, name):  # noqa: F811 - the fixture.
    owner, stranger = catalog.api_keys["riverbend"], catalog.api_keys["hillside"]
    async with grpc.aio.insecure_channel(catalog.address) as channel:
        stub = catalog_pb2_grpc.CatalogServiceStub(channel)
        for method in ("PutSkill", "PutResource", "PutRule"):
            request = CATALOG_CALLS[method](name)
            request.must_be_new = False
            await getattr(stub, method)(request, metadata=bearer(owner), timeout=10)
        held = [await stub.GetResource(CATALOG_CALLS["GetResource"](name), metadata=bearer(owner), timeout=10)]
        written = [len(catalog.log.skills), len(catalog.log.resources), len(catalog.log.rules)]
        nobodys = next(absent)
        for method, request in CATALOG_CALLS.items():
            foreign = await outcome(stub, method, request(name), stranger, name)
            assert foreign == await outcome(stub, method, request(nobodys), stranger, nobodys), method
        for method in ("DeleteResource", "DeleteRule", "DeleteSkill"):
            for own in (name, nobodys):
                await getattr(stub, method)(CATALOG_CALLS[method](own), metadata=bearer(stranger), timeout=10)
        assert held == [await stub.GetResource(CATALOG_CALLS["GetResource"](name), metadata=bearer(owner), timeout=10)]
        logs = (catalog.log.skills, catalog.log.resources, catalog.log.rules)
        touched = {entry[0] for log, before in zip(logs, written, strict=True) for entry in log[before:]}
        assert touched == {"hillside"}


@a_few
@given(name=identifiers)
async def test_another_tenants_learner_is_published_for_like_an_unknown_one(service, name):  # noqa: F811 - the fixture.
    stub = ingest_pb2_grpc.IngestServiceStub(service.channel)
    await stub.PublishEvents(
        INGEST_CALLS["PublishEvents"](name), metadata=bearer(service.keys["riverbend"]), timeout=10
    )
    before, destroyed = len(service.stored()), len(service.learner_keys.destroyed)
    nobodys = next(absent)
    for method, request in INGEST_CALLS.items():
        foreign = await outcome(stub, method, request(name), service.keys["hilltop"], name)
        assert foreign == await outcome(stub, method, request(nobodys), service.keys["hilltop"], nobodys), method
    records = [service.record(index) for index in range(len(service.stored()))]
    mine = service.tenants.get("riverbend").pseudonym(name)
    assert sum(record.tenant == "hilltop" for record in records) % 6 == 0
    assert all(record.learner != mine for record in records if record.tenant == "hilltop")
    assert len(records) - before == 6
    assert {tenant for tenant, _ in service.learner_keys.destroyed[destroyed:]} == {"hilltop"}


@pytest.fixture
async def world(tmp_path):
    world = SubscribedServer(tmp_path)
    await world.begin_epoch()
    return world


@a_few
@given(name=identifiers)
async def test_another_tenants_learner_is_treated_as_unknown_and_no_key_of_theirs_is_touched(world, name):
    await world.answer(name, 3)
    touched = []
    read = {}
    for method in ("read", "read_many", "applied_offset", "applied_offsets"):
        read[method] = getattr(world.states, method)

        def watched(epoch, key, *rest, through=read[method]):
            touched.extend([key] if hasattr(key, "tenant") else key)
            return through(epoch, key, *rest)

        setattr(world.states, method, watched)
    try:
        async with world.serving() as process, grpc.aio.insecure_channel(process.address) as channel:
            stub = recommender_pb2_grpc.RecommendationServiceStub(channel)
            nobodys = next(absent)
            for method, request in RECOMMENDER_CALLS.items():
                foreign = await outcome(stub, method, request(name), world.other_api_key, name)
                assert foreign == await outcome(stub, method, request(nobodys), world.other_api_key, nobodys), method
                own = await outcome(stub, method, request(name), world.api_key, name)
                assert foreign != own or method == "PreviewRule", method
    finally:
        for method, original in read.items():
            setattr(world.states, method, original)
    theirs = world.pseudonym(name)
    assert {key.tenant for key in touched} == {"riverbend", "lakeside"}
    assert all((key.learner == theirs) <= (key.tenant == "riverbend") for key in touched)


def test_no_request_has_a_field_for_a_tenant():
    files = (ingest_pb2, catalog_pb2, recommender_pb2)
    for message in (message for file in files for message in file.DESCRIPTOR.message_types_by_name.values()):
        assert "tenant" not in message.fields_by_name, message.full_name
    assert "tenant" in events_pb2.LearnerEvent.DESCRIPTOR.fields_by_name
