"""The commands about epochs and replays."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import orjson
import typer
from rich.console import Console
from rich.table import Table

from services.common.command_line import BAD_INPUT, FAILED, fail
from services.common.kafka.envelope import positions_as_text
from services.recommender.adapters.files.bundle_store import BundlesUrlInvalidError
from services.recommender.adapters.files.epoch_file import EpochFileWriter
from services.recommender.application.ports.epochs import (
    EpochBusyError,
    EpochExistsError,
    EpochMeta,
    EpochMissingError,
    EpochStore,
    FoldOrder,
)
from services.recommender.application.ports.learners import CommitRefusedError
from services.recommender.application.ports.log import LogTruncatedError
from services.recommender.application.ports.models import BundleUnreadableError
from services.recommender.application.ports.quarantine import LearnerDamagedError
from services.recommender.application.ports.state_store import EvictingStoreError, StateUrlInvalidError
from services.recommender.application.state.epochs import (
    EpochUnusableError,
    digest_epoch,
    drop_epoch,
    newest_epoch,
    prune_epochs,
)
from services.recommender.application.state.replays import switch_epoch
from services.recommender.application.state.snapshots import SnapshotInvalidError, snapshot_epoch
from services.recommender.bootstrap.environment import SettingsError, fold_settings
from services.recommender.bootstrap.epochs import restore_snapshot, stored_epochs
from services.recommender.cli.replay_display import ReplayDisplay

if TYPE_CHECKING:
    # It loads Faust, which takes seconds.
    from services.recommender.entrypoints.replay import ReplayProgress

_INTERRUPTED = 130

_T = TypeVar("_T")

_EnvironmentFile = Annotated[
    Path, typer.Option("--env-file", help="File with settings that the environment does not set; `make up` writes it.")
]
_Number = Annotated[int, typer.Argument(min=1, metavar="EPOCH", help="The epoch's number.")]

_Order = Annotated[
    FoldOrder | None,
    typer.Option(
        help="log: each learner's records in the order of the log. occurred: by time, for a log into which older "
        "records were loaded after newer ones.",
        show_default="that of the current epoch",
    ),
]

_EpochToFill = Annotated[
    str,
    typer.Option(
        help="Number of a new epoch, or of one with an interrupted replay. next: the latter, or else the next number."
    ),
]

app = typer.Typer(rich_markup_mode="markdown")
_epoch = typer.Typer(no_args_is_help=True, help="List, compare, switch, drop, keep and restore epochs.")
app.add_typer(_epoch, name="epoch")


@app.command("replay", epilog="Example: cairn replay --epoch 2 --parameters same")
def replay(
    *,
    epoch: _EpochToFill,
    parameters: Annotated[
        str,
        typer.Option(
            help="A bundle's id, as printed by `cairn train`; newest: the last bundle; or same: those of the current "
            "epoch, or if there is none, of the one that workers began."
        ),
    ],
    accept_lost_keys: Annotated[
        bool,
        typer.Option(
            "--accept-lost-keys",
            help="Go on without records whose keys are neither on cairn.learner-keys nor destroyed by an erasure.",
        ),
    ] = False,
    accept_loss: Annotated[
        bool,
        typer.Option(
            "--accept-loss",
            help="Fold what is left of a log that lost its beginning; says how many records are missing.",
        ),
    ] = False,
    order: _Order = None,
    environment_file: _EnvironmentFile = Path(".local/env"),
) -> None:
    """Fold the whole log, up to its current end, into a new epoch.

    It is not served until `cairn epoch switch`. A replay that was interrupted, for example by Ctrl-C, continues where
    it stopped; with `--order occurred`, it starts again, and needs room for the log in the folder for temporary files.

    Exit codes: 1, keys of records are missing, Kafka or Redis cannot be reached, or another process replays into the
    epoch. 2, the epoch or the parameters cannot be used. 130, it was interrupted.
    """
    # Faust and the compiled kernel take seconds to load.
    from services.recommender.bootstrap import worker as bootstrap_worker  # noqa: PLC0415

    number = _number_or("next", epoch)
    with ReplayDisplay() as display:
        result = _run(
            lambda: bootstrap_worker.replay(
                fold_settings(environment_file),
                number,
                parameters,
                display.begin,
                display.show,
                accept_lost_keys=accept_lost_keys,
                accept_loss=accept_loss,
                order=order,
            ),
            when_interrupted=lambda: (
                f"the replay into epoch {display.epoch or epoch} was interrupted at {display.done:,} of "
                f"{display.total:,}; the same command takes it up"
            ),
        )
    typer.echo(_built(display.epoch, result, display.elapsed_s))


def _built(epoch: int, result: ReplayProgress, elapsed_s: float) -> str:
    return (
        f"epoch {epoch} is built: {result.applied:,} applied, {result.duplicates:,} duplicates, "
        f"{result.conflicts:,} conflicts, {result.dead_lettered:,} dead letters, {result.erased:,} of erased learners, "
        f"{result.lost:,} lost in {elapsed_s:.1f} s ({result.applied / max(elapsed_s, 1e-9):,.0f}/s). "
        f"Serve it with: cairn epoch switch {epoch}"
    )


@_epoch.command("list", epilog="Example: cairn epoch list")
def list_epochs(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    environment_file: _EnvironmentFile = Path(".local/env"),
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
        table.add_row(str(meta.epoch), status, parameters, f"{applied:,}", positions_as_text(positions))
    Console(highlight=False).print(table)


@_epoch.command("digest", epilog="Example: cairn epoch digest 2 --json")
def digest(
    epoch: _Number,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    environment_file: _EnvironmentFile = Path(".local/env"),
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
    environment_file: _EnvironmentFile = Path(".local/env"),
) -> None:
    """Hand an epoch to the workers; it is served when they have caught up with the log.

    It is refused when it accounts for fewer records of a partition than the epoch that is served now: applied,
    duplicates, conflicts, dead letters, erased and lost records together.
    """
    given = _number_or("newest", epoch)

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
def drop(epoch: _Number, *, environment_file: _EnvironmentFile = Path(".local/env")) -> None:
    """Remove an epoch and everything in it. The current epoch cannot be removed; the log does not change."""
    learners = _with_store(environment_file, lambda store: drop_epoch(store, epoch))
    typer.echo(f"epoch {epoch} was removed, with {learners:,} learners")


@_epoch.command("prune", epilog="Example: cairn epoch prune --keep 1")
def prune(
    *,
    keep: Annotated[int, typer.Option(min=0, help="How many of them stay, to go back to: the last that were served.")],
    environment_file: _EnvironmentFile = Path(".local/env"),
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
    environment_file: _EnvironmentFile = Path(".local/env"),
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
    environment_file: _EnvironmentFile = Path(".local/env"),
) -> None:
    """Restore an epoch from a file. It is not served until `cairn epoch switch`.

    Exit codes: 2, the file is damaged, the epoch was folded from another log, or the number is taken.
    """
    started_s = time.monotonic()
    with _file_errors(file):
        number, found = _run(
            lambda: restore_snapshot(environment_file, file, epoch),
            when_interrupted=lambda: "the restore was interrupted: drop its epoch (cairn epoch drop), then restore it",
        )
    typer.echo(
        f"epoch {number} is restored: {found.learners:,} learners, {found.applied:,} events applied, digest "
        f"{found.digest[:12]}, in {time.monotonic() - started_s:.1f} s. Serve it with: cairn epoch switch {number}"
    )


def _number_or(word: str, text: str) -> int | None:
    """An epoch's number, or None for the word."""
    if text == word:
        return None
    if not (text.isdecimal() and int(text)):
        fail(f"error: {text!r} is not an epoch: give a number from 1, or {word}", BAD_INPUT)
    return int(text)


