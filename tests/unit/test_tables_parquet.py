"""Parquet files of every type are read as plain values, whatever their writer chose."""

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from services.common.tables import DamagedRow, FileUnusableError, Layout, TableRow, open_table
from services.common.tables.lines import LINE_BYTES_MAX


@pytest.fixture
def read(tmp_path):
    def read(table, used=None, **options):
        path = tmp_path / "table.parquet"
        pq.write_table(table, path, **options)
        opened = open_table(path)
        return list(opened.rows(range(len(opened.columns)) if used is None else used))

    return read


def local(*parts):
    return datetime(*parts)  # noqa: DTZ001 - times without a zone are read as such.


def column(values, data_type):
    return pa.table({"x": pa.array(values, data_type)})


@pytest.mark.parametrize(
    ("data_type", "values", "cells"),
    [
        (pa.string(), ["Zoë", ""], ["Zoë", ""]),
        (pa.large_string(), ["Zoë"], ["Zoë"]),
        (pa.binary(), ["Zoë".encode()], ["Zoë"]),
        (pa.large_binary(), [b"a"], ["a"]),
        (pa.binary(3), [b"abc"], ["abc"]),
        (pa.dictionary(pa.int32(), pa.string()), ["a", "b", "a"], ["a", "b", "a"]),
        (pa.dictionary(pa.int8(), pa.int64()), [7, 7], [7, 7]),
        (pa.int8(), [-128], [-128]),
        (pa.uint64(), [2**64 - 1], [2**64 - 1]),
        (pa.float16(), [0.5], [0.5]),
        (pa.float64(), [0.1], [0.1]),
        (pa.bool_(), [True, False], [True, False]),
        (pa.decimal128(10, 2), [Decimal("3.50"), Decimal("4.00")], [3.5, 4]),
        (pa.decimal128(38, 10), [Decimal("1234567890123456789.0123456789")], ["1234567890123456789.0123456789"]),
        (pa.date32(), [date(2026, 3, 4)], [date(2026, 3, 4)]),
        (pa.date64(), [date(2026, 3, 4)], [date(2026, 3, 4)]),
        (pa.timestamp("ms"), [local(2026, 3, 4, 5, 6)], [local(2026, 3, 4, 5, 6)]),
        (pa.timestamp("ns"), [1_772_597_167_123_456_789], [local(2026, 3, 4, 4, 6, 7, 123456)]),
        (pa.timestamp("us", "America/Chicago"), [datetime(2026, 3, 4, tzinfo=UTC)], [datetime(2026, 3, 4, tzinfo=UTC)]),
        (pa.time64("ns"), [3_600_000_000_000], [time(1)]),
        (pa.duration("ms"), [1_500], [timedelta(seconds=1.5)]),
        (pa.list_(pa.string()), [["a", None], []], [["a", None], []]),
        (pa.list_(pa.binary()), [[b"a"]], [["a"]]),
        (pa.list_(pa.list_(pa.decimal128(4, 1))), [[[Decimal("1.5")]]], [[[1.5]]]),
        (pa.null(), [None], [None]),
    ],
)
def test_every_type_is_read_as_a_plain_value_or_nothing(read, data_type, values, cells):
    rows = read(column([*values, None], data_type))
    assert [row.cells[0] for row in rows] == [*cells, None]
    assert [type(row.cells[0]) for row in rows] == [*map(type, cells), type(None)]
    assert [row.line for row in rows] == list(range(1, len(cells) + 2))


@pytest.mark.parametrize("encoding", ["PLAIN", "DELTA_BYTE_ARRAY", "DELTA_LENGTH_BYTE_ARRAY"])
def test_text_is_read_in_every_encoding(read, encoding):
    rows = read(column(["a", "ab", "b"], pa.string()), use_dictionary=False, column_encoding={"x": encoding})
    assert [row.cells for row in rows] == [("a",), ("ab",), ("b",)]


def test_row_groups_follow_each_other(read):
    rows = read(pa.table({"x": range(10_000), "s": ["abc"[i % 3] for i in range(10_000)]}), row_group_size=3_333)
    assert rows == [TableRow(i + 1, (i, "abc"[i % 3])) for i in range(10_000)]


