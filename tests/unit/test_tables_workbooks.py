"""A sheet of a workbook is a table: numbers, dates and texts as their types, rows with their numbers."""

from datetime import datetime, time

import pytest

from services.common.tables import DamagedRow, FileUnusableError, Layout, TableRow, open_table
from services.common.tables.lines import LINE_BYTES_MAX
from tests.workbooks import number, row, text, write_ods, write_xls, write_xlsx

# The 4th of March 2026 is day 46085 of Excel's calendar: 1 January 2026 is day 46023.
_DAY = 46085
_MARKS = (
    row(1, text("A1", "pupil"), text("B1", "mark"), text("C1", "day")),
    row(3, text("A3", "00123"), number("B3", 7.0), number("C3", _DAY, style=1)),
    row(4, text("A4", "b"), number("B4", 7.5), number("C4", _DAY + 0.25, style=2)),
)


def local(*parts):
    return datetime(*parts)  # noqa: DTZ001 - a workbook's times have no zone.


def read(path, **layout):
    table = open_table(path, Layout(**layout))
    return table.columns, list(table.rows(range(len(table.columns))))


def test_cells_have_their_types_and_rows_their_numbers(tmp_path):
    columns, rows = read(write_xlsx(tmp_path / "marks.xlsx", {"Marks": _MARKS}))
    assert columns == ("pupil", "mark", "day")
    assert rows == [
        TableRow(3, ("00123", 7, local(2026, 3, 4))),
        TableRow(4, ("b", 7.5, local(2026, 3, 4, 6))),
    ]
    assert [type(each) for each in rows[0].cells] == [str, int, datetime]


def test_a_workbook_is_recognised_by_its_content(tmp_path):
    assert read(write_xlsx(tmp_path / "marks.csv", {"Marks": _MARKS}))[0] == ("pupil", "mark", "day")


def test_a_sheet_of_opendocument_is_read(tmp_path):
    def cell(value):
        return f'<table:table-cell office:value-type="string"><text:p>{value}</text:p></table:table-cell>'

    rows = (
        f"<table:table-row>{cell('pupil')}{cell('time')}</table:table-row>"
        f'<table:table-row>{cell("a")}<table:table-cell office:value-type="time" office:time-value="PT01H30M00S"/>'
        "</table:table-row>"
    )
    assert read(write_ods(tmp_path / "marks.ods", rows)) == (
        ("pupil", "time"),
        [TableRow(2, ("a", time(1, 30)))],
    )


def test_columns_keep_their_letters_where_the_first_ones_are_empty(tmp_path):
    sheet = (row(5, text("C5", "pupil")), row(6, text("C6", "a")))
    columns, rows = read(write_xlsx(tmp_path / "marks.xlsx", {"Marks": sheet}))
    assert (columns, rows) == (("", "", "pupil"), [TableRow(6, (None, None, "a"))])


def test_several_rows_may_be_the_header(tmp_path):
    sheet = (
        row(1, text("A1", "Riverbend School")),
        row(2, text("B2", "Unit 1")),
        row(3, text("A3", "pupil"), text("B3", "points"), text("C3", "max")),
        row(4, text("A4", "a"), number("B4", 1), number("C4", 2)),
    )
    columns, rows = read(write_xlsx(tmp_path / "marks.xlsx", {"Marks": sheet}), header=[2, 3])
    assert (columns, rows) == (("pupil", "Unit 1 points", "Unit 1 max"), [TableRow(4, ("a", 1, 2))])


