"""SuggestTags, ListTagReviews and ReviewTag over real gRPC, with a tagger that a test can read."""

import asyncio
import os
import threading
from dataclasses import replace

import grpc
import pytest

from cairn.v1 import catalog_pb2
from services.catalog.application.taggers import SuggestedSkill
from services.catalog.domain.contents import Changes
from services.catalog.domain.model import Resource, ResourceStatus, Skill, SkillTag, TagOrigin
from services.catalog.tagging.served import (
    TaggerFolders,
    TrafficUnusableError,
    read_traffic,
    write_traffic,
)
from services.catalog.wire.resources import resource_from_proto, resource_to_proto
from services.common.auth.api_keys import create_api_key
from services.common.auth.tenant import ALL_SCOPES
from services.common.resource_kinds import ResourceKindName
from services.common.rpc.statuses import violations_of
from tests.adapters.memory_catalog_log import MemoryCatalogLog
from tests.catalogs import grpc_server
from tests.component.test_catalog_grpc import Client, refusal


class WordTagger:
    """Suggests every skill whose id occurs in the title, then `other`."""

    def __init__(self, name="words"):
        self.name, self.asked = name, 0

    def suggest_for(self, resources, limit):
        return self.suggest([resource.title for resource in resources], limit)

    def suggest(self, texts, limit):
        self.asked += len(texts)
        return [
            [*[SuggestedSkill(word, 0.6, 12) for word in text.split()][:limit], SuggestedSkill("other", 0.2, 3)]
            for text in texts
        ]


class OneTagger:
    def __init__(self):
        self.tagger, self.counts = WordTagger(), {}

    def of(self, tenant):
        return self.tagger if tenant == "riverbend" else None

    def missing(self, tenant):
        return f"tenant {tenant!r} has no tagger yet: fit one with cairn catalog tag"

    def traffic(self, tenant):
        return self.counts


class Service:
    def __init__(self, log, view, taggers, address, api_keys):
        self.log, self.view, self.taggers, self.address, self.api_keys = log, view, taggers, address, api_keys


@pytest.fixture
async def service(tmp_path):
    api_keys = {
        tenant: create_api_key(tmp_path / "t.yaml", tenant, "test", ALL_SCOPES) for tenant in ("riverbend", "hillside")
    }
    log, taggers = MemoryCatalogLog(), OneTagger()
    view = await log.view()
    server = grpc_server(log, view, tmp_path / "t.yaml", taggers=taggers)
    address = await server.start()
    yield Service(log, view, taggers, address, api_keys)
    await server.stop()


@pytest.fixture
async def client(service):
    async with grpc.aio.insecure_channel(service.address) as channel:
        yield Client(channel, service.api_keys["riverbend"])


def bare(name, title="", **columns):
    return Resource(id=name, title=title or name, kind=ResourceKindName.PRACTICE, **columns)


async def fill(service, *resources, skills=("add", "multiply", "other")):
    await service.log.append("riverbend", Changes((*map(Skill, skills), *resources)))


async def queue(client, page_size=100):
    token, seen = "", []
    while True:
        page = await client.ListTagReviews(catalog_pb2.ListTagReviewsRequest(page_size=page_size, page_token=token))
        seen += page.reviews
        token = page.next_page_token
        if not token:
            return seen


def review(resource_id, skill, decision=catalog_pb2.TAG_DECISION_ACCEPT, **fields):
    return catalog_pb2.ReviewTagRequest(resource_id=resource_id, skill=skill, decision=decision, **fields)


async def test_suggestions_come_in_the_order_asked_with_confidence_and_examples(client, service):
    await fill(service, bare("r1", "add gone"), bare("r2", "multiply", rejected_skills=("other",)))
    request = catalog_pb2.SuggestTagsRequest(resource_ids=["r2", "r1"], texts=["multiply add"], limit=2)
    reply = await client.SuggestTags(request)
    assert reply.tagger == "words"
    assert [(one.resource_id, [skill.skill for skill in one.skills]) for one in reply.suggestions] == [
        ("r2", ["multiply"]),
        ("r1", ["add", "other"]),
        ("", ["multiply", "add"]),
    ]
    assert (reply.suggestions[0].skills[0].confidence, reply.suggestions[0].skills[0].examples) == (0.6, 12)


