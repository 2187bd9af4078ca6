"""What is kept of a statement, and what is answered when it is asked for. All statements here are valid."""

from __future__ import annotations

import hashlib
from typing import Any

import orjson

from services.ingest.formats.xapi.meaning import learner_of
from services.ingest.formats.xapi.statements import IDENTIFIERS

# Those that another copy of the same statement may have otherwise: xAPI 1.0.3, part 2, 2.3.1.
_MAY_CHANGE = frozenset({"id", "stored", "authority", "version", "attachments"})
_DIGEST_BYTES = 16
# Of 2.0: the entries of these lists have an agent or a group.
_RELATED = {"contextAgents": "agent", "contextGroups": "group"}


def digest_of(statement: dict[str, Any]) -> bytes:
    """A digest of everything in a statement that cannot change: copies of it have the same."""
    content = orjson.dumps(_unchanging(statement), option=orjson.OPT_SORT_KEYS)
    return hashlib.blake2b(content, digest_size=_DIGEST_BYTES).digest()


def _unchanging(statement: dict[str, Any]) -> dict[str, Any]:
    content = {name: value for name, value in statement.items() if name not in _MAY_CHANGE}
    content["verb"] = statement["verb"]["id"]
    content["object"] = _identity(statement["object"])
    activities = statement.get("context", {}).get("contextActivities")
    if activities is not None:
        ids = {name: [each["id"] for each in _listed(value)] for name, value in activities.items()}
        content["context"] = statement["context"] | {"contextActivities": ids}
    return content


def _identity(target: dict[str, Any]) -> Any:
    kind = target.get("objectType", "Activity")
    if kind == "SubStatement":
        return _unchanging(target)
    # Of an activity, the definition may change.
    return target if kind in ("Agent", "Group", "StatementRef") else target["id"]


def without_names(statement: dict[str, Any], people: set[str]) -> dict[str, Any]:
    """A statement without the names of agents and groups.

    Args:
        statement: it.
        people: gets the ids of the agents and groups, as learners have them.
    """
    kept = dict(statement)
    for name in ("actor", "authority"):
        if name in kept:
            kept[name] = _nameless(kept[name], people)
    kind = kept["object"].get("objectType")
    if kind in ("Agent", "Group"):
        kept["object"] = _nameless(kept["object"], people)
    elif kind == "SubStatement":
        kept["object"] = without_names(kept["object"], people)
    context = kept.get("context", {})
    changed: dict[str, Any] = {
        name: _nameless(context[name], people) for name in ("instructor", "team") if name in context
    }
    for name, part in _RELATED.items():
        if name in context:
            changed[name] = [each | {part: _nameless(each[part], people)} for each in context[name]]
    if changed:
        kept["context"] = context | changed
    return kept


def _nameless(agent: dict[str, Any], people: set[str]) -> dict[str, Any]:
    if not IDENTIFIERS.isdisjoint(agent):
        people.add(learner_of(agent))
    kept = {name: value for name, value in agent.items() if name != "name"}
    if "member" in kept:
        kept["member"] = [_nameless(member, people) for member in kept["member"]]
    return kept


def answer_of(statement: dict[str, Any], stored: str, authority: dict[str, Any], version: str) -> dict[str, Any]:
    """A statement as it is answered: with what a store sets, and with lists of context activities.

    Args:
        statement: with its id.
        stored: when it was taken.
        authority: who sent it, where the statement does not say.
        version: of the statement, where it does not say.
    """
    answer = {"timestamp": stored, "authority": authority, "version": version, **statement, "stored": stored}
    if answer["object"].get("objectType") == "SubStatement":
        answer["object"] = _with_lists(answer["object"])
    return _with_lists(answer)


def _with_lists(statement: dict[str, Any]) -> dict[str, Any]:
    context = statement.get("context", {})
    if "contextActivities" not in context:
        return statement
    lists = {name: _listed(value) for name, value in context["contextActivities"].items()}
    return statement | {"context": context | {"contextActivities": lists}}


def _listed(activities: Any) -> list[Any]:
    return activities if isinstance(activities, list) else [activities]
