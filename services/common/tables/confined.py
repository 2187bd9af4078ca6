"""Tables of binary formats: `services.common.binary_tables` reads them in a process whose memory is limited."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Collection, Generator
from dataclasses import asdict
from typing import IO, cast

from services.common.binary_tables.answers import Batch, Columns, End, Request
from services.common.tables.layout import Layout
from services.common.tables.lines import LINE_BYTES_MAX, FileUnusableError, ObserveBytes
from services.common.tables.rows import table_of
from services.common.tables.sources import Source
from services.common.tables.table import DamagedRow, Rows, Table, TableRow

# With its libraries, the process stays below 256 MiB.
MEMORY_BYTES = 192 << 20
CPU_S = 600

_Answers = Generator[Columns | Batch, Collection[int] | None, None]


def open_parquet(source: Source, observe_bytes: ObserveBytes) -> Table:
    """The table of a Parquet file; arguments and errors as of `open_table`. Bytes read are estimated from the rows."""
    answers = _answers(source, "parquet", None)
    columns = cast("Columns", next(answers))
    if not columns.names:
        raise FileUnusableError(f"{source} has no columns: it needs some")
    return Table(columns.names, lambda used: _rows(source, answers, used, observe_bytes))


def open_workbook(source: Source, layout: Layout, observe_bytes: ObserveBytes) -> Table:
    """The table of a sheet of a workbook; arguments and errors as of `open_table`."""
    answers = _answers(source, "workbook", layout.sheet)
    return table_of(source, layout, _rows(source, answers, None, observe_bytes))


def _rows(source: Source, answers: _Answers, used: Collection[int] | None, observe_bytes: ObserveBytes) -> Rows:
    size = source.path.stat().st_size
    batch = _next(answers, used)
    while batch is not None:
        for line, cells in batch.rows:
            yield DamagedRow(line, cells) if isinstance(cells, str) else TableRow(line, cells)
        observe_bytes(int(size * batch.read))
        batch = _next(answers, None)


def _next(answers: _Answers, used: Collection[int] | None) -> Batch | None:
    try:
        return cast("Batch", next(answers) if used is None else answers.send(used))
    except StopIteration:
        return None


def _answers(source: Source, file_format: str, sheet: str | None) -> _Answers:
    """What the process answers. It takes the columns that are used after Columns; it ends with this generator."""
    with source.as_file() as path:
        request = Request(file_format, str(path.absolute()), sheet, MEMORY_BYTES, CPU_S, LINE_BYTES_MAX)
        process = subprocess.Popen(  # noqa: S603 - our own program.
            [sys.executable, "-P", "-m", "services.common.binary_tables", json.dumps(asdict(request))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        with process:
            try:
                while not isinstance(answer := _received(source, process), End):
                    used = yield answer
                    if used is not None:
                        _send(process, used)
            finally:
                # It may be computing, and would not notice that nobody reads.
                process.kill()
    if answer.missing is not None:
        raise ModuleNotFoundError(f"No module named {answer.missing!r}", name=answer.missing)
    if answer.refused is not None:
        raise FileUnusableError(f"{source} {answer.refused}")


def _send(process: subprocess.Popen[bytes], used: Collection[int]) -> None:
    stdin = cast("IO[bytes]", process.stdin)
    try:
        stdin.write(json.dumps(sorted(used)).encode() + b"\n")
        stdin.flush()
    except BrokenPipeError:
        # It has ended: what it answered last says why.
        return


def _received(source: Source, process: subprocess.Popen[bytes]) -> Columns | Batch | End:
    try:
        # What it reads are the answers of our own process, not the file.
        return cast("Columns | Batch | End", pickle.load(cast("IO[bytes]", process.stdout)))  # noqa: S301 - as said.
    except (EOFError, pickle.UnpicklingError) as error:
        _, messages = process.communicate()
        if process.returncode >= 0:
            raise RuntimeError(f"reading {source} failed: {messages.decode(errors='replace')}") from error
        if process.returncode == -signal.SIGXCPU:
            raise FileUnusableError(f"{source} takes more than {CPU_S} s to read: save it as CSV") from error
        raise FileUnusableError(
            f"{source} is damaged, or needs more than {MEMORY_BYTES >> 20} MiB of memory to read: save it as CSV"
        ) from error
