"""How a mapping reads outcomes, numbers, ids and durations of cells."""

from __future__ import annotations

import pytest

from services.common.tables import FileUnusableError
from services.ingest.application.ports import LeftOutRow
from services.ingest.domain.outcome import Score
from tests.mapped_tables import mapped, problems, reasons, submissions

POINTS = {"columns": {"learner_id": "who", "activity": "quiz", "score": "got"}}
RESULT = {"columns": {"learner_id": "who", "item": "quiz", "correct": "got"}}


@pytest.fixture
def read(tmp_path):
    """Reads one cell of an outcome."""

    def read(cell, mapping):
        return mapped(tmp_path, f'who,quiz,got\na,q,"{cell}"\n', mapping)

    return read


@pytest.mark.parametrize(
    ("keys", "cell", "score"),
    [
        ({"scale": "percent"}, "85%", Score(85.0, 0.0, 100.0)),
        ({"scale": "percent"}, "85.00 %", Score(85.0, 0.0, 100.0)),
        ({"scale": "percent"}, "%85", Score(85.0, 0.0, 100.0)),
        ({"scale": "percent"}, "7.5", Score(7.5, 0.0, 100.0)),
        ({"scale": "percent", "decimal": ","}, "85,5 %", Score(85.5, 0.0, 100.0)),
        ({"scale": "fraction"}, "7 / 10", Score(7.0, 0.0, 10.0)),
        ({"scale": "fraction"}, "17/20", Score(17.0, 0.0, 20.0)),
        ({"scale": ["percent", "fraction"]}, "17/20", Score(17.0, 0.0, 20.0)),
        ({"scale": ["percent", "fraction"]}, "17", Score(17.0, 0.0, 100.0)),
        ({"scale": ["points", "percent"], "score_max": 20}, "17", Score(17.0, 0.0, 20.0)),
        ({"scale": ["points", "percent"], "score_max": 20}, "17%", Score(17.0, 0.0, 100.0)),
        ({"levels": {"A": 95, "B+": 88}, "score_max": 100}, "b+", Score(88.0, 0.0, 100.0)),
        ({"levels": {"Beginning": 1, "Secure": 3}}, "Beginning", Score(1.0, 0.0, 3.0)),
        ({"levels": {1: 0, 4: 60}}, "4", Score(60.0, 0.0, 60.0)),
        ({"levels": {"B+": 88}, "scale": "percent"}, "B+", Score(88.0, 0.0, 100.0)),
        ({"levels": {"EX": 5}}, "EX", Score(5.0, 0.0, 5.0)),
        ({"score_min": 100, "score_max": 350}, "188", Score(188.0, 100.0, 350.0)),
        ({"score_max": 100, "marks": ["*"]}, "*90", Score(90.0, 0.0, 100.0)),
        ({"score_max": 100, "marks": ["*", "†"]}, "90 †", Score(90.0, 0.0, 100.0)),
        ({"score_max": 10, "extra_credit": "cap"}, "12", Score(10.0, 0.0, 10.0)),
        ({"score_max": 10}, "12", Score(12.0, 0.0, 10.0)),
        ({"scale": "percent", "extra_credit": "cap"}, "104%", Score(100.0, 0.0, 100.0)),
    ],
)
def test_scores_are_read_on_the_scale_that_the_mapping_states(read, keys, cell, score):
    (submission,) = submissions(read(cell, POINTS | keys))
    assert submission.body.outcome == score


@pytest.mark.parametrize(
    ("keys", "cell", "words"),
    [
        ({"score_max": 10}, "85%", "is '85%': it must be a number; set scale: percent"),
        ({"score_max": 10}, "7/10", "set scale: fraction"),
        ({"score_max": 10}, "B+", "give its points in levels, or add it to not_scored"),
        ({"score_max": 10}, "*9", "add '*' to marks"),
        ({"score_max": 10, "marks": ["*"]}, "**", "nothing but marks: add it to not_scored"),
        ({"scale": "fraction"}, "7", "not written as 7 / 10"),
        ({"scale": "fraction"}, "7 / ten", "it must be a number"),
        ({"score_max": 10, "decimal": ","}, "1.5", "'.' separates thousands, in full groups of three"),
        ({"score_max": 10}, "1,234", "set thousands: ',' if it separates thousands, or set decimal: ','"),
    ],
)
def test_a_score_that_is_written_in_another_way_names_the_key_to_set(read, keys, cell, words):
    ((line, column, reason),) = problems(read(cell, POINTS | keys))
    assert (line, column) == (2, "got")
    assert words in reason


@pytest.mark.parametrize("cell", ["", "-", "--", "EX", "excused", " Incomplete ", "NG", "Not attempted", "NA"])
@pytest.mark.parametrize("mapping", [POINTS | {"score_max": 10}, RESULT])
def test_what_nobody_scored_is_left_out(read, cell, mapping):
    assert reasons(read(cell, mapping)) == [(2, "without an outcome")]


