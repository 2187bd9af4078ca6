"""Tables of delimited text."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice

from services.common.tables.layout import Layout
from services.common.tables.lines import LINE_BYTES_MAX, FileUnusableError, ObserveBytes
from services.common.tables.rows import is_empty, table_of
from services.common.tables.sources import Source
from services.common.tables.table import DamagedRow, Rows, Table, TableRow
from services.common.tables.text import lines_of_text

_DELIMITER_LINE = re.compile(r'"?sep=(?P<delimiter>.)"?[\r\n]*', re.IGNORECASE)
# How spreadsheets write a text that looks like a number.
_FORMULA_OF_TEXT = re.compile(r'="(?P<text>(?:[^"]|"")*)"')


def open_delimited(source: Source, layout: Layout, observe_bytes: ObserveBytes) -> Table:
    """The table of a file of delimited text; arguments and errors as of `open_table`."""
    lines = lines_of_text(source, layout.encoding, observe_bytes)
    first = next(lines, "")
    delimiter, skipped = layout.delimiter, 0
    if named := _DELIMITER_LINE.fullmatch(first):
        delimiter, skipped = _named_delimiter(source, layout, named["delimiter"]), 1
    start = layout.header if isinstance(layout.header, int) else (layout.header or (0,))[0]
    if skipped and start == 1:
        raise FileUnusableError(f"line 1 of {source} only names the delimiter: set header to 2, or remove it")
    # Lines above the header are no rows: their quotes mean nothing.
    skipped = max(skipped, start - 1)
    unread = islice(chain((first,), lines), skipped, None)
    return table_of(source, layout, _rows(_Lines(unread), skipped + 1, delimiter, layout.quote))


def _named_delimiter(source: Source, layout: Layout, named: str) -> str:
    if named in {'"', layout.quote, "\0"}:
        raise FileUnusableError(f"line 1 of {source} names {named!r} as the delimiter, which is a quote: fix that line")
    if "delimiter" in layout.model_fields_set and layout.delimiter != named:
        raise FileUnusableError(
            f"line 1 of {source} names {named!r} as the delimiter, but the mapping has {layout.delimiter!r}: "
            "remove delimiter from the mapping, or that line from the file"
        )
    return named


class _Lines:
    """The lines of a text, as csv.reader takes them for one record after the other.

    Attributes:
        record: those taken for the current record; whoever has read the record clears it.
        formula: whether one of them may have a text as a formula.
        ended: whether csv.reader was given no further line.
        waiting: the line that was too much for a record; empty: there is none, and nothing follows.
    """

    def __init__(self, lines: Iterator[str]) -> None:
        self.record: list[str] = []
        self.formula = False
        self.ended = False
        self.waiting = next(lines, "")
        self._lines = lines

    def taken(self) -> Iterator[str]:
        """The lines up to one that would make a record larger than LINE_BYTES_MAX."""
        self.ended = False
        record, lines, size = self.record, self._lines, 0
        line, self.waiting = self.waiting, ""
        if not line:
            line = next(lines, "")
        while line:
            size = size + len(line) if record else len(line)
            if size > LINE_BYTES_MAX:
                self.waiting = line
                break
            record.append(line)
            if '="' in line:
                self.formula = True
            yield line
            line = next(lines, "")
        self.ended = True


def _rows(lines: _Lines, number: int, delimiter: str, quote: str | None) -> Rows:
    record = lines.record

    def reader(unread: Iterable[str]) -> Iterator[list[str]]:
        if quote is None:
            return csv.reader(unread, delimiter=delimiter, quoting=csv.QUOTE_NONE)
        return csv.reader(unread, delimiter=delimiter, quotechar=quote, strict=True)

    while lines.waiting or not lines.ended:
        try:
            for cells in reader(lines.taken()):
                line = number
                number += len(record)
                record.clear()
                if lines.formula:
                    lines.formula = False
                    cells = [_without_formula(cell) for cell in cells]  # noqa: PLW2901 - rare, and a second name costs.
                if cells and (cells[0].strip() or not all(map(is_empty, cells))):
                    yield TableRow(line, tuple(cells))
        except csv.Error as error:
            # A cell has its own limit, which an unclosed quote reaches first.
            unclosed = lines.ended or (len(record) > 1 and sum(map(len, record)) > csv.field_size_limit())
            swallowed = record[1:]
            line, number = number, number + len(record)
            record.clear()
            if unclosed:
                yield DamagedRow(
                    line, "opens a quote that is not closed: close it, or double it if it is part of a cell"
                )
                yield from _one_by_one(swallowed, line + 1, reader)
            else:
                yield DamagedRow(line, f"is not a row of a table, up to line {number - 1} ({error}): fix its quotes")
        if len(lines.waiting) > LINE_BYTES_MAX:
            lines.waiting = ""
            yield DamagedRow(number, f"has more than {LINE_BYTES_MAX} characters: is it one row of a table?")
            number += 1
            lines.ended = False


def _one_by_one(lines: Iterable[str], number: int, reader: Callable[[Iterable[str]], Iterator[list[str]]]) -> Rows:
    """The rows of lines that an unclosed quote swallowed, each for itself, so that reading them ends."""
    for line_number, line in enumerate(lines, number):
        try:
            cells = next(reader((line,)), [])
        except csv.Error as error:
            yield DamagedRow(line_number, f"follows a quote that is not closed, and is no row itself ({error})")
            continue
        if not all(map(is_empty, cells)):
            yield TableRow(line_number, tuple(map(_without_formula, cells)))


def _without_formula(cell: str) -> str:
    text = _FORMULA_OF_TEXT.fullmatch(cell)
    return text["text"].replace('""', '"') if text else cell
