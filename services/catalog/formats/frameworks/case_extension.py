"""What Cairn adds to an item of CASE, as its specification lets everyone: the fields of a skill that CASE lacks.

So an export is read as the skills that it was written from, under their own ids.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from services.catalog.domain.model import Skill
from services.catalog.formats.frameworks.contents import name_of

NAME = "cairn"
# Of this project alone, so that a GUID made from an id means that id and nothing else.
_NAMESPACE = uuid.UUID("6f6cb3d5-3c5e-5a0f-9b0e-0a7e3f1d5c11")
_TEXTS = ("id", "framework", "code", "statement", "parent")


def guid_of(identifier: str) -> str:
    """The id, if it is a GUID; else a GUID that is made from it."""
    name = name_of(identifier)
    try:
        return str(uuid.UUID(name))
    except ValueError:
        return str(uuid.uuid5(_NAMESPACE, name))


def extension_of(skill: Skill, *, has_parent: bool) -> dict[str, Any]:
    """The fields of a skill that an item of CASE does not have, or cannot have empty.

    Args:
        skill: the skill.
        has_parent: whether the package has its parent.
    """
    extension: dict[str, Any] = {}
    if guid_of(skill.id) != skill.id:
        extension["id"] = skill.id
    extension |= {name: "" for name in ("framework", "code", "statement") if not getattr(skill, name)}
    if skill.parent and not has_parent:
        extension["parent"] = skill.parent
    if skill.importance is not None:
        extension["importance"] = skill.importance
    return extension


def extension_in(item: Mapping[str, Any], identifier: str) -> dict[str, Any]:
    """The fields that Cairn added to an item; none if they are not of the skill with this identifier."""
    extensions = item.get("extensions")
    stated = extensions.get(NAME) if isinstance(extensions, Mapping) else None
    if not isinstance(stated, Mapping):
        return {}
    found: dict[str, Any] = {name: stated[name] for name in _TEXTS if isinstance(stated.get(name), str)}
    importance = stated.get("importance")
    if isinstance(importance, int | float) and not isinstance(importance, bool):
        found["importance"] = float(importance)
    return found if guid_of(found.setdefault("id", identifier)) == identifier else {}
