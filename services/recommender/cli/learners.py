"""`cairn recommend` and `cairn learner show`: clients of the RecommendationService."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cairn.v1 import catalog_pb2, events_pb2, recommender_pb2
from services.common.command_line import BAD_INPUT, fail
from services.common.resource_kinds import ResourceKindName
from services.common.rpc.calls import ApiKeyFile, Insecure, TimeoutS
from services.recommender.cli.calls import (
    DEFAULT_TARGET,
    AsJson,
    Learner,
    Target,
    calling,
    nothing_is_known,
    print_degraded,
    print_json,
)
from services.recommender.cli.personal import EnvironmentFile, add_commands, print_history

_BAR_CELLS = 20


app = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown")
learner_app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Show, export, erase or repair what is known about a learner.",
)
app.add_typer(learner_app, name="learner")


Kinds = Annotated[
    list[ResourceKindName] | None, typer.Option(help="Only this kind. May be given several times.", show_default=False)
]
Skills = Annotated[
    list[str] | None, typer.Option(help="Only about this skill. May be given several times.", show_default=False)
]
Grades = Annotated[
    list[str] | None, typer.Option(help="Only for this grade. May be given several times.", show_default=False)
]
Languages = Annotated[
    list[str] | None,
    typer.Option(help="Only in this language, such as es. May be given several times.", show_default=False),
]
MaxMinutes = Annotated[
    int | None, typer.Option(min=1, help="Only resources that take at most this long.", show_default=False)
]
Excluded = Annotated[
    list[str] | None, typer.Option(help="Without this resource. May be given several times.", show_default=False)
]
AsOf = Annotated[
    datetime | None,
    typer.Option(
        formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"],
        help="The moment to answer for, in UTC; by default now, truncated to the hour.",
        show_default=False,
    ),
]
FreshnessToken = Annotated[
    str, typer.Option(help="A token from PublishEvents: wait until that event is included.", show_default=False)
]


@app.callback()
def _recommendations() -> None:
    """Recommend resources for a learner, and show what is known about one."""


@learner_app.callback()
def _learner() -> None:
    """Show, export, erase or repair what is known about a learner."""


@app.command("recommend", epilog="Example: cairn recommend amy --limit 5 --kind practice --max-minutes 20")
def recommend(
    learner: Learner,
    *,
    limit: Annotated[int, typer.Option(min=1, max=100, help="At most this many resources.")] = 10,
    kind: Kinds = None,
    skill: Skills = None,
    grade: Grades = None,
    language: Languages = None,
    max_minutes: MaxMinutes = None,
    exclude: Excluded = None,
    as_of: AsOf = None,
    freshness_token: FreshnessToken = "",
    target: Target = DEFAULT_TARGET,
    api_key_file: ApiKeyFile = None,
    insecure: Insecure = False,
    timeout_s: TimeoutS = 10.0,
    as_json: AsJson = False,
) -> None:
    """List what a learner should work on next, best first, and why.

    Exit codes: 0, there is a list, even an empty one. 1, the service did not answer. 2, an option is invalid.
    """
    request = recommender_pb2.RecommendRequest(
        learner_id=learner,
        limit=limit,
        filter=recommender_pb2.ResourceFilter(
            kinds=[catalog_pb2.ResourceKind.Value(f"RESOURCE_KIND_{each.name}") for each in kind or ()],
            skills=skill or (),
            grades=grade or (),
            languages=language or (),
            max_minutes=max_minutes,
            exclude_resource_ids=exclude or (),
        ),
        freshness_token=freshness_token,
    )
    if as_of is not None:
        request.as_of.FromDatetime(as_of.replace(tzinfo=UTC))
    with calling(target, api_key_file, insecure=insecure) as (stub, metadata):
        reply = stub.Recommend(request, metadata=metadata, timeout=timeout_s)
    if as_json:
        print_json(reply)
        return
    console = Console(highlight=False)
    for place, recommendation in enumerate(reply.recommendations, start=1):
        _print_recommendation(console, place, recommendation)
    if not reply.recommendations:
        console.print("Nothing in the catalog fits.")
    print_degraded(console, reply.degraded)


@learner_app.command("show", epilog="Example: cairn learner show amy")
def show(
    learner: Learner,
    *,
    freshness_token: FreshnessToken = "",
    target: Target = DEFAULT_TARGET,
    api_key_file: ApiKeyFile = None,
    insecure: Insecure = False,
    timeout_s: TimeoutS = 10.0,
    as_json: AsJson = False,
    events: Annotated[bool, typer.Option("--events", help="Also show what each recent event changed.")] = False,
    tenant: Annotated[
        str, typer.Option(help="With --events: the learner's tenant, from the tenants file.", show_default=False)
    ] = "",
    environment_file: EnvironmentFile = Path(".local/env"),
) -> None:
    """Show a learner's mastery of every skill they responded to, with its 95 % interval.

    With --events also what each of their recent events changed. That is for operators: it reads Redis, and needs the
    tenants file and --tenant.

    Exit codes: 0, there is an answer. 1, the service did not answer. 2, an option is invalid.
    """
    if events and not tenant:
        fail("--events reads the learner's journal: name the learner's tenant with --tenant", BAD_INPUT)
    request = recommender_pb2.GetLearnerRequest(learner_id=learner, freshness_token=freshness_token)
    with calling(target, api_key_file, insecure=insecure) as (stub, metadata):
        reply = stub.GetLearner(request, metadata=metadata, timeout=timeout_s)
    if as_json:
        print_json(reply)
        return
    console = Console(highlight=False)
    if reply.skills:
        console.print(_mastery_table(reply.skills))
    if unknown := nothing_is_known(reply, learner):
        console.print(escape(unknown), soft_wrap=True)
    console.print(f"{reply.responses:,} responses to {len(reply.skills):,} skills, epoch {reply.epoch}")
    if reply.skill_limit_reached:
        console.print("the learner has as many skills as are kept: events add no further ones")
    for line in _wants(reply.preferences):
        console.print(escape(line), soft_wrap=True)
    print_degraded(console, reply.degraded)
    if events:
        print_history(console, learner, tenant, environment_file)


add_commands(learner_app)


def _wants(preferences: events_pb2.PreferenceEvent) -> list[str]:
    kinds = [
        catalog_pb2.ResourceKind.Name(kind).removeprefix("RESOURCE_KIND_").lower() for kind in preferences.formats.kinds
    ]
    lines = [
        f"{what}: {', '.join(values)}"
        for what, values in (
            ("goals", preferences.goals.skills),
            ("interests", preferences.interests.topics),
            ("prefers", kinds),
        )
        if values
    ]
    if preferences.pace:
        lines.append(f"pace: {events_pb2.Pace.Name(preferences.pace).removeprefix('PACE_').lower()}")
    return lines


def _print_recommendation(console: Console, place: int, each: recommender_pb2.Recommendation) -> None:
    step = recommender_pb2.Step.Name(each.step).removeprefix("STEP_").lower().replace("_", " ")
    kind = catalog_pb2.ResourceKind.Name(each.kind).removeprefix("RESOURCE_KIND_").lower()
    minutes = f", {each.minutes} min" if each.HasField("minutes") else ""
    console.print(f"[bold]{place:>3}  {escape(each.title or each.resource_id)}[/bold]", soft_wrap=True)
    lines = [f"{step}: {kind} {each.resource_id}{minutes}", *(reason.text for reason in each.reasons)]
    if each.reassess_with:
        lines.append(f"then check with {each.reassess_with}")
    for line in lines:
        console.print(f"     {escape(line)}", soft_wrap=True)


def _mastery_table(skills: Sequence[recommender_pb2.SkillMastery]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("skill", ratio=1, no_wrap=True, overflow="ellipsis")
    table.add_column("chance of success", no_wrap=True)
    table.add_column("", justify="right", no_wrap=True)
    table.add_column("95 %", justify="right", no_wrap=True)
    table.add_column("right", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for skill in skills:
        table.add_row(
            escape(skill.skill),
            _bar(skill),
            f"{100 * skill.probability:.0f} %",
            f"{100 * skill.low:.0f}-{100 * skill.high:.0f}",
            f"{skill.successes:.3g} of {skill.responses}",
            "mastered" if skill.mastered else "",
        )
    return table


def _bar(skill: recommender_pb2.SkillMastery) -> str:
    """The chance as a bar, and the upper part of its interval in a lighter shade."""
    sure, reach = round(_BAR_CELLS * skill.probability), round(_BAR_CELLS * skill.high)
    return "█" * sure + "░" * max(reach - sure, 0)
