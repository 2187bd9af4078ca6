"""What is kept of a statement, and what is answered when it is asked for. All statements here are valid."""

from __future__ import annotations

import hashlib
import re
from typing import Any

import orjson

from services.ingest.formats.xapi.meaning import learner_of
from services.ingest.formats.xapi.statements import IDENTIFIERS
from services.ingest.formats.xapi.texts import moment_of

# Those that another copy of the same statement may have otherwise: xAPI 1.0.3, part 2, 2.3.1.
_MAY_CHANGE = frozenset({"id", "stored", "authority", "version", "attachments"})
_DIGEST_BYTES = 16
# Of 2.0: the entries of these lists have an agent or a group.
_RELATED = {"contextAgents": "agent", "contextGroups": "group"}
# A duration is compared as the text that it is, but for what is shorter than 0.01 s: part 2, 4.6.
_SHORTER = re.compile(r"([.,]\d\d)\d+S")
# Up to which every whole number is the same as a float.
_EXACT = 2**53


def digest_of(statement: dict[str, Any]) -> bytes:
    """A digest of everything in a statement that cannot change: copies of it have the same.

    Copies may differ in how they write a point in time and a number, in the order of a group's members, and in the
    case of UUIDs, languages and the domains of e-mail addresses: part 2, 2.3.1.
    """
    content = orjson.dumps(_unchanging(statement), option=orjson.OPT_SORT_KEYS)
    return hashlib.blake2b(content, digest_size=_DIGEST_BYTES).digest()


def _unchanging(statement: dict[str, Any]) -> dict[str, Any]:
    content = {name: value for name, value in statement.items() if name not in _MAY_CHANGE}
    content["actor"] = _agent(statement["actor"])
    content["verb"] = statement["verb"]["id"]
    content["object"] = _identity(statement["object"])
    if (moment := moment_of(statement.get("timestamp", ""))) is not None:
        content["timestamp"] = moment.replace(microsecond=moment.microsecond // 1000 * 1000).isoformat()
    if "result" in statement:
        content["result"] = _with_plain_numbers(statement["result"])
        if "duration" in statement["result"]:
            content["result"]["duration"] = _SHORTER.sub(r"\1S", statement["result"]["duration"])
    if "context" in statement:
        content["context"] = _context(statement["context"])
    return content


def _identity(target: dict[str, Any]) -> Any:
    match target.get("objectType", "Activity"):
        case "SubStatement":
            return _unchanging(target)
        case "Agent" | "Group":
            return _agent(target)
        case "StatementRef":
            return _reference(target)
    # Of an activity, the definition may change.
    return target["id"]


def _context(context: dict[str, Any]) -> dict[str, Any]:
    content = dict(context)
    for name, value in context.items():
        match name:
            case "contextActivities":
                content[name] = {kind: [each["id"] for each in _listed(listed)] for kind, listed in value.items()}
            case "extensions":
                content[name] = _with_plain_numbers(value)
            case "instructor" | "team":
                content[name] = _agent(value)
            case "registration" | "language":
                content[name] = value.lower()
            case "statement":
                content[name] = _reference(value)
            case "contextAgents" | "contextGroups":
                part = _RELATED[name]
                content[name] = [each | {part: _agent(each[part])} for each in value]
    return content


def _agent(agent: dict[str, Any]) -> dict[str, Any]:
    content = {"objectType": "Agent"} | agent
    if "mbox" in agent:
        local, _, domain = agent["mbox"].rpartition("@")
        content["mbox"] = f"{local}@{domain.lower()}"
    if "mbox_sha1sum" in agent:
        content["mbox_sha1sum"] = agent["mbox_sha1sum"].lower()
    if "member" in agent:
        content["member"] = sorted(map(_agent, agent["member"]), key=_sorted_bytes)
    return content


def _reference(reference: dict[str, Any]) -> dict[str, Any]:
    return reference | {"id": reference["id"].lower()}


def _sorted_bytes(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def _with_plain_numbers(value: Any) -> Any:
    """JSON in which a whole number is written in one way: 1, not 1.0."""
    if type(value) is float:
        return int(value) if value.is_integer() and abs(value) < _EXACT else value
    if type(value) is dict:
        return {name: _with_plain_numbers(each) for name, each in value.items()}
    return [_with_plain_numbers(each) for each in value] if type(value) is list else value


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
