"""Text is read as its layout says, whatever its delimiter, quote, encoding and line ends; contradictions are named."""

import gzip
import os
import subprocess
import sys

import pytest
from pydantic import ValidationError

from services.common.tables import DamagedRow, FileUnusableError, Layout, TableRow, open_table
from services.common.tables.lines import LINE_BYTES_MAX


@pytest.fixture
def read(tmp_path):
    """The columns and the rows of a content."""

    def read(content, name="table.csv", **layout):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        table = open_table(path, Layout(**layout))
        return table.columns, list(table.rows(range(len(table.columns))))

    return read


def cells(rows):
    assert all(isinstance(row, TableRow) for row in rows), rows
    return [row.cells for row in rows]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_may_end_in_every_usual_way(read, end):
    columns, rows = read(end.join(["pupil,mark", "a,1", "", "b,2", ""]))
    assert columns == ("pupil", "mark")
    assert rows == [TableRow(2, ("a", "1")), TableRow(4, ("b", "2"))]


def test_line_ends_may_differ_within_a_file(read):
    _, rows = read("pupil,mark\r\na,1\rb,2\nc,3\r\r\nd,4")
    assert rows == [TableRow(2, ("a", "1")), TableRow(3, ("b", "2")), TableRow(4, ("c", "3")), TableRow(6, ("d", "4"))]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|", "^", ":", " ", "¦", "x"])
def test_every_character_may_be_the_delimiter(read, delimiter):
    columns, rows = read(f'a{delimiter}b\n"1{delimiter}2"{delimiter}3\n', delimiter=delimiter)
    assert columns == ("a", "b")
    assert cells(rows) == [(f"1{delimiter}2", "3")]


def test_the_quote_is_another_character_or_none(read):
    assert cells(read("a,b\n'1,2',\"3\n", quote="'")[1]) == [("1,2", '"3')]
    assert cells(read('a,b\n"1,2"\n', quote=None)[1]) == [('"1', '2"')]


def test_a_quoted_cell_keeps_its_line_breaks_and_the_next_row_its_line(read):
    _, rows = read('a,b\r\n"one\r\ntwo\nthree",1\r\nx,2\r\n')
    assert rows == [TableRow(2, ("one\r\ntwo\nthree", "1")), TableRow(5, ("x", "2"))]


def test_characters_that_some_take_for_line_ends_are_text(read):
    assert cells(read("a,b\n1\u2028\x0b\x85,2\n")[1]) == [("1\u2028\x0b\x85", "2")]


def test_rows_of_empty_cells_are_skipped(read):
    assert read("a,b\n,\n ,\t\n1,\n")[1] == [TableRow(4, ("1", ""))]


def test_empty_cells_beyond_the_header_are_tolerated_and_others_are_not(read):
    _, rows = read("a,b\n1,2,, \n1,2,3\n1\n")
    assert rows == [
        TableRow(2, ("1", "2")),
        DamagedRow(3, "has 3 columns, the header 2: fix its delimiters and quotes", ("1", "2", "3")),
        DamagedRow(4, "has 1 columns, the header 2: fix its delimiters and quotes", ("1",)),
    ]


def test_a_row_may_end_before_columns_without_a_name(read):
    assert cells(read("a,b,,\n1,2\n1,2,x\n")[1]) == [("1", "2", "", ""), ("1", "2", "x", "")]


def test_a_text_that_a_spreadsheet_wrote_as_a_formula_is_the_text(read):
    content = 'id,name\n="00123","=""00124"""\n="say ""hi""",=1+2\n="a"&"b",x="1"\n'
    assert cells(read(content)[1]) == [("00123", "00124"), ('say "hi"', "=1+2"), ('="a"&"b"', 'x="1"')]


