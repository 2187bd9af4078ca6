"""`make bench`: measure on this machine, print a table, and with --json write the figures."""

from __future__ import annotations

import platform
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import orjson
import psutil
import typer
from rich.console import Console
from rich.table import Table

from tests.benchmarks import folding, serving, streams, subscriptions, throughput
from tests.benchmarks.rosters import RosterFigures


def bench(
    json: Annotated[Path | None, typer.Option(help="Write the figures to this file.")] = None,
) -> None:
    """Measure throughput, latency, memory and sizes; each part takes at most a minute."""
    console = Console()
    console.print("[dim]Folding without any I/O ...[/]")
    meter = folding.FoldMeter()
    meter.run()
    with tempfile.TemporaryDirectory(prefix="cairn-bench-") as directory:
        console.print(
            f"[dim]{throughput.EVENTS:,} events of {throughput.LEARNERS:,} learners: no-op, worker, replay ...[/]"
        )
        rates = throughput.measure(Path(directory, "throughput"))
        meter.run()
        console.print("[dim]Events through a stream, plain and encrypted ...[/]")
        streamed = {
            name: streams.measure_streams(Path(directory, f"streams-{name}"), encryption=name == "encrypted")
            for name in ("plain", "encrypted")
        }
        meter.run()
        console.print("[dim]The running system: events, recommendations, echo ...[/]")
        served = serving.measure_serving(Path(directory, "serving"))
        meter.run()
        console.print(
            f"[dim]{subscriptions.LEARNERS:,} learners on {subscriptions.STREAMS} subscriptions, "
            f"{subscriptions.EVENTS_PER_S} events/s; readers that connect and leave for a minute ...[/]"
        )
        watched = subscriptions.measure_subscriptions(Path(directory, "subscriptions"))
    meter.run()
    figures = _figures(meter.costs(), rates, streamed, served) | {"subscriptions": _rounded(asdict(watched))}
    console.print(_table(figures))
    if json is not None:
        json.write_bytes(orjson.dumps(figures, option=orjson.OPT_INDENT_2))
        console.print(f"Figures written to {json}")


def _figures(
    costs: folding.FoldCosts,
    rates: throughput.Throughput,
    streamed: dict[str, streams.StreamFigures],
    served: serving.Serving,
) -> dict[str, Any]:
    return {
        "fold_update_us": round(costs.update_us, 2),
        "fold_bulk_us": round(costs.bulk_us, 3),
        "worker_events_per_s": round(rates.worker_events_per_s),
        "noop_events_per_s": round(rates.noop_events_per_s),
        "worker_ratio_to_noop": round(rates.worker_events_per_s / rates.noop_events_per_s, 2),
        "replay_events_per_s": round(rates.replay_events_per_s),
        "stream_events": {
            name: {field: round(value, 1) for field, value in asdict(figures).items()}
            for name, figures in streamed.items()
        },
        "event_to_state_ms": {
            "p50": round(served.event_to_state_p50_ms, 1),
            "p99": round(served.event_to_state_p99_ms, 1),
        },
        "recommend": {setting: _recommend(figures) for setting, figures in served.recommend.items()},
        "rosters": _rosters(served.rosters),
        "redis_bytes_per_learner": {
            "p50": round(rates.redis_bytes_per_learner_p50),
            "p99": round(rates.redis_bytes_per_learner_p99),
        },
        "state_bytes_at_50_skills": rates.state_bytes_at_50_skills,
        "rss_mb": {
            **{name: round(value, 1) for name, value in served.rss_mb.items()},
            "worker_after_200k_events": round(rates.worker_rss_mb, 1),
        },
        "machine": {
            "python": platform.python_version(),
            "cores": psutil.cpu_count(),
            "python_step_ns": {"best": round(costs.step_ns, 1), "median": round(costs.step_median_ns, 1)},
            "events": throughput.EVENTS,
            "learners": throughput.LEARNERS,
        },
    }


def _rounded(figures: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 1) for name, value in figures.items()}


def _recommend(figures: serving.RecommendFigures) -> dict[str, float]:
    rounded = {name: round(value, 3) for name, value in asdict(figures.recommend).items()}
    return rounded | {"ratio_to_echo": round(figures.recommend.p50_ms / figures.echo.p50_ms, 2)}


def _rosters(figures: RosterFigures) -> dict[str, float]:
    rounded = {name: round(value, 1) for name, value in asdict(figures).items()}
    return rounded | {"batch_ratio_to_recommend": round(figures.batch_of_30_p50_ms / figures.recommend_p50_ms, 2)}


def _table(figures: dict[str, Any]) -> Table:
    table = Table("figure", "value", title="Cairn on this machine")
    for name, value in figures.items():
        _add(table, name, value)
    return table


def _add(table: Table, name: str, value: Any) -> None:
    if isinstance(value, dict):
        for part, inner in value.items():
            _add(table, f"{name}.{part}", inner)
    else:
        table.add_row(name, f"{value:,}" if isinstance(value, int) else str(value))


if __name__ == "__main__":
    typer.run(bench)
