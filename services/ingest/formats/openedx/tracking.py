"""Tracking events: the rows of one."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from services.ingest.application.ports import FieldReason, FileRow, LeftOutRow, Row, UnreadableRow
from services.ingest.domain.kinds.interaction import Interaction, InteractionKind
from services.ingest.domain.outcome import Score
from services.ingest.domain.submission import Instant, Submission, SubmittedBody
from services.ingest.formats.ndjson import instant_of
from services.ingest.formats.openedx.fields import FieldError, required_number, required_text, shown
from services.ingest.formats.openedx.names import SAME_ACT, reason_to_leave_out
from services.ingest.formats.openedx.problems import UNGRADED, LeftOutError, answers_of, scored

ANONYMOUS = "of a visitor who is not signed in"
BROWSER = "a copy by the browser of what the server logs"
UNFINISHED = "a completion that is not complete"
IN_STEPS = "a grade that grows with each step of one answer"

_BLOCK_TYPE = re.compile(r"type@([^+]+)\+block@|^i4x://[^/]+/[^/]+/([^/]+)/")
_DRAG_AND_DROP = "drag-and-drop-v2"


@dataclass(frozen=True, slots=True)
class TrackingEvent:
    """A tracking event, of either form: as logged, or as Open edX passes it on.

    Attributes:
        name: what happened.
        payload: its own fields; None where they are no object, as in events of browsers.
        path: of the payload in the document.
        context: what is known of the request.
        at_path: the path of its time.
        at: its time, as it is.
        event_source: `server`, `browser`, `mobile` or `task`; None where it does not say.
    """

    name: str
    payload: Mapping[str, Any] | None
    path: str
    context: Mapping[str, Any]
    at_path: str
    at: object
    event_source: object


def rows_of(document: object, source: str, number: int) -> Iterator[FileRow]:
    """The rows of a tracking event.

    Args:
        document: of any JSON.
        source: the system that the event is from.
        number: its place in the file or request.
    """
    try:
        event = _event_of(document)
        yield from _rows(event, source, number, document)
    except LeftOutError as left_out:
        yield LeftOutRow(number, str(left_out))
    except FieldError as error:
        yield UnreadableRow(number, (FieldReason(error.field, error.reason),), document)


def _event_of(document: object) -> TrackingEvent:
    if not isinstance(document, Mapping):
        raise FieldError("", f"is {shown(document)}: send a tracking event, which is a JSON object")
    name = document.get("name") or document.get("event_type")
    if not isinstance(name, str):
        raise FieldError("name", f"is {shown(name)}: send the name of the event" if name else "is missing: add it")
    path = "event" if "event" in document else "data"
    context = _object_in(document.get("context")) or {}
    at_path = "time" if "time" in document else "timestamp"
    event_source = document.get("event_source") or context.get("event_source")
    return TrackingEvent(
        name, _object_in(document.get(path)), path, context, at_path, document.get(at_path), event_source
    )


def _object_in(value: object) -> Mapping[str, Any] | None:
    """An object, also one written as a text, as browsers and the event bus do."""
    if isinstance(value, str):
        try:
            value = orjson.loads(value)
        except ValueError:
            return None
    return value if isinstance(value, Mapping) else None


def _rows(event: TrackingEvent, source: str, number: int, document: object) -> Iterator[FileRow]:
    read = _READERS.get(event.name)
    if read is None:
        raise LeftOutError(reason_to_leave_out(event.name))
    learner_id, bodies = read(event)
    occurred_at = _instant(event)
    for body in bodies:
        submission = Submission(learner_id=learner_id, source=source, body=body, occurred_at=occurred_at)
        yield Row(number, submission, document)


def _problem_check(event: TrackingEvent) -> tuple[str, list[SubmittedBody]]:
    if event.event_source in ("browser", "mobile") or (event.payload is None and event.event_source != "server"):
        raise LeftOutError(BROWSER)
    payload = _payload(event)
    # Whoever sent the request; names are not used, since a learner may change theirs.
    learner_id = _learner_id(event.context, "context.user_id")
    return learner_id, list(answers_of(payload, event.path))


def _submitted_grade(event: TrackingEvent) -> tuple[str, list[SubmittedBody]]:
    """The grade of a block: the only outcome of blocks that are no problems of Open edX itself."""
    payload = _payload(event)
    block = required_text(payload, "problem_id", event.path)
    kind = _block_type(block)
    if kind in ("", "problem"):
        raise LeftOutError(SAME_ACT)
    if kind == _DRAG_AND_DROP:
        raise LeftOutError(IN_STEPS)
    if payload.get("weighted_possible") in (None, 0):
        raise LeftOutError(UNGRADED)
    raw = required_number(payload, "weighted_earned", event.path)
    most = required_number(payload, "weighted_possible", event.path)
    return _learner_of(event, payload), [scored(block, Score(raw, 0.0, most))]


def _completion(event: TrackingEvent) -> tuple[str, list[SubmittedBody]]:
    payload = _payload(event)
    block = required_text(payload, "block_id", event.path)
    if "problem" in (payload.get("block_type"), _block_type(block)):
        raise LeftOutError(SAME_ACT)
    if required_number(payload, "completion", event.path) < 1:
        raise LeftOutError(UNFINISHED)
    return _learner_of(event, payload), [Interaction(block, InteractionKind.COMPLETED)]


_READERS: dict[str, Callable[[TrackingEvent], tuple[str, list[SubmittedBody]]]] = {
    "problem_check": _problem_check,
    # Its name before October 2013.
    "save_problem_check": _problem_check,
    "edx.grades.problem.submitted": _submitted_grade,
    "edx.completion.block_completion.changed": _completion,
}


def _payload(event: TrackingEvent) -> Mapping[str, Any]:
    if event.payload is None:
        raise FieldError(event.path, f"is not the object that {event.name} of the server has: send it as it was logged")
    return event.payload


def _learner_of(event: TrackingEvent, payload: Mapping[str, Any]) -> str:
    """Whose state changed, who need not be the user of the request."""
    if payload.get("user_id") in (None, ""):
        return _learner_id(event.context, "context.user_id")
    return _learner_id(payload, f"{event.path}.user_id")


def _learner_id(fields: Mapping[str, Any], path: str) -> str:
    user_id = fields.get("user_id")
    if user_id is None or user_id == "":
        raise LeftOutError(ANONYMOUS)
    if isinstance(user_id, bool) or not isinstance(user_id, int | str):
        raise FieldError(path, f"is {shown(user_id)}: send the number of the user")
    return str(user_id)


def _instant(event: TrackingEvent) -> Instant | None:
    if event.at is None or event.at == "":
        return None
    try:
        moment = datetime.fromisoformat(event.at)  # type: ignore[arg-type]  # a TypeError is what else it may be.
        # Open edX logs in UTC.
        return instant_of(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
    except (TypeError, ValueError, OverflowError) as error:
        reason = f"is {shown(event.at)}: send a time as in 2026-03-04T09:15:00.123456+00:00"
        raise FieldError(event.at_path, reason) from error


def _block_type(usage_key: str) -> str:
    found = _BLOCK_TYPE.search(usage_key)
    return (found[1] or found[2]) if found else ""
