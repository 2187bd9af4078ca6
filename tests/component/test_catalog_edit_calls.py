"""Puts, deletes, batches and rules over real gRPC, with an in-memory log."""

from dataclasses import replace

import grpc
import pytest
import structlog
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from cairn.v1 import catalog_pb2
from services.catalog.domain.model import Resource, Skill, SkillTag
from services.catalog.wire.resources import resource_to_proto
from services.catalog.wire.skills import skill_to_proto
from services.common.resource_kinds import ResourceKindName
from services.common.rpc.statuses import violations_of
from tests.catalogs import NOW
from tests.component.test_catalog_grpc import (
    catalog,  # noqa: F401 - a fixture.
    client,  # noqa: F401 - as above.
    lesson,
    pages,
    refusal,
    stranger,  # noqa: F401 - as above.
)

# ruff: noqa: F811 - tests take the fixtures by name.


def put_resource(resource, **options):
    return catalog_pb2.PutResourceRequest(resource=resource_to_proto(resource), **options)


def put_skill(skill, **options):
    return catalog_pb2.PutSkillRequest(skill=skill_to_proto(skill), **options)


def pin(**fields):
    given = {"id": "pin", "action": catalog_pb2.RULE_ACTION_PIN, "resource_ids": ["r0001"], "author": "teacher-7"}
    return catalog_pb2.Rule(**(given | fields))


def info_of(error):
    for detail in rpc_status.from_call(error).details:
        message = error_details_pb2.ErrorInfo()
        if detail.Unpack(message):
            return message
    raise AssertionError("there is no ErrorInfo")


async def test_a_put_answers_once_it_can_be_read_with_the_same_etag(client):
    reply = await client.PutResource(put_resource(lesson(1)))
    got = await client.GetResource(catalog_pb2.GetResourceRequest(id="r0001"))
    assert got.resource == reply.resource
    assert got.etag == reply.etag
    assert reply.version.resources_offset == 1


async def test_an_unchanged_record_is_not_written_again(client, catalog):
    first = await client.PutSkill(put_skill(Skill(id="a")))
    again = await client.PutSkill(put_skill(Skill(id="a")))
    assert (again.etag, len(catalog.log.skills)) == (first.etag, 1)


async def test_a_put_replaces_the_version_it_names_and_no_other(client):
    first = await client.PutResource(put_resource(lesson(1)))
    second = await client.PutResource(put_resource(lesson(1, minutes=5), etag=first.etag))
    error = await refusal(client.PutResource(put_resource(lesson(1, minutes=9), etag=first.etag)))
    assert error.code() is grpc.StatusCode.ABORTED
    assert info_of(error).reason == "ETAG_MISMATCH"
    assert info_of(error).metadata["etag"] == second.etag
    assert second.etag in error.details()
    assert (await client.GetResource(catalog_pb2.GetResourceRequest(id="r0001"))).resource.minutes == 5


async def test_an_etag_of_a_removed_record_is_a_conflict(client):
    etag = (await client.PutSkill(put_skill(Skill(id="a")))).etag
    await client.DeleteSkill(catalog_pb2.DeleteSkillRequest(id="a", etag=etag))
    error = await refusal(client.PutSkill(put_skill(Skill(id="a", code="A"), etag=etag)))
    assert error.code() is grpc.StatusCode.ABORTED
    assert "skill 'a' no longer exists" in error.details()


async def test_a_record_that_must_be_new_is_refused_if_it_exists(client):
    first = await client.PutSkill(put_skill(Skill(id="a"), must_be_new=True))
    error = await refusal(client.PutSkill(put_skill(Skill(id="a", code="A"), must_be_new=True)))
    assert error.code() is grpc.StatusCode.ALREADY_EXISTS
    assert info_of(error).metadata["etag"] == first.etag
    error = await refusal(client.PutSkill(put_skill(Skill(id="a"), must_be_new=True, etag=first.etag)))
    assert [violation.field for violation in violations_of(error)] == ["must_be_new"]


async def test_problems_are_named_by_field(client, catalog):
    wrong = lesson(1, minutes=0, teaches=(SkillTag("a", 1.0),))
    error = await refusal(client.PutResource(put_resource(wrong)))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert [violation.field for violation in violations_of(error)] == ["resource.minutes", "resource.teaches[0].skill"]
    assert catalog.log.resources == []


async def test_a_removed_resource_is_gone_and_a_second_removal_finds_none(client):
    await client.PutResource(put_resource(lesson(1)))
    reply = await client.DeleteResource(catalog_pb2.DeleteResourceRequest(id="r0001"))
    assert reply.version.resources_offset == 2
    for ask in (
        client.GetResource(catalog_pb2.GetResourceRequest(id="r0001")),
        client.DeleteResource(catalog_pb2.DeleteResourceRequest(id="r0001")),
    ):
        assert (await refusal(ask)).code() is grpc.StatusCode.NOT_FOUND


