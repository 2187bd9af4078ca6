"""What holds for every mapping and every table."""

from __future__ import annotations

import csv
import io
import re
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.common.tables import FileUnusableError
from services.ingest.application.file_ordinals import with_ordinals
from services.ingest.application.ports import LeftOutRow, Row, UnreadableRow
from services.ingest.domain.repeats import content_of
from services.ingest.domain.submission import event_ids_of
from services.ingest.formats import Format, read_events
from services.ingest.formats.mapping.keys import Columns
from services.ingest.formats.mapping.model import FileMapping, parse_mapping
from tests.mapped_tables import mapped

NAMES = ["who", "quiz", "got", "when", "Q1 /5", "Q2 /x", "goal_a", "goal_a_pct", "max", ""]
CELLS = st.one_of(
    st.sampled_from(
        ["", "-", "EX", "1", "0", "7/10", "85 %", "1.234,5", "B+", "2026-03-08 02:30", "2025-11-02 01:30", "46083.5",
         "3 mins", "1.00234E+05", "nan", "inf", "%", "/", "*", "yes", "NA", "1e400", "Points", "opened", "+", "-1"]
    ),
    st.text(max_size=8),
)  # fmt: skip
REGEXES = st.sampled_from(
    ["^Q(?P<item>.) /(?P<score_max>.+)$", "(?P<n>.)_pct", "got|max", "(", ".*", "^$", "(?P<skills>.*)", 3]
)
FILTERS = st.fixed_dictionaries(
    {"column": st.sampled_from(NAMES)},
    optional={"is": st.lists(CELLS, max_size=2) | CELLS, "matches": REGEXES, "iz": CELLS},
)
FIELDS = st.sampled_from(list(Columns.model_fields))
NAME_OR_NAMES = st.sampled_from(NAMES) | st.lists(st.sampled_from(NAMES), max_size=3)
ANY_KEYS = {
    "constants": st.dictionaries(FIELDS, CELLS, max_size=2),
    "optional": NAME_OR_NAMES,
    "keep": st.lists(FILTERS, max_size=2),
    "drop": st.lists(FILTERS, max_size=2),
    "unpivot": st.lists(
        st.fixed_dictionaries(
            {"columns": REGEXES},
            optional={
                "value": FIELDS,
                "with": st.dictionaries(FIELDS, st.sampled_from(["goal_{n}", "{0}", "{", "max", "{x}"]), max_size=2),
            },
        ),
        max_size=2,
    ),
    "maximum_row": FILTERS,
    "join": st.lists(
        st.fixed_dictionaries(
            {"file": st.sampled_from(["table.csv", "none.csv", ""]), "by": st.dictionaries(CELLS, CELLS, max_size=1)},
            optional={"take": st.lists(CELLS, max_size=2), "absent": st.sampled_from(["empty", "leave_out", "no"])},
        ),
        max_size=1,
    ),
    "decimal": st.sampled_from([".", ",", 1]),
    "thousands": st.sampled_from([".", ",", "", "'", " ", None]),
    "absent": st.lists(CELLS, max_size=2) | CELLS,
    "not_scored": st.lists(CELLS, max_size=2),
    "id_form": st.sampled_from(["as_written", "spreadsheet"]),
    "learner_id_marks": st.lists(st.characters(), max_size=2) | CELLS,
    "skills_separator": st.sampled_from(["", ";", "/"]),
    "right": st.lists(CELLS, max_size=2),
    "scale": st.sampled_from(["points", "percent", ["percent", "fraction"], ["fraction"], [], None]),
    "levels": st.dictionaries(CELLS, st.floats() | CELLS, max_size=2),
    "marks": st.lists(st.characters(), max_size=2) | CELLS,
    "score_min": st.floats() | st.integers(),
    "score_max": st.floats() | st.integers() | CELLS,
    "extra_credit": st.sampled_from(["cap", "refuse", True]),
    "date_format": st.sampled_from(["iso", "unix", "excel", ["excel", "iso"], "%Y %Z", "%d/%d", "%Q", "%", 3, []]),
    "time_zone": st.sampled_from(["America/Chicago", "UTC", "Mars", "../etc", "", None]),
    "duration_unit": st.sampled_from(["ms", "s", "min", "text", "h"]),
    "sequence": st.sampled_from(["row", None, 1]),
    "grain": st.sampled_from(["item", "activity", None]),
    "revises": st.booleans() | CELLS,
    "interactions": st.dictionaries(st.sampled_from(["opened", "liked"]), st.lists(CELLS, max_size=2), max_size=1),
}  # fmt: skip
MAPPINGS = st.fixed_dictionaries(
    {"columns": st.dictionaries(FIELDS, NAME_OR_NAMES, max_size=5) | CELLS},
    optional=ANY_KEYS,
)
# Most of these load.
USABLE = st.fixed_dictionaries(
    {"columns": st.just({"learner_id": ["who"], "item": "quiz", "score": "got", "occurred_at": "when"})},
    optional={key: ANY_KEYS[key] for key in ("keep", "drop", "decimal", "thousands", "levels", "marks", "not_scored",
              "id_form", "extra_credit", "sequence", "revises", "grain", "absent", "score_min")}
    | {"time_zone": st.just("America/Chicago"), "date_format": st.sampled_from(["iso", "excel", ["excel", "iso"]])},
).map(lambda keys: keys | {"score_max": 5})  # fmt: skip
TABLES = st.lists(st.lists(CELLS, min_size=len(NAMES), max_size=len(NAMES)), max_size=6)


