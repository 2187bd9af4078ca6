"""The log of the suite, and which of its requirements are no part of Cairn."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

OUT_OF_SCOPE = Path(__file__).parent / "out_of_scope.yaml"


@dataclass
class Results:
    """What the suite found.

    Attributes:
        passed: how many tests passed.
        failed: the full title of each test that did not, and what it says.
    """

    passed: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)


def results_of(log: Path) -> Results:
    """The results in a log that the suite wrote."""
    results = Results()
    for title, test in _tests(json.loads(log.read_text(encoding="utf-8"))["log"], ()):
        if test["status"] == "passed":
            results.passed += 1
        elif test["status"] == "failed":
            results.failed.append((title, " ".join(str(test.get("error")).split())[:300]))
    return results


def _tests(part: dict[str, Any], above: tuple[str, ...]) -> Iterator[tuple[str, dict[str, Any]]]:
    path = (*above, str(part.get("title") or part.get("name") or ""))
    if part.get("tests"):
        for inner in part["tests"]:
            yield from _tests(inner, path)
    else:
        yield " > ".join(filter(None, path)), part


def scope_of(title: str) -> str:
    """Why a test is no part of what Cairn does; empty: it is one."""
    content = yaml.safe_load(OUT_OF_SCOPE.read_text(encoding="utf-8"))
    return next((entry["reason"] for entry in content if any(part in title for part in entry["titles"])), "")
