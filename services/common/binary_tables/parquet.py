"""Tables of Parquet files, batch by batch."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from services.common.binary_tables.answers import Batch, RefusedError, Request
from services.common.binary_tables.parquet_cells import CellReader, has_text

# A batch is a power of two, so that smaller ones start where larger ones do.
_BATCH_ROWS_MAX = 4_096
_BATCH_BYTES = 2_000_000
_DICTIONARY_ENCODINGS = {"PLAIN_DICTIONARY", "RLE_DICTIONARY"}
_STREAM_BYTES = 1 << 18
# What a damaged file makes the library raise, besides its own errors.
_DAMAGE = (OSError, ValueError, LookupError, ArithmeticError, TypeError, NotImplementedError, pa.ArrowException)


class ParquetTable:
    """A Parquet file.

    Attributes:
        names: of its columns, in their order; names may repeat.

    Raises:
        RefusedError: when it cannot be read.
    """

    def __init__(self, request: Request) -> None:
        self._cells = CellReader(request.cell_bytes_max)
        self._memory_bytes = request.memory_bytes
        pa.set_cpu_count(1)
        try:
            metadata = pq.read_metadata(request.path)
            schema = metadata.schema.to_arrow_schema()
            # Text that repeats is kept once. Without a buffer size, a whole column of a row group is read at once.
            self._file = pq.ParquetFile(
                request.path,
                metadata=metadata,
                read_dictionary=_repetitive(metadata, schema),
                buffer_size=_STREAM_BYTES,
                pre_buffer=False,
            )
        except MemoryError:
            raise
        except _DAMAGE as error:
            raise RefusedError(f"cannot be read as Parquet: {_sentence(error)}") from error
        self._schema = schema
        self.names = tuple(schema.names)

    def batches(self, used: Collection[int]) -> Iterator[Batch]:
        """The rows.

        Args:
            used: the places of the columns that are read; cells of others are None.

        Raises:
            RefusedError: when they cannot be read; the message says after which row.
        """
        for place in used:
            self._check_type(self._schema.field(place))
        number, metadata = 0, self._file.metadata
        try:
            for group in range(metadata.num_row_groups):
                for rows in self._row_group(group, sorted(used) or [0], number):
                    number = rows[-1][0]
                    yield Batch(rows, min(1.0, number / max(1, metadata.num_rows)))
        except MemoryError:
            raise
        except _DAMAGE as error:
            raise RefusedError(f"is damaged after row {number}: {_sentence(error)}") from error

    def _row_group(self, group: int, used: list[int], before: int) -> Iterator[list[tuple[int, Any]]]:
        """Its rows; where there is not enough memory for a batch, in smaller batches from there."""
        done, batch_rows = 0, self._batch_rows(group, used)
        while True:
            position = 0
            try:
                for batch in self._read(group, used, batch_rows):
                    position += len(batch[0])
                    if position > done:
                        unread = [column.slice(len(column) - (position - done)) for column in batch]
                        rows = self._cells.rows(unread, used, self.names, before + done)
                        done = position
                        yield rows
                    # Otherwise two batches are in memory while the next one is read.
                    del batch
            except MemoryError as error:
                if batch_rows == 1:
                    raise RefusedError(self._too_large(group, used)) from error
                batch_rows = max(1, batch_rows // 16)
            else:
                return

    def _read(self, group: int, used: list[int], batch_rows: int) -> Iterator[list[pa.Array]]:
        unique = len(set(self.names)) == len(self.names)
        columns = [self.names[place] for place in used] if unique else None
        batches = self._file.iter_batches(batch_rows, row_groups=[group], columns=columns, use_threads=False)
        for batch in batches:
            if len(batch):
                yield [batch.column(self.names[place] if unique else place) for place in used]

    def _batch_rows(self, group: int, used: list[int]) -> int:
        row_bytes = sum(self._sizes(group, used).values()) / max(1, self._file.metadata.row_group(group).num_rows)
        rows = _BATCH_ROWS_MAX
        while rows > 1 and rows * row_bytes > _BATCH_BYTES:
            rows //= 2
        return rows

    def _sizes(self, group: int, used: list[int]) -> dict[str, int]:
        """The decompressed bytes of columns of a row group, by name."""
        names, sizes = {self.names[place] for place in used}, dict[str, int]()
        group_metadata = self._file.metadata.row_group(group)
        for place in range(group_metadata.num_columns):
            column = group_metadata.column(place)
            name = next((name for name in names if f"{column.path_in_schema}.".startswith(f"{name}.")), None)
            if name is not None:
                sizes[name] = sizes.get(name, 0) + column.total_uncompressed_size
        return sizes

    def _too_large(self, group: int, used: list[int]) -> str:
        sizes = self._sizes(group, used)
        largest = max(sizes, key=sizes.__getitem__, default="")
        return (
            f"needs more than {self._memory_bytes >> 20} MiB of memory to read; its largest column is {largest!r}, "
            f"with {sizes.get(largest, 0)} bytes in row group {group + 1}: write smaller row groups and pages, or CSV"
        )

    def _check_type(self, field: Any) -> None:
        if pa.types.is_struct(field.type) or pa.types.is_map(field.type) or pa.types.is_union(field.type):
            raise RefusedError(
                f"has {field.type} in the column {field.name!r}: write its parts as columns of their own"
            )


def _repetitive(metadata: Any, schema: Any) -> list[str]:
    """The columns of text that the file keeps as dictionaries; the library cannot read all others as such."""
    text = {field.name for field in schema if has_text(field.type)}
    for group in range(metadata.num_row_groups):
        for place in range(metadata.num_columns):
            column = metadata.row_group(group).column(place)
            if not _DICTIONARY_ENCODINGS & {*column.encodings}:
                text.discard(column.path_in_schema)
    return [*text]


def _sentence(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0][:200]
