"""Protobuf messages to and from ingest's own types."""

from __future__ import annotations

from cairn.v1 import events_pb2, ingest_pb2
from services.ingest.application.erase import ErasedLearner
from services.ingest.application.ports import FieldReason, SubmissionResult
from services.ingest.application.publish import EventOutcome, Outcome
from services.ingest.domain.assessment import Assessment, Score, StampedAssessment, normalised
from services.ingest.domain.correction import Correction, Erasure, Void
from services.ingest.domain.interaction import Interaction
from services.ingest.domain.preference import Preference
from services.ingest.domain.submission import AcceptedBody, AcceptedEvent, Instant, Submission, SubmittedBody

_EVENT_TYPES: dict[type, str] = {
    StampedAssessment: "cairn.v1.AssessmentEvent",
    Interaction: "cairn.v1.InteractionEvent",
    Preference: "cairn.v1.PreferenceEvent",
    Correction: "cairn.v1.CorrectionEvent",
    Erasure: "cairn.v1.ErasureEvent",
}

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
        body=_submitted_body(message),
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
    match submission.body:
        case Assessment() as assessment:
            message.assessment.SetInParent()
            message.assessment.item = assessment.item
            message.assessment.activity = assessment.activity
            message.assessment.skills.extend(assessment.skills)
            # Enums are open in proto3: an unknown number travels, and the server names it.
            message.assessment.grain = assessment.grain  # type: ignore[assignment]  # The stubs want a ValueType.
            _set_observations(message.assessment, assessment)
        case Interaction() as interaction:
            message.interaction.SetInParent()
            _set_interaction(message.interaction, interaction)
        case Preference() as preference:
            message.preference.SetInParent()
            _set_preference(message.preference, preference)
        case Correction() as correction:
            message.correction.target_source = correction.target_source
            message.correction.target_event_id = correction.target_event_id
            _set_submitted_change(message.correction, correction)
        case None:
            pass
    return message


def event_type_of(event: AcceptedEvent) -> str:
    """The full name of the message that says what happened: the record's `ce_type`."""
    return _EVENT_TYPES[type(event.body)]


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
    _set_accepted_body(message, event.body)
    return message.SerializeToString(deterministic=True)


def response_of(outcomes: list[EventOutcome]) -> ingest_pb2.PublishEventsResponse:
    """The reply about a batch."""
    response = ingest_pb2.PublishEventsResponse()
    _add_results(response, outcomes)
    return response


def stream_response_of(batch: int, outcomes: list[EventOutcome]) -> ingest_pb2.StreamEventsResponse:
    """The reply about one batch of a stream, by the sender's number."""
    response = ingest_pb2.StreamEventsResponse(batch=batch)
    _add_results(response, outcomes)
    return response


def _add_results(
    response: ingest_pb2.PublishEventsResponse | ingest_pb2.StreamEventsResponse, outcomes: list[EventOutcome]
) -> None:
    for index, outcome in enumerate(outcomes):
        result = response.results.add(
            status=_STATUS_OF_OUTCOME[outcome.outcome],
            event_id=outcome.event_id,
            freshness_token=outcome.freshness_token,
            learner=outcome.learner,
        )
        if outcome.position is not None:
            result.position.SetInParent()
            result.position.partition = outcome.position.partition
            result.position.offset = outcome.position.offset
        for problem in outcome.problems:
            result.problems.add(field=f"{_path(index)}{problem.field}", reason=problem.reason)


def delete_response_of(erased: ErasedLearner) -> ingest_pb2.DeleteLearnerResponse:
    """The reply about a learner who was forgotten."""
    position = ingest_pb2.LogPosition(partition=erased.position.partition, offset=erased.position.offset)
    return ingest_pb2.DeleteLearnerResponse(
        position=position, freshness_token=erased.freshness_token, key_destroyed=erased.key_destroyed
    )


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


