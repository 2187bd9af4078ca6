"""What can be wrong with a field, and the checks that several kinds of event share.

Every problem names the field, the value and the remedy.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from services.common.auth.identity import UnusableCharacter, unusable_character

ID_CHARACTERS_MAX = 256
EVENT_ID_CHARACTERS_MAX = 128

_SHOWN_CHARACTERS = 40


class ProblemKind(StrEnum):
    """Kinds of problems, for metrics."""

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
    CONFLICT = "conflict"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem of one field.

    Attributes:
        field: path of the field within the submission, for example `assessment.score.raw`.
        kind: what kind of problem it is.
        reason: the value, what is wrong with it, and how to fix it.
    """

    field: str
    kind: ProblemKind
    reason: str


def text_problems(field: str, value: str, characters_max: int, *, required: str = "") -> Iterable[Problem]:
    """What is wrong with a text.

    Args:
        field: its path.
        value: the text.
        characters_max: the longest allowed.
        required: what to send when it is empty; without it, the text is optional.
    """
    # Nearly every text is valid, and an event has many, so valid ones return early.
    unusable = None if value.isascii() and value.isprintable() else unusable_character(value)
    if len(value) <= characters_max and unusable is None and not value.isspace() and (value or not required):
        return ()
    return _text_problems(field, value, characters_max, required, unusable)


def _text_problems(
    field: str, value: str, characters_max: int, required: str, unusable: UnusableCharacter | None
) -> Iterator[Problem]:
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
    if unusable is not None:
        reason = f"has the {unusable.what} {unusable.shown} at position {unusable.position}: remove it"
        yield Problem(field, ProblemKind.CONTROL_CHARACTER, reason)
    elif value.isspace():
        yield Problem(field, ProblemKind.MISSING, "is only white space: send an id, or leave the field out if optional")


def skill_list_problems(field: str, skills: tuple[str, ...], count_max: int, keep: str) -> Iterator[Problem]:
    """What is wrong with a list of skills, each of which may be listed once.

    Args:
        field: its path.
        skills: their ids.
        count_max: the most allowed.
        keep: which ones to keep when there are too many.
    """
    if len(skills) > count_max:
        reason = f"has {len(skills)} skills, at most {count_max}: keep {keep}"
        yield Problem(field, ProblemKind.TOO_MANY, reason)
        return
    for index, skill in enumerate(skills):
        entry = f"{field}[{index}]"
        yield from text_problems(entry, skill, ID_CHARACTERS_MAX, required="a skill's id, or leave the entry out")
        first = skills.index(skill)
        if skill and first != index:
            reason = f"is {shown(skill)} again, as skills[{first}]: name each skill once"
            yield Problem(entry, ProblemKind.REPEATED, reason)


def shown(value: str) -> str:
    """The value for a message, truncated."""
    return repr(value if len(value) <= _SHOWN_CHARACTERS else value[:_SHOWN_CHARACTERS] + "...")
