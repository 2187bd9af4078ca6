"""Calls for a whole roster over real gRPC, with everything behind the ports in memory."""

from __future__ import annotations

import grpc
import pytest

from cairn.v1 import recommender_pb2
from services.common.kafka.envelope import record_key
from services.common.kafka.partitioner import partition_of
from services.common.resource_kinds import ResourceKind
from services.common.rpc.statuses import violations_of
from services.recommender.domain.ranking.catalog import CatalogResource, CatalogSkill
from services.recommender.domain.ranking.rules import Rule, RuleAction
from tests.component.test_recommender_server import LOG, RESOURCES, SKILLS, server  # noqa: F401 - a fixture.
from tests.learners import Ability, learner_state

ADD_GAP = learner_state({"add": Ability(mean=-1.5, attempts=6, successes=1.0)})
FRACTIONS_GAP = learner_state({"fractions": Ability(mean=-1.0, attempts=5, successes=2.0)})
NO_GAP = learner_state({"add": Ability(mean=4.0, attempts=20, successes=20.0)})

pytestmark = pytest.mark.usefixtures("server")


async def batch(server, learner_ids, **fields):  # noqa: F811 - the fixture.
    request = recommender_pb2.RecommendBatchRequest(learner_ids=learner_ids, **fields)
    return await server.stub.RecommendBatch(request, metadata=server._metadata(None), timeout=5.0)


async def plan(server, learner_ids, **fields):  # noqa: F811 - the fixture.
    request = recommender_pb2.PlanGroupRequest(learner_ids=learner_ids, **fields)
    return await server.stub.PlanGroup(request, metadata=server._metadata(None), timeout=5.0)


async def violations(call):
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    return {violation.field: violation.reason for violation in violations_of(refused.value)}


async def test_each_learner_of_a_batch_gets_the_list_that_recommend_returns(server):  # noqa: F811
    server.store(ADD_GAP, learner="amy")
    server.store(FRACTIONS_GAP, learner="ben", offset=41)
    reply = await batch(server, ["amy", "ben"], limit=4)
    for learner, result in zip(("amy", "ben"), reply.results, strict=True):
        alone = await server.recommend(learner, limit=4)
        assert result.learner_id == learner
        assert list(result.recommendations) == list(alone.recommendations)
        assert result.applied == alone.provenance.applied
        assert result.degraded == alone.degraded
    assert reply.provenance.epoch == 3
    assert not reply.provenance.HasField("applied")


async def test_a_batch_shows_each_learners_gap_and_mastery_of_it(server):  # noqa: F811
    server.store(ADD_GAP, learner="amy")
    server.store(NO_GAP, learner="ben")
    amy, ben, new = (await batch(server, ["amy", "ben", "new"])).results
    assert (amy.gap.skill, amy.gap.responses, amy.gap.mastered) == ("add", 6, False)
    assert amy.gap.low < amy.gap.probability < amy.gap.high
    assert not ben.HasField("gap")
    assert not new.HasField("gap")
    assert new.degraded[0] == recommender_pb2.DEGRADATION_NEW_LEARNER


async def test_a_bad_id_is_that_learners_problem_alone(server):  # noqa: F811
    server.store(ADD_GAP, learner="amy")
    learner_ids = ["amy", "", "x" * 257, "amy", " amy\u00a0", "am\u200by"]
    amy, empty, long, again, form, hidden = (await batch(server, learner_ids)).results
    assert amy.recommendations
    for result in (empty, long, again, form, hidden):
        assert not result.recommendations
        assert result.problem.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert "learner_ids[1]: it is empty" in empty.problem.message
    assert "257 characters" in long.problem.message
    assert "learner_ids[0]" in again.problem.message
    assert "the same learner is at learner_ids[0]" in form.problem.message
    assert "U+200B ZERO WIDTH SPACE at position 2" in hidden.problem.message


