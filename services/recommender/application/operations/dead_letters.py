"""Dead letters: records that could not be applied. Looking at them, and putting them into the log again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from services.common.kafka.envelope import Position
from services.recommender.application.ports.log import DeadLetter


class LetterMissingError(LookupError):
    """There is no dead letter of that place of origin."""


@dataclass(frozen=True, slots=True)
class FiledLetter:
    """A dead letter as it is kept.

    Attributes:
        letter: the record as it was in the log, and why it could not be applied.
        replayed_to: where it was written to the log again; None: nowhere.
        topic: the topic that it was on.
    """

    letter: DeadLetter
    replayed_to: Position | None = None
    topic: str = ""

    @property
    def origin(self) -> Position:
        """Where it was on its topic."""
        return Position(self.letter.partition, self.letter.offset)


class LetterFile(Protocol):
    """Where dead letters are kept. Every call may raise ConnectionError."""

    async def letters(self) -> Sequence[FiledLetter]:
        """Every letter there is now, each place of a topic once, in the order of the places."""
        ...

    async def append_to_log(self, letter: DeadLetter) -> Position:
        """Write the record to the log again, on the partition of its key, and return where it is."""
        ...

    async def note_replayed(self, letter: DeadLetter, position: Position) -> None:
        """Note where it was written to the log again."""
        ...


@dataclass(frozen=True, slots=True)
class LetterOutcome:
    """What became of one letter that was to be replayed.

    Attributes:
        filed: the letter.
        position: where it was written to the log again; None: it was not.
        problem: why it was left; empty otherwise.
    """

    filed: FiledLetter
    position: Position | None
    problem: str = ""


class ReplayDeadLetters:
    """Puts letters into the log again that can be applied by now: the program learnt, or a partition was wrong.

    The log gets the original key, bytes and headers. A letter that is put there twice counts once, as any event does.
    """

    def __init__(self, file: LetterFile, problem_of: Callable[[DeadLetter], Awaitable[str]]) -> None:
        """Args: `file` of the letters; `problem_of` says why one cannot be applied, or nothing."""
        self._file = file
        self._problem_of = problem_of

    async def __call__(self, wanted: Callable[[FiledLetter], bool], *, dry_run: bool = False) -> list[LetterOutcome]:
        """Replay the wanted letters that were not replayed before.

        Args:
            wanted: which.
            dry_run: only say what would become of them.
        """
        return [
            await self._replay(filed, dry_run=dry_run)
            for filed in await self._file.letters()
            if filed.replayed_to is None and wanted(filed)
        ]

    async def _replay(self, filed: FiledLetter, *, dry_run: bool) -> LetterOutcome:
        problem = await self._problem_of(filed.letter)
        if problem or dry_run:
            return LetterOutcome(filed, None, problem)
        position = await self._file.append_to_log(filed.letter)
        # Between the two a crash leaves a letter that can be replayed once more, and then is a duplicate.
        await self._file.note_replayed(filed.letter, position)
        return LetterOutcome(filed, position)


async def find_letter(file: LetterFile, origin: Position, topic: str = "") -> FiledLetter:
    """The letter of a place of origin.

    Args:
        file: the letters.
        origin: the place.
        topic: the topic that the record was on; empty: whichever there is.

    Raises:
        LetterMissingError: when there is none, or there are some of several topics.
    """
    found = [filed for filed in await file.letters() if filed.origin == origin and topic in {"", filed.topic}]
    place = f"partition {origin.partition}, offset {origin.offset}" + (f" of {topic}" if topic else "")
    if not found:
        raise LetterMissingError(f"there is no dead letter of {place}; list them with: cairn dlt list --all")
    if len(found) > 1:
        topics = ", ".join(filed.topic for filed in found)
        raise LetterMissingError(f"there are dead letters of {place} from several topics; name one with --of: {topics}")
    return found[0]
