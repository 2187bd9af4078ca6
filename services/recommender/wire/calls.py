"""Requests and replies of RecommendationService: checked and turned into queries, and back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from google.protobuf.internal.containers import RepeatedCompositeFieldContainer
from google.protobuf.timestamp_pb2 import Timestamp

from cairn.v1 import catalog_pb2, events_pb2, recommender_pb2
from services.common.auth.identity import normalised_id, unusable_character
from services.common.auth.tenant import Tenant
from services.common.kafka.envelope import Position
from services.common.resource_kinds import ResourceKind
from services.common.rpc import freshness
from services.common.rpc.statuses import FieldViolation
from services.common.rpc.timestamps import timestamp_problem
from services.recommender.application.answers.provenance import Degradation, Provenance
from services.recommender.application.answers.rank_learner import Recommendations, RecommendQuery
from services.recommender.application.answers.show_learner import LearnerView, SkillMastery
from services.recommender.domain.learner.preferences import NO_PREFERENCES, Preferences
from services.recommender.domain.ranking.catalog import MINUTES_UNKNOWN, CatalogColumns
from services.recommender.domain.ranking.policy import EVERYTHING, ResourceFilter
from services.recommender.domain.ranking.render import render
from services.recommender.domain.ranking.request import RankedResource

LIMIT_DEFAULT = 10
LIMIT_MAX = 100
LEARNER_ID_CHARACTERS_MAX = 256
IDENTIFIER_CHARACTERS_MAX = 256
LABEL_CHARACTERS_MAX = 64
FILTER_ENTRIES_MAX = 100
EXCLUDED_MAX = 1_000
TOKEN_CHARACTERS_MAX = 200

_SHOWN_CHARACTERS = 40


class RequestInvalidError(ValueError):
    """A request is invalid.

    Attributes:
        violations: the problems, field by field.
    """

    def __init__(self, violations: Sequence[FieldViolation]) -> None:
        super().__init__("; ".join(f"{violation.field}: {violation.reason}" for violation in violations))
        self.violations = tuple(violations)


class Problems(list[FieldViolation]):
    """Violations while they are collected."""

    def say(self, field: str, reason: str) -> None:
        """Add one."""
        self.append(FieldViolation(field, reason))

    def raise_any(self) -> None:
        """Raise RequestInvalidError when there are violations."""
        if self:
            raise RequestInvalidError(self)


def recommend_query(request: recommender_pb2.RecommendRequest, tenant: Tenant) -> RecommendQuery:
    """The query of a Recommend call.

    Raises:
        RequestInvalidError: when a field violates the contract.
    """
    problems = Problems()
    check_learner_id(request.learner_id, problems)
    if request.limit > LIMIT_MAX:
        problems.say("limit", f"{request.limit} is more than {LIMIT_MAX}; ask for 1 to {LIMIT_MAX}")
    wanted = resource_filter(request.filter, problems) if request.HasField("filter") else EVERYTHING
    as_of = moment_of(request.as_of, problems) if request.HasField("as_of") else None
    token = freshness_of(request.freshness_token, tenant, problems)
    check_class_id(request.class_id, problems)
    problems.raise_any()
    return RecommendQuery(
        learner=tenant.pseudonym(request.learner_id),
        limit=request.limit or LIMIT_DEFAULT,
        wanted=wanted,
        as_of=as_of,
        freshness=token,
        class_id=request.class_id,
    )


def learner_query(request: recommender_pb2.GetLearnerRequest, tenant: Tenant) -> tuple[str, freshness.Freshness | None]:
    """The learner's pseudonym and the requested freshness of a GetLearner call.

    Raises:
        RequestInvalidError: when a field violates the contract.
    """
    problems = Problems()
    check_learner_id(request.learner_id, problems)
    token = freshness_of(request.freshness_token, tenant, problems)
    problems.raise_any()
    return tenant.pseudonym(request.learner_id), token


def recommend_response(learner_id: str, answer: Recommendations) -> recommender_pb2.RecommendResponse:
    """The reply of a Recommend call."""
    message = recommender_pb2.RecommendResponse(
        learner_id=learner_id,
        provenance=provenance_message(answer.provenance),
        degraded=degradations(answer.degraded),
    )
    add_recommendations(message.recommendations, answer)
    return message


def learner_response(learner_id: str, view: LearnerView) -> recommender_pb2.GetLearnerResponse:
    """The reply of a GetLearner call."""
    return recommender_pb2.GetLearnerResponse(
        learner_id=learner_id,
        responses=view.responses,
        skills=[mastery_message(skill) for skill in view.skills],
        epoch=view.epoch,
        applied=position_message(view.applied),
        degraded=degradations(view.degraded),
        preferences=_preferences(view.preferences),
        skill_limit_reached=view.skill_limit_reached,
    )


def _preferences(preferences: Preferences) -> events_pb2.PreferenceEvent | None:
    if preferences == NO_PREFERENCES:
        return None
    message = events_pb2.PreferenceEvent(pace=int(preferences.pace))  # type: ignore[arg-type]  # the stubs want a ValueType.
    if preferences.goals:
        message.goals.skills.extend(preferences.goals)
    if preferences.interests:
        message.interests.topics.extend(preferences.interests)
    if preferences.formats:
        message.formats.kinds.extend(preferences.formats)  # type: ignore[arg-type]  # as above.
    return message


def check_learner_id(learner_id: str, problems: Problems, field: str = "learner_id") -> str:
    """The one form of a learner's id; its violations are added."""
    learner_id = normalised_id(learner_id)
    if not learner_id:
        problems.say(field, "it is empty; give the learner's id as your platform knows it")
    elif len(learner_id) > LEARNER_ID_CHARACTERS_MAX:
        problems.say(field, f"it has {len(learner_id)} characters; give at most {LEARNER_ID_CHARACTERS_MAX}")
    elif unusable := unusable_character(learner_id):
        problems.say(field, f"it has the {unusable.what} {unusable.shown} at position {unusable.position}; remove it")
    elif learner_id.isspace():
        problems.say(field, "it is only white space; give the learner's id as your platform knows it")
    return learner_id