def _with_store(environment_file: Path, use: Callable[[EpochStore], Awaitable[_T]]) -> _T:
    async def run() -> _T:
        async with stored_epochs(fold_settings(environment_file).redis_url) as store:
            return await use(store)

    return _run(run)


@contextmanager
def _file_errors(file: Path) -> Iterator[None]:
    """End the command with an error message when a file cannot be read or written."""
    try:
        yield
    except OSError as error:
        fail(f"error: {file} cannot be read or written: {error.strerror or error}", BAD_INPUT)


def _run(work: Callable[[], Awaitable[_T]], *, when_interrupted: Callable[[], str] | None = None) -> _T:
    """Await work, and end the command with an error message when it fails.

    Args:
        work: returns the coroutine to await.
        when_interrupted: the message after SIGINT or SIGTERM interrupted it; None: they end the process at once.
    """

    async def awaited() -> _T:
        task = asyncio.current_task()
        if when_interrupted is not None and task is not None:
            for number in (signal.SIGINT, signal.SIGTERM):
                asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        return await work()

    try:
        return asyncio.run(awaited())
    except asyncio.CancelledError:
        fail(f"error: {'interrupted' if when_interrupted is None else when_interrupted()}", _INTERRUPTED)
    except (
        SettingsError,
        StateUrlInvalidError,
        SnapshotInvalidError,
        EpochUnusableError,
        EpochMissingError,
        EpochExistsError,
        LogTruncatedError,
        BundleUnreadableError,
        BundlesUrlInvalidError,
    ) as error:
        fail(f"error: {error}", BAD_INPUT)
    except (
        EpochBusyError,
        EvictingStoreError,
        CommitRefusedError,
        LearnerDamagedError,
        ConnectionError,
        LookupError,
    ) as error:
        fail(f"error: {error}", FAILED)
