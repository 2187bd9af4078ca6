"""Tables in text files: CSV and JSON lines."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from services.recommender.adapters.files.exported_tables import FileKind
from services.recommender.application.operations.columns import Column
from services.recommender.application.operations.export import Row

# A spreadsheet takes a cell that begins like this for a formula, also in its full-width form.
_FORMULA_BEGINS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


class _CsvWriter:
    def __init__(self, path: Path, columns: Sequence[Column]) -> None:
        self._names = [column.name for column in columns]
        self._file = path.open("w", encoding="utf-8", newline="")
        self._writer = csv.writer(self._file)
        self._writer.writerow(self._names)

    def write(self, rows: Sequence[Row]) -> None:
        self._writer.writerows([_cell(row.get(name)) for name in self._names] for row in rows)

    def close(self) -> None:
        self._file.close()


class _JsonLinesWriter:
    def __init__(self, path: Path, columns: Sequence[Column]) -> None:
        del columns  # Every row names its fields.
        self._file = path.open("wb")

    def write(self, rows: Sequence[Row]) -> None:
        self._file.writelines(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in rows)

    def close(self) -> None:
        self._file.close()


def _cell(value: Any) -> Any:
    match value:
        case bool():
            return "true" if value else "false"
        case datetime():
            return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
        case list():
            return _cell("; ".join(value))
        case str():
            return f"'{value}" if value.startswith(_FORMULA_BEGINS) else value
        case _:
            return value


CSV = FileKind(".csv", _CsvWriter)
"""RFC 4180 in UTF-8. A text that a spreadsheet would take for a formula gets an apostrophe in front."""

JSON_LINES = FileKind(".jsonl", _JsonLinesWriter)