async def test_a_lost_state_is_that_learners_problem_alone(server):  # noqa: F811
    server.store(ADD_GAP, learner="amy")
    lost = next(
        name
        for name in map(str, range(100))
        if partition_of(record_key("riverbend", server.pseudonym(name)), LOG.partitions) != server.partition()
    )
    del server.states.positions[partition_of(record_key("riverbend", server.pseudonym(lost)), LOG.partitions)]
    amy, other = (await batch(server, ["amy", lost])).results
    assert amy.recommendations
    assert other.problem.code == grpc.StatusCode.UNAVAILABLE.value[0]
    assert "lost its data" in other.problem.message


async def test_the_epoch_is_checked_once_for_all_new_learners_of_a_roster(server):  # noqa: F811
    current, looked = server.states.current, []

    async def noted():
        looked.append(1)
        return await current()

    server.states.current = noted
    newcomers = [f"newcomer-{number}" for number in range(40)]
    partitions = {partition_of(record_key("riverbend", server.pseudonym(one)), LOG.partitions) for one in newcomers}
    assert len(partitions) > 1
    reply = await batch(server, newcomers)
    assert all(result.recommendations for result in reply.results)
    assert looked == [1]


async def test_a_store_that_is_away_makes_the_whole_batch_unavailable(server):  # noqa: F811
    server.states.away = True
    for call in (batch, plan):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call(server, ["amy"])
        assert refused.value.code() == grpc.StatusCode.UNAVAILABLE


async def test_problems_of_a_batch_are_named_with_the_remedy(server):  # noqa: F811
    assert "name 1 to 500" in (await violations(batch(server, [])))["learner_ids"]
    roster = [str(number) for number in range(501)]
    assert "501" in (await violations(batch(server, roster)))["learner_ids"]
    assert "21" in (await violations(batch(server, ["amy"], limit=21)))["limit"]
    assert "3000" in (await violations(batch(server, roster[:500], limit=20)))["limit"]
    assert "class_id" in await violations(batch(server, ["amy"], class_id="x" * 257))


async def test_a_class_is_grouped_by_the_gap_its_learners_share(server):  # noqa: F811
    for learner in ("amy", "ben", "cem"):
        server.store(ADD_GAP, learner=learner)
    server.store(FRACTIONS_GAP, learner="dia")
    reply = await plan(server, ["dia", "amy", "ben", "cem"])
    adding, fractions = reply.groups
    assert (adding.skill, adding.statement) == ("add", "Adding")
    assert [member.learner_id for member in adding.members] == ["amy", "ben", "cem"]
    assert adding.members[0].mastery.skill == "add"
    assert [(step.step, step.resource_id) for step in adding.steps] == [
        (recommender_pb2.STEP_TEACH, "add-lesson"),
        (recommender_pb2.STEP_PRACTISE, "add-practice"),
        (recommender_pb2.STEP_REASSESS, "add-assessment"),
    ]
    assert adding.minutes == sum(step.minutes for step in adding.steps) == 45
    assert adding.steps[0].reason.startswith("3 learners, on average ")
    assert [member.learner_id for member in fractions.members] == ["dia"]
    assert not reply.unplaced


async def test_learners_without_a_group_are_listed_with_the_reason(server):  # noqa: F811
    for learner in ("amy", "ben"):
        server.store(ADD_GAP, learner=learner)
    server.store(FRACTIONS_GAP, learner="dia")
    server.store(NO_GAP, learner="eli")
    server.store(learner_state({"poetry": Ability(mean=-1.0)}), learner="fay")
    reply = await plan(server, ["amy", "ben", "dia", "eli", "fay", "new", ""], groups_max=1)
    assert [group.skill for group in reply.groups] == ["add"]
    reasons = {each.learner_id: recommender_pb2.UnplacedReason.Name(each.reason) for each in reply.unplaced}
    assert reasons == {
        "dia": "UNPLACED_REASON_TOO_FEW_SHARE",
        "eli": "UNPLACED_REASON_NO_GAP",
        "fay": "UNPLACED_REASON_NO_GAP",
        "new": "UNPLACED_REASON_NEW_LEARNER",
        "": "UNPLACED_REASON_PROBLEM",
    }
    texts = {each.learner_id: each.text for each in reply.unplaced}
    assert "and there is only 1 group" in texts["dia"]
    assert texts["eli"].startswith("the only skill they have worked on is mastered")
    assert texts["fay"].startswith("they have worked on no skill of the catalog")


