"""Tables in which people list learners: rosters, ids of the same learner, learners to leave out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from services.common.auth.identity import normalised_id, unusable_character
from services.common.tables import Cell, DamagedRow, FileUnusableError, Layout, Table, open_table
from services.common.tables.detection import detected_layout

_ID_CHARACTERS_MAX = 256
LEARNER_COLUMNS = ("learner", "learner_id", "student", "student_id", "id")
"""What the column of the learners' ids is called, where nobody names it; the first that a table has counts."""


@dataclass(frozen=True, slots=True)
class LearnerTable:
    """A table of learners' ids.

    Attributes:
        path: its file.
        table: the table.
    """

    path: Path
    table: Table

    @property
    def columns(self) -> tuple[str, ...]:
        """What its first row says."""
        return self.table.columns

    def place_of(self, names: Sequence[str]) -> int | None:
        """The place of the first of these columns that it has, in upper or lower case; None: it has none of them."""
        columns = [normalised_id(column).casefold() for column in self.columns]
        return next((columns.index(name.casefold()) for name in names if name.casefold() in columns), None)

    def rows(self, places: Sequence[int]) -> Iterator[tuple[int, tuple[str, ...]]]:
        """The line of each row and its ids at these places, normalised; empty where a cell is.

        Raises:
            FileUnusableError: when a row cannot be read, or a cell cannot be an id.
        """
        for row in self.table.rows(places):
            if isinstance(row, DamagedRow):
                raise FileUnusableError(f"line {row.line} of {self.path} {row.reason}")
            yield row.line, tuple(self._id_of(row.cells[place], row.line, place) for place in places)

    def listed(self, place: int, *, header: bool) -> Iterator[tuple[int, str]]:
        """The line of each row and its id; rows without one are left out.

        Args:
            place: of the ids.
            header: whether the first row names the columns; if not, it is a learner like the others.

        Raises:
            FileUnusableError: as of `rows`.
        """
        if not header:
            yield 1, self._id_of(self.columns[place], 1, place)
        yield from ((line, learner_id) for line, (learner_id,) in self.rows([place]) if learner_id)

    def _id_of(self, cell: Cell, line: int, place: int) -> str:
        where = f"line {line} of {self.path}: the cell of column {self.columns[place]!r}"
        if cell is None:
            return ""
        # A spreadsheet stores the id 17 as 17.0.
        if isinstance(cell, float) and cell.is_integer():
            cell = int(cell)
        if isinstance(cell, bool) or not isinstance(cell, str | int):
            raise FileUnusableError(f"{where} is {cell!r}, which is no id: store the column as text")
        found = normalised_id(str(cell))
        if not found.strip():
            return ""
        if unusable := unusable_character(found):
            raise FileUnusableError(
                f"{where} has the {unusable.what} {unusable.shown} at position {unusable.position}: remove it"
            )
        if len(found) > _ID_CHARACTERS_MAX:
            raise FileUnusableError(f"{where} has {len(found)} characters; an id has at most {_ID_CHARACTERS_MAX}")
        return found


def open_learner_table(path: Path) -> LearnerTable:
    """The table of a file of any kind that Cairn reads.

    Raises:
        FileUnusableError: when it cannot be read; the message says why and what to do.
    """
    return LearnerTable(path, open_table(path, _layout_of(path)))


def _layout_of(path: Path) -> Layout:
    """How the text of a file is written.

    Where the table begins is not guessed: a list of ids has no header. Neither is an encoding that only a person knows.
    """
    found = detected_layout(path).layout
    encoding = found.encoding if found.encoding.startswith(("utf-16", "utf-32")) else Layout().encoding
    return Layout(delimiter=found.delimiter, encoding=encoding)
