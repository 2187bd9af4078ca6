"""What a submission must be to enter the log. Every problem is named: field, value and remedy."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from services.ingest.domain.assessment import SKILLS_MAX, Assessment, Grain, Instant, Score, Submission

EVENT_ID_CHARACTERS_MAX = 128
ID_CHARACTERS_MAX = 256
SEQUENCE_CHARACTERS_MAX = 128
FUTURE_MAX_S = 5 * 60

_NANOSECONDS_PER_SECOND = 1_000_000_000
# 9999-12-31T23:59:59Z, the last second of a Timestamp.
_SECONDS_MAX = 253_402_300_799
_CONTROL_CHARACTER = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_SHOWN_CHARACTERS = 40


class ProblemKind(StrEnum):
    """Sorts of problems, for counting."""

    MISSING = "missing"
    TOO_LONG = "too_long"
    CONTROL_CHARACTER = "control_character"
    TOO_MANY = "too_many"
    REPEATED = "repeated"
    CONTRADICTORY = "contradictory"
    UNKNOWN = "unknown"
    NOT_FINITE = "not_finite"
    OUT_OF_RANGE = "out_of_range"
    FROM_THE_FUTURE = "from_the_future"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with one field.

    Attributes:
        field: path of the field within the submission, for example `assessment.score.raw`.
        kind: the sort of problem.
        reason: what is wrong with which value, and what would be right.
    """

    field: str
    kind: ProblemKind
    reason: str


def problems_of(submission: Submission, now: Instant) -> list[Problem]:
    """Everything wrong with a submission; empty when it may enter the log.

    Args:
        submission: as a platform sent it.
        now: the server's clock.
    """
    problems = [
        *_text("learner_id", submission.learner_id, ID_CHARACTERS_MAX, required="the platform's id of the learner"),
        *_text("source", submission.source, ID_CHARACTERS_MAX, required="the name of the system that saw the event"),
        *_text("event_id", submission.event_id, EVENT_ID_CHARACTERS_MAX),
        *_text("source_sequence", submission.source_sequence, SEQUENCE_CHARACTERS_MAX),
    ]
    if submission.occurred_at is not None:
        problems += _occurred_at(submission.occurred_at, now)
    if submission.assessment is None:
        problems.append(
            Problem("assessment", ProblemKind.MISSING, "is not set: say what happened; this version takes assessments")
        )
    else:
        problems += _assessment(submission.assessment)
    return problems


def _assessment(assessment: Assessment) -> Iterator[Problem]:
    yield from _text("assessment.item", assessment.item, ID_CHARACTERS_MAX)
    yield from _text("assessment.activity", assessment.activity, ID_CHARACTERS_MAX)
    yield from _grain(assessment)
    if assessment.skills:
        yield from _skills(assessment.skills)
    if assessment.outcome is None:
        yield Problem(
            "assessment.outcome", ProblemKind.MISSING, "is not set: send correct, or score with raw, min and max"
        )
    elif isinstance(assessment.outcome, Score):
        yield from _score(assessment.outcome)
    if assessment.attempt == 0:
        yield Problem(
            "assessment.attempt", ProblemKind.OUT_OF_RANGE, "is 0: count tries from 1, or leave it out when not counted"
        )


def _grain(assessment: Assessment) -> Iterator[Problem]:
    if assessment.grain not in Grain.__members__.values():
        yield Problem(
            "assessment.grain",
            ProblemKind.UNKNOWN,
            f"is {assessment.grain}, which names no grain: send GRAIN_ITEM (1) or GRAIN_ACTIVITY (2), or leave it out",
        )
    elif not assessment.item and not assessment.activity:
        field = "activity" if assessment.grain == Grain.ACTIVITY else "item"
        yield Problem(
            f"assessment.{field}",
            ProblemKind.MISSING,
            "is empty and so is the other: name the item that was answered, or the activity that was scored",
        )
    elif assessment.grain == Grain.ITEM and not assessment.item:
        yield Problem(
            "assessment.item",
            ProblemKind.MISSING,
            "is empty but the grain is an item: name the item, or send GRAIN_ACTIVITY for a score on the activity",
        )
    elif assessment.grain == Grain.ACTIVITY and not assessment.activity:
        yield Problem(
            "assessment.activity",
            ProblemKind.MISSING,
            "is empty but the grain is an activity: name the activity, or send GRAIN_ITEM for an answer to the item",
        )
    elif assessment.grain == Grain.ACTIVITY and assessment.item:
        yield Problem(
            "assessment.item",
            ProblemKind.CONTRADICTORY,
            f"is {_shown(assessment.item)} but the grain is an activity: leave the item out, or send GRAIN_ITEM",
        )


