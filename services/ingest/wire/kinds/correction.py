"""Voiding or regrading an assessment event."""

from __future__ import annotations

from typing import Literal

from cairn.v1 import events_pb2, ingest_pb2
from services.ingest.domain.kinds.correction import Correction, Void
from services.ingest.domain.outcome import Score, normalised
from services.ingest.wire.kinds.kind import JsonForm, LoggedKind, SubmittedKind
from services.ingest.wire.kinds.outcome import OutcomeFields, outcome_of_line, score_of, write_score


class _Fields(OutcomeFields):
    corrects: str | None = None
    corrects_source: str = ""
    void: Literal[True] | None = None


def _of_line(line: _Fields) -> Correction:
    return Correction(line.corrects or "", Void() if line.void else outcome_of_line(line), line.corrects_source)


def _of_message(message: ingest_pb2.CorrectionSubmission) -> Correction:
    change: Void | bool | Score | None = None
    match message.WhichOneof("change"):
        case "voided":
            change = Void()
        case "correct":
            change = message.correct
        case "score":
            change = score_of(message.score)
    return Correction(message.target_event_id, change, message.target_source)


def _submit(body: Correction, message: ingest_pb2.CorrectionSubmission) -> None:
    message.SetInParent()
    message.target_source = body.target_source
    message.target_event_id = body.target_event_id
    match body.change:
        case Void():
            message.voided.SetInParent()
        case bool() as correct:
            message.correct = correct
        case Score() as score:
            write_score(score, message.score)
        case None:
            pass


def _log(body: Correction, message: events_pb2.CorrectionEvent) -> None:
    message.target_source = body.target_source
    message.target_event_id = body.target_event_id
    match body.change:
        case Void():
            message.voided.SetInParent()
            return
        case bool() as correct:
            message.regrade.correct = correct
        case Score() as score:
            write_score(score, message.regrade.score)
        case None:
            raise AssertionError("a correction without a change passed the check")
    message.regrade.response = normalised(body.change)


CORRECTION = SubmittedKind(
    name="correction",
    body=Correction,
    read=_of_message,
    write=_submit,
    logged=LoggedKind("correction", Correction, events_pb2.CorrectionEvent, _log),
    json=JsonForm("corrects", _Fields, _of_line),
)
