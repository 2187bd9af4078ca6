"""Tables in Parquet files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from services.recommender.adapters.files.exported_tables import ExportedTable, FileKind
from services.recommender.application.operations.columns import Column, ColumnType
from services.recommender.application.operations.export import Row

_COMPRESSION = "zstd"

_TYPES = {
    ColumnType.TEXT: pa.string(),
    ColumnType.TEXTS: pa.list_(pa.string()),
    ColumnType.BOOLEAN: pa.bool_(),
    ColumnType.INTEGER: pa.int64(),
    ColumnType.NUMBER: pa.float64(),
    ColumnType.TIME: pa.timestamp("us", tz="UTC"),
}


def schema_of(columns: Sequence[Column]) -> pa.Schema:
    """The Parquet schema of the columns, with the meaning of each."""
    return pa.schema(
        [pa.field(column.name, _TYPES[column.type], metadata={"description": column.meaning}) for column in columns]
    )


class _ParquetWriter:
    def __init__(self, path: Path, columns: Sequence[Column]) -> None:
        self._schema = schema_of(columns)
        self._writer = pq.ParquetWriter(path, self._schema, compression=_COMPRESSION)

    def write(self, rows: Sequence[Row]) -> None:
        self._writer.write_batch(pa.RecordBatch.from_pylist(list(rows), self._schema))

    def close(self) -> None:
        self._writer.close()


PARQUET = FileKind(".parquet", _ParquetWriter)


class ParquetTable(ExportedTable):
    """A table in Parquet files: see ExportedTable."""

    def __init__(
        self,
        directory: Path,
        name: str,
        tenant: str,
        columns: Sequence[Column],
        *,
        rows_per_group: int = 50_000,
        rows_per_file: int = PARQUET.rows_per_file,
    ) -> None:
        """Args: as of ExportedTable; after `rows_per_file` rows a new file begins."""
        kind = replace(PARQUET, rows_per_file=rows_per_file)
        super().__init__(directory, name, tenant, columns, kind, rows_per_group=rows_per_group)
