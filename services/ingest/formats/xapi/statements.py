"""What a statement is: xAPI 1.0.3, part 2, and IEEE 9274.1.1 (xAPI 2.0), as tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from services.ingest.application.ports import FieldReason
from services.ingest.formats.xapi import texts
from services.ingest.formats.xapi.shapes import (
    EXTENSIONS,
    LANGUAGE_MAP,
    ByType,
    Leaf,
    ListOf,
    Part,
    Problems,
    Shape,
)
from services.ingest.formats.xapi.texts import VOIDED, Check

_IDENTIFIERS = ("mbox", "mbox_sha1sum", "openid", "account")
IDENTIFIERS = frozenset(_IDENTIFIERS)
"""The properties that identify an agent or a group, of which each has one at most."""

_INTERACTION_TYPES = (
    "true-false",
    "choice",
    "fill-in",
    "long-fill-in",
    "matching",
    "performance",
    "sequencing",
    "likert",
    "numeric",
    "other",
)
_COMPONENTS = ("choices", "scale", "source", "target", "steps")


@dataclass(frozen=True)
class Tolerance:
    """What a producer's statements may be besides what the specification allows.

    Attributes:
        activity_types: further values of objectType that mean Activity.
        interaction_types: further values of interactionType.
        any_activity_id: whether an activity's id may be any text.
    """

    activity_types: tuple[str, ...] = ()
    interaction_types: tuple[str, ...] = ()
    any_activity_id: bool = False


STRICT = Tolerance()


@cache
def statement_part(version: str = "", tolerance: Tolerance = STRICT) -> Part:
    """The table of a statement.

    Args:
        version: 1.0 or 2.0; empty: either.
        tolerance: of its producer.
    """
    return _Tables(version, tolerance).statement


def problems_of(statement: object, version: str = "", tolerance: Tolerance = STRICT) -> Problems:
    """Everything in which a statement, of any JSON, differs from the specification. Takes arguments as above."""
    problems: Problems = []
    statement_part(version, tolerance).check(statement, "", problems)
    return problems


def _exactly_one_identifier(agent: dict[str, Any], path: str) -> Iterator[FieldReason]:
    given = [name for name in _IDENTIFIERS if name in agent]
    if not given:
        yield FieldReason(path, f"has none of {', '.join(_IDENTIFIERS)}: identify the agent by one")
    elif len(given) > 1:
        yield FieldReason(f"{path}.{given[1]}", f"is given and so is {given[0]}: identify an agent by one of them")


def _group_rule(group: dict[str, Any], path: str) -> Iterator[FieldReason]:
    if any(name in group for name in _IDENTIFIERS):
        yield from _exactly_one_identifier(group, path)
    elif not group.get("member"):
        yield FieldReason(f"{path}.member", "is missing: a group without an identifier lists its members")


def _authority_rule(authority: dict[str, Any], path: str) -> Iterator[FieldReason]:
    for name in _IDENTIFIERS:
        if name in authority:
            yield FieldReason(f"{path}.{name}", "is given for a group: an authority is an agent, or two without a name")
            return
    if len(authority.get("member", ())) != 2:
        yield FieldReason(f"{path}.member", "does not have two agents: send the consumer and the user of OAuth")


def _score_rule(score: dict[str, Any], path: str) -> Iterator[FieldReason]:
    raw, low, high = score.get("raw"), score.get("min"), score.get("max")
    if low is not None and high is not None and low > high:
        yield FieldReason(f"{path}.min", f"is {low}, above max {high}: correct the scale")
    elif raw is not None and high is not None and raw > high:
        yield FieldReason(f"{path}.raw", f"is {raw}, above max {high}: correct the points or the scale")
    elif raw is not None and low is not None and raw < low:
        yield FieldReason(f"{path}.raw", f"is {raw}, below min {low}: correct the points or the scale")


def _interaction_rule(definition: dict[str, Any], path: str) -> Iterator[FieldReason]:
    components = [name for name in _COMPONENTS if name in definition]
    if "interactionType" not in definition:
        for name in (*components, *(["correctResponsesPattern"] if "correctResponsesPattern" in definition else [])):
            yield FieldReason(
                f"{path}.interactionType", f"is missing, and {name} is given: say which interaction it is"
            )
            return
    for name in components:
        seen = set()
        for index, component in enumerate(definition[name]):
            if component["id"] in seen:
                reason = f"is {texts.shown(component['id'])} again: give each component an id of its own"
                yield FieldReason(f"{path}.{name}[{index}].id", reason)
            seen.add(component["id"])


def _object_rule(statement: dict[str, Any], path: str) -> Iterator[FieldReason]:
    """What a statement's object decides about its verb and context."""
    prefix = f"{path}." if path else ""
    kind = statement["object"].get("objectType", "Activity")
    if statement["verb"]["id"] == VOIDED and kind != "StatementRef":
        yield FieldReason(f"{prefix}object.objectType", "is not StatementRef: voiding names a statement by its id")
    if kind in ("Agent", "Group", "SubStatement", "StatementRef"):
        for name in ("revision", "platform"):
            if name in statement.get("context", ()):
                yield FieldReason(
                    f"{prefix}context.{name}", f"is given, but the object is no activity ({kind}): remove it"
                )


