"""Tables in Parquet files, partitioned by tenant. A table is written completely or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from services.recommender.application.operations.columns import Column, ColumnType
from services.recommender.application.operations.export import Row

_ROWS_PER_GROUP = 50_000
_ROWS_PER_FILE = 2_000_000
_COMPRESSION = "zstd"

_TYPES = {
    ColumnType.TEXT: pa.string(),
    ColumnType.TEXTS: pa.list_(pa.string()),
    ColumnType.BOOLEAN: pa.bool_(),
    ColumnType.INTEGER: pa.int64(),
    ColumnType.NUMBER: pa.float64(),
    ColumnType.TIME: pa.timestamp("us", tz="UTC"),
}


class ExportExistsError(FileExistsError):
    """An export already exists; the message says where."""


def schema_of(columns: Sequence[Column]) -> pa.Schema:
    """The Parquet schema of the columns, with the meaning of each."""
    return pa.schema(
        [pa.field(column.name, _TYPES[column.type], metadata={"description": column.meaning}) for column in columns]
    )


class ParquetTable:
    """Writes `DIRECTORY/NAME/tenant=TENANT/part-N.parquet`.

    Rows are buffered until they fill a row group, so memory is bounded and files are fast to read. A file gets its
    final name when it is complete; a failed export leaves files that end in `.unfinished`.
    """

    def __init__(
        self,
        directory: Path,
        name: str,
        tenant: str,
        columns: Sequence[Column],
        *,
        rows_per_group: int = _ROWS_PER_GROUP,
        rows_per_file: int = _ROWS_PER_FILE,
    ) -> None:
        """Prepare.

        Args:
            directory: where exports go.
            name: the table's.
            tenant: the owner of the rows. It is part of the path (a Hive partition), not of the files.
            columns: of the table, the tenant's among them.
            rows_per_group: most rows that are buffered in memory.
            rows_per_file: after this many rows a new file begins.

        Raises:
            ExportExistsError: when the export already exists.
        """
        self._folder = directory / name / f"tenant={tenant}"
        self._schema = schema_of([column for column in columns if column.name != "tenant"])
        self._rows_per_group = rows_per_group
        self._rows_per_file = rows_per_file
        self._waiting: list[Row] = []
        self._writer: Any = None
        self._in_file = 0
        self._files: list[Path] = []
        self.rows = 0
        if self._folder.exists() and any(self._folder.glob("*.parquet")):
            raise ExportExistsError(f"{self._folder} already holds an export: remove it, or name another with --to")

    @property
    def files(self) -> Sequence[Path]:
        """The files written."""
        return [self._final(path) for path in self._files]

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        for left in self._folder.glob("*.unfinished"):
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
        if not rows:
            return
        if self._writer is None or self._in_file >= self._rows_per_file:
            self._open()
        self._writer.write_batch(pa.RecordBatch.from_pylist(list(rows), self._schema))
        self._in_file += len(rows)

    def _open(self) -> None:
        self._close()
        path = self._folder / f"part-{len(self._files):05d}.parquet.unfinished"
        self._writer = pq.ParquetWriter(path, self._schema, compression=_COMPRESSION)
        self._files.append(path)
        self._in_file = 0

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    @staticmethod
    def _final(path: Path) -> Path:
        return path.with_suffix("")
