"""Alert rules and dashboards, evaluated by a Prometheus that scrapes every process of a running system."""

from __future__ import annotations

import re
import shutil
import time

import pytest

from tests.monitoring.prometheus import DASHBOARDS, alert_selectors, panels
from tests.monitoring.system import monitored_system

pytestmark = pytest.mark.skipif(
    shutil.which("prometheus") is None, reason="needs prometheus on PATH: apt install prometheus"
)

DEADLINE_S = 90.0
# What a system that works does not show, and why.
RIGHTLY_EMPTY = {
    "cairn_openedx_messages_total": "there is no Open edX",
    "cairn_openedx_events_total": "there is no Open edX",
    "cairn_fold_keys_missing_records": "no record has waited for its key",
    "cairn_certificate_expires_timestamp_seconds": "the processes use no TLS",
    'cairn_grpc_refused_calls_total{reason="slots"}': "there are fewer calls than slots",
    'cairn_http_refused_requests_total{reason="slots"}': "there are fewer requests than slots",
    'cairn_server_requests_total{outcome="unavailable"}': "Redis answers",
    'cairn_ingest_refused_requests_total{reason=~"log_unavailable|log_overloaded|catalog_not_ready"}': "Kafka answers",
}
# What the traffic causes: a record that cannot be decoded.
FIRES = {"CairnDeadLetters"}


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_every_rule_and_every_query_of_a_dashboard_finds_data_in_a_running_system(tmp_path):
    asked = {
        f"{file.stem}, {panel['title']}: {target['expr']}": target["expr"]
        for file in DASHBOARDS
        for panel in panels(file)
        for target in panel.get("targets", ())
    } | {f"alerts: {selector}": selector for selector in alert_selectors()}
    assert RIGHTLY_EMPTY.keys() <= set(asked.values()) | {_metric(query) for query in asked.values()}
    with monitored_system(tmp_path) as system:
        prometheus, give_up_s = system.prometheus, time.monotonic() + DEADLINE_S
        without, raised = asked, None
        while (without or raised != FIRES) and time.monotonic() < give_up_s:
            system.traffic.round()
            without = {name: query for name, query in asked.items() if not prometheus.has_data(query)}
            without = {name: query for name, query in without.items() if not _rightly_empty(query)}
            raised = {alert["labels"]["alertname"] for alert in prometheus.get("alerts")["alerts"]}
        assert sorted(without) == []
        # Pending ones count too.
        assert raised == FIRES
        rules = [rule for group in prometheus.get("rules")["groups"] for rule in group["rules"]]
        assert {(rule["health"], rule.get("lastError", "")) for rule in rules} == {("ok", "")}


def _rightly_empty(query: str) -> bool:
    return query in RIGHTLY_EMPTY or _metric(query) in RIGHTLY_EMPTY


def _metric(query: str) -> str:
    """The metric of a query that uses one alone, whatever it selects of it."""
    names = set(re.findall(r"\bcairn_\w+", query))
    return names.pop() if len(names) == 1 else ""
