"""How the stack and the demo look: one voice for a terminal of 80 columns and for a pipe."""

from __future__ import annotations

import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

from deploy.local.stack import Component, Report

_COLUMNS = 80
_NAME_COLUMNS = 9
_ADDRESS_COLUMNS = 48


def console() -> Console:
    """Standard output: coloured in a terminal, plain text of 80 columns in a pipe."""
    if hasattr(sys.stdout, "reconfigure"):
        # A terminal that cannot show a character shows a question mark rather than ending the run.
        sys.stdout.reconfigure(errors="replace")
    plain = Console(highlight=False)
    return Console(highlight=False, width=min(plain.width, _COLUMNS) if plain.is_terminal else _COLUMNS)


def component_reporter(to: Console) -> Report:
    """Prints one line per component as it gets ready."""

    def report(component: Component) -> None:
        line = Text("  ")
        line.append("✓ ", style="green")
        line.append(component.name.ljust(_NAME_COLUMNS), style="bold")
        line.append(component.address.ljust(_ADDRESS_COLUMNS))
        if component.ready_after_s:
            line.append(f"{component.ready_after_s:6.1f} s", style="dim")
        line.rstrip()
        to.print(line, soft_wrap=True)

    return report


def print_how_to_use(to: Console, environment_file: Path) -> None:
    """What to type after `up`."""
    to.print()
    to.print("Everything runs. In this shell, for the commands and for your own clients:")
    to.print(f"  set -a; . {environment_file}; set +a", style="bold")
    to.print("Then, for example:")
    to.print("  cairn status", style="bold")
    to.print("  cairn catalog import --skills deploy/local/sample/skills.jsonl \\", style="bold")
    to.print("                       --resources deploy/local/sample/resources.jsonl", style="bold")
    to.print("  cairn ingest load events.ndjson --format ndjson", style="bold")
    to.print("Stop everything with: make down")
