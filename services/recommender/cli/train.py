"""`cairn train` and `cairn tune`: fitting models on the log."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import orjson
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as ProgressBars
from rich.table import Table

from services.common.command_line import BAD_INPUT, FAILED, fail
from services.common.kafka.connection import BrokerUnavailableError
from services.recommender.adapters.files.bundle_store import BundlesUrlInvalidError
from services.recommender.application.ports.learners import StateUnavailableError
from services.recommender.application.ports.models import BundleUnreadableError, BundleUnwritableError, TenantModels
from services.recommender.application.ports.state_store import StateUrlInvalidError
from services.recommender.application.state.epochs import EpochUnusableError
from services.recommender.application.training.collect import ERASED, LOST, Progress
from services.recommender.application.training.train import NothingToTrainOnError, TenantWithoutEventsError, Trained
from services.recommender.bootstrap.environment import SettingsError
from services.recommender.bootstrap.training import trainer as wired_trainer

_AcceptLostKeys = Annotated[
    bool,
    typer.Option(
        "--accept-lost-keys",
        help="Skip records whose keys are neither on cairn.learner-keys nor destroyed by an erasure.",
    ),
]

app = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown")


@app.callback()
def _fitting() -> None:
    """Fit models on the log."""


@app.command("train", epilog="Example: cairn train --bundles s3://district/bundles --tenant riverbend")
def train(
    *,
    bundles: Annotated[
        str | None,
        typer.Option(help="Where bundles are stored, a path or URL; by default CAIRN_BUNDLES.", show_default=False),
    ] = None,
    tenant: Annotated[
        list[str] | None,
        typer.Option(
            help="Fit only this tenant; others keep the newest bundle's models. May be given several times.",
            show_default=False,
        ),
    ] = None,
    factors: Annotated[
        int | None, typer.Option(min=1, max=512, help="Factors per resource; fewer on little data.", show_default="64")
    ] = None,
    _ranker: Annotated[
        bool, typer.Option("--ranker", hidden=True, help="Of earlier releases; the ranker is always fitted.")
    ] = False,
    accept_lost_keys: _AcceptLostKeys = False,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Also write the summary to this file.", show_default=False)
    ] = None,
) -> None:
    """Fit every tenant's models on the log and write them as a bundle. Servers load it automatically.

    Reads the whole log of the Kafka in CAIRN_KAFKA. Fits the difficulties of items and skills, the learner model's
    constants, collaborative filtering and the ranker. The last line is the bundle's id.

    Where the current epoch in CAIRN_REDIS restamps events (`cairn replay --restamp`), they count with the skills that
    it gives them. Without Redis, set CAIRN_REDIS to nothing: then events count as they are stamped in the log.

    Exit codes: 1, keys of records are missing, Kafka, Redis or the bundles cannot be reached, or the log is empty. 2,
    an argument is invalid.
    """
    _train(bundles, tenant, json_file, factors=factors, accept_lost_keys=accept_lost_keys)


@app.command("tune", epilog="Example: cairn tune --bundles s3://district/bundles --tenant riverbend")
def tune(
    *,
    bundles: Annotated[
        str | None,
        typer.Option(help="Where bundles are stored, a path or URL; by default CAIRN_BUNDLES.", show_default=False),
    ] = None,
    tenant: Annotated[
        list[str] | None,
        typer.Option(
            help="Tune only this tenant; others keep the newest bundle's models. May be given several times.",
            show_default=False,
        ),
    ] = None,
    accept_lost_keys: _AcceptLostKeys = False,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Also write the summary to this file.", show_default=False)
    ] = None,
) -> None:
    """Choose the collaborative model that best predicts what each tenant's learners did next, then train with it.

    Every family of models is fitted, with several settings, to the first four fifths of what each learner did, and
    evaluated on the rest. The best one is fitted to everything and written as a bundle. Its manifest records the choice
    and the score of each family; later runs of `cairn train` use the same choice. The last line is the bundle's id.

    Exit codes: 1, keys of records are missing, Kafka or the bundles cannot be reached, or the log is empty. 2, an
    argument is invalid.
    """
    _train(bundles, tenant, json_file, tune=True, accept_lost_keys=accept_lost_keys)


def _train(
    bundles: str | None,
    tenant: list[str] | None,
    json_file: Path | None,
    *,
    factors: int | None = None,
    tune: bool = False,
    accept_lost_keys: bool = False,
) -> None:
    if json_file is not None and not json_file.parent.is_dir():
        fail(f"error: --json {json_file}: the folder {json_file.parent} does not exist; make it first", BAD_INPUT)
    started_s = time.monotonic()
    try:
        with _progress() as progress:
            trainer = wired_trainer(
                bundles=bundles,
                factors=factors,
                accept_lost_keys=accept_lost_keys,
                announce=lambda text: typer.echo(text, err=True),
            )
            trained = asyncio.run(trainer.train(tenants=tenant or (), tune=tune, progress=progress))
    except (SettingsError, BundlesUrlInvalidError, StateUrlInvalidError, TenantWithoutEventsError) as error:
        fail(f"error: {error}", BAD_INPUT)
    except BrokerUnavailableError as error:
        fail(f"error: {error}. Start it, or name another in CAIRN_KAFKA", FAILED)
    except StateUnavailableError as error:
        fail(f"error: {error}. To train on events as they are stamped in the log, set CAIRN_REDIS to nothing", FAILED)
    except (
        LookupError,
        EpochUnusableError,
        NothingToTrainOnError,
        BundleUnreadableError,
        BundleUnwritableError,
    ) as error:
        fail(f"error: {error}", FAILED)
    elapsed_s = time.monotonic() - started_s
    if json_file is not None:
        json_file.write_bytes(_trained_as_json(trained, elapsed_s))
    Console(highlight=False).print(_trained_table(trained))
    for name, models in sorted(trained.draft.tenants.items()):
        typer.echo(_tenant_line(name, models))
    typer.echo(_trained_line(trained, elapsed_s))
    typer.echo(trained.bundle_id)


def _trained_table(trained: Trained) -> Table:
    table = Table(title="Fitted models", title_justify="left")
    for heading in ("tenant", "learners", "responses", "items", "skills", "AUC", "log-loss", "(base rate)"):
        table.add_column(heading, justify="left" if heading == "tenant" else "right", overflow="fold")
    for tenant, models in sorted(trained.draft.tenants.items()):
        counts, metrics = models.counts, models.metrics
        table.add_row(
            tenant,
            *(f"{counts[name]:,}" for name in ("learners", "responses", "items", "skills")),
            *(
                f"{metrics[name]:.3f}" if name in metrics else "-"
                for name in ("tracing_auc", "tracing_log_loss", "base_rate_log_loss")
            ),
        )
    return table


def _tenant_line(tenant: str, models: TenantModels) -> str:
    model = models.collaborative
    collaborative = (
        f"none: {models.collaborative_absent}" if model is None else f"{model.kind}, {len(model.resources):,} resources"
    )
    if models.choice is not None:
        measured = sorted(models.choice.measures.items(), key=lambda each: -each[1])
        settings = " ".join(f"{name}={value:g}" for name, value in models.choice.settings.items())
        collaborative += f"; chosen: {models.choice.family} {settings} (NDCG@10 " + (
            ", ".join(f"{name} {measure:.3f}" for name, measure in measured) + ")"
        )
    carried = f"; carried over from {models.carried_from}" if models.carried_from else ""
    return f"{tenant}: collaborative filtering: {collaborative}{carried}"


def _trained_line(trained: Trained, elapsed_s: float) -> str:
    window = trained.draft.window
    skipped = sum(window.skipped.values())
    erased, lost = window.skipped.get(ERASED, 0), window.skipped.get(LOST, 0)
    return (
        f"{window.records:,} records, {window.duplicates:,} of them duplicates, {skipped:,} skipped ({erased:,} of "
        f"erased learners, {lost:,} with lost keys); {elapsed_s:.1f} s"
    )


def _trained_as_json(trained: Trained, elapsed_s: float) -> bytes:
    draft = trained.draft
    summary = {
        "bundle_id": trained.bundle_id,
        "created_at": draft.created_at,
        "elapsed_s": round(elapsed_s, 3),
        "window": asdict(draft.window),
        "libraries": dict(draft.libraries),
        "tenants": {
            tenant: {
                "counts": dict(models.counts),
                "metrics": dict(models.metrics),
                "hyperparameters": dict(models.hyperparameters),
                "settings": asdict(models.parameters.settings),
                "collaborative": models.collaborative.kind if models.collaborative else None,
                "collaborative_absent": models.collaborative_absent,
                "ranker": None if models.ranker is None else dict(models.ranker.hyperparameters),
                "choice": None if models.choice is None else asdict(models.choice),
                "carried_from": models.carried_from,
            }
            for tenant, models in sorted(draft.tenants.items())
        },
    }
    return orjson.dumps(
        summary, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS | orjson.OPT_APPEND_NEWLINE | orjson.OPT_UTC_Z
    )


@contextmanager
def _progress() -> Iterator[Progress]:
    """Progress bars on a terminal, otherwise a line on standard error when a stage is done."""
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        reported: set[str] = set()

        def report(stage: str, done: int, total: int) -> None:
            if done == total and stage not in reported:
                reported.add(stage)
                typer.echo(f"{stage}: {total:,}", err=True)

        yield report
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with ProgressBars(*columns, console=console) as bars:
        tasks = {}

        def show(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total)
            bars.update(tasks[stage], completed=done, total=total)

        yield show
