"""Why the fold is not a Faust agent, in figures: `python -m tests.benchmarks.faust_take` on an embedded broker.

One log is read in turn by a Faust agent that does nothing, by agents that take batches and do nothing or fold them, and
by the worker. It prints the medians in events per second, and as ratios to the agent that does nothing.
docs/decisions/0030 quotes a run.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
from pathlib import Path
from typing import Annotated

import redis
import typer
from rich.console import Console
from rich.table import Table

from deploy.local.stack import Stack, StackOptions
from services.common.kafka.envelope import LEARNER_EVENTS
from tests.benchmarks import throughput
from tests.benchmarks.synthetic import log_events, preload

_NOTHING = "agent that does nothing"
_TAKES = (100, 1_000, 4_000)


def measure(stack: Stack, runs: int) -> dict[str, list[float]]:
    """Events per second of each reader, one figure a run; the readers take turns."""
    events = log_events(throughput.EVENTS, throughput.LEARNERS, skills=100, items=2_000, seed=1)
    count = asyncio.run(preload(stack.kafka, events, throughput.PARTITIONS))
    arguments = [stack.kafka.bootstrap_servers, LEARNER_EVENTS, str(count)]
    rates: dict[str, list[float]] = {}
    for _ in range(runs):
        rates.setdefault(_NOTHING, []).append(throughput.agent_rate(stack, "noop_agent", arguments))
        for take in _TAKES:
            rate = throughput.agent_rate(stack, "take_agent", [*arguments, str(take)])
            rates.setdefault(f"agent that takes {take:,} and does nothing", []).append(rate)
        for take in _TAKES:
            _empty(stack)
            rate = throughput.agent_rate(stack, "take_agent", [*arguments, str(take), stack.redis])
            rates.setdefault(f"agent that takes {take:,} and folds them", []).append(rate)
        _empty(stack)
        rates.setdefault("worker: the fold as a service", []).append(throughput.worker_rate(stack, count))
    return rates


def _empty(stack: Stack) -> None:
    with redis.Redis.from_url(stack.redis) as client:
        client.flushall()


def main(runs: Annotated[int, typer.Option(min=1, help="How often each reader reads the log.")] = 3) -> None:
    """Measure Faust agents and the fold service on one log."""
    with (
        tempfile.TemporaryDirectory(prefix="cairn-bench-") as directory,
        Stack(StackOptions(Path(directory, "stack"), services=()), lambda _component: None) as stack,
    ):
        rates = measure(stack, runs)
    medians = {reader: statistics.median(some) for reader, some in rates.items()}
    table = Table("reader", "events/s", "ratio", title=f"{throughput.EVENTS:,} events, medians of {runs}")
    for reader, median in medians.items():
        table.add_row(reader, f"{median:,.0f}", f"{median / medians[_NOTHING]:.2f}")
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
