"""What `cairn ingest load` does with each file: read, publish or only check, show, and say how it went."""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

import orjson
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from services.ingest.adapters.grpc_publisher import grpc_publisher
from services.ingest.adapters.load_progress_file import LoadProgressFile, ProgressUnusableError, fingerprint_of
from services.ingest.application.check import CheckingPublisher
from services.ingest.application.load import LoadProgress, Reject, load
from services.ingest.application.ports import FieldReason, Publisher, PublisherUnavailableError, Row, UnreadableRow
from services.ingest.domain.submission import BodySummary, Submission
from services.ingest.formats import Format, format_of, read_events
from services.ingest.formats.lines import FileUnusableError
from services.ingest.formats.mapping import FileMapping

BAD_INPUT = 2
SERVICE_AWAY = 3

_PLAIN_LINE_EVERY_S = 2.0
_PROGRESS_EVERY_S = 1.0
_PROBLEMS_SHOWN = 10
_PREVIEW_ROWS = 10
_PREVIEW_READ = 1_000


@dataclass(frozen=True, slots=True)
class Service:
    """The ingest service to load through."""

    target: str
    api_key: str
    tls: bool
    patience_s: float
    streams: int


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a file was not loaded, and the exit code that says so."""

    message: str
    code: int


@dataclass(frozen=True, slots=True)
class FileOptions:
    """How files are read.

    Attributes:
        file_format: what they are; None: what their names say.
        mapping: what the columns of tables say.
        source: the source of events that name none.
        limit: read only so many events of each.
        problems: where rows go that were not accepted; None: `FILE.rejected.ndjson` in this folder for each file.
        resume: go on where a load was broken off.
    """

    file_format: Format | None = None
    mapping: FileMapping | None = None
    source: str = ""
    limit: int | None = None
    problems: Path | None = None
    resume: bool = False

    def read(self, file: Path, observe_bytes: Callable[[int], None]) -> Iterator[Row | UnreadableRow]:
        """The events of a file. Raises FileUnusableError."""
        file_format = self.file_format or format_of(file)
        rows = read_events(file, file_format, self.source, observe_bytes, mapping=self.mapping)
        return itertools.islice(rows, self.limit)

    @property
    def settings(self) -> str:
        """Everything that decides what is read from a file."""
        mapping = "" if self.mapping is None else self.mapping.model_dump_json()
        return f"{self.file_format} {mapping} {self.source} {self.limit}"


@dataclass(slots=True)
class _Problems:
    """The first rows that were not accepted, by file and line."""

    shown: list[tuple[str, int, str]] = field(default_factory=list)

    def note(self, file: Path, line: int, problems: Sequence[FieldReason]) -> None:
        if len(self.shown) < _PROBLEMS_SHOWN:
            first = problems[0] if problems else FieldReason("", "was not accepted")
            self.shown.append((file.name, line, f"{first.field} {first.reason}".strip()))


class FileLoad:
    """The load of one file.

    Attributes:
        file: the file.
        progress: its counts.
        passed_over: rows that an earlier load had settled.
    """

    def __init__(self, file: Path, options: FileOptions, *, first: bool) -> None:
        """Args: the file, how it is read, and whether it is the first of several with one file of problems."""
        self.file = file
        self.progress = LoadProgress()
        self.passed_over = 0
        self._options = options
        self._problems = _Problems()
        self._rejected = options.problems or Path(f"{file.name}.rejected.ndjson")
        self._append = options.resume or not (first or options.problems is None)
        self._seconds = 0.0

    def publish(self, service: Service, console: Console) -> Failure | None:
        """Load the file through the service; what went wrong, if anything did."""
        progress_path = Path(f"{self.file.name}.progress.json")
        resuming = "load the file again, with --resume from where it was: nothing counts twice"
        try:
            kept = LoadProgressFile(progress_path, fingerprint_of(self.file, self._options.settings))
            if self._options.resume:
                self.passed_over = self.progress.settled = kept.read()
            self._run(
                lambda: grpc_publisher(service.target, service.api_key, tls=service.tls, patience_s=service.patience_s),
                service.streams,
                console,
                kept,
            )
        except (FileUnusableError, ProgressUnusableError) as error:
            return Failure(str(error), BAD_INPUT)
        except PublisherUnavailableError as error:
            return Failure(f"{error}. Once the service at {service.target} answers, {resuming}", SERVICE_AWAY)
        except KeyboardInterrupt:
            return Failure(f"interrupted after {self.progress.settled:,} rows; {resuming}", 130)
        except OSError as error:
            return Failure(f"{error.filename or self.file} cannot be used: {error.strerror}", BAD_INPUT)
        kept.remove()
        return None

    def check(self, console: Console) -> Failure | None:
        """Check the file and write nothing anywhere; what makes it unusable, if anything does."""
        publisher = CheckingPublisher(lambda: datetime.now(UTC))
        try:
            self._run(lambda: nullcontext(publisher), 1, console, None)
        except FileUnusableError as error:
            return Failure(str(error), BAD_INPUT)
        except OSError as error:
            return Failure(f"{error.filename or self.file} cannot be used: {error.strerror}", BAD_INPUT)
        return None

    def print_problems(self, console: Console) -> None:
        """Show the first rows that were not accepted."""
        for _, line, reason in self._problems.shown:
            console.print(Text(f"  {self.file.name} line {line}: {reason}"), soft_wrap=True)
        if self.progress.rejected > len(self._problems.shown):
            console.print(f"  and {self.progress.rejected - len(self._problems.shown):,} more", soft_wrap=True)

    def summary(self) -> dict[str, object]:
        """The counts, for machines."""
        return {
            "file": str(self.file),
            "format": (self._options.file_format or format_of(self.file)).value,
            "read": self.progress.read,
            "passed_over": self.passed_over,
            "accepted": self.progress.accepted,
            "duplicates": self.progress.duplicates,
            "rejected": self.progress.rejected,
            "seconds": round(self._seconds, 3),
            "events_per_s": round(self._rate(), 1),
        }

    def table(self, *, checked: bool = False) -> Table:
        """The counts, for people."""
        table = Table(box=None, show_header=False, pad_edge=False)
        table.add_column()
        table.add_column(justify="right")
        table.add_column()
        where = f"see {self._rejected}" if self.progress.rejected and not checked else ""
        table.add_row("read", f"{self.progress.read:,}")
        if self.passed_over:
            table.add_row("passed over", f"{self.passed_over:,}", "loaded before")
        table.add_row("acceptable" if checked else "accepted", f"{self.progress.accepted:,}")
        if not checked:
            table.add_row("duplicates", f"{self.progress.duplicates:,}")
        table.add_row("rejected", f"{self.progress.rejected:,}", where)
        table.add_row("seconds", f"{self._seconds:,.1f}")
        table.add_row("events/s", f"{self._rate():,.0f}")
        return table

    def _rate(self) -> float:
        return self.progress.answered / self._seconds if self._seconds else 0.0

    def _run(
        self,
        connect: Callable[[], AbstractAsyncContextManager[Publisher]],
        streams: int,
        console: Console,
        kept: LoadProgressFile | None,
    ) -> None:
        began = time.perf_counter()
        rejects = nullcontext(None) if kept is None else _RejectedRows(self._rejected, self.file, append=self._append)
        try:
            with _display(console, self.file, self.progress) as display, rejects as written:
                rows = self._options.read(self.file, display.observe_bytes)
                rows = itertools.islice(rows, self.passed_over, None)

                def reject(line: int, problems: Sequence[FieldReason], original: object) -> None:
                    self._problems.note(self.file, line, problems)
                    if written is not None:
                        written.write(line, problems, original)

                keep = _kept_now_and_then(kept, self.progress)

                def observe() -> None:
                    display.observe()
                    keep()

                asyncio.run(_publish(rows, connect, streams, reject, self.progress, observe))
        finally:
            self._seconds = time.perf_counter() - began
            if kept is not None and self.progress.settled:
                kept.write(self.progress.settled)


async def _publish(
    rows: Iterator[Row | UnreadableRow],
    connect: Callable[[], AbstractAsyncContextManager[Publisher]],
    streams: int,
    reject: Reject,
    progress: LoadProgress,
    observe: Callable[[], None],
) -> None:
    async with connect() as ingest:
        await load(rows, ingest, reject=reject, progress=progress, observe=observe, streams=streams)


def _kept_now_and_then(kept: LoadProgressFile | None, progress: LoadProgress) -> Callable[[], None]:
    written_at = time.perf_counter()

    def keep() -> None:
        nonlocal written_at
        now = time.perf_counter()
        if kept is not None and now - written_at >= _PROGRESS_EVERY_S:
            written_at = now
            kept.write(progress.settled)

    return keep


def print_preview(file: Path, options: FileOptions, console: Console) -> int:
    """Show the first rows as events, and what is wrong with the first thousand; how many of them are.

    Raises:
        FileUnusableError: when the file or its mapping cannot be used.
    """
    rows = list(itertools.islice(options.read(file, lambda _: None), _PREVIEW_READ))
    submissions = [row.submission for row in rows if isinstance(row, Row)]
    results = iter(asyncio.run(CheckingPublisher(lambda: datetime.now(UTC)).publish(submissions)))
    problems = _Problems()
    wrong = 0
    table = Table(title=file.name, title_justify="left")
    for heading in ("line", "learner", "what", "skills or resource", "outcome", "when", "source"):
        table.add_column(heading, overflow="fold", justify="right" if heading == "line" else "left")
    for row in rows:
        if isinstance(row, UnreadableRow):
            found: Sequence[FieldReason] = row.problems
        else:
            found = next(results).problems
            if table.row_count < _PREVIEW_ROWS:
                table.add_row(str(row.line), *(Text(cell) for cell in _cells(row.submission)))
        if found:
            wrong += 1
            problems.note(file, row.line, found)
    console.print(table)
    console.print(f"{wrong:,} of the first {len(rows):,} rows have problems{':' if wrong else ''}", soft_wrap=True)
    for _, line, reason in problems.shown:
        console.print(Text(f"  line {line}: {reason}"), soft_wrap=True)
    return wrong


def _cells(submission: Submission) -> tuple[str, ...]:
    when = ""
    if submission.occurred_at is not None:
        when = datetime.fromtimestamp(submission.occurred_at.seconds, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    body = BodySummary("nothing") if submission.body is None else submission.body.summary()
    return submission.learner_id, body.what, body.about, body.outcome, when, submission.source


class _RejectedRows:
    """The file of rejected rows, for its owner's eyes only; none is left when there were none."""

    def __init__(self, path: Path, file: Path, *, append: bool) -> None:
        """Args: where they go, the file they come from, and whether those of before stay."""
        self._path = path
        self._of = str(file)
        self._append = append
        self._rows = 0

    def __enter__(self) -> Self:
        if not self._append:
            # Anew, not over an old one: its mode would stay what it was.
            self._path.unlink(missing_ok=True)
        self._began_empty = not self._path.exists()
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        # Each row at once: how far the load is, which a resumed one passes over, is noted while this file is open.
        self._file = os.fdopen(descriptor, "ab", buffering=0)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()
        if self._began_empty and not self._rows:
            self._path.unlink()

    def write(self, line: int, problems: Sequence[FieldReason], original: object) -> None:
        """Add a row."""
        reasons = [{"field": problem.field, "reason": problem.reason} for problem in problems]
        self._file.write(orjson.dumps({"file": self._of, "line": line, "reasons": reasons, "row": original}) + b"\n")
        self._rows += 1


