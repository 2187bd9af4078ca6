"""A mapping turns tables of any shape into events; problems are reported with their line and remedy."""

import gzip
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from services.common.tables.lines import FileUnusableError
from services.ingest.application.ports import Row, UnreadableRow
from services.ingest.domain.kinds.assessment import Assessment, Grain
from services.ingest.domain.kinds.interaction import Interaction, InteractionKind
from services.ingest.domain.outcome import Score
from services.ingest.domain.submission import Instant, Submission
from services.ingest.formats import Format, format_of, read_events
from services.ingest.formats.mapping.model import load_mapping
from services.ingest.formats.proposal import propose_mapping

SIMPLE = {"columns": {"learner_id": "student", "item": "question", "correct": "result"}}


@pytest.fixture
def read(tmp_path):
    def read(content, mapping, name="table.csv", file_format=Format.CSV):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        mapping_file = tmp_path / "mapping.yaml"
        mapping_file.write_text(yaml.safe_dump(mapping))
        return list(read_events(path, file_format, "gradebook", mapping=load_mapping(mapping_file)))

    return read


def only(rows):
    (row,) = rows
    assert isinstance(row, Row), row
    return row.submission


def problem(rows):
    (row,) = rows
    assert isinstance(row, UnreadableRow), row
    (found,) = row.problems
    return found


def test_every_field_of_an_assessment_comes_from_its_column(read):
    mapping = {
        "columns": {
            "learner_id": "Pupil",
            "event_id": "Response",
            "source_sequence": "Row",
            "occurred_at": "Handed in",
            "item": "Question",
            "activity": "Quiz",
            "skills": ["Standard 1", "Standard 2"],
            "score": "Punkte",
            "score_max": "von",
            "attempt": "Try",
            "hints": "Hints",
            "duration": "Time",
        },
        "constants": {"source": "schule"},
        "delimiter": ";",
        "decimal": ",",
        "skills_separator": "/",
        "date_format": "%d.%m.%Y %H:%M",
        "time_zone": "Europe/Berlin",
        "duration_unit": "s",
        "encoding": "cp1252",
        "grain": "item",
    }
    content = (
        "Pupil;Response;Row;Handed in;Question;Quiz;Standard 1;Standard 2;Punkte;von;Try;Hints;Time;Left over\n"
        "Jürgen;e1;7;04.03.2026 05:06;q1;k1;Brüche/Zahlen;Zahlen;1.000,5;2.000;2;NA;1,5;x\n"
    )
    at = datetime(2026, 3, 4, 5, 6, tzinfo=ZoneInfo("Europe/Berlin"))
    assert only(read(content.encode("cp1252"), mapping)) == Submission(
        "Jürgen",
        "schule",
        Assessment(
            "q1",
            "k1",
            ("Brüche", "Zahlen"),
            Score(1000.5, 0.0, 2000.0),
            attempt=2,
            duration_ms=1_500,
            grain=Grain.ITEM,
        ),
        "e1",
        Instant(int(at.timestamp())),
        "7",
    )


def test_an_interaction_is_read_with_the_values_of_the_table(read):
    mapping = {
        "columns": {"learner_id": "user", "interaction": "verb", "resource": "object"},
        "interactions": {"completed": ["finished", "passed"]},
    }
    rows = read("user,verb,object\na,Finished,video-1\na,opened,video-2\na,liked,video-3\n", mapping)
    assert rows[0].submission == Submission("a", "gradebook", Interaction("video-1", InteractionKind.COMPLETED))
    assert rows[1].submission.body == Interaction("video-2", InteractionKind.OPENED)
    assert rows[2].problems[0].field == "verb"
    assert "none of opened, completed, dismissed, finished, passed" in rows[2].problems[0].reason


@pytest.mark.parametrize("word", ["1", "TRUE", "Yes", "correct", " right "])
def test_the_usual_values_for_right_are_recognised(read, word):
    assert only(read(f"student,question,result\na,q,{word}\n", SIMPLE)).body.outcome is True