class TestDelimiterLine:
    @pytest.mark.parametrize("first", ["sep=;", "SEP=;", '"sep=;"'])
    def test_the_line_that_names_the_delimiter_is_followed_and_is_no_header(self, read, first):
        columns, rows = read(f"{first}\r\na;b\r\n1;2\r\n")
        assert (columns, rows) == (("a", "b"), [TableRow(3, ("1", "2"))])

    def test_a_layout_with_another_delimiter_is_refused(self, read):
        with pytest.raises(
            FileUnusableError, match=r"line 1 of .* names ';' as the delimiter, but the mapping has ','"
        ):
            read("sep=;\na;b\n", delimiter=",")
        assert read("sep=;\na;b\n", delimiter=";")[0] == ("a", "b")

    def test_it_cannot_be_the_header(self, read):
        with pytest.raises(FileUnusableError, match=r"line 1 of .* only names the delimiter: set header to 2"):
            read("sep=;\na;b\n", header=1)
        assert read("sep=;\na;b\n", header=2)[0] == ("a", "b")


class TestHeader:
    def test_title_lines_above_it_are_left_out_even_with_quotes_that_do_not_match(self, read):
        columns, rows = read('"4th grade\n\npupil,"mark"\na,1\n', header=3)
        assert (columns, rows) == (("pupil", "mark"), [TableRow(4, ("a", "1"))])

    def test_several_rows_are_joined_and_the_title_of_a_group_holds_for_its_columns(self, read):
        content = "Report\npupil,Unit 1,,Unit 2,\n,Points,Max,Points,Max\na,1,2,3,4\n"
        columns, rows = read(content, header=[2, 3])
        assert columns == ("pupil", "Unit 1 Points", "Unit 1 Max", "Unit 2 Points", "Unit 2 Max")
        assert rows == [TableRow(4, ("a", "1", "2", "3", "4"))]

    def test_without_one_the_columns_have_numbers(self, read):
        assert read("a,1\nb,2\n", header=0) == (("#1", "#2"), [TableRow(1, ("a", "1")), TableRow(2, ("b", "2"))])

    def test_by_default_it_is_the_first_line_that_is_not_empty(self, read):
        assert read("\n,,\na,b\n1,2\n") == (("a", "b"), [TableRow(4, ("1", "2"))])

    def test_names_have_no_white_space_around_them_and_composed_letters(self, read):
        assert read(" e\u0301le\u0300ve \t,b\n")[0] == ("élève", "b")

    @pytest.mark.parametrize(
        ("content", "header", "words"),
        [
            ("a,b\n\nc,d\n", 2, "header names line 2 of .* empty or inside a quoted cell: the next row is at line 3"),
            ("a,b\n", 5, "has no line 5"),
            ("", 0, "is empty: it needs a header and rows"),
            ("", None, "has no line 1 with a header"),
            ('"a,b\n', None, "the header of .* at line 1 opens a quote"),
            ('a,b\n"x\ny",z\nc,d\n', [1, 3], "header names line 3 of .* inside a quoted cell"),
        ],
    )
    def test_one_that_is_not_there_is_an_error(self, read, content, header, words):
        with pytest.raises(FileUnusableError, match=words):
            read(content, header=header)


