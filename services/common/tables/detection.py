"""How a file seems to hold its table, for a proposal that a person checks. Loading never guesses."""

from __future__ import annotations

import codecs
import csv
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

from services.common.tables.columns import joined_names
from services.common.tables.confined import open_workbook
from services.common.tables.encoding_detection import Sample, detected_encoding, sample_of
from services.common.tables.layout import Layout
from services.common.tables.rows import is_empty
from services.common.tables.sources import FileKind, source_of
from services.common.tables.table import Cell

# How much a delimiter counts: some are in dates, times and sentences too.
_DELIMITERS = {"\t": 1.0, ";": 1.0, "|": 1.0, ",": 0.9, "^": 0.8, "~": 0.8, ":": 0.1, " ": 0.1}
_WEAK = 0.5
_NAMES = {"\t": "tab", " ": "space"}
_DELIMITER_LINE = re.compile(r'"?sep=(.)"?', re.IGNORECASE)
_LINE_END = re.compile("\r\n|\r|\n")
_NUMBER_OR_DATE = re.compile(r"[-+]?[0-9]+([.,:/ -][0-9]+)*( ?%)?")
_ROWS = 200
_HEADER_FILLED_SHARE = 0.6
_VALUES_SHARE = 0.25
_LABELLED_CELLS = 2

_Row = tuple[int, Sequence[Cell]]
"""The line where a row starts, from 1, and its cells."""


@dataclass(frozen=True, slots=True)
class DetectedLayout:
    """A guess.

    Attributes:
        layout: how the file seems to hold its table; only what differs from the default is set.
        evidence: what speaks for it, in sentences.
    """

    layout: Layout
    evidence: tuple[str, ...]


def detected_layout(path: Path, member: str | None = None, sheet: str | None = None) -> DetectedLayout:
    """How a file seems to hold its table, from a sample of the whole file.

    Args:
        path: the file.
        member: as of `Layout`.
        sheet: as of `Layout`.

    Raises:
        FileUnusableError: when it cannot be read, or holds several tables and none is named.
    """
    source = source_of(path, member)
    named = {"member": source.member, "sheet": sheet}
    found: dict[str, Any] = {key: name for key, name in named.items() if name is not None}
    kind = source.kind()
    evidence: list[str] = []
    if kind is FileKind.WORKBOOK:
        table = open_workbook(source, Layout(header=0, **found), lambda _: None)
        rows = [(row.line, row.cells or ()) for row in islice(table.rows(()), _ROWS)]
        found |= _header(rows, evidence)
    elif kind is FileKind.TEXT:
        sample = sample_of(source)
        encoding, reasons = detected_encoding(sample)
        evidence += reasons
        found |= {"encoding": encoding} | _text_layout(sample, encoding, evidence)
    return DetectedLayout(Layout(**found), tuple(evidence))


def _text_layout(sample: Sample, encoding: str, evidence: list[str]) -> dict[str, Any]:
    texts = [_decoded(piece, encoding) for piece in sample.pieces]
    lines = _LINE_END.split(texts[0])
    if named := _DELIMITER_LINE.fullmatch(lines[0]):
        evidence.append(f"line 1 names the delimiter: {_name(named[1])}")
        rows = [(line + 1, cells) for line, cells in _parsed(lines[1:], named[1])]
        return {"delimiter": named[1]} | _header(rows, evidence, first=2)
    # A piece from the middle of the file starts inside a line, and ends inside one.
    others = [line for text in texts[1:] for line in _LINE_END.split(text)[1:-1]]
    scores = {delimiter: _agreement(lines, others, delimiter) for delimiter in _DELIMITERS}
    delimiter = max(scores, key=lambda each: scores[each][0] ** 2 * (scores[each][1] - 1) * _DELIMITERS[each])
    share, width = scores[delimiter]
    if width < 2:
        evidence.append("there is no delimiter that most lines have: it has one column, or needs widths")
        return _header(_parsed(lines, ","), evidence)
    evidence.append(f"{share:.0%} of the rows in the sample have {width} columns between {_name(delimiter)} signs")
    rivals = [
        each
        for each, weight in _DELIMITERS.items()
        if each != delimiter and weight > _WEAK and scores[each][0] >= share and scores[each][1] > 1
    ]
    if rivals:
        evidence.append(f"{' and '.join(map(_name, rivals))} would split all rows evenly too: check the delimiter")
    return {"delimiter": delimiter} | _header(_parsed(lines, delimiter), evidence)