def as_csv(header, rows):
    content = io.StringIO()
    csv.writer(content).writerows([header, *rows])
    return content.getvalue().encode("utf-8", errors="replace").decode()


@given(MAPPINGS | USABLE, TABLES)
@settings(deadline=None, max_examples=300)
def test_any_mapping_of_any_table_gives_rows_or_says_why_it_cannot(mapping, rows):
    with tempfile.TemporaryDirectory() as folder:
        try:
            found = mapped(Path(folder), as_csv(NAMES, rows), mapping)
        except FileUnusableError:
            return
    assert all(isinstance(row, Row | UnreadableRow | LeftOutRow) for row in found)
    assert all(problem.reason for row in found if isinstance(row, UnreadableRow) for problem in row.problems)


@given(USABLE, TABLES)
@settings(deadline=None)
def test_reading_a_table_again_gives_the_same_events(mapping, rows):
    with tempfile.TemporaryDirectory() as folder:
        content = as_csv(NAMES, rows)
        try:
            once = mapped(Path(folder), content, mapping)
        except FileUnusableError:
            return
        assert list(with_ordinals(mapped(Path(folder), content, mapping))) == list(with_ordinals(once))


def identities(rows):
    """What the log would have: each learner's events, by their ids."""
    events = [row.submission for row in with_ordinals(rows) if isinstance(row, Row)]
    return [(each.learner_id, event_ids_of(each, "t", each.learner_id)[0], content_of(each).digest) for each in events]


LONG = {
    "columns": {"learner_id": "who", "item": "quiz", "score": "got", "occurred_at": "when", "attempt": "try"},
    "drop": [{"column": "quiz", "is": "draft"}],
    "score_max": 9,
    "time_zone": "America/Chicago",
}


@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.sampled_from(["q", "draft"]), st.sampled_from(["-", "1", "x"])), max_size=8
    ),
    st.integers(0, 8),
)
@settings(deadline=None)
def test_a_table_in_two_parts_is_the_table_in_one(rows, cut):
    # Times differ: equal rows of two files are one act, as the docs say.
    header = ["who", "quiz", "got", "when", "try"]
    rows = [[*row, f"2026-03-02 10:{minute:02}", minute + 1] for minute, row in enumerate(rows)]
    with tempfile.TemporaryDirectory() as folder:
        whole = identities(mapped(Path(folder), as_csv(header, rows), LONG))
        parts = [identities(mapped(Path(folder), as_csv(header, part), LONG)) for part in (rows[:cut], rows[cut:])]
    assert parts[0] + parts[1] == whole


WIDE_CELLS = st.sampled_from(["", "-", "EX", "1", "2.5", "4"])


@given(st.lists(st.tuples(st.sampled_from("abc"), WIDE_CELLS, WIDE_CELLS, WIDE_CELLS), max_size=6))
@settings(deadline=None)
def test_a_wide_table_gives_what_the_long_one_gives(rows):
    wide = {"columns": {"learner_id": "who"}, "unpivot": [{"columns": r"^(?P<item>q\d) /(?P<score_max>\d)$"}]}
    long = {"columns": {"learner_id": "who", "item": "item", "score": "got", "score_max": "of"}}
    header = ["who", "q1 /4", "q2 /5", "q3 /6"]
    melted = [
        (row[0], *re.fullmatch(r"(q.) /(.)", name).groups(), cell)
        for row in rows
        for name, cell in zip(header[1:], row[1:], strict=True)
    ]
    with tempfile.TemporaryDirectory() as folder:
        found = mapped(Path(folder), as_csv(header, rows), wide)
        expected = mapped(Path(folder), as_csv(["who", "item", "of", "got"], melted), long)
    assert identities(found) == identities(expected)
    assert [type(row) for row in found] == [type(row) for row in expected]


def test_a_mapping_of_an_earlier_release_means_the_same():
    columns = {"learner_id": "s", "skills": ["a", "b"], "occurred_at": "t", "score": "p"}
    mapping = FileMapping.model_validate({"columns": columns, "score_max": 5, "date_format": "unix", "right": ["ok"]})
    assert (mapping.columns.learner_id, mapping.columns.skills, mapping.columns.occurred_at) == (
        ("s",),
        ("a", "b"),
        ("t",),
    )
    assert (mapping.date_format, mapping.scale, mapping.revises, mapping.right) == (
        ("unix",),
        ("points",),
        False,
        ("ok",),
    )


@pytest.mark.parametrize("content", [None, [], "text", 3, {"columns": None}, {"columns": {"learner_id": {"a": 1}}}])
def test_what_is_no_mapping_is_refused(content):
    with pytest.raises(FileUnusableError, match="cannot be used"):
        parse_mapping(content, Path("mapping.yaml"))


def test_a_table_is_opened_before_its_first_row_is_asked_for(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("who,quiz\n")
    with pytest.raises(FileUnusableError, match="lacks the columns when, got, try"):
        read_events(path, Format.CSV, "s", mapping=parse_mapping(LONG, Path("mapping.yaml")))