@pytest.mark.parametrize(
    ("changes", "cell", "words"),
    [
        ({}, "maybe", "'maybe', neither right nor wrong"),
        ({"score": "result", "score_max": 10}, "ten", "'ten': it must be a number"),
        ({"score": "result", "score_max": 10}, '"1,5"', "or set decimal: ','"),
        ({"score": "result", "score_max": 10}, "inf", "finite number"),
        ({"attempt": "result"}, "1.5", "whole number"),
        ({"occurred_at": "result"}, "04.03.2026", "not in the format iso: set date_format"),
        ({"occurred_at": "result"}, "2026-03-04 05:06", "without a time zone: set time_zone"),
        ({"duration": "result"}, "-1", "0 or more"),
        ({"occurred_at": "result", "date_format": "unix"}, "soon", "must be a number"),
        ({"occurred_at": "result", "date_format": "unix"}, "1e18", "must be unix time"),
    ],
)
def test_a_cell_that_cannot_be_read_is_named_by_its_column_with_the_remedy(read, changes, cell, words):
    columns = {"learner_id": "student", "item": "question", "correct": "fine"} | {
        name: value for name, value in changes.items() if value == "result"
    }
    if "score" in columns:
        del columns["correct"]
    elif not changes:
        columns["correct"] = "result"
    mapping = {"columns": columns} | {name: value for name, value in changes.items() if value != "result"}
    found = problem(read(f"student,question,fine,result\na,q,1,{cell}\n", mapping))
    assert found.field == "result"
    assert words in found.reason


def test_empty_and_absent_cells_are_omitted_and_the_service_validates_the_rest(read):
    rows = read('student,question,result\n"",NULL,1\n', SIMPLE)
    assert only(rows) == Submission("", "gradebook", Assessment(outcome=True))


@pytest.mark.parametrize(
    ("written", "at"),
    [
        ({"date_format": "unix"}, "1772597167.25"),
        ({"date_format": "unix_ms"}, "1772597167250"),
        ({}, "2026-03-04T05:06:07.25+01:00"),
        ({"time_zone": "America/Chicago"}, "2026-03-03 22:06:07.25"),
        ({"date_format": "%m/%d/%Y %H:%M:%S.%f %z"}, "03/04/2026 04:06:07.250000 +0000"),
    ],
)
def test_times_are_read_in_their_declared_format(read, written, at):
    mapping = {"columns": SIMPLE["columns"] | {"occurred_at": "at"}} | written
    row = only(read(f"student,question,result,at\na,q,1,{at}\n", mapping))
    assert row.occurred_at == Instant(1_772_597_167, 250_000_000)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1", "cp1252", "utf-16", "utf-16-le"])
def test_a_file_is_read_in_the_encoding_that_is_declared(read, encoding):
    content = 'student,question,result\nZoë,"q\n1",1\n'.encode(encoding)
    row = only(read(content, SIMPLE | {"encoding": encoding}))
    assert (row.learner_id, row.body.item) == ("Zoë", "q\n1")


def test_a_compressed_table_is_read_and_its_byte_order_mark_is_not_part_of_a_name(read):
    content = gzip.compress("\ufeffstudent,question,result\na,q,1\n".encode())
    assert only(read(content, SIMPLE, "table.csv.gz")).learner_id == "a"


@pytest.mark.parametrize(
    ("content", "encoding", "words"),
    [
        ("student,question,result\na,q,1\nZoë,q,1\n".encode("cp1252"), "utf-8", "line 3 of .* 0xEB at position 3"),
        ("student,question,result\n".encode("utf-16"), "utf-8", "starts as utf-16.*set encoding: utf-16"),
        ("student,question,result\n".encode("utf-8-sig"), "cp1252", "starts as utf-8"),
        ("student,question,result\n".encode("utf-16-le"), "cp1252", "zero bytes, as utf-16 has"),
        (
            "student,question,result\na,q,1\n".encode("utf-16")[:-1],
            "utf-16",
            "line 2 of .* is not utf-16: the byte 0x0A",
        ),
    ],
)
def test_a_wrong_encoding_is_named_with_the_line(read, content, encoding, words):
    with pytest.raises(FileUnusableError, match=words):
        read(content, SIMPLE | {"encoding": encoding})


