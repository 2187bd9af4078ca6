"""The events of a learner, as read by a fold."""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple


class Grain(IntEnum):
    """How much of the learner's work one response is about."""

    ITEM = 0
    ACTIVITY = 1


class InteractionKind(IntEnum):
    """What a learner did with a resource; of the first three, the state keeps the furthest."""

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
    """A learner, or somebody on their behalf, stated preferences. None leaves a field unchanged; empty clears it.

    Attributes:
        fingerprint: eight bytes that identify the event's source and id.
        goals: distinct skills that the learner works towards.
        interests: distinct topics that the learner likes.
        formats: distinct kinds of resource that the learner prefers, by the numbers of the contract.
        pace: by the number of the contract; 0 leaves it unchanged.
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
        target: the fingerprint of the event that was wrong.
        response: the correct outcome, on [0, 1], of float32 precision; VOIDED: the response does not count.
    """

    fingerprint: bytes
    target: bytes
    response: float


class ErasureEvent(NamedTuple):
    """Everything known about the learner must be erased.

    Attributes:
        fingerprint: eight bytes that identify the event's source and id.
    """

    fingerprint: bytes


VOIDED = -1.0
"""Used as a response: the response does not count."""

LearnerEvent = AssessmentEvent | InteractionEvent | PreferenceEvent | CorrectionEvent | ErasureEvent
