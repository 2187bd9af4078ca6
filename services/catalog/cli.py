"""Commands of the catalog: import files, look at what is there. A client of the CatalogService."""

from __future__ import annotations

import ipaddress
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar

import grpc
import typer
from grpc_status import rpc_status
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from cairn.v1 import catalog_pb2, catalog_pb2_grpc
from services.catalog import wire
from services.catalog.domain.model import Resource, Skill
from services.catalog.domain.validation import check_records
from services.catalog.formats.jsonl import (
    FileContents,
    FileUnreadableError,
    line_of,
    read_resources,
    read_skills,
)
from services.common.statuses import FieldViolation, violations_of

Record = TypeVar("Record", Skill, Resource)
Metadata = tuple[tuple[str, str | bytes], ...]

_FAILED = 1
_BAD_INPUT = 2
_CHUNK_BYTES_MAX = 1_000_000
_PROBLEMS_SHOWN = 50
_PAGE_SIZE = 1_000
# A field of a chunk costs a tag and a length beside the record itself.
_FRAMING_BYTES = 6

app = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown", help="Import and list skills and resources.")


class Kind(StrEnum):
    """What the catalog keeps."""

    SKILL = "skill"
    RESOURCE = "resource"


Target = Annotated[
    str, typer.Option(envvar="CAIRN_TARGET_CATALOG", help="host:port of the catalog service.", show_default=True)
]
ApiKeyFile = Annotated[
    Path | None,
    typer.Option(
        help="File that holds the API key; without it the key is taken from CAIRN_API_KEY.", show_default=False
    ),
]
Insecure = Annotated[
    bool,
    typer.Option("--insecure", help="Talk to another machine without TLS. The API key can then be read on the way."),
]
TimeoutS = Annotated[float, typer.Option(min=0.1, help="Give up after this many seconds.")]

_DEFAULT_TARGET = "127.0.0.1:50052"


@app.callback()
def _catalog() -> None:
    """Import and list skills and resources."""


@app.command(
    "import",
    epilog="Example: cairn catalog import --skills skills.jsonl --resources resources.jsonl.gz",
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
            help="File of resources, JSON lines, plain or gzip. May be given several times.", show_default=False
        ),
    ] = None,
    target: Target = _DEFAULT_TARGET,
    api_key_file: ApiKeyFile = None,
    insecure: Insecure = False,
    timeout_s: TimeoutS = 120.0,
) -> None:
    """Write skills and resources, all of them or, when anything is wrong, none.

    One JSON object a line. A skill: `{"id": "6.RP.A.1", "framework": "CCSS.Math", "code": "6.RP.A.1",
    "statement": "...", "prerequisites": ["5.NF.B.5"], "grades": ["6"], "importance": 1}`.

    A resource: `{"id": "vid-1", "title": "...", "kind": "video", "description": "...", "provider": "...",
    "url": "https://...", "teaches": [{"skill": "6.RP.A.1", "weight": 1}], "assesses": [], "grades": ["6"],
    "language": "en", "minutes": 8, "license": "CC-BY-4.0", "difficulty": 0.4, "status": "active"}`.

    Kinds: lesson, video, practice, game, assessment, activity. Statuses: draft, active, retired. A skill needs only
    its id, a resource id, title and kind. A record with the id of one that is there replaces it; records that already
    stand like that are left alone, so an import may be repeated.

    Ends with 2, and a table of what is wrong in which line, when the input is invalid; with 1 when the service cannot
    be reached or refuses.
    """
    if not skills and not resources:
        _fail("nothing to import: name a file with --skills FILE, --resources FILE or both", _BAD_INPUT)
    read_in = _read(skills or [], resources or [])
    with _calling(target, api_key_file, insecure=insecure) as (stub, metadata):
        try:
            reply = _send(stub, metadata, read_in, timeout_s)
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


