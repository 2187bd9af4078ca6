"""`cairn catalog unresolved`: what to tag so that responses become evidence of skills."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated

import orjson
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from services.common.command_line import BAD_INPUT, FAILED, fail
from services.recommender.application.operations.unresolved import (
    ITEMS_MAX,
    LEARNERS_MAX,
    Unresolved,
    UnresolvedItem,
)
from services.recommender.application.ports.state_store import StateUrlInvalidError
from services.recommender.application.state.epochs import EpochUnusableError
from services.recommender.bootstrap.environment import SettingsError
from services.recommender.bootstrap.unresolved import unresolved_of
from services.recommender.cli.log_reading import EnvironmentFile, Tenant, check_tenant, shown_progress

_REPLAY = "cairn replay --epoch next --parameters same --restamp, then cairn epoch switch newest"

app = typer.Typer(add_completion=False, rich_markup_mode="markdown")


@app.command("unresolved", epilog="Example: cairn catalog unresolved --tenant riverbend --json unresolved.json")
def unresolved(
    *,
    tenant: Tenant,
    limit: Annotated[int, typer.Option(min=1, help="Show at most this many.")] = 20,
    json_file: Annotated[Path | None, typer.Option("--json", help="Also write all of them to this file.")] = None,
    environment_file: EnvironmentFile = Path(".local/env"),
) -> None:
    """Show items and activities whose responses are evidence of no skill, those with the most responses first.

    Neither their events nor the catalog named a skill when the events came. Tag what matters, and fold the log again
    with `--restamp`. What the epoch that is served has resolved so is not shown.

    Reads the log up to its present end. Exit codes: 0, also when there are none. 1, Kafka or Redis cannot be reached,
    or keys are missing. 2, the settings or the options are invalid.
    """
    check_tenant(tenant)
    try:
        with shown_progress("records") as report:
            found = asyncio.run(unresolved_of(environment_file, tenant, report))
    except (SettingsError, StateUrlInvalidError, EpochUnusableError) as error:
        fail(f"error: {error}", BAD_INPUT)
    except (ConnectionError, LookupError) as error:
        fail(f"error: {error}", FAILED)
    if json_file is not None:
        try:
            json_file.write_bytes(unresolved_as_json(tenant, found))
        except OSError as error:
            fail(f"error: --json {json_file} cannot be written: {error.strerror or error}", BAD_INPUT)
    print_unresolved(Console(highlight=False), found, limit)


def unresolved_as_json(tenant: str, found: Unresolved) -> bytes:
    """All of them as JSON."""
    document = {
        "tenant": tenant,
        "responses": found.responses,
        "items": [
            {
                "item": item.item or None,
                "activity": item.activity or None,
                "responses": item.responses,
                "learners": len(item.learners),
                "more_learners": len(item.learners) == LEARNERS_MAX,
                "first_at": item.first_at,
                "last_at": item.last_at,
                "in_catalog": item.in_catalog,
                "skills_now": item.skills_now,
            }
            for item in found.items
        ],
        "other_responses": found.other_responses,
        "erased": found.erased,
        "unreadable": found.unreadable,
    }
    return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def print_unresolved(console: Console, found: Unresolved, limit: int) -> None:
    """Print the first of them for people, and what to do about them."""
    if found.items:
        console.print(_table(found.items[:limit]))
        activities = sum(not item.item for item in found.items)
        items = len(found.items) - activities
        console.print(f"responses without a skill: {found.responses:,} (items: {items:,}, activities: {activities:,})")
    else:
        console.print("every response is evidence of a skill")
    if len(found.items) > limit:
        console.print(f"{len(found.items) - limit:,} more are not shown: raise --limit, or name a file with --json")
    if found.other_responses:
        console.print(
            f"{found.other_responses:,} of the responses are to items beyond the first {ITEMS_MAX:,}, which are not "
            "listed: tag these, replay, and run the command again"
        )
    if found.erased or found.unreadable:
        console.print(f"left out: {found.erased:,} records of erased learners, {found.unreadable:,} that are no events")
    tagged = [item for item in found.items if item.skills_now]
    if len(tagged) < len(found.items):
        console.print(
            "Next: import what the catalog lacks (cairn catalog import), tag what has no skill (cairn catalog put, "
            f"cairn catalog tag), then run: {_REPLAY}",
            soft_wrap=True,
        )
    elif tagged:
        console.print(f"Next: all of them are tagged now, so run: {_REPLAY}", soft_wrap=True)


def _table(items: Sequence[UnresolvedItem]) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("item", "activity", "responses", "learners", "first", "last", "in the catalog now"):
        table.add_column(heading, justify="right" if heading in {"responses", "learners"} else "left", overflow="fold")
    for item in items:
        more = "+" if len(item.learners) == LEARNERS_MAX else ""
        table.add_row(
            escape(item.item),
            escape(item.activity),
            f"{item.responses:,}",
            f"{len(item.learners)}{more}",
            _day(item.first_at),
            _day(item.last_at),
            escape(", ".join(item.skills_now)) or ("no skill" if item.in_catalog else "no"),
        )
    return table


def _day(at: datetime | None) -> str:
    return "not known" if at is None else f"{at:%Y-%m-%d}"
