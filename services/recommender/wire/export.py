"""Records of the log as rows of an exported table."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import DecodeError
from google.protobuf.timestamp_pb2 import Timestamp

from cairn.v1 import catalog_pb2, events_pb2
from services.common.kafka.envelope import JSON, content_type_of, split_key


class EventUnreadableError(ValueError):
    """A record is no learner event."""


def event_row(key: bytes, value: bytes | None, headers: list[tuple[str, bytes]]) -> dict[str, Any]:
    """The cells that a record fills; those it leaves out are empty.

    Args:
        key: the record's key.
        value: its value, decrypted.
        headers: its headers.

    Raises:
        EventUnreadableError: when it is no learner event.
    """
    try:
        event = (
            json_format.Parse(value or b"", events_pb2.LearnerEvent())
            if content_type_of(headers) == JSON
            else events_pb2.LearnerEvent.FromString(value or b"")
        )
    except (DecodeError, json_format.ParseError, UnicodeDecodeError, RecursionError) as error:
        raise EventUnreadableError("the value is no LearnerEvent") from error
    tenant, learner = split_key(key)
    kind = event.WhichOneof("body")
    if kind is None or (event.tenant, event.learner) != (tenant, learner):
        raise EventUnreadableError("no body that this program knows is set, or its learner is not that of the key")
    common = {
        "tenant": tenant,
        "learner": learner,
        "event_id": event.event_id,
        "source": event.source,
        "kind": kind,
        "occurred_at": _moment(event.occurred_at) if event.HasField("occurred_at") else None,
        "received_at": _moment(event.received_at) if event.HasField("received_at") else None,
    }
    match kind:
        case "assessment":
            return common | _assessment(event.assessment)
        case "interaction":
            return common | _interaction(event.interaction)
        case "preference":
            return common | _preference(event.preference)
        case "correction":
            return common | _correction(event.correction)
        case _:
            return common


def _assessment(body: events_pb2.AssessmentEvent) -> dict[str, Any]:
    return {
        "item": body.item or None,
        "activity": body.activity or None,
        "resource": body.resource or None,
        "skills": list(body.skills),
        "skills_from": _word(events_pb2.SkillsFrom, body.skills_from),
        "response": body.response,
        "attempt": body.attempt if body.HasField("attempt") else None,
        "hints": body.hints if body.HasField("hints") else None,
        "duration_ms": body.duration_ms if body.HasField("duration_ms") else None,
        "grain": _word(events_pb2.Grain, body.grain),
        **_outcome(body),
    }


def _interaction(body: events_pb2.InteractionEvent) -> dict[str, Any]:
    return {
        "resource": body.resource or None,
        "interaction": _word(events_pb2.InteractionKind, body.kind),
        "recommendation_id": body.recommendation_id or None,
        "duration_ms": body.duration_ms if body.HasField("duration_ms") else None,
    }


def _preference(body: events_pb2.PreferenceEvent) -> dict[str, Any]:
    kinds = [_word(catalog_pb2.ResourceKind, kind) for kind in body.formats.kinds]
    return {
        "goals": list(body.goals.skills) if body.HasField("goals") else None,
        "interests": list(body.interests.topics) if body.HasField("interests") else None,
        "formats": kinds if body.HasField("formats") else None,
        "pace": _word(events_pb2.Pace, body.pace),
    }


def _correction(body: events_pb2.CorrectionEvent) -> dict[str, Any]:
    target = {"target_source": body.target_source, "target_event_id": body.target_event_id}
    if body.WhichOneof("change") == "voided":
        return target | {"change": "void"}
    return target | {"change": "regrade", "response": body.regrade.response, **_outcome(body.regrade)}


def _outcome(body: events_pb2.AssessmentEvent | events_pb2.Regrade) -> dict[str, Any]:
    match body.WhichOneof("outcome"):
        case "correct":
            return {"correct": body.correct}
        case "score":
            return {"score_raw": body.score.raw, "score_min": body.score.min, "score_max": body.score.max}
        case None:
            return {}


def _word(enum: Any, number: int) -> str | None:
    """The last words of an enum's name in lower case; None where nothing was said, or nothing known."""
    names = enum.DESCRIPTOR.values_by_number
    if not number or number not in names:
        return None
    prefix = names[0].name.removesuffix("UNSPECIFIED")
    return str(names[number].name.removeprefix(prefix).lower())


def _moment(timestamp: Timestamp) -> datetime:
    return timestamp.ToDatetime(UTC)
