"""Responses in a table: CSV, plain or gzip, or Parquet, with columns of learners, items and results."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray

from services.catalog.formats.jsonl import FileUnreadableError


@dataclass(frozen=True, slots=True)
class Columns:
    """The names of the columns.

    Attributes:
        learner: the learner; any ids.
        item: the resource that was answered.
        correct: the outcome, from 0 to 1.
        time: the time; empty: the rows are in the order of the responses.
    """

    learner: str = "learner"
    item: str = "item"
    correct: str = "correct"
    time: str = ""


@dataclass(frozen=True, slots=True)
class ResponseTable:
    """N responses in the order they were given: names by code, the codes, and the outcomes."""

    learners: list[str]
    items: list[str]
    learner: NDArray[np.int64]
    item: NDArray[np.int64]
    correct: NDArray[np.float64]


def read_responses(path: Path, columns: Columns) -> ResponseTable:
    """Read a table; rows without a result are left out.

    Raises:
        FileUnreadableError: when it cannot be read, a column is missing, or a result is not from 0 to 1.
    """
    wanted = [columns.learner, columns.item, columns.correct, *filter(None, [columns.time])]
    try:
        if path.suffix == ".parquet":
            table = pyarrow.parquet.read_table(path)
        else:
            texts = dict.fromkeys((columns.learner, columns.item), pa.string())
            table = pyarrow.csv.read_csv(path, convert_options=pyarrow.csv.ConvertOptions(column_types=texts))
    except OSError as error:
        raise FileUnreadableError(f"{path} cannot be read ({error}); name a file you may read") from error
    except pa.ArrowInvalid as error:
        raise FileUnreadableError(f"{path} is neither CSV nor Parquet: {error}") from error
    missing = [name for name in wanted if name not in table.column_names]
    if missing:
        raise FileUnreadableError(
            f"{path} has no column {missing[0]!r} but {', '.join(table.column_names)}; "
            "name the columns with --learner-column, --item-column, --correct-column and --time-column"
        )
    try:
        results = table[columns.correct].cast(pa.float64())
    except pa.ArrowInvalid as error:
        raise FileUnreadableError(f"{path}: the column {columns.correct!r} has no numbers: {error}") from error
    if columns.time:
        # Rows of the same time stay in the order of the file.
        table, results = (each.take(pyarrow.compute.sort_indices(table[columns.time])) for each in (table, results))
    table = table.select(wanted[:3]).set_column(2, columns.correct, results).drop_null()
    correct = table[columns.correct].to_numpy()
    wrong = np.flatnonzero(~((correct >= 0.0) & (correct <= 1.0)))
    if len(wrong):
        raise FileUnreadableError(
            f"{path}: {columns.correct} is {correct[wrong[0]]:g} in row {wrong[0] + 1}; it must be from 0 to 1"
        )
    learners, learner = _coded(table[columns.learner])
    items, item = _coded(table[columns.item])
    return ResponseTable(learners, items, learner, item, correct.astype(np.float64))


def _coded(column: pa.ChunkedArray) -> tuple[list[str], NDArray[np.int64]]:
    encoded = pyarrow.compute.dictionary_encode(column.cast(pa.string())).combine_chunks()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.chunk(0)
    return encoded.dictionary.to_pylist(), encoded.indices.to_numpy().astype(np.int64)
