"""`cairn evaluate review`, from a file to a report."""

from __future__ import annotations

import math

import numpy as np
import orjson
import pytest
from typer.testing import CliRunner

from services.recommender.cli.evaluate import app

HOUR_S, DAY_S = 3_600, 86_400
BEGAN_S = 1_700_000_000


@pytest.fixture
def folder(tmp_path):
    """40 learners practise three skills on each of twelve days, and forget in between."""
    rng, lines = np.random.default_rng(3), []
    for learner in range(40):
        at_s, ability = BEGAN_S, rng.normal(1.5, 0.7)
        last_s = np.full(3, float(BEGAN_S))
        for _ in range(12):
            at_s += int(rng.choice([1, 2, 5, 15]) * DAY_S)
            for skill in rng.permutation(3).tolist():
                for _number in range(2):
                    at_s += 60
                    days = (at_s - last_s[skill]) / DAY_S
                    last_s[skill] = at_s
                    right = rng.random() < 1 / (1 + math.exp(0.9 * math.log1p(days) - ability))
                    lines.append(f"l{learner},i{skill}{rng.integers(2)},k{skill},{int(right)},{at_s}")
    (tmp_path / "responses.csv").write_text("\n".join(["learner,item,skills,correct,time", *lines]) + "\n")
    return tmp_path


def run(folder, *options):
    report = folder / "report.json"
    arguments = ("review", "--data", str(folder), "--protocol", "sequences", "--json", str(report), *options)
    result = CliRunner().invoke(app, arguments)
    return result, orjson.loads(report.read_bytes()) if result.exit_code == 0 else None


@pytest.mark.parametrize(
    ("options", "name"), [((), "review/sequences"), (("--time-split",), "review/sequences-time-split")]
)
def test_recall_is_measured_on_first_responses_of_later_days(folder, options, name):
    result, found = run(folder, *options)
    assert result.exit_code == 0, result.output
    assert found["protocol"] == name
    # Of each learner the first of two answers on three skills, on all days but the first.
    fitted_on, evaluated_on = 28 * 33, 12 * 33
    if options:
        times = [int(row.rpartition(",")[2]) for row in (folder / "responses.csv").read_text().splitlines()[1:]]
        later = [at_s for number, at_s in enumerate(times) if number % 72 >= 6 and number % 2 == 0]
        since_s = sorted(times)[int(0.8 * len(times))]
        fitted_on, evaluated_on = sum(at_s < since_s for at_s in later), sum(at_s >= since_s for at_s in later)
    assert f"fitted on {fitted_on:,} first responses of later days, evaluated on {evaluated_on:,} of" in found["data"]
    losses = {model: values["log_loss"]["mean"] for model, values in found["models"].items()}
    assert set(losses) >= {
        "constant", "fixed_formula", "fsrs", "skill_wins_losses", "filter", "cairn_average_item", "cairn"
    }  # fmt: skip
    # Recall falls with time here, and only these two know the time and the learner.
    assert losses["cairn"] < min(losses[model] for model in ("constant", "fixed_formula", "fsrs", "filter"))
    assert found["differences"]["filter"]["log_loss"]["mean"] < 0.0
    (due,) = found["checks"]
    assert due["holds"], due


def test_recall_is_not_measured_without_times_or_without_later_days(folder):
    rows = (folder / "responses.csv").read_text().splitlines()
    (folder / "responses.csv").write_text("\n".join(row.rpartition(",")[0] for row in rows) + "\n")
    result, _ = run(folder)
    assert result.exit_code == 2
    assert "recall needs the times of responses; add the column time" in result.output.replace("\n", " ")
    same_day = [f"{row.rpartition(',')[0]},{BEGAN_S + 10 * number}" for number, row in enumerate(rows[1:400])]
    (folder / "responses.csv").write_text("\n".join([rows[0], *same_day]) + "\n")
    result, _ = run(folder)
    assert result.exit_code == 2
    assert "0 responses to fit on" in result.output.replace("\n", " ")