@app.command("get", epilog="Example: cairn catalog get skill 6.RP.A.3")
def get_record(
    kind: Annotated[Kind, typer.Argument(help="What to get.")],
    identifier: Annotated[str, typer.Argument(metavar="ID", help="Its id.")],
    *,
    target: Target = _DEFAULT_TARGET,
    api_key_file: ApiKeyFile = None,
    insecure: Insecure = False,
    timeout_s: TimeoutS = 10.0,
) -> None:
    """Print one skill or resource as the line an import would take. Ends with 1 when there is none."""
    with _calling(target, api_key_file, insecure=insecure) as (stub, metadata):
        record: Skill | Resource
        if kind is Kind.SKILL:
            skill = stub.GetSkill(catalog_pb2.GetSkillRequest(id=identifier), metadata=metadata, timeout=timeout_s)
            record = wire.skill_from_proto(skill.skill)
        else:
            resource = stub.GetResource(
                catalog_pb2.GetResourceRequest(id=identifier), metadata=metadata, timeout=timeout_s
            )
            record = wire.resource_from_proto(resource.resource)
    typer.echo(line_of(record))


@app.command("list", epilog="Example: cairn catalog list resource --json > resources.jsonl")
def list_records(
    kind: Annotated[Kind, typer.Argument(help="What to list.")],
    *,
    json_lines: Annotated[bool, typer.Option("--json", help="Print the lines an import would take.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="Print at most this many.", show_default="all")] = sys.maxsize,
    target: Target = _DEFAULT_TARGET,
    api_key_file: ApiKeyFile = None,
    insecure: Insecure = False,
    timeout_s: TimeoutS = 30.0,
) -> None:
    """List skills or resources in the order of their ids."""
    with _calling(target, api_key_file, insecure=insecure) as (stub, metadata):
        records = _listed(stub, metadata, kind, limit, timeout_s)
        if json_lines:
            for record in records:
                typer.echo(line_of(record))
        else:
            Console(highlight=False).print(_table(list(records), kind))


class _ReadIn:
    """What the files of one import hold, and where each record stands."""

    def __init__(self) -> None:
        self.skills: list[Skill] = []
        self.resources: list[Resource] = []
        self.problems: list[tuple[str, str, str]] = []
        self._places: dict[str, list[str]] = {"skills": [], "resources": []}

    def add(self, file: Path, name: str, records: list[Record], contents: FileContents[Record]) -> None:
        records += contents.records
        self._places[name] += [f"{file}:{line}" for line in contents.lines]
        self.problems += [(f"{file}:{problem.line}", problem.field, problem.reason) for problem in contents.problems]

    def placed(self, violation: FieldViolation) -> tuple[str, str, str]:
        """A problem as place, field and reason: `resources[3].title` becomes the file's line and `title`."""
        record, _, field = violation.field.partition(".")
        name, _, index = record.rstrip("]").partition("[")
        if name in self._places and index.isdigit():
            return self._places[name][int(index)], field, violation.reason
        return "", violation.field, violation.reason


def _read(skill_files: Iterable[Path], resource_files: Iterable[Path]) -> _ReadIn:
    read_in = _ReadIn()
    try:
        for file in skill_files:
            read_in.add(file, "skills", read_in.skills, read_skills(file))
        for file in resource_files:
            read_in.add(file, "resources", read_in.resources, read_resources(file))
    except FileUnreadableError as error:
        _fail(str(error), _BAD_INPUT)
    # The service checks again, with what it has; here every problem fits into the answer.
    found = check_records(read_in.skills, read_in.resources)
    read_in.problems += [read_in.placed(FieldViolation(problem.path, problem.reason)) for problem in found]
    if read_in.problems:
        _fail_with_problems(read_in.problems)
    return read_in


def _send(
    stub: catalog_pb2_grpc.CatalogServiceStub, metadata: Metadata, read_in: _ReadIn, timeout_s: float
) -> catalog_pb2.ImportCatalogResponse:
    total = len(read_in.skills) + len(read_in.resources)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("sending", total=total)

        def chunks() -> Iterator[catalog_pb2.ImportCatalogRequest]:
            for chunk in _chunked(read_in):
                yield chunk
                progress.advance(task, len(chunk.skills) + len(chunk.resources))
            progress.update(task, description="writing")

        return stub.ImportCatalog(chunks(), metadata=metadata, timeout=timeout_s)


def _chunked(read_in: _ReadIn) -> Iterator[catalog_pb2.ImportCatalogRequest]:
    chunk, size_bytes = catalog_pb2.ImportCatalogRequest(), 0
    records: list[Skill | Resource] = [*read_in.skills, *read_in.resources]
    for record in records:
        message = wire.skill_to_proto(record) if isinstance(record, Skill) else wire.resource_to_proto(record)
        message_bytes = message.ByteSize() + _FRAMING_BYTES
        if size_bytes and size_bytes + message_bytes > _CHUNK_BYTES_MAX:
            yield chunk
            chunk, size_bytes = catalog_pb2.ImportCatalogRequest(), 0
        if isinstance(message, catalog_pb2.Skill):
            chunk.skills.append(message)
        else:
            chunk.resources.append(message)
        size_bytes += message_bytes
    yield chunk


def _listed(
    stub: catalog_pb2_grpc.CatalogServiceStub,
    metadata: Metadata,
    kind: Kind,
    limit: int,
    timeout_s: float,
) -> Iterator[Skill | Resource]:
    left, token = limit, ""
    while left:
        size = min(left, _PAGE_SIZE)
        records: list[Skill] | list[Resource]
        if kind is Kind.SKILL:
            skills = stub.ListSkills(
                catalog_pb2.ListSkillsRequest(page_size=size, page_token=token), metadata=metadata, timeout=timeout_s
            )
            records, token = [wire.skill_from_proto(message) for message in skills.skills], skills.next_page_token
        else:
            resources = stub.ListResources(
                catalog_pb2.ListResourcesRequest(page_size=size, page_token=token), metadata=metadata, timeout=timeout_s
            )
            records = [wire.resource_from_proto(message) for message in resources.resources]
            token = resources.next_page_token
        yield from records
        left -= len(records)
        if not token:
            return


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


@contextmanager
def _calling(
    target: str, api_key_file: Path | None, *, insecure: bool
) -> Iterator[tuple[catalog_pb2_grpc.CatalogServiceStub, Metadata]]:
    metadata = (("authorization", f"Bearer {_api_key(api_key_file)}"),)
    with _channel(target, insecure=insecure) as channel:
        try:
            yield catalog_pb2_grpc.CatalogServiceStub(channel), metadata
        except grpc.RpcError as error:
            _fail(_sentence(error, target), _FAILED)


def _api_key(file: Path | None) -> str:
    try:
        api_key = file.read_text().strip() if file else os.environ.get("CAIRN_API_KEY", "").strip()
    except (OSError, UnicodeDecodeError) as error:
        _fail(f"the API key file {file} cannot be read: {error}. Name another with --api-key-file", _BAD_INPUT)
    if not api_key:
        _fail(
            "there is no API key: set CAIRN_API_KEY or name its file with --api-key-file "
            "(make one with: cairn keys create --tenant NAME)",
            _BAD_INPUT,
        )
    return api_key


def _channel(target: str, *, insecure: bool) -> grpc.Channel:
    host = target.rpartition(":")[0].strip("[]")
    try:
        loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if loopback or insecure:
        return grpc.insecure_channel(target)
    return grpc.secure_channel(target, grpc.ssl_channel_credentials())


def _violations_of(error: Any) -> list[FieldViolation]:
    # gRPC types its errors as RpcError alone; those of a call are the call as well.
    return violations_of(error)


def _sentence(error: Any, target: str) -> str:
    code = error.code()
    if code is grpc.StatusCode.UNAVAILABLE and rpc_status.from_call(error) is None:
        # The service's own UNAVAILABLE carries details; this one is the connection's.
        return f"no catalog service answers at {target}: start it, or name another with --target ({error.details()})"
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return f"the catalog service at {target} did not answer in time: allow it longer with --timeout-s"
    return f"{code.name}: {error.details()}"


def _fail_with_problems(problems: Sequence[tuple[str, str, str]], error: Any = None) -> NoReturn:
    console = Console(stderr=True, highlight=False)
    table = Table(box=None, pad_edge=False)
    table.add_column("where", no_wrap=True)
    table.add_column("field", overflow="fold")
    table.add_column("what is wrong", ratio=1, overflow="fold")
    for problem in problems[:_PROBLEMS_SHOWN]:
        table.add_row(*map(escape, problem))
    console.print(table)
    if error is not None and "more (" in error.details():
        typer.echo(f"... and {error.details().rpartition('; and ')[2]}", err=True)
    elif len(problems) > _PROBLEMS_SHOWN:
        typer.echo(f"... and {len(problems) - _PROBLEMS_SHOWN:,} more", err=True)
    _fail("nothing was imported: mend these lines, then import again", _BAD_INPUT)


def _fail(message: str, code: int) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(code)
