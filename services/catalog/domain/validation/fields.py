"""Checks that several kinds of records share. Each yields the problems of a field: its value and the remedy."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from services.common.auth.identity import normalised_id, unusable_character

ID_CHARACTERS_MAX = 256
TEXT_CHARACTERS_MAX = 4_096
NAME_CHARACTERS_MAX = 256
URL_CHARACTERS_MAX = 2_048
GRADES = ("PK", "K", *(str(grade) for grade in range(1, 13)))

_SHOWN_CHARACTERS_MAX = 80
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_CONTROL_BUT_BREAKS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem.

    Attributes:
        path: the field, for example `resources[3].teaches[0].weight`; indices count over the whole import.
        reason: the value, what is wrong with it and the remedy.
    """

    path: str
    reason: str


def identifier_problems(path: str, value: str) -> Iterator[Problem]:
    """Problems of an id, which may not be empty."""
    yield from text_problems(path, value, ID_CHARACTERS_MAX, required=True)
    unusable = unusable_character(value)
    if unusable is not None and not _CONTROL.search(value):
        yield Problem(
            path, f"{shown(value)} has the {unusable.what} {unusable.shown} at {unusable.position}; remove it"
        )
    if value != value.strip():
        yield Problem(path, f"{shown(value)} begins or ends with white space; remove it")
    elif value != normalised_id(value):
        # Events and requests are, so that such an id would never be found.
        yield Problem(path, f"{shown(value)} is not in Unicode's form NFC; write it as {shown(normalised_id(value))}")


def identifier_list_problems(path: str, values: Sequence[str], count_max: int) -> Iterator[Problem]:
    """Problems of a list of ids, each of which may be given once."""
    yield from count_problems(path, len(values), count_max)
    values = values[:count_max]
    for index, value in enumerate(values):
        yield from identifier_problems(f"{path}[{index}]", value)
    yield from repetition_problems(values, lambda index: f"{path}[{index}]")


def text_problems(
    path: str, value: str, characters_max: int, *, required: bool = False, breaks: bool = False
) -> Iterator[Problem]:
    """Problems of a text. `required`: it may not be empty. `breaks`: it may have tabs and line breaks."""
    if required and not value.strip():
        yield Problem(path, f"{shown(value)} is empty; give one")
    if len(value) > characters_max:
        yield Problem(path, f"{shown(value)} has {len(value):,} characters; at most {characters_max:,} are allowed")
    if found := (_CONTROL_BUT_BREAKS if breaks else _CONTROL).search(value, 0, characters_max):
        reason = f"{shown(value)} has the control character U+{ord(found[0]):04X} at {found.start()}; remove it"
        yield Problem(path, reason)


def url_problems(path: str, value: str) -> Iterator[Problem]:
    """Problems of a web address; it may be empty."""
    if not value:
        return
    yield from text_problems(path, value, URL_CHARACTERS_MAX)
    if len(value) > URL_CHARACTERS_MAX:
        return
    try:
        parts = urlsplit(value)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and not re.search(r"\s", value)
    except ValueError:
        usable = False
    if not usable:
        yield Problem(path, f"{shown(value)} is not a web address; write one such as https://example.org/fractions")


def grade_problems(path: str, grades: Sequence[str]) -> Iterator[Problem]:
    """Problems of the grades of the record at `path`."""
    yield from count_problems(f"{path}.grades", len(grades), len(GRADES))
    grades = grades[: len(GRADES)]
    for index, grade in enumerate(grades):
        if grade not in GRADES:
            reason = f"{shown(grade)} is not a grade; write PK, K or 1 to 12, and none for any grade"
            yield Problem(f"{path}.grades[{index}]", reason)
    yield from repetition_problems(grades, lambda index: f"{path}.grades[{index}]")


def count_problems(path: str, count: int, count_max: int) -> Iterator[Problem]:
    """Problems of the length of a list. Entries beyond the limit are not looked at: there may be very many."""
    if count > count_max:
        yield Problem(path, f"has {count} entries; at most {count_max} are allowed")


def repetition_problems(values: Sequence[str], path_of: Callable[[int], str]) -> Iterator[Problem]:
    """Problems of values that may be given once; `path_of` maps the index of a value to its path."""
    first: dict[str, int] = {}
    for index, value in enumerate(values):
        if first.setdefault(value, index) != index:
            yield Problem(path_of(index), f"{shown(value)} is also {path_of(first[value])}; keep one")


def unknown_skill(path: str, skill: str, remedy: str) -> Problem:
    """The problem of a skill that is not in the catalog; `remedy`: what to do; empty: the usual."""
    return Problem(path, f"skill {shown(skill)} is {remedy or 'not in the catalog; put it first, or correct the id'}")


def shown(value: str) -> str:
    """The value for a message, truncated."""
    if len(value) > _SHOWN_CHARACTERS_MAX:
        value = value[: _SHOWN_CHARACTERS_MAX - 3] + "..."
    return repr(value)


def listed(values: Iterable[str]) -> str:
    """The values for a message."""
    return ", ".join(values)