class _Tables:
    """The tables of one version and tolerance."""

    def __init__(self, version: str, tolerance: Tolerance) -> None:
        self._newer = version != "1.0"
        agent_checks = {"name": texts.text, "mbox": texts.mbox, "mbox_sha1sum": texts.sha1, "openid": texts.iri}
        account = Shape("an account", {"homePage": texts.iri, "name": texts.text}, ("homePage", "name"))
        identified: dict[str, Check | Part] = {**agent_checks, "account": account}
        agent = Shape("an agent", {"objectType": texts.one_of("Agent"), **identified}, rules=(_exactly_one_identifier,))
        group_properties = {"objectType": texts.one_of("Group"), **identified, "member": ListOf(agent)}
        group = Shape("a group", group_properties, ("objectType",), (_group_rule,))
        self._agent, self._group = agent, group
        self._actor = ByType("an agent or a group", {"Agent": agent, "Group": group}, "Agent")
        authorities = Shape("a group of two agents", group_properties, ("objectType",), (_authority_rule,))
        self._authority = ByType("an agent or a group", {"Agent": agent, "Group": authorities}, "Agent")
        self._verb = Shape("a verb", {"id": texts.iri, "display": LANGUAGE_MAP}, ("id",))
        self._reference = Shape(
            "a statement reference",
            {"objectType": texts.one_of("StatementRef"), "id": texts.uuid},
            ("objectType", "id"),
        )
        self._activity = _activity(tolerance)
        activity_kinds = dict.fromkeys(tolerance.activity_types, "Activity")
        self._any_activity = ByType("an activity", {"Activity": self._activity}, "Activity", activity_kinds)
        kinds: dict[str, Part] = {
            "Activity": self._activity,
            "Agent": agent,
            "Group": group,
            "StatementRef": self._reference,
        }
        common = self._common()
        inner = ByType("an object", dict(kinds), "Activity", activity_kinds)
        substatement = Shape(
            "a sub-statement",
            {"objectType": texts.one_of("SubStatement"), **common, "object": inner},
            ("actor", "verb", "object"),
            (_object_rule,),
        )
        kinds["SubStatement"] = substatement
        self.statement = Shape(
            "a statement",
            {
                "id": texts.uuid,
                **common,
                "object": ByType("an object", kinds, "Activity", activity_kinds),
                "stored": texts.timestamp,
                "authority": self._authority,
                # A request of version 2.0 may have statements of both.
                "version": _version_1 if version == "1.0" else texts.version,
            },
            ("actor", "verb", "object"),
            (_object_rule,),
        )

    def _common(self) -> dict[str, Check | Part]:
        return {
            "actor": self._actor,
            "verb": self._verb,
            "result": _RESULT,
            "context": self._context(),
            "timestamp": texts.timestamp,
            "attachments": ListOf(_ATTACHMENT),
        }

    def _context(self) -> Part:
        activities = ListOf(self._any_activity, single=True)
        properties: dict[str, Check | Part] = {
            "registration": texts.uuid,
            "instructor": self._actor,
            "team": self._group,
            "contextActivities": Shape(
                "a map of context activities",
                dict.fromkeys(("parent", "grouping", "category", "other"), activities),
            ),
            "revision": texts.text,
            "platform": texts.text,
            "language": texts.language,
            "statement": self._reference,
            "extensions": EXTENSIONS,
        }
        if self._newer:
            properties["contextAgents"] = ListOf(self._related("contextAgent", "agent", self._agent))
            properties["contextGroups"] = ListOf(self._related("contextGroup", "group", self._group))
        return Shape("a context", properties)

    def _related(self, kind: str, name: str, part: Part) -> Part:
        properties: Mapping[str, Check | Part] = {
            "objectType": texts.one_of(kind),
            name: part,
            "relevantTypes": ListOf(Leaf(texts.iri), filled=True),
        }
        return Shape(f"a {kind}", properties, ("objectType", name))


def _version_1(value: object) -> str | None:
    wrong = texts.version(value)
    if wrong is None and not str(value).startswith("1.0"):
        return f"is {texts.shown(value)} in a request of version 1.0: send 1.0.x, or leave it out"
    return wrong


_RESULT = Shape(
    "a result",
    {
        "score": Shape(
            "a score",
            {"scaled": texts.scaled, "raw": texts.number, "min": texts.number, "max": texts.number},
            rules=(_score_rule,),
        ),
        "success": texts.truth,
        "completion": texts.truth,
        "response": texts.text,
        "duration": texts.duration,
        "extensions": EXTENSIONS,
    },
)

_ATTACHMENT = Shape(
    "an attachment",
    {
        "usageType": texts.iri,
        "display": LANGUAGE_MAP,
        "description": LANGUAGE_MAP,
        "contentType": texts.media_type,
        "length": texts.length,
        "sha2": texts.sha2,
        "fileUrl": texts.iri,
    },
    ("usageType", "display", "contentType", "length", "sha2"),
)


def _activity(tolerance: Tolerance) -> Part:
    component = Shape("an interaction component", {"id": texts.text, "description": LANGUAGE_MAP}, ("id",))
    definition = Shape(
        "an activity definition",
        {
            "name": LANGUAGE_MAP,
            "description": LANGUAGE_MAP,
            "type": texts.iri,
            "moreInfo": texts.iri,
            "extensions": EXTENSIONS,
            "interactionType": texts.one_of(*_INTERACTION_TYPES, *tolerance.interaction_types),
            "correctResponsesPattern": ListOf(Leaf(texts.text)),
            **dict.fromkeys(_COMPONENTS, ListOf(component)),
        },
        rules=(_interaction_rule,),
    )
    return Shape(
        "an activity",
        {
            "objectType": texts.one_of("Activity", *tolerance.activity_types),
            "id": texts.text if tolerance.any_activity_id else texts.iri,
            "definition": definition,
        },
        ("id",),
    )
