"""Requests and replies of RecommendBatch and PlanGroup: checked and turned into queries, and back."""

from __future__ import annotations

from collections.abc import Sequence

from cairn.v1 import recommender_pb2
from services.common.auth.tenant import Tenant
from services.recommender.application.answers.plan_group import Plan, PlannedGroup, PlanQuery
from services.recommender.application.answers.recommend_batch import BatchQuery, LearnerAnswer, shared_provenance
from services.recommender.application.answers.rosters import LearnerProblem, ProblemKind, RosterEntry
from services.recommender.domain.planning.sequences import SequenceStep, step_reason
from services.recommender.domain.ranking.catalog import MINUTES_UNKNOWN, CatalogColumns
from services.recommender.domain.ranking.policy import EVERYTHING
from services.recommender.domain.ranking.render import render
from services.recommender.wire.calls import (
    Problems,
    add_recommendations,
    check_class_id,
    check_learner_id,
    degradations,
    mastery_message,
    moment_of,
    position_message,
    provenance_message,
    resource_filter,
)

ROSTER_MAX = 500
BATCH_LIMIT_DEFAULT = 3
BATCH_LIMIT_MAX = 20
# The most that fits into one reply message.
BATCH_RECOMMENDATIONS_MAX = 3_000
GROUPS_DEFAULT = 4
GROUPS_MAX = 20
MINUTES_DEFAULT = 60
MINUTES_MAX = 600

# google.rpc.Code
_CODES = {ProblemKind.INVALID: 3, ProblemKind.UNAVAILABLE: 14, ProblemKind.DAMAGED: 15}


def batch_query(request: recommender_pb2.RecommendBatchRequest, tenant: Tenant) -> BatchQuery:
    """The query of a RecommendBatch call.

    Raises:
        RequestInvalidError: when a field violates the contract; an invalid learner id is reported for that learner
            only.
    """
    problems = Problems()
    limit = request.limit or BATCH_LIMIT_DEFAULT
    if limit > BATCH_LIMIT_MAX:
        problems.say("limit", f"{limit} is more than {BATCH_LIMIT_MAX}; ask for 1 to {BATCH_LIMIT_MAX}")
    elif limit * len(request.learner_ids) > BATCH_RECOMMENDATIONS_MAX:
        problems.say(
            "limit",
            f"{limit} for each of {len(request.learner_ids)} learners is more than {BATCH_RECOMMENDATIONS_MAX}; "
            "ask for fewer, or for fewer learners at a time",
        )
    roster = roster_of(request.learner_ids, tenant, problems)
    wanted = resource_filter(request.filter, problems) if request.HasField("filter") else EVERYTHING
    as_of = moment_of(request.as_of, problems) if request.HasField("as_of") else None
    check_class_id(request.class_id, problems)
    problems.raise_any()
    return BatchQuery(roster, limit, wanted, as_of, request.class_id)


def plan_query(request: recommender_pb2.PlanGroupRequest, tenant: Tenant) -> PlanQuery:
    """The query of a PlanGroup call.

    Raises:
        RequestInvalidError: when a field violates the contract; an invalid learner id is reported for that learner
            only.
    """
    problems = Problems()
    if request.groups_max > GROUPS_MAX:
        problems.say("groups_max", f"{request.groups_max} is more than {GROUPS_MAX}; ask for 1 to {GROUPS_MAX}")
    if request.minutes_max > MINUTES_MAX:
        problems.say("minutes_max", f"{request.minutes_max} is more than {MINUTES_MAX}; give 1 to {MINUTES_MAX}")
    roster = roster_of(request.learner_ids, tenant, problems)
    wanted = resource_filter(request.filter, problems) if request.HasField("filter") else EVERYTHING
    as_of = moment_of(request.as_of, problems) if request.HasField("as_of") else None
    check_class_id(request.class_id, problems)
    problems.raise_any()
    return PlanQuery(
        roster=roster,
        groups_max=request.groups_max or GROUPS_DEFAULT,
        minutes_max=request.minutes_max or MINUTES_DEFAULT,
        wanted=wanted,
        as_of=as_of,
        class_id=request.class_id,
    )