@pytest.mark.parametrize("cell", ["0 / 0", "5 / 0"])
def test_work_that_is_worth_no_points_is_left_out(read, cell):
    (row,) = read(cell, POINTS | {"scale": "fraction"})
    assert row == LeftOutRow(2, "without an outcome")


def test_what_nobody_scored_is_left_out_whatever_else_is_wrong_with_its_row(tmp_path):
    mapping = {"columns": {"learner_id": "who", "item": "quiz", "correct": "got", "occurred_at": "at"}}
    rows = mapped(tmp_path, "who,quiz,got,at\na,q,EX,never\n", mapping)
    assert reasons(rows) == [(2, "without an outcome")]


def test_a_word_for_wrong_is_an_outcome_though_it_usually_means_not_scored(read):
    (submission,) = submissions(read("-", RESULT | {"wrong": ["-"]}))
    assert submission.body.outcome is False


def test_own_words_for_not_scored_replace_the_usual_ones(read):
    mapping = POINTS | {"score_max": 10, "not_scored": ["krank"]}
    assert reasons(read("KRANK", mapping)) == [(2, "without an outcome")]
    assert problems(read("EX", mapping))


def test_points_without_a_maximum_in_their_row_are_a_problem(tmp_path):
    mapping = {"columns": {"learner_id": "who", "item": "quiz", "score": "got", "score_max": "of"}}
    ((_, column, reason),) = problems(mapped(tmp_path, "who,quiz,got,of\na,q,1,\n", mapping))
    assert (column, "its maximum is empty" in reason) == ("got", True)


@pytest.mark.parametrize(
    ("decimal", "thousands", "text", "number"),
    [
        (",", None, "1.234,5", 1234.5),
        (",", None, "1.234", 1234.0),
        (",", None, "12.345.678,9", 12345678.9),
        (",", None, "-1,5", -1.5),
        (",", "", "1,5", 1.5),
        (",", "", "1.234", None),
        (",", None, "1.5", None),
        (",", None, "1.23.456", None),
        (",", None, "1234.567", None),
        (",", " ", "1 234,5", 1234.5),
        (",", " ", "1\u00a0234,5", 1234.5),
        (",", "'", "1\u2019234,5", 1234.5),
        (",", "'", "1.234", None),
        (".", ",", "1,234.5", 1234.5),
        (".", ",", "1,5", None),
        (".", None, "1,234", None),
        (".", None, "1e3", 1000.0),
        (",", None, "1,5e2", 150.0),
        (".", None, ".5", 0.5),
        (".", None, "1_0", None),
        (",", None, "1_0", None),
    ],
)
def test_thousands_and_decimals_are_never_confused(read, decimal, thousands, text, number):
    keys = {"score_max": 1e9, "decimal": decimal} | ({} if thousands is None else {"thousands": thousands})
    rows = read(text, POINTS | keys)
    if number is None:
        assert [problem[:2] for problem in problems(rows)] == [(2, "got")]
    else:
        assert submissions(rows)[0].body.outcome.raw == number


@pytest.mark.parametrize(
    ("form", "cell", "expected"),
    [
        ("as_written", "00123", "00123"),
        ("as_written", "100236.0", "100236.0"),
        ("as_written", "a+b@example.org", "a+b@example.org"),
        ("as_written", "1.00234E+05", None),
        ("spreadsheet", "100236.0", "100236"),
        ("spreadsheet", "00123", "00123"),
        ("spreadsheet", "1.00234E+05", "100234"),
        ("spreadsheet", "7.1E+01", "71"),
        ("spreadsheet", "7.10E+01", "71"),
        ("spreadsheet", "1.5E+00", None),
        ("spreadsheet", "1.00234E+11", None),
        ("spreadsheet", "1E+05", None),
    ],
)
def test_an_id_that_a_spreadsheet_rewrote_is_never_taken_for_another(tmp_path, form, cell, expected):
    rows = mapped(tmp_path, f"who,quiz,got\n{cell},q,1\n", RESULT | {"id_form": form})
    if expected is None:
        ((_, column, reason),) = problems(rows)
        assert column == "who"
        assert "export the column as text" in reason
    else:
        assert submissions(rows)[0].learner_id == expected


@pytest.mark.parametrize(("cell", "expected"), [("#0042", "0042"), ("0042", "0042"), ("#", None)])
def test_marks_around_a_learners_id_are_not_part_of_it(tmp_path, cell, expected):
    rows = mapped(tmp_path, f"who,quiz,got\n{cell},#q,1\n", RESULT | {"learner_id_marks": ["#"]})
    if expected is None:
        assert "nothing but marks" in problems(rows)[0][2]
    else:
        (event,) = submissions(rows)
        assert (event.learner_id, event.body.item) == (expected, "#q")