async def test_without_a_tagger_suggestions_are_a_failed_precondition_with_the_remedy(service):
    async with grpc.aio.insecure_channel(service.address) as channel:
        stranger = Client(channel, service.api_keys["hillside"])
        error = await refusal(stranger.SuggestTags(catalog_pb2.SuggestTagsRequest(texts=["add"])))
        assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
        assert "fit one with cairn catalog tag" in error.details()
        assert (await stranger.ListTagReviews(catalog_pb2.ListTagReviewsRequest())).total_size == 0


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({}, "resource_ids"),
        ({"texts": ["x"] * 101}, "resource_ids"),
        ({"texts": ["x"], "limit": 21}, "limit"),
        ({"resource_ids": ["absent"]}, "resource_ids[0]"),
        ({"texts": ["x" * 8_193]}, "texts[0]"),
    ],
)
async def test_an_invalid_suggestion_request_names_the_field(client, fields, field):
    error = await refusal(client.SuggestTags(catalog_pb2.SuggestTagsRequest(**fields)))
    assert [violation.field for violation in violations_of(error)] == [field]


async def test_the_review_queue_contains_unreviewed_suggestions(client, service):
    suggested = SkillTag("add", 1.0, TagOrigin.SUGGESTED, 0.7)
    await fill(
        service,
        bare("bare", "multiply"),
        bare("tagged", teaches=(suggested,)),
        bare("source", teaches=(SkillTag("add", 1.0),)),
        bare("retired", "add", status=ResourceStatus.RETIRED),
        bare("said-no", "add", rejected_skills=("add", "other")),
    )
    service.taggers.counts = {"bare": 40}
    waiting = {(one.resource_id, one.skill): one for one in await queue(client)}
    assert set(waiting) == {("bare", "multiply"), ("bare", "other"), ("tagged", "add")}
    assert waiting["bare", "multiply"].traffic == 40
    assert waiting["tagged", "add"].confidence == 0.7


async def test_resources_are_suggested_for_once_until_they_or_the_tagger_change(client, service):
    await fill(service, bare("r1", "add"), bare("r2", "multiply"))
    await queue(client)
    await queue(client)
    assert service.taggers.tagger.asked == 2
    await service.log.append("riverbend", Changes((bare("r2", "add"),)))
    await queue(client)
    assert service.taggers.tagger.asked == 3
    first = await client.ListTagReviews(catalog_pb2.ListTagReviewsRequest(page_size=1))
    service.taggers.tagger = WordTagger("newer")
    error = await refusal(
        client.ListTagReviews(catalog_pb2.ListTagReviewsRequest(page_size=1, page_token=first.next_page_token))
    )
    assert "the tagger has changed" in violations_of(error)[0].reason
    await queue(client)
    assert service.taggers.tagger.asked == 2


async def test_pages_are_the_whole_queue_also_when_answers_come_in_between(client, service):
    await fill(service, *(bare(f"r{n:02}", "add multiply") for n in range(12)))
    whole = await queue(client)
    assert len(whole) == 36
    first = await client.ListTagReviews(catalog_pb2.ListTagReviewsRequest(page_size=5))
    for one in first.reviews[:3]:
        await client.ReviewTag(review(one.resource_id, one.skill, catalog_pb2.TAG_DECISION_REJECT))
    following = catalog_pb2.ListTagReviewsRequest(page_size=5, page_token=first.next_page_token)
    assert (await client.ListTagReviews(following)).reviews == whole[5:10]


@pytest.mark.parametrize("token", ["!", "AAAA", "W10"])
async def test_a_token_that_is_none_is_refused(client, token):
    error = await refusal(client.ListTagReviews(catalog_pb2.ListTagReviewsRequest(page_token=token)))
    assert [violation.field for violation in violations_of(error)] == ["page_token"]


async def test_an_accepted_suggestion_becomes_a_reviewed_tag_with_its_confidence(client, service):
    await fill(
        service,
        bare("r1", "add", rejected_skills=("add",)),
        replace(bare("r2", "add"), kind=ResourceKindName.ASSESSMENT),
    )
    reply = await client.ReviewTag(review("r1", "add"))
    (tag,) = reply.resource.teaches
    assert (tag.skill, tag.origin, tag.confidence) == ("add", catalog_pb2.TAG_ORIGIN_REVIEWED, 0.6)
    assert not reply.resource.rejected_skills
    assert (await client.ReviewTag(review("r1", "add"))).etag == reply.etag
    assert (await client.ReviewTag(review("r2", "add"))).resource.assesses[0].skill == "add"
    assert {one.resource_id for one in await queue(client)} == set()


