"""Takes one message of a foreign topic: its events to ingest, and a message that is not taken to the dead letters."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

from services.ingest.application.ports import FieldReason, FileRow, LeftOutRow, Publisher, Row, UnreadableRow
from services.ingest.domain.repeats import Outcome

_NOT_TAKEN = (Outcome.REJECTED, Outcome.CONFLICT)


@dataclass(frozen=True, slots=True)
class Message:
    """A record of a foreign topic, as it is.

    Attributes:
        topic: the topic.
        partition: the partition.
        offset: its place there.
        key: its key.
        value: its value.
        headers: its headers, in order.
    """

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()


class MessageLetters(Protocol):
    """Where messages go that were not taken."""

    async def write(self, message: Message, problem: FieldReason) -> None:
        """Return once the message, unchanged, is kept with its first problem.

        Raises:
            ConnectionError: when it may not be.
        """
        ...


@dataclass(frozen=True, slots=True)
class MessageOutcome:
    """What became of a message.

    Attributes:
        events: how many events ingest took: new, unchanged or revised.
        left_out: why the rest is left out, once for each row.
        problems: what is wrong with it; it is among the dead letters unless this is empty.
    """

    events: int = 0
    left_out: list[str] = field(default_factory=list)
    problems: list[FieldReason] = field(default_factory=list)


class TakeMessage:
    """Takes messages. One that is taken twice changes nothing: ingest knows its events."""

    def __init__(
        self, read: Callable[[Message], Iterable[FileRow]], publisher: Publisher, letters: MessageLetters
    ) -> None:
        """Args: the rows of a message, the ingest service, and where messages go that are not taken."""
        self._read = read
        self._publisher = publisher
        self._letters = letters

    async def __call__(self, message: Message) -> MessageOutcome:
        """Return once everything of the message is kept.

        Raises:
            PublisherUnavailableError: when ingest does not take events.
            ConnectionError: when the dead letters cannot be written.
        """
        rows = list(self._read(message))
        problems = [problem for row in rows if isinstance(row, UnreadableRow) for problem in row.problems]
        submissions = [row.submission for row in rows if isinstance(row, Row)]
        results = await self._publisher.publish(submissions) if submissions else ()
        for result in results:
            if result.outcome in _NOT_TAKEN:
                problems += result.problems or [FieldReason("", "was not accepted")]
        if problems:
            await self._letters.write(message, problems[0])
        return MessageOutcome(
            sum(result.outcome not in _NOT_TAKEN for result in results),
            [row.reason for row in rows if isinstance(row, LeftOutRow)],
            problems,
        )
