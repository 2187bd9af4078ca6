"""What a mapping takes from around a table: the file's name, the lines above its header, neighbouring columns."""

from __future__ import annotations

import os
import zipfile

import pytest
import yaml

from services.common.tables import FileUnusableError
from services.ingest.application.ports import LeftOutRow, Row, UnreadableRow
from services.ingest.domain.outcome import Score
from services.ingest.domain.submission import Instant
from services.ingest.formats.mapping import read_table
from services.ingest.formats.mapping.model import parse_mapping, with_default_zone

SCORE = {"columns": {"learner_id": "who", "score": "points"}, "score_max": 10}


@pytest.fixture
def read(tmp_path):
    def read(table, mapping, name="fractions.csv"):
        (tmp_path / name).write_text(table)
        content = mapping if isinstance(mapping, dict) else yaml.safe_load(mapping)
        return list(read_table(tmp_path / name, parse_mapping(content, tmp_path / "map.yaml"), "s"))

    return read


@pytest.mark.parametrize(
    ("name", "activity"),
    [("fractions.csv", "fractions"), ("unit 2.1.csv", "unit 2.1"), ("fractions.csv.gz", "fractions")],
)
def test_a_constant_may_be_the_name_of_the_file(read, name, activity):
    (row,) = read("who,points\na,7\n", SCORE | {"constants": {"activity": "{file}"}}, name)
    assert row.submission.body.activity == activity


def test_a_name_that_is_no_text_makes_no_field(read):
    name = os.fsdecode(b"Br\xfcche.csv")
    with pytest.raises(FileUnusableError, match=r"the name of .*Br\ufffdche.csv is not UTF-8.*: rename the file"):
        read("who,points\na,7\n", SCORE | {"constants": {"activity": "{file}"}}, name)
    (row,) = read("who,points\na,7\n", SCORE | {"constants": {"activity": "fractions"}}, name)
    assert row.submission.body.activity == "fractions"


def test_a_field_of_an_unpivoted_column_may_be_a_text_with_its_groups_and_the_file(read):
    unpivot = {"columns": r"^Q(?P<n>\d)$", "texts": {"item": "{file}/{n}"}}
    rows = read("who,Q1,Q2\na,7,8\n", {"columns": {"learner_id": "who"}, "unpivot": [unpivot], "score_max": 10})
    assert [row.submission.body.item for row in rows] == ["fractions/1", "fractions/2"]


def test_columns_are_chosen_by_the_name_of_the_one_before(read):
    mapping = """
    columns: {learner_id: who}
    unpivot:
      - columns: '^(?P<score_max>[0-9.]+)$'
        before: '^(?P<item>[0-9]+):'
    """
    rows = read("2.0,who,11: a?,1.0,12: b?,1.0\nx,a,yes,0.5,no,0\n", mapping)
    assert [(row.submission.body.item, row.submission.body.outcome) for row in rows] == [
        ("11", Score(0.5, 0.0, 1.0)),
        ("12", Score(0.0, 0.0, 1.0)),
    ]


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"columns": "q", "texts": {"item": "{n}"}}, "texts.item is '{n}', but columns has no group 'n'"),
        ({"columns": "q", "texts": {"items": "x"}}, "'items' is no field"),
        ({"columns": "(?P<item>q)", "texts": {"item": "x"}}, "gives item twice"),
        ({"columns": "q", "before": "("}, "is not a regular expression"),
        ({"columns": "q", "with": {"right_answer": "x"}}, "'right_answer' is no field"),
    ],
)
def test_a_mapping_that_cannot_be_meant_is_refused(read, entry, said):
    with pytest.raises(FileUnusableError) as raised:
        read("who,q\na,1\n", {"columns": {"learner_id": "who"}, "unpivot": [entry], "score_max": 10})
    assert said in str(raised.value)


LABELLED = """Teacher:,Ada
Quiz: ,"Fractions, 2"
Points:,20,of all
who,points
a,17
"""
LABELS = {"header": 4, "columns": SCORE["columns"], "labels": {"activity": "quiz:", "score_max": "Points:"}}


def test_lines_above_the_header_give_fields_by_their_labels(read):
    (row,) = read(LABELLED, LABELS)
    assert (row.submission.body.activity, row.submission.body.outcome) == ("Fractions, 2", Score(17.0, 0.0, 20.0))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("Quiz: ,", "Test:,", "labels.activity is 'quiz:', and no cell above the header of"),
        ("Points:,20", "Points:,many", "what is to the right of 'Points:' in"),
        ("Points:,20", "Points:,", "labels.score_max is 'Points:', and no cell above"),
        (
            'Quiz: ,"Fractions, 2"\nPoints:,20,of all\nwho,points\n',
            "x,y\nPoints:,20\nwho,points\nQuiz:,17\n",
            "labels.activity is 'quiz:', and no cell above the header of",
        ),
    ],
)
def test_a_label_that_is_not_there_is_named(read, old, new, said):
    with pytest.raises(FileUnusableError) as raised:
        read(LABELLED.replace(old, new), LABELS)
    assert said in str(raised.value)