def test_a_letter_is_no_mark_around_an_id(tmp_path):
    with pytest.raises(FileUnusableError, match="learner_id_marks"):
        mapped(tmp_path, "who,quiz,got\ns1,q,1\n", RESULT | {"learner_id_marks": ["s"]})


def test_the_remedy_for_an_id_in_scientific_notation_names_both_ways(tmp_path):
    ((_, _, reason),) = problems(mapped(tmp_path, "who,quiz,got\n1.00234E+05,q,1\n", RESULT))
    assert "export the column as text" in reason
    assert "id_form: spreadsheet" in reason


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("3 mins 20 secs", 200),
        ("00:03:20", 200),
        ("1 hour 2 mins", 3720),
        ("1h2m3s", 3723),
        ("2 days, 1 hr", 176_400),
        ("0:00:01.5", 1.5),
        ("90 seconds", 90),
        ("3:20", None),
        ("soon", None),
        ("3 fortnights", None),
        ("60 days", None),
    ],
)
def test_durations_are_read_as_text(tmp_path, text, seconds):
    mapping = {"columns": RESULT["columns"] | {"duration": "took"}, "duration_unit": "text"}
    rows = mapped(tmp_path, f'who,quiz,got,took\na,q,1,"{text}"\n', mapping)
    if seconds is None:
        assert [problem[1] for problem in problems(rows)] == ["took"]
    else:
        assert submissions(rows)[0].body.duration_ms == seconds * 1000


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"scale": "grade", "score_max": 1}, "scale.0: is 'grade': use 'points', 'percent' or 'fraction'"),
        ({"scale": "percent", "score_max": 10}, "remove score_max and maximum_row, or add points to scale"),
        ({"scale": "percent", "score_min": 1}, "which starts at 0, and score_min is given: remove it"),
        ({"marks": ["1"], "score_max": 1}, "marks: .*'1' cannot be a mark"),
        ({"levels": {"A": 1, "a": 2}}, "a level twice in upper and lower case"),
        ({"levels": {True: 1}}, "put the text in quotes"),
        ({"thousands": ".", "score_max": 1}, "thousands and decimal are both '.'"),
        ({"decimal": ";", "score_max": 1}, r"decimal: is ';': use '\.' or ','"),
        (
            {"score_maximum": 10, "score_max": 1},
            "score_maximum: is not a key of a mapping here: did you mean 'score_max'",
        ),
        ({"score_max": "ten"}, "score_max: is 'ten': input should be a valid number"),
        ({"score_max": 1, "constants": {"lerner": "x"}}, "constants.lerner.*learner_id"),
    ],
)
def test_a_key_that_cannot_be_used_is_named_with_its_value_and_the_remedy(read, keys, words):
    with pytest.raises(FileUnusableError, match=words):
        read("1", POINTS | keys)


def test_a_constant_may_be_any_field_of_text(tmp_path):
    mapping = {
        "columns": {"learner_id": "who"},
        "constants": {"interaction": "completed", "resource": "video-1", "source_sequence": "3", "source": "player"},
    }
    (submission,) = submissions(mapped(tmp_path, "who\na\n", mapping))
    assert (submission.body.resource, submission.body.kind.name) == ("video-1", "COMPLETED")
    assert (submission.source, submission.source_sequence) == ("player", "3")


def test_a_constant_that_is_not_valid_for_its_field_is_named(tmp_path):
    mapping = {"columns": {"learner_id": "who"}, "constants": {"interaction": "liked", "resource": "video-1"}}
    with pytest.raises(FileUnusableError, match=r"constants\.interaction is 'liked', none of opened"):
        mapped(tmp_path, "who\na\n", mapping)


def test_a_learners_id_of_several_columns_needs_each_part(tmp_path):
    mapping = {"columns": {"learner_id": ["school", "number"], "item": "quiz", "correct": "got"}}
    rows = mapped(tmp_path, "school,number,quiz,got\n12,7,q,1\n12,,q,1\n", mapping)
    assert submissions(rows[:1])[0].learner_id == "12/7"
    assert problems(rows) == [(3, "number", "is empty, but is a part of learner_id: fill it, or map other columns")]


def test_sequence_row_makes_rows_that_agree_in_everything_different_acts(tmp_path):
    rows = mapped(tmp_path, "who,quiz,got\na,q,1\na,q,\na,q,1\n", RESULT | {"sequence": "row"})
    assert [submission.source_sequence for submission in submissions(rows)] == ["1", "3"]


def test_every_assessment_of_a_mapping_that_revises_says_so(read):
    assert submissions(read("1", RESULT | {"revises": True}))[0].revises
    assert not submissions(read("1", RESULT))[0].revises
