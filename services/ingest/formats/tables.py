"""Tables in files: delimited text in any declared encoding, and Parquet; rows become events by a mapping."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from services.ingest.application.ports import FieldReason, Row, UnreadableRow
from services.ingest.formats.lines import LINE_BYTES_MAX, FileUnusableError, ObserveBytes, lines_of, opened
from services.ingest.formats.mapping import FileMapping
from services.ingest.formats.row_mapper import RowMapper

_BATCH_ROWS = 5_000
_BYTE_ORDER_MARKS = {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16", codecs.BOM_UTF8: "utf-8"}
_ENCODING_REMEDY = "set encoding in the mapping to that of the file (latin-1, cp1252, utf-16 or utf-8)"


def read_delimited(
    path: Path, mapping: FileMapping, source: str, observe_bytes: ObserveBytes = lambda _: None
) -> Iterator[Row | UnreadableRow]:
    """The events of a file of delimited text with a header.

    Args:
        path: the file, gzip-compressed or not.
        mapping: how its columns become fields.
        source: the source of events that name none.
        observe_bytes: see ObserveBytes.

    Raises:
        FileUnusableError: when it cannot be read in its encoding, or its header lacks a column of the mapping.
    """
    reader = csv.reader(text_lines(path, mapping.encoding, observe_bytes), delimiter=mapping.delimiter)
    header = next(reader, None)
    if header is None:
        raise FileUnusableError(f"{path} is empty: it needs a header and rows")
    columns = [column.strip() for column in header]
    check_columns(path, columns, mapping)
    return _mapped(reader, columns, RowMapper(mapping, source))


def read_parquet(
    path: Path, mapping: FileMapping, source: str, observe_bytes: ObserveBytes = lambda _: None
) -> Iterator[Row | UnreadableRow]:
    """The events of a Parquet file; a row's line is its number, from 1.

    Args:
        path: the file.
        mapping: how its columns become fields.
        source: the source of events that name none.
        observe_bytes: see ObserveBytes; estimated from the number of rows.

    Raises:
        FileUnusableError: when it is not a Parquet file, or lacks a column of the mapping.
    """
    # It takes a third of a second to import, which no other format should wait for.
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    try:
        file = pq.ParquetFile(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise FileUnusableError(f"{path} cannot be read as Parquet: {_first_line(error)}") from error
    check_columns(path, file.schema_arrow.names, mapping)
    return _parquet_rows(path, file, mapping, source, observe_bytes)


def check_columns(path: Path, columns: Sequence[str], mapping: FileMapping) -> None:
    """Raise FileUnusableError when a table does not fit a mapping."""
    if missing := [column for column in mapping.columns.named() if column not in columns]:
        found = ", ".join(columns[:30])
        hint = ""
        if len(columns) == 1 and mapping.delimiter not in columns[0]:
            hint = f"; there is only one, so the delimiter may not be {mapping.delimiter!r}"
        raise FileUnusableError(
            f"{path} lacks the columns {', '.join(missing)} of the mapping; it has {found}{hint}: fix the mapping"
        )
    repeated = sorted({column for column in mapping.columns.named() if list(columns).count(column) > 1})
    if repeated:
        raise FileUnusableError(f"the header of {path} repeats {', '.join(repeated)}: name each column once")


def text_lines(path: Path, encoding: str, observe_bytes: ObserveBytes) -> Iterator[str]:
    """The lines of a text file, each with its line end.

    Raises:
        FileUnusableError: when it cannot be read, or is in another encoding; the message names the line.
    """
    encoding = _confirmed_encoding(path, encoding)
    if encoding in {"utf-16", "utf-16-le", "utf-16-be", "utf-32"}:
        yield from _wide_lines(path, encoding, observe_bytes)
        return
    for line in lines_of(path, observe_bytes):
        if line.too_long:
            raise FileUnusableError(
                f"line {line.number} of {path} has more than {LINE_BYTES_MAX} bytes: check for an unclosed quote"
            )
        try:
            yield line.content.decode(encoding) + "\n"
        except UnicodeDecodeError as error:
            raise FileUnusableError(
                f"line {line.number} of {path} is not {encoding}: the byte 0x{line.content[error.start]:02X} at "
                f"position {error.start + 1} cannot be read; {_ENCODING_REMEDY}"
            ) from error


def _confirmed_encoding(path: Path, encoding: str) -> str:
    """The encoding, once the file's first bytes do not contradict it."""
    try:
        with opened(path) as (_, file):
            begin = file.read(4)
    except OSError as error:
        raise FileUnusableError(f"{path} cannot be read: {error.strerror or error}") from error
    for mark, marked in _BYTE_ORDER_MARKS.items():
        if begin.startswith(mark):
            if not encoding.startswith(marked):
                raise FileUnusableError(
                    f"line 1 of {path} starts as {marked}, but the mapping has {encoding}: set encoding: {marked}"
                )
            return "utf-8" if marked == "utf-8" else encoding
    if b"\0" in begin and not encoding.startswith(("utf-16", "utf-32")):
        raise FileUnusableError(f"line 1 of {path} has zero bytes, as utf-16 has: {_ENCODING_REMEDY}")
    return "utf-8" if encoding == "utf-8-sig" else encoding


