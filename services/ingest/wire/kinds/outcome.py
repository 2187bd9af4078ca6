"""The outcome of a response, which assessments and corrections share."""

from __future__ import annotations

from cairn.v1 import events_pb2
from services.ingest.domain.outcome import Score
from services.ingest.wire.kinds.kind import JsonObject


class ScoreObject(JsonObject):
    """`score` in a JSON line."""

    raw: float
    min: float
    max: float


class OutcomeFields(JsonObject):
    """The outcome in a JSON line; at most one of the fields is set."""

    correct: bool | None = None
    score: ScoreObject | None = None


def score_of(message: events_pb2.Score) -> Score:
    """The score of a message."""
    return Score(message.raw, message.min, message.max)


def write_score(score: Score, message: events_pb2.Score) -> None:
    """Fill a message."""
    # Also when every number is 0: it must be visible which outcome is set.
    message.SetInParent()
    message.raw = score.raw
    message.min = score.min
    message.max = score.max


def outcome_of_line(line: OutcomeFields) -> bool | Score | None:
    """The outcome of a JSON line; None when it has none."""
    return line.correct if line.score is None else Score(line.score.raw, line.score.min, line.score.max)
