"""`cairn export`: learner state, current lists and the log as Parquet files."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from services.common.auth.tenants_file import TenantsFileError
from services.common.command_line import BAD_INPUT, FAILED, fail
from services.recommender.adapters.files.bundle_store import BundlesUrlInvalidError
from services.recommender.adapters.files.parquet_tables import ExportExistsError
from services.recommender.application.ports.models import BundleUnreadableError
from services.recommender.application.ports.quarantine import REMEDY
from services.recommender.application.ports.state_store import StateUrlInvalidError
from services.recommender.application.state.epochs import EpochUnusableError
from services.recommender.bootstrap.environment import SettingsError
from services.recommender.cli.log_reading import EnvironmentFile, Tenant, check_tenant, shown_progress

_DAMAGED_NAMED = 10

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Write learner state, current lists or the log to Parquet files, for a data team.",
)

To = Annotated[Path, typer.Option("--to", metavar="DIR", help="The folder to write to.")]
JsonFile = Annotated[Path | None, typer.Option("--json", help="Also write a summary to this file.")]


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

    check_tenant(tenant)
    with shown_progress("learners") as report:
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

    check_tenant(tenant)
    with shown_progress("learners") as report:
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

    check_tenant(tenant)
    with shown_progress("records") as report:
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


def _run(job: Coroutine[Any, Any, Any]) -> Any:
    try:
        return asyncio.run(job)
    except (SettingsError, ExportExistsError, TenantsFileError, BundlesUrlInvalidError, StateUrlInvalidError) as error:
        fail(str(error), BAD_INPUT)
    except (ConnectionError, LookupError, EpochUnusableError, BundleUnreadableError) as error:
        fail(str(error), FAILED)
    except OSError as error:
        fail(f"{error.filename or 'the files'} cannot be written: {error.strerror or error}", BAD_INPUT)