async def test_a_removal_of_another_version_is_refused(client):
    await client.PutResource(put_resource(lesson(1)))
    error = await refusal(client.DeleteResource(catalog_pb2.DeleteResourceRequest(id="r0001", etag="0" * 32)))
    assert error.code() is grpc.StatusCode.ABORTED


async def test_a_skill_in_use_is_not_removed_and_the_error_lists_its_users(client):
    await client.write([Skill(id="a"), Skill(id="b", prerequisites=("a",))], [lesson(1, teaches=(SkillTag("a", 1.0),))])
    await client.PutRule(catalog_pb2.PutRuleRequest(rule=pin(skills=["a"])))
    error = await refusal(client.DeleteSkill(catalog_pb2.DeleteSkillRequest(id="a")))
    assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert "skill 'b', resource 'r0001', rule 'pin'" in error.details()
    await client.DeleteSkill(catalog_pb2.DeleteSkillRequest(id="b"))
    await client.DeleteRule(catalog_pb2.DeleteRuleRequest(id="pin"))
    await client.DeleteResource(catalog_pb2.DeleteResourceRequest(id="r0001"))
    await client.DeleteSkill(catalog_pb2.DeleteSkillRequest(id="a"))


async def test_a_batch_writes_valid_records_and_reports_the_problems_of_others(client, catalog):
    stands = await client.PutSkill(put_skill(Skill(id="old")))
    reply = await client.BatchPut(
        catalog_pb2.BatchPutRequest(
            skills=[
                put_skill(Skill(id="a")),
                put_skill(Skill(id="old")),
                put_skill(Skill(id="old", code="O"), etag="0" * 32),
                put_skill(Skill(id="b", prerequisites=("a",))),
                put_skill(Skill(id="a", prerequisites=("b",))),
            ],
            resources=[
                put_resource(lesson(1, teaches=(SkillTag("b", 1.0),))),
                put_resource(Resource(id="r0002", title="", kind=ResourceKindName.GAME)),
                put_resource(lesson(1), must_be_new=True),
            ],
        )
    )
    written, unchanged, conflict, rejected = (
        catalog_pb2.PUT_STATUS_WRITTEN,
        catalog_pb2.PUT_STATUS_UNCHANGED,
        catalog_pb2.PUT_STATUS_CONFLICT,
        catalog_pb2.PUT_STATUS_REJECTED,
    )
    assert [one.status for one in reply.skills] == [written, unchanged, conflict, written, rejected]
    assert [one.status for one in reply.resources] == [written, rejected, conflict]
    assert [one.field for one in reply.skills[4].problems] == ["skills[4].skill.prerequisites[0]"]
    assert [one.field for one in reply.resources[1].problems] == ["resources[1].resource.title"]
    assert reply.skills[2].etag == reply.skills[1].etag == stands.etag
    assert (reply.version.skills_offset, reply.version.resources_offset) == (3, 1)
    assert len(catalog.log.skills) == 3


async def test_a_batch_that_is_too_large_is_refused(client):
    error = await refusal(client.BatchPut(catalog_pb2.BatchPutRequest(skills=[put_skill(Skill(id="a"))] * 501)))
    assert "501 entries in total; send at most 500 at once" in error.details()


async def test_a_record_of_another_tenant_is_not_found_and_stays(client, stranger):
    await client.write([Skill(id="a")], [lesson(1)])
    await client.PutRule(catalog_pb2.PutRuleRequest(rule=pin()))
    for method, request in (
        ("DeleteResource", catalog_pb2.DeleteResourceRequest(id="r0001")),
        ("DeleteSkill", catalog_pb2.DeleteSkillRequest(id="a")),
        ("DeleteRule", catalog_pb2.DeleteRuleRequest(id="pin")),
        ("GetRule", catalog_pb2.GetRuleRequest(id="pin")),
    ):
        assert (await refusal(getattr(stranger, method)(request))).code() is grpc.StatusCode.NOT_FOUND
        assert (await refusal(getattr(client, method)(type(request)(id="absent")))).code() is grpc.StatusCode.NOT_FOUND
    assert (await stranger.PutSkill(put_skill(Skill(id="a"), must_be_new=True))).etag
    assert (await client.ListRules(catalog_pb2.ListRulesRequest())).total_size == 1


async def test_a_rule_is_stamped_kept_listed_and_removed(client):
    await client.write([], [lesson(1)])
    written = await client.PutRule(catalog_pb2.PutRuleRequest(rule=pin()))
    assert written.rule.updated_at.ToDatetime(NOW.tzinfo) == NOW
    assert len(written.rule.updated_with) == 12
    got = await client.GetRule(catalog_pb2.GetRuleRequest(id="pin"))
    assert (got.rule, got.etag) == (written.rule, written.etag)
    assert [rule.id for rule in (await client.ListRules(catalog_pb2.ListRulesRequest())).rules] == ["pin"]
    await client.DeleteRule(catalog_pb2.DeleteRuleRequest(id="pin", etag=got.etag))
    assert (await client.ListRules(catalog_pb2.ListRulesRequest())).total_size == 0


