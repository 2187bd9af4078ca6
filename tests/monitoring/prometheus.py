"""A Prometheus on loopback that scrapes every process of a stack and evaluates the alert rules."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any

import yaml

from deploy.processes import LOOPBACK, Child, Command, free_port

FILES = Path(__file__).parents[2] / "deploy" / "helm" / "cairn" / "files"
RULES = FILES / "alerts.yaml"
DASHBOARDS = sorted((FILES / "dashboards").glob("*.json"))
SCRAPE_S = 1
# What Grafana replaces. A rate needs some scrapes.
_VARIABLES = {"$namespace": ".*", "$__rate_interval": f"{10 * SCRAPE_S}s"}


class Prometheus:
    """Started by `start`, stopped by `stop`."""

    def __init__(self, directory: Path, ports: Mapping[str, int]) -> None:
        """Args: `directory` for its files, and the metrics `ports` of the processes by name."""
        self._port = free_port()
        configuration = {
            "global": {"scrape_interval": f"{SCRAPE_S}s", "evaluation_interval": f"{SCRAPE_S}s"},
            "rule_files": [str(RULES)],
            "scrape_configs": [
                {
                    "job_name": "cairn",
                    # The labels that a PodMonitor adds.
                    "static_configs": [
                        {"targets": [f"{LOOPBACK}:{port}"], "labels": {"namespace": "cairn", "pod": f"{name}-0"}}
                        for name, port in ports.items()
                    ],
                }
            ],
        }
        directory.mkdir(parents=True)
        file = directory / "prometheus.yaml"
        file.write_text(yaml.safe_dump(configuration))
        self._command = Command(
            "prometheus",
            [
                "prometheus",
                f"--config.file={file}",
                f"--storage.tsdb.path={directory / 'data'}",
                f"--web.listen-address={LOOPBACK}:{self._port}",
            ],
            directory / "prometheus.log",
        )
        self._child: Child | None = None

    def start(self) -> None:
        """Start it, and return once it answers."""
        self._child = Child(self._command)
        self._child.wait_ready(self._answers, 30.0)

    def stop(self) -> None:
        """Stop it."""
        if self._child is not None:
            self._child.stop()

    def get(self, path: str, **parameters: object) -> Any:
        """The data of an answer of its HTTP API.

        Raises:
            AssertionError: when it answers with an error, which the message names.
        """
        url = f"http://{LOOPBACK}:{self._port}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=20) as reply:
                return json.load(reply)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{path} {parameters}: {error.read().decode()}") from error

    def has_data(self, query: str) -> bool:
        """Whether a query gives a number now."""
        return any(sample["value"][1] != "NaN" for sample in self.get("query", query=query)["result"])

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://{LOOPBACK}:{self._port}/-/ready", timeout=5) as reply:
                return reply.status == HTTPStatus.OK
        except OSError:
            return False


def panels(dashboard: Path) -> list[dict[str, Any]]:
    """The panels of a dashboard, with expressions that Prometheus can evaluate."""
    found = json.loads(dashboard.read_text())["panels"]
    for panel in found:
        for target in panel.get("targets", ()):
            for name, value in _VARIABLES.items():
                target["expr"] = target["expr"].replace(name, value)
    return found


def alert_selectors() -> set[str]:
    """Every metric that the rules look at, with the labels that they select."""
    groups = yaml.safe_load(RULES.read_text())["groups"]
    expressions = [rule["expr"] for group in groups for rule in group["rules"]]
    return {match for expression in expressions for match in re.findall(r"\bcairn_\w+(?:\{[^}]*\})?", expression)}
