"""`cairn catalog apply-prerequisites`: write what a person decided about proposed prerequisites."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from services.catalog.cli.calls import DEFAULT_TARGET, Kind, Target, calling, listed, send
from services.catalog.domain.model import Skill
from services.catalog.formats.decided_prerequisites import DecidedPrerequisite, read_decided_prerequisites
from services.catalog.formats.jsonl import FileUnreadableError, LineProblem
from services.common.command_line import BAD_INPUT, fail
from services.common.rpc.calls import ApiKeyFile, Insecure, TimeoutS

_PROBLEMS_SHOWN = 20

app = typer.Typer(rich_markup_mode="markdown")


@app.command("apply-prerequisites", epilog="Example: cairn catalog apply-prerequisites prerequisites.csv --dry-run")
def apply_prerequisites(
    file: Annotated[Path, typer.Argument(help="The table that `cairn catalog prerequisites --out` wrote.")],
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be written, and write nothing.")] = False,
    target: Target = DEFAULT_TARGET,
    api_key_file: ApiKeyFile = None,
    insecure: Insecure = False,
    timeout_s: TimeoutS = 30.0,
) -> None:
    """Write what a person decided about proposed prerequisites.

    A `yes` in the column `decision` adds the prerequisite if the skill lacks it, a `no` removes it if the skill has it,
    and rows without a decision change nothing. All is written or nothing: not where prerequisites would form a cycle.
    Keep the table: `cairn catalog prerequisites --reviewed` does not propose again what it says no to.

    Exits with 2 when the table is invalid, with 1 when the service cannot be reached or refuses.
    """
    try:
        table = read_decided_prerequisites(file)
    except FileUnreadableError as error:
        fail(str(error), BAD_INPUT)
    with calling(target, api_key_file, insecure=insecure) as (stub, metadata):
        skills = [one for one in listed(stub, metadata, Kind.SKILL, sys.maxsize, timeout_s) if isinstance(one, Skill)]
        known = {skill.id for skill in skills}
        problems = [*table.problems, *_problems(table.decisions, known)]
        if problems:
            _fail_with(file, problems)
        changed = with_decisions(skills, table.decisions)
        before = {skill.id: skill.prerequisites for skill in skills}
        added = sum(len({*skill.prerequisites} - {*before[skill.id]}) for skill in changed)
        removed = sum(len({*before[skill.id]} - {*skill.prerequisites}) for skill in changed)
        if changed and not dry_run:
            send(stub, metadata, changed, timeout_s)
    verb = "would be " if dry_run else ""
    typer.echo(
        f"{added:,} prerequisites {verb}added, {removed:,} {verb}removed, of {len(changed):,} skills; "
        f"{len(table.decisions):,} rows decided, {table.undecided:,} left open"
    )


def with_decisions(skills: Sequence[Skill], decisions: Sequence[DecidedPrerequisite]) -> list[Skill]:
    """The skills whose prerequisites decisions change, as they are to be."""
    requires = {skill.id: dict.fromkeys(skill.prerequisites) for skill in skills}
    for each in decisions:
        if each.wanted:
            requires[each.skill].setdefault(each.prerequisite)
        else:
            requires[each.skill].pop(each.prerequisite, None)
    return [
        replace(skill, prerequisites=tuple(requires[skill.id]))
        for skill in skills
        if tuple(requires[skill.id]) != skill.prerequisites
    ]


def _problems(decisions: Sequence[DecidedPrerequisite], known: set[str]) -> list[LineProblem]:
    problems, said = [], dict[tuple[str, str], DecidedPrerequisite]()
    for each in decisions:
        for field, skill in (("prerequisite", each.prerequisite), ("skill", each.skill)):
            if skill not in known:
                problems.append(LineProblem(each.line, field, f"{skill!r} is no skill of the catalog; correct the id"))
        earlier = said.setdefault((each.prerequisite, each.skill), each)
        if earlier.wanted != each.wanted:
            problems.append(LineProblem(each.line, "decision", f"contradicts line {earlier.line}; keep one of them"))
    return problems


def _fail_with(file: Path, problems: Sequence[LineProblem]) -> None:
    for problem in problems[:_PROBLEMS_SHOWN]:
        typer.echo(f"{file}:{problem.line}: {' '.join(filter(None, (problem.field, problem.reason)))}", err=True)
    if len(problems) > _PROBLEMS_SHOWN:
        typer.echo(f"... and {len(problems) - _PROBLEMS_SHOWN:,} more", err=True)
    fail("nothing was written: correct these lines", BAD_INPUT)
