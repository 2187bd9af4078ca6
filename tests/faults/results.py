"""The result of a scenario: one row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

import orjson
from rich.console import Console
from rich.table import Table


class ScenarioFailedError(AssertionError):
    """A check failed; the message is a sentence."""


@dataclass
class Row:
    """One run of one scenario.

    Attributes:
        scenario: its name.
        nodes: brokers of the cluster.
        seed: the seed of its events.
        events: events sent, each counted once.
        acknowledged: the ones of these that ingest acknowledged.
        applied: records of the log applied to a learner's state.
        duplicates: records skipped because an earlier one has the same source and id.
        dead_lettered: records in the dead letters.
        restarts: processes that exited by themselves and were restarted.
        recovery_s: from the fault, or from its end if it lasts, until one event of every partition sent afterwards was
            acknowledged and applied.
        digest_equal: whether the served epoch equals a replay of the log without faults.
        seconds: duration of the run.
        notes: other observations of the scenario.
        failure: why it failed; empty if all checks passed.
        logs: if it failed, the last lines of each process's log.
    """

    scenario: str
    nodes: int
    seed: int
    events: int = 0
    acknowledged: int = 0
    applied: int = 0
    duplicates: int = 0
    dead_lettered: int = 0
    restarts: int = 0
    recovery_s: float | None = None
    digest_equal: bool | None = None
    seconds: float = 0.0
    notes: dict[str, object] = field(default_factory=dict)
    failure: str = ""
    logs: dict[str, list[str]] = field(default_factory=dict)


def as_json(rows: Sequence[Row]) -> bytes:
    """The rows as JSON."""
    return orjson.dumps([asdict(row) for row in rows], option=orjson.OPT_INDENT_2) + b"\n"


def print_table(rows: Sequence[Row], console: Console, store: str) -> None:
    """Print the rows as a table, and one sentence for each failure; `store` says which Redis was used."""
    table = Table(title=f"Faults, with {store}", title_justify="left", box=None, pad_edge=False)
    table.add_column("scenario", no_wrap=True)
    for heading in ("nodes", "seed", "events", "ack", "applied", "dup", "dlt", "restarts", "recovery s", "took s"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("digest", no_wrap=True)
    table.add_column("", no_wrap=True)
    for row in rows:
        counts = (row.events, row.acknowledged, row.applied, row.duplicates, row.dead_lettered, row.restarts)
        table.add_row(
            row.scenario,
            str(row.nodes),
            str(row.seed),
            *(f"{count:,}" for count in counts),
            "-" if row.recovery_s is None else f"{row.recovery_s:.1f}",
            f"{row.seconds:.0f}",
            {True: "equal", False: "DIFFERS", None: "-"}[row.digest_equal],
            "[red]FAILED[/red]" if row.failure else "held",
        )
    console.print(table)
    for row in rows:
        if row.failure:
            console.print(f"{row.scenario}, {row.nodes} nodes, seed {row.seed}: {row.failure}", markup=False)
