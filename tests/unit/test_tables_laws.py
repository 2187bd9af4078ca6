"""Laws of reading tables: any bytes give rows or a sentence, and what a writer wrote is read back."""

from __future__ import annotations

import csv
import gzip
import io
import zipfile
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from services.common.tables import DamagedRow, FileUnusableError, Layout, TableRow, open_table
from services.common.tables.detection import detected_layout
from tests.workbooks import row, text, write_ods, write_xls, write_xlsx

SUFFIXES = (".csv", ".tsv", ".txt", ".csv.gz", ".zip", ".xlsx", ".xls", ".ods", ".parquet", "")
ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-7", "cp1252", "gbk", "shift_jis",
             "iso2022_jp", "big5", "cp037", "hz")  # fmt: skip
CHARACTERS = st.characters(codec="utf-8", exclude_characters="\r\n\0")


@st.composite
def layouts(draw):
    """Any layout; None where the values that were drawn contradict each other."""
    keys = {
        "delimiter": CHARACTERS,
        "encoding": st.sampled_from(ENCODINGS),
        "quote": st.none() | CHARACTERS,
        "header": st.none()
        | st.integers(0, 4)
        | st.lists(st.integers(1, 5), min_size=1, max_size=3, unique=True).map(sorted),
        "sheet": st.sampled_from(["A", "B"]),
        "member": st.sampled_from(["a.csv", "b"]),
        "widths": st.dictionaries(st.text(), st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=3),
    }
    rare = ("sheet", "member", "widths")
    used = [key for key in keys if draw(st.integers(0, 9 if key in rare else 1)) == 0]
    try:
        return Layout(**{key: draw(keys[key]) for key in used})
    except ValidationError:
        return Layout()


def tabular_bytes():
    """Bytes that look like a table more often than any bytes do."""
    marks = [b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"PK\x03\x04", b"PAR1", b"\x1f\x8b", b"<html"]
    text = [b"a", b"1", b",", b";", b'"', b"\n", b"\r", b"\r\n", b" ", b"\t", b'="', b"sep=;\n", b"\xe9"]
    pieces = st.sampled_from([*text, *marks])
    return st.lists(pieces, max_size=40).map(b"".join)


def read_all(path: Path, layout: Layout) -> None:
    with suppress(FileUnusableError):
        table = open_table(path, layout)
        for each in table.rows(range(len(table.columns))):
            assert isinstance(each, DamagedRow) or len(each.cells) == len(table.columns)


@settings(deadline=None, max_examples=150)
@given(content=tabular_bytes() | st.binary(max_size=200), suffix=st.sampled_from(SUFFIXES), layout=layouts())
def test_any_bytes_give_rows_or_a_sentence(content, suffix, layout):
    with TemporaryDirectory() as folder:
        path = Path(folder, f"table{suffix}")
        path.write_bytes(content)
        read_all(path, layout)


@settings(deadline=None, max_examples=200)
@given(content=tabular_bytes() | st.binary(max_size=200))
def test_the_layout_that_any_bytes_seem_to_have_can_be_tried(content):
    with TemporaryDirectory() as folder:
        path = Path(folder, "table.txt")
        path.write_bytes(content)
        try:
            detected = detected_layout(path)
        except FileUnusableError:
            return
        assert all(detected.evidence)
        read_all(path, detected.layout)


@pytest.fixture(scope="module")
def intact(tmp_path_factory):
    """A small file of each kind that is compressed or binary."""
    folder = tmp_path_factory.mktemp("intact")
    parquet = folder / "table.parquet"
    columns = {"s": ["a", "b", None], "n": [1, 2, 3], "l": [[1], None, [2, 3]], "b": pa.array([b"x", b"", None])}
    pq.write_table(pa.table(columns), parquet, compression="zstd")
    packed = folder / "table.zip"
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.csv", b"a,b\n1,2\n" * 20)
    compressed = folder / "table.csv.gz"
    compressed.write_bytes(gzip.compress(b"a,b\n1,2\n" * 20))
    sheet = (row(1, text("A1", "a"), text("B1", "b")), row(2, text("A2", "1")))
    cell = '<table:table-cell office:value-type="string"><text:p>a</text:p></table:table-cell>'
    return [
        parquet,
        packed,
        compressed,
        write_xlsx(folder / "table.xlsx", {"A": sheet}),
        write_xls(folder / "table.xls", [("a", "b"), ("1", 2.5)]),
        write_ods(folder / "table.ods", f"<table:table-row>{cell}</table:table-row>" * 2),
    ]


