"""`cairn catalog contradictions`: tags that learners' responses contradict."""

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
    from services.catalog.tagging.contradictions import Contradiction, Verdict
    from services.catalog.tagging.neighbour_context import NeighbourContextVerdict, SuspectedMistag

_Shown = TypeVar("_Shown", "Contradiction", "SuspectedMistag")

app = typer.Typer(rich_markup_mode="markdown")


_File = Annotated[Path, typer.Argument(help="Responses: CSV, plain or gzip, or Parquet.")]
_LearnerColumn = Annotated[str, typer.Option(help="Column of the learners; any ids.")]
_ItemColumn = Annotated[str, typer.Option(help="Column of the resources that were answered.")]
_CorrectColumn = Annotated[str, typer.Option(help="Column of the results, from 0 to 1.")]
_TimeColumn = Annotated[
    str, typer.Option(help="Column of the times; without it, rows are in the order of the responses.")
]
_Rate = Annotated[float, typer.Option(min=0.001, max=0.5, help="Share of the shown tags that may be there by chance.")]
_Json = Annotated[bool, typer.Option("--json", help="Print one JSON object for each contradiction.")]


@app.command("contradictions", epilog="Example: cairn catalog contradictions responses.parquet --item-column item_id")
def contradictions(
    file: _File,
    *,
    learner_column: _LearnerColumn = "learner",
    item_column: _ItemColumn = "item",
    correct_column: _CorrectColumn = "correct",
    time_column: _TimeColumn = "",
    rate: _Rate = 0.05,
    json_lines: _Json = False,
    target: Target = DEFAULT_TARGET,
    api_key_file: ApiKeyFile = None,
    insecure: Insecure = False,
    timeout_s: TimeoutS = 120.0,
) -> None:
    """Show tags that learners' responses contradict. Changes nothing.

    By outcome: learners who do better on a skill than their general ability predicts should do better on each of its
    resources. If that holds much less for a resource than for the others of its skill, the resource is probably about
    something else, or badly worded. This cannot judge tags of resources with fewer than 30 informative responses, and
    of skills whose resources hardly correlate.

    By neighbour context: what learners answer just before and after a resource is mostly about its skill. A resource
    that learners meet among resources of another skill is probably about that one. This cannot judge tags of resources
    with fewer than 5 learners, and of skills that are practised mixed with others. If your platform places resources
    by their tags, even a wrong tag has a fitting neighbour context.

    Both methods miss a skill that is wrong on most of its resources.
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
        _print_json(by_outcome, by_context)
    else:
        _print_tables(by_outcome, by_context)
    known = sum(item in tags for item in table.items)
    typer.echo(
        f"by outcome {len(by_outcome.contradictions):,} contradictions among {by_outcome.judged:,} tags that could be "
        f"judged, by neighbour context {len(by_context.suspected_mistags):,} among {by_context.judged:,}, "
        f"of {by_outcome.tags:,}; "
        f"{len(table.correct):,} responses to {len(table.items):,} items, {known:,} in the catalog",
        err=json_lines,
    )


def _print_json(by_outcome: Verdict, by_context: NeighbourContextVerdict) -> None:
    # "company" is what this output called the neighbour context from the start.
    for evidence, shown in (("outcome", by_outcome.contradictions), ("company", by_context.suspected_mistags)):
        for one in shown:
            typer.echo(orjson.dumps({"evidence": evidence} | asdict(one)))


def _print_tables(by_outcome: Verdict, by_context: NeighbourContextVerdict) -> None:
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


def _print_table(
    title: str, measures: Sequence[str], shown: Sequence[_Shown], cells: Callable[[_Shown], tuple[str, str, str]]
) -> None:
    if not shown:
        return
    table = Table(box=None, pad_edge=False, title=title, title_justify="left")
    for heading in ("resource", "tagged", "fits better"):
        table.add_column(heading, overflow="fold")
    for heading in (*measures, "usual", "z"):
        table.add_column(heading, justify="right", no_wrap=True)
    for one in shown:
        table.add_row(*map(escape, (one.resource_id, one.skill, one.fits_better)), *cells(one), f"{one.z:.1f}")
    Console(highlight=False).print(table)
