"""Readers of the files that districts have."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path

from services.ingest.application.ports import Row, UnreadableRow
from services.ingest.formats.assistments import SOURCE, read_assistments
from services.ingest.formats.lines import FileUnusableError
from services.ingest.formats.mapping import FileMapping
from services.ingest.formats.ndjson import read_ndjson
from services.ingest.formats.tables import read_delimited, read_parquet


class Format(StrEnum):
    """The forms a file of events may have."""

    NDJSON = "ndjson"
    CSV = "csv"
    PARQUET = "parquet"
    ASSISTMENTS = "assistments"


_FORMAT_OF_SUFFIX = {
    ".ndjson": Format.NDJSON,
    ".jsonl": Format.NDJSON,
    ".csv": Format.CSV,
    ".tsv": Format.CSV,
    ".txt": Format.CSV,
    ".parquet": Format.PARQUET,
}


def format_of(path: Path) -> Format:
    """What a file is, by its name.

    Raises:
        FileUnusableError: when the name does not say.
    """
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes[-1:] == [".gz"]:
        suffixes.pop()
    found = _FORMAT_OF_SUFFIX.get(suffixes[-1]) if suffixes else None
    if found is None:
        raise FileUnusableError(f"the name of {path} does not say what it is: add --format {'|'.join(Format)}")
    return found


def read_events(
    path: Path,
    file_format: Format,
    source: str = "",
    observe_bytes: Callable[[int], None] = lambda _: None,
    *,
    mapping: FileMapping | None = None,
) -> Iterator[Row | UnreadableRow]:
    """The events of a file, read as they are taken; each learner's in their order, and always in the same.

    Args:
        path: the file; gzip-compressed or not, but for Parquet.
        file_format: what it is.
        source: the source of events that name none; empty: the format's own.
        observe_bytes: now and then told how many bytes of the file as stored were read.
        mapping: what the columns of a table say; csv and parquet need it.

    Raises:
        FileUnusableError: when it cannot be read, its header is of another format, or a mapping is missing.
    """
    if file_format is Format.ASSISTMENTS:
        return read_assistments(path, source or SOURCE, observe_bytes)
    if file_format is Format.NDJSON:
        return read_ndjson(path, source, observe_bytes)
    if mapping is None:
        raise FileUnusableError(
            f"{path} is a table, whose columns may say anything: add --mapping FILE, which "
            f"`cairn ingest mapping --sample {path}` proposes"
        )
    read = read_parquet if file_format is Format.PARQUET else read_delimited
    return read(path, mapping, source, observe_bytes)