async def test_who_is_likely_to_succeed_is_not_called_a_master_before_three_answers(server):  # noqa: F811
    server.store(learner_state({"add": Ability(mean=4.0, attempts=2, successes=2.0)}), learner="eli")
    (unplaced,) = (await plan(server, ["eli"])).unplaced
    assert unplaced.reason == recommender_pb2.UNPLACED_REASON_NO_GAP
    assert unplaced.text == "no gap is known in what they have worked on lately: give them something new"


async def test_a_class_of_unknown_learners_has_no_groups_and_a_reason_for_each_learner(server):  # noqa: F811
    assert len(SKILLS) > 1
    reply = await plan(server, ["ann", "bob"])
    assert not reply.groups
    assert [each.reason for each in reply.unplaced] == [recommender_pb2.UNPLACED_REASON_NEW_LEARNER] * 2


async def test_a_gap_without_resources_is_reported(server):  # noqa: F811
    only_adding = [resource for resource in RESOURCES if resource.resource_id.startswith("add")]
    server.catalog.put("riverbend", only_adding, SKILLS)
    server.store(FRACTIONS_GAP, learner="dia")
    reply = await plan(server, ["dia"])
    assert not reply.groups
    assert reply.unplaced[0].reason == recommender_pb2.UNPLACED_REASON_NO_RESOURCE
    assert "Fractions" in reply.unplaced[0].text


async def test_every_learner_of_a_roster_is_placed_exactly_once(server):  # noqa: F811
    states = [ADD_GAP, FRACTIONS_GAP, NO_GAP]
    roster = [f"learner-{number}" for number in range(30)]
    for number, learner in enumerate(roster[:25]):
        server.store(states[number % 3], learner=learner)
    reply = await plan(server, roster)
    placed = [member.learner_id for group in reply.groups for member in group.members]
    assert sorted(placed + [each.learner_id for each in reply.unplaced]) == sorted(roster)


async def test_a_plan_keeps_to_the_minutes_and_the_filter(server):  # noqa: F811
    server.store(ADD_GAP, learner="amy")
    (group,) = (await plan(server, ["amy"], minutes_max=30)).groups
    assert [step.step for step in group.steps] == [recommender_pb2.STEP_TEACH, recommender_pb2.STEP_PRACTISE]
    without = recommender_pb2.ResourceFilter(exclude_resource_ids=["add-lesson"])
    (group,) = (await plan(server, ["amy"], filter=without)).groups
    assert "add-lesson" not in [step.resource_id for step in group.steps]


async def test_a_plan_follows_the_rules_of_its_class(server):  # noqa: F811
    other = CatalogResource("add-workbook", kind=ResourceKind.PRACTICE, minutes=15, assesses=(("add", 1.0),))
    rules = [
        Rule("a", RuleAction.BLOCK, resource_ids=("add-lesson",)),
        Rule("b", RuleAction.PIN, resource_ids=("add-workbook",), classes=("3b",)),
    ]
    server.catalog.put("riverbend", [*RESOURCES, other], SKILLS)
    server.catalog.replace_rules("riverbend", rules)
    server.store(ADD_GAP, learner="amy")

    async def steps(**fields):
        (group,) = (await plan(server, ["amy"], **fields)).groups
        return [step.resource_id for step in group.steps]

    assert "add-lesson" not in await steps()
    assert "add-workbook" in await steps(class_id="3b")
    assert "add-workbook" not in await steps(class_id="4a")