def roster_of(learner_ids: Sequence[str], tenant: Tenant, problems: Problems) -> tuple[RosterEntry, ...]:
    """The learners of a roster; one with an invalid id is included with the problem."""
    if not learner_ids:
        problems.say("learner_ids", f"it is empty; name 1 to {ROSTER_MAX} learners")
    if len(learner_ids) > ROSTER_MAX:
        problems.say(
            "learner_ids", f"it has {len(learner_ids)} entries; name at most {ROSTER_MAX}, or ask several times"
        )
        return ()
    first_place: dict[str, int] = {}
    roster = []
    for place, learner_id in enumerate(learner_ids):
        of_learner = Problems()
        form = check_learner_id(learner_id, of_learner, f"learner_ids[{place}]")
        first = first_place.setdefault(form, place)
        if not of_learner and first != place:
            of_learner.say(f"learner_ids[{place}]", f"the same learner is at learner_ids[{first}]; name each once")
        if of_learner:
            message = "; ".join(f"{violation.field}: {violation.reason}" for violation in of_learner)
            roster.append(RosterEntry("", LearnerProblem(ProblemKind.INVALID, message)))
        else:
            roster.append(RosterEntry(tenant.pseudonym(learner_id)))
    return tuple(roster)


def batch_response(answers: Sequence[LearnerAnswer | LearnerProblem]) -> recommender_pb2.RecommendBatchResponse:
    """The reply of a RecommendBatch call, still without results, which `add_result` adds one by one."""
    provenance = shared_provenance(answers)
    return recommender_pb2.RecommendBatchResponse(
        provenance=None if provenance is None else provenance_message(provenance)
    )


def add_result(
    message: recommender_pb2.RecommendBatchResponse, learner_id: str, answer: LearnerAnswer | LearnerProblem
) -> None:
    """Add a learner's result to a reply."""
    result = message.results.add(learner_id=learner_id)
    if isinstance(answer, LearnerProblem):
        result.problem.CopyFrom(problem_message(answer))
        return
    add_recommendations(result.recommendations, answer.answer)
    result.degraded.extend(degradations(answer.answer.degraded))
    if answer.gap is not None:
        result.gap.CopyFrom(mastery_message(answer.gap))
    applied = position_message(answer.answer.provenance.applied)
    if applied is not None:
        result.applied.CopyFrom(applied)


def problem_message(problem: LearnerProblem) -> recommender_pb2.LearnerProblem:
    """The problem with one learner of a roster."""
    return recommender_pb2.LearnerProblem(code=_CODES[problem.kind], message=problem.message)


def plan_response(learner_ids: Sequence[str], plan: Plan) -> recommender_pb2.PlanGroupResponse:
    """The reply of a PlanGroup call."""
    message = recommender_pb2.PlanGroupResponse(
        provenance=provenance_message(plan.provenance), degraded=degradations(plan.degraded)
    )
    for group in plan.groups:
        said = message.groups.add(skill=group.skill, statement=group.statement, minutes=group.minutes)
        for place, mastery in group.members:
            said.members.add(learner_id=learner_ids[place], mastery=mastery_message(mastery))
        for step in group.steps:
            said.steps.append(_step_message(plan.catalog, group, step))
    for unplaced in plan.unplaced:
        message.unplaced.add(
            learner_id=learner_ids[unplaced.place],
            reason=int(unplaced.reason),
            text=unplaced.text,
        )
    return message


def _step_message(catalog: CatalogColumns, group: PlannedGroup, step: SequenceStep) -> recommender_pb2.PlanStep:
    row, minutes = step.row, int(catalog.minutes[step.row])
    return recommender_pb2.PlanStep(
        step=int(step.step),  # type: ignore[arg-type]  # The numbers are the contract's.
        resource_id=catalog.resource_ids[row],
        title=catalog.titles[row],
        kind=int(catalog.kinds[row]),  # type: ignore[arg-type]  # As above.
        url=catalog.urls[row],
        minutes=None if minutes == MINUTES_UNKNOWN else minutes,
        reason=render(step_reason(step, len(group.members), _mean_mastery(group), group.sources)),
    )


def _mean_mastery(group: PlannedGroup) -> float:
    return sum(mastery.probability for _, mastery in group.members) / len(group.members)
