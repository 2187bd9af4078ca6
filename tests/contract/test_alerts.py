"""Alert rules, runbooks, rule tests and dashboards belong together, and use metrics that exist."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
FILES = ROOT / "deploy" / "helm" / "cairn" / "files"
DASHBOARDS = sorted((FILES / "dashboards").glob("*.json"))
RULES = [rule for group in yaml.safe_load((FILES / "alerts.yaml").read_text())["groups"] for rule in group["rules"]]
ALERTS = {rule["alert"] for rule in RULES}
RUNBOOKS = ROOT / "docs" / "runbooks.md"
# What Prometheus adds to the name of a counter or a histogram.
SUFFIX = re.compile(r"_(?:total|bucket|count|sum)$")


def queries(dashboard: Path) -> list[str]:
    panels = json.loads(dashboard.read_text())["panels"]
    return [target["expr"] for panel in panels for target in panel.get("targets", ())]


def test_every_alert_has_a_runbook_and_every_runbook_an_alert():
    sections = re.findall(r"^### (\w+)$", RUNBOOKS.read_text(), flags=re.MULTILINE)
    assert len(sections) == len(set(sections))
    assert set(sections) == ALERTS


def test_every_alert_says_how_severe_it_is_what_happens_and_where_its_runbook_is():
    for rule in RULES:
        said = rule["annotations"]
        assert rule["labels"]["severity"] in {"critical", "warning"}, rule["alert"]
        assert said["summary"], rule["alert"]
        assert said["description"], rule["alert"]
        assert said["runbook_url"] == f"docs/runbooks.md#{rule['alert'].lower()}"


def test_every_rule_is_tested_to_fire_and_to_keep_quiet():
    fires, keeps_quiet = set(), set()
    for file in (ROOT / "tests" / "chart" / "alerts").glob("*.test.yaml"):
        for test in yaml.safe_load(file.read_text())["tests"]:
            for check in test["alert_rule_test"]:
                fires |= {(check["alertname"], fired["exp_labels"]["severity"]) for fired in check["exp_alerts"]}
                keeps_quiet |= set() if check["exp_alerts"] else {check["alertname"]}
    assert fires == {(rule["alert"], rule["labels"]["severity"]) for rule in RULES}
    assert keeps_quiet == ALERTS


@pytest.mark.parametrize("expressions", [[rule["expr"] for rule in RULES], *map(queries, DASHBOARDS)])
def test_rules_and_dashboards_use_metrics_that_are_documented(expressions):
    # tests/contract/test_operations.py compares what is documented with what there is.
    documented = set(re.findall(r"`(cairn_\w+)`", (ROOT / "docs" / "operations.md").read_text()))
    used = {name for expression in expressions for name in re.findall(r"\bcairn_\w+", expression)}
    assert used
    assert {name for name in used if name not in documented and SUFFIX.sub("", name) not in documented} == set()
