"""Events of the simulated learners, encoded as producers send them. The number of an event determines its id."""

from __future__ import annotations

from functools import cache
from typing import Any

from cairn.v1 import events_pb2
from tests.learner_events import message, record

LEARNERS = 9
# The learners whose values are encrypted.
ENCRYPTED = (0, 3, 6)

INTERACTIONS = (
    events_pb2.INTERACTION_KIND_OPENED,
    events_pb2.INTERACTION_KIND_COMPLETED,
    events_pb2.INTERACTION_KIND_DISMISSED,
)

# Key, value and headers of a record.
Encoded = tuple[bytes, bytes, Any]


@cache
def encrypted_keys() -> frozenset[bytes]:
    """The record keys of the learners whose values are encrypted."""
    return frozenset(response(0, learner)[0] for learner in ENCRYPTED)


@cache
def response(number: int, learner: int) -> Encoded:
    """A response."""
    skills = [f"skill-{number % 4}", f"skill-{number % 3 + 4}"]
    return _record(message(number, f"learner-{learner}", skills=skills))


@cache
def other_response(number: int, learner: int) -> Encoded:
    """Another response under the id of a response."""
    return _record(message(number, f"learner-{learner}", skills=["skill-other"]))


@cache
def response_on_new_skills(number: int, learner: int) -> Encoded:
    """A response on 16 skills that nobody has met."""
    skills = [f"made-up-{number}-{skill}" for skill in range(16)]
    return _record(message(number, f"learner-{learner}", skills=skills))


@cache
def correction(number: int, target: int, learner: int, response: float | None) -> Encoded:
    """A correction of the response with this number; None: it never happened."""
    body = events_pb2.CorrectionEvent(target_source="tests", target_event_id=f"event-{target}")
    if response is None:
        body.voided.SetInParent()
    else:
        body.regrade.response = response
    return _record(_other(number, learner, correction=body))


@cache
def interaction(number: int, learner: int, kind: int) -> Encoded:
    """An interaction with a resource."""
    body = events_pb2.InteractionEvent(resource=f"resource-{number % 5}", kind=kind)
    return _record(_other(number, learner, interaction=body))


@cache
def erasure(number: int, learner: int) -> Encoded:
    """The erasure of a learner."""
    return _record(_other(number, learner, erasure=events_pb2.ErasureEvent()))


def _other(number: int, learner: int, **body: Any) -> events_pb2.LearnerEvent:
    event = message(number, f"learner-{learner}")
    event.ClearField("assessment")
    event.MergeFrom(events_pb2.LearnerEvent(**body))
    return event


def _record(event: events_pb2.LearnerEvent) -> Encoded:
    made = record(event)
    assert made.key is not None
    assert made.value is not None
    return made.key, made.value, tuple(made.headers)
