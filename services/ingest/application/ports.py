"""What ingest needs from outside: a log, its last events, learners' keys, and the skills that resources assess."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from services.common.kafka.envelope import LogIdentity, Position
from services.ingest.domain.repeats import LearnerKey, Outcome, RecentLearner
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


class RecentEventsUnavailableError(ConnectionError):
    """What is remembered of the log's last events cannot be reached."""


@dataclass(frozen=True, slots=True)
class Addition:
    """What one request adds to what is remembered of a learner.

    Attributes:
        learner: the learner.
        entries: of the events, as in RecentLearner.
        latest_at_s: the latest time of an assessment, in seconds since 1970; None when it is not later than before.
        offset: of the last of the events in the log.
    """

    learner: LearnerKey
    entries: bytes
    latest_at_s: int | None
    offset: int


class RecentEvents(Protocol):
    """What is remembered of each learner's last events in a log, so that repeats can be answered as such.

    It is a hint: events that it does not know are written, and the fold decides. It keeps a bounded number of events
    for each learner, and only pseudonyms and digests. Calls of a process take effect one after the other.
    """

    @property
    def available(self) -> bool:
        """Whether the last call succeeded."""
        ...

    async def of(self, log: LogIdentity, learners: Sequence[LearnerKey]) -> list[RecentLearner]:
        """What is remembered of learners, in the order given.

        Raises:
            RecentEventsUnavailableError: when it cannot be read.
        """
        ...

    async def add(self, log: LogIdentity, additions: Sequence[Addition]) -> None:
        """Remember events that the log has confirmed, at most one addition for each learner.

        Nothing is added for a learner who was erased after the events.

        Raises:
            RecentEventsUnavailableError: when not all may have been added.
        """
        ...

    async def forget(self, log: LogIdentity, learner: LearnerKey, offset: int) -> None:
        """Remove everything of a learner, and add none of their events before the erasure for an hour.

        Args:
            log: the log.
            learner: who was erased.
            offset: of the erasure.

        Raises:
            RecentEventsUnavailableError: when it may not have been removed; the call may be repeated.
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
        outcome: whether it is new, a duplicate, rejected, a conflict or a revision.
        problems: what is wrong with it, or differs; empty unless it is rejected or a conflict.
        learner: the learner's pseudonym; empty when it was not written.
        older: whether an assessment of the learner that is later was written before it.
        without_skills: whether it is a new assessment of no skill.
        compared: whether it was compared with earlier requests.
    """

    outcome: Outcome = Outcome.ACCEPTED
    problems: tuple[FieldReason, ...] = ()
    learner: str = ""
    older: bool = False
    without_skills: bool = False
    compared: bool = True


class Publisher(Protocol):
    """The ingest service, as a loader uses it."""

    async def publish(self, submissions: Sequence[Submission]) -> Sequence[SubmissionResult]:
        """Append up to 500 events; returns one result per event, in the order given.

        Raises:
            PublisherUnavailableError: when the service stays unavailable or refuses; some may have been written.
        """
        ...


@dataclass(frozen=True, slots=True)
class Row:
    """An event read from a file.

    Attributes:
        line: the line it starts on, from 1.
        submission: the event.
        original: the row or rows as they are in the file, of JSON types.
        remark: what a person should know of it, in the words of the summary, which counts each; empty: nothing.
        name_of: what they call a field of the event, where that is another name.
    """

    line: int
    submission: Submission
    original: object
    remark: str = ""
    name_of: Callable[[str], str] = field(default=str, compare=False, repr=False)

    def named(self, problems: Sequence[FieldReason]) -> tuple[FieldReason, ...]:
        """Problems of the event's fields, by the names that they have in the file."""
        return tuple(FieldReason(self.name_of(problem.field), problem.reason) for problem in problems)


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


@dataclass(frozen=True, slots=True)
class LeftOutRow:
    """A row of a file that its mapping leaves out, which is no mistake.

    Attributes:
        line: the line it starts on, from 1.
        reason: why, in the words of the summary, which counts each reason.
    """

    line: int
    reason: str


FileRow = Row | UnreadableRow | LeftOutRow
"""What a row of a file is. A row of a wide table may be several."""
