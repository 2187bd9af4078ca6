"""Readers of the files that districts have."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path

from services.ingest.application.ports import Row, UnreadableRow
from services.ingest.formats.assistments import SOURCE, read_assistments
from services.ingest.formats.ndjson import read_ndjson


class Format(StrEnum):
    """The forms a file of events may have."""

    NDJSON = "ndjson"
    ASSISTMENTS = "assistments"


def read_events(
    path: Path, file_format: Format, source: str = "", observe_bytes: Callable[[int], None] = lambda _: None
) -> Iterator[Row | UnreadableRow]:
    """The events of a file, read as they are taken; each learner's in their order.

    Args:
        path: the file, gzip-compressed or not.
        file_format: what it is.
        source: the source of events that name none; empty: the format's own.
        observe_bytes: now and then told how many bytes of the file as stored were read.

    Raises:
        FileUnusableError: when it cannot be read, or its header is of another format.
    """
    if file_format is Format.ASSISTMENTS:
        return read_assistments(path, source or SOURCE, observe_bytes)
    return read_ndjson(path, source, observe_bytes)
