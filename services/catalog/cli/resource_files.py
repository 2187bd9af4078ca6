"""Resources of public formats in `cairn catalog import`: read, tagged, and compared with those of the catalog."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import grpc
import orjson
import typer

from cairn.v1 import catalog_pb2, catalog_pb2_grpc
from services.catalog.cli.calls import Kind, listed
from services.catalog.domain.model import Resource, ResourceStatus, Skill
from services.catalog.domain.validation.resources import resource_problems
from services.catalog.formats.frameworks.contents import LeftOut
from services.catalog.formats.resources.alignments import Unresolved
from services.catalog.formats.resources.contents import FoundResource
from services.catalog.formats.resources.files import ResourceFormat, read_resource_files, with_tags
from services.common.command_line import BAD_INPUT, fail
from services.common.rpc.calls import Metadata

_EXAMPLES_SHOWN = 3

ResourceFileFormat = Annotated[
    ResourceFormat,
    typer.Option("--format", help="Format of the files of resources; csv is any table, and needs --mapping."),
]
TableMappingFile = Annotated[
    Path | None, typer.Option("--mapping", help="How a table of resources is read, as docs/formats.md explains.")
]
IdPrefix = Annotated[
    str | None,
    typer.Option(
        help="What the ids of the resources of the files begin with; put in front of those that do not. "
        "Of a cartridge by default its identifier and a slash.",
        show_default=False,
    ),
]


class Removed(StrEnum):
    """What happens to a resource of the catalog that the files no longer have."""

    RETIRE = "retire"
    DELETE = "delete"
    KEEP = "keep"


WhatIsRemoved = Annotated[
    Removed,
    typer.Option(
        "--removed",
        help="What happens to resources of the catalog whose ids begin with the same prefix, and which the files no "
        "longer have. Needs a prefix.",
    ),
]


class Invalid(StrEnum):
    """What happens when a resource of the files is invalid."""

    REFUSE = "refuse"
    LEAVE_OUT = "leave-out"


WhatIsInvalid = Annotated[
    Invalid,
    typer.Option(
        "--invalid",
        help="Whether an invalid resource of --format refuses the import or is left out; then nothing is retired or "
        "deleted either.",
    ),
]


UnresolvedFile = Annotated[
    Path | None,
    typer.Option(
        "--unresolved",
        help="File to write each alignment to that names no skill of the catalog, as JSON lines.",
        show_default=False,
    ),
]


@dataclass(frozen=True, slots=True)
class ResourceOptions:
    """How files of resources are read.

    Attributes:
        form: their format.
        mapping: how a table is read; None: no table.
        id_prefix: what ids begin with; None: what the format says.
        removed: what happens to what the files no longer have.
        invalid: what happens to invalid resources.
        unresolved: where alignments without a skill are written; None: nowhere.
    """

    form: ResourceFormat = ResourceFormat.JSONL
    mapping: Path | None = None
    id_prefix: str | None = None
    removed: Removed = Removed.RETIRE
    invalid: Invalid = Invalid.REFUSE
    unresolved: Path | None = None

    def check(self, files: Sequence[Path]) -> None:
        """End the command if options contradict each other."""
        if (self.form is ResourceFormat.TABLE) != (self.mapping is not None):
            fail("--mapping FILE belongs to --format csv, which cannot do without: name both", BAD_INPUT)
        if self.form is ResourceFormat.JSONL and self.id_prefix is not None:
            fail("--id-prefix is of other formats: in JSON lines, write the ids as they shall be", BAD_INPUT)
        if self.form is not ResourceFormat.JSONL and not files:
            fail(f"--format is {self.form}, and no file is named: name one with --resources FILE", BAD_INPUT)


@dataclass
class FoundResources:
    """The resources of some files.

    Attributes:
        found: the resources.
        places: where each is.
        scopes: what the ids of each file begin with, if with anything.
        problems: where, which field, and what is wrong.
        complete: whether no invalid one was left out.
    """

    found: list[FoundResource] = field(default_factory=list)
    places: list[str] = field(default_factory=list)
    scopes: set[str] = field(default_factory=set)
    problems: list[tuple[str, str, str]] = field(default_factory=list)
    complete: bool = True


@dataclass
class Plan:
    """What an import does.

    Attributes:
        resources: to write; those that are retired come last.
        retired: the ids of those.
        deleted: ids of resources to remove.
        kept: how many resources stay that the files no longer have.
    """

    resources: list[Resource]
    retired: list[str] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    kept: int = 0


def read_in_resources(files: Sequence[Path], options: ResourceOptions) -> FoundResources:
    """The resources of files; what is left out is printed.

    Raises:
        FileUnreadableError: when one cannot be read.
    """
    together, left_out, values_left_out = FoundResources(), [], []
    contents_of = read_resource_files(files, options.form, options.id_prefix, options.mapping)
    for file, contents in zip(files, contents_of, strict=True):
        together.found += contents.resources
        together.places += [f"{file}: {each.place}" for each in contents.resources]
        together.problems += [(str(file), problem.path, problem.reason) for problem in contents.problems]
        if contents.scope:
            together.scopes.add(contents.scope)
        left_out += contents.left_out
        values_left_out += contents.values_left_out
    if together.problems and options.invalid is Invalid.LEAVE_OUT:
        left_out += [LeftOut("invalid", f"{file}: {path} {why}") for file, path, why in together.problems]
        together.problems, together.complete = [], False
    if not together.problems:
        typer.echo(f"{len(together.found):,} resources in {', '.join(map(str, files))}")
        _echo("left out", left_out)
        _echo("without a value", values_left_out)
        if not together.found:
            fail("nothing to import: the files have no resource; docs/formats.md says what is one", BAD_INPUT)
    return together


def plan_import(
    stub: catalog_pb2_grpc.CatalogServiceStub,
    metadata: Metadata,
    found: FoundResources,
    skills: Sequence[Skill],
    options: ResourceOptions,
    timeout_s: float,
) -> Plan:
    """What importing resources would do, given what the service has; alignments without a skill are printed.

    Args:
        stub: of the service.
        metadata: of its calls.
        found: the resources.
        skills: those that are imported with them.
        options: what happens to invalid ones, and to what the files no longer have.
        timeout_s: of each call.
    """
    known, stored = {}, {}
    for record in listed(stub, metadata, Kind.SKILL, sys.maxsize, timeout_s):
        if isinstance(record, Skill):
            known[record.id] = record
    for record in listed(stub, metadata, Kind.RESOURCE, sys.maxsize, timeout_s):
        if isinstance(record, Resource):
            stored[record.id] = record
    known |= {skill.id: skill for skill in skills}
    resources, unresolved = with_tags(found.found, [*known.values()], stored)
    _echo_tags(resources, unresolved)
    if options.unresolved is not None:
        _write_unresolved(options.unresolved, unresolved)
    if options.invalid is Invalid.LEAVE_OUT:
        resources = _valid(found, resources)
    plan = Plan(resources)
    own = {resource.id for resource in resources}
    gone = [each for name, each in stored.items() if name not in own and any(name.startswith(s) for s in found.scopes)]
    removed = options.removed if found.complete else Removed.KEEP
    if removed is Removed.DELETE:
        plan.deleted = [each.id for each in gone]
    elif removed is Removed.RETIRE:
        active = [each for each in gone if each.status is not ResourceStatus.RETIRED]
        plan.retired = [each.id for each in active]
        plan.resources += [replace(each, status=ResourceStatus.RETIRED) for each in active]
    else:
        plan.kept = len(gone)
    return plan


def remove(
    stub: catalog_pb2_grpc.CatalogServiceStub, metadata: Metadata, plan: Plan, scopes: Iterable[str], timeout_s: float
) -> None:
    """Delete what the plan says, one after the other, and print what became of resources that the files no longer have.

    What stops it in between, the service or a person, is said with how many are left.
    """
    deleted, left = 0, len(plan.deleted)
    try:
        for identifier in plan.deleted:
            request = catalog_pb2.DeleteResourceRequest(id=identifier)
            try:
                stub.DeleteResource(request, metadata=metadata, timeout=timeout_s)
                deleted += 1
            except grpc.RpcError as error:
                # Somebody else was faster.
                if error.code() is not grpc.StatusCode.NOT_FOUND:
                    raise
            left -= 1
    finally:
        if left:
            typer.echo(
                f"resources that the files no longer have: {deleted:,} deleted, {left:,} left; everything else was "
                "written. The same command again deletes the others",
                err=True,
            )
    if not {*scopes}:
        typer.echo("resources that the files no longer have: not looked for; --id-prefix would say which are theirs")
    else:
        typer.echo(
            f"resources that the files no longer have: {len(plan.retired):,} retired, {deleted:,} deleted, "
            f"{plan.kept:,} kept"
        )


def _valid(found: FoundResources, resources: Sequence[Resource]) -> list[Resource]:
    """The valid resources; the places of the others are removed, and what is wrong with them is printed."""
    wrong = {
        number: problems[0].reason
        for number, each in enumerate(resources)
        if (problems := [*resource_problems("", each)])
    }
    _echo("left out", [LeftOut("invalid", f"{found.places[number]}: {why}") for number, why in wrong.items()])
    found.complete = found.complete and not wrong
    found.places = [place for number, place in enumerate(found.places) if number not in wrong]
    return [each for number, each in enumerate(resources) if number not in wrong]


def _echo_tags(resources: Sequence[Resource], unresolved: Sequence[Unresolved]) -> None:
    tags = sum(len(resource.tags) for resource in resources)
    typer.echo(f"{tags:,} tags, {len(unresolved):,} alignments without a skill")
    resources_of = Counter((each.reason, str(each.alignment)) for each in unresolved)
    by_reason: dict[str, list[str]] = {}
    for (reason, alignment), count in resources_of.most_common():
        by_reason.setdefault(reason, []).append(f"{alignment} of {count:,} resource{'s' * (count > 1)}")
    for reason, alignments in by_reason.items():
        shown = "; ".join(alignments[:_EXAMPLES_SHOWN]) + ("; ..." if len(alignments) > _EXAMPLES_SHOWN else "")
        typer.echo(f"  {len(alignments):,} without a skill: {reason} ({shown})")


def _write_unresolved(file: Path, unresolved: Sequence[Unresolved]) -> None:
    lines = [
        orjson.dumps(
            {
                "resource": each.resource,
                "relation": each.alignment.relation,
                "code": each.alignment.code,
                "names": each.alignment.names,
                "framework": each.alignment.framework,
                "reason": each.reason,
            },
            option=orjson.OPT_APPEND_NEWLINE,
        )
        for each in unresolved
    ]
    try:
        file.write_bytes(b"".join(lines))
    except OSError as error:
        fail(f"{file} cannot be written ({error.strerror}); name a file you may write with --unresolved", BAD_INPUT)


def _echo(words: str, left_out: Sequence[LeftOut]) -> None:
    by_reason: dict[str, list[str]] = {}
    for each in left_out:
        by_reason.setdefault(each.reason, []).append(each.what)
    for reason, examples in sorted(by_reason.items(), key=lambda entry: -len(entry[1])):
        shown = "; ".join(examples[:_EXAMPLES_SHOWN]) + ("; ..." if len(examples) > _EXAMPLES_SHOWN else "")
        typer.echo(f"  {words} {len(examples):,}: {reason} ({shown})")
