"""The commands about epochs; `cairn replay` is in `replay.py`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, TypeVar

import orjson
import typer
from rich.console import Console
from rich.table import Table

from services.common.command_line import BAD_INPUT, FAILED, fail
from services.common.kafka.envelope import positions_as_text
from services.recommender.adapters.files.epoch_file import EpochFileWriter
from services.recommender.application.ports.epochs import EpochMeta, EpochStore, FoldOrder
from services.recommender.application.state.epochs import digest_epoch, drop_epoch, newest_epoch, prune_epochs
from services.recommender.application.state.replays import switch_epoch
from services.recommender.application.state.snapshots import snapshot_epoch
from services.recommender.bootstrap.environment import fold_settings
from services.recommender.bootstrap.epochs import restore_snapshot, stored_epochs
from services.recommender.cli import replay as cli_replay
from services.recommender.cli.epoch_calls import EnvironmentFile, number_or, run
from services.recommender.wire.restamps import restamp_as_json, restamp_as_text

_T = TypeVar("_T")

_Number = Annotated[int, typer.Argument(min=1, metavar="EPOCH", help="The epoch's number.")]

app = typer.Typer(rich_markup_mode="markdown")
_epoch = typer.Typer(no_args_is_help=True, help="List, compare, switch, drop, keep and restore epochs.")
app.add_typer(cli_replay.app)
app.add_typer(_epoch, name="epoch")


@_epoch.command("list", epilog="Example: cairn epoch list")
def list_epochs(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    environment_file: EnvironmentFile = Path(".local/env"),
) -> None:
    """Show every epoch: its status, its parameters and its progress."""

    async def find(store: EpochStore) -> tuple[int | None, list[tuple[EpochMeta, dict[int, int], int]]]:
        rows = []
        for meta in await store.epochs():
            progress = await store.progress(meta.epoch)
            positions = {partition: reached.position for partition, reached in progress.items()}
            rows.append((meta, positions, sum(reached.applied for reached in progress.values())))
        return await store.current_epoch(), rows

    current, rows = _with_store(environment_file, find)
    if as_json:
        typer.echo(
            orjson.dumps(
                [
                    {
                        "epoch": meta.epoch,
                        "current": meta.epoch == current,
                        "status": meta.status.value,
                        "parameters_id": meta.parameters_id,
                        "parameters_bundle": meta.parameters_bundle,
                        "log_identity": meta.log_identity,
                        "end_positions": {str(p): end for p, end in meta.end_positions.items()},
                        "order": meta.order.value,
                        "restamp": restamp_as_json(meta.restamp),
                        "begin_positions": {str(p): begin for p, begin in meta.begin_positions.items()},
                        "positions": {str(p): position for p, position in positions.items()},
                        "applied": applied,
                    }
                    for meta, positions, applied in rows
                ],
                option=orjson.OPT_INDENT_2,
            ).decode()
        )
        return
    table = Table(title="Epochs", title_justify="left")
    for heading in ("epoch", "status", "parameters", "applied", "positions"):
        table.add_column(heading, justify="right" if heading == "applied" else "left", overflow="fold")
    for meta, positions, applied in rows:
        status = f"{meta.status.value}, current" if meta.epoch == current else meta.status.value
        parameters = meta.parameters_bundle or meta.parameters_id
        if meta.order is not FoldOrder.LOG:
            parameters += f", order {meta.order}"
        if meta.restamp is not None:
            parameters += f", {restamp_as_text(meta.restamp)}"
        table.add_row(str(meta.epoch), status, parameters, f"{applied:,}", positions_as_text(positions))
    Console(highlight=False).print(table)


@_epoch.command("digest", epilog="Example: cairn epoch digest 2 --json")
def digest(
    epoch: _Number,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    environment_file: EnvironmentFile = Path(".local/env"),
) -> None:
    """Print a hash of everything an epoch holds, its learners and its applied events.

    Two epochs that were folded from the same records with the same parameters have the same digest. Digest an epoch
    that workers fold into only while no events are sent.
    """
    found = _with_store(environment_file, lambda store: digest_epoch(store, epoch))
    if as_json:
        typer.echo(
            orjson.dumps(
                {"epoch": epoch, "digest": found.digest, "learners": found.learners, "applied": found.applied}
            ).decode()
        )
    else:
        typer.echo(f"{found.digest}  epoch {epoch}, {found.learners:,} learners, {found.applied:,} events applied")


@_epoch.command("switch", epilog="Example: cairn epoch switch 2")
def switch(
    epoch: Annotated[str, typer.Argument(metavar="EPOCH", help="The epoch's number; newest: the last one.")],
    *,
    wait_s: Annotated[
        float, typer.Option("--wait", min=0, help="Seconds to wait until it is served.", show_default=False)
    ] = 0.0,
    accept_loss: Annotated[
        bool,
        typer.Option("--accept-loss", help="Serve it though it accounts for fewer records than the epoch served now."),
    ] = False,
    environment_file: EnvironmentFile = Path(".local/env"),
) -> None:
    """Hand an epoch to the workers; it is served when they have caught up with the log.

    It is refused when it accounts for fewer records of a partition than the epoch that is served now: applied,
    duplicates, conflicts, dead letters, erased and lost records together.
    """
    given = number_or("newest", epoch)

    async def hand_over(store: EpochStore) -> tuple[int, bool]:
        number = given or await newest_epoch(store)
        await switch_epoch(store, number, accept_loss=accept_loss)
        deadline_s = time.monotonic() + wait_s
        served = await store.current_epoch() == number
        while not served and time.monotonic() < deadline_s:
            await asyncio.sleep(0.1)
            served = await store.current_epoch() == number
        return number, served

    number, served = _with_store(environment_file, hand_over)
    if served:
        typer.echo(f"epoch {number} is served")
    elif wait_s:
        fail(f"error: epoch {number} is not served after {wait_s:g} s: is a worker running? See cairn status", FAILED)
    else:
        typer.echo(f"workers are catching up with epoch {number}; it is served when they have. See cairn epoch list")


@_epoch.command("drop", epilog="Example: cairn epoch drop 1")
def drop(epoch: _Number, *, environment_file: EnvironmentFile = Path(".local/env")) -> None:
    """Remove an epoch and everything in it. The current epoch cannot be removed; the log does not change."""
    learners = _with_store(environment_file, lambda store: drop_epoch(store, epoch))
    typer.echo(f"epoch {epoch} was removed, with {learners:,} learners")


@_epoch.command("prune", epilog="Example: cairn epoch prune --keep 1")
def prune(
    *,
    keep: Annotated[int, typer.Option(min=0, help="How many of them stay, to go back to: the last that were served.")],
    environment_file: EnvironmentFile = Path(".local/env"),
) -> None:
    """Remove epochs from before the one that is served. Workers fold into each of them as long as it exists."""
    dropped = _with_store(environment_file, lambda store: prune_epochs(store, keep))
    typer.echo(f"removed: epoch {', '.join(map(str, dropped))}" if dropped else "there was nothing to remove")


@_epoch.command("snapshot", epilog="Example: cairn epoch snapshot 2 epoch-2.cairn")
def snapshot(
    epoch: _Number,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file to write.")],
    *,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing file.")] = False,
    environment_file: EnvironmentFile = Path(".local/env"),
) -> None:
    """Write an epoch to a file with a checksum. Workers can keep running.

    After a restore, workers fold later events from the log. The file holds learners' data: protect it like Redis, and
    delete it in time, because later erasures do not change it.

    Exit codes: 2, there is no such epoch, or the file cannot be written.
    """
    if file.exists() and not overwrite:
        fail(f"error: {file} already exists: name another file, or add --overwrite", BAD_INPUT)
    started_s = time.monotonic()
    with _file_errors(file), EpochFileWriter(file) as sink:
        found = _with_store(environment_file, lambda store: snapshot_epoch(store, epoch, sink))
    typer.echo(
        f"epoch {epoch} is in {file}: {found.learners:,} learners, {found.applied:,} events applied, "
        f"{sink.bytes_written / 1e6:,.1f} MB in {time.monotonic() - started_s:.1f} s. "
        f"Restore it with: cairn epoch restore {file}"
    )


@_epoch.command("restore", epilog="Example: cairn epoch restore epoch-2.cairn --epoch 3")
def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file written by `cairn epoch snapshot`.")],
    *,
    epoch: Annotated[
        int | None, typer.Option(min=1, help="Number to restore it as; by default its own.", show_default=False)
    ] = None,
    environment_file: EnvironmentFile = Path(".local/env"),
) -> None:
    """Restore an epoch from a file. It is not served until `cairn epoch switch`.

    Exit codes: 2, the file is damaged, the epoch was folded from another log, or the number is taken.
    """
    started_s = time.monotonic()
    with _file_errors(file):
        number, found = run(
            lambda: restore_snapshot(environment_file, file, epoch),
            when_interrupted=lambda: "the restore was interrupted: drop its epoch (cairn epoch drop), then restore it",
        )
    typer.echo(
        f"epoch {number} is restored: {found.learners:,} learners, {found.applied:,} events applied, digest "
        f"{found.digest[:12]}, in {time.monotonic() - started_s:.1f} s. Serve it with: cairn epoch switch {number}"
    )


def _with_store(environment_file: Path, use: Callable[[EpochStore], Awaitable[_T]]) -> _T:
    async def with_store() -> _T:
        async with stored_epochs(fold_settings(environment_file).redis_url) as store:
            return await use(store)

    return run(with_store)


@contextmanager
def _file_errors(file: Path) -> Iterator[None]:
    """End the command with an error message when a file cannot be read or written."""
    try:
        yield
    except OSError as error:
        fail(f"error: {file} cannot be read or written: {error.strerror or error}", BAD_INPUT)