def test_labels_need_the_line_of_the_header(read):
    with pytest.raises(FileUnusableError, match="labels is set, but not header"):
        read("who,points\n", SCORE | {"labels": {"activity": "Quiz"}})


ZONED = {
    "columns": {"learner_id": "who", "item": "q", "correct": "ok", "occurred_at": "when", "time_zone": "zone"},
    "time_zone": "UTC",
}


def test_each_row_may_name_its_time_zone(read):
    rows = "".join(f"a,q,1,2026-03-04 09:00,{zone}\n" for zone in ("US/Eastern", "US/Central", ""))
    seconds = [row.submission.occurred_at.seconds for row in read(f"who,q,ok,when,zone\n{rows}", ZONED)]
    assert [second - seconds[2] for second in seconds] == [5 * 3600, 6 * 3600, 0]


def test_a_time_zone_that_there_is_not_is_a_problem_of_its_row(read):
    (row,) = read("who,q,ok,when,zone\na,q,1,2026-03-04 09:00,Mars/Olympus\n", ZONED)
    assert isinstance(row, UnreadableRow)
    assert row.problems[0].field == "zone"
    assert "'Mars/Olympus' is not a time zone" in row.problems[0].reason


ANSWERS = {"columns": {"learner_id": "who", "item": "q", "correct": "answer", "right_answer": "key"}}


def test_an_answer_is_compared_with_the_right_one(read):
    rows = read("who,q,answer,key\na,1,B,b\na,2,c,b\na,3,,b\na,4,c,\n", ANSWERS)
    assert [row.submission.body.outcome for row in rows[:2]] == [True, False]
    assert isinstance(rows[2], LeftOutRow)
    assert rows[3].problems[0].field == "key"


def test_a_right_answer_needs_the_learners(read):
    with pytest.raises(FileUnusableError, match="right_answer is mapped and correct is not"):
        read("who,points,key\n", SCORE | {"columns": SCORE["columns"] | {"right_answer": "key"}})


def test_skills_are_those_of_every_column_of_a_name(read):
    mapping = {"columns": {"learner_id": "who", "item": ["p", "s"], "correct": "ok", "skills": "kc"}}
    (row,) = read("who,p,s,ok,kc,kc,kc\na,P1,step,1,x,,y\n", mapping)
    assert (row.submission.body.item, row.submission.body.skills) == ("P1/step", ("x", "y"))


def test_a_repeated_name_is_addressed_by_its_number(read):
    (row,) = read(
        "who,points,points\na,1,2\n",
        SCORE
        | {"columns": {"learner_id": "who", "score": "points#2"}, "grain": "activity", "constants": {"activity": "x"}},
    )
    assert row.submission.body.outcome == Score(2.0, 0.0, 10.0)


def test_microseconds_since_1970_are_read_to_the_microsecond(read):
    mapping = {
        "columns": {"learner_id": "who", "item": "q", "correct": "ok", "occurred_at": "t"},
        "date_format": "unix_us",
    }
    (row,) = read("who,q,ok,t\na,q,1,1420714810324491\n", mapping)
    assert row.submission.occurred_at == Instant(1_420_714_810, 324_491_000)


def test_a_companion_may_be_in_the_same_zip_file(tmp_path):
    with zipfile.ZipFile(tmp_path / "export.zip", "w") as archive:
        archive.writestr("results.csv", "who,item,points\na,i,7\n")
        archive.writestr("items.csv", "id,maximum\ni,10\n")
    content = {
        "member": "results.csv",
        "join": [{"file": "items.csv", "by": {"item": "id"}, "take": ["maximum"]}],
        "columns": {"learner_id": "who", "item": "item", "score": "points", "score_max": "maximum"},
    }
    (row,) = read_table(tmp_path / "export.zip", parse_mapping(content, tmp_path / "map.yaml"), "s")
    assert isinstance(row, Row)
    assert row.submission.body.outcome == Score(7.0, 0.0, 10.0)


def test_a_default_time_zone_counts_where_the_mapping_names_none(tmp_path):
    mapping = parse_mapping(SCORE, tmp_path / "map.yaml")
    assert with_default_zone(mapping, "Europe/Helsinki").time_zone == "Europe/Helsinki"
    own = mapping.model_copy(update={"time_zone": "UTC"})
    assert with_default_zone(own, "Europe/Helsinki").time_zone == "UTC"
    with pytest.raises(FileUnusableError, match="'Helsinki' is not a time zone"):
        with_default_zone(mapping, "Helsinki")
