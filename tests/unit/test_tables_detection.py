"""How a file holds its table is detected from all of it, with the evidence in sentences; what is not clear is said."""

import gzip

import pytest

from services.common.tables import FileUnusableError, open_table
from services.common.tables.detection import detected_layout
from tests.workbooks import number, row, text, write_xlsx


@pytest.fixture
def detect(tmp_path):
    """What differs from the default layout, and the evidence."""

    def detect(content, name="table.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        found = detected_layout(path)
        return found.layout.model_dump(exclude_defaults=True), "\n".join(found.evidence)

    return detect


class TestDelimiter:
    @pytest.mark.parametrize("delimiter", [";", "\t", "|", "^"])
    def test_it_splits_the_rows_evenly(self, detect, delimiter):
        layout, _ = detect("pupil mark day\na 1 2026-03-04\nb 2 2026-03-05\n".replace(" ", delimiter))
        assert layout == {"delimiter": delimiter}

    def test_it_is_not_counted_inside_quotes(self, detect):
        content = 'name,note\n"Doe; Ann","a; b; c"\n"Roe; Ben","d; e; f"\n'
        assert detect(content)[0] == {}

    def test_decimal_commas_are_no_delimiters(self, detect):
        rows = "".join(f"p{n};{n},5;{n},25;{n},75\n" for n in range(20))
        assert detect("pupil;a;b;c\n" + rows)[0] == {"delimiter": ";"}

    def test_times_and_dates_do_not_make_a_delimiter(self, detect):
        rows = "".join(f"p{n},2026-03-04 10:{n}:00\n" for n in range(10, 30))
        assert detect("pupil,when\n" + rows)[0] == {}

    def test_a_line_that_names_it_decides(self, detect):
        layout, evidence = detect("sep=|\na|b,c\n1|2,3\n")
        assert layout == {"delimiter": "|"}
        assert "line 1 names the delimiter: '|'" in evidence

    def test_a_rival_that_fits_as_well_is_named(self, detect):
        assert "',' would split all rows evenly too: check the delimiter" in detect("a;b,c\n1;2,3\n4;5,6\n")[1]

    def test_a_file_with_one_column_has_none(self, detect):
        layout, evidence = detect("pupil\nanna\nben\n")
        assert layout == {}
        assert "there is no delimiter that most lines have" in evidence


class TestHeader:
    def test_title_lines_above_it_are_recognised(self, detect):
        content = "Riverbend School\nPrinted 4 March\n\npupil,quiz,mark\na,q1,3\nb,q1,4\nc,q2,5\n"
        layout, evidence = detect(content)
        assert layout == {"header": 4}
        assert "line 4 is the first with about 3 cells" in evidence

    def test_titles_of_groups_above_the_names_are_part_of_it(self, detect):
        content = "Report\n,Unit 1,,Unit 2,\npupil,points,max,points,max\na,1,2,3,4\nb,2,2,3,4\n"
        assert detect(content)[0] == {"header": (2, 3)}

    def test_a_table_of_values_has_none(self, detect):
        layout, evidence = detect("4711,1,0.5,2026-03-04\n4712,0,0.7,2026-03-05\n")
        assert layout == {"header": 0}
        assert "line 1 has values such as '4711'" in evidence

    def test_columns_without_a_name_do_not_hide_it(self, detect):
        assert detect(",pupil,,quiz,,mark\n0,a,x,q1,y,3\n1,b,x,q1,y,4\n2,c,x,q1,y,4\n")[0] == {}

    def test_labels_above_it_are_not_taken_for_it_however_many_they_are(self, detect):
        labels = "Teacher:,Hill\nClass:,3b\nAssignment Name:,Area\nPoints Possible:,20\nDue:,4 March\n"
        assert detect(labels + "\nNum,Name,Score\n1,Ann,3\n2,Ben,4\n")[0] == {"header": 7}

    def test_the_first_rows_of_data_are_no_second_header(self, detect):
        assert detect("name,,class\nAnn,x,x\nBen,y,x\nCid,z,z\n")[0] == {}

    def test_that_of_a_workbook_is_recognised_too(self, tmp_path):
        sheet = (
            row(1, text("A1", "Riverbend School")),
            row(3, text("A3", "pupil"), text("B3", "quiz"), text("C3", "mark")),
            row(4, text("A4", "a"), text("B4", "q1"), number("C4", 3)),
            row(5, text("A5", "b"), text("B5", "q1"), number("C5", 3)),
        )
        found = detected_layout(write_xlsx(tmp_path / "marks.xlsx", {"Marks": sheet}))
        assert found.layout.header == 3


class TestEncoding:
    @pytest.mark.parametrize(
        ("encoding", "detected"),
        [
            ("utf-8-sig", "utf-8"),
            ("utf-16", "utf-16"),
            ("utf-16-le", "utf-16-le"),
            ("utf-16-be", "utf-16-be"),
            ("utf-8", "utf-8"),
        ],
    )
    def test_unicode_is_recognised_with_and_without_a_mark(self, detect, tmp_path, encoding, detected):
        layout, evidence = detect("pupil,mark\nZoë,1\nŁukasz,2\n".encode(encoding))
        assert layout == ({} if detected == "utf-8" else {"encoding": detected})
        assert detected in evidence.casefold()
        assert open_table(tmp_path / "table.csv", detected_layout(tmp_path / "table.csv").layout).columns == (
            "pupil",
            "mark",
        )

    @pytest.mark.parametrize(
        ("encoding", "words"),
        [
            ("gbk", "王小明,数学第一单元测验,及格\n李芳芳,语文阅读理解练习,优秀\n张伟东,英语口语考试成绩,良好\n"),
            ("shift_jis", "山田太郎,数学のテスト,合格しました\n佐藤花子,国語のテスト,がんばりましょう\n"),
            ("cp1251", "Иван Петров,контрольная работа по математике,хорошо\nМария Сидорова,диктант,отлично\n"),  # noqa: RUF001 - Cyrillic letters are meant.
        ],
    )
    def test_another_encoding_is_named_with_its_confidence(self, detect, encoding, words):
        layout, evidence = detect(words.encode(encoding) * 5)
        assert words.encode(layout["encoding"]) == words.encode(encoding)
        assert "with a confidence of" in evidence

    @pytest.mark.parametrize(("encoding", "name"), [("cp1252", "Müller, Jürgen"), ("cp1252", "Lefèvre, Éloïse")])
    def test_western_names_are_read_as_they_are(self, detect, encoding, name):
        content = f'id,name,note\n7,"{name}",ça va très bien en été\n'.encode(encoding) * 10
        layout, evidence = detect(content)
        assert name.encode(layout["encoding"]) == name.encode(encoding)
        assert "the file is not UTF-8" in evidence

    def test_two_that_fit_as_well_are_shown_by_what_they_make_of_a_text(self, detect):
        _, evidence = detect("id,name\n7,Łukasz Żółtowski\n8,Zofia Wiśniewska\n".encode("cp1250"))
        assert "with a confidence of 50%" in evidence
        assert "as cp1250 that text would be '7,Łukasz'" in evidence

    def test_a_byte_far_into_a_compressed_file_counts(self, detect):
        content = gzip.compress(b"pupil,mark\n" + b"a,1\n" * 200_000 + "Zoë,1\n".encode("cp1252") + b"b,2\n" * 200_000)
        layout, evidence = detect(content, "table.csv.gz")
        assert layout["encoding"].startswith(("cp12", "iso8859"))
        assert "check texts such as" in evidence


def test_an_empty_file_is_an_error(detect):
    with pytest.raises(FileUnusableError, match="is empty: it needs a header and rows"):
        detect("")