def test_malformed_rows_are_reported_and_the_others_count(read):
    rows = read('student,question,result\na,q,1\na,q\n\n"a\nb",q,0\nc,q,1,2\n', SIMPLE)
    assert [(type(row).__name__, row.line) for row in rows] == [
        ("Row", 2),
        ("UnreadableRow", 3),
        ("Row", 5),
        ("UnreadableRow", 7),
    ]
    assert "has 2 columns, the header 3" in rows[1].problems[0].reason


def test_a_missing_column_is_named_together_with_the_existing_ones(read):
    with pytest.raises(FileUnusableError, match="lacks the columns question of the mapping; it has student, result"):
        read("student,result\na,1\n", SIMPLE)
    with pytest.raises(FileUnusableError, match="the delimiter may not be ','"):
        read("student;question;result\n", SIMPLE)
    with pytest.raises(FileUnusableError, match="repeats student"):
        read("student,student,question,result\n", SIMPLE)


@pytest.mark.parametrize(
    ("mapping", "words"),
    [
        ({"columns": {"item": "q", "correct": "c"}}, "learner_id is missing"),
        ({"columns": {"learner_id": "s", "item": "q"}}, "neither correct nor score is mapped"),
        ({"columns": SIMPLE["columns"] | {"score": "p"}}, "both mapped"),
        ({"columns": {"learner_id": "s", "score": "p"}}, "set score_max"),
        ({"columns": {"learner_id": "s", "interaction": "v"}}, "name the column of the resource"),
        (SIMPLE | {"encoding": "klingon"}, "encoding: .*use utf-8"),
        (SIMPLE | {"time_zone": "Mars/Olympus"}, "time_zone: .*America/Chicago"),
        (SIMPLE | {"delimeter": ";"}, "delimeter: is not a key of a mapping here: did you mean 'delimiter'"),
        ({"columns": SIMPLE["columns"] | {"colour": "c"}}, "columns.colour"),
        ("just text", "mapping:"),
    ],
)
def test_an_invalid_mapping_is_an_error_that_names_the_field(read, mapping, words):
    with pytest.raises(FileUnusableError, match=words):
        read("student,question,result\n", mapping)


class TestParquet:
    @pytest.fixture
    def table(self, tmp_path):
        def write(**columns):
            path = tmp_path / "table.parquet"
            pq.write_table(pa.table(columns), path)
            return path.read_bytes()

        return write

    def test_its_own_types_are_read_by_the_same_mapping(self, read, table):
        content = table(
            student=pa.array([17, None], pa.float64()),
            question=["q1", "q2"],
            result=[True, False],
            standards=[["a", "b"], None],
            at=pa.array([datetime(2026, 3, 4, tzinfo=UTC), None], pa.timestamp("us", "UTC")),
            unused=[1, 2],
        )
        mapping = {"columns": SIMPLE["columns"] | {"skills": "standards", "occurred_at": "at"}}
        rows = read(content, mapping, "table.parquet", Format.PARQUET)
        assert rows[0].submission == Submission(
            "17",
            "gradebook",
            Assessment("q1", skills=("a", "b"), outcome=True),
            occurred_at=Instant(1_772_582_400),
        )
        assert rows[1].submission.learner_id == ""
        assert [row.line for row in rows] == [1, 2]
        assert rows[0].original["at"] == "2026-03-04 00:00:00+00:00"

    def test_a_file_that_is_not_parquet_is_reported(self, read):
        with pytest.raises(FileUnusableError, match="cannot be read as Parquet"):
            read(b"student,question", SIMPLE, "table.parquet", Format.PARQUET)

    def test_a_missing_column_of_a_parquet_file_is_reported(self, read, table):
        with pytest.raises(FileUnusableError, match="lacks the columns question, result"):
            read(table(student=["a"]), SIMPLE, "table.parquet", Format.PARQUET)