class TestQuotes:
    def test_a_quote_that_is_never_closed_costs_its_own_row_only(self, read):
        _, rows = read('a,b\n1,2\n"3,4\n5,6\n7,8\n')
        assert rows == [
            TableRow(2, ("1", "2")),
            DamagedRow(3, "opens a quote that is not closed: close it, or double it if it is part of a cell"),
            TableRow(4, ("5", "6")),
            TableRow(5, ("7", "8")),
        ]

    def test_in_a_large_file_it_is_noticed_long_before_the_end(self, read):
        lines = LINE_BYTES_MAX // 100
        long = "x" * 98
        _, rows = read('a,b\n"3,4\n' + f"{long},\n" * (2 * lines) + "5,6\n")
        assert [row.line for row in rows if isinstance(row, DamagedRow)] == [2]
        assert len(rows) == 2 * lines + 2
        assert rows[-1] == TableRow(2 * lines + 3, ("5", "6"))

    def test_lines_that_each_leave_a_quote_open_are_read_once_each(self, read):
        # Read again for each of them, these lines would take hours.
        _, rows = read("a,b\n" + 'x",y,"z\n' * 50_000)
        assert [row.line for row in rows] == list(range(2, 50_002))
        assert all(isinstance(row, DamagedRow) for row in rows)

    def test_text_after_a_closing_quote_is_no_cell(self, read):
        _, rows = read('a,b\n"1"x,2\n3,4\n')
        assert rows[0].line == 2
        assert "fix its quotes" in rows[0].reason
        assert rows[1:] == [TableRow(3, ("3", "4"))]

    def test_a_line_or_a_cell_that_is_too_long_is_a_damaged_row_and_the_next_one_is_read(self, read):
        cell = "y" * 131_072
        _, rows = read(f"a,b\n{'x' * (LINE_BYTES_MAX + 10)},1\n{cell}y,2\n{cell},3\n")
        assert rows[0] == DamagedRow(2, f"has more than {LINE_BYTES_MAX} characters: is it one row of a table?")
        assert rows[1].reason.startswith("is not a row of a table, up to line 3 (field larger than field limit")
        assert rows[2] == TableRow(4, (cell, "3"))


class TestEncodings:
    @pytest.mark.parametrize(
        ("encoding", "text"),
        [
            ("utf-8", "Zoë"),
            ("cp1252", "Zoë"),
            ("iso8859-2", "Łukasz"),
            ("gbk", "王芳"),
            ("shift_jis", "田中"),
            ("big5", "王芳"),
        ],
    )
    def test_text_is_read_in_the_encoding_of_the_layout(self, read, encoding, text):
        assert cells(read(f"a,b\n{text},1\n".encode(encoding), encoding=encoding)[1]) == [(text, "1")]

    @pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
    @pytest.mark.parametrize("mark", ["", "\ufeff"])
    def test_utf_16_has_a_byte_order_mark_or_a_named_order(self, read, encoding, mark):
        assert read(f"{mark}ä,b\n1,2\n".encode(encoding), encoding=encoding) == (("ä", "b"), [TableRow(2, ("1", "2"))])

    @pytest.mark.parametrize(
        ("content", "encoding", "words"),
        [
            ("a,b\n".encode("utf-16-be"), "utf-16-le", "set encoding: utf-16-be"),
            ("a,b\n".encode("utf-16-le"), "utf-16-be", "set encoding: utf-16-le"),
            ("a,b\n".encode("utf-16-be"), "utf-16", "does not start with the byte order mark .* encoding: utf-16-be"),
            ("\ufeffa,b\n".encode("utf-16-be"), "utf-16-le", "starts as utf-16.*set encoding: utf-16"),
            (b"a,b\n1,2\n3,\x004\n", "utf-8", "line 3 of .* has a zero byte at position 3"),
            (
                b"a,b\r\n1,2\r\nZo\xeb,1\n",
                "utf-8",
                "line 3 of .* is not utf-8: the byte 0xEB at position 3",
            ),
            (b"a,b\r" * 40_000 + b"\xff", "utf-8", "line 40001 of .* the byte 0xFF at position 1"),
            (b"a,b\n\x81,1\n", "cp1252", "line 2 of .* is not cp1252: the byte 0x81 at position 1"),
        ],
    )
    def test_a_contradiction_names_line_byte_and_remedy(self, read, content, encoding, words):
        with pytest.raises(FileUnusableError, match=words):
            read(content, encoding=encoding)

    @pytest.mark.parametrize("encoding", ["base64", "rot13", "idna", "punycode", "unicode_escape", "undefined", "x y"])
    def test_what_is_no_encoding_of_files_is_refused(self, encoding):
        with pytest.raises(ValidationError, match=r"use utf-8"):
            Layout(encoding=encoding)


WIDTHS = {"id": (1, 4), "name": (6, 9), "mark": (10, 11)}


