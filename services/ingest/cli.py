"""The commands `cairn ingest ...`."""

from __future__ import annotations

import asyncio
import ipaddress
import itertools
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Annotated, NoReturn, Self

import orjson
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from services.ingest.adapters.grpc_publisher import grpc_publisher
from services.ingest.application.load import LoadProgress, Reject, load
from services.ingest.application.ports import FieldReason, PublisherUnavailableError, Row, UnreadableRow
from services.ingest.formats import Format, read_events
from services.ingest.formats.lines import FileUnusableError

_SOME_REJECTED = 1
_BAD_INPUT = 2
_SERVICE_AWAY = 3
_PLAIN_LINE_EVERY_S = 2.0

app = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown", help="Load events from files.")


@app.callback()
def _ingest() -> None:
    """Load events from files."""


@app.command("load", epilog="Example: cairn ingest load events.ndjson.gz --format ndjson --source gradebook")
def load_file(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file of events; may be gzip-compressed.")],
    *,
    file_format: Annotated[
        Format,
        typer.Option(
            "--format",
            help="ndjson: one JSON object a line. assistments: the raw 30-column export or the merged form.",
        ),
    ],
    target: Annotated[
        str, typer.Option(envvar="CAIRN_TARGET_INGEST", help="host:port of the ingest service.")
    ] = "127.0.0.1:50051",
    api_key_file: Annotated[
        Path | None, typer.Option(help="File with the tenant's API key; without it, the variable CAIRN_API_KEY.")
    ] = None,
    source: Annotated[
        str, typer.Option(help="The source of events that name none; assistments has its own, assistments2009.")
    ] = "",
    rejected: Annotated[
        Path | None,
        typer.Option(help="Where rows that were not accepted go; by default FILE.rejected.ndjson in this folder."),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Read only this many events.")] = None,
    streams: Annotated[int, typer.Option(min=1, max=64, help="Requests in flight at once.")] = 4,
    patience_s: Annotated[
        float, typer.Option(min=0, help="Seconds to go on trying while the service or Kafka is away.")
    ] = 60.0,
    summary_file: Annotated[Path | None, typer.Option("--json", help="Also write the summary to this file.")] = None,
    tls: Annotated[bool, typer.Option("--tls", help="Speak TLS to the service.")] = False,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Send the API key to another machine without TLS.")
    ] = False,
) -> None:
    """Load a file of events through the ingest service.

    Each learner's events keep the file's order. Loading a file again changes nothing: an event has its own id, or one
    derived from its source, learner, item, activity, time and sequence.

    Exit codes: 0, all events were accepted. 1, some rows were rejected: they are in the rejected file, with line and
    reasons. 2, the file, its header or an option is unusable. 3, the service stayed away or refused.
    """
    if not (tls or insecure or _is_loopback(target)):
        _fail(f"--target {target} is another machine and there is no TLS: add --tls, or --insecure to accept it")
    loading = _Loading(file, file_format, source, limit, rejected or Path(f"{file.name}.rejected.ndjson"))
    service = _Service(target, _api_key(api_key_file), tls=tls, patience_s=patience_s, streams=streams)
    failure = loading.run(service, Console(highlight=False))
    if summary_file is not None:
        try:
            summary_file.write_bytes(orjson.dumps(loading.summary(), option=orjson.OPT_INDENT_2))
        except OSError as error:
            _fail(f"--json {summary_file} cannot be written: {error.strerror}")
    if failure is not None:
        _fail(failure.message, failure.code)
    if loading.progress.rejected:
        raise typer.Exit(_SOME_REJECTED)


@dataclass(frozen=True, slots=True)
class _Service:
    """The ingest service to load through."""

    target: str
    api_key: str
    tls: bool
    patience_s: float
    streams: int


@dataclass(frozen=True, slots=True)
class _Failure:
    message: str
    code: int


