"""The commands about corrections that could not be applied."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import orjson
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from services.common.command_line import BAD_INPUT, FAILED, fail
from services.recommender.application.operations.dead_letters import FiledLetter
from services.recommender.application.ports.state_store import StateUrlInvalidError
from services.recommender.bootstrap.dead_letters import corrections_pending
from services.recommender.bootstrap.environment import SettingsError

app = typer.Typer(no_args_is_help=True, help="Show corrections that wait for a replay.")


@app.callback()
def _describe() -> None:
    """Show corrections that wait for a replay."""


@app.command("pending", epilog="Example: cairn corrections pending")
def pending(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    environment_file: Annotated[
        Path,
        typer.Option("--env-file", help="File with settings that the environment does not set; `make up` writes it."),
    ] = Path(".local/env"),
) -> None:
    """Show corrections that came too late, or too early, for the epoch that is served.

    A worker corrects a learner's last 32 to 64 responses and interactions. A replay applies every correction in the
    log: once its epoch is served, its corrections are not listed.

    Exit codes: 0, also when there are none. 1, Kafka or Redis cannot be reached. 2, the settings are invalid.
    """
    found = _pending(environment_file)
    if as_json:
        typer.echo(orjson.dumps([_as_json(filed) for filed in found], option=orjson.OPT_INDENT_2).decode())
        return
    if not found:
        typer.echo("no correction waits for a replay")
        return
    table = Table(title=f"Corrections that wait for a replay: {len(found):,}", title_justify="left")
    for heading in ("partition", "offset", "tenant", "event", "reason"):
        table.add_column(heading, justify="right" if heading in {"partition", "offset"} else "left", overflow="fold")
    for filed in found:
        shown = _as_json(filed)
        table.add_row(*(Text(str(shown[name])) for name in ("partition", "offset", "tenant", "event_id", "reason")))
    Console(highlight=False).print(table)
    typer.echo("Apply them with: cairn replay --epoch N --parameters same, then cairn epoch switch N")


def _as_json(filed: FiledLetter) -> dict[str, object]:
    letter = filed.letter
    headers = dict(letter.headers)
    return {
        "partition": letter.partition,
        "offset": letter.offset,
        "tenant": (letter.key or b"").partition(b"/")[0].decode(errors="replace"),
        "source": headers.get("ce_source", b"").decode(errors="replace"),
        "event_id": headers.get("ce_id", b"").decode(errors="replace"),
        "code": letter.code,
        "reason": letter.reason,
    }


def _pending(environment_file: Path) -> list[FiledLetter]:
    try:
        return asyncio.run(corrections_pending(environment_file))
    except (SettingsError, StateUrlInvalidError) as error:
        fail(f"error: {error}", BAD_INPUT)
    except (ConnectionError, LookupError) as error:
        fail(f"error: {error}", FAILED)
