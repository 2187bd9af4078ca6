"""Tables of Parquet files."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from pathlib import Path
from typing import Any

from services.common.tables.lines import FileUnusableError, ObserveBytes
from services.common.tables.table import Rows, Table, TableRow

_BATCH_ROWS = 5_000


def open_parquet(path: Path, observe_bytes: ObserveBytes) -> Table:
    """The table of a Parquet file; arguments and errors as of `open_table`. Bytes read are estimated from the rows."""
    # It takes a third of a second to import, which no other format should wait for.
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    try:
        file = pq.ParquetFile(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise FileUnusableError(f"{path} cannot be read as Parquet: {_first_line(error)}") from error
    return Table(tuple(file.schema_arrow.names), partial(_rows, path, file, observe_bytes))


def _rows(path: Path, file: Any, observe_bytes: ObserveBytes, used: Collection[int]) -> Rows:
    import pyarrow as pa  # noqa: PLC0415 - as above.

    number, size, names = 0, path.stat().st_size, file.schema_arrow.names
    try:
        for batch in file.iter_batches(_BATCH_ROWS, columns=[names[place] for place in sorted(used)]):
            nothing: list[Any] = [None] * len(batch)
            read = {place: column.to_pylist() for place, column in zip(sorted(used), batch.columns, strict=True)}
            for cells in zip(*(read.get(place, nothing) for place in range(len(names))), strict=True):
                number += 1
                yield TableRow(number, cells)
            observe_bytes(size * number // max(1, file.metadata.num_rows))
    except (OSError, pa.ArrowException) as error:
        raise FileUnusableError(f"{path} is damaged after row {number}: {_first_line(error)}") from error


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0]