def test_the_format_follows_from_the_file_name(tmp_path):
    names = {"a.csv": "csv", "a.TSV.gz": "csv", "b.jsonl.gz": "ndjson", "c.parquet": "parquet", "d.e.ndjson": "ndjson"}
    assert {name: str(format_of(tmp_path / name)) for name in names} == names
    with pytest.raises(FileUnusableError, match="add --format"):
        format_of(tmp_path / "events.gz")


def test_a_mapping_with_a_key_that_is_there_twice_is_refused(tmp_path):
    mapping = tmp_path / "mapping.yaml"
    mapping.write_text("columns: {learner_id: s, item: q, correct: c}\ndecimal: '.'\ndecimal: ','\n")
    with pytest.raises(FileUnusableError, match=r"the key 'decimal' is there twice in one mapping: keep one.*line 3"):
        load_mapping(mapping)


def test_the_error_about_a_missing_mapping_says_how_to_get_one(tmp_path):
    with pytest.raises(FileUnusableError, match="cairn ingest mapping --sample"):
        read_events(tmp_path / "a.csv", Format.CSV)


class TestProposal:
    @pytest.mark.parametrize("encoding", ["utf-8", "cp1252", "utf-16"])
    def test_a_proposed_mapping_reads_its_own_table(self, read, tmp_path, encoding):
        content = (
            "Student ID\tQuestion\tStandards\tScore\tPoints Possible\tSubmitted At\tSchool\n"
            "Zoë\tq1\ta;b\t3\t4\t03/04/2026 05:06 PM\tWest\nBen\tq2\ta\t4\t4\t12/31/2026 05:06 AM\tWest\n"
        ).encode(encoding)
        path = tmp_path / "export.tsv"
        path.write_bytes(content)
        proposed = propose_mapping(path)
        assert "not used: School" in proposed
        mapping = yaml.safe_load(proposed)
        rows = read(content, mapping, "export.tsv")
        assert [row.submission.body.outcome for row in rows] == [Score(3.0, 0.0, 4.0), Score(4.0, 0.0, 4.0)]
        assert rows[0].submission.learner_id == "Zoë"
        assert rows[0].submission.body.skills == ("a", "b")
        assert rows[0].submission.occurred_at == Instant(int(datetime(2026, 3, 4, 17, 6, tzinfo=UTC).timestamp()))

    def test_right_and_wrong_are_distinguished_from_points(self, tmp_path):
        path = tmp_path / "a.csv"
        path.write_text("user,item,result\na,q,1\n")
        assert yaml.safe_load(propose_mapping(path))["columns"]["correct"] == "result"
        path.write_text("user,item,result\na,q,87\n")
        proposed = yaml.safe_load(propose_mapping(path))
        assert (proposed["columns"]["score"], proposed["score_max"]) == ("result", 100)

    def test_missing_values_are_reported(self, tmp_path):
        path = tmp_path / "a.csv"
        path.write_text("colour,size\nred,1\n")
        proposed = propose_mapping(path)
        for words in ("learner_id: the column", "item: the question", "correct: right or wrong"):
            assert words in proposed

    def test_a_parquet_file_gets_one_too(self, tmp_path):
        path = tmp_path / "a.parquet"
        pq.write_table(pa.table({"student_id": ["a"], "problem": ["q"], "correct": [1]}), path)
        assert yaml.safe_load(propose_mapping(path))["columns"] == {
            "learner_id": "student_id",
            "item": "problem",
            "correct": "correct",
        }
