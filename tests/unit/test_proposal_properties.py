"""A proposed mapping of any table loads, or says which questions are open; and it loads with every answer it offers."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import yaml
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from services.common.repeated_keys import load_yaml
from services.common.tables import FileUnusableError, open_table
from services.ingest.application.check import CheckingPublisher
from services.ingest.application.load import load
from services.ingest.formats.mapping import read_table
from services.ingest.formats.mapping.model import OPEN, parse_mapping
from services.ingest.formats.proposal import propose_mapping
from tests.unit.test_tables_laws import tabular_bytes

NOW = datetime(2027, 1, 1, tzinfo=UTC)

# What spreadsheets, YAML and delimited text give a meaning, and what no screen shows.
SPECIALS = st.sampled_from(
    ["=SUM(A1:A3)", '="00123"', "# x", "a: b", "- a", "*a", "&a", "!!python/x", "%TAG", "@a", "`a`", "'", '"', '""',
     "{a", "[b", "~", "null", "yes", "no", "0x1F", "1e400", "nan", "2026-03-04", "12:30:45", "<<", "a\nb", "a\tb",
     "\u2028", "\x85", "\ufeff", "\u202ea", "\U0001f600", "e\u0301", "\x07", "FILL-IN", "#3", "Score#2", ".*",
     "(?P<item>", "{0}", "a,b;c|d", "?", ">", "|", "   ", "\x1f"]
)  # fmt: skip
TEXTS = SPECIALS | st.text(st.characters(codec="utf-8"), max_size=8)
# Each list is one way of writing; a column has one of them more often than not.
NUMBERS = (
    ["0", "1", "7", "7.5", "10", "-1"],
    ["7,5", "10", "1.234,5", "0,25"],
    ["85 %", "85,5%", "100.00%", "0%"],
    ["7 / 10", "3/0", "9 out of 10", "2/4"],
    ["B+", "A", "F", "NP"],
    ["*90", "9#", "80", "^7"],
    ["EX", "--", "—", "missing", "4", "5"],
    ["1E+5", "100236.0", "0012", "12", "1e400", "2"],
)
TIMES = (
    ["2026-03-02T09:00:00Z", "2026-03-05T10:15:00.250+02:00"],
    ["2026-03-02", "2026-03-02 09:00", "2026-11-01 01:30", "2026-03-08 02:30"],
    ["03/04/2026", "13/04/2026", "01/02/2026"],
    ["03/04/2026", "05/06/2026"],
    ["3/4/26 9:05 AM", "12/31/26 11:59 PM"],
    ["02.03.2026 9:15", "31.12.2026 23:59"],
    ["4 Mar 2026", "13 Mar 2026"],
    ["March 4, 2026 9:15 PM EST", "March 5, 2026 9:15 AM EDT"],
    ["1772441700", "1772441701"],
    ["1772441700123"],
    ["46083.5", "46084", "3/4/26"],
    ["12:30", "-", "2030-01-01", "0001-01-01"],
)
IDS = (
    ["s-1", "S-2", "s-3"],
    ["7", "8", "12"],
    ["7", "007", "8"],
    ["ada@x.org", "ben@x.org"],
    ["Ada Lovelace", "Brisk, Omar", "Test Student", "Moyenne"],
    ["1.00234E+05", "100236.0", "100237"],
    ["学号1", "Ø", "Total", "Durchschnitt"],
)
ITEMS = (["q1", "q2", "q3"], ["Brüche", "分数", "Average", "Total"], ["1", "2", "3"])
SKILLS = (["3.NF.A.1;3.NF.A.2", "3.NF.A.1"], ["a~~b", "b"], ["add", "subtract, carry"], ["a|b", ""])
OUTCOMES = (["1", "0"], ["true", "No", "y"], ["correct", "hint", "incorrect"], ["1", "0", "", "-"])
DURATIONS = (["90", "12"], ["1.5", "2"], ["0:03:20", "0:00:09"], ["3 mins 20 secs", "1 hour"], ["2 parsecs", "7"])
WHOLE = (["1", "2", "3"], ["0", "", "1"])

KINDS = [
    (["Student ID", "SIS User ID", "user_id", "Student", "Schüler-Nr.", "Identifiant élève", "学号", "e-mail"], IDS),
    (["Question", "item_id", "Quiz", "Assignment", "Aufgabe", "Devoir", "Prueba", "テスト"], ITEMS),
    (["Score", "Points", "Grade", "Punkte", "Note", "Percent", "Score (%)", "Score /10", "Moyenne", "Marks",
      "Scaled Percent", "Scale Score"], NUMBERS),
    (["Correct", "is_correct", "Richtig", "result", "outcome"], OUTCOMES),
    (["Quiz 1 /10", "Quiz 2 /20", "Quiz 3 /5,5", "Q. 1 /5.00", "Quiz 1 (4471)", "Quiz 2 (4472)", "goal_a", "goal_a_pct",
      "goal_b", "goal_b_pct", "Work [Total Pts: 20 Score] |1", "Essay (Percentage)", "Essay (Real)", "Q1",
      "Q2"], NUMBERS),
    (["Out of", "Points Possible", "Grade Level", "Year"], NUMBERS),
    (["Date", "Submitted", "Datum", "Finished at", "timestamp", "fecha"], TIMES),
    (["Skill", "standards", "KC", "Kompetenz"], SKILLS),
    (["Attempt", "hint_count", "opportunity", "row id", "event_id", "sequence"], WHOLE),
    (["Duration", "Minutes", "time taken", "Dauer", "elapsed ms"], DURATIONS),
]  # fmt: skip


@st.composite
def columns_of_tables(draw, kind):
    """The name of a column, and what its cells are drawn from: mostly one way of writing what the name says."""
    names, ways = kind
    one = st.sampled_from(draw(st.sampled_from(ways)))
    cells = draw(
        st.sampled_from(
            [one, one, one, st.just("") | one, one | TEXTS, st.sampled_from([cell for way in ways for cell in way])]
        )
    )
    return draw(st.sampled_from(names)), cells


@st.composite
def tables(draw):
    """The bytes of a table of delimited text."""
    # A learner, what was done, and how well: what a table needs, and each may be missing.
    columns = [
        draw(columns_of_tables(KINDS[place]))
        for place in draw(st.sampled_from([(0, 1, 2), (0, 1, 3), (0, 1, 2, 5), (0, 4, 4), (0, 4, 4, 5), (0, 2), ()]))
    ]
    anything = st.sampled_from(KINDS).flatmap(columns_of_tables) | st.tuples(TEXTS, st.just(TEXTS))
    columns += draw(st.lists(anything, min_size=0 if columns else 1, max_size=4))
    columns = draw(st.permutations(columns))
    rows = draw(st.lists(st.tuples(*(cells for _, cells in columns)), min_size=1, max_size=7))
    written = io.StringIO(newline="")
    writer = csv.writer(
        written, delimiter=draw(st.sampled_from(",;\t|")), lineterminator=draw(st.sampled_from(["\n", "\r\n"]))
    )
    writer.writerows([[name for name, _ in columns], *rows])
    return written.getvalue().encode(draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16"])))


def open_keys(content, place=""):
    """The keys whose value is a question, as messages name them."""
    if content == OPEN:
        return [place]
    if isinstance(content, dict):
        return [
            key for name, value in content.items() for key in open_keys(value, f"{place}.{name}" if place else name)
        ]
    if isinstance(content, list):
        return [key for number, value in enumerate(content, 1) for key in open_keys(value, f"{place}[{number}]")]
    return []


def addresses(columns):
    """What a mapping may call each column."""
    return [
        f"#{place}"
        if name in {"", OPEN}
        else f"{name}#{columns[:place].count(name)}"
        if columns.count(name) > 1
        else name
        for place, name in enumerate(columns, 1)
    ]


# Answers that say more than one key: "then points, with score_max: 1"; "then ".", with thousands: ",".
SEVERAL_KEYS = {
    "scale": [{"scale": "percent"}, {"scale": "points", "score_max": 1}],
    "decimal": [{"decimal": ","}, {"decimal": ".", "thousands": ","}],
}


def answer_with_several_keys(content, draw):
    for key, answers in SEVERAL_KEYS.items():
        if content.get(key) == OPEN:
            content.update(draw(st.sampled_from(answers)))


def answered(text, content, columns, draw):
    """The proposal with an answer to each question: one that its comment offers, or of the kind that it asks for."""
    whys = dict(re.findall(rf"^ *([\w]+): .*?{OPEN}.*?  # (.*)$", text, re.MULTILINE))
    # A column of points that becomes a row cannot be another field, too.
    points = [entry["columns"] for entry in content.get("unpivot", [])]
    free = [
        address
        for name, address in zip(columns, addresses(columns), strict=True)
        if not any(re.search(pattern, name) for pattern in points)
    ]
    assume(free)
    column = st.sampled_from(free)
    for key in list(content["columns"]):
        if content["columns"][key] == OPEN:
            content["columns"][key] = draw(column)
    answers = {
        "score_max": st.sampled_from([1, 10, 1e400]).filter(lambda value: value < 1e9),
        "time_zone": st.sampled_from(["America/Chicago", "UTC"]),
        "duration_unit": st.sampled_from(["ms", "s", "min"]),
        "marks": st.just(["*", "^", "#"]),
        "score_min": st.sampled_from([0, -1]),
    }
    answer_with_several_keys(content, draw)
    for key, value in content.items():
        if key == "levels":
            content[key] = dict.fromkeys(value, 3)
        elif key == "constants":
            content[key] = {name: "gradebook" if each == OPEN else each for name, each in value.items()}
        elif key == "drop":
            content[key] = [entry for entry in value if entry["is"] != OPEN or draw(st.booleans())]
            for entry in content[key]:
                # "TEXT may be no learner: ...: give this text".
                entry["is"] = (
                    [re.match("(.*?) may be no learner", whys[key])[1]] if entry["is"] == OPEN else entry["is"]
                )
        elif value == OPEN and key == "date_format":
            content[key] = draw(
                st.sampled_from([json.loads(each) for each in re.findall(r"\[.*?\](?= or|\?|$)", whys[key])])
            )
        elif value == OPEN:
            content[key] = draw(answers[key])
    return content


def check(path, mapping):
    """Load a table without a service: every row of it is counted."""
    rows = list(read_table(path, mapping, ""))
    assert {row.line for row in rows} == {row.line for row in open_table(path, mapping).rows(())}
    rejected = []
    progress = asyncio.run(load(rows, CheckingPublisher(lambda: NOW), reject=lambda *problem: rejected.append(problem)))
    assert progress.read == len(rows) == progress.new + progress.rejected + progress.left_out.total()
    assert progress.rejected == len(rejected)
    assert all(reasons and all(each.reason for each in reasons) for _, reasons, _ in rejected)


@settings(max_examples=200)
@given(content=tables(), source=st.sampled_from(["", "lms"]), data=st.data())
def test_a_proposal_loads_or_names_its_open_questions_and_loads_with_any_answer(content, source, data):
    with TemporaryDirectory() as folder:
        path = Path(folder, "table.csv")
        path.write_bytes(content)
        try:
            text = propose_mapping(path, source)
        except FileUnusableError:
            return
        proposed = load_yaml(text)
        assert yaml.safe_load(text) == proposed
        if questions := open_keys(proposed):
            with pytest.raises(FileUnusableError, match=re.escape(f"replace {OPEN} at {', '.join(questions)};")):
                parse_mapping(proposed, path)
            layout = {key: proposed[key] for key in proposed.keys() & {"delimiter", "encoding", "header", "quote"}}
            columns = open_table(
                path, parse_mapping({"columns": {"learner_id": "x", "correct": "y"}, **layout}, path)
            ).columns
            proposed = answered(text, proposed, columns, data.draw)
        check(path, parse_mapping(proposed, path))


@given(content=tabular_bytes() | st.binary(max_size=200), suffix=st.sampled_from([".csv", ".csv.gz", ".zip", ""]))
def test_any_bytes_give_a_proposal_in_yaml_or_a_sentence(content, suffix):
    with TemporaryDirectory() as folder:
        path = Path(folder, f"table{suffix}")
        path.write_bytes(content)
        try:
            text = propose_mapping(path)
        except FileUnusableError:
            return
        assert open_keys(load_yaml(text))
