"""The commands about corrections that could not be applied."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Annotated

import orjson
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from services.common.command_line import BAD_INPUT, FAILED, fail
from services.recommender.application.operations.corrections import LoggedCorrection
from services.recommender.application.operations.dead_letters import FiledLetter
from services.recommender.application.ports.state_store import StateUrlInvalidError
from services.recommender.bootstrap.dead_letters import corrections_pending
from services.recommender.bootstrap.environment import SettingsError

app = typer.Typer(no_args_is_help=True, help="Show corrections that are not in effect.")

_NUMBERS = frozenset(("partition", "offset", "age"))


@app.callback()
def _describe() -> None:
    """Show corrections that are not in effect."""


@app.command("pending", epilog="Example: cairn corrections pending")
def pending(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    environment_file: Annotated[
        Path,
        typer.Option("--env-file", help="File with settings that the environment does not set; `make up` writes it."),
    ] = Path(".local/env"),
) -> None:
    """Show corrections that are not in effect: they came too late or too early, or their target never came.

    A worker corrects a learner's last 32 to 64 responses and interactions. A replay applies every correction in the
    log: once its epoch is served, its corrections are not listed. One that waits for its target is listed until the
    target comes: an old one probably names a wrong source or id. To name these, the partitions of their learners are
    read.

    Exit codes: 0, also when there are none. 1, Kafka or Redis cannot be reached. 2, the settings are invalid.
    """
    refused, waiting = _pending(environment_file)
    rows = [*map(_refused_row, refused), *map(_waiting_row, waiting)]
    if as_json:
        typer.echo(orjson.dumps(rows, option=orjson.OPT_INDENT_2).decode())
        return
    if not rows:
        typer.echo("no correction waits for a replay or for its target")
        return
    table = Table(title=f"Corrections that are not in effect: {len(rows):,}", title_justify="left")
    for heading in ("partition", "offset", "tenant", "event", "target", "age", "reason"):
        table.add_column(heading, justify="right" if heading in _NUMBERS else "left", overflow="fold")
    for row in rows:
        age_s = row["age_s"]
        cells = {**row, "target": row["target_event_id"] or "", "age": _age(age_s) if isinstance(age_s, float) else ""}
        names = ("partition", "offset", "tenant", "event_id", "target", "age", "reason")
        table.add_row(*(Text(str(cells[name])) for name in names))
    Console(highlight=False).print(table)
    if refused:
        typer.echo("Apply refused ones with: cairn replay --epoch N --parameters same, then cairn epoch switch N")


def _refused_row(filed: FiledLetter) -> dict[str, object]:
    letter = filed.letter
    headers = dict(letter.headers)
    return {
        "partition": letter.partition,
        "offset": letter.offset,
        "tenant": (letter.key or b"").partition(b"/")[0].decode(errors="replace"),
        "source": headers.get("ce_source", b"").decode(errors="replace"),
        "event_id": headers.get("ce_id", b"").decode(errors="replace"),
        "target_source": None,
        "target_event_id": None,
        "age_s": None,
        "code": letter.code,
        "reason": letter.reason,
    }


def _waiting_row(waiting: LoggedCorrection) -> dict[str, object]:
    return {
        "partition": waiting.position.partition,
        "offset": waiting.position.offset,
        "tenant": waiting.tenant,
        "source": waiting.source,
        "event_id": waiting.event_id,
        "target_source": waiting.target_source,
        "target_event_id": waiting.target_event_id,
        "age_s": max(0.0, round(time.time() - waiting.written_at_s, 3)),
        "code": "waits-for-target",
        "reason": "no event of its target's source and id has come",
    }


def _age(age_s: float) -> str:
    for unit, length_s in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if age_s >= length_s:
            return f"{age_s // length_s:.0f} {unit}"
    return f"{age_s:.0f} s"


def _pending(environment_file: Path) -> tuple[list[FiledLetter], list[LoggedCorrection]]:
    errors = Console(stderr=True)
    try:
        with errors.status("reading the dead letters and the learners") as status:

            def progress(done: int, total: int) -> None:
                status.update(f"reading the log for corrections that wait: {done:,} of {total:,} records")

            return asyncio.run(corrections_pending(environment_file, progress))
    except (SettingsError, StateUrlInvalidError) as error:
        fail(f"error: {error}", BAD_INPUT)
    except (ConnectionError, LookupError) as error:
        fail(f"error: {error}", FAILED)
