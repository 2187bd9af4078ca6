"""A file of the learners' ids that no row of the aliases has."""

from __future__ import annotations

import os
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Self

import orjson


class UnmatchedIdsFile:
    """JSON lines that only their owner can read. If every id was matched, no file is left."""

    def __init__(self, path: Path) -> None:
        """Args: where the ids go; what an earlier load left there is removed."""
        self._path = path
        self._file: FileIO | None = None

    def __enter__(self) -> Self:
        self._path.unlink(missing_ok=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()

    def write(self, learner_id: str, line: int) -> None:
        """Add an id, and the first line where it is."""
        if self._file is None:
            self._file = FileIO(os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab")
        content = {"id": learner_id.encode(errors="replace").decode(), "line": line}
        self._file.write(orjson.dumps(content) + b"\n")
