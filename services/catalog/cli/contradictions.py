"""`cairn catalog contradictions`: resources whose responses speak against their tags."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import orjson
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from services.catalog.cli.calls import DEFAULT_TARGET, Kind, Target, calling, listed
from services.catalog.domain.model import Resource
from services.catalog.formats.jsonl import FileUnreadableError
from services.common.command_line import BAD_INPUT, fail
from services.common.rpc.calls import ApiKeyFile, Insecure, TimeoutS

if TYPE_CHECKING:
    from services.catalog.tagging.contradictions import Contradiction
    from services.catalog.tagging.neighbour_context import SuspectedMistag

_Shown = TypeVar("_Shown", "Contradiction", "SuspectedMistag")

app = typer.Typer(rich_markup_mode="markdown")


@app.command("contradictions", epilog="Example: cairn catalog contradictions responses.parquet --item-column item_id")
def contradictions(
    file: Annotated[Path, typer.Argument(help="Responses: CSV, plain or gzip, or Parquet.")],
    *,
    learner_column: Annotated[str, typer.Option(help="Column of the learners; any ids.")] = "learner",
    item_column: Annotated[str, typer.Option(help="Column of the resources that were answered.")] = "item",
    correct_column: Annotated[str, typer.Option(help="Column of the results, from 0 to 1.")] = "correct",
    time_column: Annotated[
        str, typer.Option(help="Column of the times; without it, rows are in the order of the responses.")
    ] = "",
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

    By outcome: learners who do better on a skill than their general ability foretells should do better on each of its
    resources. A resource where that is far less so than is usual for the skill is probably about something else, or
    worded badly. Tags of resources with fewer than 30 telling responses, and of skills whose resources hardly go
    together, cannot be judged so.

    By neighbour context: what learners answer just before and after a resource is mostly about its skill. A resource
    that is met among resources of another skill is probably about that one. Tags of resources with fewer than 5
    learners, and of skills that are practised mixed with others, cannot be judged so; a tag by which your platform
    chose where the
    resource stands is in fitting company even when it is wrong.

    Either way a skill that is wrong on most of its resources looks right.
    """
    with calling(target, api_key_file, insecure=insecure) as (stub, metadata):
        resources = [
            one for one in listed(stub, metadata, Kind.RESOURCE, sys.maxsize, timeout_s) if isinstance(one, Resource)
        ]
    from services.catalog.formats.responses import Columns, read_responses  # noqa: PLC0415 - heavy imports.
    from services.catalog.tagging.contradictions import Responses  # noqa: PLC0415 - as above.
    from services.catalog.tagging.contradictions import contradictions as contradicted  # noqa: PLC0415 - as above.
    from services.catalog.tagging.neighbour_context import suspected_mistags  # noqa: PLC0415 - as above.

    try:
        table = read_responses(file, Columns(learner_column, item_column, correct_column, time_column))
    except FileUnreadableError as error:
        fail(str(error), BAD_INPUT)
    tags = {resource.id: [tag.skill for tag in resource.assesses or resource.teaches] for resource in resources}
    responses = Responses(table.learners, table.items, table.learner, table.item, table.correct)
    by_outcome = contradicted(responses, tags, false_discovery_rate=rate)
    by_context = suspected_mistags(responses, tags, false_discovery_rate=rate)
    if json_lines:
        for evidence, shown in (
            ("outcome", by_outcome.contradictions),
            ("company", by_context.suspected_mistags),
        ):
            for one in shown:
                typer.echo(orjson.dumps({"evidence": evidence} | asdict(one)))
    else:
        _print_table(
            "By outcome",
            ("responses", "slope"),
            by_outcome.contradictions,
            lambda one: (f"{one.responses:,}", f"{one.slope:.2f}", f"{one.usual:.2f}"),
        )
        _print_table(
            "By neighbour context",
            ("learners", "share"),
            by_context.suspected_mistags,
            lambda one: (f"{one.learners:,}", f"{one.share:.0%}", f"{one.usual:.0%}"),
        )
    known = sum(item in tags for item in table.items)
    typer.echo(
        f"by outcome {len(by_outcome.contradictions):,} contradictions among {by_outcome.judged:,} tags that could be "
        f"judged, by neighbour context {len(by_context.suspected_mistags):,} among {by_context.judged:,}, "
        f"of {by_outcome.tags:,}; "
        f"{len(table.correct):,} responses to {len(table.items):,} items, {known:,} in the catalog",
        err=json_lines,
    )


def _print_table(
    title: str, measures: Sequence[str], shown: Sequence[_Shown], told: Callable[[_Shown], tuple[str, str, str]]
) -> None:
    if not shown:
        return
    table = Table(box=None, pad_edge=False, title=title, title_justify="left")
    for heading in ("resource", "tagged", "fits better"):
        table.add_column(heading, overflow="fold")
    for heading in (*measures, "usual", "z"):
        table.add_column(heading, justify="right", no_wrap=True)
    for one in shown:
        table.add_row(*map(escape, (one.resource_id, one.skill, one.fits_better)), *told(one), f"{one.z:.1f}")
    Console(highlight=False).print(table)
