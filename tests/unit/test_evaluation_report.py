"""Formats of evaluations: JSON and back, the HTML page, and the table in the documents."""

from __future__ import annotations

import dataclasses
import os
import subprocess
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deploy.evaluation import __main__ as deployed
from deploy.evaluation.document import Measured, document, section, sections_of
from services.recommender.evaluation.intervals import Estimate
from services.recommender.evaluation.report import page
from services.recommender.evaluation.report import section as html_section
from services.recommender.evaluation.results import Check, Evaluation, Reliability, as_json, from_json

EVALUATION = Evaluation(
    protocol="tracing/<made-up>",
    data="3 learners",
    commit="c" * 40,
    models={
        "elo": {"auc": Estimate(0.7, 0.68, 0.72)},
        "cairn": {"auc": Estimate(0.75, 0.74, 0.76), "ece": Estimate(0.01, 0.005, 0.02)},
    },
    differences={"elo": {"auc": Estimate(0.05, 0.03, 0.07)}},
    slices={"attempt 1": {"elo": {"auc": Estimate(0.6, 0.5, 0.7)}}},
    reliability={"cairn": Reliability([0.2, 0.8], [0.25, 0.75], [10, 30])},
    notes=("a note",),
    laws={"cairn": {"urgent": {"cases": 3, "held": 2}}},
    twins={"found": 2, "left_out": 1},
    seeds={"bootstrap": 1},
    elapsed_s={"elo": 0.5},
)


def test_an_evaluation_is_read_back_from_its_json_as_it_was():
    assert from_json(as_json(EVALUATION)) == EVALUATION


def test_figures_of_a_report_with_less_in_it_are_read_too():
    found = from_json(b'{"protocol": "p", "data": "d", "commit": "", "models": {}, "folds": 5}')
    assert found == Evaluation("p", "d", "", {}, {})


@pytest.mark.parametrize(
    "text",
    [b"", b"[]", b"{}", b'{"protocol": "p"}', b'{"protocol":"p","data":"","commit":"","models":{"a":{"auc":1}}}'],
)
def test_an_invalid_evaluation_is_refused(text):
    with pytest.raises(ValueError, match="is not the JSON of an evaluation"):
        from_json(text)


def test_one_page_holds_every_evaluation_and_names_are_escaped():
    text = page("All", [html_section(EVALUATION), html_section(EVALUATION)])
    assert text.count("<h1>tracing/&lt;made-up&gt;</h1>") == 2
    # One plot of the measure and one of the reliability, for each evaluation.
    assert text.count("<svg") == 4
    assert text.count("<html") == 1
    assert "<made-up>" not in text


def test_the_document_names_data_date_and_commit():
    text = document([section(Measured(EVALUATION, date(2026, 5, 4), 61.2))])
    assert "Measured on 2026-05-04 at commit cccccccccccc, in 61 s." in text
    assert "| cairn | 0.7500 [0.7400, 0.7600] | 0.0100 [0.0050, 0.0200] |" in text
    assert "| elo | 0.7000 [0.6800, 0.7200] |  |" in text
    assert "| elo | 0.0500 [0.0300, 0.0700] |" in text


def test_checks_are_read_back_from_json_and_are_in_the_documents_with_their_answer():
    wet = Check("water is wet", holds=True, figures="1 of 1")
    flying = Check("pigs fly", holds=False, figures="0", required=True)
    checked = dataclasses.replace(EVALUATION, checks=(wet, flying))
    assert from_json(as_json(checked)) == checked
    assert section(Measured(checked, date(2026, 5, 4), 61.2)).endswith(
        "Checks:\n\n- yes: water is wet: 1 of 1\n- NO: pigs fly: 0\n"
    )
    assert "<li>yes: water is wet: 1 of 1</li><li>NO: pigs fly: 0</li>" in html_section(checked)
    assert "Checks" not in section(Measured(EVALUATION, date(2026, 5, 4), 61.2))
    assert "Checks" not in html_section(EVALUATION)


def test_an_evaluation_without_models_is_in_the_documents_with_its_checks_alone():
    counted = Evaluation(
        "laws/district", "a district", "", {}, {}, checks=(Check("it rains", holds=True, figures="3"),)
    )
    text = section(Measured(counted, date(2026, 5, 4), 61.2))
    assert text.endswith("in 61 s.\n\nChecks:\n\n- yes: it rains: 3\n")
    assert "<table>" not in html_section(counted)
    assert "<li>yes: it rains: 3</li>" in html_section(counted)


ROOT = Path(__file__).parents[2]


def test_the_documents_of_this_checkout_are_made_of_their_sections():
    text = (ROOT / "docs/evaluation.md").read_text(encoding="utf-8")
    sections = sections_of(text)
    assert document(sections.values()) == text
    html = (ROOT / "docs/evaluation.html").read_text(encoding="utf-8")
    htmls = deployed.htmls_of(html)
    assert page("Cairn: evaluation", htmls.values()) == html
    assert list(htmls) == list(sections)
    assert set(sections) <= {protocol.title for protocol in deployed.PROTOCOLS}


