"""Tables in files, whatever their format, read row by row."""

from __future__ import annotations

from pathlib import Path

from services.common.tables.delimited import open_delimited
from services.common.tables.layout import Layout
from services.common.tables.lines import FileUnusableError, ObserveBytes
from services.common.tables.parquet import open_parquet
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
    "open_table",
]


def open_table(path: Path, layout: Layout | None = None, observe_bytes: ObserveBytes = lambda _: None) -> Table:
    """The table of a file.

    Args:
        path: the file: Parquet, by its name or its first bytes; else delimited text, gzip-compressed or not.
        layout: how the file holds the table; None: the default layout.
        observe_bytes: see ObserveBytes.

    Raises:
        FileUnusableError: when it cannot be read; the message says why and what to do.
    """
    layout = layout or Layout()
    if path.suffix.lower() == ".parquet" or _begins_with(path, b"PAR1"):
        return open_parquet(path, observe_bytes)
    return open_delimited(path, layout, observe_bytes)


def _begins_with(path: Path, magic: bytes) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(magic)) == magic
    except OSError as error:
        raise FileUnusableError(f"{path} cannot be read: {error.strerror or error}") from error
