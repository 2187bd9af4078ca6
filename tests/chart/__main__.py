"""`python -m tests.chart`: run the checks of the chart; the last line says how many there were and how many failed."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest


class Count:
    """Counts the checks as pytest reports them, and collects why some were left out."""

    def __init__(self) -> None:
        self.checked = self.failed = 0
        self.skipped: dict[str, int] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped:
            # File, line and reason.
            reason = str(report.longrepr[2]).removeprefix("Skipped: ")  # type: ignore[index]
            self.skipped[reason] = self.skipped.get(reason, 0) + 1
        elif report.when == "call" or report.failed:
            self.checked += 1
            self.failed += report.failed


def main(arguments: list[str]) -> int:
    """Return 0 when every check that could run succeeded."""
    count, code = Count(), 0
    if importlib.util.find_spec("helm_python") is None:
        print("skipped: the library that renders charts, helm-python-sdk, has no build for this machine")
    else:
        code = pytest.main(
            [str(Path(__file__).parent), "--quiet", "--no-header", "-p", "no:cacheprovider", *arguments], [count]
        )
    for reason, times in count.skipped.items():
        print(f"skipped: {times} checks, because {reason}")
    print(f"test-chart: {count.checked} checked, {count.failed} failed")
    return int(code != pytest.ExitCode.OK)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
