"""`cairn evaluate` on small, one-sided and malformed data: measures, or a message, and never a traceback."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from services.recommender.cli.evaluate import app

# A mean of nothing, or a logarithm of 0, would be hidden in a figure.
pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning")

HEADER = "learner,item,skills,correct,time\n"


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def small_table(*, learners=6, responses=8, skills="s1", outcome=lambda learner, at: (learner * at) % 2):
    rows = [
        f"pupil-{learner},item-{at},{skills},{outcome(learner, at)},{1_700_000_000 + at * 60}\n"
        for learner in range(learners)
        for at in range(responses)
    ]
    return HEADER + "".join(rows)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(small_table(skills=""), id="no skills"),
        pytest.param(small_table(outcome=lambda *_: 1), id="all right"),
        pytest.param(small_table(outcome=lambda *_: 0), id="all wrong"),
        pytest.param(small_table(outcome=lambda *_: 0.5), id="one score"),
        pytest.param(small_table(learners=2, responses=1), id="two learners with a response each"),
        pytest.param(small_table().replace("item-", ""), id="items that are numbers"),
        pytest.param(re.sub(",item-[0-9]", ",", small_table()), id="no items"),
    ],
)
def test_small_and_one_sided_data_are_measured(tmp_path, content):
    (tmp_path / "responses.csv").write_text(content, encoding="utf-8")
    report = tmp_path / "report.json"
    result = run("tracing", "--data", tmp_path, "--protocol", "sequences", "--json", report, "--keep-twins")
    assert result.exit_code == 0, result.output
    found = orjson.loads(report.read_bytes())
    assert all(0 <= measures["log_loss"]["mean"] < 25 for measures in found["models"].values())
    # What cannot be measured is left out and said, not written as null.
    assert b"null" not in report.read_bytes()
    assert ("auc" not in found["models"]["cairn"]) == any("There is no AUC" in note for note in found["notes"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "responses.csv has no line 1 with a header"),
        ("learner,item,skills,correct\n", "0 learners are left to fit on, and 0 to evaluate on; add learners"),
        (small_table(learners=1), "0 learners are left to fit on, and 1 to evaluate on; add learners"),
        (
            small_table(skills=";".join(map(str, range(256)))),
            "line 2: there are 256 skills: a response has at most 255",
        ),
    ],
)
@pytest.mark.parametrize("family", ["tracing", "ranking"])
def test_data_that_cannot_be_measured_are_refused_with_the_remedy(tmp_path, family, content, message):
    (tmp_path / "responses.csv").write_text(content, encoding="utf-8")
    result = run(family, "--data", tmp_path, "--protocol", "sequences")
    assert result.exit_code == 2
    assert (message if family == "tracing" or "left" not in message else "no learner can be evaluated") in result.stderr


@pytest.mark.parametrize("command", [("review",), ("review", "--time-split")])
@pytest.mark.parametrize("outcome", [0, 1, 0.25])
def test_one_outcome_is_measured(tmp_path, command, outcome):
    days = small_table(learners=12, responses=10, outcome=lambda *_: outcome)
    text = re.sub(r"\d{10}", lambda at: str(1_700_000_000 + (int(at[0]) - 1_700_000_000) // 60 * 86_400), days)
    (tmp_path / "responses.csv").write_text(text, encoding="utf-8")
    result = run(*command, "--data", tmp_path, "--protocol", "sequences", "--keep-twins")
    assert result.exit_code == 0, result.exc_info
    assert "nan" not in result.output


@pytest.mark.parametrize("option", ["--json", "--html"])
@pytest.mark.parametrize("command", [("mastery", "--learners", 50, "--responses", 20), ("review",)])
def test_a_report_that_cannot_be_written_is_said_with_the_remedy(tmp_path, option, command):
    (tmp_path / "responses.csv").write_text(small_table(), encoding="utf-8")
    data = ("--data", tmp_path, "--protocol", "sequences") if command == ("review",) else ()
    result = run(*command, *data, option, tmp_path)
    assert (result.exit_code, result.stderr) == (2, f"error: {tmp_path} is a folder; name a file in it\n")


def test_figures_are_shown_though_their_file_cannot_be_written(tmp_path):
    report = tmp_path / "report.json"
    report.symlink_to(tmp_path / "away" / "report.json")
    result = run("mastery", "--learners", 50, "--responses", 20, "--json", report)
    assert result.exit_code == 2
    assert f"error: {report} cannot be written" in result.stderr
    assert "mastered means mastered" in result.output


@pytest.mark.parametrize("command", ["mastery", "closed-loop"])
def test_a_seed_that_libraries_do_not_take_is_refused(command):
    result = run(command, "--seed", 2**32)
    assert result.exit_code == 2
    assert "--seed" in result.stderr


rows = st.tuples(
    st.sampled_from("abcdef"),
    st.sampled_from(["", "1", "2", "3"]),
    st.sampled_from(["", "s", "t", "s;t"]),
    st.sampled_from(["0", "1", "0.25", "true"]),
    st.sampled_from(["0", "1700000000", "2026-09-01T08:30:00Z", "4e9"]),
)


@given(st.lists(rows, max_size=25))
@settings(max_examples=30, deadline=None)
def test_every_small_table_gets_an_answer(drawn):
    with tempfile.TemporaryDirectory() as folder:
        text = HEADER + "\n".join(map(",".join, drawn))
        (Path(folder) / "responses.csv").write_text(text, encoding="utf-8")
        result = run("tracing", "--data", folder, "--protocol", "sequences", "--keep-twins")
    assert result.exit_code in {0, 2}, result.exc_info
    assert (result.exit_code == 2) == ("learners are left to fit on" in result.stderr)