@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_a_damaged_file_gives_rows_or_a_sentence(intact, data):
    path = data.draw(st.sampled_from(intact))
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with TemporaryDirectory() as folder:
        damaged = Path(folder, path.name)
        damaged.write_bytes(content[: data.draw(st.integers(1, len(content)))] if data.draw(st.booleans()) else content)
        read_all(damaged, Layout())


def _is_visible(cells: list[str]) -> bool:
    return any(cell.strip() for cell in cells)


@settings(deadline=None, max_examples=300)
@given(
    rows=st.integers(1, 5).flatmap(
        lambda width: st.lists(
            st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0")), min_size=width, max_size=width),
            max_size=8,
        )
    ),
    delimiter=CHARACTERS,
    quote=st.sampled_from("\"'|~"),
    line_end=st.sampled_from(["\n", "\r\n", "\r"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-be"]),
)
def test_what_the_csv_module_wrote_is_read_back(rows, delimiter, quote, line_end, encoding):
    if delimiter in {quote, " "}:
        # The module of Python 3.11 writes an empty or blank cell next to a space so that it cannot be read back.
        delimiter = ";"
    # A formula of a text is the text: read as such, and tested elsewhere.
    rows = [[cell.replace('="', "") for cell in cells] for cells in rows]
    written = io.StringIO(newline="")
    writer = csv.writer(written, delimiter=delimiter, quotechar=quote, lineterminator=line_end, quoting=csv.QUOTE_ALL)
    width = len(rows[0]) if rows else 1
    writer.writerow(f"column {place}" for place in range(width))
    writer.writerows(rows)
    with TemporaryDirectory() as folder:
        path = Path(folder, "table.txt")
        path.write_bytes(written.getvalue().encode(encoding))
        table = open_table(path, Layout(delimiter=delimiter, quote=quote, encoding=encoding))
        read = list(table.rows(range(width)))
    assert all(isinstance(each, TableRow) for each in read)
    assert [list(each.cells) for each in read] == [cells for cells in rows if _is_visible(cells)]


@settings(deadline=None, max_examples=15)
@given(
    columns=st.fixed_dictionaries(
        {
            "text": st.tuples(st.just(pa.string()), st.lists(st.none() | st.text(), min_size=5, max_size=5)),
            "bytes": st.tuples(
                st.just(pa.binary()), st.lists(st.none() | st.text().map(str.encode), min_size=5, max_size=5)
            ),
            "whole": st.tuples(st.just(pa.int64()), st.lists(st.integers(-(2**63), 2**63 - 1), min_size=5, max_size=5)),
            "real": st.tuples(st.just(pa.float64()), st.lists(st.floats(allow_nan=False), min_size=5, max_size=5)),
            "time": st.tuples(st.just(pa.timestamp("us")), st.lists(st.datetimes(), min_size=5, max_size=5)),
            "list": st.tuples(st.just(pa.list_(pa.string())), st.lists(st.lists(st.text()), min_size=5, max_size=5)),
        }
    ),
    use_dictionary=st.booleans(),
)
def test_what_was_written_to_parquet_is_read_back(columns, use_dictionary):
    table = pa.table({name: pa.array(values, data_type) for name, (data_type, values) in columns.items()})
    expected = [
        tuple(value.decode() if isinstance(value, bytes) else value for value in cells)
        for cells in zip(*(values for _, values in columns.values()), strict=True)
    ]
    with TemporaryDirectory() as folder:
        path = Path(folder, "table.parquet")
        pq.write_table(table, path, use_dictionary=use_dictionary, row_group_size=2)
        assert [each.cells for each in open_table(path).rows(range(len(columns)))] == expected
