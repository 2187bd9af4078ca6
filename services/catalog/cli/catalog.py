"""Commands of the catalog: import files, get and list records. A client of the CatalogService."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar

import grpc
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cairn.v1 import catalog_pb2, catalog_pb2_grpc
from services.catalog.cli import contradictions as cli_contradictions
from services.catalog.cli import edit as cli_edit
from services.catalog.cli import frameworks as cli_frameworks
from services.catalog.cli import prerequisites as cli_prerequisites
from services.catalog.cli import rules as cli_rules
from services.catalog.cli import tag as cli_tag
from services.catalog.cli.calls import DEFAULT_TARGET, Kind, Target, calling, listed, send
from services.catalog.cli.differences import show_differences
from services.catalog.cli.frameworks import (
    FrameworkFiles,
    FrameworkOptions,
    IdsOfSkills,
    ItemTypes,
    OfficialText,
    SkillIds,
    read_in_frameworks,
)
from services.catalog.cli.resource_files import (
    FoundResources,
    IdPrefix,
    Invalid,
    Removed,
    ResourceFileFormat,
    ResourceOptions,
    TableMappingFile,
    UnresolvedFile,
    WhatIsInvalid,
    WhatIsRemoved,
    plan_import,
    read_in_resources,
    remove,
)
from services.catalog.domain.model import Resource, ResourceStatus, Skill
from services.catalog.domain.validation.imports import check_records
from services.catalog.formats.jsonl import (
    FileContents,
    FileUnreadableError,
    line_of,
    read_resources,
    read_skills,
)
from services.catalog.formats.resources.files import ResourceFormat
from services.catalog.wire.resources import resource_from_proto
from services.catalog.wire.skills import skill_from_proto
from services.common.command_line import BAD_INPUT, fail
from services.common.resource_kinds import ResourceKindName
from services.common.rpc.calls import ApiKeyFile, Insecure, Metadata, TimeoutS
from services.common.rpc.statuses import FieldViolation, violations_of

Record = TypeVar("Record", Skill, Resource)

_LINE_CHARACTERS = 10_000
_PROBLEMS_SHOWN = 50

app = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown", help="Manage skills, resources and rules.")
app.add_typer(cli_edit.app)
app.add_typer(cli_frameworks.app)
app.add_typer(cli_tag.app)
app.add_typer(cli_contradictions.app)
app.add_typer(cli_prerequisites.app)
app.add_typer(cli_rules.app, name="rules")


@app.callback()
def _catalog() -> None:
    """Manage skills, resources and rules: import, put, delete and list them, and tag resources with skills."""


@app.command(
    "import",
    epilog=f"Kinds: {', '.join(ResourceKindName)}. Statuses: {', '.join(ResourceStatus)}.\n\n"
    "Example: cairn catalog import --skills skills.jsonl --resources resources.jsonl.gz",
)
def import_files(
    *,
    skills: Annotated[
        list[Path] | None,
        typer.Option(help="File of skills, JSON lines, plain or gzip. May be given several times.", show_default=False),
    ] = None,
    resources: Annotated[
        list[Path] | None,
        typer.Option(
            help="File of resources, in JSON lines, plain or gzip, or as --format says. May be given several times.",
            show_default=False,
        ),
    ] = None,
    form: ResourceFileFormat = ResourceFormat.JSONL,
    mapping: TableMappingFile = None,
    id_prefix: IdPrefix = None,
    removed: WhatIsRemoved = Removed.RETIRE,
    invalid: WhatIsInvalid = Invalid.REFUSE,
    unresolved: UnresolvedFile = None,
    framework: FrameworkFiles = None,
    item_type: ItemTypes = None,
    ids: IdsOfSkills = SkillIds.IDENTIFIER,
    official_text: OfficialText = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would change, and write nothing.")] = False,
    target: Target = DEFAULT_TARGET,
    api_key_file: ApiKeyFile = None,
    insecure: Insecure = False,
    timeout_s: TimeoutS = 120.0,
) -> None:
    """Write skills and resources: all of them or, when anything is invalid, none.

    One JSON object on each line. A skill: `{"id": "6.RP.A.1", "framework": "CCSS.Math", "code": "6.RP.A.1",
    "statement": "...", "prerequisites": ["5.NF.B.5"], "grades": ["6"], "importance": 1}`.

    A resource: `{"id": "vid-1", "title": "...", "kind": "video", "description": "...", "provider": "...",
    "url": "https://...", "teaches": [{"skill": "6.RP.A.1", "weight": 1}], "assesses": [], "grades": ["6"],
    "language": "en", "minutes": 8, "license": "CC-BY-4.0", "difficulty": 0.4, "status": "active"}`.

    A framework is a file of CASE or ASN, or `ccss-math`, which Cairn ships. What is left out of it is counted and
    named; `docs/formats.md` says what and why. So it does for resources in LRMI, in cartridges and in tables.

    A skill needs only its id, a resource id, title and kind. A record replaces the one with its id; unchanged records
    are not written again, so an import may be repeated.

    Exits with 2, and a table of the problems by line, when the input is invalid; with 1 when the service cannot be
    reached or refuses.
    """
    if not skills and not resources and not framework:
        fail(
            "nothing to import: name a file with --skills FILE, --resources FILE or both, or one with --framework FILE",
            BAD_INPUT,
        )
    options = ResourceOptions(form, mapping, id_prefix, removed, invalid, unresolved)
    options.check(resources or [])
    read_in = _read(
        skills or [], resources or [], framework or [], FrameworkOptions(item_type or [], ids, official_text), options
    )
    with calling(target, api_key_file, insecure=insecure) as (stub, metadata):
        _import(stub, metadata, read_in, options, timeout_s, dry_run=dry_run)


@app.command("get", epilog="Example: cairn catalog get skill 6.RP.A.3")
def get_record(
    kind: Annotated[Kind, typer.Argument(help="What to get.")],
    identifier: Annotated[str, typer.Argument(metavar="ID", help="Its id.")],
    *,
    etag: Annotated[bool, typer.Option("--etag", help="Print its etag on standard error, too.")] = False,
    target: Target = DEFAULT_TARGET,
    api_key_file: ApiKeyFile = None,
    insecure: Insecure = False,
    timeout_s: TimeoutS = 10.0,
) -> None:
    """Print one skill or resource as a line of an import. Exits with 1 when there is none."""
    with calling(target, api_key_file, insecure=insecure) as (stub, metadata):
        record: Skill | Resource
        if kind is Kind.SKILL:
            skill = stub.GetSkill(catalog_pb2.GetSkillRequest(id=identifier), metadata=metadata, timeout=timeout_s)
            record, version = skill_from_proto(skill.skill), skill.etag
        else:
            resource = stub.GetResource(
                catalog_pb2.GetResourceRequest(id=identifier), metadata=metadata, timeout=timeout_s
            )
            record, version = resource_from_proto(resource.resource), resource.etag
    typer.echo(line_of(record))
    if etag:
        typer.echo(version, err=True)


@app.command("list", epilog="Example: cairn catalog list resource --json > resources.jsonl")
def list_records(
    kind: Annotated[Kind, typer.Argument(help="What to list.")],
    *,
    json_lines: Annotated[bool, typer.Option("--json", help="Print lines that an import reads.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="Print at most this many.", show_default="all")] = sys.maxsize,
    target: Target = DEFAULT_TARGET,
    api_key_file: ApiKeyFile = None,
    insecure: Insecure = False,
    timeout_s: TimeoutS = 30.0,
) -> None:
    """List skills or resources in the order of their ids."""
    with calling(target, api_key_file, insecure=insecure) as (stub, metadata):
        records = listed(stub, metadata, kind, limit, timeout_s)
        if json_lines:
            for record in records:
                typer.echo(line_of(record))
        else:
            Console(highlight=False).print(_table(list(records), kind))


class _ReadIn:
    """The contents of the files of one import, and where each record is."""

    def __init__(self) -> None:
        self.skills: list[Skill] = []
        self.resources: list[Resource] = []
        self.found: FoundResources | None = None
        self.problems: list[tuple[str, str, str]] = []
        self._places: dict[str, list[str]] = {"skills": [], "resources": []}

    def add(self, file: Path, name: str, records: list[Record], contents: FileContents[Record]) -> None:
        records += contents.records
        self._places[name] += [f"{file}:{line}" for line in contents.lines]
        self.problems += [(f"{file}:{problem.line}", problem.field, problem.reason) for problem in contents.problems]

    def add_frameworks(self, files: Sequence[Path], options: FrameworkOptions) -> None:
        """Add the skills of frameworks, which have no lines: their ids say which one is meant."""
        contents = read_in_frameworks(files, options)
        self.skills += contents.skills
        self._places["skills"] += [f"{', '.join(map(str, files))}: {skill.id}" for skill in contents.skills]
        for problem in contents.problems:
            file, _, path = problem.path.rpartition(": ")
            self.problems.append((file, path, problem.reason))

    def add_resources(self, records: Sequence[Resource]) -> None:
        """Add the resources that were found, with their tags, and others whose ids say where they are."""
        places = self.found.places if self.found else []
        self.resources += records
        self._places["resources"] += [*places, *(record.id for record in records[len(places) :])]

    def placed(self, violation: FieldViolation) -> tuple[str, str, str]:
        """A problem as place, field and reason: `resources[3].title` becomes the file's line and `title`."""
        record, _, field = violation.field.partition(".")
        name, _, index = record.rstrip("]").partition("[")
        if name in self._places and index.isdigit():
            return self._places[name][int(index)], field, violation.reason
        return "", violation.field, violation.reason


