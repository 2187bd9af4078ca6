"""Resources, and filters of resources, to and from their messages."""

from __future__ import annotations

from collections.abc import Sequence

from cairn.v1 import catalog_pb2
from services.catalog.application.read_catalog import ResourceFilter
from services.catalog.domain.model import Resource, ResourceStatus, SkillTag, TagOrigin
from services.common.resource_kinds import ResourceKindName

_KINDS = {catalog_pb2.ResourceKind.Value(f"RESOURCE_KIND_{kind.name}"): kind for kind in ResourceKindName}
_KIND_NUMBERS = {kind: number for number, kind in _KINDS.items()}
_STATUSES = {
    catalog_pb2.ResourceStatus.Value(f"RESOURCE_STATUS_{status.name}"): status for status in ResourceStatus
} | {catalog_pb2.RESOURCE_STATUS_UNSPECIFIED: ResourceStatus.ACTIVE}
# In a filter, an unspecified status is a mistake and does not mean active.
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


def resource_from_proto(message: catalog_pb2.Resource) -> Resource:
    """A resource as it was sent, unchecked; active when no status is stated."""
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
    """The message of a resource; an unknown kind or status becomes UNSPECIFIED."""
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


def filter_from_proto(message: catalog_pb2.ListResourcesFilter) -> ResourceFilter:
    """A filter as it was sent; an unknown kind or status matches nothing."""
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
