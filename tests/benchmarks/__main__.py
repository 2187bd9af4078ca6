"""`make bench`: measure on this machine, print a table, and with --json write the figures."""

from __future__ import annotations

import platform
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import orjson
import psutil
import typer
from rich.console import Console
from rich.table import Table

from tests.benchmarks import folding, http, loading, openedx, serving, sizes, streams, subscriptions, throughput
from tests.benchmarks.rosters import RosterFigures


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the benchmark.

    Attributes:
        title: what it measures, for people.
        figures: measures it in an empty folder, with this number of rows where it loads a file; its figures by name.
    """

    title: str
    figures: Callable[[Path, int], dict[str, Any]]


def _throughput(directory: Path, _rows: int) -> dict[str, Any]:
    rates = throughput.measure(directory)
    return {
        "worker_events_per_s": round(rates.worker_events_per_s),
        "noop_events_per_s": round(rates.noop_events_per_s),
        "worker_ratio_to_noop": round(rates.worker_events_per_s / rates.noop_events_per_s, 2),
        "replay_events_per_s": round(rates.replay_events_per_s),
        "worker_cpu_us_per_event": round(rates.worker_cpu_us_per_event, 1),
        "redis_cpu_us_per_event": round(rates.redis_cpu_us_per_event, 1),
        "replay_cpu_us_per_event": round(rates.replay_cpu_us_per_event, 1),
        "redis_bytes_per_learner": {
            "p50": round(rates.redis_bytes_per_learner_p50),
            "p99": round(rates.redis_bytes_per_learner_p99),
        },
        "state_bytes_at_50_skills": rates.state_bytes_at_50_skills,
        "rss_mb": {"worker_after_200k_events": round(rates.worker_rss_mb, 1)},
    }


def _streams(directory: Path, _rows: int) -> dict[str, Any]:
    streamed = {
        name: streams.measure_streams(directory / name, encryption=name == "encrypted")
        for name in ("plain", "encrypted")
    }
    return {"stream_events": {name: _rounded(asdict(figures)) for name, figures in streamed.items()}}


def _serving(directory: Path, _rows: int) -> dict[str, Any]:
    served = serving.measure_serving(directory)
    return {
        "event_to_state_ms": {
            "p50": round(served.event_to_state_p50_ms, 1),
            "p99": round(served.event_to_state_p99_ms, 1),
        },
        "recommend": {setting: _recommend(figures) for setting, figures in served.recommend.items()},
        "rosters": _rosters(served.rosters),
        "rss_mb": _rounded(served.rss_mb),
    }


def _load(directory: Path, rows: int) -> dict[str, Any]:
    loaded = asdict(loading.measure_load(directory, rows))
    return {"load": _rounded(loaded) | {"ratio_to_grpc": round(loaded["ratio_to_grpc"], 3)}}


def _http(directory: Path, _rows: int) -> dict[str, Any]:
    measured = asdict(http.measure_http(directory))
    ratios = {name: round(value, 3) for name, value in measured.items() if "ratio" in name or "ms_per" in name}
    return {"http": _rounded(measured) | ratios, "rss_mb": {"gateway": round(measured["gateway_rss_mb"], 1)}}


def _openedx(directory: Path, _rows: int) -> dict[str, Any]:
    measured = asdict(openedx.measure_openedx(directory))
    fine = {name: round(value, 3) for name, value in measured.items() if "ms_per" in name}
    return {"openedx": _rounded(measured) | fine, "rss_mb": {"openedx": round(measured["reader_rss_mb"], 1)}}


PARTS = {
    "throughput": Part(
        f"{throughput.EVENTS:,} events of {throughput.LEARNERS:,} learners: no-op, worker, replay", _throughput
    ),
    "streams": Part("Events through a stream, plain and encrypted", _streams),
    "serving": Part("The running system: events, recommendations, echo", _serving),
    "subscriptions": Part(
        f"{subscriptions.LEARNERS:,} learners on {subscriptions.STREAMS} subscriptions, "
        f"{subscriptions.EVENTS_PER_S} events/s; readers that connect and leave for a minute",
        lambda directory, _rows: {"subscriptions": _rounded(asdict(subscriptions.measure_subscriptions(directory)))},
    ),
    "sizes": Part(
        "What learners with few and with many events leave in the log and in Redis",
        lambda directory, _rows: {"sizes": _rounded(asdict(sizes.measure_sizes(directory)))},
    ),
    "http": Part("Events over HTTP and through the gateway, and the same events over gRPC", _http),
    "openedx": Part(f"{openedx.MESSAGES:,} messages of Open edX's event bus", _openedx),
    "load": Part("A CSV into the log by `cairn ingest load`, and the same events over gRPC", _load),
}


def bench(
    *,
    json: Annotated[Path | None, typer.Option(help="Write the figures to this file.")] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            help=f"Measure only this part, {' or '.join(PARTS)}; repeat for several. The file keeps the others."
        ),
    ] = None,
    rows: Annotated[int, typer.Option(min=50_000, help="Rows of the file of the part load.")] = loading.ROWS,
) -> None:
    """Measure throughput, latency, memory and sizes; each part takes at most a minute, but `load` about ten.

    Exit code 1: HTTP or the load was too slow, or the load too large, as the last lines say.
    """
    console = Console()
    for name in only or ():
        if name not in PARTS:
            raise typer.BadParameter(f"{name!r} is not one of {', '.join(PARTS)}", param_hint="--only")
    figures = orjson.loads(json.read_bytes()) if only and json is not None and json.exists() else {}
    console.print("[dim]Folding without any I/O ...[/]")
    meter = folding.FoldMeter()
    meter.run()
    with tempfile.TemporaryDirectory(prefix="cairn-bench-") as directory:
        for name, part in PARTS.items():
            if only and name not in only:
                continue
            console.print(f"[dim]{part.title} ...[/]")
            found = part.figures(Path(directory, name), rows)
            # Several parts measure memory.
            found["rss_mb"] = figures.get("rss_mb", {}) | found.get("rss_mb", {})
            figures |= found
            meter.run()
    figures |= _machine(meter.costs())
    console.print(_table(figures))
    if json is not None:
        json.write_bytes(orjson.dumps(figures, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
        console.print(f"Figures written to {json}")
    judged = {"http": http.HttpFigures, "load": loading.LoadFigures}
    verdicts = [judge(**figures[name]) for name, judge in judged.items() if not only or name in only]
    for verdict in verdicts:
        console.print(verdict.verdict(), soft_wrap=True)
    if not all(verdict.reached for verdict in verdicts):
        raise typer.Exit(1)


def _machine(costs: folding.FoldCosts) -> dict[str, Any]:
    return {
        "fold_update_us": round(costs.update_us, 2),
        "fold_bulk_us": round(costs.bulk_us, 3),
        "machine": {
            "python": platform.python_version(),
            "cores": psutil.cpu_count(),
            "python_step_ns": {"best": round(costs.step_ns, 1), "median": round(costs.step_median_ns, 1)},
            "events": throughput.EVENTS,
            "learners": throughput.LEARNERS,
        },
    }


def _rounded(figures: dict[str, Any]) -> dict[str, Any]:
    return {name: round(value, 1) if isinstance(value, float) else value for name, value in figures.items()}


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
