"""Tables as events: which column is which field, and how its values are written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from services.common.tables import Cell, DamagedRow, FileUnusableError, ObserveBytes, open_table, place_of
from services.ingest.application.ports import FieldReason, FileRow, LeftOutRow, UnreadableRow
from services.ingest.formats.mapping.companions import Companion
from services.ingest.formats.mapping.fields import FieldReaders
from services.ingest.formats.mapping.file_texts import for_file
from services.ingest.formats.mapping.model import FileMapping
from services.ingest.formats.mapping.row_mapper import RowMapper
from services.ingest.formats.mapping.shape import (
    CellTest,
    RowChoice,
    columns_of,
    event_shapes,
    only_skills_of,
    with_maximum_row,
)


def read_table(
    path: Path, mapping: FileMapping, source: str, observe_bytes: ObserveBytes = lambda _: None
) -> Iterator[FileRow]:
    """The events of a table.

    Args:
        path: the file.
        mapping: how it is read, and how its columns become fields.
        source: the source of events that name none.
        observe_bytes: see ObserveBytes.

    Raises:
        FileUnusableError: when it or a companion cannot be read, or its header lacks a column of the mapping.
    """
    return _MappedTable(path, mapping, source, observe_bytes).rows()


class _MappedTable:
    """A table and its companions, opened and checked against a mapping."""

    def __init__(self, path: Path, mapping: FileMapping, source: str, observe_bytes: ObserveBytes) -> None:
        self._path = path
        self._table = open_table(path, mapping, observe_bytes)
        self._columns = list(self._table.columns)
        mapping = self._mapping = _with_all_skills(for_file(mapping, path), self._columns)
        self._companions: list[Companion] = []
        skill_columns, skills = only_skills_of(mapping), FieldReaders(mapping, ()).reader("skills", (0, 1))
        for join in mapping.join:
            self._check_columns(join.by)
            companion = Companion(path, join, self._place_of, skill_columns, lambda cells: skills(cells, []) or ())
            self._check_new(companion)
            self._companions.append(companion)
            self._columns += companion.columns
        mapping = self._mapping = _without_missing(mapping, self._columns)
        self._check_columns(columns_of(mapping))
        shapes = event_shapes(mapping, self._columns, self._place_of)
        self._used = {
            *map(self._place_of, columns_of(mapping)),
            *(place for shape in shapes for places in shape.places.values() for place in places),
        }
        self._labels = _labels(self._columns)
        self._mapper = RowMapper(mapping, source, self._labels, self._place_of, shapes)
        own = len(self._table.columns)
        choice = RowChoice(mapping, self._place_of)
        self._left_out = choice.of_columns(0, own)
        self._left_out_with_companions = choice.of_columns(own, len(self._columns))

    def rows(self) -> Iterator[FileRow]:
        """The events of each row."""
        rows = self._table.rows({place for place in self._used if place < len(self._table.columns)})
        maximum = None
        if self._mapping.maximum_row is not None:
            test = CellTest(self._mapping.maximum_row, self._place_of)
            maximum, rows = with_maximum_row(rows, test, self._path)
            self._mapper.set_maxima(maximum.cells)
        left_out, mapped = self._left_out, self._mapper.rows
        for number, row in enumerate(rows, 1):
            if isinstance(row, DamagedRow):
                # Its cells may be those of other columns than the header's.
                cells_read = None if row.cells is None else [_plain(cell) for cell in row.cells]
                yield UnreadableRow(row.line, (FieldReason("", row.reason),), cells_read)
            elif row is maximum:
                yield LeftOutRow(row.line, "maximum_row")
            elif (reason := left_out(row.cells)) is not None:
                yield LeftOutRow(row.line, reason)
            else:
                original = _original(self._labels, row.cells)
                cells = self._joined(row.line, row.cells, original) if self._companions else row.cells
                if isinstance(cells, tuple):
                    yield from mapped(row.line, number, cells, original)
                else:
                    yield cells
        for companion in self._companions:
            companion.close()

    def _joined(
        self, line: int, cells: tuple[Cell, ...], original: object
    ) -> tuple[Cell, ...] | UnreadableRow | LeftOutRow:
        """The cells of a row and of its companions."""
        for companion in self._companions:
            added = companion.cells_of(cells)
            if isinstance(added, FieldReason):
                return UnreadableRow(line, (added,), original)
            if added is None:
                match companion.join.absent:
                    case "leave_out":
                        return LeftOutRow(line, f"not in {companion.join.file}")
                    case "refuse":
                        return UnreadableRow(line, (companion.missing(cells),), original)
                added = (None,) * len(companion.columns)
            cells = (*cells, *added)
        reason = self._left_out_with_companions(cells)
        return cells if reason is None else LeftOutRow(line, reason)

    def _place_of(self, name: str) -> int:
        self._check_columns([name])
        return place_of(self._columns, name)

    def _check_columns(self, names: Sequence[str] | dict[str, str]) -> None:
        columns = self._columns
        if missing := [name for name in names if not _has(columns, name)]:
            hint = ""
            if len(columns) == 1 and self._mapping.delimiter not in columns[0]:
                hint = f"; there is only one, so the delimiter may not be {self._mapping.delimiter!r}"
            raise FileUnusableError(
                f"{self._path} lacks the columns {', '.join(missing)} of the mapping; it has "
                f"{', '.join(columns[:30])}{hint}: fix the mapping"
            )
        if repeated := sorted({name for name in names if columns.count(name) > 1}):
            first = repeated[0]
            raise FileUnusableError(
                f"the header of {self._path} repeats {', '.join(repeated)}: name the first as {first}#1, the second as "
                f"{first}#2"
            )

    def _check_new(self, companion: Companion) -> None:
        if known := [column for column in companion.columns if column in self._columns]:
            raise FileUnusableError(
                f"join takes {known[0]} from {companion.join.file}, and {self._path} has that column, too: give it "
                f"another name, as in take: {{of_companion: {companion.join.take[known[0]]}}}"
            )


def _has(columns: Sequence[str], name: str) -> bool:
    """Whether there are columns of a name, or with the number that it gives."""
    if name in columns:
        return True
    try:
        place_of(columns, name)
    except FileUnusableError:
        return False
    return True


def _without_missing(mapping: FileMapping, columns: Sequence[str]) -> FileMapping:
    """The mapping without the optional columns that a table lacks."""
    missing = [name for name in mapping.optional if not _has(columns, name)]
    return mapping.model_copy(update={"columns": mapping.columns.without(missing)}) if missing else mapping


def _with_all_skills(mapping: FileMapping, columns: Sequence[str]) -> FileMapping:
    """The mapping with every column of a name that it gives for skills: an act may have several."""
    skills = [
        name if columns.count(name) < 2 else f"{name}#{number}"
        for name in mapping.columns.skills
        for number in range(1, max(columns.count(name), 1) + 1)
    ]
    return mapping.model_copy(update={"columns": mapping.columns.model_copy(update={"skills": tuple(skills)})})


def _labels(columns: Sequence[str]) -> list[str]:
    """The names of columns, each once: the second of a name is NAME#2."""
    labels: dict[str, None] = {}
    for place, column in enumerate(columns):
        label, count = column, columns[: place + 1].count(column)
        while count > 1 and (label := f"{column}#{count}") in labels:
            count += 1
        labels[label if label not in labels else f"#{place + 1}"] = None
    return list(labels)


def _original(labels: Sequence[str], cells: Sequence[Cell]) -> dict[str, Any]:
    """A row as it is in the file, of JSON types."""
    # Nearly every cell is a text. Labels of companions have no cell here.
    return dict(zip(labels, [cell if type(cell) is str else _plain(cell) for cell in cells], strict=False))


def _plain(cell: Cell) -> Any:
    return cell if isinstance(cell, str | int | float | bool | list | type(None)) else str(cell)
