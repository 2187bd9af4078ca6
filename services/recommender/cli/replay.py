"""`cairn replay`: folds the log into a new epoch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.common.command_line import BAD_INPUT, fail
from services.recommender.application.ports.epochs import FoldOrder
from services.recommender.bootstrap.environment import fold_settings
from services.recommender.cli.epoch_calls import EnvironmentFile, number_or, run
from services.recommender.cli.replay_display import ReplayDisplay
from services.recommender.domain.learner.restamp import RestampedEvents

if TYPE_CHECKING:
    # It loads Faust, which takes seconds.
    from services.recommender.entrypoints.replay import ReplayProgress

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

_Restamp = Annotated[
    bool | None,
    typer.Option(
        "--restamp/--no-restamp",
        help="Give events without skills those that the catalog has for them now; or leave events as they are.",
        show_default="as the current epoch, from the catalog that it took skills from",
    ),
]
_RestampAll = Annotated[
    bool,
    typer.Option(
        "--restamp-all",
        help="As --restamp, and let the catalog of now replace the skills that an earlier catalog gave. Skills that "
        "the sender named stay.",
    ),
]

app = typer.Typer(rich_markup_mode="markdown")


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
    restamp: _Restamp = None,
    restamp_all: _RestampAll = False,
    environment_file: EnvironmentFile = Path(".local/env"),
) -> None:
    """Fold the whole log, up to its current end, into a new epoch.

    It is not served until `cairn epoch switch`. A replay that was interrupted, for example by Ctrl-C, continues where
    it stopped; with `--order occurred`, it starts again, and needs room for the log in the folder for temporary files.

    With `--restamp`, events are evidence of skills that their items were tagged with after the events came. The epoch
    keeps these skills: a replay that is taken up, and later ones that say nothing about it, use them again.

    Exit codes: 1, keys of records are missing, Kafka or Redis cannot be reached, or another process replays into the
    epoch. 2, the epoch or the parameters cannot be used. 130, it was interrupted.
    """
    # Faust and the compiled kernel take seconds to load.
    from services.recommender.bootstrap import worker as bootstrap_worker  # noqa: PLC0415

    number, events = number_or("next", epoch), _restamped_events(restamp, restamp_all=restamp_all)
    with ReplayDisplay() as display:
        result = run(
            lambda: bootstrap_worker.replay(
                fold_settings(environment_file),
                number,
                parameters,
                display.begin,
                display.show,
                accept_lost_keys=accept_lost_keys,
                accept_loss=accept_loss,
                order=order,
                restamp=events,
            ),
            when_interrupted=lambda: display.interrupted(epoch),
        )
    typer.echo(_built(display.epoch, result, display.elapsed_s))


def _restamped_events(restamp: bool | None, *, restamp_all: bool) -> RestampedEvents | None:  # noqa: FBT001 - an option.
    if restamp_all and restamp is False:
        fail("error: --restamp-all and --no-restamp contradict each other: give one of them", BAD_INPUT)
    if restamp_all:
        return RestampedEvents.ALL
    if restamp is None:
        return None
    return RestampedEvents.WITHOUT_SKILLS if restamp else RestampedEvents.NONE


def _built(epoch: int, result: ReplayProgress, elapsed_s: float) -> str:
    return (
        f"epoch {epoch} is built: {result.applied:,} applied, {result.duplicates:,} duplicates, "
        f"{result.conflicts:,} conflicts, {result.dead_lettered:,} dead letters, {result.erased:,} of erased learners, "
        f"{result.lost:,} lost in {elapsed_s:.1f} s ({result.applied / max(elapsed_s, 1e-9):,.0f}/s). "
        f"Serve it with: cairn epoch switch {epoch}"
    )
