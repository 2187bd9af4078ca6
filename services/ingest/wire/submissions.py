"""Submissions to and from their messages."""

from __future__ import annotations

from cairn.v1 import ingest_pb2
from services.ingest.domain.submission import Instant, Submission
from services.ingest.wire.kinds import SUBMITTED_KINDS

_READ = {kind.name: kind.read for kind in SUBMITTED_KINDS}
_KINDS = {kind.body: kind for kind in SUBMITTED_KINDS}


def submission_of(message: ingest_pb2.EventSubmission) -> Submission:
    """A submission as it was sent; the domain checks it."""
    which = message.WhichOneof("body")
    return Submission(
        learner_id=message.learner_id,
        source=message.source,
        body=None if which is None else _READ[which](getattr(message, which)),
        event_id=message.event_id,
        occurred_at=(
            Instant(message.occurred_at.seconds, message.occurred_at.nanos) if message.HasField("occurred_at") else None
        ),
        source_sequence=message.source_sequence,
        ordinal=message.ordinal,
        former_id_taken=message.former_id_taken,
        revises=message.revises,
    )


def submission_message(submission: Submission) -> ingest_pb2.EventSubmission:
    """The message that sends a submission."""
    message = ingest_pb2.EventSubmission(
        event_id=submission.event_id,
        learner_id=submission.learner_id,
        source=submission.source,
        source_sequence=submission.source_sequence,
        ordinal=submission.ordinal,
        former_id_taken=submission.former_id_taken,
        revises=submission.revises,
    )
    if submission.occurred_at is not None:
        message.occurred_at.seconds = submission.occurred_at.seconds
        message.occurred_at.nanos = submission.occurred_at.nanoseconds
    if submission.body is not None:
        kind = _KINDS[type(submission.body)]
        kind.write(submission.body, getattr(message, kind.name))
    return message
