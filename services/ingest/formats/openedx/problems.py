"""Answers to problems: one of each input where a problem has several, else one of the problem."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from services.common.auth.identity import natural_event_id
from services.ingest.domain.kinds.assessment import Assessment, Grain
from services.ingest.domain.outcome import Score
from services.ingest.domain.submission import Instant
from services.ingest.formats.openedx.fields import FieldError, is_number, required_number, required_text, shown

UNGRADED = "ungraded: the maximum is 0"
AWAITS_GRADE = "an answer that awaits its grade"

_ATTEMPTS_MAX = 2**32 - 1
_RIGHT_OR_WRONG = {"correct": True, "incorrect": False}


class LeftOutError(Exception):
    """An event is left out knowingly; the message is the reason in the words of a summary."""


def answers_of(payload: Mapping[str, Any], path: str) -> Iterator[Assessment]:
    """The answers of a problem_check of the server.

    Args:
        payload: its own fields.
        path: of the payload, for errors.

    Raises:
        FieldError: when a field is wrong.
        LeftOutError: when it is no evidence.
    """
    problem = required_text(payload, "problem_id", path)
    attempt = _attempt(payload, path)
    marks = _marks(payload, path)
    if any(mark.get("queuestate") or mark.get("correctness") == "incomplete" for mark in marks.values()):
        raise LeftOutError(AWAITS_GRADE)
    most = payload.get("max_grade")
    if is_number(most) and most == 0:
        raise LeftOutError(UNGRADED)
    # Each input is worth one point unless the problem says otherwise, which the event does not show.
    outcomes = {name: _outcome_of(mark, one_point=most == len(marks)) for name, mark in marks.items()}
    if len(outcomes) < 2 or None in outcomes.values():
        yield scored(problem, _outcome(payload, path), attempt)
        return
    for name, outcome in outcomes.items():
        yield Assessment(f"{problem}/{name}", problem, outcome=outcome, attempt=attempt, grain=Grain.ITEM)


def answer_id(answer: Assessment, at: Instant | None) -> str:
    """The id of an answer, which changes of it name; empty: nothing tells it from others.

    The same in the log and on the event bus. It holds no learner, as every event has one besides.
    """
    if at is None:
        return ""
    parts = ("openedx answer", answer.item, str(answer.attempt or ""), str(at))
    return natural_event_id(tuple(part.encode(errors="backslashreplace").decode() for part in parts))


def scored(block: str, outcome: bool | Score, attempt: int | None = None) -> Assessment:  # noqa: FBT001 - see Assessment.
    """The outcome of a whole block."""
    return Assessment(block, outcome=outcome, attempt=attempt, grain=Grain.ITEM)


def _attempt(payload: Mapping[str, Any], path: str) -> int | None:
    attempts = payload.get("attempts")
    if attempts is None or (isinstance(attempts, int) and not isinstance(attempts, bool) and attempts == 0):
        return None
    if isinstance(attempts, bool) or not isinstance(attempts, int) or not 0 < attempts <= _ATTEMPTS_MAX:
        raise FieldError(f"{path}.attempts", f"is {shown(attempts)}: send the number of this answer, from 1")
    return attempts


def _marks(payload: Mapping[str, Any], path: str) -> dict[str, Mapping[str, Any]]:
    """What each input was marked with; empty where that is not said."""
    correct_map = payload.get("correct_map")
    if correct_map is None:
        return {}
    if not isinstance(correct_map, Mapping) or not all(isinstance(mark, Mapping) for mark in correct_map.values()):
        raise FieldError(
            f"{path}.correct_map", f"is {shown(correct_map)}: send an object of objects, one of each input"
        )
    return dict(correct_map)


def _outcome_of(mark: Mapping[str, Any], *, one_point: bool) -> bool | Score | None:
    """The outcome of an input; None when it cannot be told."""
    points = mark.get("npoints")
    if one_point and is_number(points) and 0 <= points <= 1:
        return Score(float(points), 0.0, 1.0)
    correctness = mark.get("correctness")
    return _RIGHT_OR_WRONG.get(correctness) if isinstance(correctness, str) else None


def _outcome(payload: Mapping[str, Any], path: str) -> bool | Score:
    success = payload.get("success")
    if payload.get("grade") is None or payload.get("max_grade") is None:
        if isinstance(success, str) and success in _RIGHT_OR_WRONG:
            return _RIGHT_OR_WRONG[success]
        raise FieldError(f"{path}.grade", "is missing, or max_grade is, and so is success: add them")
    return Score(required_number(payload, "grade", path), 0.0, required_number(payload, "max_grade", path))
