"""A response to an item, or a score on an activity."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from cairn.v1 import events_pb2, ingest_pb2
from services.ingest.domain.kinds.assessment import Assessment, Grain, StampedAssessment
from services.ingest.domain.outcome import Score
from services.ingest.wire.kinds.kind import JsonForm, LoggedKind, SubmittedKind
from services.ingest.wire.kinds.outcome import OutcomeFields, outcome_of_line, score_of, write_score

_GRAINS = {None: Grain.UNSPECIFIED, "item": Grain.ITEM, "activity": Grain.ACTIVITY}


class _Fields(OutcomeFields):
    item: str = ""
    activity: str = ""
    skills: list[str] = Field(default_factory=list)
    attempt: int | None = Field(None, ge=0, lt=2**32)
    hints: int | None = Field(None, ge=0, lt=2**32)
    duration_ms: int | None = Field(None, ge=0, lt=2**32)
    grain: Literal["item", "activity"] | None = None


def _of_line(line: _Fields) -> Assessment:
    return Assessment(
        item=line.item,
        activity=line.activity,
        skills=tuple(line.skills),
        outcome=outcome_of_line(line),
        attempt=line.attempt,
        hints=line.hints,
        duration_ms=line.duration_ms,
        grain=_GRAINS[line.grain],
    )


def _of_message(message: ingest_pb2.AssessmentSubmission) -> Assessment:
    which = message.WhichOneof("outcome")
    outcome: bool | Score | None = None
    if which == "correct":
        outcome = message.correct
    elif which == "score":
        outcome = score_of(message.score)
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


def _submit(assessment: Assessment, message: ingest_pb2.AssessmentSubmission) -> None:
    message.SetInParent()
    message.item = assessment.item
    message.activity = assessment.activity
    message.skills.extend(assessment.skills)
    # Enums are open in proto3: an unknown number is sent as it is, and the server names it.
    message.grain = assessment.grain  # type: ignore[assignment]  # The stubs want a ValueType.
    _write_observations(assessment, message)


def _log(body: StampedAssessment, message: events_pb2.AssessmentEvent) -> None:
    message.item = body.assessment.item
    message.activity = body.assessment.activity
    message.skills.extend(body.skills)
    message.skills_from = body.skills_from.value  # type: ignore[assignment]  # The stubs want a ValueType.
    message.response = body.response
    message.grain = body.assessment.effective_grain  # type: ignore[assignment]  # The stubs want a ValueType.
    message.resource = body.resource
    _write_observations(body.assessment, message)


def _write_observations(
    assessment: Assessment, message: ingest_pb2.AssessmentSubmission | events_pb2.AssessmentEvent
) -> None:
    if isinstance(assessment.outcome, Score):
        write_score(assessment.outcome, message.score)
    elif assessment.outcome is not None:
        message.correct = assessment.outcome
    if assessment.attempt is not None:
        message.attempt = assessment.attempt
    if assessment.hints is not None:
        message.hints = assessment.hints
    if assessment.duration_ms is not None:
        message.duration_ms = assessment.duration_ms


ASSESSMENT = SubmittedKind(
    name="assessment",
    body=Assessment,
    read=_of_message,
    write=_submit,
    logged=LoggedKind("assessment", StampedAssessment, events_pb2.AssessmentEvent, _log),
    json=JsonForm("", _Fields, _of_line),
)
