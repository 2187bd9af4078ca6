"""Results of the use cases to and from the replies of IngestService."""

from __future__ import annotations

from cairn.v1 import ingest_pb2
from services.ingest.application.erase import ErasedLearner
from services.ingest.application.ports import FieldReason, SubmissionResult
from services.ingest.application.publish import EventOutcome
from services.ingest.domain.repeats import Outcome

_STATUS_OF_OUTCOME = {
    Outcome.ACCEPTED: ingest_pb2.EVENT_STATUS_ACCEPTED,
    Outcome.DUPLICATE: ingest_pb2.EVENT_STATUS_DUPLICATE,
    Outcome.REJECTED: ingest_pb2.EVENT_STATUS_REJECTED,
    Outcome.CONFLICT: ingest_pb2.EVENT_STATUS_CONFLICT,
    Outcome.REVISED: ingest_pb2.EVENT_STATUS_REVISED,
}
_OUTCOME_OF_STATUS = {status: outcome for outcome, status in _STATUS_OF_OUTCOME.items()}


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


def delete_response_of(erased: ErasedLearner) -> ingest_pb2.DeleteLearnerResponse:
    """The reply about a learner who was forgotten."""
    position = ingest_pb2.LogPosition(partition=erased.position.partition, offset=erased.position.offset)
    return ingest_pb2.DeleteLearnerResponse(
        position=position, freshness_token=erased.freshness_token, key_destroyed=erased.key_destroyed
    )


def results_of(response: ingest_pb2.PublishEventsResponse) -> list[SubmissionResult]:
    """The result of each event of a reply; fields are named within the event, without its index in the request."""
    return [
        SubmissionResult(
            _OUTCOME_OF_STATUS[result.status],
            tuple(FieldReason(_within(index, problem.field), problem.reason) for problem in result.problems),
            learner=result.learner,
            older=result.older,
            without_skills=result.without_skills,
            compared=not response.not_compared,
        )
        for index, result in enumerate(response.results)
    ]


def _add_results(
    response: ingest_pb2.PublishEventsResponse | ingest_pb2.StreamEventsResponse, outcomes: list[EventOutcome]
) -> None:
    response.not_compared = not all(outcome.compared for outcome in outcomes)
    for index, outcome in enumerate(outcomes):
        result = response.results.add(
            status=_STATUS_OF_OUTCOME[outcome.outcome],
            event_id=outcome.event_id,
            freshness_token=outcome.freshness_token,
            learner=outcome.learner,
            older=outcome.older,
            without_skills=outcome.without_skills,
        )
        if outcome.position is not None:
            result.position.SetInParent()
            result.position.partition = outcome.position.partition
            result.position.offset = outcome.position.offset
        for problem in outcome.problems:
            # Of a line that is no event, no field is at fault.
            field = f".{problem.field}" if problem.field else ""
            result.problems.add(field=f"events[{index}]{field}", reason=problem.reason)


def _within(index: int, field: str) -> str:
    return field.removeprefix(f"events[{index}]").removeprefix(".")
