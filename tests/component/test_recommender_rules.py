"""Rules through the recommender's calls: what they change, for whom, and how PreviewRule shows it."""

from __future__ import annotations

from datetime import UTC, datetime

import grpc
import pytest

from cairn.v1 import catalog_pb2, recommender_pb2
from services.common.rpc.statuses import violations_of
from services.recommender.domain.ranking.rules import Rule, RuleAction
from tests.component.test_recommender_server import (
    WEAK,
    server,  # noqa: F401 - a fixture.
)

# ruff: noqa: F811 - tests take the fixture by its name.

PIN = catalog_pb2.RULE_ACTION_PIN
BLOCK = catalog_pb2.RULE_ACTION_BLOCK
BOOST = catalog_pb2.RULE_ACTION_BOOST


def listed(reply):
    return [each.resource_id for each in reply.recommendations]


async def preview(server, *, learner_ids=("amy",), **fields):
    request = recommender_pb2.PreviewRuleRequest(learner_ids=learner_ids, **fields)
    return await server.stub.PreviewRule(request, metadata=server._metadata(None), timeout=5.0)


async def refusal(call):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


async def test_a_rule_is_a_reason_and_part_of_the_provenance(server):
    server.store(WEAK)
    before = await server.recommend(limit=3)
    server.catalog.replace_rules("riverbend", [Rule("unit-3", RuleAction.PIN, ("add-practice",), note="warm-up")])
    after = await server.recommend(limit=3)
    assert listed(after) == ["add-practice", *listed(before)[:2]]
    assert after.recommendations[0].reasons[0].kind == recommender_pb2.REASON_KIND_PINNED
    assert after.recommendations[0].reasons[0].text == "Pinned by the rule 'unit-3' (warm-up)"
    assert (before.provenance.catalog.rules_offset, after.provenance.catalog.rules_offset) == (0, 1)
    names = {each.recommendation_id for reply in (before, after) for each in reply.recommendations}
    assert len(names) == 6


async def test_a_rule_about_a_class_applies_to_requests_for_that_class(server):
    server.store(WEAK)
    server.catalog.replace_rules("riverbend", [Rule("b", RuleAction.BLOCK, ("fractions-lesson",), classes=("4b",))])
    assert listed(await server.recommend(limit=1)) == ["fractions-lesson"]
    assert listed(await server.recommend(limit=1, class_id="4b")) != ["fractions-lesson"]
    assert "fractions-lesson" not in listed(await server.recommend(class_id="4b"))


async def test_a_rule_of_another_tenant_changes_nothing(server):
    server.store(WEAK)
    before = await server.recommend()
    server.catalog.replace_rules("lakeside", [Rule("b", RuleAction.BLOCK, ("fractions-lesson",))])
    assert listed(await server.recommend()) == listed(before)


async def test_the_end_of_a_rule_is_compared_with_the_time_of_the_reply(server):
    server.store(WEAK)
    ends = datetime(2024, 3, 5, 14, 30, tzinfo=UTC).timestamp()
    server.catalog.replace_rules("riverbend", [Rule("b", RuleAction.BLOCK, ("fractions-lesson",), expires_at_s=ends)])
    # It is 14:37, but replies are computed for 14:00 unless the request has a time.
    assert "fractions-lesson" not in listed(await server.recommend())
    asked = recommender_pb2.RecommendRequest()
    asked.as_of.FromSeconds(int(ends))
    assert "fractions-lesson" in listed(await server.recommend(as_of=asked.as_of))


async def test_a_preview_shows_both_lists_and_writes_nothing(server):
    server.store(WEAK)
    before = listed(await server.recommend(limit=3))
    rule = catalog_pb2.Rule(id="new", action=BLOCK, resource_ids=[before[0]])
    reply = await preview(server, rule=rule, limit=3, learner_ids=["amy", "ben"])
    assert [each.learner_id for each in reply.learners] == ["amy", "ben"]
    assert list(reply.learners[0].before) == before
    # Others may come in between, for instance a prerequisite where what is left is too hard.
    assert [one for one in reply.learners[0].after if one in before] == before[1:]
    assert before[0] not in reply.learners[1].after
    assert listed(await server.recommend(limit=3)) == before


async def test_a_preview_equals_the_result_of_saving(server):
    server.store(WEAK)
    standing = Rule("boost", RuleAction.BOOST, ("add-lesson",), factor=5.0)
    server.catalog.replace_rules("riverbend", [standing])
    rule = catalog_pb2.Rule(id="pins", action=PIN, resource_ids=["add-practice", "add-lesson"], classes=["4b"])
    shown = (await preview(server, rule=rule, class_id="4b")).learners[0]
    pins = Rule("pins", RuleAction.PIN, ("add-practice", "add-lesson"), classes=("4b",))
    server.catalog.replace_rules("riverbend", [standing, pins])
    assert list(shown.after) == listed(await server.recommend(class_id="4b"))


async def test_a_preview_replaces_an_existing_rule_or_removes_it(server):
    server.store(WEAK)
    plain = listed(await server.recommend())
    server.catalog.replace_rules("riverbend", [Rule("p", RuleAction.PIN, ("add-practice",))])
    other = catalog_pb2.Rule(id="p", action=PIN, resource_ids=["add-lesson"])
    replaced = (await preview(server, rule=other)).learners[0]
    assert (replaced.before[0], replaced.after[0]) == ("add-practice", "add-lesson")
    removed = (await preview(server, rule=catalog_pb2.Rule(id="p"), removed=True)).learners[0]
    assert removed.before[0] == "add-practice"
    assert list(removed.after) == plain


async def test_a_learner_who_cannot_be_previewed_does_not_affect_the_others(server):
    server.store(WEAK)
    rule = catalog_pb2.Rule(id="p", action=PIN, resource_ids=["add-lesson"])
    reply = await preview(server, rule=rule, learner_ids=["amy", "x" * 300])
    assert reply.learners[0].after
    assert reply.learners[1].problem.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert not reply.learners[1].after


@pytest.mark.parametrize(
    ("fields", "field", "reason"),
    [
        ({"rule": catalog_pb2.Rule(action=PIN, resource_ids=["a"])}, "rule.id", "it is empty"),
        ({"rule": catalog_pb2.Rule(id="r", action=PIN)}, "rule.resource_ids", "name at least one"),
        ({"rule": catalog_pb2.Rule(id="r", resource_ids=["a"])}, "rule", "0 is not one of PIN, BLOCK, BOOST"),
        ({"rule": catalog_pb2.Rule(id="r", action=BOOST, providers=["a"])}, "rule.factor", "0 must be from 0.1 to 10"),
        (
            {"rule": catalog_pb2.Rule(id="r", action=PIN, resource_ids=["a"]), "learner_ids": ["a"] * 51},
            "learner_ids",
            "name 1 to 50",
        ),
        (
            {"rule": catalog_pb2.Rule(id="r", action=PIN, resource_ids=["a"]), "learner_ids": []},
            "learner_ids",
            "it is empty",
        ),
        (
            {"rule": catalog_pb2.Rule(id="r", action=PIN, resource_ids=["a"]), "limit": 101},
            "limit",
            "ask for 1 to 100",
        ),
    ],
)
async def test_bad_input_is_named_with_the_remedy(server, fields, field, reason):
    error = await refusal(preview(server, **fields))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    (violation,) = violations_of(error)
    assert violation.field == field
    assert reason in violation.reason
