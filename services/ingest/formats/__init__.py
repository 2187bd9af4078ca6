"""Readers of the file formats that districts use. A new one is a module here, and an entry in the tables below."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from importlib import import_module
from pathlib import Path

from services.common.tables.lines import FileUnusableError, ObserveBytes
from services.ingest.application.ports import FileRow
from services.ingest.formats.assistments import SOURCE as ASSISTMENTS_SOURCE
from services.ingest.formats.assistments import read_assistments
from services.ingest.formats.event_documents import read_event_documents
from services.ingest.formats.mapping import read_table
from services.ingest.formats.mapping.model import FileMapping
from services.ingest.formats.ndjson import read_ndjson
from services.ingest.formats.together import Together

Rows = Iterator[FileRow]


class Format(StrEnum):
    """The formats a file of events may have."""

    NDJSON = "ndjson"
    CSV = "csv"
    PARQUET = "parquet"
    ASSISTMENTS = "assistments"
    XAPI = "xapi"
    CALIPER = "caliper"
    OPENEDX = "openedx"
    QTI_RESULTS = "qti-results"
    LTI_AGS = "lti-ags"


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


@dataclass(frozen=True, slots=True)
class _DocumentFormat:
    """A format of JSON documents of a learning platform; `read` takes a profile and the files of the load last."""

    read: Callable[[Path, str, ObserveBytes, Path | None, Together | None], Rows]
    help: str
    suffixes: tuple[str, ...] = ()
    source: str = ""


def _read_qti_results(path: Path, source: str, observe_bytes: ObserveBytes) -> Rows:
    # Most loads need no library of XML.
    rows: Rows = import_module("services.ingest.formats.qti_results").read_qti_results(path, source, observe_bytes)
    return rows


_TEXTS = (".csv", ".tsv", ".txt", ".zip")
_WORKBOOKS = (".xlsx", ".xlsm", ".xls", ".ods")

_FORMATS: dict[Format, _EventFormat | _TableFormat | _DocumentFormat] = {
    Format.NDJSON: _EventFormat(read_ndjson, "one JSON object a line", (".ndjson", ".jsonl")),
    Format.CSV: _TableFormat(
        read_table, "delimited text, a workbook or a zip file of tables, with --mapping", _TEXTS + _WORKBOOKS
    ),
    Format.PARQUET: _TableFormat(read_table, "a Parquet table, with --mapping", (".parquet",)),
    Format.ASSISTMENTS: _EventFormat(
        read_assistments, "the raw export of 30 columns or the merged form", source=ASSISTMENTS_SOURCE
    ),
    Format.XAPI: _DocumentFormat(partial(read_event_documents, "xapi"), "xAPI statements in JSON", source="xapi"),
    Format.CALIPER: _DocumentFormat(
        partial(read_event_documents, "caliper"), "Caliper events and envelopes in JSON", source="caliper"
    ),
    Format.OPENEDX: _DocumentFormat(
        partial(read_event_documents, "openedx"), "tracking logs of Open edX", source="openedx"
    ),
    Format.LTI_AGS: _DocumentFormat(
        partial(read_event_documents, "lti_ags"), "results of LTI line items in JSON", source="lti-ags"
    ),
    Format.QTI_RESULTS: _EventFormat(_read_qti_results, "QTI results reports in XML", source="qti-results"),
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
    profile: Path | None = None,
    together: Together | None = None,
) -> Rows:
    """The events of a file, read lazily. The order is always the same, and each learner's events keep theirs.

    Args:
        path: the file; gzip-compressed or not, except for Parquet.
        file_format: its format.
        source: the source of events that name none; empty: the format's own.
        observe_bytes: called from time to time with the number of bytes read from the file as stored.
        mapping: how columns of a table become fields; csv and parquet need it.
        profile: what the producer of JSON documents bends, as a known source has it.
        together: the files of the load, where events of JSON documents may change one another; None: this one.

    Raises:
        FileUnusableError: when it cannot be read, its header is of another format, or a mapping is missing.
    """
    known = _FORMATS[file_format]
    if isinstance(known, _EventFormat):
        return known.read(path, source or known.source, observe_bytes)
    if isinstance(known, _DocumentFormat):
        return known.read(path, source or known.source, observe_bytes, profile, together)
    if mapping is None:
        raise FileUnusableError(
            f"{path} is a table, whose columns may mean anything: add --mapping FILE, which "
            f"`cairn ingest mapping --sample {path}` proposes"
        )
    return known.read(path, mapping, source, observe_bytes)
