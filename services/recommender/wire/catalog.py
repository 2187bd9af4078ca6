"""Decodes records of the catalog's topics into the types of ranking."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TypeVar

from google.protobuf import json_format
from google.protobuf.message import DecodeError, Message

from cairn.v1 import catalog_pb2
from services.common.kafka.envelope import JSON, content_type_of
from services.common.resource_kinds import ResourceKind
from services.recommender.domain.ranking.catalog import CatalogResource, CatalogSkill
from services.recommender.domain.ranking.rules import Rule, RuleAction

_Record = TypeVar("_Record", bound=Message)


class CatalogRecordInvalidError(ValueError):
    """A record of the catalog cannot be used; the message says why."""


def decode_resource(identifier: str, value: bytes, headers: Iterable[tuple[str, bytes]]) -> CatalogResource:
    """The resource of a record of `cairn.resources` whose key names `identifier`.

    An unspecified status counts as active; a resource of an unknown kind or status is not recommended.

    Raises:
        CatalogRecordInvalidError: when the value is not that resource.
    """
    message = _parse(catalog_pb2.Resource(), identifier, value, headers)
    known_kind = message.kind in catalog_pb2.ResourceKind.values()
    return CatalogResource(
        resource_id=message.id,
        title=message.title,
        url=message.url,
        kind=ResourceKind(message.kind) if known_kind else ResourceKind.UNSPECIFIED,
        teaches=_tags(message.teaches),
        assesses=_tags(message.assesses),
        grades=tuple(message.grades),
        language=message.language,
        minutes=message.minutes if message.HasField("minutes") else None,
        active=known_kind and message.status in _RECOMMENDED,
        topics=tuple(message.topics),
        provider=message.provider,
    )


def decode_skill(identifier: str, value: bytes, headers: Iterable[tuple[str, bytes]]) -> CatalogSkill:
    """The skill of a record of `cairn.skills` whose key names `identifier`.

    Raises:
        CatalogRecordInvalidError: when the value is not that skill.
    """
    message = _parse(catalog_pb2.Skill(), identifier, value, headers)
    importance = message.importance if message.HasField("importance") else 1.0
    return CatalogSkill(
        skill_id=message.id,
        label=message.statement,
        code=message.code,
        prerequisites=tuple(message.prerequisites),
        # A NaN fails both comparisons and so becomes 0.
        importance=min(importance, 1.0) if importance > 0.0 else 0.0,
        grades=tuple(message.grades),
        framework=message.framework,
        equivalents=tuple(message.equivalents),
    )


def decode_rule(identifier: str, value: bytes, headers: Iterable[tuple[str, bytes]]) -> Rule:
    """The rule of a record of `cairn.rules` whose key names `identifier`.

    Raises:
        CatalogRecordInvalidError: when the value is not that rule.
    """
    return rule_of(_parse(catalog_pb2.Rule(), identifier, value, headers))


def rule_of(message: catalog_pb2.Rule) -> Rule:
    """A rule as ranking reads it.

    Raises:
        CatalogRecordInvalidError: when its action is unknown, or it boosts by a factor that is not above 0.
    """
    action = int(message.action)
    if action not in {int(known) for known in RuleAction}:
        names = ", ".join(action.name for action in RuleAction)
        raise CatalogRecordInvalidError(f"action: {action} is not one of {names}")
    factor = message.factor if action == RuleAction.BOOST else 1.0
    if not 0.0 < factor < math.inf:
        raise CatalogRecordInvalidError(f"factor: {factor} is not above 0; a boost multiplies the score with it")
    return Rule(
        rule_id=message.id,
        action=RuleAction(action),
        resource_ids=tuple(message.resource_ids),
        providers=tuple(message.providers),
        skills=tuple(message.skills),
        classes=tuple(message.classes),
        grades=tuple(message.grades),
        factor=factor,
        expires_at_s=message.expires_at.seconds if message.HasField("expires_at") else None,
        note=message.note,
    )


_RECOMMENDED = (catalog_pb2.RESOURCE_STATUS_UNSPECIFIED, catalog_pb2.RESOURCE_STATUS_ACTIVE)


def _parse(message: _Record, identifier: str, value: bytes, headers: Iterable[tuple[str, bytes]]) -> _Record:
    if not value:
        raise CatalogRecordInvalidError("the value has no bytes; a removal is a null value")
    try:
        if content_type_of(headers) == JSON:
            json_format.Parse(value, message)
        else:
            message.ParseFromString(value)
    except (DecodeError, json_format.ParseError) as error:
        raise CatalogRecordInvalidError(f"the value is not a {message.DESCRIPTOR.name}: {error}") from error
    if message.id != identifier:  # type: ignore[attr-defined]  # both records have one.
        raise CatalogRecordInvalidError(f"the key names {identifier!r}, the body {message.id!r}")  # type: ignore[attr-defined]  # as above.
    return message


def _tags(tags: Iterable[catalog_pb2.SkillTag]) -> tuple[tuple[str, float], ...]:
    return tuple((tag.skill, tag.weight) for tag in tags if tag.skill and tag.weight > 0.0)
