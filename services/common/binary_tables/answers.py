"""What the process is asked, and what it answers: pickled, one after the other.

A file's columns come first where the format has them, then batches of rows, then the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


class RefusedError(Exception):
    """A file cannot be read; the message is the end of a sentence about it and says what to do."""


@dataclass(frozen=True, slots=True)
class Request:
    """Which table to read, within which limits.

    Attributes:
        format: parquet or workbook.
        path: of the file.
        sheet: of a workbook; None: the only one that is not empty.
        memory_bytes: the most that the process may allocate.
        cpu_s: the most processor time that it may use.
        cell_bytes_max: a larger cell is none that can be read.
    """

    format: str
    path: str
    sheet: str | None
    memory_bytes: int
    cpu_s: int
    cell_bytes_max: int


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of a Parquet file; the process then reads a line of JSON: the places of those that are used.

    Attributes:
        names: in their order; names may repeat.
    """

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Batch:
    """Some rows.

    Attributes:
        rows: of each, its number from 1; and its cells, or the reason why it cannot be read.
        read: how much of the table was read with it, from 0 to 1.
    """

    rows: Sequence[tuple[int, tuple[Any, ...] | str]]
    read: float


@dataclass(frozen=True, slots=True)
class End:
    """There are no more rows.

    Attributes:
        refused: why, as of `RefusedError`; None: all were read.
        missing: the module that is not installed; None: none.
    """

    refused: str | None = None
    missing: str | None = None