def check_class_id(class_id: str, problems: Problems) -> None:
    """Add the violations of a class's id."""
    if len(class_id) > IDENTIFIER_CHARACTERS_MAX:
        problems.say("class_id", f"it has {len(class_id)} characters; give at most {IDENTIFIER_CHARACTERS_MAX}")


def resource_filter(message: recommender_pb2.ResourceFilter, problems: Problems) -> ResourceFilter:
    """The filter of a request; violations are added."""
    kinds = []
    for index, kind in enumerate(message.kinds[:FILTER_ENTRIES_MAX]):
        if kind == catalog_pb2.RESOURCE_KIND_UNSPECIFIED or kind not in catalog_pb2.ResourceKind.values():
            names = ", ".join(catalog_pb2.ResourceKind.keys()[1:])
            problems.say(f"filter.kinds[{index}]", f"{kind} is not a kind of resource; use {names}")
        else:
            kinds.append(ResourceKind(kind))
    if len(message.kinds) > FILTER_ENTRIES_MAX:
        _say_too_many("filter.kinds", len(message.kinds), FILTER_ENTRIES_MAX, problems)
    max_minutes = message.max_minutes if message.HasField("max_minutes") else None
    if max_minutes == 0:
        problems.say("filter.max_minutes", "0 allows nothing; give at least 1, or leave it out for any length")
    return ResourceFilter(
        kinds=tuple(sorted(set(kinds))),
        skills=_texts("filter.skills", message.skills, FILTER_ENTRIES_MAX, IDENTIFIER_CHARACTERS_MAX, problems),
        grades=_texts("filter.grades", message.grades, FILTER_ENTRIES_MAX, LABEL_CHARACTERS_MAX, problems),
        languages=_texts("filter.languages", message.languages, FILTER_ENTRIES_MAX, LABEL_CHARACTERS_MAX, problems),
        max_minutes=max_minutes,
        excluded=_texts(
            "filter.exclude_resource_ids",
            message.exclude_resource_ids,
            EXCLUDED_MAX,
            IDENTIFIER_CHARACTERS_MAX,
            problems,
        ),
    )


