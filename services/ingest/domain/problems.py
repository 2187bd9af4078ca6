"""What can be wrong with a field. Every problem names the field, the value and the remedy."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

_CONTROL_CHARACTER = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_SHOWN_CHARACTERS = 40


class ProblemKind(StrEnum):
    """Sorts of problems, for counting."""

    MISSING = "missing"
    TOO_LONG = "too_long"
    CONTROL_CHARACTER = "control_character"
    TOO_MANY = "too_many"
    REPEATED = "repeated"
    CONTRADICTORY = "contradictory"
    UNKNOWN = "unknown"
    NOT_FINITE = "not_finite"
    OUT_OF_RANGE = "out_of_range"
    FROM_THE_FUTURE = "from_the_future"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with one field.

    Attributes:
        field: path of the field within the submission, for example `assessment.score.raw`.
        kind: the sort of problem.
        reason: what is wrong with which value, and what would be right.
    """

    field: str
    kind: ProblemKind
    reason: str


def text_problems(field: str, value: str, characters_max: int, *, required: str = "") -> Iterable[Problem]:
    """What is wrong with a text.

    Args:
        field: its path.
        value: the text.
        characters_max: how long it may be.
        required: what to send when it is empty; without it, it may be.
    """
    # Nearly every text is right, and an event has many: the rest is not begun for those. No control character is
    # printable, so that looking for one is for what has other than printable ones, such as spaces that do not break.
    right = len(value) <= characters_max and (value.isprintable() or not _CONTROL_CHARACTER.search(value))
    if right and not value.isspace() and (value or not required):
        return ()
    return _text_problems(field, value, characters_max, required)


def _text_problems(field: str, value: str, characters_max: int, required: str) -> Iterator[Problem]:
    if not value:
        if required:
            yield Problem(field, ProblemKind.MISSING, f"is empty: send {required}")
        return
    if len(value) > characters_max:
        yield Problem(
            field,
            ProblemKind.TOO_LONG,
            f"has {len(value)} characters ({shown(value)}), at most {characters_max}: shorten it",
        )
    if control := _CONTROL_CHARACTER.search(value):
        yield Problem(
            field,
            ProblemKind.CONTROL_CHARACTER,
            f"has the control character U+{ord(control[0]):04X} at position {control.start()}: remove it",
        )
    elif value.isspace():
        yield Problem(field, ProblemKind.MISSING, "is only white space: send an id, or leave it out where it may be")


def shown(value: str) -> str:
    """The value for a message, cut short."""
    return repr(value if len(value) <= _SHOWN_CHARACTERS else value[:_SHOWN_CHARACTERS] + "...")
