"""`python -m tests.faults`: run the scenarios and print one row per run."""

from __future__ import annotations

import itertools
import logging
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from deploy.kafka.cluster import missing_tools
from deploy.local.redis import description
from services.common.telemetry import logs
from tests.faults import (  # noqa: F401 - importing them registers their scenarios.
    damaged_values,
    disks,
    half_open,
    lost_keys,
    lost_log,
    operators,
    partitions_added,
    rolling,
    secured,
    whale,
)
from tests.faults.bench import Bench
from tests.faults.results import Row, as_json, print_table
from tests.faults.scenarios import SCENARIOS, run_scenario

# Kept between runs, so that Maven downloads the broker's jars only once.
LIBRARIES = Path(__file__).parents[2] / ".local" / "kafka"
_FIRST_SEED = 1_000


app = typer.Typer(pretty_exceptions_enable=False)


@app.command()
def main(
    *,
    nodes: Annotated[
        list[int] | None,
        typer.Option(help="Brokers: 1 or 3; repeat for both. Default: all on one, faults of the broker also on three."),
    ] = None,
    times: Annotated[int, typer.Option(min=1, help="Number of runs, each with another seed.")] = 1,
    only: Annotated[list[str] | None, typer.Option(help="Run only this scenario; repeat for several.")] = None,
    seed: Annotated[int, typer.Option(help="The first seed.")] = _FIRST_SEED,
    json: Annotated[Path | None, typer.Option(help="Also write the rows to this file.")] = None,
    keep: Annotated[Path | None, typer.Option(help="Keep logs and data in this folder.")] = None,
) -> None:
    """Run scenarios on a real Kafka; exits with 1 when a check failed."""
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)
    if missing := missing_tools():
        console.print(
            f"skipped: a real Kafka needs Java 17 and Maven on PATH, and these are missing: {', '.join(missing)}"
        )
        return
    logging.basicConfig(handlers=[logging.NullHandler()])
    logs.configure("error", "console", service="faults")
    for name in only or ():
        if name not in SCENARIOS:
            raise typer.BadParameter(f"{name!r} is not one of {', '.join(SCENARIOS)}", param_hint="--only")
    plan = {count: list(SCENARIOS) for count in nodes} if nodes else _once()
    if only:
        plan = {count: [name for name in names if name in only] for count, names in plan.items()}
    begun_s = time.monotonic()
    print(f"state store: {description()}", flush=True)
    with tempfile.TemporaryDirectory(prefix="cairn-faults-") as temporary:
        rows = list(_run(plan, range(seed, seed + times), keep or Path(temporary)))
    print_table(rows, console, description())
    failed = sum(bool(row.failure) for row in rows)
    console.print(f"{len(rows) - failed} of {len(rows)} held, in {time.monotonic() - begun_s:.0f} s")
    if json is not None:
        json.write_bytes(as_json(rows))
    if failed:
        raise typer.Exit(1)


def _run(plan: Mapping[int, Sequence[str]], seeds: Iterable[int], directory: Path) -> Iterator[Row]:
    """Yield rows and print each at once: scenarios by cluster size, with every seed."""
    for (nodes, names), with_tls in itertools.product(plan.items(), (False, True)):
        of_them = [name for name in names if SCENARIOS[name].secured is with_tls]
        if not of_them:
            continue
        folder = directory / f"nodes-{nodes}-{time.time_ns()}"
        with Bench(folder, nodes=nodes, cache=LIBRARIES, secured=with_tls) as bench:
            for seed, name in itertools.product(seeds, of_them):
                row = run_scenario(bench, name, seed)
                _tell(row)
                yield row


def _tell(row: Row) -> None:
    state = f"FAILED: {row.failure}" if row.failure else "held"
    print(f"{row.scenario}, nodes {row.nodes}, seed {row.seed}: {state} after {row.seconds:.0f} s", flush=True)
    for what, value in row.notes.items():
        print(f"  {what}: {value}", flush=True)
    for process, lines in row.logs.items():
        print(f"  {process}:", *lines, sep="\n    ", flush=True)


def _once() -> dict[int, list[str]]:
    """Scenarios by cluster size."""
    return {1: list(SCENARIOS), 3: [name for name, each in SCENARIOS.items() if each.of_the_broker]}


if __name__ == "__main__":
    app()
