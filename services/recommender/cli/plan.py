"""`cairn class` and `cairn plan`: what each learner of a class should work on, and groups with a plan."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cairn.v1 import catalog_pb2, recommender_pb2
from services.common.command_line import BAD_INPUT, fail
from services.common.learners.tables import LEARNER_COLUMNS, open_learner_table
from services.common.rpc.calls import ApiKeyFile, Insecure, TimeoutS
from services.common.tables import FileUnusableError
from services.recommender.cli.calls import DEFAULT_TARGET, AsJson, Target, calling, print_degraded, print_json

_ROSTER_MAX = 500

app = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown")

Roster = Annotated[
    Path,
    typer.Argument(
        metavar="CLASS.csv",
        exists=True,
        dir_okay=False,
        readable=True,
        help="A learner's id per line, as your platform knows them; or a table with a header, of any kind that "
        "`cairn ingest load` reads, with the ids in the first of the columns "
        f"{', '.join(LEARNER_COLUMNS[:-1])} and {LEARNER_COLUMNS[-1]} that it has.",
    ),
]
Column = Annotated[
    str, typer.Option(help="The column of the learners' ids, if it has another name.", show_default=False)
]
ClassId = Annotated[
    str, typer.Option("--class", help="The class it is for: rules may apply to it.", show_default=False)
]
Skill = Annotated[
    list[str] | None, typer.Option(help="Only about this skill. May be given several times.", show_default=False)
]
Grade = Annotated[
    list[str] | None, typer.Option(help="Only for this grade. May be given several times.", show_default=False)
]
AsOf = Annotated[
    datetime | None,
    typer.Option(
        formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"],
        help="The moment to answer for, in UTC; by default now, truncated to the hour.",
        show_default=False,
    ),
]


@app.callback()
def _classes() -> None:
    """Recommend and plan for a class."""


@app.command("plan", epilog="Example: cairn plan class-6b.csv --groups 3 --minutes 45")
def plan(
    roster: Roster,
    *,
    groups: Annotated[int, typer.Option(min=1, max=20, help="At most this many groups.")] = 4,
    minutes: Annotated[int, typer.Option(min=1, max=600, help="At most this long for each group.")] = 60,
    skill: Skill = None,
    grade: Grade = None,
    class_id: ClassId = "",
    as_of: AsOf = None,
    column: Column = "",
    target: Target = DEFAULT_TARGET,
    api_key_file: ApiKeyFile = None,
    insecure: Insecure = False,
    timeout_s: TimeoutS = 30.0,
    as_json: AsJson = False,
) -> None:
    """Divide a class into groups that share a gap, each with resources to learn, practise and re-assess with.

    Every learner is in one group, or is listed with the reason for being in none.

    Exit codes: 0, there is a plan. 1, the service did not answer. 2, an option or the file is invalid.
    """
    request = recommender_pb2.PlanGroupRequest(
        learner_ids=read_roster(roster, column),
        groups_max=groups,
        minutes_max=minutes,
        filter=recommender_pb2.ResourceFilter(skills=skill or (), grades=grade or ()),
        class_id=class_id,
    )
    if as_of is not None:
        request.as_of.FromDatetime(as_of.replace(tzinfo=UTC))
    with calling(target, api_key_file, insecure=insecure) as (stub, metadata):
        reply = stub.PlanGroup(request, metadata=metadata, timeout=timeout_s)
    if as_json:
        print_json(reply)
        return
    console = Console(highlight=False)
    for place, group in enumerate(reply.groups, start=1):
        _print_group(console, place, group)
    for unplaced in reply.unplaced:
        console.print(
            f"in no group: {escape(unplaced.learner_id or '(no id)')}: {escape(unplaced.text)}", soft_wrap=True
        )
    placed = sum(len(group.members) for group in reply.groups)
    console.print(f"{placed} of {placed + len(reply.unplaced)} learners in {len(reply.groups)} groups")
    print_degraded(console, reply.degraded)


@app.command("class", epilog="Example: cairn class class-6b.csv --limit 2")
def whole_class(
    roster: Roster,
    *,
    limit: Annotated[int, typer.Option(min=1, max=20, help="At most this many resources for each learner.")] = 3,
    skill: Skill = None,
    grade: Grade = None,
    class_id: ClassId = "",
    as_of: AsOf = None,
    column: Column = "",
    target: Target = DEFAULT_TARGET,
    api_key_file: ApiKeyFile = None,
    insecure: Insecure = False,
    timeout_s: TimeoutS = 30.0,
    as_json: AsJson = False,
) -> None:
    """Show each learner's most urgent gap, their mastery of it, and what to work on next.

    Exit codes: 0, there are answers. 1, the service did not answer. 2, an option or the file is invalid.
    """
    request = recommender_pb2.RecommendBatchRequest(
        learner_ids=read_roster(roster, column),
        limit=limit,
        filter=recommender_pb2.ResourceFilter(skills=skill or (), grades=grade or ()),
        class_id=class_id,
    )
    if as_of is not None:
        request.as_of.FromDatetime(as_of.replace(tzinfo=UTC))
    with calling(target, api_key_file, insecure=insecure) as (stub, metadata):
        reply = stub.RecommendBatch(request, metadata=metadata, timeout=timeout_s)
    if as_json:
        print_json(reply)
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("learner", "gap", "chance of success", "right", "work on"):
        table.add_column(heading, overflow="fold")
    for result in reply.results:
        table.add_row(*map(escape, _class_row(result)))
    Console(highlight=False).print(table)


def read_roster(file: Path, column: str) -> list[str]:
    """The learners' ids in a file: its only column, or the named one.

    Ends the command with exit code 2 when there are none, or when the file cannot be used.
    """
    try:
        table = open_learner_table(file)
        place = table.place_of([column] if column else LEARNER_COLUMNS)
        if place is None and (column or len(table.columns) > 1):
            names = repr(column) if column else f"named {', '.join(LEARNER_COLUMNS[:-1])} or {LEARNER_COLUMNS[-1]}"
            columns = ", ".join(table.columns)
            fail(f"{file} has no column {names}; its columns are {columns}: name one with --column", BAD_INPUT)
        listed = table.listed(place or 0, header=place is not None)
        learners = list(dict.fromkeys(learner for _, learner in listed))
    except FileUnusableError as error:
        fail(str(error), BAD_INPUT)
    if not learners:
        fail(f"{file} names no learner: put an id on each line below the header", BAD_INPUT)
    if len(learners) > _ROSTER_MAX:
        fail(f"{file} names {len(learners):,} learners; name at most {_ROSTER_MAX} at a time", BAD_INPUT)
    return learners


def _print_group(console: Console, place: int, group: recommender_pb2.Group) -> None:
    learners = "1 learner" if len(group.members) == 1 else f"{len(group.members)} learners"
    name = group.statement or group.skill
    console.print(f"[bold]Group {place}: {escape(name)}[/bold] ({learners}, {group.minutes} min)", soft_wrap=True)
    members = ", ".join(f"{each.learner_id} {100 * each.mastery.probability:.0f} %" for each in group.members)
    console.print(f"     {escape(members)}", soft_wrap=True)
    for number, step in enumerate(group.steps, start=1):
        does = recommender_pb2.Step.Name(step.step).removeprefix("STEP_").lower().replace("_", " ")
        kind = catalog_pb2.ResourceKind.Name(step.kind).removeprefix("RESOURCE_KIND_").lower()
        minutes = f", {step.minutes} min" if step.HasField("minutes") else ""
        console.print(f"  {number}. {does}: {escape(step.title or step.resource_id)} ({kind}{minutes})", soft_wrap=True)
        console.print(f"     {escape(step.reason)}", soft_wrap=True)
    if not group.steps:
        console.print("     nothing in the catalog fits into the time", soft_wrap=True)


def _class_row(result: recommender_pb2.LearnerResult) -> Sequence[str]:
    if result.HasField("problem"):
        return (result.learner_id, "", "", "", result.problem.message)
    work_on = "\n".join(each.title or each.resource_id for each in result.recommendations) or "nothing fits"
    if not result.HasField("gap"):
        new = recommender_pb2.DEGRADATION_NEW_LEARNER in result.degraded
        return (result.learner_id, "nothing is known yet" if new else "none known", "", "", work_on)
    gap = result.gap
    chance = f"{100 * gap.probability:.0f} % ({100 * gap.low:.0f}-{100 * gap.high:.0f})"
    missing = recommender_pb2.DEGRADATION_GAP_WITHOUT_RESOURCE in result.degraded
    skill = f"{gap.skill} (no resource is about it)" if missing else gap.skill
    return (result.learner_id, skill, chance, f"{gap.successes:.3g} of {gap.responses}", work_on)
