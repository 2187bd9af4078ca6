"""A file of the rows that were not accepted, with line and reasons."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import orjson

from services.ingest.application.ports import FieldReason


class RejectedRowsFile:
    """JSON lines that only their owner can read. If nothing was rejected, no file is left."""

    def __init__(self, path: Path, file: Path, *, append: bool) -> None:
        """Args: where rows go, the file they come from, and whether to keep those of an earlier load."""
        self._path = path
        # A name may be in another encoding than that of this system, and JSON is UTF-8.
        self._of = os.fsencode(file).decode(errors="replace")
        self._append = append
        self._rows = 0

    def __enter__(self) -> Self:
        if not self._append:
            # Remove an old file instead of overwriting it: it would keep its mode.
            self._path.unlink(missing_ok=True)
        self._began_empty = not self._path.exists()
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        # Unbuffered: the load's progress, up to which a resumed load skips rows, is written while this file is open.
        self._file = os.fdopen(descriptor, "ab", buffering=0)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()
        if self._began_empty and not self._rows:
            self._path.unlink()

    def write(self, line: int, problems: Sequence[FieldReason], original: object) -> None:
        """Add a row.

        Args:
            line: where it starts in the file.
            problems: what is wrong with it.
            original: the row as it is in the file, of JSON types.

        Raises:
            OSError: with the file's name, when there is no room for the whole row; then nothing of it is there.
        """
        reasons = [{"field": problem.field, "reason": problem.reason} for problem in problems]
        row = orjson.dumps({"file": self._of, "line": line, "reasons": reasons, "row": original}) + b"\n"
        size = os.fstat(self._file.fileno()).st_size
        try:
            # A disk that is nearly full takes a part of the row.
            while row:
                row = row[self._file.write(row) :]
        except OSError as error:
            self._file.truncate(size)
            raise OSError(error.errno, error.strerror, str(self._path)) from error
        self._rows += 1
