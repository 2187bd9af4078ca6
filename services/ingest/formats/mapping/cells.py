"""Reading the cells of a table: texts, ids, numbers and durations."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable, Sequence
from datetime import time, timedelta
from functools import lru_cache
from typing import Any

from services.ingest.formats.mapping.model import FileMapping

_UINT32_MAX = 2**32 - 1
_SHOWN_CHARACTERS = 40
_MILLISECONDS = {"ms": 1.0, "s": 1000.0, "min": 60_000.0}
# Above it, a float no longer holds every whole number.
_EXACT_FLOAT_MAX = 2**53
_SCIENTIFIC = re.compile(r"(\d)(?:[.,](\d+))?[eE]\+(\d+)")
_WHOLE_FLOAT = re.compile(r"(\d+)\.0+")
_CLOCK = re.compile(r"(\d+):([0-5]?\d):([0-5]?\d(?:\.\d+)?)")
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]+)[\s,]*")
_UNIT_S = {
    **dict.fromkeys(("d", "day", "days"), 86_400.0),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), 3_600.0),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), 60.0),
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1.0),
    "ms": 0.001,
}
# Texts of skills whose parts are remembered.
_SKILL_TEXTS = 8_192


class CellError(ValueError):
    """A cell is not valid for its field; the message says which value, and what to do."""


def text_of(value: Any) -> str:
    """The text of a cell that is not empty."""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, float) and value.is_integer():
        # Tables that have no type for integers with missing values store 17 as 17.0.
        return str(int(value))
    return str(value)


def shown(value: Any) -> str:
    """A value for a message."""
    text = value if isinstance(value, str) else str(value)
    # Unprintable bytes are shown as escapes, and long values such as names are truncated.
    return repr(re.sub(r"\s+", " ", text)[:_SHOWN_CHARACTERS])


def id_as_written(value: Any) -> str:
    """An id as its cell has it."""
    text: str = value if type(value) is str else text_of(value)
    if "+" in text and _SCIENTIFIC.fullmatch(text):
        raise CellError(
            f"is {shown(text)}, an id that a spreadsheet has rounded or rewritten: export the column as text, or set "
            "id_form: spreadsheet, which reads those that lost no digit"
        )
    if isinstance(value, float) and not abs(value) < _EXACT_FLOAT_MAX:
        raise CellError(f"is {shown(text)}, a number too large for its last digits to be kept: store the id as text")
    return text


def id_of_spreadsheet(value: Any) -> str:
    """An id that a spreadsheet may have rewritten: 100236.0 and 1.00236E+05 are 100236."""
    text = text_of(value)
    if whole := _WHOLE_FLOAT.fullmatch(text):
        return whole[1]
    if scientific := _SCIENTIFIC.fullmatch(text):
        first, decimals, exponent = scientific[1], scientific[2] or "", int(scientific[3])
        decimals = decimals.rstrip("0") if len(decimals) > exponent else decimals
        if len(decimals) != exponent:
            raise CellError(
                f"is {shown(text)}, an id whose last digits the spreadsheet has dropped: export the column as text"
            )
        return first + decimals
    return id_as_written(value)


def unmarked_id(read: Callable[[Any], str], marks: Sequence[str]) -> Callable[[Any], str]:
    """A function that reads an id without the marks around it."""
    if not marks:
        return read
    signs = "".join(marks)

    def unmarked(value: Any) -> str:
        text = text_of(value).strip(signs).strip()
        if not text:
            raise CellError(f"is {shown(value)}, nothing but marks: write an id, or correct learner_id_marks")
        return read(text)

    return unmarked


class Numbers:
    """Reads numbers with the decimal sign and the sign of thousands of a mapping."""

    def __init__(self, mapping: FileMapping) -> None:
        """Args: the mapping."""
        thousands = mapping.thousands
        if thousands is None:
            thousands = "." if mapping.decimal == "," else ""
        self._decimal, self._thousands = mapping.decimal, thousands
        # Exports write a space as a no-break one, and an apostrophe as a typographic one.
        sign = {" ": "[ \u00a0\u202f]", "'": "['\u2019]"}.get(thousands, re.escape(thousands))
        grouped = rf"\d{{1,3}}(?:{sign}\d{{3}})+" if thousands else r"\d+"
        self._pattern = (
            re.compile(rf"([+-]?)({grouped}|\d*)(?:{re.escape(mapping.decimal)}(\d*))?([eE][+-]?\d+)?")
            if thousands or mapping.decimal == ","
            else None
        )

    def number(self, value: Any) -> float:
        """A finite number."""
        if isinstance(value, bool):
            raise CellError(f"is {value}: it must be a number")
        text = value if type(value) is str else text_of(value)
        if "_" in text:
            # Python would read 1_0 as 10.
            raise CellError(f"is {shown(value)}: it must be a number")
        try:
            number = float(text if self._pattern is None or type(value) is not str else self._plain(text.strip()))
        except ValueError as error:
            raise CellError(f"is {shown(value)}: it must be a number{self._hint(text)}") from error
        if not math.isfinite(number):
            raise CellError(f"is {shown(value)}: it must be a finite number")
        return number

    def count(self, value: Any) -> int:
        """A whole number of 32 bits."""
        number = self.number(value)
        if not number.is_integer() or not 0 <= number <= _UINT32_MAX:
            raise CellError(f"is {shown(value)}: it must be a whole number, 0 or more")
        return int(number)

    def _plain(self, text: str) -> str:
        """The number as Python writes it."""
        found = None if self._pattern is None else self._pattern.fullmatch(text)
        if found is None:
            raise ValueError("is written in another way")
        sign, whole, decimals, exponent = found.groups(default="")
        digits = "".join(character for character in whole if character.isdecimal())
        return f"{sign}{digits}.{decimals}{exponent}"

    def _hint(self, text: str) -> str:
        other = "," if self._decimal == "." else "."
        if other not in text:
            return ""
        if other == self._thousands:
            return (
                f"; with decimal: {self._decimal!r}, {other!r} separates thousands, in full groups of three: correct "
                f"it, or set decimal: {other!r}"
            )
        if re.fullmatch(rf"[+-]?\d{{1,3}}(?:{re.escape(other)}\d{{3}})+(?:{re.escape(self._decimal)}\d+)?", text):
            return f": set thousands: {other!r} if it separates thousands, or set decimal: {other!r}"
        return f", or set decimal: {other!r}"


def duration_reader(mapping: FileMapping, numbers: Numbers) -> Callable[[Any], int]:
    """A function that reads a duration in milliseconds."""
    unit = mapping.duration_unit

    def milliseconds_of(value: Any) -> float:
        if isinstance(value, timedelta):
            return value / timedelta(milliseconds=1)
        if isinstance(value, time):
            return (value.hour * 3600 + value.minute * 60 + value.second) * 1000 + value.microsecond / 1000
        if unit == "text":
            return _duration_s(text_of(value)) * 1000
        return numbers.number(value) * _MILLISECONDS[unit]

    def read(value: Any) -> int:
        milliseconds = milliseconds_of(value)
        # Before rounding, which fails for what overflowed.
        if not -0.5 <= milliseconds <= _UINT32_MAX:
            raise CellError(f"is {shown(value)} {unit}: it must be 0 or more, at most 49 days")
        return max(0, round(milliseconds))

    return read


def _duration_s(text: str) -> float:
    if clock := _CLOCK.fullmatch(text):
        return int(clock[1]) * 3600 + int(clock[2]) * 60 + float(clock[3])
    seconds, at, lowered = 0.0, 0, text.casefold()
    while at < len(lowered):
        part = _DURATION_PART.match(lowered, at)
        if part is None or part[2] not in _UNIT_S:
            break
        seconds += float(part[1]) * _UNIT_S[part[2]]
        at = part.end()
    if at < len(lowered):
        raise CellError(
            f"is {shown(text)}, no duration such as '3 mins 20 secs' or '0:03:20': write it so, or set duration_unit "
            "to ms, s or min"
        )
    return seconds


def skills_reader(separator: str) -> Callable[[Any], tuple[str, ...]]:
    """A function that reads the skills of a cell, in their order."""

    @lru_cache(_SKILL_TEXTS)
    def parts(text: str) -> tuple[str, ...]:
        found = text.split(separator) if separator else [text]
        return tuple(sys.intern(part.strip()) for part in found if part.strip())

    def read(value: Any) -> tuple[str, ...]:
        if isinstance(value, list | tuple):
            return tuple(sys.intern(text) for entry in value if (text := text_of(entry)))
        return parts(text_of(value))

    return read
