"""The parts of an event that say who did what, with which outcome: the attempt, the resource and the points.

Entities may be objects or bare IRIs, in several places, and in the extensions of others; the fullest is read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from services.ingest.application.ports import FieldReason
from services.ingest.domain.submission import Instant
from services.ingest.formats.caliper.entities import is_a
from services.ingest.formats.caliper.terms import field_of, term_of
from services.ingest.formats.json_values import decimal, duration_ms, instant, kept_ms, shown

_ATTEMPT_MAX = 2**32 - 1
_NOTHING: Mapping[str, Any] = {}

Described = Mapping[str, Mapping[str, Any]]
"""The entities that a document describes, by their ids."""


class UnreadableEventError(ValueError):
    """An event says something that cannot be read."""

    def __init__(self, field: str, reason: str) -> None:
        """Args: the path of the field, and what is wrong with its value."""
        super().__init__(f"{field} {reason}")
        self.problem = FieldReason(field, reason)


@dataclass(frozen=True, slots=True)
class Reference:
    """An entity that an event names.

    Attributes:
        id: its id; empty: it has none.
        kind: the term of its type; empty: it has none.
        entity: its properties, as far as the document gives them.
    """

    id: str
    kind: str
    entity: Mapping[str, Any]

    def is_a(self, *types: str) -> bool:
        """Whether it is an entity of one of these types, or a kind of one."""
        return is_a(self.kind, *types)


@dataclass(frozen=True, slots=True)
class Points:
    """Points that an event gives; None: it does not say."""

    raw: float | None
    max: float | None


def reference(value: object, described: Described) -> Reference | None:
    """The entity that a property names; None: it names none."""
    if isinstance(value, str):
        entity, name = described.get(value, _NOTHING), value
    elif isinstance(value, dict):
        name = field_of(value, "id")
        name = name if isinstance(name, str) else ""
        entity = {**described.get(name, _NOTHING), **value}
    else:
        return None
    kind = field_of(entity, "type")
    return Reference(name, term_of(kind) if isinstance(kind, str) else "", entity)


def first(values: Iterable[object], described: Described) -> Reference | None:
    """The first entity of several places that names one; an object before a bare IRI of the same entity."""
    found = [named for value in values if (named := reference(value, described)) is not None]
    if not found:
        return None
    return next((named for named in found if named.id == found[0].id and named.entity), found[0])


def places(entities: Iterable[Mapping[str, Any]], *names: str) -> Iterator[object]:
    """The values of properties of several entities, and of the same names in their extensions."""
    for entity in entities:
        extensions = entity.get("extensions")
        for holder in (entity, extensions if isinstance(extensions, dict) else _NOTHING):
            yield from (holder[name] for name in names if holder.get(name) is not None)


def same_learner(values: Iterable[object], described: Described, field: str) -> str | None:
    """The id of the learner, whom every place that names one must agree on; None: no place names one.

    Raises:
        UnreadableEventError: when two places name different learners.
    """
    ids = {named.id: None for value in values if (named := reference(value, described)) is not None and named.id}
    if len(ids) > 1:
        raise UnreadableEventError(field, f"names {' and '.join(map(shown, ids))}: name one learner")
    return next(iter(ids), None)


def score_of(generated: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]] | None:
    """The Score or Result among what an event generated, with its path; None: there is none."""
    for name in ("score", "result"):
        nested = generated.get(name)
        if isinstance(nested, dict):
            return f"generated.{name}", nested
    names = ("scoreGiven", "resultScore", "normalScore", "totalScore")
    return ("generated", generated) if any(generated.get(name) is not None for name in names) else None


def points_of(path: str, score: Mapping[str, Any], assigned: Mapping[str, Any] | None) -> Points:
    """The points of a Score or Result, of any version.

    The Result of 1.0 gives parts of a score: what was earned, with extra credit and without penalties. Its own total
    is the same, or is not filled in. A maximum of 0 is none where what was assigned has another.

    Raises:
        UnreadableEventError: when a number is none.
    """
    raw = next((n for name in ("scoreGiven", "resultScore") if (n := _number(path, score, name)) is not None), None)
    normal = _number(path, score, "normalScore")
    if raw is None and normal is not None:
        extra, penalty = (_number(path, score, name) or 0.0 for name in ("extraCreditScore", "penaltyScore"))
        raw = normal + extra - penalty
    raw = _number(path, score, "totalScore") if raw is None else raw
    of_score = (_number(path, score, name) for name in ("maxScore", "maxResultScore"))
    of_assigned = (decimal(assigned.get("maxScore")),) if assigned is not None else ()
    known = [number for number in (*of_score, *of_assigned) if number is not None]
    return Points(raw, next((number for number in known if number), known[0] if known else None))


def _number(path: str, score: Mapping[str, Any], name: str) -> float | None:
    value = score.get(name)
    number = decimal(value)
    if value is not None and number is None:
        raise UnreadableEventError(f"{path}.{name}", f"is {shown(value)}: send a number")
    return number


def time_of(holder: Mapping[str, Any], name: str, path: str = "") -> Instant | None:
    """A point in time.

    Raises:
        UnreadableEventError: when it is none.
    """
    value = holder.get(name)
    found = instant(value)
    if value is not None and found is None:
        remedy = 'send a date and time such as "2026-03-14T09:26:53.589Z"'
        raise UnreadableEventError(f"{path}{name}", f"is {shown(value)}: {remedy}")
    return found


def count_of(attempts: Iterable[Mapping[str, Any]], path: str) -> int | None:
    """Which try it was, from 1; None: it is not counted.

    Raises:
        UnreadableEventError: when it is no such number.
    """
    count = next(places(attempts, "count"), None)
    if count is None or count == 0:
        return None
    number = decimal(count)
    if number is None or not number.is_integer() or not 1 <= number <= _ATTEMPT_MAX:
        raise UnreadableEventError(f"{path}count", f"is {shown(count)}: count tries from 1, or leave it out")
    return int(number)


def span_ms(entity: Mapping[str, Any]) -> int | None:
    """The time that an attempt or a response took; None: it is not known."""
    if (given := duration_ms(entity.get("duration"))) is not None:
        return given
    start, end = instant(entity.get("startedAtTime")), instant(entity.get("endedAtTime"))
    if start is None or end is None:
        return None
    return kept_ms((end.seconds - start.seconds) * 1000 + (end.nanoseconds - start.nanoseconds) / 1_000_000)