def _skills(skills: tuple[str, ...]) -> Iterator[Problem]:
    if len(skills) > SKILLS_MAX:
        yield Problem(
            "assessment.skills",
            ProblemKind.TOO_MANY,
            f"has {len(skills)} skills, at most {SKILLS_MAX}: keep those the item chiefly assesses",
        )
        return
    for index, skill in enumerate(skills):
        field = f"assessment.skills[{index}]"
        yield from _text(field, skill, ID_CHARACTERS_MAX, required="a skill's id, or leave the entry out")
        first = skills.index(skill)
        if skill and first != index:
            yield Problem(
                field, ProblemKind.REPEATED, f"is {_shown(skill)} again, as skills[{first}]: name each skill once"
            )


def _score(score: Score) -> Iterator[Problem]:
    not_finite = [name for name in ("raw", "min", "max") if not math.isfinite(getattr(score, name))]
    for name in not_finite:
        yield Problem(
            f"assessment.score.{name}",
            ProblemKind.NOT_FINITE,
            f"is {getattr(score, name)}: send a finite number",
        )
    if not_finite:
        return
    if score.max <= score.min:
        yield Problem(
            "assessment.score.max",
            ProblemKind.OUT_OF_RANGE,
            f"is {score.max:g}, not above min {score.min:g}: send the most points one can get",
        )
    elif not score.min <= score.raw <= score.max:
        yield Problem(
            "assessment.score.raw",
            ProblemKind.OUT_OF_RANGE,
            f"is {score.raw:g}, outside min {score.min:g} to max {score.max:g}: correct the points or the scale",
        )


def _occurred_at(occurred_at: Instant, now: Instant) -> Iterator[Problem]:
    if not 0 <= occurred_at.nanoseconds < _NANOSECONDS_PER_SECOND or occurred_at.seconds > _SECONDS_MAX:
        yield Problem(
            "occurred_at",
            ProblemKind.OUT_OF_RANGE,
            f"is {occurred_at.seconds} s and {occurred_at.nanoseconds} ns: send a Timestamp with nanos from 0 to "
            "999999999, up to the year 9999",
        )
    elif occurred_at.seconds < 0:
        yield Problem(
            "occurred_at",
            ProblemKind.OUT_OF_RANGE,
            f"is {-occurred_at.seconds} s before 1970: send when the learner acted, or leave it out when not known",
        )
    elif occurred_at > Instant(now.seconds + FUTURE_MAX_S, now.nanoseconds):
        yield Problem(
            "occurred_at",
            ProblemKind.FROM_THE_FUTURE,
            f"is {occurred_at.seconds - now.seconds} s ahead of this server's clock, at most {FUTURE_MAX_S}: "
            "set the sending clock, or leave it out when not known",
        )


def _text(field: str, value: str, characters_max: int, *, required: str = "") -> Iterator[Problem]:
    if not value:
        if required:
            yield Problem(field, ProblemKind.MISSING, f"is empty: send {required}")
        return
    if len(value) > characters_max:
        yield Problem(
            field,
            ProblemKind.TOO_LONG,
            f"has {len(value)} characters ({_shown(value)}), at most {characters_max}: shorten it",
        )
    if control := _CONTROL_CHARACTER.search(value):
        yield Problem(
            field,
            ProblemKind.CONTROL_CHARACTER,
            f"has the control character U+{ord(control[0]):04X} at position {control.start()}: remove it",
        )
    elif value.isspace():
        yield Problem(field, ProblemKind.MISSING, "is only white space: send an id, or leave it out where it may be")


def _shown(value: str) -> str:
    return repr(value if len(value) <= _SHOWN_CHARACTERS else value[:_SHOWN_CHARACTERS] + "...")
