"""`cairn status`: what runs, where, and its progress."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from services.common.command_line import BAD_INPUT, FAILED, fail
from services.recommender.adapters.files.bundle_store import BundlesUrlInvalidError
from services.recommender.application.ports.state_store import StateUrlInvalidError
from services.recommender.bootstrap.environment import SettingsError
from services.recommender.bootstrap.status import find_status
from services.recommender.entrypoints.status_report import print_status, status_as_json

app = typer.Typer(add_completion=False, rich_markup_mode="markdown")


@app.command("status", epilog="Example: cairn status --json - | jq .epochs")
def status(
    *,
    environment_file: Annotated[
        Path,
        typer.Option("--env-file", help="File with settings that the environment does not set; `make up` writes it."),
    ] = Path(".local/env"),
    json_file: Annotated[
        Path | None,
        typer.Option("--json", help="Write it to this file instead; -: standard output.", show_default=False),
    ] = None,
) -> None:
    """Show the running processes, their addresses and their progress.

    Shows the health of each process, the epochs with their positions, lag and counts by partition, the dead letters
    by reason and tenant with the age of the oldest and the newest, the newest bundle, and what is wrong. Addresses come
    from CAIRN_KAFKA, CAIRN_REDIS, CAIRN_BUNDLES and CAIRN_TARGET_CATALOG, _INGEST, _WORKER and _RECOMMENDER.

    Exit codes: 1, something is wrong.
    """
    try:
        found = asyncio.run(find_status(environment_file))
    except (SettingsError, BundlesUrlInvalidError, StateUrlInvalidError) as error:
        fail(f"error: {error}", BAD_INPUT)
    if json_file is None:
        print_status(Console(highlight=False), found.status, kafka=found.kafka, redis=found.redis)
    elif str(json_file) == "-":
        typer.echo(status_as_json(found.status), nl=False)
    else:
        json_file.write_bytes(status_as_json(found.status))
    if found.status.problems:
        raise typer.Exit(FAILED)
