"""Whatever a file claims to hold, reading it takes less than 256 MiB: it is read in pieces, or refused."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.workbooks import number, row, text, write_ods, write_xlsx

pytestmark = pytest.mark.slow

MIB = 1 << 20
PEAK_MIB_MAX = 256
# A process reads ahead: what it needs for these, it needs for all.
READ_ROWS = 20_000
# Reads the first rows of a table. Memory of a process that it started counts as its own.
PROGRAM = """
import json, re, resource, sys
from pathlib import Path
from services.common.tables import FileUnusableError, open_table

def peak_kib():
    # Its own: that of getrusage includes what the process had that started this one.
    return int(re.search("VmHWM: *([0-9]+)", Path("/proc/self/status").read_text().replace("\t", " "))[1])

before, rows, refused = peak_kib(), 0, None
try:
    table = open_table(Path(sys.argv[1]))
    for row in (read := table.rows(range(len(table.columns)))):
        rows += 1
        if rows == READ_ROWS:
            break
    read = table = None
except FileUnusableError as error:
    refused = str(error)
own = peak_kib() - before
started = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
print(json.dumps({"peak_mib": (own + started) / 1024, "rows": rows, "refused": refused}))
"""


def reading(path: Path) -> dict:
    program = PROGRAM.replace("READ_ROWS", str(READ_ROWS))
    finished = subprocess.run(
        [sys.executable, "-c", program, path], capture_output=True, text=True, timeout=60, check=False
    )
    assert finished.returncode == 0, finished.stderr
    found = json.loads(finished.stdout)
    print(f"{path.name}: {found}")
    assert found["peak_mib"] < PEAK_MIB_MAX
    return found


def equal(value: pa.Scalar, count: int) -> pa.Array:
    """An array of one value, which its writer need not hold that often."""
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(count, dtype=np.int8)), pa.array([value]))


DELTAS = {"use_dictionary": False, "column_encoding": "DELTA_BYTE_ARRAY"}


@pytest.mark.parametrize(
    ("column", "options", "rows"),
    [
        pytest.param(equal("y" * 999_000, 5_000), {}, 5_000, id="one megabyte of text, five thousand times"),
        pytest.param(
            pa.array(["y" * 900_000 + str(i) for i in range(150)]), DELTAS, 30, id="only what differs is kept"
        ),
        pytest.param(pa.array([np.zeros(3_000_000, np.int8)] * 3, pa.list_(pa.int8())), {}, 3, id="long lists"),
    ],
)
def test_a_small_parquet_file_with_large_cells_is_read(tmp_path, column, options, rows):
    path = tmp_path / "table.parquet"
    pq.write_table(pa.table({"x": column}), path, compression="zstd", **options)
    assert path.stat().st_size < 100_000
    found = reading(path)
    assert found["refused"] is None
    assert found["rows"] >= rows


def test_a_hundred_million_equal_values_are_read_in_batches(tmp_path):
    path = tmp_path / "table.parquet"
    schema = pa.schema([("x", pa.dictionary(pa.int8(), pa.int64()))])
    with pq.ParquetWriter(path, schema, compression="zstd", write_statistics=False) as writer:
        piece = pa.table({"x": equal(7, 25_000_000)}, schema=schema)
        for _ in range(4):
            writer.write_table(piece, row_group_size=25_000_000)
    found = reading(path)
    assert found["refused"] is None
    assert found["rows"] == READ_ROWS


@pytest.mark.parametrize("cells", [4, 400])
def test_parquet_whose_pages_are_larger_than_memory_is_refused(tmp_path, cells):
    path = tmp_path / "table.parquet"
    column = pa.array(["x" * (400 * MIB // cells)] * cells)
    pq.write_table(pa.table({"x": column}), path, compression="zstd", use_dictionary=False, data_page_size=1 << 30)
    assert "its largest column is 'x'" in reading(path)["refused"]


def test_a_sheet_whose_cells_span_the_largest_range_is_refused(tmp_path):
    sheet = (row(1, text("A1", "x")), row(1_048_576, text("XFD1048576", "y")))
    assert "save it as CSV" in reading(write_xlsx(tmp_path / "table.xlsx", {"Marks": sheet}))["refused"]


def test_a_sheet_that_repeats_one_cell_beyond_memory_is_refused(tmp_path):
    repeated = 'table:number-columns-repeated="16384" office:value-type="string"'
    cell = f"<table:table-cell {repeated}><text:p>x</text:p></table:table-cell>"
    rows = f'<table:table-row table:number-rows-repeated="1048576">{cell}</table:table-row>'
    path = write_ods(tmp_path / "table.ods", rows)
    assert "as CSV" in reading(path)["refused"]


def test_a_sheet_with_a_text_of_gigabytes_is_refused(tmp_path):
    sheet = ['<row r="1"><c r="A1" t="inlineStr"><is><t>', *["x" * MIB] * 400, "</t></is></c></row>"]
    assert "save it as CSV" in reading(write_xlsx(tmp_path / "table.xlsx", {"Marks": sheet}))["refused"]


def test_a_large_sheet_is_read(tmp_path):
    sheet = (row(line, *(number(f"{column}{line}", line) for column in "ABCD")) for line in range(1, 200_001))
    found = reading(write_xlsx(tmp_path / "table.xlsx", {"Marks": sheet}))
    assert found["refused"] is None
    assert found["rows"] == READ_ROWS


@pytest.mark.parametrize(
    ("begin", "piece", "count"),
    [
        pytest.param(b"a,b\n", b"x" * MIB, 300, id="one line"),
        pytest.param(b'a,b\n"x,', b"x,1\n" * (MIB // 4), 50, id="a quote that is never closed"),
        pytest.param(b"a,b\n", b'a",b,"c\n' * (MIB // 8), 20, id="many quotes that are never closed"),
        pytest.param(b"a,b\n", b"1,2" * (MIB // 4) + b"\n", 10, id="rows of many cells"),
        pytest.param(b"", b"a," * (MIB // 4), 40, id="a header that never ends"),
    ],
)
@pytest.mark.parametrize("suffix", [".csv.gz", ".zip"])
def test_text_of_any_shape_is_read_line_by_line(tmp_path, begin, piece, count, suffix):
    path = tmp_path / f"table{suffix}"
    if suffix == ".zip":
        # Little enough to be unsuspicious.
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            archive.writestr("table.csv", begin + piece * min(count, 90 * MIB // len(piece)))
    else:
        with gzip.open(path, "wb", 1) as file:
            file.write(begin)
            for _ in range(count):
                file.write(piece)
    found = reading(path)
    assert found["rows"] > 0 or "has more than 1000000 characters" in found["refused"]
