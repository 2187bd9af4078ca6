"""Tables of text whose columns are at fixed characters of each line."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from services.common.tables.columns import plain_name
from services.common.tables.layout import Layout
from services.common.tables.lines import LINE_BYTES_MAX, FileUnusableError, ObserveBytes
from services.common.tables.sources import Source
from services.common.tables.table import DamagedRow, Rows, Table, TableRow
from services.common.tables.text import lines_of_text


def open_fixed_width(source: Source, layout: Layout, observe_bytes: ObserveBytes) -> Table:
    """The table of a file of fixed width; arguments and errors as of `open_table`.

    A line may end before its last columns: programs cut spaces at the end.
    """
    widths = layout.widths or {}
    header = layout.header if isinstance(layout.header, tuple) else (layout.header or 0,)
    lines = lines_of_text(source, layout.encoding, observe_bytes)
    skipped = sum(1 for _ in islice(lines, header[-1]))
    if skipped < header[-1]:
        raise FileUnusableError(
            f"{source} has {skipped} lines, so its header cannot end at line {header[-1]}: fix header"
        )
    places = [slice(first - 1, last) for first, last in widths.values()]
    return Table(tuple(map(plain_name, widths)), lambda _used: _rows(lines, skipped + 1, places))


def _rows(lines: Iterator[str], number: int, places: list[slice]) -> Rows:
    for line_number, line in enumerate(lines, number):
        if len(line) > LINE_BYTES_MAX:
            yield DamagedRow(line_number, f"has more than {LINE_BYTES_MAX} characters: is it one row of a table?")
        elif line.strip():
            text = line.rstrip("\r\n")
            yield TableRow(line_number, tuple(text[place].strip() for place in places))
