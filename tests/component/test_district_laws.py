"""The laws of a list are counted for the learners of the sample district."""

from __future__ import annotations

import orjson
from typer.testing import CliRunner

from deploy.evaluation import laws as district
from deploy.evaluation.laws import app
from services.recommender.evaluation import laws
from services.recommender.evaluation.laws import LAWS


def run(*arguments):
    return CliRunner().invoke(app, ["--learners", "12", *map(str, arguments)])


def test_every_law_has_cases_in_the_district_and_holds_after_what_teachers_assigned(tmp_path):
    result = run("--steps", 0, "--json", tmp_path / "laws.json")
    assert result.exit_code == 0, result.output
    found = orjson.loads((tmp_path / "laws.json").read_bytes())
    for name in ("cairn", "next_item", "untrained"):
        for law, counted in found["laws"][f"{name}, assigned"].items():
            assert counted["held"] == counted["cases"] > 0, (name, law)
        assert found["laws"][f"{name}, followed"] == {law: {"cases": 0, "held": 0} for law in LAWS}
    assert "yes: law level: " in result.output


def test_lists_are_also_counted_while_learners_follow_them(tmp_path):
    result = run("--steps", 3, "--json", tmp_path / "laws.json")
    found = orjson.loads((tmp_path / "laws.json").read_bytes())["laws"]["untrained, followed"]
    # Two lists, of 10 and of 3 resources, for each learner and step.
    assert 12 <= found["urgent"]["cases"] <= 72
    assert found["variety"]["cases"] <= 36
    assert (result.exit_code == 0) == all(check in result.output for check in (f"yes: law {law}" for law in LAWS))


def test_the_command_fails_where_a_law_is_broken(monkeypatch):
    monkeypatch.setattr(laws, "_MISSED_LEAST", 6)
    result = run("--steps", 0)
    assert result.exit_code == 1
    assert "NO: law missed: " in result.output


def test_a_gap_that_is_nearly_closed_stays_in_the_list_where_skills_that_were_never_met_are_more_urgent(tmp_path):
    sample, learner = district.Sample(100, seed=7), "sim-0056"
    simulated, sessions = sample.after_history()
    policy = district.Answers(sample.catalog, district.store(str(tmp_path))).policy(district.SERVED)
    for session in sessions[learner]:
        policy.observe({learner: session})
    count = district.LawCount(policy.prepared)
    for answer in district._following(sample, simulated, policy, learner, sessions[learner][-1], 10):
        count.add(answer)
    assert count.cases["urgent"] > 10
    assert count.held["urgent"] == count.cases["urgent"], count.examples["urgent"]
