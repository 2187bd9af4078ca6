"""What is kept of a statement, and what is answered when it is asked for."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import orjson

from services.ingest.formats.xapi.meaning import learner_of
from services.ingest.formats.xapi.statements import IDENTIFIERS

# Those that another copy of the same statement may have otherwise: xAPI 1.0.3, part 2, 2.3.1.
_MAY_CHANGE = frozenset({"id", "stored", "authority", "version", "attachments"})
_DESCRIPTIONS = frozenset({"definition", "display"})
# Languages may be named as identifiers are: "mbox" is a valid tag.
_WITHOUT_PEOPLE = _DESCRIPTIONS | {"description", "extensions"}
_DIGEST_BYTES = 16


def digest_of(statement: dict[str, Any]) -> bytes:
    """A digest of everything in a valid statement that cannot change: copies of it have the same."""
    content = {name: _without_descriptions(value) for name, value in statement.items() if name not in _MAY_CHANGE}
    return hashlib.blake2b(orjson.dumps(content, option=orjson.OPT_SORT_KEYS), digest_size=_DIGEST_BYTES).digest()


def _without_descriptions(part: Any) -> Any:
    if isinstance(part, dict):
        return {
            name: _lists(value) if name == "contextActivities" else _without_descriptions(value)
            for name, value in part.items()
            if name not in _DESCRIPTIONS
        }
    return [_without_descriptions(each) for each in part] if isinstance(part, list) else part


def _lists(activities: dict[str, Any]) -> dict[str, Any]:
    return {
        name: _without_descriptions(value if isinstance(value, list) else [value]) for name, value in activities.items()
    }


def without_names(part: Any) -> Any:
    """A valid statement, or a part of it, without the names of agents and groups."""
    if isinstance(part, dict):
        named = "member" in part or any(name in part for name in IDENTIFIERS)
        return {key: without_names(value) for key, value in part.items() if not (named and key == "name")}
    return [without_names(each) for each in part] if isinstance(part, list) else part


def people_of(part: Any) -> Iterator[str]:
    """The ids of the people and groups in a valid statement, as learners have them."""
    if isinstance(part, dict):
        if any(name in part for name in IDENTIFIERS):
            yield learner_of(part)
        for name, value in part.items():
            if name not in _WITHOUT_PEOPLE:
                yield from people_of(value)
    elif isinstance(part, list):
        for each in part:
            yield from people_of(each)


def answer_of(statement: dict[str, Any], stored: str, authority: dict[str, Any], version: str) -> dict[str, Any]:
    """A statement as it is answered: with what a store sets, and with lists of context activities.

    Args:
        statement: valid, with its id.
        stored: when it was taken.
        authority: who sent it, where the statement does not say.
        version: of the statement, where it does not say.
    """
    answer = {"timestamp": stored, "authority": authority, "version": version} | statement | {"stored": stored}
    for holder in (answer, answer["object"]):
        context = holder.get("context", {})
        if "contextActivities" in context:
            lists = {
                name: value if isinstance(value, list) else [value]
                for name, value in context["contextActivities"].items()
            }
            holder["context"] = context | {"contextActivities": lists}
    return answer
