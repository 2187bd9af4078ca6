"""A zip file holds one table, or the member that is named; it is read without unpacking it."""

import io
import zipfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from services.common.tables import FileUnusableError, Layout, TableRow, members_of, open_table
from services.common.tables.lines import LINE_BYTES_MAX
from tests.workbooks import row, text, write_xlsx

CSV = b"pupil,mark\na,1\n"


@pytest.fixture
def pack(tmp_path):
    def pack(method=zipfile.ZIP_DEFLATED, **members):
        path = tmp_path / "export.zip"
        with zipfile.ZipFile(path, "w", method) as archive:
            for name, content in members.items():
                archive.writestr(name.replace("__", "."), content)
        return path

    return pack


def read(path, **layout):
    table = open_table(path, Layout(**layout))
    return table.columns, list(table.rows(range(len(table.columns))))


def test_the_only_member_is_the_table(pack):
    assert read(pack(marks__csv=CSV)) == (("pupil", "mark"), [TableRow(2, ("a", "1"))])


def test_several_members_are_listed_and_one_is_named(pack):
    path = pack(users__csv=b"id\nu\n", marks__csv=CSV)
    assert members_of(path) == ("users.csv", "marks.csv")
    with pytest.raises(FileUnusableError, match=r"holds 2 files: set member to one of users.csv, marks.csv"):
        read(path)
    with pytest.raises(FileUnusableError, match=r"no member 'Marks.csv': set member to one of users.csv, marks.csv"):
        read(path, member="Marks.csv")
    assert read(path, member="marks.csv")[1] == [TableRow(2, ("a", "1"))]


def test_what_an_operating_system_adds_is_no_member(tmp_path):
    path = tmp_path / "export.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.mkdir("term")
        for name in ("term/marks.csv", "__MACOSX/term/._marks.csv", "term/.DS_Store"):
            archive.writestr(name, CSV)
    assert members_of(path) == ("term/marks.csv",)


def test_a_workbook_and_a_file_without_members_have_none(tmp_path):
    assert members_of(write_xlsx(tmp_path / "a.xlsx", {"A": (row(1, text("A1", "x")),)})) == ()
    (tmp_path / "a.csv").write_bytes(CSV)
    assert members_of(tmp_path / "a.csv") == ()


def test_workbooks_and_parquet_inside_are_read(pack, tmp_path):
    workbook = write_xlsx(tmp_path / "a.xlsx", {"A": (row(1, text("A1", "x")), row(2, text("A2", "y")))})
    parquet = io.BytesIO()
    pq.write_table(pa.table({"x": ["z"]}), parquet)
    path = pack(marks__xlsx=workbook.read_bytes(), marks__parquet=parquet.getvalue())
    assert read(path, member="marks.xlsx") == (("x",), [TableRow(2, ("y",))])
    assert read(path, member="marks.parquet") == (("x",), [TableRow(1, ("z",))])


def test_messages_name_the_member(pack):
    with pytest.raises(FileUnusableError, match=r"line 2 of marks.csv in .*export.zip is not utf-8"):
        read(pack(marks__csv=b"a,b\n\xff,1\n"))


def test_a_zip_file_inside_another_is_refused(pack):
    path = pack(a__csv=CSV)
    with pytest.raises(FileUnusableError, match=r"is a zip file inside another: unpack the outer one"):
        read(pack(b__zip=path.read_bytes()))


def test_an_encrypted_member_is_refused(pack):
    content = bytearray(pack(a__csv=CSV).read_bytes())
    # The first bit of the flags: at byte 6 of the member's header, and at byte 8 of its entry in the directory.
    content[6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    path = pack()
    path.write_bytes(content)
    with pytest.raises(FileUnusableError, match=r"is encrypted: unpack it with its password"):
        read(path)


def test_another_compression_is_refused(pack):
    with pytest.raises(FileUnusableError, match=r"compressed by method 14: pack it again as a plain zip"):
        read(pack(zipfile.ZIP_LZMA, a__csv=CSV))


def test_a_member_that_would_grow_beyond_reason_is_refused(tmp_path):
    path = tmp_path / "export.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("a.csv", "w") as member:
        for _ in range(110):
            member.write(bytes(1 << 20))
    with pytest.raises(FileUnusableError, match=r"a.csv in .* would grow from .* to 115343360 bytes"):
        read(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"PK\x05\x06" + bytes(18), "is an empty zip file"),
        (b"PK\x03\x04" + bytes(100), "is a damaged zip file"),
        # An end of the directory that claims 2 GiB of entries.
        (b"PK\x03\x04" + b"PK\x05\x06" + bytes(8) + (2 << 30).to_bytes(4, "little") + bytes(6), "holds too many files"),
    ],
)
def test_a_zip_file_without_members_is_named(tmp_path, content, words):
    path = tmp_path / "export.zip"
    path.write_bytes(content)
    with pytest.raises(FileUnusableError, match=words):
        read(path)


def test_a_member_whose_content_does_not_match_its_checksum_is_damaged(pack):
    path = pack(zipfile.ZIP_STORED, a__csv=CSV)
    path.write_bytes(path.read_bytes().replace(CSV, CSV.replace(b"1", b"2")))
    with pytest.raises(FileUnusableError, match=r"is damaged"):
        read(path)


def test_a_long_line_inside_is_a_damaged_row(pack):
    path = pack(a__csv=CSV + b"x" * (LINE_BYTES_MAX + 1) + b"\nb,2\n")
    assert [each.line for each in read(path)[1]] == [2, 3, 4]
