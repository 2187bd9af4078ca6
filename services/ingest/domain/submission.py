"""What a platform submits, and what ingest makes of it for the log."""

from __future__ import annotations

from dataclasses import dataclass

from services.common.auth.identity import natural_event_id
from services.ingest.domain.assessment import Assessment, Score, StampedAssessment
from services.ingest.domain.correction import Correction, Erasure, Void
from services.ingest.domain.interaction import Interaction
from services.ingest.domain.preference import Preference


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


SubmittedBody = Assessment | Interaction | Preference | Correction
"""What happened, as a platform says it."""

AcceptedBody = StampedAssessment | Interaction | Preference | Correction | Erasure
"""What happened, as it goes on the log."""


@dataclass(frozen=True, slots=True)
class Submission:
    """One event as a platform knows it. Nothing about it has been checked.

    Attributes:
        learner_id: the learner as the platform knows them.
        source: the system that observed the event.
        body: what happened; None when the platform did not say.
        event_id: the platform's id of the event; empty: one is derived.
        occurred_at: when the learner acted; None when not known.
        source_sequence: the source's own sequence number or row id.
    """

    learner_id: str
    source: str
    body: SubmittedBody | None
    event_id: str = ""
    occurred_at: Instant | None = None
    source_sequence: str = ""

    @property
    def assessment(self) -> Assessment | None:
        """The body, when it is an assessment."""
        return self.body if isinstance(self.body, Assessment) else None


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
        body: what happened, checked and complete.
    """

    event_id: str
    tenant: str
    learner: str
    source: str
    occurred_at: Instant | None
    received_at: Instant
    body: AcceptedBody


def event_id_of(submission: Submission, tenant: str, learner: str) -> str:
    """The event's id: the platform's, or UUIDv5 of its natural key.

    Without an id, a time and a sequence of its source, two submissions that say the same are one event: two answers of
    a learner to one item, or a wish that was changed and changed back.
    """
    if submission.event_id:
        return submission.event_id
    occurred_at = "" if submission.occurred_at is None else str(submission.occurred_at)
    # The order within an assessment's key is that of the first release: a file loaded then is the same file now.
    said = _said_by(submission)
    return natural_event_id((tenant, submission.source, learner, *said, occurred_at, submission.source_sequence))


def _said_by(submission: Submission) -> tuple[str, ...]:
    """What tells the body apart from others of the learner.

    Two parts for an assessment, more for every other kind, each kind's own name first: no two kinds share a key.
    """
    body = submission.body
    match body:
        case Assessment():
            return body.item, body.activity
        case Interaction():
            return "interaction", body.resource, str(int(body.kind))
        case Preference():
            return (
                "preference",
                *_optional(body.goals),
                *_optional(body.interests),
                *_optional(None if body.formats is None else tuple(str(int(kind)) for kind in body.formats)),
                str(int(body.pace)),
            )
        case Correction():
            return "correction", body.target_source or submission.source, body.target_event_id, _change(body)
        case None:
            raise AssertionError("an event without a body passed the check")


def _optional(values: tuple[str, ...] | None) -> tuple[str, ...]:
    """The values after their number, so that a list never runs into the next; nothing said is not an empty list."""
    return ("",) if values is None else (str(len(values)), *values)


def _change(correction: Correction) -> str:
    match correction.change:
        case Score() as score:
            # Shortest text that reads back as the same number.
            return f"score {score.raw!r} {score.min!r} {score.max!r}"
        case bool() as correct:
            return "correct" if correct else "incorrect"
        case Void():
            return "void"
        case None:
            raise AssertionError("a correction without a change passed the check")
