"""The columns of a table: their names from its header, and their places by name."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Iterable, Sequence

from services.common.tables.lines import FileUnusableError
from services.common.tables.table import Cell

_SHOWN_COLUMNS = 30
_CLOSE_COLUMNS = 3
_NUMBERED = re.compile(r"(?P<name>.*)#(?P<number>[1-9][0-9]{0,6})", re.DOTALL)


def place_of(columns: Sequence[str], name: str) -> int:
    """The place of a column, from 0.

    A name is that of the header, without white space around it. `NAME#2` is the second column of that name and `#13`
    the thirteenth column of the table, unless the header has just that name.

    Args:
        columns: their names, as of `Table`.
        name: which one.

    Raises:
        FileUnusableError: when there is no such column, or several; the message lists the choices.
    """
    name = plain_name(name)
    places = _places(columns, name)
    if len(places) == 1:
        return places[0]
    if places:
        choices = ", ".join(f"{name}#{number} (column {place + 1})" for number, place in enumerate(places, 1))
        raise FileUnusableError(f"there are {len(places)} columns {name!r}: name one of {choices}")
    if numbered := _NUMBERED.fullmatch(name):
        number = int(numbered["number"])
        places = _places(columns, numbered["name"].strip()) if numbered["name"] else list(range(len(columns)))
        if number <= len(places):
            return places[number - 1]
    raise FileUnusableError(f"there is no column {name!r}{_close_names(columns, name)}; there are {_listed(columns)}")


def plain_name(text: str) -> str:
    """A column's name without what nobody sees: white space around it, and the form in which letters are composed."""
    return unicodedata.normalize("NFC", text).strip()


def joined_names(rows: Sequence[Sequence[Cell]]) -> tuple[str, ...]:
    """The names of columns from the rows of a header; see `Layout.header`."""
    width = max(map(len, rows))
    texts = [[plain_name(_text(cell)) for cell in row] + [""] * (width - len(row)) for row in rows]
    for upper in texts[:-1]:
        for place in range(1, width):
            upper[place] = upper[place] or upper[place - 1]
    return tuple(" ".join(filter(None, column)) for column in zip(*texts, strict=True))


def _text(cell: Cell) -> str:
    return "" if cell is None else str(cell)


def _places(columns: Sequence[str], name: str) -> list[int]:
    return [place for place, column in enumerate(columns) if column == name]


def _close_names(columns: Iterable[str], name: str) -> str:
    by_lower_case = {column.casefold(): column for column in reversed([*columns]) if column}
    close = difflib.get_close_matches(name.casefold(), by_lower_case, _CLOSE_COLUMNS)
    return f": did you mean {' or '.join(repr(by_lower_case[each]) for each in close)}?" if close else ""


def _listed(columns: Sequence[str]) -> str:
    names = []
    for place, column in enumerate(columns[:_SHOWN_COLUMNS]):
        repeated = columns.count(column) > 1
        names.append(
            f"#{place + 1}" if not column else f"{column}#{columns[: place + 1].count(column)}" if repeated else column
        )
    more = f" and {len(columns) - _SHOWN_COLUMNS} more" if len(columns) > _SHOWN_COLUMNS else ""
    return ", ".join(names) + more
