"""Skills to and from their messages."""

from __future__ import annotations

from cairn.v1 import catalog_pb2
from services.catalog.domain.model import Skill


def skill_from_proto(message: catalog_pb2.Skill) -> Skill:
    """A skill as it was sent, unchecked."""
    return Skill(
        id=message.id,
        framework=message.framework,
        code=message.code,
        statement=message.statement,
        prerequisites=tuple(message.prerequisites),
        grades=tuple(message.grades),
        importance=message.importance if message.HasField("importance") else None,
        equivalents=tuple(message.equivalents),
        parent=message.parent,
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
        equivalents=skill.equivalents,
        parent=skill.parent,
    )
