"""What ingest needs from outside: a log to append to, learners' keys, and the skills that resources assess."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import Protocol

from services.common.kafka.envelope import LogIdentity, Position
from services.ingest.domain.submission import AcceptedEvent, Submission


class LogUnavailableError(ConnectionError):
    """The log did not confirm every event; some may have been written. The same events may be sent again."""


class LogOverloadedError(RuntimeError):
    """Too many events await the log's confirmation; none of these was written."""


Confirmation = Awaitable[list[Position]]
"""Awaits the position of each event, in the order given, once the log has confirmed all of them.

Raises LogUnavailableError when it did not.
"""


class EventLog(Protocol):
    """The log of learner events."""

    @property
    def identity(self) -> LogIdentity:
        """The identity of the log. Raises LogUnavailableError before it was first reached."""
        ...

    async def append(self, events: Sequence[AcceptedEvent]) -> list[Position]:
        """Write events; each learner's events keep their order, also across consecutive calls.

        Returns:
            The position of each event, in the order given, once the log has confirmed all of them.

        Raises:
            LogUnavailableError: when not all were confirmed.
            LogOverloadedError: when too many events await confirmation.
        """
        ...

    async def submit(self, events: Sequence[AcceptedEvent], *, wait_for_room: bool = False) -> Confirmation:
        """Start to write events, in the order in which calls return.

        Args:
            events: at least one.
            wait_for_room: wait while too many events await confirmation, instead of raising.

        Raises:
            LogUnavailableError: when the log cannot be reached.
            LogOverloadedError: when too many events await confirmation.
        """
        ...


class LearnerErasure(Protocol):
    """Makes a learner's values in the log unreadable."""

    async def destroy(self, tenant: str, learner: str) -> bool:
        """Destroy a learner's data key.

        Once it returns, no process encrypts with the destroyed key any more.

        Returns:
            Whether the tenant has encryption, so that the learner's encrypted values are now unreadable. The result is
            the same for a learner without a key.

        Raises:
            LogUnavailableError: when the destruction was not confirmed; the call may be repeated.
        """
        ...


class SkillTags(Protocol):
    """The part of the catalog that stamping needs."""

    @property
    def ready(self) -> bool:
        """Whether everything that was in the catalog at the start is known."""
        ...

    def assessed_skills(self, tenant: str, resource: str) -> tuple[str, ...] | None:
        """The skills a resource assesses, by decreasing weight and then by id; None when there is no such resource.

        Retired resources count: responses to them still get their skills.
        """
        ...


class PublisherUnavailableError(ConnectionError):
    """The ingest service stayed unavailable for too long, or refused the request."""


@dataclass(frozen=True, slots=True)
class FieldReason:
    """What is wrong with one field of an event or a row, with its value and the remedy."""

    field: str
    reason: str


@dataclass(frozen=True, slots=True)
class SubmissionResult:
    """The result of one event.

    Attributes:
        duplicate: whether the same source and id are earlier in the request.
        problems: what is wrong with it; empty when it was accepted or is a duplicate.
    """

    duplicate: bool = False
    problems: tuple[FieldReason, ...] = ()


class Publisher(Protocol):
    """The ingest service, as a loader uses it."""

    async def publish(self, submissions: Sequence[Submission]) -> Sequence[SubmissionResult]:
        """Append up to 500 events; returns one result per event, in the order given.

        Raises:
            PublisherUnavailableError: when the service stays unavailable or refuses; none of these was acknowledged.
        """
        ...


@dataclass(frozen=True, slots=True)
class Row:
    """An event read from a file.

    Attributes:
        line: the line it starts on, from 1.
        submission: the event.
        original: the row or rows as they are in the file, of JSON types.
    """

    line: int
    submission: Submission
    original: object


@dataclass(frozen=True, slots=True)
class UnreadableRow:
    """A row of a file that is not an event.

    Attributes:
        line: the line it starts on, from 1.
        problems: what is wrong with it.
        original: the row as it is in the file, of JSON types.
    """

    line: int
    problems: tuple[FieldReason, ...]
    original: object