async def test_the_same_roster_gives_the_same_plan(server):  # noqa: F811
    for learner in ("amy", "ben"):
        server.store(ADD_GAP, learner=learner)
    one, other = await plan(server, ["amy", "ben"]), await plan(server, ["amy", "ben"])
    assert one.SerializeToString(deterministic=True) == other.SerializeToString(deterministic=True)


async def test_another_tenants_learners_are_treated_as_new(server):  # noqa: F811
    server.store(ADD_GAP, learner="amy")
    request = recommender_pb2.PlanGroupRequest(learner_ids=["amy"])
    metadata = server._metadata(server.other_api_key)
    server.catalog.put("lakeside", [CatalogResource("theirs")])
    reply = await server.stub.PlanGroup(request, metadata=metadata, timeout=5.0)
    assert reply.unplaced[0].reason == recommender_pb2.UNPLACED_REASON_NEW_LEARNER


SAME = [
    CatalogSkill("ccss-add", "Add", code="1.OA.A.1", framework="CCSS.Math", equivalents=("urn:add",)),
    CatalogSkill("tx-add", "Adding", code="1.3(A)", framework="TEKS", equivalents=("urn:add",)),
]
ABOUT_TX = [CatalogResource("lesson", kind=ResourceKind.LESSON, minutes=15, teaches=(("tx-add", 1.0),))]
HOP = "1.OA.A.1 (CCSS.Math), which is the same skill"
WEAK_AT_ADDING = Ability(mean=-1.5, attempts=6, successes=1.0)


async def test_a_plan_says_whose_answers_were_on_the_same_skill_of_another_framework(server):  # noqa: F811
    server.catalog.put("riverbend", ABOUT_TX, SAME)
    server.store(learner_state({"ccss-add": WEAK_AT_ADDING}), learner="amy")
    (alone,) = (await plan(server, ["amy"])).groups
    assert (alone.skill, alone.steps[0].resource_id) == ("tx-add", "lesson")
    assert alone.steps[0].reason.endswith(f"; new to the learner; the answers were on {HOP}")
    server.store(learner_state({"tx-add": WEAK_AT_ADDING}), learner="ben", offset=41)
    (both,) = (await plan(server, ["amy", "ben"])).groups
    assert both.steps[0].reason.endswith(f"; new to all of them; the answers of 1 of them were on {HOP}")
    (own,) = (await plan(server, ["ben"])).groups
    assert own.steps[0].reason.endswith("; new to the learner")


async def test_the_gap_of_a_learner_is_the_skill_that_they_answered(server):  # noqa: F811
    # By its id, the same skill that they never answered comes first.
    skills = [SAME[0], CatalogSkill("add", "Adding", framework="TEKS", equivalents=("urn:add",))]
    server.catalog.put("riverbend", [CatalogResource("lesson", teaches=(("add", 1.0),))], skills)
    server.store(learner_state({"ccss-add": WEAK_AT_ADDING}), learner="amy")
    (amy,) = (await batch(server, ["amy"])).results
    assert (amy.gap.skill, amy.gap.responses) == ("ccss-add", 6)


@pytest.mark.parametrize("taught", ["tx-add", "other"])
async def test_a_list_says_when_no_resource_is_about_the_gap_in_any_framework(server, taught):  # noqa: F811
    lesson = CatalogResource("lesson", teaches=((taught, 1.0),))
    server.catalog.put("riverbend", [lesson], [*SAME, CatalogSkill("other")])
    server.store(learner_state({"ccss-add": WEAK_AT_ADDING}), learner="amy")
    flagged = recommender_pb2.DEGRADATION_GAP_WITHOUT_RESOURCE
    reply = await server.recommend("amy", limit=4)
    assert [each.resource_id for each in reply.recommendations] == ["lesson"]
    assert (flagged in reply.degraded) == (taught == "other")
