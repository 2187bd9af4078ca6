"""Requests and replies of PreviewRule: checked and turned into queries, and back."""

from __future__ import annotations

from collections.abc import Sequence

from cairn.v1 import catalog_pb2, recommender_pb2
from services.common.auth.tenant import Tenant
from services.common.rpc.timestamps import timestamp_problem
from services.recommender.application.answers.preview_rule import Preview, PreviewQuery
from services.recommender.application.answers.rosters import LearnerProblem, RosterEntry
from services.recommender.domain.ranking.policy import EVERYTHING
from services.recommender.domain.ranking.rules import Rule, RuleAction
from services.recommender.wire.calls import (
    LIMIT_DEFAULT,
    LIMIT_MAX,
    Problems,
    check_class_id,
    moment_of,
    resource_filter,
)
from services.recommender.wire.catalog import CatalogRecordInvalidError, rule_of
from services.recommender.wire.rosters import problem_message, roster_of

LEARNERS_MAX = 50
FACTOR_MIN, FACTOR_MAX = 0.1, 10.0


def preview_query(request: recommender_pb2.PreviewRuleRequest, tenant: Tenant) -> PreviewQuery:
    """The query of a PreviewRule call.

    Raises:
        RequestInvalidError: when a field violates the contract; an invalid learner id is reported for that learner
            only.
    """
    problems = Problems()
    rule = _rule(request.rule, problems, removed=request.removed)
    if request.limit > LIMIT_MAX:
        problems.say("limit", f"{request.limit} is more than {LIMIT_MAX}; ask for 1 to {LIMIT_MAX}")
    if len(request.learner_ids) > LEARNERS_MAX:
        problems.say("learner_ids", f"it has {len(request.learner_ids)} entries; name 1 to {LEARNERS_MAX}")
        roster: tuple[RosterEntry, ...] = ()
    else:
        roster = roster_of(request.learner_ids, tenant, problems)
    wanted = resource_filter(request.filter, problems) if request.HasField("filter") else EVERYTHING
    as_of = moment_of(request.as_of, problems) if request.HasField("as_of") else None
    check_class_id(request.class_id, problems)
    problems.raise_any()
    return PreviewQuery(rule, request.removed, roster, request.limit or LIMIT_DEFAULT, wanted, as_of, request.class_id)


def preview_response(
    learner_ids: Sequence[str], previews: Sequence[Preview | LearnerProblem]
) -> recommender_pb2.PreviewRuleResponse:
    """The reply of a PreviewRule call."""
    message = recommender_pb2.PreviewRuleResponse()
    for learner_id, preview in zip(learner_ids, previews, strict=True):
        if isinstance(preview, LearnerProblem):
            message.learners.add(learner_id=learner_id, problem=problem_message(preview))
        else:
            message.learners.add(learner_id=learner_id, before=preview.before, after=preview.after)
    return message


def _rule(message: catalog_pb2.Rule, problems: Problems, *, removed: bool) -> Rule:
    """The rule. PutRule checks it more strictly: a preview may name resources that do not exist."""
    if not message.id:
        problems.say("rule.id", "it is empty; give the rule's id")
    if removed:
        return Rule(message.id, RuleAction.BLOCK)
    if not message.resource_ids and not message.providers:
        problems.say("rule.resource_ids", "names no resource, and rule.providers no provider; name at least one")
    if reason := timestamp_problem(message.expires_at, absent="for a rule that does not end"):
        problems.say("rule.expires_at", reason)
    boosts = message.action == catalog_pb2.RULE_ACTION_BOOST
    if boosts and not FACTOR_MIN <= message.factor <= FACTOR_MAX:
        problems.say("rule.factor", f"{message.factor:g} must be from {FACTOR_MIN:g} to {FACTOR_MAX:g}")
        return Rule(message.id, RuleAction.BOOST)
    try:
        return rule_of(message)
    except CatalogRecordInvalidError as error:
        problems.say("rule", str(error))
        return Rule(message.id, RuleAction.BLOCK)
