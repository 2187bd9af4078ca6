"""What commands share that read all records of a tenant: options, and how they show progress."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from services.common.auth.identity import TENANT_PATTERN
from services.common.command_line import BAD_INPUT, fail

_PLAIN_EVERY_S = 2.0

Tenant = Annotated[str, typer.Option(envvar="CAIRN_TENANT", help="The district or platform whose data it is.")]
EnvironmentFile = Annotated[
    Path, typer.Option("--env-file", help="File with settings that the environment does not set; `make up` writes it.")
]

_Report = Callable[[int, int | None], None]


def check_tenant(tenant: str) -> None:
    """End the command with a message when it is not a tenant's name."""
    if not TENANT_PATTERN.fullmatch(tenant):
        fail(f"--tenant {tenant!r} is not a tenant: use 1 to 63 of a-z, 0-9 and -", BAD_INPUT)


@contextmanager
def shown_progress(what: str) -> Iterator[_Report]:
    """A progress bar on a terminal, otherwise a line every few seconds; on standard error."""
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield _plain(what)
        return
    columns = [
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:>9,}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    ]
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _plain(what: str) -> _Report:
    began = said_at = time.perf_counter()

    def report(done: int, total: int | None) -> None:
        nonlocal said_at
        now = time.perf_counter()
        if now - said_at >= _PLAIN_EVERY_S:
            said_at = now
            left = ""
            if total and done:
                left = f" of {total:,}, about {(now - began) * (total - done) / done:,.0f} s left"
            typer.echo(f"{done:,} {what}{left}", err=True)

    return report
