"""`python -m deploy.sizing`: what an installation needs, computed from measured figures and named assumptions.

Every figure of a machine comes from `deploy/bench.json`, which `make bench JSON=deploy/bench.json` writes. What schools
do is in `Assumptions`, whose fields are the options of the command. docs/deploy.md holds what the command prints.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

BENCH = Path(__file__).with_name("bench.json")
LEARNERS = (100_000, 1_000_000, 10_000_000)

_DAY_S = 86_400.0
_HOUR_S = 3_600.0
_DAYS_A_YEAR = 365.0
_GB = 1e9


@dataclass(frozen=True, slots=True)
class Assumptions:
    """What a school year asks of an installation.

    Attributes:
        events_per_learner_day: events of one learner a day, averaged over all learners and all days of the year.
        lists_per_learner_day: lists asked for, averaged likewise; lists on subscriptions count too.
        peak_hour_share: the share of a day's events and lists that falls into its busiest hour.
        years: how long the log has been kept.
        replicas: copies of the log in Kafka.
        utilisation: how busy a core may be in the peak hour.
        redis_spare: memory of Redis per byte stored: fragmentation, and pages copied while it saves.
        redis_gb: the most memory that one Redis gets; beyond it, tenants are divided among installations.
        statement_share: the share of events that come as xAPI statements, each in a request of its own.
        statements_kept_days: how long they are kept to answer for them by id, whatever CAIRN_INGEST_STATEMENTS_KEPT is.
    """

    events_per_learner_day: float = 3.0
    lists_per_learner_day: float = 2.0
    peak_hour_share: float = 0.2
    years: float = 3.0
    replicas: int = 3
    utilisation: float = 0.5
    redis_spare: float = 1.5
    redis_gb: float = 256.0
    statement_share: float = 1.0
    statements_kept_days: float = 1.0

    @property
    def events_per_learner(self) -> float:
        """How many events a learner has in the log."""
        return self.events_per_learner_day * _DAYS_A_YEAR * self.years


_DEFAULT = Assumptions()


@dataclass(frozen=True, slots=True)
class Measured:
    """The figures of a machine that the sizes rest on, from `make bench`.

    Attributes:
        publish_cpu_s: ingest's CPU time for an event that comes in a call of its own.
        statement_cpu_s: the same for an xAPI statement in a request of its own.
        gateway_cpu_s: the gateway's CPU time for a request with one event.
        openedx_events_per_s: what a reader of Open edX's event bus takes of a partition, one message at a time.
        fold_cpu_s: a worker's CPU time for an event.
        redis_cpu_s: Redis' CPU time for an event.
        list_cpu_s: a server's CPU time for a list from 10,000 resources with the learned ranker.
        replay_cpu_s: CPU time of `cairn replay` for an event.
        restore_cpu_s: CPU time of `cairn epoch restore` and Redis for a byte of a snapshot's file.
        snapshot_share: bytes of that file per byte of learner state in Redis.
        log_bytes: of an event in the log.
        key_bytes: of a learner's data key in its topic.
        state_bytes: of a learner in an epoch in Redis, by number of events.
        recent_bytes: of what ingest remembers of a learner in Redis, by number of events.
        statement_bytes: of a kept xAPI statement in Redis.
        memory_mb: of a process, by name.
    """

    publish_cpu_s: float
    statement_cpu_s: float
    gateway_cpu_s: float
    openedx_events_per_s: float
    fold_cpu_s: float
    redis_cpu_s: float
    list_cpu_s: float
    replay_cpu_s: float
    restore_cpu_s: float
    snapshot_share: float
    log_bytes: float
    key_bytes: float
    state_bytes: Mapping[int, float]
    recent_bytes: Mapping[int, float]
    statement_bytes: float
    memory_mb: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Size:
    """What a number of learners needs: installations, and in each of them the rest."""

    learners: int
    installations: int
    events_per_s: float
    lists_per_s: float
    ingest_cores: float
    gateway_cores: float
    openedx_readers: int
    workers: int
    server_cores: float
    redis_cores: float
    redis_bytes: float
    redis_bytes_while_replaying: float
    redis_statement_bytes: float
    log_bytes: float
    log_bytes_a_year: float
    rebuild_s: float
    replay_s: float
    restore_s: float


def measured(bench: Mapping[str, Any]) -> Measured:
    """Pick the figures out of the JSON of `make bench`."""
    sizes = bench["sizes"]
    return Measured(
        publish_cpu_s=sizes["publish_cpu_ms_per_call"] / 1e3,
        statement_cpu_s=bench["http"]["xapi_cpu_ms_per_call"] / 1e3,
        gateway_cpu_s=bench["http"]["gateway_cpu_ms_per_call"] / 1e3,
        openedx_events_per_s=bench["openedx"]["messages_per_s"],
        fold_cpu_s=bench["worker_cpu_us_per_event"] / 1e6,
        redis_cpu_s=bench["redis_cpu_us_per_event"] / 1e6,
        list_cpu_s=bench["recommend"]["10000 learned"]["server_cpu_ms_per_call"] / 1e3,
        replay_cpu_s=bench["replay_cpu_us_per_event"] / 1e6,
        restore_cpu_s=sizes["restore_cpu_s_per_gb"] / 1e9,
        snapshot_share=sizes["snapshot_bytes"] / sizes["redis_state_bytes_in_all"],
        log_bytes=sizes["log_bytes_per_event"],
        key_bytes=sizes["key_bytes_per_learner"],
        state_bytes={int(events): held for events, held in sizes["redis_state_bytes"].items()},
        recent_bytes=_never_falling({int(events): held for events, held in sizes["redis_recent_bytes"].items()}),
        statement_bytes=bench["http"]["redis_statement_bytes"],
        memory_mb={
            "ingest": bench["rss_mb"]["ingest"],
            "catalog": bench["rss_mb"]["catalog"],
            "worker": bench["rss_mb"]["worker_after_200k_events"],
            "server": bench["rss_mb"]["server"],
            "gateway": bench["rss_mb"]["gateway"],
            "reader of Open edX": bench["rss_mb"]["openedx"],
        },
    )


def _never_falling(by_events: Mapping[int, float]) -> dict[int, float]:
    """The most that was measured up to each number of events."""
    events = sorted(by_events)
    return dict(zip(events, accumulate((by_events[number] for number in events), max), strict=True))


def size(learners: int, found: Measured, assumed: Assumptions) -> Size:
    """What a number of learners needs."""
    state_bytes = _at(found.state_bytes, assumed.events_per_learner)
    recent_bytes = _at(found.recent_bytes, assumed.events_per_learner)
    kept = assumed.events_per_learner_day * assumed.statement_share * assumed.statements_kept_days
    statement_bytes = kept * found.statement_bytes
    learner_bytes = (2 * state_bytes + recent_bytes + statement_bytes) * assumed.redis_spare
    installations = math.ceil(learners * learner_bytes / (assumed.redis_gb * _GB))
    # In each installation.
    share = learners / installations
    per_s = share * assumed.peak_hour_share / _HOUR_S
    events_per_s, lists_per_s = assumed.events_per_learner_day * per_s, assumed.lists_per_learner_day * per_s
    events, years = share * assumed.events_per_learner, assumed.years
    statements = assumed.statement_share
    publish_cpu_s = statements * found.statement_cpu_s + (1 - statements) * found.publish_cpu_s
    workers = max(2, math.ceil(events_per_s * found.fold_cpu_s / assumed.utilisation))
    return Size(
        learners=learners,
        installations=installations,
        events_per_s=events_per_s,
        lists_per_s=lists_per_s,
        ingest_cores=events_per_s * publish_cpu_s / assumed.utilisation,
        gateway_cores=(events_per_s + lists_per_s) * found.gateway_cpu_s / assumed.utilisation,
        openedx_readers=math.ceil(events_per_s / (found.openedx_events_per_s * assumed.utilisation)),
        workers=workers,
        server_cores=lists_per_s * found.list_cpu_s / assumed.utilisation,
        redis_cores=events_per_s * found.redis_cpu_s,
        redis_bytes=share * (state_bytes + recent_bytes + statement_bytes) * assumed.redis_spare,
        redis_bytes_while_replaying=share * learner_bytes,
        redis_statement_bytes=share * statement_bytes * assumed.redis_spare,
        log_bytes=(events * found.log_bytes + share * found.key_bytes) * assumed.replicas,
        log_bytes_a_year=events / years * found.log_bytes * assumed.replicas,
        rebuild_s=events * max(found.fold_cpu_s / workers, found.redis_cpu_s),
        replay_s=events * max(found.replay_cpu_s, found.redis_cpu_s),
        restore_s=share * state_bytes * found.snapshot_share * found.restore_cpu_s,
    )


def _at(by_events: Mapping[int, float], events: float) -> float:
    """Bytes at a number of events, on straight lines between the measured ones; beyond the last, its value."""
    known = sorted(by_events.items())
    if events <= known[0][0]:
        return known[0][1]
    for (low, below), (high, above) in pairwise(known):
        if events <= high:
            return below + (above - below) * (events - low) / (high - low)
    return known[-1][1]


def document(sizes: Sequence[Size], found: Measured, assumed: Assumptions) -> str:
    """The assumptions and the table, in Markdown."""
    rows: list[tuple[str, list[str]]] = [
        (
            f"installations, so that a Redis has at most {assumed.redis_gb:,.0f} GB; in each of them:",
            [_number(each.installations) for each in sizes],
        ),
        ("events a second in the peak hour", [_number(each.events_per_s) for each in sizes]),
        ("lists a second in the peak hour", [_number(each.lists_per_s) for each in sizes]),
        ("ingest: cores, each event in a call of its own", [_cores(each.ingest_cores) for each in sizes]),
        (
            "gateway, if every event and list comes through it in a request of its own: cores",
            [_cores(each.gateway_cores) for each in sizes],
        ),
        (
            "readers of Open edX's event bus, if every event comes over it; as many partitions",
            [_number(each.openedx_readers) for each in sizes],
        ),
        ("workers, a core each", [_number(each.workers) for each in sizes]),
        ("servers: cores, lists from 10,000 resources", [_cores(each.server_cores) for each in sizes]),
        ("Redis: share of the one core that runs its commands", [f"{each.redis_cores:.2%}" for each in sizes]),
        ("Redis: memory", [_bytes(each.redis_bytes) for each in sizes]),
        ("Redis: memory while a second epoch is built", [_bytes(each.redis_bytes_while_replaying) for each in sizes]),
        ("Redis: of that, xAPI statements that are kept", [_bytes(each.redis_statement_bytes) for each in sizes]),
        ("Kafka: disk, all replicas", [_bytes(each.log_bytes) for each in sizes]),
        ("Kafka: growth a year, all replicas", [_bytes(each.log_bytes_a_year) for each in sizes]),
        ("Redis lost: the workers fold the log again in", [_duration(each.rebuild_s) for each in sizes]),
        ("`cairn replay` into a new epoch", [_duration(each.replay_s) for each in sizes]),
        ("`cairn epoch restore` of a snapshot", [_duration(each.restore_s) for each in sizes]),
    ]
    assumptions = (
        f"Assumed: {assumed.events_per_learner_day:g} events and {assumed.lists_per_learner_day:g} lists a learner and "
        f"day over the year, {assumed.peak_hour_share:.0%} of a day's in its busiest hour; a log of {assumed.years:g} "
        f"years, so {_number(assumed.events_per_learner)} events a learner; {assumed.replicas} replicas; cores "
        f"{assumed.utilisation:.0%} busy; {assumed.redis_spare:g} bytes of memory for a byte in Redis; "
        f"{assumed.statement_share:.0%} of events are xAPI statements, "
        f"kept for {assumed.statements_kept_days * 24:g} h."
    )
    return "\n".join(
        [
            assumptions,
            "",
            "| learners | " + " | ".join(f"{each.learners:,}" for each in sizes) + " |",
            "|---|" + "---:|" * len(sizes),
            *(f"| {name} | {' | '.join(cells)} |" for name, cells in rows),
            "",
            _measurements(found, assumed),
        ]
    )


def _measurements(found: Measured, assumed: Assumptions) -> str:
    memory = ", ".join(f"{name} {mb:,.0f} MB" for name, mb in found.memory_mb.items())
    return (
        f"Measured: an event takes {found.publish_cpu_s * 1e3:.1f} ms of ingest's CPU time in a call of its own, "
        f"{found.statement_cpu_s * 1e3:.1f} ms as an xAPI statement, "
        f"{found.gateway_cpu_s * 1e3:.1f} ms of the gateway's, "
        f"{found.fold_cpu_s * 1e6:.0f} us of a worker's and {found.redis_cpu_s * 1e6:.1f} us of Redis', and "
        f"{_number(found.log_bytes)} bytes of the log, encrypted and not compressed; a list takes "
        f"{found.list_cpu_s * 1e3:.1f} ms of a server's; a learner takes "
        f"{_number(_at(found.state_bytes, assumed.events_per_learner))} bytes of Redis in an epoch and "
        f"{_number(_at(found.recent_bytes, assumed.events_per_learner))} bytes for the recognition of repeats, and an "
        f"xAPI statement {_number(found.statement_bytes)} bytes; a reader of Open edX's event bus takes "
        f"{_number(found.openedx_events_per_s)} messages a second. Memory "
        f"of processes: {memory}."
    )


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.2g}"


def _cores(value: float) -> str:
    """Whole cores; two, on two machines, so that one may fail."""
    return f"{max(2, math.ceil(value)):,}"


def _bytes(value: float) -> str:
    for unit, unit_bytes in (("TB", 1_000 * _GB), ("GB", _GB)):
        if value >= unit_bytes:
            return (
                f"{value / unit_bytes:,.0f} {unit}" if value >= 10 * unit_bytes else f"{value / unit_bytes:.1f} {unit}"
            )
    return f"{value / _GB:.1f} GB"


def _duration(seconds: float) -> str:
    for unit, unit_s in (("d", _DAY_S), ("h", _HOUR_S), ("min", 60.0)):
        if seconds >= 2 * unit_s:
            return f"{seconds / unit_s:,.0f} {unit}"
    return f"{seconds:,.0f} s"


def sizing(
    *,
    learners: Annotated[
        list[int] | None, typer.Option(min=1, help="Number of learners; repeat for a column each.")
    ] = None,
    bench: Annotated[Path, typer.Option(help="The figures of a machine: make bench JSON=FILE.")] = BENCH,
    events_per_learner_day: Annotated[
        float, typer.Option(min=0.01, help="Events of a learner a day, over all learners and the year.")
    ] = _DEFAULT.events_per_learner_day,
    lists_per_learner_day: Annotated[
        float, typer.Option(min=0, help="Lists of a learner a day; those on subscriptions count too.")
    ] = _DEFAULT.lists_per_learner_day,
    peak_hour_share: Annotated[
        float, typer.Option(min=1 / 24, max=1, help="Share of a day's events and lists in its busiest hour.")
    ] = _DEFAULT.peak_hour_share,
    years: Annotated[float, typer.Option(min=0.01, help="How long the log is kept.")] = _DEFAULT.years,
    replicas: Annotated[int, typer.Option(min=1, help="Copies of the log in Kafka.")] = _DEFAULT.replicas,
    utilisation: Annotated[
        float, typer.Option(min=0.01, max=1, help="How busy a core may be in the busiest hour.")
    ] = _DEFAULT.utilisation,
    redis_spare: Annotated[
        float, typer.Option(min=1, help="Memory of Redis for each byte that it stores.")
    ] = _DEFAULT.redis_spare,
    redis_gb: Annotated[float, typer.Option(min=1, help="The most memory that one Redis gets.")] = _DEFAULT.redis_gb,
    statement_share: Annotated[
        float, typer.Option(min=0, max=1, help="Share of events that come as xAPI statements.")
    ] = _DEFAULT.statement_share,
    statements_kept_days: Annotated[
        float, typer.Option(min=0, help="How long they are kept: CAIRN_INGEST_STATEMENTS_KEPT_S.")
    ] = _DEFAULT.statements_kept_days,
) -> None:
    """Print what installations need, as docs/deploy.md shows it.

    Exits with 2 when the figures cannot be read.
    """
    assumed = Assumptions(
        events_per_learner_day,
        lists_per_learner_day,
        peak_hour_share,
        years,
        replicas,
        utilisation,
        redis_spare,
        redis_gb,
        statement_share,
        statements_kept_days,
    )
    try:
        found = measured(orjson.loads(bench.read_bytes()))
    except (OSError, ValueError, KeyError) as error:
        typer.echo(
            f"error: --bench {bench} cannot be used ({error!r}); write one with: make bench JSON={bench}", err=True
        )
        raise typer.Exit(2) from error
    typer.echo(document([size(each, found, assumed) for each in learners or LEARNERS], found, assumed))


if __name__ == "__main__":
    typer.run(sizing)
