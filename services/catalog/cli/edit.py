"""`cairn catalog put` and `cairn catalog delete`: change single records."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cairn.v1 import catalog_pb2
from services.catalog.cli.calls import DEFAULT_TARGET, Kind, Target, calling
from services.catalog.domain.model import Resource, Skill
from services.catalog.formats.jsonl import FileContents, FileUnreadableError, read_resources, read_skills
from services.catalog.wire.resources import resource_to_proto
from services.catalog.wire.skills import skill_to_proto
from services.common.command_line import BAD_INPUT, FAILED, fail
from services.common.rpc.calls import ApiKeyFile, Insecure, TimeoutS

_BATCH = 500

app = typer.Typer(rich_markup_mode="markdown")

_Etag = Annotated[
    str,
    typer.Option(
        help="Only if this is still the current version; `cairn catalog get --etag` prints it.", show_default=False
    ),
]


@app.command("put", epilog="Example: cairn catalog put resource changed.jsonl")
def put(
    kind: Annotated[Kind, typer.Argument(help="What the file holds.")],
    file: Annotated[Path, typer.Argument(help="JSON lines as `cairn catalog get` prints them; - for standard input.")],
    *,
    etag: _Etag = "",
    new: Annotated[bool, typer.Option("--new", help="Only if there is none with that id yet.")] = False,
    target: Target = DEFAULT_TARGET,
    api_key_file: ApiKeyFile = None,
    insecure: Insecure = False,
    timeout_s: TimeoutS = 30.0,
) -> None:
    """Write some skills or resources; each on its own, so an invalid one does not affect the others.

    To change one without undoing another person's change: run `cairn catalog get resource ID --etag`, edit the line,
    and put it with `--etag` and the printed etag.

    Within a second, a resource whose `status` is `retired` is no longer recommended; responses to it still get their
    skills. Use `cairn catalog import` to write a whole catalog or nothing.

    Exits with 2, and a table of the problems by line, when some records were rejected; with 1 when some were not as
    expected, or the service cannot be reached.
    """
    if etag and new:
        fail("--etag and --new contradict each other: a new record has no etag yet", BAD_INPUT)
    contents: FileContents[Skill] | FileContents[Resource]
    path = Path("/dev/stdin") if str(file) == "-" else file
    try:
        contents = read_skills(path) if kind is Kind.SKILL else read_resources(path)
    except FileUnreadableError as error:
        fail(str(error), BAD_INPUT)
    if contents.problems:
        _print_problems([(f"{file}:{one.line}", one.field, one.reason) for one in contents.problems])
        fail("nothing was written: fix these lines", BAD_INPUT)
    if etag and len(contents.records) != 1:
        fail(f"--etag is for one record; {file} has {len(contents.records)}", BAD_INPUT)
    counts: dict[int, int] = {}
    problems: list[tuple[str, str, str]] = []
    lines = iter(contents.lines)
    with calling(target, api_key_file, insecure=insecure) as (stub, metadata):
        for request in _batches(contents.records, etag, new=new):
            reply = stub.BatchPut(request, metadata=metadata, timeout=timeout_s)
            for result, line in zip((*reply.skills, *reply.resources), lines, strict=False):
                counts[result.status] = counts.get(result.status, 0) + 1
                problems += [
                    (f"{file}:{line}", problem.field.partition(f".{kind}.")[2], problem.reason)
                    for problem in result.problems
                ]
                if result.status == catalog_pb2.PUT_STATUS_CONFLICT:
                    current = f"it has the etag {result.etag}" if result.etag else "it no longer exists"
                    problems.append((f"{file}:{line}", "id", f"is not as expected: {current}; read it again"))
    typer.echo(
        f"{kind}s: {counts.get(catalog_pb2.PUT_STATUS_WRITTEN, 0):,} written, "
        f"{counts.get(catalog_pb2.PUT_STATUS_UNCHANGED, 0):,} unchanged, "
        f"{counts.get(catalog_pb2.PUT_STATUS_CONFLICT, 0):,} not as expected, "
        f"{counts.get(catalog_pb2.PUT_STATUS_REJECTED, 0):,} rejected"
    )
    if problems:
        _print_problems(problems)
        raise typer.Exit(BAD_INPUT if counts.get(catalog_pb2.PUT_STATUS_REJECTED) else FAILED)


@app.command("delete", epilog="Example: cairn catalog delete resource vid-1")
def delete(
    kind: Annotated[Kind, typer.Argument(help="What to delete.")],
    identifier: Annotated[str, typer.Argument(metavar="ID", help="Its id.")],
    *,
    etag: _Etag = "",
    target: Target = DEFAULT_TARGET,
    api_key_file: ApiKeyFile = None,
    insecure: Insecure = False,
    timeout_s: TimeoutS = 10.0,
) -> None:
    """Remove one skill or resource. It disappears from recommendations within a second.

    A skill that a resource, a rule or another skill uses cannot be removed; the error lists them. To stop recommending
    a resource but keep the skills of its responses, retire it instead: put it with `"status": "retired"`.
    """
    with calling(target, api_key_file, insecure=insecure) as (stub, metadata):
        if kind is Kind.SKILL:
            skill = catalog_pb2.DeleteSkillRequest(id=identifier, etag=etag)
            version = stub.DeleteSkill(skill, metadata=metadata, timeout=timeout_s).version
        else:
            resource = catalog_pb2.DeleteResourceRequest(id=identifier, etag=etag)
            version = stub.DeleteResource(resource, metadata=metadata, timeout=timeout_s).version
    typer.echo(f"{kind} {identifier} removed; catalog version {version.resources_offset}/{version.skills_offset}")


def _batches(records: Sequence[Skill | Resource], etag: str, *, new: bool) -> Iterator[catalog_pb2.BatchPutRequest]:
    remaining = iter(records)
    while chunk := list(islice(remaining, _BATCH)):
        request = catalog_pb2.BatchPutRequest()
        for record in chunk:
            if isinstance(record, Skill):
                request.skills.add(skill=skill_to_proto(record), etag=etag, must_be_new=new)
            else:
                request.resources.add(resource=resource_to_proto(record), etag=etag, must_be_new=new)
        yield request


def _print_problems(problems: Sequence[tuple[str, str, str]]) -> None:
    table = Table(box=None, pad_edge=False)
    table.add_column("where", no_wrap=True)
    table.add_column("field", overflow="fold")
    table.add_column("what is wrong", ratio=1, overflow="fold")
    for problem in problems[:50]:
        table.add_row(*map(escape, problem))
    Console(stderr=True, highlight=False).print(table)
    if len(problems) > 50:
        sys.stderr.write(f"... and {len(problems) - 50:,} more\n")
