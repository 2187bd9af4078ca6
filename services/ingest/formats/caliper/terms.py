"""The terms of Caliper 1.0, 1.1 and 1.2: names of types and actions, and the contexts that define them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

CONTEXT = "http://purl.imsglobal.org/ctx/caliper/v1p2"
"""What a sender names who is in doubt."""

_CONTEXTS = re.compile(r"https?://purl\.imsglobal\.org/ctx/caliper/(?P<version>v\d+(?:p\d+)?)(?:/.*)?")
_VERSIONS = ("v1", "v1p0", "v1p1", "v1p2")
_OWN_TERMS = re.compile(r"(?:https?://purl\.imsglobal\.org/.*[/#]|caliper:)(?P<term>\w+)")


def field_of(entity: Mapping[str, Any], name: str) -> Any:
    """A property of an event or an entity, in any version's spelling; None: it is not there, or null."""
    value = entity.get(name)
    return entity.get(f"@{name}") if value is None and name in {"id", "type"} else value


def term_of(value: str) -> str:
    """A term of Caliper without its address; a name of another vocabulary as it is."""
    own = _OWN_TERMS.fullmatch(value) if ":" in value else None
    return own["term"] if own else value


def is_foreign(term: str) -> bool:
    """Whether a name belongs to another vocabulary."""
    return ":" in term


def is_supported(version: object) -> bool:
    """Whether a context is one of the versions that are read."""
    match = _CONTEXTS.fullmatch(version) if isinstance(version, str) else None
    return match is not None and match["version"] in _VERSIONS


def is_caliper_context(context: object) -> bool:
    """Whether it is a context of Caliper, of any version."""
    return isinstance(context, str) and _CONTEXTS.fullmatch(context) is not None


def contexts_of(entity: Mapping[str, Any]) -> Iterator[object]:
    """The contexts that an event or an entity names: one, a list, or an object with definitions of its own."""
    context = entity.get("@context")
    if isinstance(context, list):
        yield from context
    elif context is not None:
        yield context


def is_first_version(entity: Mapping[str, Any]) -> bool:
    """Whether an event or an entity is in the form of Caliper 1.0, which has no ids of events."""
    if "@type" in entity:
        return True
    matches = (_CONTEXTS.fullmatch(context) for context in contexts_of(entity) if isinstance(context, str))
    return any(match is not None and match["version"] in {"v1", "v1p0"} for match in matches)


def has_own_definitions(entity: Mapping[str, Any]) -> bool:
    """Whether another context than Caliper's may define its terms."""
    return any(not is_caliper_context(context) for context in contexts_of(entity))
