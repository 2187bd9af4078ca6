"""The events of a learner, as read by a fold."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from enum import IntEnum
from typing import NamedTuple

CONTENT_BYTES = 3
CONTENT_UNKNOWN = bytes(CONTENT_BYTES)
"""Of an event of which only the fingerprint was kept, as earlier releases did."""

_KIND_BITS = 0b111


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


class ContentKind(IntEnum):
    """What sort of event it is, as its content says it."""

    UNKNOWN = 0
    ASSESSMENT = 1
    INTERACTION = 2
    PREFERENCE = 3
    CORRECTION = 4
    ERASURE = 5


def content_of(kind: int, said: bytes, numbers: int = 0, crc32: Callable[[bytes, int], int] = zlib.crc32) -> bytes:
    """The content of an event: its kind, a ContentKind, and 21 bits that stand for what the sender said.

    Args:
        kind: a ContentKind.
        said: the texts of the event.
        numbers: 32 bits that stand for its numbers; formatting them as text would take longer than the rest.
        crc32: looked up once.
    """
    return (crc32(said, numbers) & 0xFFFFF8 | kind).to_bytes(3, "little")


def kind_of(content: bytes) -> ContentKind:
    """The kind of the event with this content; UNKNOWN where the content is not known."""
    return ContentKind(content[0] & _KIND_BITS)


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
        content: three bytes that stand for what the sender said; see `content_of`.
        revises: whether it replaces the outcome of an earlier event of the same fingerprint, if there is one.
        former: the fingerprint that earlier releases derived for it; empty: none. An event applied under that one is
            the same event.
    """

    fingerprint: bytes
    response: float
    at_s: int
    item: str
    activity: str
    skills: tuple[str, ...]
    grain: Grain
    resource: str
    content: bytes = CONTENT_UNKNOWN
    revises: bool = False
    former: bytes = b""


class InteractionEvent(NamedTuple):
    """A learner did something with a resource.

    Attributes:
        fingerprint: eight bytes that identify the event's source and id.
        at_s: when, Unix seconds; 0: not known.
        resource: the resource.
        kind: what they did; never ANSWERED, which responses say.
        content: three bytes that stand for what the sender said.
    """

    fingerprint: bytes
    at_s: int
    resource: str
    kind: InteractionKind
    content: bytes = CONTENT_UNKNOWN


class PreferenceEvent(NamedTuple):
    """A learner, or somebody on their behalf, stated preferences. None leaves a field unchanged; empty clears it.

    Attributes:
        fingerprint: eight bytes that identify the event's source and id.
        goals: distinct skills that the learner works towards.
        interests: distinct topics that the learner likes.
        formats: distinct kinds of resource that the learner prefers, by the numbers of the contract.
        pace: by the number of the contract; 0 leaves it unchanged.
        content: three bytes that stand for what the sender said.
    """

    fingerprint: bytes
    goals: tuple[str, ...] | None
    interests: tuple[str, ...] | None
    formats: tuple[int, ...] | None
    pace: int
    content: bytes = CONTENT_UNKNOWN


class CorrectionEvent(NamedTuple):
    """A response was wrong.

    Attributes:
        fingerprint: eight bytes that identify the event's source and id.
        target: the fingerprint of the event that was wrong.
        response: the correct outcome, on [0, 1], of float32 precision; VOIDED: the response does not count.
        content: three bytes that stand for what the sender said.
    """

    fingerprint: bytes
    target: bytes
    response: float
    content: bytes = CONTENT_UNKNOWN


class ErasureEvent(NamedTuple):
    """Everything known about the learner must be erased.

    Attributes:
        fingerprint: eight bytes that identify the event's source and id.
        content: three bytes that stand for what the sender said.
    """

    fingerprint: bytes
    content: bytes = CONTENT_UNKNOWN


VOIDED = -1.0
"""Used as a response: the response does not count."""

LearnerEvent = AssessmentEvent | InteractionEvent | PreferenceEvent | CorrectionEvent | ErasureEvent