@pytest.fixture
def checkout(tmp_path):
    """Documents about two protocols, and data for all."""
    (tmp_path / "docs").mkdir()
    first, second = (dataclasses.replace(EVALUATION, protocol=name) for name in TITLES)
    (tmp_path / "docs/evaluation.md").write_text(
        document(section(Measured(each, date(2026, 5, 4), 61.2)) for each in (first, second))
    )
    (tmp_path / "docs/evaluation.html").write_text(
        page("Cairn: evaluation", [html_section(first), html_section(second)])
    )
    for protocol in deployed.PROTOCOLS:
        (tmp_path / "data" / protocol.folder).mkdir(parents=True, exist_ok=True)
    return tmp_path


TITLES = ("tracing/algebra05", "ranking/movielens-100k")
ADDED = "ranking/movielens-100k-time-split"


def evaluated(checkout, monkeypatch, *arguments):
    """Run the command; every protocol that it runs has one model, `new`. Return the commands."""
    commands = []

    def run(command, **_):
        commands.append(command[3:])
        file = Path(command[command.index("--json") + 1])
        options = [each.removeprefix("--") for each in command if each == "--time-split"]
        name = "-".join([f"{command[4]}/{command[command.index('--protocol') + 1]}", *options])
        models = {"new": {"auc": Estimate(0.1, 0.1, 0.1)}}
        file.write_bytes(as_json(Evaluation(name, "new data", "d" * 40, models, {})))
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(deployed.subprocess, "run", run)
    result = CliRunner().invoke(
        deployed.app,
        ["--root", str(checkout), "--data", str(checkout / "data"), "--results", str(checkout / "results"), *arguments],
    )
    assert result.exit_code == 0, result.output
    return commands


def test_simulations_are_run_without_data(checkout, monkeypatch):
    commands = []

    def run(command, **_):
        commands.append(command[4:])
        return subprocess.CompletedProcess(command, 1)

    monkeypatch.setattr(deployed.subprocess, "run", run)
    arguments = ["--root", str(checkout), "--results", str(checkout / "results"), "--data", str(checkout / "data")]
    result = CliRunner().invoke(deployed.app, [*arguments, "--only", "closed-loop/simulated"])
    assert commands == [["closed-loop", "--json", str(checkout / "results/closed-loop-simulated.json")]]
    assert result.exit_code == 1
    assert "closed-loop/simulated ended with 1" in result.stderr
    CliRunner().invoke(deployed.app, [*arguments, "--only", "laws/district"])
    # Not a command of `cairn`: python -m deploy.evaluation.laws.
    assert commands[1:] == [[str(checkout / "results/laws-district.json")]]


def test_only_what_was_run_changes_in_the_documents(checkout, monkeypatch):
    markdown, html = checkout / "docs/evaluation.md", checkout / "docs/evaluation.html"
    before = sections_of(markdown.read_text()), deployed.htmls_of(html.read_text())
    commands = evaluated(checkout, monkeypatch, "--only", TITLES[1], "--only", ADDED)
    assert [command[1:] for command in commands] == [
        ["ranking", "--data", str(checkout / "data/movielens-100k"), "--protocol", "movielens-100k", *rest]
        for rest in (
            ["--json", str(checkout / "results/ranking-movielens-100k.json")],
            ["--time-split", "--json", str(checkout / "results/ranking-movielens-100k-time-split.json")],
        )
    ]
    after = sections_of(markdown.read_text()), deployed.htmls_of(html.read_text())
    for was, now in zip(before, after, strict=True):
        assert list(now) == [*TITLES, ADDED]
        assert now[TITLES[0]] == was[TITLES[0]]
        assert now[TITLES[1]] != was[TITLES[1]]
        assert "new" in now[ADDED]
    assert f"Measured on {datetime.now(UTC).date()}" in after[0][ADDED]


def test_results_of_an_earlier_run_do_not_replace_figures_that_were_not_run_now(checkout, monkeypatch):
    evaluated(checkout, monkeypatch, "--only", TITLES[1])
    file = checkout / "results/ranking-movielens-100k.json"
    file.write_bytes(file.read_bytes().replace(b"new data", b"later data"))
    os.utime(file, (0, 0))
    evaluated(checkout, monkeypatch, "--only", TITLES[0])
    text = (checkout / "docs/evaluation.md").read_text()
    assert "new data" in sections_of(text)[TITLES[1]]
    evaluated(checkout, monkeypatch, "--documents-only")
    assert "later data. Measured on 1970-01-01" in (checkout / "docs/evaluation.md").read_text()


def test_a_protocol_that_is_not_known_is_refused(checkout):
    result = CliRunner().invoke(deployed.app, ["--root", str(checkout), "--only", "tracing/nothing"])
    assert result.exit_code == 2
    assert "--only tracing/nothing: no such protocol; choose from tracing/assistments2009-kt, " in result.stderr
