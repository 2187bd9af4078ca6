"""What a table is, whatever file it came from."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

Cell = str | int | float | bool | date | datetime | time | timedelta | list["Cell"] | None
"""What a cell holds: text as it is written, or the plain Python value of a file that has types; None: nothing."""


@dataclass(frozen=True, slots=True)
class TableRow:
    """One row.

    Attributes:
        line: where it starts: the line of a text file, the row of any other, from 1.
        cells: as many as the table has columns.
    """

    line: int
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class DamagedRow:
    """A row that cannot be read as one of the table.

    Attributes:
        line: as of `TableRow`.
        reason: what is wrong and what to do, as the end of a sentence about the row.
        cells: what could be read of it; None: nothing.
    """

    line: int
    reason: str
    cells: tuple[Cell, ...] | None = None


Rows = Iterator[TableRow | DamagedRow]
"""Read lazily, once. Reading them raises FileUnusableError where the file is damaged beyond a row."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table of a file.

    Attributes:
        columns: their names, as in the header, in their order; names may repeat.
        rows: returns the rows, and is called once. It takes the places of the columns that are used, from 0: cells of
            others may be None.
    """

    columns: tuple[str, ...]
    rows: Callable[[Collection[int]], Rows]
