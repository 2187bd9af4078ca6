"""`cairn catalog contradictions`: resources whose responses speak against their tags."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import orjson
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from services.catalog.cli_calls import (
    BAD_INPUT,
    DEFAULT_TARGET,
    ApiKeyFile,
    Insecure,
    Kind,
    Target,
    TimeoutS,
    calling,
    fail,
    listed,
)
from services.catalog.domain.model import Resource
from services.catalog.formats.jsonl import FileUnreadableError

if TYPE_CHECKING:
    from services.catalog.tagging.contradictions import Contradiction

app = typer.Typer(rich_markup_mode="markdown")


@app.command("contradictions", epilog="Example: cairn catalog contradictions responses.parquet --item-column item_id")
def contradictions(
    file: Annotated[Path, typer.Argument(help="Responses: CSV, plain or gzip, or Parquet.")],
    *,
    learner_column: Annotated[str, typer.Option(help="Column of the learners; any ids.")] = "learner",
    item_column: Annotated[str, typer.Option(help="Column of the resources that were answered.")] = "item",
    correct_column: Annotated[str, typer.Option(help="Column of the results, from 0 to 1.")] = "correct",
    rate: Annotated[
        float, typer.Option(min=0.001, max=0.5, help="Share of what is shown that may be there by chance.")
    ] = 0.05,
    json_lines: Annotated[bool, typer.Option("--json", help="Print one JSON object a contradiction.")] = False,
    target: Target = DEFAULT_TARGET,
    api_key_file: ApiKeyFile = None,
    insecure: Insecure = False,
    timeout_s: TimeoutS = 120.0,
) -> None:
    """Show tags that learners' responses speak against. Changes nothing.

    Learners who do better on a skill than their general ability foretells should do better on each of its resources. A
    resource where that is far less so than is usual for the skill is probably about something else, or worded badly:
    look at it. Tags of resources with fewer than 30 telling responses, and of skills whose resources hardly go
    together, cannot be judged; a skill that is wrong on most of its resources looks right.
    """
    with calling(target, api_key_file, insecure=insecure) as (stub, metadata):
        resources = [
            one for one in listed(stub, metadata, Kind.RESOURCE, sys.maxsize, timeout_s) if isinstance(one, Resource)
        ]
    from services.catalog.formats.responses import Columns, read_responses  # noqa: PLC0415 - heavy imports.
    from services.catalog.tagging import contradictions as found  # noqa: PLC0415 - as above.

    try:
        table = read_responses(file, Columns(learner_column, item_column, correct_column))
    except FileUnreadableError as error:
        fail(str(error), BAD_INPUT)
    tags = {resource.id: [tag.skill for tag in resource.assesses or resource.teaches] for resource in resources}
    verdict = found.contradictions(
        found.Responses(table.learners, table.items, table.learner, table.item, table.correct),
        tags,
        false_discovery_rate=rate,
    )
    if json_lines:
        for one in verdict.contradictions:
            typer.echo(orjson.dumps(asdict(one)))
    elif verdict.contradictions:
        _print_table(verdict.contradictions)
    known = sum(item in tags for item in table.items)
    typer.echo(
        f"{len(verdict.contradictions):,} contradictions among {verdict.judged:,} tags that could be judged, of "
        f"{verdict.tags:,}; {len(table.correct):,} responses to {len(table.items):,} items, {known:,} in the catalog",
        err=json_lines,
    )


def _print_table(contradictions: Sequence[Contradiction]) -> None:
    table = Table(box=None, pad_edge=False)
    for heading, justify in (("resource", "left"), ("tagged", "left"), ("fits better", "left")):
        table.add_column(heading, justify=justify, overflow="fold")  # type: ignore[arg-type]  # rich's literals.
    for heading in ("responses", "slope", "usual", "z"):
        table.add_column(heading, justify="right", no_wrap=True)
    for one in contradictions:
        table.add_row(
            *map(escape, (one.resource_id, one.skill, one.fits_better)),
            f"{one.responses:,}",
            f"{one.slope:.2f}",
            f"{one.usual:.2f}",
            f"{one.z:.1f}",
        )
    Console(highlight=False).print(table)
