"""Draws docs/dashboard.svg: three minutes of a running system, in which the worker hangs for 20 s."""

from __future__ import annotations

import os
import signal
import tempfile
import time
from pathlib import Path

from tests.monitoring.drawing import Series, draw, series_of
from tests.monitoring.prometheus import DASHBOARDS, Prometheus, panels
from tests.monitoring.system import monitored_system

_PICTURE = Path(__file__).parents[2] / "docs" / "dashboard.svg"
_RUN_S = 180.0
_HANGS_S = (70.0, 90.0)
_ROUND_S = 0.5
_STEP_S = 2
_CAPTION = (
    "Drawn from the queries of deploy/helm/cairn/files/dashboards/overview.json, answered by a Prometheus that scraped "
    "a system on one machine; Grafana looks different."
)


def main() -> None:
    (overview,) = (panels(file) for file in DASHBOARDS if file.stem == "overview")
    with tempfile.TemporaryDirectory() as directory, monitored_system(Path(directory)) as system:
        begun_s = time.time()
        hangs = False
        while (past_s := time.time() - begun_s) < _RUN_S:
            if hangs != (_HANGS_S[0] <= past_s < _HANGS_S[1]):
                hangs = not hangs
                os.killpg(system.worker.pid, signal.SIGSTOP if hangs else signal.SIGCONT)
            system.traffic.round(mistakes=past_s % 10 < _ROUND_S)
            time.sleep(_ROUND_S)
        answers = {
            panel["id"]: [line for target in panel["targets"] for line in _answer(system.prometheus, target, begun_s)]
            for panel in overview
            if "targets" in panel
        }
    _PICTURE.write_text(draw(overview, answers, _CAPTION))


def _answer(prometheus: Prometheus, target: dict[str, str], begun_s: float) -> list[Series]:
    # The first scrapes have no rates.
    found = prometheus.get("query_range", query=target["expr"], start=begun_s + 15, end=begun_s + _RUN_S, step=_STEP_S)
    return series_of(target, found["result"])


main()
