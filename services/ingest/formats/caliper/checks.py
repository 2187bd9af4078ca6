"""Checks of events and entities against what Caliper says of them.

Every problem names the path, the value and a remedy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from services.ingest.application.ports import FieldReason
from services.ingest.formats.caliper.entities import (
    NEVER_NULL,
    REQUIRED,
    VALUES,
    WITHOUT_ID,
    is_a,
    is_known,
    properties_of,
)
from services.ingest.formats.caliper.events import ACTIONS, CANONICAL, COMMON, PROFILES, EventRule
from services.ingest.formats.caliper.terms import (
    CONTEXT,
    contexts_of,
    field_of,
    is_caliper_context,
    is_first_version,
    is_foreign,
    is_supported,
    term_of,
)
from services.ingest.formats.json_values import decimal, instant, is_duration, is_integer, is_reference, shown

# More than any real document, and few enough for Python's stack.
_DEPTH_MAX = 24
# Types of entities in events whose properties say something about an outcome.
_READ = ("Attempt", "Response", "Score", "Result")


def _is_text(value: object) -> bool:
    return isinstance(value, str)


_VALUES: dict[str, tuple[Callable[[object], bool], str]] = {
    "string": (_is_text, "a text"),
    "integer": (is_integer, "a whole number"),
    "decimal": (lambda value: decimal(value) is not None, "a number"),
    "boolean": (lambda value: isinstance(value, bool), "true or false"),
    "datetime": (lambda value: instant(value) is not None, 'a date and time such as "2026-03-14T09:26:53.589Z"'),
    "duration": (is_duration, 'a duration such as "PT4M12S"'),
    "map": (lambda value: isinstance(value, dict), "an object"),
}


def document_problems(document: Mapping[str, Any]) -> Iterator[FieldReason]:
    """What is wrong with the contexts of an event or an entity that stands alone."""
    contexts = list(contexts_of(document))
    for context in contexts:
        if not isinstance(context, str | dict):
            yield FieldReason("@context", f"is {shown(context)}: send {CONTEXT}")
        elif is_caliper_context(context) and not is_supported(context):
            yield FieldReason("@context", f"is {shown(context)}, which is not read: send {CONTEXT}")
    if contexts and not any(isinstance(context, dict) or is_caliper_context(context) for context in contexts):
        yield FieldReason("@context", f"is {shown(contexts[0])}, which is no context of Caliper: add {CONTEXT}")


def entity_problems(entity: Mapping[str, Any]) -> Iterator[FieldReason]:
    """What is wrong with an entity that is described alone, once its type is known to be one of Caliper's."""
    if is_first_version(entity):
        return
    term = term_of(field_of(entity, "type"))
    entity_id = field_of(entity, "id")
    if not is_reference(entity_id) and (entity_id is not None or term not in WITHOUT_ID):
        yield _missing("id", entity_id, "send the IRI of the entity")
    for name in NEVER_NULL.get(term, ()):
        if name in entity and entity[name] is None:
            yield FieldReason(name, "is null: name it, or leave it out")
    yield from _properties(entity, term, "", 0)


def event_problems(event: Mapping[str, Any], rule: EventRule) -> Iterator[FieldReason]:
    """What is wrong with an event, once its type is known to be one of Caliper's."""
    first_version = is_first_version(event)
    event_id = field_of(event, "id")
    if not isinstance(event_id, str | None) or event_id == "" or (event_id is None and not first_version):
        yield _missing(
            "id", event_id, 'send the id of the event, such as "urn:uuid:3a648e68-f00d-4c08-aa59-8738e1884f2c"'
        )
    yield from _action(event.get("action"), rule)
    profile = event.get("profile")
    if profile is not None and not (isinstance(profile, str) and term_of(profile) in PROFILES):
        known = ", ".join(sorted(PROFILES))
        yield FieldReason("profile", f"is {shown(profile)}, which is not a profile of Caliper: send one of {known}")
    yield from _needed(event, rule, first_version=first_version)
    slots = COMMON | {"object": rule.object, "generated": rule.generated, "target": rule.target}
    if first_version:
        slots["federatedSession"] = "Session"
    for name, types in slots.items():
        if (value := event.get(name)) is not None:
            yield from _reference(value, types, name, 0, in_event=True)
    for name, kind in (("eventTime", "datetime"), ("extensions", "map")):
        if (value := event.get(name)) is not None:
            yield from _value(value, kind, name, 0)


