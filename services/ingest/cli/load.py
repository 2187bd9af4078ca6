"""What `cairn ingest load` does with each file: read it, publish or only check its events, and sum up."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from services.common.command_line import BAD_INPUT
from services.common.tables.lines import FileUnusableError
from services.ingest.adapters.grpc_publisher import grpc_publisher
from services.ingest.adapters.load_progress_file import LoadProgressFile, ProgressUnusableError, fingerprint_of
from services.ingest.adapters.rejected_rows_file import RejectedRowsFile
from services.ingest.application.check import CheckingPublisher
from services.ingest.application.file_figures import CatalogTags, FileFigures
from services.ingest.application.file_ordinals import with_ordinals
from services.ingest.application.load import LoadProgress, Reject, load
from services.ingest.application.ports import FieldReason, FileRow, Publisher, PublisherUnavailableError
from services.ingest.cli.file_options import FileOptions
from services.ingest.cli.load_display import load_display
from services.ingest.cli.load_figures import figures_for_machines, figures_for_people
from services.ingest.cli.load_preview import FirstProblems

SERVICE_AWAY = 3
INTERRUPTED = 130

_PROGRESS_EVERY_S = 1.0


@dataclass(frozen=True, slots=True)
class Service:
    """The ingest service to load through.

    Attributes:
        target: its `host:port`.
        api_key: the tenant's.
        tls: whether to use TLS.
        patience_s: how long to retry while it is unavailable.
        streams: requests in flight at once.
    """

    target: str
    api_key: str
    tls: bool
    patience_s: float
    streams: int


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a file was not loaded, and the command's exit code."""

    message: str
    code: int


def name_here(file: Path) -> str:
    """The name that a file goes by in this folder, another one for every file; elsewhere with a mark of the folder."""
    folder = os.path.abspath(file.parent)  # noqa: PTH100 - `resolve` would follow links, of which each is another file.
    if folder == os.getcwd():  # noqa: PTH109 - as above.
        return file.name
    return f"{file.name}.{hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]}"