def _texts(
    field: str, values: Sequence[str], entries_max: int, characters_max: int, problems: Problems
) -> tuple[str, ...]:
    """The distinct values, sorted: the caller's order does not affect the answer."""
    if len(values) > entries_max:
        _say_too_many(field, len(values), entries_max, problems)
        return ()
    for index, value in enumerate(values):
        if not value:
            problems.say(f"{field}[{index}]", "it is empty; leave it out")
        elif len(value) > characters_max:
            shown = f"{value[:_SHOWN_CHARACTERS]}..."
            problems.say(f"{field}[{index}]", f"{shown!r} has {len(value)} characters; give at most {characters_max}")
    return tuple(sorted(set(values)))


def _say_too_many(field: str, entries: int, entries_max: int, problems: Problems) -> None:
    problems.say(field, f"it has {entries} entries; give at most {entries_max}")


def moment_of(moment: Timestamp, problems: Problems) -> datetime | None:
    """The moment of a request, in whole seconds; violations are added."""
    if reason := timestamp_problem(moment, absent="for now"):
        problems.say("as_of", reason)
        return None
    return datetime.fromtimestamp(moment.seconds, UTC)


def freshness_of(token: str, tenant: Tenant, problems: Problems) -> freshness.Freshness | None:
    """The record that an answer must include; violations of the token are added."""
    if not token:
        return None
    if len(token) > TOKEN_CHARACTERS_MAX:
        problems.say("freshness_token", f"it has {len(token)} characters; pass the one of PublishEvents unchanged")
        return None
    try:
        return freshness.decode(token, tenant.secret)
    except freshness.FreshnessInvalidError as error:
        problems.say("freshness_token", str(error))
        return None


def provenance_message(provenance: Provenance) -> recommender_pb2.Provenance:
    """What an answer was computed from."""
    return recommender_pb2.Provenance(
        as_of=timestamp(provenance.as_of),
        epoch=provenance.epoch,
        applied=position_message(provenance.applied),
        catalog=catalog_pb2.CatalogVersion(
            resources_offset=provenance.catalog.resources_offset,
            skills_offset=provenance.catalog.skills_offset,
            rules_offset=provenance.catalog.rules_offset,
        ),
        bundle=provenance.bundle,
    )


def add_recommendations(
    listed: RepeatedCompositeFieldContainer[recommender_pb2.Recommendation], answer: Recommendations
) -> None:
    """Add a list to a message, in place: a message handed to a constructor is copied, at twice the time."""
    for resource, name in zip(answer.resources, answer.recommendation_ids, strict=True):
        _add_recommendation(listed, answer.catalog, resource, name)


def _add_recommendation(
    listed: RepeatedCompositeFieldContainer[recommender_pb2.Recommendation],
    catalog: CatalogColumns,
    resource: RankedResource,
    name: str,
) -> None:
    row = resource.row
    minutes = int(catalog.minutes[row])
    explanation = resource.explanation
    recommendation = listed.add(
        recommendation_id=name,
        resource_id=catalog.resource_ids[row],
        title=catalog.titles[row],
        kind=int(catalog.kinds[row]),
        url=catalog.urls[row],
        minutes=None if minutes == MINUTES_UNKNOWN else minutes,
        score=resource.score,
        skill=explanation.skill,
        step=int(explanation.step),
        success_probability=resource.success,
        reassess_with=resource.reassess_with,
    )
    for reason in explanation.reasons:
        recommendation.reasons.add(
            kind=int(reason.kind),
            text=render(reason.message),
            contribution=reason.contribution,
        )


def mastery_message(skill: SkillMastery) -> recommender_pb2.SkillMastery:
    """A learner's mastery of a skill."""
    return recommender_pb2.SkillMastery(
        skill=skill.skill,
        probability=skill.probability,
        low=skill.low,
        high=skill.high,
        responses=skill.responses,
        successes=skill.successes,
        mastered=skill.mastered,
        last_response_at=None if skill.last_response_at is None else timestamp(skill.last_response_at),
    )


def timestamp(moment: datetime) -> Timestamp:
    """A moment, in whole seconds."""
    return Timestamp(seconds=int(moment.timestamp()))


def position_message(position: Position | None) -> recommender_pb2.AppliedPosition | None:
    """The last record that changed a learner."""
    if position is None:
        return None
    return recommender_pb2.AppliedPosition(partition=position.partition, offset=position.offset)


def degradations(degraded: Iterable[Degradation]) -> list[recommender_pb2.Degradation.ValueType]:
    """What was missing, by the numbers of the contract."""
    return [int(degradation) for degradation in degraded]  # type: ignore[misc]  # as above.
