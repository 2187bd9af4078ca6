"""What a learner wants."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from cairn.v1 import events_pb2
from services.common.resource_kinds import ResourceKind, ResourceKindName
from services.ingest.domain.kinds.preference import Pace, Preference
from services.ingest.wire.kinds.kind import JsonForm, JsonObject, LoggedKind, SubmittedKind


class _PreferenceObject(JsonObject):
    goals: list[str] | None = None
    interests: list[str] | None = None
    formats: list[ResourceKindName] | None = None
    pace: Literal["gentle", "steady", "brisk"] | None = None


class _Fields(JsonObject):
    preference: _PreferenceObject | None = None


def _of_line(line: _Fields) -> Preference:
    wanted = line.preference or _PreferenceObject()
    kinds = None if wanted.formats is None else tuple(ResourceKind[kind.name] for kind in wanted.formats)
    pace = Pace.UNSPECIFIED if wanted.pace is None else Pace[wanted.pace.upper()]
    return Preference(_tuple(wanted.goals), _tuple(wanted.interests), kinds, pace)


def _tuple(values: Sequence[str] | None) -> tuple[str, ...] | None:
    return None if values is None else tuple(values)


def _of_message(message: events_pb2.PreferenceEvent) -> Preference:
    return Preference(
        goals=tuple(message.goals.skills) if message.HasField("goals") else None,
        interests=tuple(message.interests.topics) if message.HasField("interests") else None,
        formats=tuple(message.formats.kinds) if message.HasField("formats") else None,
        pace=message.pace,
    )


def _write(body: Preference, message: events_pb2.PreferenceEvent) -> None:
    message.SetInParent()
    # An empty list is written, too: it withdraws an earlier one.
    if body.goals is not None:
        message.goals.SetInParent()
        message.goals.skills.extend(body.goals)
    if body.interests is not None:
        message.interests.SetInParent()
        message.interests.topics.extend(body.interests)
    if body.formats is not None:
        message.formats.SetInParent()
        message.formats.kinds.extend(body.formats)  # type: ignore[arg-type]  # The stubs want ValueTypes.
    message.pace = body.pace  # type: ignore[assignment]  # The stubs want a ValueType.


PREFERENCE = SubmittedKind(
    name="preference",
    body=Preference,
    read=_of_message,
    write=_write,
    logged=LoggedKind("preference", Preference, events_pb2.PreferenceEvent, _write),
    json=JsonForm("preference", _Fields, _of_line),
)
