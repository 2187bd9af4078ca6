"""From the rows of a file to those of a table: its header, and rows as wide as it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from services.common.tables.columns import joined_names
from services.common.tables.layout import Layout
from services.common.tables.lines import FileUnusableError
from services.common.tables.sources import Source
from services.common.tables.table import Cell, DamagedRow, Rows, Table, TableRow


def table_of(source: Source, layout: Layout, rows: Rows) -> Table:
    """The table of rows of any width, of which some may be its header.

    Args:
        source: what they are read from.
        layout: says where the header is.
        rows: those of the file that are not empty.

    Raises:
        FileUnusableError: when there is no header, or it cannot be read.
    """
    if layout.header == 0:
        first = next(rows, None)
        width = len(first.cells) if first is not None and first.cells else 0
        columns = tuple(f"#{number}" for number in range(1, width + 1))
        rows = chain(() if first is None else (first,), rows)
    else:
        columns = joined_names([row.cells for row in _header_rows(source, layout.header, rows)])
    if not columns:
        raise FileUnusableError(f"{source} is empty: it needs a header and rows")
    return Table(columns, lambda _used: _fitted(rows, columns))


def _header_rows(source: Source, header: int | tuple[int, ...] | None, rows: Rows) -> Iterator[TableRow]:
    if header is None:
        yield _undamaged(source, next(rows, None), "line 1")
        return
    for number in header if isinstance(header, tuple) else (header,):
        row = next((row for row in rows if row.line >= number), None)
        if row is not None and row.line > number:
            raise FileUnusableError(
                f"header names line {number} of {source}, which is empty or inside a quoted cell: "
                f"the next row is at line {row.line}"
            )
        yield _undamaged(source, row, f"line {number}")


def _undamaged(source: Source, row: TableRow | DamagedRow | None, where: str) -> TableRow:
    if row is None:
        raise FileUnusableError(f"{source} has no {where} with a header: it needs a header and rows; see header")
    if isinstance(row, DamagedRow):
        raise FileUnusableError(f"the header of {source} at line {row.line} {row.reason}")
    return row


def _fitted(rows: Rows, columns: tuple[str, ...]) -> Rows:
    width = len(columns)
    # A row may end before columns that have no name, and after them when it has nothing there.
    named = max((place for place, column in enumerate(columns, 1) if column), default=width)
    for row in rows:
        if isinstance(row, DamagedRow) or len(row.cells) == width:
            yield row
        elif named <= len(row.cells) < width:
            yield TableRow(row.line, row.cells + ("",) * (width - len(row.cells)))
        elif len(row.cells) > width and all(map(is_empty, row.cells[width:])):
            yield TableRow(row.line, row.cells[:width])
        else:
            reason = f"has {len(row.cells)} columns, the header {width}: fix its delimiters and quotes"
            yield DamagedRow(row.line, reason, row.cells)


def is_empty(cell: Cell) -> bool:
    """Whether there is nothing in a cell that somebody would see."""
    return cell is None or (isinstance(cell, str) and not cell.strip())