def _read(
    skill_files: Iterable[Path],
    resource_files: Iterable[Path],
    frameworks: Sequence[Path],
    framework_options: FrameworkOptions,
    options: ResourceOptions,
) -> _ReadIn:
    read_in = _ReadIn()
    try:
        if frameworks:
            read_in.add_frameworks(frameworks, framework_options)
        for file in skill_files:
            read_in.add(file, "skills", read_in.skills, read_skills(file))
        if options.form is not ResourceFormat.JSONL:
            read_in.found = read_in_resources([*resource_files], options)
            read_in.problems += read_in.found.problems
        for file in resource_files if read_in.found is None else ():
            read_in.add(file, "resources", read_in.resources, read_resources(file))
    except FileUnreadableError as error:
        fail(str(error), BAD_INPUT)
    _check(read_in)
    return read_in


def _check(read_in: _ReadIn) -> None:
    # The service checks again, against its catalog; here all problems can be shown.
    found = check_records(read_in.skills, read_in.resources)
    read_in.problems += [read_in.placed(FieldViolation(problem.path, problem.reason)) for problem in found]
    if read_in.problems:
        _fail_with_problems(read_in.problems)


def _import(
    stub: catalog_pb2_grpc.CatalogServiceStub,
    metadata: Metadata,
    read_in: _ReadIn,
    options: ResourceOptions,
    timeout_s: float,
    *,
    dry_run: bool,
) -> None:
    plan = None
    if read_in.found is not None:
        plan = plan_import(stub, metadata, read_in.found, read_in.skills, options, timeout_s)
        read_in.add_resources(plan.resources)
        _check(read_in)
    if dry_run:
        show_differences(stub, metadata, read_in.skills, read_in.resources, timeout_s, plan)
        return
    _write(stub, metadata, read_in, timeout_s)
    if plan is not None and read_in.found is not None:
        remove(stub, metadata, plan, read_in.found.scopes, timeout_s)