class _Loading:
    """One run of `load`: reads, publishes, shows."""

    def __init__(self, file: Path, file_format: Format, source: str, limit: int | None, rejected: Path) -> None:
        self.progress = LoadProgress()
        self._file = file
        self._format = file_format
        self._source = source
        self._limit = limit
        self._rejected = rejected
        self._seconds = 0.0

    def run(self, service: _Service, console: Console) -> _Failure | None:
        """Load the file and print how it went; what went wrong, if anything did."""
        began = time.perf_counter()
        try:
            with _display(console, self._file, self.progress) as display, _RejectedRows(self._rejected) as rejects:
                rows = read_events(self._file, self._format, self._source, display.observe_bytes)
                taken = itertools.islice(rows, self._limit)
                asyncio.run(_publish(taken, service, rejects.write, self.progress, display.observe))
        except FileUnusableError as error:
            return _Failure(str(error), _BAD_INPUT)
        except PublisherUnavailableError as error:
            remedy = f"Once the service at {service.target} answers, load the file again: nothing counts twice"
            return _Failure(f"{error}. {remedy}", _SERVICE_AWAY)
        except OSError as error:
            return _Failure(f"{error.filename or self._file} cannot be used: {error.strerror}", _BAD_INPUT)
        finally:
            self._seconds = time.perf_counter() - began
            if self.progress.read:
                console.print(self._table())
        return None

    def summary(self) -> dict[str, object]:
        """The counts, for machines."""
        return {
            "file": str(self._file),
            "format": self._format.value,
            "read": self.progress.read,
            "accepted": self.progress.accepted,
            "duplicates": self.progress.duplicates,
            "rejected": self.progress.rejected,
            "seconds": round(self._seconds, 3),
            "events_per_s": round(self._rate(), 1),
        }

    def _rate(self) -> float:
        return self.progress.answered / self._seconds if self._seconds else 0.0

    def _table(self) -> Table:
        table = Table(box=None, show_header=False, pad_edge=False)
        table.add_column()
        table.add_column(justify="right")
        table.add_column()
        where = f"see {self._rejected}" if self.progress.rejected else ""
        table.add_row("read", f"{self.progress.read:,}")
        table.add_row("accepted", f"{self.progress.accepted:,}")
        table.add_row("duplicates", f"{self.progress.duplicates:,}")
        table.add_row("rejected", f"{self.progress.rejected:,}", where)
        table.add_row("seconds", f"{self._seconds:,.1f}")
        table.add_row("events/s", f"{self._rate():,.0f}")
        return table


async def _publish(
    rows: Iterator[Row | UnreadableRow],
    service: _Service,
    reject: Reject,
    progress: LoadProgress,
    observe: Callable[[], None],
) -> None:
    publisher = grpc_publisher(service.target, service.api_key, tls=service.tls, patience_s=service.patience_s)
    async with publisher as ingest:
        await load(rows, ingest, reject=reject, progress=progress, observe=observe, streams=service.streams)


class _RejectedRows:
    """The file of rejected rows, for its owner's eyes only; none is left when there were none."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rows = 0

    def __enter__(self) -> Self:
        # Anew, not over an old one: its mode would stay what it was.
        self._path.unlink(missing_ok=True)
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        self._file = os.fdopen(descriptor, "wb")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()
        if not self._rows:
            self._path.unlink()

    def write(self, line: int, problems: Sequence[FieldReason], original: object) -> None:
        """Add a row."""
        reasons = [{"field": problem.field, "reason": problem.reason} for problem in problems]
        self._file.write(orjson.dumps({"line": line, "reasons": reasons, "row": original}) + b"\n")
        self._rows += 1


@dataclass(frozen=True, slots=True)
class _Display:
    observe: Callable[[], None]
    observe_bytes: Callable[[int], None]


@contextmanager
def _display(console: Console, file: Path, progress: LoadProgress) -> Iterator[_Display]:
    """A progress bar at a terminal, a line every few seconds elsewhere."""
    began = time.perf_counter()
    if not console.is_terminal:
        yield _Display(_plain_lines(console, file, progress, began), lambda _: None)
        return
    columns = [
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[events]:>9,} events {task.fields[rate]:>7,.0f}/s"),
        TimeElapsedColumn(),
    ]
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(file.name, total=file.stat().st_size, events=0, rate=0.0)

        def observe() -> None:
            rate = progress.answered / (time.perf_counter() - began)
            bar.update(task, events=progress.answered, rate=rate)

        yield _Display(observe, lambda read: bar.update(task, completed=read))


def _plain_lines(console: Console, file: Path, progress: LoadProgress, began: float) -> Callable[[], None]:
    said_at = began

    def observe() -> None:
        nonlocal said_at
        now = time.perf_counter()
        if now - said_at >= _PLAIN_LINE_EVERY_S:
            said_at = now
            rate = progress.answered / (now - began)
            console.print(f"{file.name}: {progress.answered:,} events, {rate:,.0f}/s", soft_wrap=True)

    return observe


def _api_key(file: Path | None) -> str:
    if file is None:
        api_key = os.environ.get("CAIRN_API_KEY", "")
        if not api_key:
            _fail("there is no API key: set CAIRN_API_KEY, or name its file with --api-key-file")
        return api_key
    try:
        api_key = file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        _fail(f"--api-key-file {file} cannot be read: {error}")
    if not api_key:
        _fail(f"--api-key-file {file} is empty: put the API key in it")
    return api_key


def _is_loopback(target: str) -> bool:
    host = target.rpartition(":")[0].strip("[]")
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _fail(message: str, code: int = _BAD_INPUT) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(code)
