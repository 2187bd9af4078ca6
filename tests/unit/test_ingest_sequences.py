"""Texts of sequences: a few lines for each learner, with values between commas."""

from __future__ import annotations

import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from services.common.tables import FileUnusableError
from services.ingest.application.ports import Row, UnreadableRow
from services.ingest.domain.submission import Instant
from services.ingest.formats.sequences import SequenceLayout, read_sequences

THREE = SequenceLayout(lines=("length", "skills", "correct"), source="dkt")
SIX = SequenceLayout(
    lines=("learner", "items", "skills", "correct", "times_ms", "durations_ms"),
    source="pykt",
    skills_separator="_",
    absent=("NA",),
)


def read(path, text, layout):
    path.write_bytes(text.encode())
    return list(read_sequences(path, layout))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "data.txt"


def test_each_response_has_its_learner_skills_time_and_place(path):
    first, second = read(path, "u1,2\nq10,q11\n12_30,NA\n1,0\n1349774102000,NA\n320.0,-1\n", SIX)
    event = first.submission
    assert (event.learner_id, event.source, event.source_sequence) == ("u1", "pykt", "1")
    assert (first.submission.body.item, first.submission.body.skills) == ("q10", ("12", "30"))
    assert (first.submission.body.outcome, first.submission.body.duration_ms) == (True, 320)
    assert first.submission.occurred_at == Instant(1_349_774_102)
    assert (second.submission.body.skills, second.submission.body.outcome) == ((), False)
    assert (second.submission.occurred_at, second.submission.body.duration_ms) == (None, None)


def test_learners_without_an_id_are_numbered_in_the_order_of_the_file(path):
    rows = read(path, "1\n7\n1\n2\n7,8,\n0,1,\n\n", THREE)
    assert [(row.submission.learner_id, row.submission.body.item) for row in rows] == [
        ("1", "7"),
        ("2", "7"),
        ("2", "8"),
    ]


def test_a_learner_without_responses_has_none(path):
    assert [row.submission.learner_id for row in read(path, "0\n\n\n1\n7\n1\n", THREE)] == ["2"]


@pytest.mark.parametrize(
    ("text", "line", "field"),
    [
        ("2\n7\n1,1\n", 1, "skills"),
        ("1\n7\nx\n", 1, "correct"),
        ("1\n7\n1\n1\n7\n", 4, "correct"),
    ],
    ids=["lines of different lengths", "neither right nor wrong", "the file ends within a learner"],
)
def test_what_is_wrong_is_named_with_the_first_line_of_the_learner(path, text, line, field):
    (problem,) = [row for row in read(path, text, THREE) if isinstance(row, UnreadableRow)]
    assert (problem.line, problem.problems[0].field) == (line, field)


@pytest.mark.parametrize(("times", "field"), [("soon", "times_ms"), ("1e300", "times_ms")])
def test_a_time_that_is_none_is_named(path, times, field):
    (row,) = read(path, f"u1,1\nq\n1\n1\n{times}\nNA\n", SIX)
    assert [problem.field for problem in row.problems] == [field]


def test_a_text_with_other_lines_is_refused_with_the_line(path):
    with pytest.raises(FileUnusableError, match=r"line 4 of .* is 'a,b', not a number of responses"):
        read(path, "1\n7\n1\na,b\n7\n1\n", THREE)


def test_a_compressed_text_is_read(tmp_path):
    path = tmp_path / "data.txt.gz"
    path.write_bytes(gzip.compress(b"1\n7\n1\n"))
    assert len(list(read_sequences(path, THREE))) == 1


@pytest.mark.parametrize(
    "lines",
    [("skills", "correct"), ("length", "skills"), ("length", "correct"), ("length", "skills", "skills", "correct")],
)
def test_a_layout_says_where_the_learner_the_outcome_and_the_item_or_skill_are(lines):
    with pytest.raises(ValidationError):
        SequenceLayout(lines=lines, source="s")


NAMES = st.text("abcxyz0123456789", min_size=1, max_size=4)
RESPONSES = st.lists(st.tuples(NAMES, st.lists(NAMES, max_size=3, unique=True), st.booleans()), max_size=6)


@given(st.lists(st.tuples(NAMES, RESPONSES), max_size=5))
def test_what_is_written_is_read_again(tmp_path_factory, learners):
    path = tmp_path_factory.mktemp("sequences") / "data.txt"
    lines = []
    for learner, responses in learners:
        lines += [
            f"{learner},{len(responses)}",
            ",".join(item for item, _, _ in responses),
            ",".join("_".join(skills) or "NA" for _, skills, _ in responses),
            ",".join(str(int(correct)) for _, _, correct in responses),
            "NA",
            "NA",
        ]
    rows = read(path, "".join(f"{line}\n" for line in lines), SIX)
    assert all(isinstance(row, Row) for row in rows)
    events = [row.submission for row in rows]
    assert [(event.learner_id, event.body.item, list(event.body.skills), event.body.outcome) for event in events] == [
        (learner, *response) for learner, responses in learners for response in responses
    ]


@given(st.binary(max_size=200), st.sampled_from([THREE, SIX]))
def test_any_bytes_are_rows_or_refused(tmp_path_factory, content, layout):
    path = tmp_path_factory.mktemp("sequences") / "data.txt"
    path.write_bytes(content)
    try:
        rows = list(read_sequences(path, layout))
    except FileUnusableError:
        return
    assert all(isinstance(row, Row | UnreadableRow) for row in rows)
