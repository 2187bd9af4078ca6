"""`cairn export`: learner state, current lists and the log as Parquet files."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from services.common.auth.identity import TENANT_PATTERN
from services.common.auth.tenants_file import TenantsFileError
from services.common.command_line import BAD_INPUT, FAILED, fail
from services.recommender.adapters.files.bundle_store import BundlesUrlInvalidError
from services.recommender.adapters.files.parquet_tables import ExportExistsError
from services.recommender.application.ports.models import BundleUnreadableError
from services.recommender.application.ports.quarantine import REMEDY
from services.recommender.application.ports.state_store import StateUrlInvalidError
from services.recommender.application.state.epochs import EpochUnusableError
from services.recommender.bootstrap.environment import SettingsError

_PLAIN_EVERY_S = 2.0
_DAMAGED_NAMED = 10

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Write learner state, current lists or the log to Parquet files, for a data team.",
)

Tenant = Annotated[str, typer.Option(envvar="CAIRN_TENANT", help="The district or platform whose data it is.")]
To = Annotated[Path, typer.Option("--to", metavar="DIR", help="The folder to write to.")]
EnvironmentFile = Annotated[
    Path, typer.Option("--env-file", help="File with settings that the environment does not set; `make up` writes it.")
]
JsonFile = Annotated[Path | None, typer.Option("--json", help="Also write a summary to this file.")]

_Report = Callable[[int, int | None], None]


@app.callback()
def _export() -> None:
    """Write learner state, current lists or the log to Parquet files, for a data team.

    Files go to DIR/WHAT/tenant=TENANT/part-N.parquet, compressed with zstd; every column has a description. Learners
    are identified by the pseudonyms that PublishEvents returns.
    """


@app.command("state", epilog="Example: cairn export state --tenant riverbend --to exports")
def state(
    *, tenant: Tenant, to: To, json_file: JsonFile = None, environment_file: EnvironmentFile = Path(".local/env")
) -> None:
    """Write a row per learner and skill: mastery with its interval, responses, time of the last one."""
    from services.recommender.bootstrap import export as bootstrap_export  # noqa: PLC0415 - pyarrow takes a while to load.

    _check(tenant)
    with _display("learners") as report:
        run = bootstrap_export.state_to_parquet(environment_file, tenant, to, report)
        _finish(_run(run), json_file)


@app.command("recommendations", epilog="Example: cairn export recommendations --tenant riverbend --to exports")
def recommendations(
    *,
    tenant: Tenant,
    to: To,
    limit: Annotated[int, typer.Option(min=1, max=100, help="At most this many resources for each learner.")] = 10,
    json_file: JsonFile = None,
    environment_file: EnvironmentFile = Path(".local/env"),
) -> None:
    """Write the current list of every learner, with reasons."""
    from services.recommender.bootstrap import export as bootstrap_export  # noqa: PLC0415 - as above.

    _check(tenant)
    with _display("learners") as report:
        run = bootstrap_export.recommendations_to_parquet(environment_file, tenant, to, report, limit=limit)
        _finish(_run(run), json_file)


@app.command("events", epilog="Example: cairn export events --tenant riverbend --to exports")
def events(
    *, tenant: Tenant, to: To, json_file: JsonFile = None, environment_file: EnvironmentFile = Path(".local/env")
) -> None:
    """Write the log up to its present end: a row per record, decrypted.

    Records of erased learners cannot be read; they are counted.
    """
    from services.recommender.bootstrap import export as bootstrap_export  # noqa: PLC0415 - as above.

    _check(tenant)
    with _display("records") as report:
        run = bootstrap_export.events_to_parquet(environment_file, tenant, to, report)
        _finish(_run(run), json_file)


def _finish(result: Any, json_file: Path | None) -> None:
    lost = f", {result.erased:,} of erased learners left out" if result.erased else ""
    lost += f", {result.unreadable:,} that are not events left out" if result.unreadable else ""
    typer.echo(f"{result.rows:,} rows in {len(result.files)} file(s){lost}: {result.files[0].parent}")
    if result.damaged:
        names = ", ".join(result.damaged[:_DAMAGED_NAMED]) + (", ..." if len(result.damaged) > _DAMAGED_NAMED else "")
        said = f"left out {len(result.damaged):,} learner(s) of whom what is stored is damaged: {names}; {REMEDY}"
        typer.echo(said, err=True)
    if json_file is not None:
        content = {
            "rows": result.rows,
            "files": [str(file) for file in result.files],
            "erased": result.erased,
            "unreadable": result.unreadable,
            "damaged": result.damaged,
        }
        json_file.write_bytes(orjson.dumps(content, option=orjson.OPT_INDENT_2))


def _check(tenant: str) -> None:
    if not TENANT_PATTERN.fullmatch(tenant):
        fail(f"--tenant {tenant!r} is not a tenant: use 1 to 63 of a-z, 0-9 and -", BAD_INPUT)


def _run(job: Coroutine[Any, Any, Any]) -> Any:
    try:
        return asyncio.run(job)
    except (SettingsError, ExportExistsError, TenantsFileError, BundlesUrlInvalidError, StateUrlInvalidError) as error:
        fail(str(error), BAD_INPUT)
    except (ConnectionError, LookupError, EpochUnusableError, BundleUnreadableError) as error:
        fail(str(error), FAILED)
    except OSError as error:
        fail(f"{error.filename or 'the files'} cannot be written: {error.strerror or error}", BAD_INPUT)


@contextmanager
def _display(what: str) -> Iterator[_Report]:
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
