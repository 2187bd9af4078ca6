"""Tables in files of any kind, partitioned by tenant. A table is written completely or not at all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from services.recommender.application.operations.columns import Column
from services.recommender.application.operations.export import Row

_ROWS_PER_GROUP = 50_000


class ExportExistsError(FileExistsError):
    """An export already exists; the message says where."""


class RowWriter(Protocol):
    """Writes the rows of one file."""

    def write(self, rows: Sequence[Row]) -> None:
        """Add rows. A row may leave columns out."""
        ...

    def close(self) -> None:
        """Complete the file."""
        ...


@dataclass(frozen=True, slots=True)
class FileKind:
    """A kind of file that holds a table.

    Attributes:
        suffix: of its files' names.
        begin: begins a file with these columns.
        rows_per_file: after this many rows a new file begins.
    """

    suffix: str
    begin: Callable[[Path, Sequence[Column]], RowWriter]
    rows_per_file: int = 2_000_000


class ExportedTable:
    """Writes `DIRECTORY/NAME/tenant=TENANT/part-N.SUFFIX`.

    Rows are buffered until they fill a group, so memory is bounded and files are fast to read. A file gets its final
    name when it is complete; a failed export leaves files that end in `.unfinished`.
    """

    def __init__(
        self,
        directory: Path,
        name: str,
        tenant: str,
        columns: Sequence[Column],
        kind: FileKind,
        *,
        rows_per_group: int = _ROWS_PER_GROUP,
        private: bool = False,
    ) -> None:
        """Prepare.

        Args:
            directory: where exports go.
            name: the table's.
            tenant: the owner of the rows. It is part of the path (a Hive partition), not of the files.
            columns: of the table, the tenant's among them.
            kind: of the files.
            rows_per_group: most rows that are buffered in memory.
            private: whether only the owner may read the files.

        Raises:
            ExportExistsError: when the export already exists.
        """
        self._folder = directory / name / f"tenant={tenant}"
        self._columns = [column for column in columns if column.name != "tenant"]
        self._kind = kind
        self._rows_per_group = rows_per_group
        self._private = private
        self._waiting: list[Row] = []
        self._writer: RowWriter | None = None
        self._in_file = 0
        self._files: list[Path] = []
        self.rows = 0
        if self._folder.exists() and any(self._folder.glob(f"*{kind.suffix}")):
            raise ExportExistsError(f"{self._folder} already holds an export: remove it, or name another with --to")

    @property
    def files(self) -> Sequence[Path]:
        """The files written."""
        return [self._final(path) for path in self._files]

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        for left in self._folder.glob(f"*{self._kind.suffix}.unfinished"):
            left.unlink()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            self._write_group()
            if not self._files:
                # An export without rows is still a table.
                self._open()
        self._close()
        if kind is None:
            for path in self._files:
                path.replace(self._final(path))

    def add(self, rows: Sequence[Row]) -> None:
        """Add rows. A row may leave columns out."""
        self._waiting += rows
        self.rows += len(rows)
        while len(self._waiting) >= self._rows_per_group:
            self._write_group()

    def _write_group(self) -> None:
        rows, self._waiting = self._waiting[: self._rows_per_group], self._waiting[self._rows_per_group :]
        while rows:
            if self._writer is None or self._in_file >= self._kind.rows_per_file:
                self._writer = self._open()
            fitting = rows[: self._kind.rows_per_file - self._in_file]
            self._writer.write(fitting)
            self._in_file += len(fitting)
            rows = rows[len(fitting) :]

    def _open(self) -> RowWriter:
        self._close()
        path = self._folder / f"part-{len(self._files):05d}{self._kind.suffix}.unfinished"
        if self._private:
            # The writer keeps the mode of a file that exists.
            path.touch(mode=0o600)
        writer = self._writer = self._kind.begin(path, self._columns)
        self._files.append(path)
        self._in_file = 0
        return writer

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    @staticmethod
    def _final(path: Path) -> Path:
        return path.with_suffix("")