def _write(stub: catalog_pb2_grpc.CatalogServiceStub, metadata: Metadata, read_in: _ReadIn, timeout_s: float) -> None:
    try:
        reply = send(stub, metadata, [*read_in.skills, *read_in.resources], timeout_s)
    except grpc.RpcError as error:
        if violations := _violations_of(error):
            _fail_with_problems([read_in.placed(violation) for violation in violations], error)
        raise
    version = reply.version
    typer.echo(
        f"skills: {reply.skills_written:,} written, {reply.skills_unchanged:,} unchanged; "
        f"resources: {reply.resources_written:,} written, {reply.resources_unchanged:,} unchanged; "
        f"catalog version {version.resources_offset}/{version.skills_offset}"
    )


def _table(records: Sequence[Skill | Resource], kind: Kind) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("id", no_wrap=True)
    table.add_column("statement" if kind is Kind.SKILL else "title", ratio=1, no_wrap=True, overflow="ellipsis")
    table.add_column("requires" if kind is Kind.SKILL else "kind", no_wrap=True, overflow="ellipsis")
    table.add_column("grades", no_wrap=True)
    for record in records:
        if isinstance(record, Skill):
            columns = (record.id, record.statement, " ".join(record.prerequisites))
        else:
            columns = (record.id, record.title, str(record.kind or ""))
        table.add_row(*map(escape, columns), escape(" ".join(record.grades)))
    return table


def _violations_of(error: Any) -> list[FieldViolation]:
    # gRPC types its errors as RpcError only; the error of a call is also the call.
    return violations_of(error)


def _fail_with_problems(problems: Sequence[tuple[str, str, str]], error: Any = None) -> NoReturn:
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        # A line for each problem, for programs.
        console.width = _LINE_CHARACTERS
    table = Table(box=None, pad_edge=False)
    table.add_column("where", ratio=1, overflow="fold")
    table.add_column("field", ratio=1, overflow="fold")
    table.add_column("what is wrong", ratio=2, overflow="fold")
    for problem in problems[:_PROBLEMS_SHOWN]:
        table.add_row(*map(escape, problem))
    console.print(table)
    if error is not None and "more (" in error.details():
        typer.echo(f"... and {error.details().rpartition('; and ')[2]}", err=True)
    elif len(problems) > _PROBLEMS_SHOWN:
        typer.echo(f"... and {len(problems) - _PROBLEMS_SHOWN:,} more", err=True)
    fail("nothing was imported: fix these lines, then import again", BAD_INPUT)
