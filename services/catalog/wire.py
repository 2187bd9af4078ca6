"""Between the catalog's words and `cairn/v1/catalog.proto`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TypeVar

from google.protobuf import json_format
from google.protobuf.message import DecodeError
from google.protobuf.timestamp_pb2 import Timestamp

from cairn.v1 import catalog_pb2
from services.catalog.application.import_catalog import ImportOutcome
from services.catalog.application.ports import CatalogVersion
from services.catalog.application.read_catalog import ResourceFilter
from services.catalog.domain.model import (
    Resource,
    ResourceKind,
    ResourceStatus,
    Rule,
    RuleAction,
    Skill,
    SkillTag,
    TagOrigin,
)
from services.common.kafka import envelope

Message = TypeVar("Message", catalog_pb2.Skill, catalog_pb2.Resource, catalog_pb2.Rule)
Record = TypeVar("Record", Skill, Resource, Rule)

_KINDS = {catalog_pb2.ResourceKind.Value(f"RESOURCE_KIND_{kind.name}"): kind for kind in ResourceKind}
_KIND_NUMBERS = {kind: number for number, kind in _KINDS.items()}
_STATUSES = {
    catalog_pb2.ResourceStatus.Value(f"RESOURCE_STATUS_{status.name}"): status for status in ResourceStatus
} | {catalog_pb2.RESOURCE_STATUS_UNSPECIFIED: ResourceStatus.ACTIVE}
# In a filter a status that is not stated is a mistake, not active.
_LISTED_STATUSES = {
    catalog_pb2.ResourceStatus.Value(f"RESOURCE_STATUS_{status.name}"): status for status in ResourceStatus
}
_STATUS_NUMBERS = {
    status: catalog_pb2.ResourceStatus.Value(f"RESOURCE_STATUS_{status.name}") for status in ResourceStatus
}

_ORIGINS = {catalog_pb2.TagOrigin.Value(f"TAG_ORIGIN_{origin.name}"): origin for origin in TagOrigin} | {
    catalog_pb2.TAG_ORIGIN_UNSPECIFIED: TagOrigin.SOURCE
}
_ORIGIN_NUMBERS = {origin: catalog_pb2.TagOrigin.Value(f"TAG_ORIGIN_{origin.name}") for origin in TagOrigin}


_ACTIONS = {catalog_pb2.RuleAction.Value(f"RULE_ACTION_{action.name}"): action for action in RuleAction}
_ACTION_NUMBERS = {action: number for number, action in _ACTIONS.items()}

# The moments that both a Timestamp and a datetime can say.
_EARLIEST_S, _LATEST_S = -62_135_596_800, 253_402_300_799


class RecordInvalidError(ValueError):
    """A record of a catalog topic is not what the topic carries."""


def skill_from_proto(message: catalog_pb2.Skill) -> Skill:
    """A skill as it came; nothing is checked."""
    return Skill(
        id=message.id,
        framework=message.framework,
        code=message.code,
        statement=message.statement,
        prerequisites=tuple(message.prerequisites),
        grades=tuple(message.grades),
        importance=message.importance if message.HasField("importance") else None,
    )


def skill_to_proto(skill: Skill) -> catalog_pb2.Skill:
    """The message of a skill."""
    return catalog_pb2.Skill(
        id=skill.id,
        framework=skill.framework,
        code=skill.code,
        statement=skill.statement,
        prerequisites=skill.prerequisites,
        grades=skill.grades,
        importance=skill.importance,
    )


def resource_from_proto(message: catalog_pb2.Resource) -> Resource:
    """A resource as it came, active where no status is stated; nothing is checked."""
    return Resource(
        id=message.id,
        title=message.title,
        kind=_KINDS.get(message.kind),
        description=message.description,
        provider=message.provider,
        url=message.url,
        teaches=_tags_from_proto(message.teaches),
        assesses=_tags_from_proto(message.assesses),
        grades=tuple(message.grades),
        language=message.language,
        minutes=message.minutes if message.HasField("minutes") else None,
        license=message.license,
        difficulty=message.difficulty if message.HasField("difficulty") else None,
        status=_STATUSES.get(message.status),
        topics=tuple(message.topics),
        rejected_skills=tuple(message.rejected_skills),
    )


def resource_to_proto(resource: Resource) -> catalog_pb2.Resource:
    """The message of a resource; a kind or status that is not known becomes UNSPECIFIED."""
    return catalog_pb2.Resource(
        id=resource.id,
        title=resource.title,
        description=resource.description,
        provider=resource.provider,
        url=resource.url,
        kind=_KIND_NUMBERS[resource.kind] if resource.kind else catalog_pb2.RESOURCE_KIND_UNSPECIFIED,
        teaches=_tags_to_proto(resource.teaches),
        assesses=_tags_to_proto(resource.assesses),
        grades=resource.grades,
        language=resource.language,
        minutes=resource.minutes,
        license=resource.license,
        difficulty=resource.difficulty,
        status=_STATUS_NUMBERS[resource.status] if resource.status else catalog_pb2.RESOURCE_STATUS_UNSPECIFIED,
        topics=resource.topics,
        rejected_skills=resource.rejected_skills,
    )


def rule_from_proto(message: catalog_pb2.Rule) -> Rule:
    """A rule as it came; nothing is checked. Moments are cut to the second and to what a calendar can say."""
    return Rule(
        id=message.id,
        action=_ACTIONS.get(message.action),
        author=message.author,
        resource_ids=tuple(message.resource_ids),
        providers=tuple(message.providers),
        skills=tuple(message.skills),
        classes=tuple(message.classes),
        grades=tuple(message.grades),
        factor=message.factor if message.HasField("factor") else None,
        expires_at=_moment(message.expires_at) if message.HasField("expires_at") else None,
        note=message.note,
        updated_at=_moment(message.updated_at) if message.HasField("updated_at") else None,
        updated_with=message.updated_with,
    )


def rule_to_proto(rule: Rule) -> catalog_pb2.Rule:
    """The message of a rule; an action that is not known becomes UNSPECIFIED."""
    return catalog_pb2.Rule(
        id=rule.id,
        action=_ACTION_NUMBERS[rule.action] if rule.action else catalog_pb2.RULE_ACTION_UNSPECIFIED,
        author=rule.author,
        resource_ids=rule.resource_ids,
        providers=rule.providers,
        skills=rule.skills,
        classes=rule.classes,
        grades=rule.grades,
        factor=rule.factor,
        expires_at=_timestamp(rule.expires_at),
        note=rule.note,
        updated_at=_timestamp(rule.updated_at),
        updated_with=rule.updated_with,
    )


def version_to_proto(version: CatalogVersion) -> catalog_pb2.CatalogVersion:
    """The message of a version."""
    return catalog_pb2.CatalogVersion(
        resources_offset=version.resources_offset,
        skills_offset=version.skills_offset,
        rules_offset=version.rules_offset,
    )


def outcome_to_proto(outcome: ImportOutcome) -> catalog_pb2.ImportCatalogResponse:
    """The reply to an import."""
    return catalog_pb2.ImportCatalogResponse(
        skills_written=outcome.skills_written,
        skills_unchanged=outcome.skills_unchanged,
        resources_written=outcome.resources_written,
        resources_unchanged=outcome.resources_unchanged,
        version=version_to_proto(outcome.version),
    )


def skill_from_record(identifier: str, value: bytes, content_type: str) -> Skill:
    """The skill in a record of `cairn.skills`.

    Args:
        identifier: the id in the record's key.
        value: the record's value, not None.
        content_type: its media type.

    Raises:
        RecordInvalidError: when the value cannot be decoded, is empty, or is of another id.
    """
    return _from_record(identifier, value, content_type, catalog_pb2.Skill(), skill_from_proto)


def resource_from_record(identifier: str, value: bytes, content_type: str) -> Resource:
    """The resource in a record of `cairn.resources`; as `skill_from_record`."""
    return _from_record(identifier, value, content_type, catalog_pb2.Resource(), resource_from_proto)


def rule_from_record(identifier: str, value: bytes, content_type: str) -> Rule:
    """The rule in a record of `cairn.rules`; as `skill_from_record`."""
    return _from_record(identifier, value, content_type, catalog_pb2.Rule(), rule_from_proto)


def record_to_proto(record: Skill | Resource | Rule) -> catalog_pb2.Skill | catalog_pb2.Resource | catalog_pb2.Rule:
    """The message of any record."""
    if isinstance(record, Skill):
        return skill_to_proto(record)
    return resource_to_proto(record) if isinstance(record, Resource) else rule_to_proto(record)


def filter_from_proto(message: catalog_pb2.ListResourcesFilter) -> ResourceFilter:
    """A filter as it came; a kind or status that is not known lets nothing through."""
    return ResourceFilter(
        kinds=frozenset(_KINDS.get(kind) for kind in message.kinds),
        statuses=frozenset(_LISTED_STATUSES.get(status) for status in message.statuses),
        skills=frozenset(message.skills),
        providers=frozenset(message.providers),
        grades=frozenset(message.grades),
        languages=frozenset(language.lower() for language in message.languages),
        topics=frozenset(message.topics),
        untagged=message.untagged if message.HasField("untagged") else None,
    )


def _moment(timestamp: Timestamp) -> datetime:
    return datetime.fromtimestamp(min(max(timestamp.seconds, _EARLIEST_S), _LATEST_S), UTC)


def _timestamp(moment: datetime | None) -> Timestamp | None:
    return None if moment is None else Timestamp(seconds=int(moment.timestamp()))


def _from_record(
    identifier: str, value: bytes, content_type: str, message: Message, convert: Callable[[Message], Record]
) -> Record:
    if not value:
        raise RecordInvalidError("the value has no bytes; a removal is a null value")
    try:
        if content_type == envelope.JSON:
            json_format.Parse(value, message)
        elif content_type == envelope.PROTOBUF:
            message.ParseFromString(value)
        else:
            raise RecordInvalidError(
                f"the content-type {content_type!r} is not known; use {envelope.PROTOBUF} or {envelope.JSON}"
            )
    except (DecodeError, json_format.ParseError, UnicodeDecodeError) as error:
        raise RecordInvalidError(f"the value cannot be decoded as {content_type}: {error}") from error
    if message.id != identifier:
        raise RecordInvalidError(f"the value has the id {message.id[:80]!r}, its key {identifier[:80]!r}")
    return convert(message)


def _tags_from_proto(tags: Sequence[catalog_pb2.SkillTag]) -> tuple[SkillTag, ...]:
    return tuple(
        SkillTag(
            tag.skill,
            tag.weight,
            origin=_ORIGINS.get(tag.origin),
            confidence=tag.confidence if tag.HasField("confidence") else None,
        )
        for tag in tags
    )


def _tags_to_proto(tags: Sequence[SkillTag]) -> list[catalog_pb2.SkillTag]:
    return [
        catalog_pb2.SkillTag(
            skill=tag.skill,
            weight=tag.weight,
            origin=_ORIGIN_NUMBERS[tag.origin] if tag.origin else catalog_pb2.TAG_ORIGIN_UNSPECIFIED,
            confidence=tag.confidence,
        )
        for tag in tags
    ]
