"""Protobuf messages to and from ingest's own types."""

from __future__ import annotations

from cairn.v1 import events_pb2, ingest_pb2
from services.ingest.application.ports import FieldReason, SubmissionResult
from services.ingest.application.publish import EventOutcome, Outcome
from services.ingest.domain.assessment import AcceptedEvent, Assessment, Instant, Score, Submission

ASSESSMENT_EVENT_TYPE = "cairn.v1.AssessmentEvent"

_STATUS_OF_OUTCOME = {
    Outcome.ACCEPTED: ingest_pb2.EVENT_STATUS_ACCEPTED,
    Outcome.DUPLICATE: ingest_pb2.EVENT_STATUS_DUPLICATE,
    Outcome.REJECTED: ingest_pb2.EVENT_STATUS_REJECTED,
}


def submission_of(message: ingest_pb2.EventSubmission) -> Submission:
    """A submission as it was sent; the domain checks it."""
    return Submission(
        learner_id=message.learner_id,
        source=message.source,
        assessment=_assessment_of(message.assessment) if message.HasField("assessment") else None,
        event_id=message.event_id,
        occurred_at=(
            Instant(message.occurred_at.seconds, message.occurred_at.nanos) if message.HasField("occurred_at") else None
        ),
        source_sequence=message.source_sequence,
    )


def submission_message(submission: Submission) -> ingest_pb2.EventSubmission:
    """The message that sends a submission."""
    message = ingest_pb2.EventSubmission(
        event_id=submission.event_id,
        learner_id=submission.learner_id,
        source=submission.source,
        source_sequence=submission.source_sequence,
    )
    if submission.occurred_at is not None:
        message.occurred_at.seconds = submission.occurred_at.seconds
        message.occurred_at.nanos = submission.occurred_at.nanoseconds
    if submission.assessment is not None:
        assessment = submission.assessment
        message.assessment.SetInParent()
        body = message.assessment
        body.item = assessment.item
        body.activity = assessment.activity
        body.skills.extend(assessment.skills)
        # Enums are open in proto3: an unknown number travels, and the server names it.
        body.grain = assessment.grain  # type: ignore[assignment]  # The stubs want a ValueType.
        _set_observations(body, assessment)
    return message


def learner_event_value(event: AcceptedEvent) -> bytes:
    """The record's value: a LearnerEvent, serialized deterministically."""
    message = events_pb2.LearnerEvent(
        event_id=event.event_id, tenant=event.tenant, learner=event.learner, source=event.source
    )
    if event.occurred_at is not None:
        # Also when both are 0: the time is known to be the epoch's beginning.
        message.occurred_at.SetInParent()
        message.occurred_at.seconds = event.occurred_at.seconds
        message.occurred_at.nanos = event.occurred_at.nanoseconds
    message.received_at.seconds = event.received_at.seconds
    message.received_at.nanos = event.received_at.nanoseconds
    body = message.assessment
    body.item = event.assessment.item
    body.activity = event.assessment.activity
    body.skills.extend(event.skills)
    body.skills_from = event.skills_from.value  # type: ignore[assignment]  # The stubs want a ValueType.
    body.response = event.response
    body.grain = event.assessment.effective_grain  # type: ignore[assignment]  # The stubs want a ValueType.
    body.resource = event.resource
    _set_observations(body, event.assessment)
    return message.SerializeToString(deterministic=True)


def response_of(outcomes: list[EventOutcome]) -> ingest_pb2.PublishEventsResponse:
    """The reply about a batch."""
    response = ingest_pb2.PublishEventsResponse()
    for index, outcome in enumerate(outcomes):
        result = response.results.add(
            status=_STATUS_OF_OUTCOME[outcome.outcome],
            event_id=outcome.event_id,
            freshness_token=outcome.freshness_token,
        )
        if outcome.position is not None:
            result.position.SetInParent()
            result.position.partition = outcome.position.partition
            result.position.offset = outcome.position.offset
        for problem in outcome.problems:
            result.problems.add(field=f"{_path(index)}{problem.field}", reason=problem.reason)
    return response


def results_of(response: ingest_pb2.PublishEventsResponse) -> list[SubmissionResult]:
    """What a reply says about each event; fields are named within the event, without its place in the request."""
    return [
        SubmissionResult(
            duplicate=result.status == ingest_pb2.EVENT_STATUS_DUPLICATE,
            problems=tuple(
                FieldReason(problem.field.removeprefix(_path(index)), problem.reason) for problem in result.problems
            ),
        )
        for index, result in enumerate(response.results)
    ]


def _path(index: int) -> str:
    return f"events[{index}]."


def _assessment_of(message: ingest_pb2.AssessmentSubmission) -> Assessment:
    which = message.WhichOneof("outcome")
    outcome: bool | Score | None = None
    if which == "correct":
        outcome = message.correct
    elif which == "score":
        outcome = Score(message.score.raw, message.score.min, message.score.max)
    return Assessment(
        item=message.item,
        activity=message.activity,
        skills=tuple(message.skills),
        outcome=outcome,
        attempt=message.attempt if message.HasField("attempt") else None,
        hints=message.hints if message.HasField("hints") else None,
        duration_ms=message.duration_ms if message.HasField("duration_ms") else None,
        grain=message.grain,
    )


def _set_observations(
    message: ingest_pb2.AssessmentSubmission | events_pb2.AssessmentEvent, assessment: Assessment
) -> None:
    if isinstance(assessment.outcome, Score):
        message.score.SetInParent()
        message.score.raw = assessment.outcome.raw
        message.score.min = assessment.outcome.min
        message.score.max = assessment.outcome.max
    elif assessment.outcome is not None:
        message.correct = assessment.outcome
    if assessment.attempt is not None:
        message.attempt = assessment.attempt
    if assessment.hints is not None:
        message.hints = assessment.hints
    if assessment.duration_ms is not None:
        message.duration_ms = assessment.duration_ms