class TestFixedWidth:
    def test_columns_are_at_their_characters(self, read):
        columns, rows = read("0001 Zoë 12\n\n0002 Ben \n", widths=WIDTHS)
        assert columns == ("id", "name", "mark")
        assert rows == [TableRow(1, ("0001", "Zoë", "12")), TableRow(3, ("0002", "Ben", ""))]

    def test_lines_up_to_the_header_are_left_out(self, read):
        assert read("ID   NAMEMK\n0001 Zoë 12\n", widths=WIDTHS, header=1)[1] == [TableRow(2, ("0001", "Zoë", "12"))]
        with pytest.raises(FileUnusableError, match=r"has 1 lines, so its header cannot end at line 3"):
            read("0001\n", widths=WIDTHS, header=3)

    def test_a_line_that_is_too_long_is_a_damaged_row(self, read):
        _, rows = read("0001" + " " * LINE_BYTES_MAX + "\n0002\n", widths=WIDTHS)
        assert [type(row) for row in rows] == [DamagedRow, TableRow]


@pytest.mark.parametrize(
    ("layout", "words"),
    [
        ({"delimiter": "\n"}, "cannot separate or quote cells"),
        ({"delimiter": '"'}, "delimiter and quote are both"),
        ({"header": [3, 3]}, "from top to bottom"),
        ({"header": []}, "from top to bottom"),
        ({"header": -1}, "greater than or equal to 0"),
        ({"header": True}, "valid integer"),
        ({"widths": {}}, "is empty"),
        ({"widths": {"a": [5, 4]}}, "has a end at 4, before it starts at 5"),
        ({"widths": {"a": [0, 4]}}, "greater than or equal to 1"),
        ({"widths": {"a": [1, 4]}, "delimiter": ","}, "keep what the file has"),
    ],
)
def test_a_layout_that_cannot_be_is_refused(layout, words):
    with pytest.raises(ValidationError, match=words):
        Layout(**layout)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"<!DOCTYPE html><html>", "is a web page or XML, no table"),
        (b"\xef\xbb\xbf\n<HTML>", "is a web page or XML, no table"),
        (gzip.compress(gzip.compress(b"a,b\n", mtime=0), mtime=0), "is compressed twice"),
        (gzip.compress(b"a,b\n" * 1000, mtime=0)[:-9], "is damaged"),
    ],
)
def test_what_is_no_table_is_named(read, content, words):
    with pytest.raises(FileUnusableError, match=words):
        read(content)


def test_a_file_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(FileUnusableError, match=r"nowhere.csv cannot be read: No such file"):
        open_table(tmp_path / "nowhere.csv")


def test_progress_ends_with_the_bytes_of_the_file(tmp_path):
    path = tmp_path / "table.csv.gz"
    path.write_bytes(gzip.compress(b"a,b\n" + b"1,2\n" * 5_000, mtime=0))
    seen = []
    list(open_table(path, observe_bytes=seen.append).rows([0]))
    assert seen[-1] == path.stat().st_size
    assert seen == sorted(seen)


def test_a_key_that_means_nothing_for_the_file_is_refused(read):
    with pytest.raises(
        FileUnusableError, match=r"sheet is set, but .* is a file of text, which has none: remove sheet"
    ):
        read("a,b\n", sheet="Marks")
    with pytest.raises(FileUnusableError, match=r"member is 'x.csv', but .* is not a zip file"):
        read("a,b\n", member="x.csv")


def test_nobody_waits_for_libraries_of_other_formats():
    program = """
import sys
import services.common.tables, services.common.tables.detection
print(*{"pyarrow", "python_calamine", "charset_normalizer", "numpy"} & {*sys.modules})
"""
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.split() == []


def test_a_pipe_is_refused_with_the_remedy_instead_of_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(FileUnusableError, match=r"pipe.csv is a pipe or a device.*: save it to a file first"):
        open_table(tmp_path / "pipe.csv")
