"""Companion files, whose columns are added to the rows of a table by a key."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Collection, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from services.common.tables import Cell, DamagedRow, FileUnusableError, Table, members_of, open_table
from services.ingest.application.ports import FieldReason
from services.ingest.formats.mapping.cells import text_of
from services.ingest.formats.mapping.keys import Join
from services.ingest.formats.mapping.shape import PlaceOf

_Found = tuple[Cell, ...] | FieldReason

_KEPT_MAX = 16_384
# No id has it.
_BETWEEN = "\x1f"


class Companion:
    """The rows of a companion file by their key, in a temporary database on disk.

    Several rows may have one key where they differ in skills only: the key has the skills of all.
    """

    def __init__(
        self,
        table: Path,
        join: Join,
        place_of: PlaceOf,
        skill_columns: Collection[str],
        skills_of: Callable[[Sequence[Cell]], Sequence[str]],
    ) -> None:
        """Reads the companion.

        Args:
            table: the file of the table that it belongs to.
            join: how they belong together.
            place_of: where the columns of the table are.
            skill_columns: the columns that hold skills, and nothing else.
            skills_of: the different skills of some cells.

        Raises:
            FileUnusableError: when it cannot be read, or lacks a column.
        """
        self.join = join
        self.columns = tuple(join.take)
        path = companion_path(table, join)
        self.path = f"{join.file} in {path}" if path == table else str(path)
        self.key_column = next(iter(join.by))
        self._places = [place_of(column) for column in join.by]
        self._are_skills = [column in skill_columns for column in join.take]
        self._skills_of = skills_of
        self._kept: dict[bytes, _Found | None] = {}
        # An empty name is a private database, which SQLite keeps in a temporary file and removes.
        self._database = sqlite3.connect("")
        self._database.execute(
            "CREATE TABLE row (key BLOB PRIMARY KEY, line INTEGER, cells TEXT, problem TEXT) WITHOUT ROWID"
        )
        try:
            self._fill(_opened(path, table, join))
        except sqlite3.Error as error:
            raise FileUnusableError(
                f"{self.path} cannot be kept in a temporary file ({error}): free some space, or set TMPDIR to a folder "
                "that has it"
            ) from error

    def close(self) -> None:
        """Remove the database."""
        self._database.close()

    def cells_of(self, cells: Sequence[Cell]) -> _Found | None:
        """What is added to a row of the table.

        Returns:
            The cells; the problem of its key, which rows of the companion contradict each other on; or None: the
            companion lacks it.
        """
        key = _key([cells[place] for place in self._places])
        if key is None:
            return None
        if key in self._kept:
            return self._kept[key]
        if len(self._kept) >= _KEPT_MAX:
            self._kept.clear()
        self._kept[key] = found = self._found(key)
        return found

    def _found(self, key: bytes) -> _Found | None:
        row = self._database.execute("SELECT cells, problem FROM row WHERE key = ?", (key,)).fetchone()
        if row is None:
            return None
        added, problem = row
        if problem is None:
            return tuple(json.loads(added))
        return FieldReason(self.key_column, f"is {self._shown(key)}, {problem}")

    def missing(self, cells: Sequence[Cell]) -> FieldReason:
        """The problem of a row of the table whose key the companion lacks."""
        key = _key([cells[place] for place in self._places])
        if key is None:
            return FieldReason(self.key_column, f"is empty, but is the key of {self.join.file}: fill it")
        return FieldReason(
            self.key_column,
            f"is {self._shown(key)}, which {self.join.file} lacks: add it there, or set absent of join to leave_out or "
            "empty",
        )

    def _fill(self, table: Table) -> None:
        by = [self._place(table, column) for column in self.join.by.values()]
        take = [self._place(table, column) for column in self.join.take.values()]
        with closing(self._database.cursor()) as cursor:
            for row in table.rows({*by, *take}):
                if isinstance(row, DamagedRow):
                    raise FileUnusableError(f"line {row.line} of {self.path} {row.reason}")
                key = _key([row.cells[place] for place in by])
                if key is None:
                    continue
                cells = [_storable(row.cells[place]) for place in take]
                try:
                    cursor.execute("INSERT INTO row VALUES (?, ?, ?, NULL)", (key, row.line, json.dumps(cells)))
                except sqlite3.IntegrityError:
                    self._add(cursor, key, row.line, cells)

    def _add(self, cursor: sqlite3.Cursor, key: bytes, line: int, cells: Sequence[Any]) -> None:
        """Add a row whose key an earlier one has."""
        first, known = cursor.execute("SELECT line, cells FROM row WHERE key = ?", (key,)).fetchone()
        both = list(zip(self.join.take.values(), self._are_skills, json.loads(known), cells, strict=True))
        if different := [column for column, are_skills, one, other in both if one != other and not are_skills]:
            problem = (
                f"which {self.join.file} has in the lines {first} and {line} with another {', '.join(different)}: keep "
                "one of them, or join by more columns"
            )
            cursor.execute("UPDATE row SET problem = coalesce(problem, ?) WHERE key = ?", (problem, key))
            return
        merged = [self._skills_of((one, other)) if are_skills else one for _, are_skills, one, other in both]
        cursor.execute("UPDATE row SET cells = ? WHERE key = ?", (json.dumps(merged), key))

    def _place(self, table: Table, column: str) -> int:
        if table.columns.count(column) != 1:
            what = "repeats" if column in table.columns else "lacks"
            raise FileUnusableError(
                f"{self.path} {what} the column {column} of join; it has {', '.join(table.columns[:30])}: fix the "
                "mapping"
            )
        return table.columns.index(column)

    def _shown(self, key: bytes) -> str:
        return ", ".join(map(repr, key.decode(errors="replace").split(_BETWEEN)))


def companion_path(table: Path, join: Join) -> Path:
    """The file of a companion: next to the table, or the zip file that holds both."""
    try:
        members = members_of(table)
    except FileUnusableError:
        # Opening the table says why.
        members = ()
    return table if join.file in members else table.parent / join.file


def _opened(path: Path, table: Path, join: Join) -> Table:
    """The table of a companion file."""
    if not path.exists():
        raise FileUnusableError(
            f"{path} is missing, which the mapping joins to {table.name}: put it there, or give a --mapping without it"
        )
    return open_table(path, join.model_copy(update={"member": join.file}) if path == table else join)


def _key(cells: Sequence[Cell]) -> bytes | None:
    texts = ["" if cell is None else text_of(cell) for cell in cells]
    return _BETWEEN.join(texts).encode(errors="surrogatepass") if all(texts) else None


def _storable(cell: Cell) -> Any:
    return cell if isinstance(cell, str | int | float | bool | list | type(None)) else str(cell)
