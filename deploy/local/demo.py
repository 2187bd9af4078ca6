"""The demo."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from deploy.local.stack import StackOptions


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What to show."""

    stack: StackOptions
    dataset: Path | None
    json: Path | None


def run_demo(options: DemoOptions, console: Console) -> None:
    """Run it."""
    raise NotImplementedError