async def test_other_calls_are_answered_while_the_tagger_runs(client, service):
    await fill(service, bare("r1", "add"), bare("r2", "multiply"))
    asked, answered = asyncio.Event(), threading.Event()
    loop, suggest_for = asyncio.get_running_loop(), service.taggers.tagger.suggest_for

    def slow(resources, limit):
        loop.call_soon_threadsafe(asked.set)
        assert answered.wait(timeout=5), "nothing else was answered meanwhile"
        return suggest_for(resources, limit)

    service.taggers.tagger.suggest_for = slow
    reviewed = asyncio.ensure_future(client.ReviewTag(review("r1", "add")))
    await asked.wait()
    await client.GetResource(catalog_pb2.GetResourceRequest(id="r2"))
    answered.set()
    assert (await reviewed).resource.teaches[0].confidence == 0.6


async def test_a_suggested_tag_that_is_accepted_keeps_weight_and_confidence(client, service):
    suggested = SkillTag("add", 0.25, TagOrigin.SUGGESTED, 0.7)
    await fill(service, bare("r1", teaches=(suggested, SkillTag("other", 0.75))))
    (tag, other) = (await client.ReviewTag(review("r1", "add"))).resource.teaches
    assert (tag.origin, tag.weight, tag.confidence) == (catalog_pb2.TAG_ORIGIN_REVIEWED, 0.25, 0.7)
    assert other.origin == catalog_pb2.TAG_ORIGIN_SOURCE


async def test_a_rejected_suggestion_goes_and_is_suggested_no_more(client, service):
    await fill(service, bare("r1", "add", teaches=(SkillTag("add", 1.0, TagOrigin.SUGGESTED, 0.7),)))
    reply = await client.ReviewTag(review("r1", "add", catalog_pb2.TAG_DECISION_REJECT))
    assert not reply.resource.teaches
    assert reply.resource.rejected_skills == ["add"]
    assert [one.skill for one in await queue(client)] == ["other"]


async def test_an_answer_to_another_version_is_refused(client, service):
    await fill(service, bare("r1", "add"))
    error = await refusal(client.ReviewTag(review("r1", "add", etag="0" * 32)))
    assert error.code() is grpc.StatusCode.ABORTED


@pytest.mark.parametrize(
    ("request_message", "code"),
    [
        (review("absent", "add"), grpc.StatusCode.NOT_FOUND),
        (review("r1", "absent"), grpc.StatusCode.INVALID_ARGUMENT),
        (review("r1", "add", 0), grpc.StatusCode.INVALID_ARGUMENT),
    ],
)
async def test_an_answer_about_nothing_is_refused(client, service, request_message, code):
    await fill(service, bare("r1", "add"))
    assert (await refusal(client.ReviewTag(request_message))).code() is code


def test_traffic_survives_a_round_trip_and_invalid_numbers_are_named(tmp_path):
    file = tmp_path / "traffic.csv"
    write_traffic(file, {"r2": 3, "r1": 12})
    assert dict(read_traffic(file)) == {"r1": 12, "r2": 3}
    file.write_text("resource_id,responses\nr1,many\n")
    with pytest.raises(TrafficUnusableError, match=r"traffic\.csv:2: responses is 'many'"):
        read_traffic(file)
    file.write_text("id,count\n")
    with pytest.raises(TrafficUnusableError, match="it needs resource_id and responses"):
        read_traffic(file)


def test_a_tenants_folder_is_taken_up_when_it_changes_and_a_broken_one_changes_nothing(tmp_path):
    folders = TaggerFolders(tmp_path)
    folder = tmp_path / "riverbend"
    folder.mkdir()
    folders.refresh()
    assert folders.of("riverbend") is None
    assert "cairn catalog tag --model" in folders.missing("riverbend")
    write_traffic(folder / "traffic.csv", {"r1": 12})
    (folder / "manifest.json").write_text("{}")
    folders.refresh()
    assert folders.of("riverbend") is None
    assert folders.traffic("riverbend") == {"r1": 12}
    assert folders.traffic("hillside") == {}
    (folder / "traffic.csv").write_text("broken\n")
    os.utime(folder / "traffic.csv", (1, 1))
    folders.refresh()
    assert folders.traffic("riverbend") == {"r1": 12}
    assert "CAIRN_CATALOG_TAGGERS" in TaggerFolders(None).missing("riverbend")


def test_a_resource_round_trips_with_what_reviews_write():
    resource = bare("r1", rejected_skills=("a", "b"), topics=("space",))
    assert resource_from_proto(resource_to_proto(resource)) == resource
