"""The kinds of events other than assessments: how each is decoded for the fold and exported as a row of a table.

A new kind is a type in `domain/learner/events.py`, and here its two functions, an entry in `KINDS`, and the columns of
its row. `wire/events.py` decodes assessments: nearly every record is one, so they have a fast path.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from cairn.v1 import catalog_pb2, events_pb2
from services.common.auth.identity import event_fingerprint
from services.recommender.application.operations.columns import LEARNER, TENANT, Column, ColumnType
from services.recommender.domain.learner.events import (
    VOIDED,
    ContentKind,
    CorrectionEvent,
    ErasureEvent,
    InteractionEvent,
    InteractionKind,
    LearnerEvent,
    PreferenceEvent,
    content_of,
)
from services.recommender.domain.learner.preferences import MOST_GOALS, MOST_INTERESTS, Pace
from services.recommender.wire.fields import ID_CHARACTERS_MAX, RecordInvalidError, as_float32, check_ids, seconds_of

_TOPIC_CHARACTERS_MAX = 64

_INTERACTIONS = {
    events_pb2.INTERACTION_KIND_OPENED: InteractionKind.OPENED,
    events_pb2.INTERACTION_KIND_COMPLETED: InteractionKind.COMPLETED,
    events_pb2.INTERACTION_KIND_DISMISSED: InteractionKind.DISMISSED,
}
_FORMATS = frozenset(catalog_pb2.ResourceKind.values()) - {catalog_pb2.RESOURCE_KIND_UNSPECIFIED}
_PACES = frozenset(int(pace) for pace in Pace)


class EventKind(NamedTuple):
    """A kind of event.

    Attributes:
        decode: builds the domain's event from the record's message and the event's fingerprint. Raises
            RecordInvalidError.
        row: the cells of the event's own columns, from the message of its body.
    """

    decode: Callable[[events_pb2.LearnerEvent, bytes], LearnerEvent]
    row: Callable[[Any], dict[str, Any]]


def _interaction(message: events_pb2.LearnerEvent, fingerprint: bytes) -> InteractionEvent:
    body = message.interaction
    kind = _INTERACTIONS.get(body.kind)
    if kind is None:
        raise RecordInvalidError(
            "field", f"interaction.kind is {body.kind}, which is neither opened (1), completed (2) nor dismissed (3)"
        )
    if not body.resource:
        raise RecordInvalidError("field", "interaction.resource is empty")
    check_ids((body.resource,))
    at_s = seconds_of(message)
    content = content_of(ContentKind.INTERACTION, f"{at_s} {body.kind} {body.resource}".encode())
    return InteractionEvent(fingerprint, at_s, body.resource, kind, content)


def _interaction_row(body: events_pb2.InteractionEvent) -> dict[str, Any]:
    return {
        "resource": body.resource or None,
        "interaction": name_of(events_pb2.InteractionKind, body.kind),
        "recommendation_id": body.recommendation_id or None,
        "duration_ms": body.duration_ms if body.HasField("duration_ms") else None,
    }


def _preference(message: events_pb2.LearnerEvent, fingerprint: bytes) -> PreferenceEvent:
    body = message.preference
    goals = tuple(dict.fromkeys(body.goals.skills)) if body.HasField("goals") else None
    interests = tuple(dict.fromkeys(body.interests.topics)) if body.HasField("interests") else None
    formats = tuple(dict.fromkeys(body.formats.kinds)) if body.HasField("formats") else None
    for field, values, most, longest in (
        ("goals.skills", goals, MOST_GOALS, ID_CHARACTERS_MAX),
        ("interests.topics", interests, MOST_INTERESTS, _TOPIC_CHARACTERS_MAX),
    ):
        if values is None:
            continue
        if len(values) > most:
            raise RecordInvalidError("field", f"preference.{field} has {len(values)} entries, more than {most}")
        if "" in values:
            raise RecordInvalidError("field", f"preference.{field} holds an empty entry")
        check_ids(values, longest)
    unknown = [kind for kind in formats or () if kind not in _FORMATS]
    if unknown:
        raise RecordInvalidError("field", f"preference.formats.kinds holds {unknown[0]}, not a kind of resource")
    if body.pace not in _PACES:
        raise RecordInvalidError("field", f"preference.pace is {body.pace}, not a pace")
    content = content_of(ContentKind.PREFERENCE, repr((goals, interests, formats, int(body.pace))).encode())
    return PreferenceEvent(fingerprint, goals, interests, formats, int(body.pace), content)


def _preference_row(body: events_pb2.PreferenceEvent) -> dict[str, Any]:
    kinds = [name_of(catalog_pb2.ResourceKind, kind) for kind in body.formats.kinds]
    return {
        "goals": list(body.goals.skills) if body.HasField("goals") else None,
        "interests": list(body.interests.topics) if body.HasField("interests") else None,
        "formats": kinds if body.HasField("formats") else None,
        "pace": name_of(events_pb2.Pace, body.pace),
    }


def _correction(message: events_pb2.LearnerEvent, fingerprint: bytes) -> CorrectionEvent:
    body = message.correction
    if not body.target_event_id or not body.target_source:
        missing = "target_source" if body.target_event_id else "target_event_id"
        raise RecordInvalidError("field", f"correction.{missing} is empty, so the event that was wrong is unknown")
    target = event_fingerprint(body.target_source, body.target_event_id)
    match body.WhichOneof("change"):
        case "voided":
            return _correction_to(fingerprint, target, VOIDED)
        case "regrade":
            response = body.regrade.response
            # Also false for NaN.
            if not 0.0 <= response <= 1.0:
                raise RecordInvalidError("field", f"correction.regrade.response is {response}, not in [0, 1]")
            return _correction_to(fingerprint, target, as_float32(response))
    raise RecordInvalidError("field", "correction is neither void nor regrade")


def _correction_to(fingerprint: bytes, target: bytes, response: float) -> CorrectionEvent:
    content = content_of(ContentKind.CORRECTION, b"%b%r" % (target, response))
    return CorrectionEvent(fingerprint, target, response, content)


def _erasure(_: events_pb2.LearnerEvent, fingerprint: bytes) -> ErasureEvent:
    return ErasureEvent(fingerprint, content_of(ContentKind.ERASURE, b""))


def _correction_row(body: events_pb2.CorrectionEvent) -> dict[str, Any]:
    target = {"target_source": body.target_source, "target_event_id": body.target_event_id}
    if body.WhichOneof("change") == "voided":
        return target | {"change": "void"}
    return target | {"change": "regrade", "response": body.regrade.response, **outcome_row(body.regrade)}


def outcome_row(body: events_pb2.AssessmentEvent | events_pb2.Regrade) -> dict[str, Any]:
    """The cells of an outcome: right or wrong, or points."""
    match body.WhichOneof("outcome"):
        case "correct":
            return {"correct": body.correct}
        case "score":
            return {"score_raw": body.score.raw, "score_min": body.score.min, "score_max": body.score.max}
        case None:
            return {}


def name_of(enum: Any, number: int) -> str | None:
    """The name of an enum value in lower case, without the prefix; None when it is unspecified or unknown."""
    names = enum.DESCRIPTOR.values_by_number
    if not number or number not in names:
        return None
    prefix = names[0].name.removesuffix("UNSPECIFIED")
    return str(names[number].name.removeprefix(prefix).lower())


KINDS: dict[str, EventKind] = {
    "interaction": EventKind(_interaction, _interaction_row),
    "preference": EventKind(_preference, _preference_row),
    "correction": EventKind(_correction, _correction_row),
    "erasure": EventKind(_erasure, lambda _: {}),
}
"""The kinds by their field in the `body` of LearnerEvent."""

EVENT_COLUMNS = (
    TENANT,
    LEARNER,
    Column("partition", ColumnType.INTEGER, "the record's partition of the log"),
    Column("offset", ColumnType.INTEGER, "the record's offset in the partition"),
    Column("event_id", ColumnType.TEXT, "the event's id; records with the same source and id are one event"),
    Column("source", ColumnType.TEXT, "the system that observed it"),
    Column("kind", ColumnType.TEXT, "assessment, interaction, preference, correction or erasure"),
    Column("occurred_at", ColumnType.TIME, "when the learner acted; empty: not known"),
    Column("received_at", ColumnType.TIME, "when ingest accepted it"),
    Column("item", ColumnType.TEXT, "assessment: the question"),
    Column("activity", ColumnType.TEXT, "assessment: the quiz or lesson"),
    Column("resource", ColumnType.TEXT, "assessment, interaction: the catalog resource"),
    Column("skills", ColumnType.TEXTS, "assessment: the skills it is evidence of"),
    Column("skills_from", ColumnType.TEXT, "assessment: the origin of the skills: event, catalog or none"),
    Column("response", ColumnType.NUMBER, "assessment, correction: the outcome, 0 to 1"),
    Column("correct", ColumnType.BOOLEAN, "assessment, correction: right or wrong, if given that way"),
    Column("score_raw", ColumnType.NUMBER, "assessment, correction: points, if given that way"),
    Column("score_min", ColumnType.NUMBER, "the lowest possible points"),
    Column("score_max", ColumnType.NUMBER, "the highest possible points"),
    Column("attempt", ColumnType.INTEGER, "assessment: number of the attempt, from 1"),
    Column("hints", ColumnType.INTEGER, "assessment: hints used"),
    Column("duration_ms", ColumnType.INTEGER, "assessment, interaction: time spent, milliseconds"),
    Column("grain", ColumnType.TEXT, "assessment: item or activity"),
    Column("interaction", ColumnType.TEXT, "interaction: opened, completed or dismissed"),
    Column("recommendation_id", ColumnType.TEXT, "interaction: what led to it"),
    Column("goals", ColumnType.TEXTS, "preference: skills to work towards; empty: not stated"),
    Column("interests", ColumnType.TEXTS, "preference: topics; likewise"),
    Column("formats", ColumnType.TEXTS, "preference: kinds of resource; likewise"),
    Column("pace", ColumnType.TEXT, "preference: gentle, steady or brisk; empty: not stated"),
    Column("target_source", ColumnType.TEXT, "correction: source of the event that was wrong"),
    Column("target_event_id", ColumnType.TEXT, "correction: id of the event that was wrong"),
    Column("change", ColumnType.TEXT, "correction: void or regrade"),
)
"""The columns of an exported event; those of one kind name it in their meaning."""