def _submitted_body(message: ingest_pb2.EventSubmission) -> SubmittedBody | None:
    match message.WhichOneof("body"):
        case "assessment":
            return _assessment_of(message.assessment)
        case "interaction":
            interaction = message.interaction
            return Interaction(
                resource=interaction.resource,
                kind=interaction.kind,
                recommendation_id=interaction.recommendation_id,
                duration_ms=interaction.duration_ms if interaction.HasField("duration_ms") else None,
            )
        case "preference":
            preference = message.preference
            return Preference(
                goals=tuple(preference.goals.skills) if preference.HasField("goals") else None,
                interests=tuple(preference.interests.topics) if preference.HasField("interests") else None,
                formats=tuple(preference.formats.kinds) if preference.HasField("formats") else None,
                pace=preference.pace,
            )
        case "correction":
            correction = message.correction
            return Correction(correction.target_event_id, _change_of(correction), correction.target_source)
        case None:
            return None


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


def _change_of(message: ingest_pb2.CorrectionSubmission) -> Void | bool | Score | None:
    match message.WhichOneof("change"):
        case "voided":
            return Void()
        case "correct":
            return message.correct
        case "score":
            return Score(message.score.raw, message.score.min, message.score.max)
        case None:
            return None


def _set_accepted_body(message: events_pb2.LearnerEvent, body: AcceptedBody) -> None:
    match body:
        case StampedAssessment():
            assessment = message.assessment
            assessment.item = body.assessment.item
            assessment.activity = body.assessment.activity
            assessment.skills.extend(body.skills)
            assessment.skills_from = body.skills_from.value  # type: ignore[assignment]  # The stubs want a ValueType.
            assessment.response = body.response
            assessment.grain = body.assessment.effective_grain  # type: ignore[assignment]  # The stubs want a ValueType.
            assessment.resource = body.resource
            _set_observations(assessment, body.assessment)
        case Interaction():
            _set_interaction(message.interaction, body)
        case Preference():
            _set_preference(message.preference, body)
        case Correction():
            message.correction.target_source = body.target_source
            message.correction.target_event_id = body.target_event_id
            _set_accepted_change(message.correction, body)
        case Erasure():
            message.erasure.SetInParent()


def _set_interaction(
    message: ingest_pb2.InteractionSubmission | events_pb2.InteractionEvent, interaction: Interaction
) -> None:
    message.resource = interaction.resource
    message.kind = interaction.kind  # type: ignore[assignment]  # The stubs want a ValueType.
    message.recommendation_id = interaction.recommendation_id
    if interaction.duration_ms is not None:
        message.duration_ms = interaction.duration_ms


def _set_preference(message: events_pb2.PreferenceEvent, preference: Preference) -> None:
    # An empty list is said, too: it takes back what was said before.
    if preference.goals is not None:
        message.goals.SetInParent()
        message.goals.skills.extend(preference.goals)
    if preference.interests is not None:
        message.interests.SetInParent()
        message.interests.topics.extend(preference.interests)
    if preference.formats is not None:
        message.formats.SetInParent()
        message.formats.kinds.extend(preference.formats)  # type: ignore[arg-type]  # The stubs want ValueTypes.
    message.pace = preference.pace  # type: ignore[assignment]  # The stubs want a ValueType.


def _set_submitted_change(message: ingest_pb2.CorrectionSubmission, correction: Correction) -> None:
    match correction.change:
        case Void():
            message.voided.SetInParent()
        case bool() as correct:
            message.correct = correct
        case Score() as score:
            _set_score(message.score, score)
        case None:
            pass


def _set_accepted_change(message: events_pb2.CorrectionEvent, correction: Correction) -> None:
    match correction.change:
        case Void():
            message.voided.SetInParent()
            return
        case bool() as correct:
            message.regrade.correct = correct
        case Score() as score:
            _set_score(message.regrade.score, score)
        case None:
            raise AssertionError("a correction without a change passed the check")
    message.regrade.response = normalised(correction.change)


def _set_score(message: events_pb2.Score, score: Score) -> None:
    # Also when every number is 0: which of the outcomes it is must be said.
    message.SetInParent()
    message.raw = score.raw
    message.min = score.min
    message.max = score.max


def _set_observations(
    message: ingest_pb2.AssessmentSubmission | events_pb2.AssessmentEvent, assessment: Assessment
) -> None:
    if isinstance(assessment.outcome, Score):
        _set_score(message.score, assessment.outcome)
    elif assessment.outcome is not None:
        message.correct = assessment.outcome
    if assessment.attempt is not None:
        message.attempt = assessment.attempt
    if assessment.hints is not None:
        message.hints = assessment.hints
    if assessment.duration_ms is not None:
        message.duration_ms = assessment.duration_ms
