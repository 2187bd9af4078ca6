"""Tables in files, whatever their format, read row by row."""

from __future__ import annotations

from pathlib import Path

from services.common.tables.columns import place_of
from services.common.tables.confined import open_parquet, open_workbook
from services.common.tables.delimited import open_delimited
from services.common.tables.fixed_width import open_fixed_width
from services.common.tables.layout import Layout
from services.common.tables.lines import FileUnusableError, ObserveBytes
from services.common.tables.sources import FileKind, members_of, source_of
from services.common.tables.table import Cell, DamagedRow, Rows, Table, TableRow

__all__ = [
    "Cell",
    "DamagedRow",
    "FileUnusableError",
    "Layout",
    "ObserveBytes",
    "Rows",
    "Table",
    "TableRow",
    "members_of",
    "open_table",
    "place_of",
]


def open_table(path: Path, layout: Layout | None = None, observe_bytes: ObserveBytes = lambda _: None) -> Table:
    """The table of a file.

    Args:
        path: the file: a workbook or Parquet, by its first bytes; else text, delimited or of fixed width. Each may be
            compressed by gzip or be inside a zip file.
        layout: how the file holds the table; None: the default layout.
        observe_bytes: see ObserveBytes.

    Raises:
        FileUnusableError: when it cannot be read; the message says why and what to do.
    """
    layout = layout or Layout()
    source = source_of(path, layout.member)
    kind = source.kind()
    _check_layout(source, kind, layout)
    if kind is FileKind.PARQUET:
        return open_parquet(source, observe_bytes)
    if kind is FileKind.WORKBOOK:
        return open_workbook(source, layout, observe_bytes)
    if layout.widths is not None:
        return open_fixed_width(source, layout, observe_bytes)
    return open_delimited(source, layout, observe_bytes)


_MEANINGLESS_KEYS = {
    FileKind.TEXT: ("sheet",),
    FileKind.WORKBOOK: ("widths",),
    FileKind.PARQUET: ("sheet", "widths", "header"),
}


def _check_layout(source: object, kind: FileKind, layout: Layout) -> None:
    for key in _MEANINGLESS_KEYS[kind]:
        if getattr(layout, key) is not None:
            raise FileUnusableError(f"{key} is set, but {source} is a file of {kind}, which has none: remove {key}")
