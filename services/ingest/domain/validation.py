"""Checks of a submission before it enters the log. Every problem names field, value and remedy."""

from __future__ import annotations

from collections.abc import Iterator

from services.ingest.domain.problems import (
    EVENT_ID_CHARACTERS_MAX,
    ID_CHARACTERS_MAX,
    Problem,
    ProblemKind,
    text_problems,
)
from services.ingest.domain.submission import Instant, Submission

SEQUENCE_CHARACTERS_MAX = 128
FUTURE_MAX_S = 5 * 60

_NANOSECONDS_PER_SECOND = 1_000_000_000
# 9999-12-31T23:59:59Z, the last second of a Timestamp.
_SECONDS_MAX = 253_402_300_799


def problems_of(submission: Submission, now: Instant) -> list[Problem]:
    """Everything wrong with a submission; empty when it may enter the log.

    Args:
        submission: as a platform sent it, normalised.
        now: the server's clock.
    """
    learner, source = "the platform's id of the learner", "the name of the system that saw the event"
    problems = [
        *text_problems("learner_id", submission.learner_id, ID_CHARACTERS_MAX, required=learner),
        *text_problems("source", submission.source, ID_CHARACTERS_MAX, required=source),
        *text_problems("event_id", submission.event_id, EVENT_ID_CHARACTERS_MAX),
        *text_problems("source_sequence", submission.source_sequence, SEQUENCE_CHARACTERS_MAX),
    ]
    if submission.occurred_at is not None:
        problems += _occurred_at(submission.occurred_at, now)
    if submission.body is None:
        reason = "is not set: say what happened, for example with assessment, interaction, preference or correction"
        problems.append(Problem("body", ProblemKind.MISSING, reason))
    else:
        problems += submission.body.problems(submission)
        if submission.revises and not submission.body.revisable:
            reason = (
                "is true, but only an assessment can be revised: leave it out, and send what holds now as a new event"
            )
            problems.append(Problem("revises", ProblemKind.CONTRADICTORY, reason))
    return problems


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
