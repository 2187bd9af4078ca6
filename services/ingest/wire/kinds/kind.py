"""How one kind of event is written: as a submission, in the log, and as a JSON line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from google.protobuf.message import Message
from pydantic import BaseModel, ConfigDict

from services.ingest.domain.submission import LoggedBody, SubmittedBody

Submitted = TypeVar("Submitted", bound=SubmittedBody)
Logged = TypeVar("Logged", bound=LoggedBody)


class JsonObject(BaseModel):
    """An object of a JSON line: no conversion between types, and no unknown fields."""

    model_config = ConfigDict(extra="forbid", strict=True)


@dataclass(frozen=True, slots=True)
class JsonForm(Generic[Submitted]):
    """An event as one line of JSON, whose fields are next to those that all kinds share.

    Attributes:
        marker: the field that only lines of this kind have; empty: the kind of a line without any marker.
        fields: a model of the fields that a line of this kind may have.
        read: builds the body from a validated line, an instance of `fields`.
    """

    marker: str
    fields: type[JsonObject]
    read: Callable[[Any], Submitted]


@dataclass(frozen=True, slots=True)
class LoggedKind(Generic[Logged]):
    """A kind of event in the log.

    Attributes:
        name: its field in the `body` of LearnerEvent.
        body: its type.
        message: its message in `cairn/v1/events.proto`.
        write: fills that message.
    """

    name: str
    body: type[Logged]
    message: type[Message]
    write: Callable[[Logged, Any], None]

    @property
    def event_type(self) -> str:
        """The full name of its message: the record's `ce_type`."""
        return self.message.DESCRIPTOR.full_name


@dataclass(frozen=True, slots=True)
class SubmittedKind(Generic[Submitted, Logged]):
    """A kind of event that platforms send.

    Attributes:
        name: its field in the `body` of EventSubmission.
        body: its type.
        read: builds the body from the message in that field.
        write: fills that message.
        logged: the same kind in the log.
        json: the same kind as a JSON line.
    """

    name: str
    body: type[Submitted]
    read: Callable[[Any], Submitted]
    write: Callable[[Submitted, Any], None]
    logged: LoggedKind[Logged]
    json: JsonForm[Submitted]
