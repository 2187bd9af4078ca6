"""What happens to learners, as a fold reads it."""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple


class Grain(IntEnum):
    """How much of the learner's work one response is about."""

    ITEM = 0
    ACTIVITY = 1


class AssessmentEvent(NamedTuple):
    """A learner's response to an item, or a score on an activity.

    Attributes:
        fingerprint: eight bytes that stand for the event's source and id.
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
