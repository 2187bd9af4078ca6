"""Something a learner did with a resource."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from cairn.v1 import events_pb2, ingest_pb2
from services.ingest.domain.kinds.interaction import Interaction, InteractionKind
from services.ingest.wire.kinds.kind import JsonForm, JsonObject, LoggedKind, SubmittedKind


class _Fields(JsonObject):
    interaction: Literal["opened", "completed", "dismissed"] | None = None
    resource: str = ""
    recommendation_id: str = ""
    duration_ms: int | None = Field(None, ge=0, lt=2**32)


def _of_line(line: _Fields) -> Interaction:
    kind = InteractionKind[(line.interaction or "unspecified").upper()]
    return Interaction(line.resource, kind, line.recommendation_id, line.duration_ms)


def _of_message(message: ingest_pb2.InteractionSubmission) -> Interaction:
    return Interaction(
        resource=message.resource,
        kind=message.kind,
        recommendation_id=message.recommendation_id,
        duration_ms=message.duration_ms if message.HasField("duration_ms") else None,
    )


def _write(body: Interaction, message: ingest_pb2.InteractionSubmission | events_pb2.InteractionEvent) -> None:
    message.SetInParent()
    message.resource = body.resource
    message.kind = body.kind  # type: ignore[assignment]  # The stubs want a ValueType.
    message.recommendation_id = body.recommendation_id
    if body.duration_ms is not None:
        message.duration_ms = body.duration_ms


INTERACTION = SubmittedKind(
    name="interaction",
    body=Interaction,
    read=_of_message,
    write=_write,
    logged=LoggedKind("interaction", Interaction, events_pb2.InteractionEvent, _write),
    json=JsonForm("interaction", _Fields, _of_line),
)
