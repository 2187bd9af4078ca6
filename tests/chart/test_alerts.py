"""The alerts and the dashboards of the chart: valid, tested, and rendered as they are written."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chart.promtool import promtool
from tests.chart.rendering import CHART, case, of_kind

ALERTS = CHART / "files" / "alerts.yaml"
TESTS = sorted((Path(__file__).parent / "alerts").glob("*.yaml"))
GROUPS: list[dict[str, Any]] = yaml.safe_load(ALERTS.read_text())["groups"]
NAMES = sorted({rule["alert"] for group in GROUPS for rule in group["rules"] if "alert" in rule})


def run(*arguments: str | Path) -> None:
    tool = promtool()
    if tool is None:
        pytest.skip("promtool is not on PATH, and Debian's package prometheus cannot be downloaded")
    ended = subprocess.run([tool, *arguments], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_promtool_accepts_the_rules():
    run("check", "rules", ALERTS)


@pytest.mark.parametrize("file", TESTS, ids=lambda file: file.name.partition(".")[0])
def test_the_alerts_fire_when_they_should_and_only_then(file):
    run("test", "rules", file)


@pytest.mark.parametrize("alert", NAMES)
def test_an_alert_has_a_test_in_which_it_fires_and_one_in_which_it_does_not(alert):
    expected = [
        bool(one.get("exp_alerts"))
        for file in TESTS
        for test in yaml.safe_load(file.read_text())["tests"]
        for one in test.get("alert_rule_test", ())
        if one["alertname"] == alert
    ]
    assert {True, False} <= set(expected), f"tests/chart/alerts has no such test of {alert}"


@pytest.mark.parametrize("alert", NAMES)
def test_an_alert_has_a_severity_a_summary_and_a_runbook_that_exists(alert):
    for rule in (rule for group in GROUPS for rule in group["rules"] if rule.get("alert") == alert):
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}
        assert rule["annotations"]["summary"]
        document, _, anchor = rule["annotations"]["runbook_url"].partition("#")
        text = (CHART.parents[2] / document).read_text()
        headings = [line.lstrip("# ").strip().lower() for line in text.splitlines() if line.startswith("#")]
        assert anchor in headings


def test_the_alerts_are_rendered_as_they_are_written():
    (rule,) = of_kind("PrometheusRule", case("monitoring"))
    assert rule["spec"] == {"groups": GROUPS}


def test_the_dashboards_are_rendered_as_they_are_written_for_grafanas_sidecar():
    files = {file.name: json.loads(file.read_text()) for file in (CHART / "files" / "dashboards").glob("*.json")}
    (rendered,) = of_kind("ConfigMap", case("monitoring"))
    assert {name: json.loads(text) for name, text in rendered["data"].items()} == files
    assert rendered["metadata"]["labels"]["grafana_dashboard"] == "1"
    # A ConfigMap holds at most 1 MiB.
    assert sum(map(len, rendered["data"].values())) < 900_000
