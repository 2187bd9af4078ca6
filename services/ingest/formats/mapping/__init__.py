"""Tables as events: which column is which field, and how its values are written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from services.common.tables import DamagedRow, FileUnusableError, ObserveBytes, Table, open_table
from services.ingest.application.ports import FieldReason, Row, UnreadableRow
from services.ingest.formats.mapping.model import FileMapping
from services.ingest.formats.mapping.row_mapper import RowMapper


def read_table(
    path: Path, mapping: FileMapping, source: str, observe_bytes: ObserveBytes = lambda _: None
) -> Iterator[Row | UnreadableRow]:
    """The events of a table.

    Args:
        path: the file.
        mapping: how it is read, and how its columns become fields.
        source: the source of events that name none.
        observe_bytes: see ObserveBytes.

    Raises:
        FileUnusableError: when it cannot be read, or its header lacks a column of the mapping.
    """
    table = open_table(path, mapping, observe_bytes)
    _check_columns(path, table.columns, mapping)
    return _mapped(table, mapping, RowMapper(mapping, source))


def _check_columns(path: Path, columns: Sequence[str], mapping: FileMapping) -> None:
    if missing := [column for column in mapping.columns.named() if column not in columns]:
        found = ", ".join(columns[:30])
        hint = ""
        if len(columns) == 1 and mapping.delimiter not in columns[0]:
            hint = f"; there is only one, so the delimiter may not be {mapping.delimiter!r}"
        raise FileUnusableError(
            f"{path} lacks the columns {', '.join(missing)} of the mapping; it has {found}{hint}: fix the mapping"
        )
    repeated = sorted({column for column in mapping.columns.named() if columns.count(column) > 1})
    if repeated:
        raise FileUnusableError(f"the header of {path} repeats {', '.join(repeated)}: name each column once")


def _mapped(table: Table, mapping: FileMapping, mapper: RowMapper) -> Iterator[Row | UnreadableRow]:
    named = set(mapping.columns.named())
    used = [place for place, column in enumerate(table.columns) if column in named]
    for row in table.rows(used):
        if isinstance(row, DamagedRow):
            yield UnreadableRow(row.line, (FieldReason("", row.reason),), row.cells)
            continue
        values = dict(zip(table.columns, row.cells, strict=True))
        yield mapper.row(row.line, values, {name: _plain(value) for name, value in values.items()})


def _plain(value: Any) -> Any:
    return value if isinstance(value, str | int | float | bool | list | type(None)) else str(value)
