"""The events of a learner, as a fold reads them."""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple


class Grain(IntEnum):
    """How much of the learner's work one response is about."""

    ITEM = 0
    ACTIVITY = 1


class InteractionKind(IntEnum):
    """What a learner did with a resource; of the first three the furthest they came is kept."""

    OPENED = 1
    ANSWERED = 2
    COMPLETED = 3
    DISMISSED = 4


class AssessmentEvent(NamedTuple):
    """A learner's response to an item, or a score on an activity.

    Attributes:
        fingerprint: eight bytes that identify the event's source and id.
        response: the outcome on [0, 1], of float32 precision, so that a fold from the journal reads the same number.
        at_s: when the learner acted, Unix seconds; 0: not known.
        item: the question; empty when the grain is an activity.
        activity: the quiz, problem set or lesson; empty when not known.
        skills: distinct skills the response is evidence of.
        grain: what was scored.
        resource: the catalog resource it was given in; empty when there is none.
    """

    fingerprint: bytes
    response: float
    at_s: int
    item: str
    activity: str
    skills: tuple[str, ...]
    grain: Grain
    resource: str


class InteractionEvent(NamedTuple):
    """A learner did something with a resource.

    Attributes:
        fingerprint: eight bytes that identify the event's source and id.
        at_s: when, Unix seconds; 0: not known.
        resource: the resource.
        kind: what they did; never ANSWERED, which responses say.
    """

    fingerprint: bytes
    at_s: int
    resource: str
    kind: InteractionKind


class PreferenceEvent(NamedTuple):
    """A learner, or somebody for them, said what they want. None leaves a field as it was; empty: none from now on.

    Attributes:
        fingerprint: eight bytes that identify the event's source and id.
        goals: distinct skills they work towards.
        interests: distinct topics they like.
        formats: distinct kinds of resource they prefer, by the numbers of the contract.
        pace: number of the contract; 0 leaves it as it was.
    """

    fingerprint: bytes
    goals: tuple[str, ...] | None
    interests: tuple[str, ...] | None
    formats: tuple[int, ...] | None
    pace: int


class CorrectionEvent(NamedTuple):
    """A response was wrong.

    Attributes:
        fingerprint: eight bytes that identify the event's source and id.
        target: the same of the event that was wrong.
        response: what should have been observed, on [0, 1], of float32 precision; VOIDED: it never happened.
    """

    fingerprint: bytes
    target: bytes
    response: float


class ErasureEvent(NamedTuple):
    """Everything known about the learner must be forgotten.

    Attributes:
        fingerprint: eight bytes that identify the event's source and id.
    """

    fingerprint: bytes


VOIDED = -1.0
"""In place of a response: it counts as not given."""

LearnerEvent = AssessmentEvent | InteractionEvent | PreferenceEvent | CorrectionEvent | ErasureEvent
