"""Formats the status of the system, for people and as JSON."""

from __future__ import annotations

import time
from dataclasses import asdict
from datetime import UTC, datetime

import orjson
from rich.console import Console
from rich.table import Table
from rich.text import Text

from services.recommender.application.operations.dead_letter_counts import LetterGroup
from services.recommender.application.operations.status import EpochReport, Health, SystemStatus
from services.recommender.wire.restamps import restamp_as_json, restamp_as_text

_HEALTH_STYLES = {Health.SERVING: "green", Health.NOT_SERVING: "yellow", Health.AWAY: "red", Health.UNKNOWN: "yellow"}
# The units of an age, the largest first, in seconds.
_AGE_UNITS = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))


def status_as_json(status: SystemStatus) -> bytes:
    """The status as JSON; lag and dead letters are null where the log cannot be read."""
    groups = None if status.dead_letters is None else status.dead_letters.groups(time.time())
    document = {
        "processes": [asdict(process) for process in status.processes],
        "log_identity": status.log_identity,
        "state_readable": status.state_readable,
        "current_epoch": status.current.meta.epoch if status.current else None,
        "bundle": status.bundle,
        "epochs": [
            {
                "epoch": report.meta.epoch,
                "status": report.meta.status.value,
                "current": report.current,
                "parameters_id": report.meta.parameters_id,
                "parameters_bundle": report.meta.parameters_bundle,
                "restamp": restamp_as_json(report.meta.restamp),
                "lag": report.lag,
                "applied": report.applied,
                "duplicates": report.duplicates,
                "conflicts": report.conflicts,
                "dead_lettered": report.dead_lettered,
                "erased": report.erased,
                "lost": report.lost,
                "quarantined": report.quarantined,
                "partitions": [asdict(partition) | {"lag": partition.lag} for partition in report.partitions],
            }
            for report in status.epochs
        ],
        "dead_letters": None if groups is None else [_group_as_json(group) for group in groups],
        "problems": status.problems,
    }
    return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def print_status(console: Console, status: SystemStatus, *, kafka: str, redis: str) -> None:
    """Print the status for people.

    Args:
        console: where to print it.
        status: the status.
        kafka: where the log was read from.
        redis: where derived state was read from, without a password.
    """
    console.print(_process_table(status, {"kafka": kafka, "redis": redis}))
    for report in status.epochs:
        console.print()
        console.print(_epoch_line(report), soft_wrap=True)
        console.print(_partition_table(report))
    if status.dead_letters is not None and (groups := status.dead_letters.groups(now_s := time.time())):
        console.print()
        title = Text("dead letters", style="bold").append(", not replayed; see: cairn dlt list", style="not bold")
        console.print(title, soft_wrap=True)
        console.print(_dead_letter_table(groups, now_s))
    console.print()
    console.print(f"newest bundle  {status.bundle or 'none; fit one with: cairn train'}", soft_wrap=True)
    for problem in status.problems:
        console.print(Text(f"problem: {problem}", style="bold red"), soft_wrap=True)


def _process_table(status: SystemStatus, places: dict[str, str]) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("what", "where", "health"):
        table.add_column(heading, no_wrap=True)
    # These two have no health service. They answer if something could be read from them.
    answers = {"kafka": bool(status.log_identity), "redis": status.state_readable}
    for name, address in places.items():
        table.add_row(name, address, Text("answers", "green") if answers[name] else Text("cannot be read", "red"))
    for process in status.processes:
        table.add_row(process.name, process.address, Text(process.health.value, style=_HEALTH_STYLES[process.health]))
    return table


def _epoch_line(report: EpochReport) -> Text:
    line = Text(f"epoch {report.meta.epoch}", style="bold")
    line.append(", current" if report.current else "", style="green")
    parameters = report.meta.parameters_bundle or "the priors"
    line.append(f", {report.meta.status.value}, parameters of {parameters}", style="not bold")
    if report.meta.restamp is not None:
        line.append(f", {restamp_as_text(report.meta.restamp)}", style="not bold")
    return line


def _partition_table(report: EpochReport) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    figures = {
        "applied": "applied",
        "duplicates": "duplicates",
        "conflicts": "conflicts",
        "dead_lettered": "dead\nletters",
        "erased": "erased",
        "lost": "lost",
    }
    if report.quarantined:
        figures["quarantined"] = "in qua-\nrantine"
    for heading in ("partition", "position", "end", "lag", *figures.values()):
        # A figure that does not fit continues on the next line; cut off, it would be another one.
        table.add_column(heading, justify="right", overflow="fold", vertical="bottom")
    for partition in report.partitions:
        counts = (f"{getattr(partition, figure):,}" for figure in figures)
        place = (str(partition.partition), f"{partition.position:,}", _known(partition.end), _known(partition.lag))
        table.add_row(*place, *counts)
    table.add_section()
    totals = (f"{getattr(report, figure):,}" for figure in figures)
    table.add_row("all", "", "", _known(report.lag), *totals, style="bold")
    return table


def _dead_letter_table(groups: list[LetterGroup], now_s: float) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("reason", "tenant"):
        table.add_column(heading, no_wrap=True)
    for heading in ("letters", "oldest", "newest"):
        table.add_column(heading, justify="right", no_wrap=True)
    for group in groups:
        ages = (_age(now_s - written_s) for written_s in (group.oldest_at_s, group.newest_at_s))
        table.add_row(Text(group.reason or "-"), Text(group.tenant or "-"), f"{group.letters:,}", *ages)
    return table


def _group_as_json(group: LetterGroup) -> dict[str, object]:
    return {
        "reason": group.reason,
        "tenant": group.tenant,
        "letters": group.letters,
        "by_age": group.by_age,
        "oldest_at": datetime.fromtimestamp(group.oldest_at_s, UTC).isoformat(timespec="milliseconds"),
        "newest_at": datetime.fromtimestamp(group.newest_at_s, UTC).isoformat(timespec="milliseconds"),
    }


def _age(age_s: float) -> str:
    name, unit_s = next((unit for unit in _AGE_UNITS if age_s >= unit[1]), _AGE_UNITS[-1])
    return f"{max(0, age_s) // unit_s:.0f} {name}"


def _known(number: int | None) -> str:
    return "?" if number is None else f"{number:,}"
