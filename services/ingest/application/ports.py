"""What ingest needs from outside: a log to append to, and the skills that the catalog's resources assess."""

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
"""Where each of some events stands, in the order given, once the log has confirmed all of them.

Raises LogUnavailableError when it did not.
"""


class EventLog(Protocol):
    """The log of learner events."""

    @property
    def identity(self) -> LogIdentity:
        """The log that `append` writes to. Raises LogUnavailableError before it was first reached."""
        ...

    async def append(self, events: Sequence[AcceptedEvent]) -> list[Position]:
        """Write events; each learner's keep their order, also over calls made one after the other.

        Returns:
            Where each event stands, in the order given, once the log has confirmed all of them.

        Raises:
            LogUnavailableError: when not all were confirmed.
            LogOverloadedError: when the events that await confirmation leave no room for these.
        """
        ...

    async def submit(self, events: Sequence[AcceptedEvent], *, wait_for_room: bool = False) -> Confirmation:
        """Begin to write events; those of calls that returned one after the other keep that order.

        Args:
            events: at least one.
            wait_for_room: wait while the events that await confirmation leave no room, rather than raise.

        Raises:
            LogUnavailableError: when the log cannot be reached.
            LogOverloadedError: when there is no room for these.
        """
        ...


class LearnerErasure(Protocol):
    """What makes a learner's values in the log unreadable."""

    async def destroy(self, tenant: str, learner: str) -> bool:
        """Destroy a learner's data key; whether what the log holds of them, so far as encrypted, is now unreadable.

        Once it returns, no process encrypts under the destroyed key any more. A learner without a key, in a tenant that
        has encryption, is answered alike; False: the tenant has none.

        Raises:
            LogUnavailableError: when the destruction was not confirmed; it may be asked for again.
        """
        ...


class SkillTags(Protocol):
    """The catalog, as far as stamping needs it."""

    @property
    def ready(self) -> bool:
        """Whether everything that stood in the catalog at the start is known."""
        ...

    def assessed_skills(self, tenant: str, resource: str) -> tuple[str, ...] | None:
        """The skills a resource assesses, by weight downwards and then by id; None when there is no such resource.

        A retired resource is one: responses to it still find their skills.
        """
        ...


class PublisherUnavailableError(ConnectionError):
    """The ingest service could not be reached for as long as was allowed, or refused the request."""


@dataclass(frozen=True, slots=True)
class FieldReason:
    """What is wrong with one field of an event or a row, with its value and the remedy."""

    field: str
    reason: str


@dataclass(frozen=True, slots=True)
class SubmissionResult:
    """What became of one event.

    Attributes:
        duplicate: whether the same source and id stand earlier in the request.
        problems: what is wrong with it; empty when it was accepted or is a duplicate.
    """

    duplicate: bool = False
    problems: tuple[FieldReason, ...] = ()


class Publisher(Protocol):
    """The ingest service, as a loader sees it."""

    async def publish(self, submissions: Sequence[Submission]) -> Sequence[SubmissionResult]:
        """Have up to 500 events appended; one result per event, in the order given.

        Raises:
            PublisherUnavailableError: when the service stays away or refuses; nothing of these was acknowledged.
        """
        ...


@dataclass(frozen=True, slots=True)
class Row:
    """An event read from a file.

    Attributes:
        line: where it begins, from 1.
        submission: the event.
        original: the row or rows as they stand in the file, of JSON types.
    """

    line: int
    submission: Submission
    original: object


@dataclass(frozen=True, slots=True)
class UnreadableRow:
    """A row of a file that is no event.

    Attributes:
        line: where it begins, from 1.
        problems: what is wrong with it.
        original: the row as it stands in the file, of JSON types.
    """

    line: int
    problems: tuple[FieldReason, ...]
    original: object