def test_columns_that_are_not_used_are_not_read(read):
    table = pa.table({"a": [1], "b": [2], "c": [3]})
    assert read(table, used=[2, 0]) == [TableRow(1, (1, None, 3))]


def test_columns_with_one_name_are_addressed_by_their_places(read):
    table = pa.table([pa.array([1]), pa.array(["x"]), pa.array([3])], names=["a", "b", "a"])
    assert read(table, used=[2]) == [TableRow(1, (None, None, 3))]


def test_a_column_whose_name_has_a_dot_is_no_part_of_another(read):
    table = pa.table({"a": [1], "a.b": [2]})
    assert read(table) == [TableRow(1, (1, 2))]
    assert read(table, used=[0]) == [TableRow(1, (1, None))]


def test_bytes_that_are_no_text_are_a_damaged_row(read):
    rows = read(pa.table({"n": [1, 2], "x": pa.array([b"a\xff", b"b"], pa.binary())}))
    assert rows == [
        DamagedRow(1, "has in the column 'x' the byte 0xFF, which is not UTF-8: write text"),
        TableRow(2, (2, "b")),
    ]


def test_a_cell_that_is_too_large_is_a_damaged_row(read):
    large = "x" * LINE_BYTES_MAX
    rows = read(column([large + "x", large], pa.string()))
    assert rows == [
        DamagedRow(1, f"has in the column 'x' more than {LINE_BYTES_MAX} bytes: shorten it"),
        TableRow(2, (large,)),
    ]


def test_a_list_that_is_too_long_is_a_damaged_row(read):
    rows = read(column([[0] * 100_001, [0] * 100_000], pa.list_(pa.int8())))
    assert rows[0] == DamagedRow(1, "has in the column 'x' a list of more than 100000 entries: shorten it")
    assert isinstance(rows[1], TableRow)


def test_a_time_that_python_cannot_hold_is_a_damaged_row(read):
    rows = read(column([2**62, 0], pa.timestamp("us")))
    assert rows[0].reason.startswith("has in the column 'x' a value that cannot be read")
    assert rows[1] == TableRow(2, (local(1970, 1, 1),))


def test_columns_of_several_values_are_refused_by_name_if_they_are_used(read):
    table = pa.table({"a": [1], "s": [{"x": 1}]})
    with pytest.raises(FileUnusableError, match=r"has struct<x: int64> in the column 's': write its parts as columns"):
        read(table)
    assert read(table, used=[0]) == [TableRow(1, (1, None))]


def test_a_column_that_needs_too_much_memory_is_named(read):
    table = column(["x" * (30 << 20)] * 10, pa.string())
    with pytest.raises(FileUnusableError, match=r"needs more than .* MiB of memory to read; its largest column is 'x'"):
        read(table, use_dictionary=False, compression="zstd", data_page_size=1 << 30)


@pytest.mark.parametrize("content", [b"PAR1", b"PAR1" + bytes(20) + b"PAR1", b"pupil,mark\n", b""])
def test_what_is_no_parquet_file_is_named(tmp_path, content):
    path = tmp_path / "table.parquet"
    path.write_bytes(content)
    with pytest.raises(FileUnusableError, match=r"table.parquet cannot be read as Parquet"):
        open_table(path)


def test_a_damaged_page_is_named_with_the_rows_before_it(tmp_path):
    path = tmp_path / "table.parquet"
    pq.write_table(pa.table({"x": range(10_000)}), path, compression="zstd", row_group_size=5_000)
    content = bytearray(path.read_bytes())
    begin = pq.read_metadata(path).row_group(1).column(0).dictionary_page_offset
    content[begin + 30 : begin + 90] = bytes(60)
    path.write_bytes(content)
    with pytest.raises(FileUnusableError, match=r"is damaged after row 5000"):
        list(open_table(path).rows([0]))


def test_a_layout_for_text_is_refused(tmp_path):
    path = tmp_path / "table.parquet"
    pq.write_table(pa.table({"x": [1]}), path)
    with pytest.raises(FileUnusableError, match=r"header is set, but .* is a file of Parquet, which has none"):
        open_table(path, Layout(header=2))
    assert open_table(path, Layout(delimiter=";", encoding="cp1252")).columns == ("x",)