class FileLoad:
    """The load of one file.

    Attributes:
        file: the file.
        progress: its counts.
        figures: what it holds.
        passed_over: what an earlier load settled, which this one skips.
        read: the files that it reads: the file, and the companions of its mapping.
        written: the files that it writes: rejected rows, and its progress.
    """

    def __init__(self, file: Path, options: FileOptions, catalog: CatalogTags, *, first: bool) -> None:
        """Prepare.

        Args:
            file: the file.
            options: how to read it.
            catalog: to which its skills, items and activities are compared.
            first: whether it is the first of several that share a file of problems.
        """
        self.file = file
        self.progress = LoadProgress()
        self.figures = FileFigures(catalog)
        self.passed_over = 0
        self._options = options
        self._problems = FirstProblems()
        self._rejected = options.problems or Path(f"{name_here(file)}.rejected.ndjson")
        self._progress_path = Path(f"{name_here(file)}.progress.json")
        self.read = (file, *options.companions_of(file))
        self.written = (self._rejected, self._progress_path)
        self._append = options.resume or not (first or options.problems is None)
        self._done = False
        self._seconds = 0.0

    @property
    def has_counts(self) -> bool:
        """Whether it came to an end, also of a file without rows, or read some of them."""
        return self._done or bool(self.progress.read or self.passed_over)

    def publish(self, service: Service, console: Console) -> Failure | None:
        """Load the file through the service. Returns what went wrong, if anything did."""
        remedy = "load the file again, with --resume to continue where it stopped: nothing is counted twice"
        try:
            kept = LoadProgressFile(
                self._progress_path, fingerprint_of(self.file, self._options.settings_of(self.file))
            )
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
            return Failure(f"{error}. Once the service at {service.target} answers, {remedy}", SERVICE_AWAY)
        except KeyboardInterrupt:
            return Failure(f"interrupted after {self.progress.settled:,} rows; {remedy}", INTERRUPTED)
        except OSError as error:
            return Failure(f"{error.filename or self.file} cannot be used: {error.strerror}", BAD_INPUT)
        kept.remove()
        return None

    def check(self, console: Console) -> Failure | None:
        """Check the file and write nothing anywhere. Returns what makes it unusable, if anything does."""
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
        self._problems.print(console, self.file.name)
        if self.progress.rejected > len(self._problems.shown):
            console.print(f"  and {self.progress.rejected - len(self._problems.shown):,} more", soft_wrap=True)

    def summary(self) -> dict[str, object]:
        """The counts, for machines."""
        return {
            "file": os.fsencode(self.file).decode(errors="replace"),
            "format": self._options.format_of(self.file).value,
            "read": self.progress.read,
            "passed_over": self.passed_over,
            "new": self.progress.new,
            "unchanged": self.progress.unchanged,
            "revised": self.progress.revised,
            "conflicts": self.progress.conflicts,
            "rejected": self.progress.rejected,
            "left_out": dict(self.progress.left_out),
            "remarks": dict(self.progress.remarks),
            "not_compared": self.progress.not_compared,
            "without_skills": self.progress.without_skills,
            "older": self.progress.older,
            "older_learners": len(self.progress.older_learners),
            "found": figures_for_machines(self.figures),
            "seconds": round(self._seconds, 3),
            "events_per_s": round(self._rate(), 1),
        }

    def table(self, *, checked: bool = False) -> Table:
        """The counts, for people."""
        table = Table(box=None, show_header=False, pad_edge=False)
        table.add_column()
        table.add_column(justify="right")
        table.add_column()
        where = "" if checked else f"see {self._rejected}"
        table.add_row("read", f"{self.progress.read:,}")
        if self.passed_over:
            table.add_row("skipped", f"{self.passed_over:,}", "loaded before")
        table.add_row("acceptable" if checked else "new", f"{self.progress.new:,}")
        if not checked:
            table.add_row("unchanged", f"{self.progress.unchanged:,}")
            table.add_row("revised", f"{self.progress.revised:,}")
            table.add_row("conflicts", f"{self.progress.conflicts:,}", where if self.progress.conflicts else "")
        table.add_row("rejected", f"{self.progress.rejected:,}", where if self.progress.rejected else "")
        for reason, count in self.progress.left_out.items():
            table.add_row("left out", f"{count:,}", Text(reason))
        for row in figures_for_people(self.figures, self._options.time_zone):
            table.add_row(*map(Text, row))
        table.add_row("seconds", f"{self._seconds:,.1f}")
        table.add_row("events/s", f"{self._rate():,.0f}")
        return table

    def print_warnings(self, console: Console) -> None:
        """Say what the counts do not show."""
        older, learners = self.progress.older, len(self.progress.older_learners)
        if older:
            console.print(
                f"warning: {older:,} rows of {learners:,} learners are older than what was known of these learners; "
                "the order of loading matters, and `cairn replay --order occurred` folds by time",
                soft_wrap=True,
            )
        if without := self.progress.without_skills:
            named = ", ".join(sorted(self.progress.untagged))
            said = (
                f"warning: {without:,} rows are evidence of no skill, so they teach nothing yet: {named}; "
                "`cairn catalog unresolved` lists all such items: tag them, then `cairn replay --restamp`"
            )
            console.print(Text(said), soft_wrap=True)
        for remark, count in self.progress.remarks.items():
            console.print(Text(f"warning: {count:,} rows {remark}"), soft_wrap=True)
        if alone := self.progress.not_compared:
            console.print(
                f"warning: {alone:,} rows were not compared with earlier loads, because ingest has no Redis or could "
                "not reach it: rows that were loaded before are counted as new",
                soft_wrap=True,
            )

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
        rejects = (
            nullcontext(None) if kept is None else RejectedRowsFile(self._rejected, self.file, append=self._append)
        )
        try:
            with load_display(console, self.file, self.progress) as display, rejects as written:
                read = self._options.read(self.file, display.observe_bytes)
                rows = with_ordinals(self.figures.watch(read))
                rows = itertools.islice(rows, self.passed_over, None)

                def reject(line: int, problems: Sequence[FieldReason], original: object) -> None:
                    self._problems.note(line, problems)
                    if written is not None:
                        written.write(line, problems, original)

                keep = _keep_regularly(kept, self.progress)

                def observe() -> None:
                    display.observe()
                    keep()

                asyncio.run(_publish(rows, connect, streams, reject, self.progress, observe))
            self._done = True
        finally:
            self._seconds = time.perf_counter() - began
            if kept is not None and self.progress.settled:
                kept.write(self.progress.settled)


async def _publish(
    rows: Iterator[FileRow],
    connect: Callable[[], AbstractAsyncContextManager[Publisher]],
    streams: int,
    reject: Reject,
    progress: LoadProgress,
    observe: Callable[[], None],
) -> None:
    async with connect() as ingest:
        await load(rows, ingest, reject=reject, progress=progress, observe=observe, streams=streams)


def _keep_regularly(kept: LoadProgressFile | None, progress: LoadProgress) -> Callable[[], None]:
    """A function that writes the progress if the last write is old enough."""
    written_at = time.perf_counter()

    def keep() -> None:
        nonlocal written_at
        now = time.perf_counter()
        if kept is not None and now - written_at >= _PROGRESS_EVERY_S:
            written_at = now
            kept.write(progress.settled)

    return keep