class TestSheets:
    @pytest.fixture
    def workbook(self, tmp_path):
        other = (row(1, text("A1", "code")), row(2, text("A2", "x")))
        return write_xlsx(tmp_path / "marks.xlsx", {"Empty": (), "Marks": _MARKS, "Codes": other})

    def test_one_is_named(self, workbook):
        assert read(workbook, sheet="Codes") == (("code",), [TableRow(2, ("x",))])

    def test_several_with_cells_are_listed(self, workbook):
        with pytest.raises(
            FileUnusableError, match=r"several sheets with cells: set sheet to one of Empty, Marks, Codes"
        ):
            read(workbook)

    def test_an_unknown_one_is_an_error_that_lists_them(self, workbook):
        with pytest.raises(FileUnusableError, match=r"no sheet 'marks': set sheet to one of Empty, Marks, Codes"):
            read(workbook, sheet="marks")

    def test_the_only_one_with_cells_needs_no_name(self, tmp_path):
        assert read(write_xlsx(tmp_path / "marks.xlsx", {"Empty": (), "Marks": _MARKS}))[0] == ("pupil", "mark", "day")

    def test_a_hidden_one_is_read_where_it_is_named(self, tmp_path):
        codes = (row(1, text("A1", "code")), row(2, text("A2", "x")))
        path = write_xlsx(tmp_path / "marks.xlsx", {"Codes": codes, "Marks": _MARKS}, hidden=["Codes"])
        assert read(path)[0] == ("pupil", "mark", "day")
        assert read(path, sheet="Codes")[0] == ("code",)

    def test_none_with_cells_is_an_error(self, tmp_path):
        with pytest.raises(FileUnusableError, match=r"has no sheet with cells"):
            read(write_xlsx(tmp_path / "marks.xlsx", {"Empty": ()}))


def test_a_row_with_too_much_text_is_damaged_and_the_next_one_is_read(tmp_path):
    sheet = (
        row(1, text("A1", "pupil")),
        row(2, text("A2", "x" * (LINE_BYTES_MAX + 1))),
        row(3, text("A3", "x" * LINE_BYTES_MAX)),
    )
    _, rows = read(write_xlsx(tmp_path / "marks.xlsx", {"Marks": sheet}))
    assert [(type(each), each.line) for each in rows] == [(DamagedRow, 2), (TableRow, 3)]


@pytest.mark.parametrize("suffix", [".xlsx", ".xlsm", ".ods"])
def test_a_file_that_only_has_the_name_of_a_workbook_is_named(tmp_path, suffix):
    path = tmp_path / f"marks{suffix}"
    path.write_bytes(b"pupil,mark\n")
    with pytest.raises(FileUnusableError, match=r"is no workbook, though its name says so"):
        read(path)


def test_a_damaged_workbook_is_named(tmp_path):
    path = write_xlsx(tmp_path / "marks.xlsx", {"Marks": (*_MARKS[:2], "<row><<")})
    with pytest.raises(
        FileUnusableError, match=r"marks.xlsx cannot be read as a workbook .*: save it again, or as CSV"
    ):
        read(path)


def test_an_old_workbook_is_read_and_named_where_it_is_damaged(tmp_path):
    path = write_xls(tmp_path / "marks.xls", [("pupil", "mark"), ("Zoë", 7.5)])
    assert read(path)[1] == [TableRow(2, ("Zoë", 7.5))]
    # The library takes for granted that the directory, which begins after two sectors, is there.
    path.write_bytes(path.read_bytes()[:1064])
    with pytest.raises(FileUnusableError, match=r"marks.xls cannot be read as a workbook .*: save it again, or as CSV"):
        read(path)


def test_a_workbook_with_a_password_is_named(tmp_path):
    # The container of an encrypted workbook: its magic number and the name of its stream.
    path = tmp_path / "marks.xlsx"
    path.write_bytes(bytes.fromhex("d0cf11e0a1b11ae1") + bytes(504) + "EncryptedPackage".encode("utf-16-le"))
    with pytest.raises(FileUnusableError, match=r"is protected with a password: save it without one"):
        read(path)


def test_rows_that_nobody_wants_end_the_process_that_reads_them(tmp_path):
    sheet = [row(1, text("A1", "pupil")), *(row(line, number(f"A{line}", line)) for line in range(2, 5_000))]
    rows = open_table(write_xlsx(tmp_path / "marks.xlsx", {"Marks": sheet})).rows([0])
    assert next(rows) == TableRow(2, (2,))
    # A process left behind would be a ResourceWarning, which fails the test.
    del rows