def _needed(event: Mapping[str, Any], rule: EventRule, *, first_version: bool) -> Iterator[FieldReason]:
    for name in ("actor", "object", *(() if first_version else rule.needs)):
        if event.get(name) is None:
            yield _missing(name, None, "send the entity or its IRI")
    if event.get("eventTime") is None and not first_version:
        yield _missing("eventTime", None, "send when it happened")


def _action(action: object, rule: EventRule) -> Iterator[FieldReason]:
    if action is None or action == "":
        yield _missing("action", action, "send what was done, such as Graded or Completed")
        return
    term = term_of(action) if isinstance(action, str) else None
    if term is not None and is_foreign(term):
        return
    allowed = rule.actions or ACTIONS
    if term is None or term.casefold() not in {name.casefold() for name in allowed}:
        known = (
            "an action of this event" if term is not None and term.casefold() in CANONICAL else "an action of Caliper"
        )
        names = ", ".join(sorted(allowed)) if rule.actions else "a term of Caliper's actions"
        yield FieldReason("action", f"is {shown(action)}, which is not {known}: send {names}")


def _properties(
    entity: Mapping[str, Any], term: str, path: str, depth: int, *, in_event: bool = False
) -> Iterator[FieldReason]:
    """Checks the properties of an entity of a type; `path` ends in a dot, or is empty for one that stands alone."""
    for name in REQUIRED.get(term, ()):
        if entity.get(name) is None:
            yield _missing(f"{path}{name}", None, "send its value")
    for name, holds in properties_of(term).items():
        if (value := entity.get(name)) is not None:
            yield from _value(value, holds, f"{path}{name}", depth, in_event=in_event)
            if (terms := VALUES.get((term, name))) is not None:
                yield from _listed_terms(value, terms, f"{path}{name}")


def _listed_terms(value: object, terms: frozenset[str], path: str) -> Iterator[FieldReason]:
    """Checks what a property holds of the terms that Caliper lists for it."""
    for each in value if isinstance(value, list) else [value]:
        if isinstance(each, str) and not is_foreign(term := term_of(each)) and term.partition("#")[0] not in terms:
            yield FieldReason(path, f"is {shown(each)}: send one of {', '.join(sorted(terms))}")


def _value(value: object, holds: str, path: str, depth: int, *, in_event: bool = False) -> Iterator[FieldReason]:
    if holds.startswith("["):
        if not isinstance(value, list):
            yield FieldReason(path, f"is {shown(value)}: send a list")
            return
        for index, element in enumerate(value):
            yield from _value(element, holds[1:-1], f"{path}[{index}]", depth, in_event=in_event)
        return
    scalar = _VALUES.get(holds)
    if scalar is None:
        yield from _reference(value, holds, path, depth, in_event=in_event)
    elif not scalar[0](value):
        yield FieldReason(path, f"is {shown(value)}: send {scalar[1]}")


def _reference(value: object, types: str, path: str, depth: int, *, in_event: bool) -> Iterator[FieldReason]:
    """Checks an entity, or its IRI. Within events, the properties of entities that are not read may be anything."""
    if not isinstance(value, dict):
        if not is_reference(value):
            yield FieldReason(path, f"is {shown(value)}: send the {_named(types)}, or its IRI")
        return
    if depth >= _DEPTH_MAX:
        yield FieldReason(path, f"is nested more than {_DEPTH_MAX} entities deep: send its IRI instead")
        return
    kind = field_of(value, "type")
    if not isinstance(kind, str | None):
        yield FieldReason(f"{path}.type", f"is {shown(kind)}: send one type of entity, such as Person")
        return
    term = term_of(kind) if kind is not None else ""
    # Types that producers make up, or write differently, say nothing that is read.
    if is_known(term) and not is_a(term, *types.split("|")):
        yield FieldReason(path, f"is a {term}: send the {_named(types)}, or its IRI")
        return
    # Properties of 1.0 hold other kinds of values, such as seconds for durations. What is read is checked then.
    if is_first_version(value) or (in_event and not is_a(term, *_READ)):
        return
    yield from _properties(value, term, f"{path}.", depth + 1, in_event=in_event)


def _named(types: str) -> str:
    return types.replace("|", " or ")


def _missing(path: str, value: object, remedy: str) -> FieldReason:
    return FieldReason(path, f"is {'missing' if value is None else shown(value)}: {remedy}")
