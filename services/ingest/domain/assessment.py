"""What a platform submits, and what ingest makes of it for the log."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

from services.common.identity import natural_event_id

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


@dataclass(frozen=True, slots=True, order=True)
class Instant:
    """A point in time.

    Attributes:
        seconds: whole seconds since 1970-01-01T00:00:00Z.
        nanoseconds: the rest, 0 to 999,999,999 where the instant is valid.
    """

    seconds: int
    nanoseconds: int = 0

    def __str__(self) -> str:
        return f"{self.seconds}.{self.nanoseconds:09d}"


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
class Submission:
    """One event as a platform knows it. Nothing about it has been checked.

    Attributes:
        learner_id: the learner as the platform knows them.
        source: the system that observed the event.
        assessment: what happened; None when the platform did not say.
        event_id: the platform's id of the event; empty: one is derived.
        occurred_at: when the learner acted; None when not known.
        source_sequence: the source's own sequence number or row id.
    """

    learner_id: str
    source: str
    assessment: Assessment | None
    event_id: str = ""
    occurred_at: Instant | None = None
    source_sequence: str = ""


@dataclass(frozen=True, slots=True)
class AcceptedEvent:
    """An event as it goes on the log, where it never changes again.

    Attributes:
        event_id: identity within the source.
        tenant: whose learner it is.
        learner: the learner's pseudonym.
        source: the system that observed it.
        occurred_at: when the learner acted; None when not known.
        received_at: when it was accepted.
        assessment: what was submitted, checked.
        response: the outcome on [0, 1].
        skills: the skills it is evidence of.
        skills_from: where they came from.
        resource: the catalog resource it was given in; empty when it is none.
    """

    event_id: str
    tenant: str
    learner: str
    source: str
    occurred_at: Instant | None
    received_at: Instant
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


def stamp(assessment: Assessment, assessed_skills: AssessedSkills) -> tuple[tuple[str, ...], SkillsFrom, str]:
    """The skills the response is evidence of, where they came from, and the resource it was given in.

    The platform's own skills come first; else those of the item's resource; else those of the activity's. An item whose
    resource assesses nothing leaves the word to the activity.
    """
    of_item = assessed_skills(assessment.item) if assessment.item else None
    of_activity = assessed_skills(assessment.activity) if assessment.activity else None
    resource = ""
    if of_item is not None:
        resource = assessment.item
    elif of_activity is not None:
        resource = assessment.activity
    if assessment.skills:
        return assessment.skills, SkillsFrom.EVENT, resource
    from_catalog = of_item or of_activity
    if from_catalog:
        return from_catalog[:SKILLS_MAX], SkillsFrom.CATALOG, resource
    return (), SkillsFrom.NONE, resource


def event_id_of(submission: Submission, assessment: Assessment, tenant: str, learner: str) -> str:
    """The event's id: the platform's, or UUIDv5 of its natural key.

    Without an id, a time and a sequence of its source, two answers of a learner to one item are one event.
    """
    if submission.event_id:
        return submission.event_id
    occurred_at = "" if submission.occurred_at is None else str(submission.occurred_at)
    return natural_event_id(
        (
            tenant,
            submission.source,
            learner,
            assessment.item,
            assessment.activity,
            occurred_at,
            submission.source_sequence,
        )
    )
