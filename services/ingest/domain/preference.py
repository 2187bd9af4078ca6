"""What a learner wants to work towards, and how."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

GOALS_MAX = 16
INTERESTS_MAX = 32


class Pace(IntEnum):
    """How much of a challenge a learner wants."""

    UNSPECIFIED = 0
    GENTLE = 1
    STEADY = 2
    BRISK = 3


class ResourceKind(IntEnum):
    """What a resource is, as the catalog says it."""

    LESSON = 1
    VIDEO = 2
    PRACTICE = 3
    GAME = 4
    ASSESSMENT = 5
    ACTIVITY = 6


@dataclass(frozen=True, slots=True)
class Preference:
    """What a learner wants, as a platform knows it. Nothing about it has been checked.

    Attributes:
        goals: skills to work towards; empty: none from now on; None: as before.
        interests: topics the learner likes; likewise.
        formats: kinds of resource the learner prefers, each a `ResourceKind` or a number that names none; likewise.
        pace: a `Pace`, or a number that names none; unspecified: as before.
    """

    goals: tuple[str, ...] | None = None
    interests: tuple[str, ...] | None = None
    formats: tuple[int, ...] | None = None
    pace: int = Pace.UNSPECIFIED
