"""The outcome of a response: right or wrong, or points on a scale."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TypeVar

from services.ingest.domain.problems import Problem, ProblemKind

_Outcome = TypeVar("_Outcome")

# Of a scale's range.
_NOISE = 1e-9
_FLOAT32 = struct.Struct("<f")


@dataclass(frozen=True, slots=True)
class Score:
    """Points on a scale with a known minimum and maximum."""

    raw: float
    min: float
    max: float


def without_noise(outcome: _Outcome) -> _Outcome | Score:
    """The outcome; points that differ from a bound of their scale by what arithmetic leaves over are that bound.

    The same object for all others, so that what is wrong with them can be named.
    """
    if not isinstance(outcome, Score) or outcome.raw in (outcome.min, outcome.max):
        return outcome
    # The difference of two huge numbers overflows; the difference of their halves does not.
    tolerance = 2 * _NOISE * (outcome.max / 2 - outcome.min / 2)
    for bound in (outcome.min, outcome.max):
        if abs(outcome.raw - bound) <= tolerance < math.inf:
            return replace(outcome, raw=bound)
    return outcome


def normalised(outcome: bool | Score) -> float:  # noqa: FBT001 - a response that is right or wrong is a bool.
    """The outcome on [0, 1].

    Args:
        outcome: right or wrong, or points with finite `min < max` and `raw` between them.
    """
    if isinstance(outcome, bool):
        return 1.0 if outcome else 0.0
    raw, low, high = outcome.raw, outcome.min, outcome.max
    if math.isinf(high - low):
        # The difference of two huge numbers overflows; the difference of their halves does not.
        raw, low, high = raw / 2, low / 2, high / 2
    # Adding 0.0 turns -0.0 into 0.0: one value, one encoding.
    return min((raw - low) / (high - low), 1.0) + 0.0


def folded(outcome: bool | Score) -> float:  # noqa: FBT001 - a response that is right or wrong is a bool.
    """The outcome on [0, 1] in the precision of the learner's journal, float32: what the fold can tell apart.

    Args:
        outcome: as for `normalised`.
    """
    return float(_FLOAT32.unpack(_FLOAT32.pack(normalised(outcome)))[0])


def text_of(outcome: bool | Score | None) -> str:  # noqa: FBT001 - a response that is right or wrong is a bool.
    """An outcome as text. Empty for None."""
    match outcome:
        case Score(raw, low, high):
            # Each is the shortest text that reads back as the same number; adding 0.0 turns -0.0 into 0.0.
            return f"{raw + 0.0!r} of {low + 0.0!r} to {high + 0.0!r}"
        case None:
            return ""
        case correct:
            return "right" if correct else "wrong"


def score_problems(field: str, score: Score) -> Iterator[Problem]:
    """What is wrong with a score; `field` is its path."""
    not_finite = [name for name in ("raw", "min", "max") if not math.isfinite(getattr(score, name))]
    for name in not_finite:
        reason = f"is {getattr(score, name)}: send a finite number"
        yield Problem(f"{field}.{name}", ProblemKind.NOT_FINITE, reason)
    if not_finite:
        return
    if score.max <= score.min:
        reason = f"is {score.max:g}, not above min {score.min:g}: send the maximum number of points"
        yield Problem(f"{field}.max", ProblemKind.OUT_OF_RANGE, reason)
    elif not score.min <= score.raw <= score.max:
        reason = f"is {score.raw:g}, outside min {score.min:g} to max {score.max:g}: correct the points or the scale"
        yield Problem(f"{field}.raw", ProblemKind.OUT_OF_RANGE, reason)
