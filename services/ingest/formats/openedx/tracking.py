"""Tracking events: the rows of one."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from services.ingest.application.ports import FieldReason, FileRow, LeftOutRow, Row, UnreadableRow
from services.ingest.domain.kinds.assessment import Assessment
from services.ingest.domain.kinds.interaction import Interaction, InteractionKind
from services.ingest.domain.outcome import Score
from services.ingest.domain.submission import Submission, SubmittedBody
from services.ingest.formats.openedx.events import (
    TrackingEvent,
    block_type_of,
    event_of,
    learner_id_in,
    learner_of,
    moment_of,
    payload_of,
)
from services.ingest.formats.openedx.fields import FieldError, required_number, required_text
from services.ingest.formats.openedx.names import SAME_ACT, reason_to_leave_out
from services.ingest.formats.openedx.problems import UNGRADED, LeftOutError, answer_id, answers_of, scored
from services.ingest.formats.openedx.staff import NOT_IN_LOAD, STAFF_EVENTS, change_of

BROWSER = "a copy by the browser of what the server logs"
UNFINISHED = "a completion that is not complete"
IN_STEPS = "a grade that grows with each step of one answer"

_DRAG_AND_DROP = "drag-and-drop-v2"
# Of the requests with which external graders give their grades.
_BY_GRADER = "/xqueue/"


def rows_of(document: object, source: str, number: int) -> Iterator[FileRow]:
    """The rows of a tracking event.

    Args:
        document: of any JSON.
        source: the system that the event is from.
        number: its place in the file or request.
    """
    try:
        event = event_of(document)
        yield from _rows(event, source, number, document)
    except LeftOutError as left_out:
        yield LeftOutRow(number, str(left_out))
    except FieldError as error:
        yield UnreadableRow(number, (FieldReason(error.field, error.reason),), document)


def _rows(event: TrackingEvent, source: str, number: int, document: object) -> Iterator[FileRow]:
    if event.name in STAFF_EVENTS:
        change_of(event)
        raise LeftOutError(NOT_IN_LOAD)
    read = _READERS.get(event.name)
    if read is None:
        raise LeftOutError(reason_to_leave_out(event.name))
    learner_id, bodies = read(event)
    occurred_at = moment_of(event)
    for body in bodies:
        event_id = answer_id(body, occurred_at) if isinstance(body, Assessment) else ""
        yield Row(number, Submission(learner_id, source, body, event_id, occurred_at), document)


def _problem_check(event: TrackingEvent) -> tuple[str, list[SubmittedBody]]:
    if event.event_source in ("browser", "mobile") or (event.payload is None and event.event_source != "server"):
        raise LeftOutError(BROWSER)
    payload = payload_of(event)
    # Whoever sent the request; names are not used, since a learner may change theirs.
    learner_id = learner_id_in(event.context, "context.user_id")
    return learner_id, list(answers_of(payload, event.path))


def _submitted_grade(event: TrackingEvent) -> tuple[str, list[SubmittedBody]]:
    """The grade of a block: the only outcome of blocks that Open edX itself does not grade when they are answered."""
    payload = payload_of(event)
    block = required_text(payload, "problem_id", event.path)
    kind = block_type_of(block)
    if kind in ("", "problem") and _BY_GRADER not in str(event.context.get("path")):
        raise LeftOutError(SAME_ACT)
    if kind == _DRAG_AND_DROP:
        raise LeftOutError(IN_STEPS)
    if payload.get("weighted_possible") in (None, 0):
        raise LeftOutError(UNGRADED)
    raw = required_number(payload, "weighted_earned", event.path)
    most = required_number(payload, "weighted_possible", event.path)
    return learner_of(event, payload), [scored(block, Score(raw, 0.0, most))]


def _completion(event: TrackingEvent) -> tuple[str, list[SubmittedBody]]:
    payload = payload_of(event)
    block = required_text(payload, "block_id", event.path)
    if "problem" in (payload.get("block_type"), block_type_of(block)):
        raise LeftOutError(SAME_ACT)
    if required_number(payload, "completion", event.path) < 1:
        raise LeftOutError(UNFINISHED)
    return learner_of(event, payload), [Interaction(block, InteractionKind.COMPLETED)]


_READERS: dict[str, Callable[[TrackingEvent], tuple[str, list[SubmittedBody]]]] = {
    "problem_check": _problem_check,
    # Its name before October 2013.
    "save_problem_check": _problem_check,
    "edx.grades.problem.submitted": _submitted_grade,
    "edx.completion.block_completion.changed": _completion,
}
