"""Readers of the file formats that districts use. A new one is a module here, and an entry in the tables below."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from services.common.tables.lines import FileUnusableError, ObserveBytes
from services.ingest.application.ports import FileRow
from services.ingest.formats.assistments import SOURCE as ASSISTMENTS_SOURCE
from services.ingest.formats.assistments import read_assistments
from services.ingest.formats.mapping import read_table
from services.ingest.formats.mapping.model import FileMapping
from services.ingest.formats.ndjson import read_ndjson

Rows = Iterator[FileRow]


class Format(StrEnum):
    """The formats a file of events may have."""

    NDJSON = "ndjson"
    CSV = "csv"
    PARQUET = "parquet"
    ASSISTMENTS = "assistments"


@dataclass(frozen=True, slots=True)
class _EventFormat:
    """A format whose fields have a fixed meaning.

    Attributes:
        read: takes the file, the source of events that name none, and the byte counter.
        help: what it is, for `--help`.
        suffixes: of its files' names; empty: the format must be named.
        source: the source of its events, where none is given.
    """

    read: Callable[[Path, str, ObserveBytes], Rows]
    help: str
    suffixes: tuple[str, ...] = ()
    source: str = ""


@dataclass(frozen=True, slots=True)
class _TableFormat:
    """A format of tables, whose columns need a mapping; the same attributes, but `read` takes the mapping second."""

    read: Callable[[Path, FileMapping, str, ObserveBytes], Rows]
    help: str
    suffixes: tuple[str, ...]


_TEXTS = (".csv", ".tsv", ".txt", ".zip")
_WORKBOOKS = (".xlsx", ".xlsm", ".xls", ".ods")

_FORMATS: dict[Format, _EventFormat | _TableFormat] = {
    Format.NDJSON: _EventFormat(read_ndjson, "one JSON object a line", (".ndjson", ".jsonl")),
    Format.CSV: _TableFormat(
        read_table, "delimited text, a workbook or a zip file of tables, with --mapping", _TEXTS + _WORKBOOKS
    ),
    Format.PARQUET: _TableFormat(read_table, "a Parquet table, with --mapping", (".parquet",)),
    Format.ASSISTMENTS: _EventFormat(
        read_assistments, "the raw export of 30 columns or the merged form", source=ASSISTMENTS_SOURCE
    ),
}
_FORMAT_OF_SUFFIX = {suffix: name for name, known in _FORMATS.items() for suffix in known.suffixes}
FORMATS_HELP = " ".join(f"{name}: {known.help}." for name, known in _FORMATS.items())


def format_of(path: Path) -> Format:
    """The format of a file, by its name.

    Raises:
        FileUnusableError: when the name does not determine it.
    """
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes[-1:] == [".gz"]:
        suffixes.pop()
    found = _FORMAT_OF_SUFFIX.get(suffixes[-1]) if suffixes else None
    if found is None:
        raise FileUnusableError(f"the name of {path} does not determine its format: add --format {'|'.join(Format)}")
    return found


def is_table(file_format: Format) -> bool:
    """Whether files of a format have columns, which need a mapping."""
    return isinstance(_FORMATS[file_format], _TableFormat)


def read_events(
    path: Path,
    file_format: Format,
    source: str = "",
    observe_bytes: ObserveBytes = lambda _: None,
    *,
    mapping: FileMapping | None = None,
) -> Rows:
    """The events of a file, read lazily. The order is always the same, and each learner's events keep theirs.

    Args:
        path: the file; gzip-compressed or not, except for Parquet.
        file_format: its format.
        source: the source of events that name none; empty: the format's own.
        observe_bytes: called from time to time with the number of bytes read from the file as stored.
        mapping: how columns of a table become fields; csv and parquet need it.

    Raises:
        FileUnusableError: when it cannot be read, its header is of another format, or a mapping is missing.
    """
    known = _FORMATS[file_format]
    if isinstance(known, _EventFormat):
        return known.read(path, source or known.source, observe_bytes)
    if mapping is None:
        raise FileUnusableError(
            f"{path} is a table, whose columns may mean anything: add --mapping FILE, which "
            f"`cairn ingest mapping --sample {path}` proposes"
        )
    return known.read(path, mapping, source, observe_bytes)
