"""Results and scores of LTI Assignment and Grade Services 2.0, as a platform's line items give and take them.

A result names its line item in `scoreOf`. The body of a score does not, as it is sent to the line item's address: in a
file, `scoreOf` says it. There is one result for each learner on each line item, so the next one replaces it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from services.common.auth.identity import natural_event_id
from services.ingest.application.ports import FieldReason, FileRow, LeftOutRow, Row, UnreadableRow
from services.ingest.domain.kinds.assessment import Assessment, Grain
from services.ingest.domain.outcome import Score
from services.ingest.domain.submission import Instant, Submission
from services.ingest.formats.json_values import decimal, instant, shown

# The names of points and their maximum, in results and in scores.
_POINTS = (("resultScore", "resultMaximum"), ("scoreGiven", "scoreMaximum"))


class _UnreadableError(ValueError):
    """A result holds a value that cannot be read."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field} {reason}")
        self.problem = FieldReason(field, reason)


def rows_of(document: object, source: str, number: int) -> Iterator[FileRow]:
    """What the results or scores of a document are, in order. Any JSON gets an answer.

    Args:
        document: a result, a score, or a list of them.
        source: the source of the events.
        number: the document's place in its file or request, from 1.
    """
    for each in document if isinstance(document, list) else [document]:
        if not isinstance(each, dict):
            problem = FieldReason("", f"is {shown(each)}: send a result or a score, which is an object")
            yield UnreadableRow(number, (problem,), each)
            continue
        try:
            found = _submission(each, source)
        except _UnreadableError as error:
            yield UnreadableRow(number, (error.problem,), each)
            continue
        yield LeftOutRow(number, found) if isinstance(found, str) else Row(number, found, each)


def _submission(result: Mapping[str, Any], source: str) -> Submission | str:
    """The outcome; the reason, where it is left out."""
    learner, line_item = _text(result, "userId"), _text(result, "scoreOf")
    # Scores of work that is not graded, or not by all who grade it, have none of their own yet.
    if result.get("gradingProgress") not in (None, "FullyGraded"):
        return "AGS: scores that are not final"
    raw, high = next(
        ((raw, _number(result, high)) for name, high in _POINTS if (raw := _number(result, name)) is not None),
        (None, None),
    )
    if raw is None:
        return "AGS: results without a score"
    # The default of a result's maximum is 1.
    high = 1.0 if high is None and "resultScore" in result else high
    if high is None:
        return "AGS: scores without a maximum"
    if high <= 0:
        return "AGS: ungraded, the maximum is not above 0"
    return Submission(
        learner_id=learner,
        source=source,
        # The id of a result often holds the learner's, which may not enter the log.
        event_id=natural_event_id(("ags", line_item.encode(errors="backslashreplace").decode())),
        occurred_at=_time(result),
        # More than the maximum is allowed, and is not more than right.
        body=Assessment(activity=line_item, outcome=Score(max(0.0, min(raw, high)), 0.0, high), grain=Grain.ACTIVITY),
        revises=True,
    )


def _text(result: Mapping[str, Any], name: str) -> str:
    value = result.get(name)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str) or not value:
        what = {"userId": "the learner's id", "scoreOf": "the address of the line item"}[name]
        raise _UnreadableError(name, f"is {'missing' if value is None else shown(value)}: send {what}")
    return value


def _number(result: Mapping[str, Any], name: str) -> float | None:
    value = result.get(name)
    number = decimal(value)
    if value is not None and number is None:
        raise _UnreadableError(name, f"is {shown(value)}: send a number")
    return number


def _time(result: Mapping[str, Any]) -> Instant | None:
    """When the learner submitted; else when it was scored; None: it does not say."""
    submission = result.get("submission")
    submitted = submission.get("submittedAt") if isinstance(submission, dict) else None
    name = "timestamp" if submitted is None else "submission.submittedAt"
    value = result.get("timestamp") if submitted is None else submitted
    found = instant(value)
    if value is not None and found is None:
        raise _UnreadableError(name, f'is {shown(value)}: send a date and time such as "2026-03-14T09:26:53.589Z"')
    return found