def _wide_lines(path: Path, encoding: str, observe_bytes: ObserveBytes) -> Iterator[str]:
    """Lines of an encoding whose line ends are not one byte."""
    number = 0
    try:
        with opened(path) as (stored, file), io.TextIOWrapper(file, encoding=encoding, newline=None) as text:
            for line in text:
                number += 1
                if number % 1_000 == 0:
                    observe_bytes(stored.tell())
                yield line if line.endswith("\n") else line + "\n"
            observe_bytes(path.stat().st_size)
    except UnicodeError as error:
        where = f"line {number + 1} of {path}, or one soon after,"
        raise FileUnusableError(f"{where} is not {encoding}: {_ENCODING_REMEDY}") from error
    except OSError as error:
        raise FileUnusableError(f"{path} cannot be read: {error.strerror or error}") from error


def _mapped(reader: Any, columns: Sequence[str], mapper: RowMapper) -> Iterator[Row | UnreadableRow]:
    while True:
        line = reader.line_num + 1
        try:
            values = next(reader, None)
        except csv.Error as error:
            reason = f"is not a row of a table, up to line {reader.line_num} ({error}): fix its quotes"
            yield UnreadableRow(line, (FieldReason("", reason),), None)
            continue
        if values is None:
            return
        if not values:
            continue
        if len(values) != len(columns):
            reason = f"has {len(values)} columns, the header {len(columns)}: fix its delimiters and quotes"
            yield UnreadableRow(line, (FieldReason("", reason),), values)
            continue
        row = dict(zip(columns, values, strict=True))
        yield mapper.row(line, row, row)


def _parquet_rows(
    path: Path, file: Any, mapping: FileMapping, source: str, observe_bytes: ObserveBytes
) -> Iterator[Row | UnreadableRow]:
    import pyarrow as pa  # noqa: PLC0415 - as above.

    mapper, number, size = RowMapper(mapping, source), 0, path.stat().st_size
    try:
        for batch in file.iter_batches(_BATCH_ROWS, columns=mapping.columns.named()):
            for values in batch.to_pylist():
                number += 1
                yield mapper.row(number, values, {name: _plain(value) for name, value in values.items()})
            observe_bytes(size * number // max(1, file.metadata.num_rows))
    except (OSError, pa.ArrowException) as error:
        raise FileUnusableError(f"{path} is damaged after row {number}: {_first_line(error)}") from error


def _plain(value: Any) -> Any:
    return value if isinstance(value, str | int | float | bool | list | type(None)) else str(value)


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0]
