"""A learner's response to an item, or a score on an activity: as submitted, and as stamped for the log."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

SKILLS_MAX = 16


class Grain(IntEnum):
    """How much of the learner's work one score is about."""

    UNSPECIFIED = 0
    ITEM = 1
    ACTIVITY = 2


class SkillsFrom(IntEnum):
    """Where an event's skills came from."""

    EVENT = 1
    CATALOG = 2
    NONE = 3


@dataclass(frozen=True, slots=True)
class Score:
    """Points on a scale whose ends are known."""

    raw: float
    min: float
    max: float


@dataclass(frozen=True, slots=True)
class Assessment:
    """A response to an item, or a score on an activity, as a platform knows it. Nothing about it has been checked.

    Attributes:
        item: the question answered; empty when the score is on an activity.
        activity: the quiz, problem set or lesson; empty when not known.
        skills: the skills it assesses, as the platform names them; empty: the catalog's.
        outcome: right or wrong, or points; None when neither was sent.
        attempt: which try this was, from 1.
        hints: hints asked for before answering.
        duration_ms: time from shown to answered.
        grain: what was scored: a `Grain`, or a number that names none.
    """

    item: str = ""
    activity: str = ""
    skills: tuple[str, ...] = ()
    outcome: bool | Score | None = None
    attempt: int | None = None
    hints: int | None = None
    duration_ms: int | None = None
    grain: int = Grain.UNSPECIFIED

    @property
    def effective_grain(self) -> int:
        """The grain, an item when it is not stated and there is one, else an activity."""
        if self.grain == Grain.UNSPECIFIED:
            return Grain.ITEM if self.item else Grain.ACTIVITY
        return self.grain


@dataclass(frozen=True, slots=True)
class StampedAssessment:
    """An assessment as it goes on the log.

    Attributes:
        assessment: what was submitted, checked.
        response: the outcome on [0, 1].
        skills: the skills it is evidence of.
        skills_from: where they came from.
        resource: the catalog resource it was given in; empty when it is none.
    """

    assessment: Assessment
    response: float
    skills: tuple[str, ...]
    skills_from: SkillsFrom
    resource: str


AssessedSkills = Callable[[str], tuple[str, ...] | None]
"""The skills that the tenant's resource of an id assesses, heaviest first; None when it has no such resource."""


def normalised(outcome: bool | Score) -> float:  # noqa: FBT001 - a response that is right or wrong is a bool.
    """The outcome on [0, 1].

    Args:
        outcome: right or wrong, or points with finite `min < max` and `raw` between them.
    """
    if isinstance(outcome, bool):
        return 1.0 if outcome else 0.0
    raw, low, high = outcome.raw, outcome.min, outcome.max
    if math.isinf(high - low):
        # The span of two huge numbers overflows; that of their halves does not.
        raw, low, high = raw / 2, low / 2, high / 2
    # The sum turns -0.0 into 0.0: one value, one encoding.
    return min((raw - low) / (high - low), 1.0) + 0.0


def stamp(assessment: Assessment, assessed_skills: AssessedSkills) -> StampedAssessment:
    """The assessment with its response, the skills it is evidence of, and the resource it was given in.

    The outcome has been checked. The platform's own skills come first; else those of the item's resource; else those of
    the activity's. An item whose resource assesses nothing leaves the word to the activity.
    """
    if assessment.outcome is None:
        raise AssertionError("an assessment without an outcome passed the check")
    of_item = assessed_skills(assessment.item) if assessment.item else None
    of_activity = assessed_skills(assessment.activity) if assessment.activity else None
    resource = ""
    if of_item is not None:
        resource = assessment.item
    elif of_activity is not None:
        resource = assessment.activity
    skills, skills_from = assessment.skills, SkillsFrom.EVENT
    if not skills:
        skills = (of_item or of_activity or ())[:SKILLS_MAX]
        skills_from = SkillsFrom.CATALOG if skills else SkillsFrom.NONE
    return StampedAssessment(assessment, normalised(assessment.outcome), skills, skills_from, resource)
