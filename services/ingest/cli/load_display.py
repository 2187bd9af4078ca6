"""Progress of a load: a progress bar on a terminal, a line every few seconds elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from services.ingest.application.load import LoadProgress

_PLAIN_LINE_EVERY_S = 2.0


@dataclass(frozen=True, slots=True)
class LoadDisplay:
    """What a load calls.

    Attributes:
        observe: the counts have grown.
        observe_bytes: takes the number of bytes read from the file.
    """

    observe: Callable[[], None]
    observe_bytes: Callable[[int], None]


@contextmanager
def load_display(console: Console, file: Path, progress: LoadProgress) -> Iterator[LoadDisplay]:
    """Show the progress of one file's load while the context is open."""
    began = time.perf_counter()
    size = file.stat().st_size
    if not console.is_terminal:
        lines = _PlainLines(console, file.name, size, progress, began)
        yield LoadDisplay(lines.observe, lines.observe_bytes)
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

        yield LoadDisplay(observe, lambda read: bar.update(task, completed=read))


class _PlainLines:
    """Every few seconds a line: number of events, rate, and the time left."""

    def __init__(self, console: Console, name: str, size: int, progress: LoadProgress, began: float) -> None:
        self._console = console
        self._name = name
        self._size = size
        self._progress = progress
        self._began = self._printed_at = began
        self._read = 0

    def observe_bytes(self, read: int) -> None:
        """Note how many bytes of the file were read."""
        self._read = read

    def observe(self) -> None:
        """Print a line if the last one is old enough."""
        now = time.perf_counter()
        if now - self._printed_at < _PLAIN_LINE_EVERY_S:
            return
        self._printed_at = now
        elapsed_s = now - self._began
        left = ""
        if 0 < self._read < self._size:
            left = f", about {elapsed_s * (self._size - self._read) / self._read:,.0f} s left"
        rate = self._progress.answered / elapsed_s
        self._console.print(f"{self._name}: {self._progress.answered:,} events, {rate:,.0f}/s{left}", soft_wrap=True)
