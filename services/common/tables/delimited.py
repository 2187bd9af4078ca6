"""Tables of delimited text."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from services.common.tables.layout import Layout
from services.common.tables.lines import FileUnusableError, ObserveBytes
from services.common.tables.table import DamagedRow, Rows, Table, TableRow
from services.common.tables.text import text_lines


def open_delimited(path: Path, layout: Layout, observe_bytes: ObserveBytes) -> Table:
    """The table of a file of delimited text with a header; arguments and errors as of `open_table`."""
    reader = csv.reader(text_lines(path, layout.encoding, observe_bytes), delimiter=layout.delimiter)
    header = next(reader, None)
    if header is None:
        raise FileUnusableError(f"{path} is empty: it needs a header and rows")
    columns = tuple(column.strip() for column in header)
    return Table(columns, lambda _used: _rows(reader, len(columns)))


def _rows(reader: Any, columns: int) -> Rows:
    while True:
        line = reader.line_num + 1
        try:
            values = next(reader, None)
        except csv.Error as error:
            yield DamagedRow(line, f"is not a row of a table, up to line {reader.line_num} ({error}): fix its quotes")
            continue
        if values is None:
            return
        if not values:
            continue
        if len(values) != columns:
            reason = f"has {len(values)} columns, the header {columns}: fix its delimiters and quotes"
            yield DamagedRow(line, reason, tuple(values))
            continue
        yield TableRow(line, tuple(values))
