"""Accepted events as records of the log."""

from __future__ import annotations

from cairn.v1 import events_pb2
from services.ingest.domain.submission import AcceptedEvent
from services.ingest.wire.kinds import LOGGED_KINDS

_KINDS = {kind.body: kind for kind in LOGGED_KINDS}
_EVENT_TYPES = {kind.body: kind.event_type for kind in LOGGED_KINDS}


def event_type_of(event: AcceptedEvent) -> str:
    """The full name of the message that says what happened: the record's `ce_type`."""
    return _EVENT_TYPES[type(event.body)]


def learner_event_value(event: AcceptedEvent) -> bytes:
    """The record's value: a LearnerEvent, serialized deterministically."""
    message = events_pb2.LearnerEvent(
        event_id=event.event_id,
        tenant=event.tenant,
        learner=event.learner,
        source=event.source,
        former_event_id=event.former_event_id,
        revises=event.revises,
    )
    if event.occurred_at is not None:
        # Also when both are 0, which is a known time: the start of 1970.
        message.occurred_at.SetInParent()
        message.occurred_at.seconds = event.occurred_at.seconds
        message.occurred_at.nanos = event.occurred_at.nanoseconds
    message.received_at.seconds = event.received_at.seconds
    message.received_at.nanos = event.received_at.nanoseconds
    kind = _KINDS[type(event.body)]
    kind.write(event.body, getattr(message, kind.name))
    return message.SerializeToString(deterministic=True)
