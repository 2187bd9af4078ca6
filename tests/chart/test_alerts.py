"""The alerts and the dashboards of the chart: valid, tested, and rendered as they are written.

tests/contract/test_alerts.py checks that each alert has a runbook, and tests in which it fires and keeps quiet.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.chart.promtool import promtool
from tests.chart.rendering import CHART, case, objects, of_kind

ALERTS = CHART / "files" / "alerts.yaml"
TESTS = sorted((Path(__file__).parent / "alerts").glob("*.yaml"))


def run(*arguments: str | Path) -> None:
    tool = promtool()
    if tool is None:
        pytest.skip("promtool is not on PATH, and Debian's package prometheus cannot be downloaded")
    ended = subprocess.run([tool, *arguments], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_promtool_accepts_the_rules():
    run("check", "rules", ALERTS)


# Rules that compare weeks are evaluated over weeks.
@pytest.mark.timeout(600)
@pytest.mark.parametrize("file", TESTS, ids=lambda file: file.name.partition(".")[0])
def test_the_alerts_fire_when_they_should_and_only_then(file):
    run("test", "rules", file)


def test_the_alerts_are_rendered_as_they_are_written():
    (rule,) = of_kind("PrometheusRule", case("monitoring"))
    assert rule["spec"] == yaml.safe_load(ALERTS.read_text())


def test_the_alerts_link_to_where_the_runbooks_are():
    (rule,) = of_kind("PrometheusRule", objects({"monitoring": {"enabled": True, "runbooksUrl": "https://wiki/cairn"}}))
    links = [
        one["annotations"]["runbook_url"]
        for group in rule["spec"]["groups"]
        for one in group["rules"]
        if "alert" in one
    ]
    assert links
    assert all(link.startswith("https://wiki/cairn#cairn") for link in links)


def test_the_dashboards_are_rendered_as_they_are_written_for_grafanas_sidecar():
    files = {file.name: json.loads(file.read_text()) for file in (CHART / "files" / "dashboards").glob("*.json")}
    (rendered,) = of_kind("ConfigMap", case("monitoring"))
    assert {name: json.loads(text) for name, text in rendered["data"].items()} == files
    assert rendered["metadata"]["labels"]["grafana_dashboard"] == "1"
    # A ConfigMap holds at most 1 MiB.
    assert sum(map(len, rendered["data"].values())) < 900_000