def _decoded(piece: bytes, encoding: str) -> str:
    return codecs.decode(piece, encoding, "replace").removeprefix("\ufeff")


def _name(delimiter: str) -> str:
    return _NAMES.get(delimiter, repr(delimiter))


def _parsed(lines: Sequence[str], delimiter: str) -> list[_Row]:
    """The rows of lines that are not empty, each with the line where it starts. Delimiters in quotes do not count."""
    rows: list[_Row] = []
    reader = csv.reader((line + "\n" for line in lines), delimiter=delimiter)
    start = 1
    try:
        for cells in reader:
            if not all(map(is_empty, cells)):
                rows.append((start, cells))
            start = reader.line_num + 1
    except csv.Error:
        # What was read until then has to do.
        pass
    return rows


def _agreement(begin: Sequence[str], others: Sequence[str], delimiter: str) -> tuple[float, int]:
    """The share of rows that have the most frequent number of columns, and this number."""
    widths = [len(cells) for _, cells in _parsed(begin, delimiter)]
    widths += [len(cells) for line in others for _, cells in _parsed([line], delimiter)]
    if not widths:
        return 0.0, 1
    width, count = Counter(widths).most_common(1)[0]
    return count / len(widths), width


def _header(rows: Sequence[_Row], evidence: list[str], first: int = 1) -> dict[str, Any]:
    """Where the header is.

    Args:
        rows: of the begin of the file, with their lines.
        evidence: is added to.
        first: the line of a header that nobody has to name.
    """
    usual = median(map(_filled, rows)) if rows else 0
    number = next(
        (
            number
            for number, row in enumerate(rows)
            if _filled(row) >= usual * _HEADER_FILLED_SHARE and not _is_labelled(row)
        ),
        None,
    )
    if number is None:
        return {}
    if _has_values(rows[number]) and number and _are_names(rows[number - 1]):
        # Some columns have no name.
        number -= 1
    line, cells = rows[number]
    if _has_values(rows[number]):
        values = [cell for cell in cells if _is_value(cell)]
        evidence.append(f"line {line} has values such as {str(values[0])!r}: there seems to be no header")
        return {"header": 0}
    for upper in (number - 1, number):
        if upper >= 0 and _are_header(rows[upper : upper + 2], rows[upper + 2 :]):
            lines = (rows[upper][0], rows[upper + 1][0])
            evidence.append(f"line {lines[0]} has titles of groups of columns, and line {lines[1]} their names")
            return {"header": lines}
    if line == first:
        return {}
    evidence.append(f"line {line} is the first with about {usual:g} cells, and they hold names: it is the header")
    return {"header": line}


def _are_header(pair: Sequence[_Row], below: Sequence[_Row]) -> bool:
    """Whether the upper row has titles of groups, without which names of the lower one repeat or are missing."""
    if len(pair) < 2 or any(_is_value(cell) for _, row in pair for cell in row):
        return False
    upper, lower = (cells for _, cells in pair)
    names = [name for name in joined_names([lower]) if name]
    joined = joined_names([upper, lower])
    incomplete = len({*names}) < len(names) or len(names) < len(joined)
    return (
        incomplete
        and any(map(is_empty, upper))
        and len({*joined}) == len(joined)
        and any(_is_value(cell) for _, row in below for cell in row)
    )


def _filled(row: _Row) -> int:
    return sum(not is_empty(cell) for cell in row[1])


def _has_values(row: _Row) -> bool:
    return sum(map(_is_value, row[1])) >= max(1, _filled(row) * _VALUES_SHARE)


def _is_labelled(row: _Row) -> bool:
    """Whether it is a line above a table such as `Class:, 3b`."""
    first = next((cell for cell in row[1] if not is_empty(cell)), None)
    return isinstance(first, str) and first.rstrip().endswith(":") and _filled(row) <= _LABELLED_CELLS


def _are_names(row: _Row) -> bool:
    """Whether it has several texts, all different, and no label."""
    texts = [cell for cell in row[1] if not is_empty(cell)]
    different = len({str(text) for text in texts}) == len(texts) > 1
    return different and not _is_labelled(row) and not any(map(_is_value, texts))


def _is_value(cell: Cell) -> bool:
    """Whether it is a number or a date, as names of columns rarely are."""
    return bool(_NUMBER_OR_DATE.fullmatch(cell.strip())) if isinstance(cell, str) else cell is not None