@dataclass(frozen=True, slots=True)
class _Display:
    observe: Callable[[], None]
    observe_bytes: Callable[[int], None]


@contextmanager
def _display(console: Console, file: Path, progress: LoadProgress) -> Iterator[_Display]:
    """A progress bar at a terminal, a line every few seconds elsewhere."""
    began = time.perf_counter()
    size = file.stat().st_size
    if not console.is_terminal:
        lines = _PlainLines(console, file.name, size, progress, began)
        yield _Display(lines.observe, lines.observe_bytes)
        return
    columns = [
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[events]:>9,} events {task.fields[rate]:>7,.0f}/s"),
        TimeRemainingColumn(),
    ]
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(file.name, total=size, events=0, rate=0.0)

        def observe() -> None:
            rate = progress.answered / (time.perf_counter() - began)
            bar.update(task, events=progress.answered, rate=rate)

        yield _Display(observe, lambda read: bar.update(task, completed=read))


class _PlainLines:
    """A line every few seconds: how many events, how fast, how long still."""

    def __init__(self, console: Console, name: str, size: int, progress: LoadProgress, began: float) -> None:
        self._console = console
        self._name = name
        self._size = size
        self._progress = progress
        self._began = self._said_at = began
        self._read = 0

    def observe_bytes(self, read: int) -> None:
        """So many bytes of the file were read."""
        self._read = read

    def observe(self) -> None:
        """The counts have grown."""
        now = time.perf_counter()
        if now - self._said_at < _PLAIN_LINE_EVERY_S:
            return
        self._said_at = now
        elapsed_s = now - self._began
        left = ""
        if 0 < self._read < self._size:
            left = f", about {elapsed_s * (self._size - self._read) / self._read:,.0f} s left"
        rate = self._progress.answered / elapsed_s
        self._console.print(f"{self._name}: {self._progress.answered:,} events, {rate:,.0f}/s{left}", soft_wrap=True)
