"""Tables in workbooks of a spreadsheet (xlsx)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import xlsxwriter

from services.recommender.adapters.files.exported_tables import FileKind
from services.recommender.application.operations.columns import Column
from services.recommender.application.operations.export import Row

# A sheet has 1,048,576 rows, one of them the header.
_ROWS_PER_FILE = 1_000_000
_OPTIONS = {
    # Rows go to temporary files, which only their owner can read, instead of memory.
    "constant_memory": True,
    "default_date_format": "yyyy-mm-dd hh:mm:ss",
    # A workbook has no time zones; times are UTC.
    "remove_timezone": True,
}


class _WorkbookWriter:
    def __init__(self, path: Path, columns: Sequence[Column]) -> None:
        self._book = xlsxwriter.Workbook(str(path), _OPTIONS)
        bold = self._book.add_format({"bold": True})
        self._sheet = self._book.add_worksheet("rows")
        self._names = [column.name for column in columns]
        self._next = 1
        for place, name in enumerate(self._names):
            self._sheet.write_string(0, place, name, bold)
        self._sheet.freeze_panes(1, 0)
        meanings = self._book.add_worksheet("columns")
        for place, column in enumerate(columns):
            meanings.write_string(place, 0, column.name, bold)
            meanings.write_string(place, 1, column.meaning)

    def write(self, rows: Sequence[Row]) -> None:
        for row in rows:
            for place, name in enumerate(self._names):
                _write(self._sheet, self._next, place, row.get(name))
            self._next += 1

    def close(self) -> None:
        self._book.close()


def _write(sheet: Any, row: int, place: int, value: Any) -> None:
    # The general `write` would take a text such as "=1+1" for a formula.
    match value:
        case None:
            return
        case bool():
            sheet.write_boolean(row, place, value)
        case int() | float():
            sheet.write_number(row, place, value)
        case datetime():
            sheet.write_datetime(row, place, value.astimezone(UTC))
        case list():
            sheet.write_string(row, place, "; ".join(value))
        case _:
            sheet.write_string(row, place, value)


WORKBOOK = FileKind(".xlsx", _WorkbookWriter, _ROWS_PER_FILE)
"""A workbook with a sheet of the rows and one of the columns' meanings. Texts are texts, whatever they begin with."""
