"""What `cairn replay` shows while it runs."""

from __future__ import annotations

import time
from typing import Self

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as ProgressBar

from services.recommender.application.ports.epochs import EpochMeta
from services.recommender.wire.restamps import restamp_as_text

_PLAIN_EVERY_S = 5.0


class ReplayDisplay:
    """A progress bar on a terminal, otherwise a line now and then; on standard error."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._bar = ProgressBar(
            TextColumn("replay"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._started_s = self._told_s = time.monotonic()
        self._already: int | None = None
        self.epoch = self.done = self.total = 0
        self._task = self._bar.add_task("replay", total=None, rate="")

    def __enter__(self) -> Self:
        self._bar.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    @property
    def elapsed_s(self) -> float:
        """Seconds since the replay began."""
        return time.monotonic() - self._started_s

    def begin(self, meta: EpochMeta) -> None:
        """Set the epoch, and the amounts done and to do."""
        self.epoch = meta.epoch
        self._started_s = self._told_s = time.monotonic()
        self._bar.update(self._task, total=sum(meta.end_positions.values()))
        if meta.restamp is not None:
            typer.echo(f"replay: {restamp_as_text(meta.restamp)}", err=True)
        if meta.begin_positions:
            missing = meta.begin_positions.items()
            named = ", ".join(f"{records:,} of partition {partition}" for partition, records in sorted(missing))
            typer.echo(f"replay: the log lacks {sum(meta.begin_positions.values()):,} records: {named}", err=True)

    def interrupted(self, asked_for: str) -> str:
        """The message about an interruption; `asked_for` names the epoch as long as its number is not known."""
        return (
            f"the replay into epoch {self.epoch or asked_for} was interrupted at {self.done:,} of {self.total:,}; the "
            "same command takes it up"
        )

    def show(self, done: int, total: int) -> None:
        """Show the progress. The work of an earlier run counts as done, but not for the rate."""
        self.done, self.total = done, total
        if self._already is None:
            self._already = done
            self._bar.reset(self._task, completed=done, total=total, rate="")
            if done and not self._console.is_terminal:
                typer.echo(f"replay: continues at {done:,} of {total:,}", err=True)
        rate = (done - self._already) / max(self.elapsed_s, 1e-9)
        self._bar.update(self._task, completed=done, total=total, rate=f"{rate:,.0f}/s")
        if not self._console.is_terminal and time.monotonic() - self._told_s >= _PLAIN_EVERY_S:
            self._told_s = time.monotonic()
            left_s = (total - done) / max(rate, 1e-9)
            typer.echo(f"replay: {done:,} of {total:,}, {rate:,.0f}/s, {left_s:.0f} s left", err=True)