async def test_rules_that_have_ended_are_listed_only_on_request(client):
    await client.write([], [lesson(1)])
    rules = [pin(id="ended", expires_at=Timestamp(seconds=1)), pin(id="holds", expires_at=Timestamp(seconds=2**33))]
    for rule in rules:
        await client.PutRule(catalog_pb2.PutRuleRequest(rule=rule))
    assert [rule.id for rule in (await client.ListRules(catalog_pb2.ListRulesRequest())).rules] == ["holds"]
    first = await client.ListRules(catalog_pb2.ListRulesRequest(include_expired=True, page_size=1))
    assert ([rule.id for rule in first.rules], first.total_size) == (["ended"], 2)
    error = await refusal(client.ListRules(catalog_pb2.ListRulesRequest(page_token=first.next_page_token)))
    assert [violation.field for violation in violations_of(error)] == ["page_token"]


@pytest.mark.parametrize(
    ("given", "said"),
    [({"nanos": -1}, "-1 ns"), ({"seconds": -1}, "-1 s"), ({"seconds": 10**13}, "10000000000000 s is not from 1970")],
    ids=str,
)
async def test_a_rule_ends_at_a_time(client, given, said):
    await client.write([], [lesson(1)])
    rule = pin(expires_at=Timestamp(**given))
    error = await refusal(client.PutRule(catalog_pb2.PutRuleRequest(rule=rule)))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    (violation,) = violations_of(error)
    assert violation.field == "rule.expires_at"
    assert said in violation.reason


async def test_every_change_writes_one_audit_line_without_personal_data(client, catalog):
    await client.write([], [lesson(1)])
    batch = catalog_pb2.BatchPutRequest(skills=[put_skill(Skill(id="a")), put_skill(Skill(id=""))])
    with structlog.testing.capture_logs() as logged:
        await client.PutRule(catalog_pb2.PutRuleRequest(rule=pin(author="amy.adams@example.org", note="for Amy")))
        await client.DeleteRule(catalog_pb2.DeleteRuleRequest(id="pin"))
        await refusal(client.DeleteRule(catalog_pb2.DeleteRuleRequest(id="pin")))
        await client.BatchPut(batch)
    lines = [line for line in logged if line.get("audit")]
    methods = [line["method"].removeprefix("cairn.v1.CatalogService/") for line in lines]
    facts = [(line["code"], line.get("id"), line.get("changed"), line.get("skills")) for line in lines]
    assert list(zip(methods, facts, strict=True)) == [
        ("PutRule", (0, "pin", True, None)),
        ("DeleteRule", (0, "pin", None, None)),
        ("DeleteRule", (grpc.StatusCode.NOT_FOUND.value[0], None, None, None)),
        ("BatchPut", (0, None, None, 1)),
    ]
    assert all(line["tenant"] == "riverbend" and len(line["api_key"]) == 12 for line in lines)
    assert "amy" not in repr(logged).lower()


async def test_changes_are_counted_by_method_and_outcome(client, catalog):
    await client.PutSkill(put_skill(Skill(id="a")))
    await refusal(client.PutSkill(put_skill(Skill(id=""))))
    catalog.log.reachable = False
    assert (await refusal(client.PutSkill(put_skill(Skill(id="b"))))).code() is grpc.StatusCode.UNAVAILABLE

    def count(outcome):
        labels = {"method": "PutSkill", "outcome": outcome}
        return catalog.registry.get_sample_value("cairn_catalog_changes_total", labels)

    assert [count(outcome) for outcome in ("done", "invalid", "unavailable")] == [1, 1, 1]


async def test_a_listing_is_filtered_and_its_token_is_valid_for_the_same_filter_only(client):
    await client.write(resources=[replace(lesson(n), provider=("acorn", "birch")[n % 2]) for n in range(6)])
    birch = catalog_pb2.ListResourcesFilter(providers=["birch"])
    page = await client.ListResources(catalog_pb2.ListResourcesRequest(filter=birch, page_size=2))
    assert ([one.id for one in page.resources], page.total_size) == (["r0001", "r0003"], 3)
    rest = catalog_pb2.ListResourcesRequest(filter=birch, page_token=page.next_page_token)
    assert [one.id for one in (await client.ListResources(rest)).resources] == ["r0005"]
    error = await refusal(client.ListResources(catalog_pb2.ListResourcesRequest(page_token=page.next_page_token)))
    assert "belongs to another listing" in violations_of(error)[0].reason
    assert await pages(client, 10) == [[f"r{n:04}" for n in range(6)]]


@pytest.mark.parametrize("values", [{"kinds": [99]}, {"statuses": [catalog_pb2.RESOURCE_STATUS_UNSPECIFIED]}])
async def test_a_filter_by_an_unknown_value_is_refused(client, values):
    wanted = catalog_pb2.ListResourcesFilter(**values)
    error = await refusal(client.ListResources(catalog_pb2.ListResourcesRequest(filter=wanted)))
    assert [violation.field for violation in violations_of(error)] == [f"filter.{name}" for name in values]
