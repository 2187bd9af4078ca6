"""Rows of the tables that protocols read, and what their cells hold."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import TypeVar

from services.common.tables import Cell, DamagedRow, FileUnusableError, Layout, open_table
from services.common.tables.outcome_words import RIGHT, WRONG
from services.common.tables.text import text_lines

Row = TypeVar("Row")

_OUTCOMES = dict.fromkeys(RIGHT, 1.0) | dict.fromkeys(WRONG, 0.0)
_SKILLS_MAX = 255
# The end of the year 9999. What is later is in milliseconds.
_LATEST_S = 253_402_300_799
_SHOWN_CHARACTERS = 40
_SHOWN_COLUMNS = 30


class DataUnusableError(ValueError):
    """A file of a protocol is missing or malformed; the message names it and the remedy."""


def rows_of(
    path: Path,
    row_of: Callable[..., Row],
    columns: Sequence[str],
    *,
    optional: Sequence[str] = (),
    delimiter: str = ",",
) -> Iterator[Row]:
    """Read a table: delimited text, plain or compressed, or Parquet.

    Args:
        path: its file.
        row_of: called with the cells of each row, in the order of `columns` and `optional`; raises ValueError where one
            is wrong.
        columns: the names of the columns that it needs. A type after a colon in the header is no part of a name.
        optional: the names of columns that it may lack; their cells are then None.
        delimiter: of delimited text.

    Raises:
        DataUnusableError: when it is malformed; the message names line, column, value and remedy.
    """
    try:
        # A file may name another delimiter than a comma, if nobody says that it is one.
        table = open_table(path, Layout() if delimiter == "," else Layout(delimiter=delimiter))
        names = [name.partition(":")[0] for name in table.columns]
        places = [
            _place(path, names, name, columns) if name in columns or name in names else None
            for name in (*columns, *optional)
        ]
        for row in table.rows([place for place in places if place is not None]):
            if isinstance(row, DamagedRow):
                raise DataUnusableError(f"{path}: line {row.line} {row.reason}")
            try:
                read = row_of(*(None if place is None else _filled(row.cells[place]) for place in places))
            except ValueError as error:
                raise DataUnusableError(f"{path}: line {row.line}: {error}") from error
            yield read
    except FileUnusableError as error:
        raise DataUnusableError(str(error)) from error


def words_of(path: Path) -> Iterator[list[str]]:
    """The words of each line of a text that has any.

    Raises:
        DataUnusableError: when it cannot be read.
    """
    try:
        yield from filter(None, map(str.split, text_lines(path, "utf-8", lambda _: None)))
    except FileUnusableError as error:
        raise DataUnusableError(str(error)) from error


def text_of(cell: Cell) -> str:
    """The text of a cell, as it is written; empty where there is nothing to see."""
    if isinstance(cell, float) and cell.is_integer():
        # Tables that have no type for integers with missing values store 17 as 17.0.
        cell = int(cell)
    text = "" if cell is None else str(cell)
    return text if text.strip() else ""


def id_of(cell: Cell, column: str) -> str:
    """An id.

    Raises:
        ValueError: when there is none.
    """
    if text := text_of(cell):
        return text
    raise ValueError(f"{column} is empty: write an id, or leave out the row")


def skills_of(cell: Cell) -> list[str]:
    """Distinct skills, of a list or separated by semicolons.

    Raises:
        ValueError: when there are more than one response can have.
    """
    parts = [text_of(part) for part in cell] if isinstance(cell, list) else text_of(cell).split(";")
    skills = list(dict.fromkeys(filter(None, map(str.strip, parts))))
    check_skills(len(skills))
    return skills


def check_skills(count: int) -> None:
    """Check how many skills a response has.

    Raises:
        ValueError: when there are too many.
    """
    if count > _SKILLS_MAX:
        raise ValueError(f"there are {count} skills: a response has at most {_SKILLS_MAX}; name those it is about")


def outcome_of(cell: Cell, column: str = "correct") -> float:
    """An outcome from 0 to 1: right or wrong, or a score.

    Raises:
        ValueError: when it is none.
    """
    text = text_of(cell).strip()
    outcome = _OUTCOMES.get(text.casefold(), _number(text))
    if outcome is not None and 0.0 <= outcome <= 1.0:
        return outcome
    raise ValueError(
        f"{column} is {_shown(text)}, not in [0, 1]: write true or false, or a score from 0 to 1; divide points by "
        "their maximum, and leave out rows that nobody scored"
    )


def time_s_of(cell: Cell, column: str) -> float:
    """A time in Unix seconds, from these or from ISO 8601; without a zone, in UTC.

    Raises:
        ValueError: when it is none.
    """
    text = text_of(cell).strip()
    if not text:
        raise ValueError(f"{column} is empty: give every row a time, or remove the column")
    seconds = _number(text)
    if seconds is None:
        seconds = _iso_time_s(cell, text, column)
    if 0.0 <= seconds <= _LATEST_S:
        return seconds
    remedy = "divide milliseconds by 1000" if seconds > 0 else "times before 1970 cannot be read"
    raise ValueError(f"{column} is {_shown(text)}: it must be Unix seconds, or ISO 8601; {remedy}")


def _iso_time_s(cell: Cell, text: str, column: str) -> float:
    try:
        if isinstance(cell, date):
            moment = cell if isinstance(cell, datetime) else datetime.combine(cell, time())
        else:
            moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError(
            f"{column} is {_shown(text)}: it must be Unix seconds, or ISO 8601 such as 2026-09-01T08:30:00Z"
        ) from error
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()


def _place(path: Path, names: Sequence[str], name: str, needed: Sequence[str]) -> int:
    found = names.count(name)
    if not found:
        has = ", ".join(names[:_SHOWN_COLUMNS])
        raise DataUnusableError(f"{path} lacks the column {name}; it needs {', '.join(needed)}, and has {has}")
    if found > 1:
        raise DataUnusableError(f"{path} has {found} columns {name}: remove or rename all but one")
    return names.index(name)


def _filled(cell: Cell) -> Cell:
    """A cell; an empty text where it holds nothing."""
    return "" if cell is None else cell


def _number(text: str) -> float | None:
    """A finite number; None: it is none."""
    # Python would read 1_0 as 10.
    if "_" in text:
        return None
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _shown(text: str) -> str:
    """A value for a message: a number as it is, unprintable characters of others as escapes, long values truncated."""
    shown = re.sub(r"\s+", " ", text)[:_SHOWN_CHARACTERS]
    return shown if _number(shown) is not None else repr(shown)
