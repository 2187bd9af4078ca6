"""Frameworks in `cairn catalog import`, and `cairn catalog export`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import orjson
import typer

from services.catalog.cli.calls import DEFAULT_TARGET, Kind, Target, calling, listed
from services.catalog.domain.model import Skill
from services.catalog.formats.frameworks.case_export import case_packages
from services.catalog.formats.frameworks.contents import FrameworkContents, only_types, with_codes_as_ids
from services.catalog.formats.frameworks.files import read_frameworks, shipped_frameworks, with_official_text
from services.common.command_line import BAD_INPUT, fail
from services.common.rpc.calls import ApiKeyFile, Insecure, TimeoutS

_EXAMPLES_SHOWN = 3

app = typer.Typer(rich_markup_mode="markdown")

FrameworkFiles = Annotated[
    list[Path] | None,
    typer.Option(
        "--framework",
        help=f"File of a framework: CASE or ASN JSON, plain or gzip; or one that Cairn ships: "
        f"{', '.join(shipped_frameworks())}. May be given several times; links between them are then found.",
        show_default=False,
    ),
]
ItemTypes = Annotated[
    list[str] | None,
    typer.Option("--item-type", help="Take only items of this type from frameworks. May be given several times."),
]
OfficialText = Annotated[
    Path | None,
    typer.Option(help="Your own copy of the framework, whose statements replace those that Cairn ships, by code."),
]


class SkillIds(StrEnum):
    """What the ids of the skills of a framework are."""

    IDENTIFIER = "identifier"
    CODE = "code"


IdsOfSkills = Annotated[SkillIds, typer.Option("--ids", help="Which ids the skills of frameworks get.")]


class ExportFormat(StrEnum):
    """Formats that skills are exported in."""

    CASE = "case"


_WRITERS = {ExportFormat.CASE: case_packages}


@dataclass(frozen=True, slots=True)
class FrameworkOptions:
    """How frameworks are read.

    Attributes:
        item_types: only items of these types; empty: all.
        ids: what ids skills get.
        official_text: a copy of the framework whose statements are used; None: the framework's own.
    """

    item_types: Sequence[str] = ()
    ids: SkillIds = SkillIds.IDENTIFIER
    official_text: Path | None = None


def read_in_frameworks(files: Sequence[Path], options: FrameworkOptions) -> FrameworkContents:
    """The contents of some frameworks; a summary goes to standard output, and what is left out with it.

    Raises:
        FileUnreadableError: when a file cannot be read, or is no JSON.
    """
    contents = read_frameworks(files)
    if options.item_types:
        contents = only_types(contents, options.item_types)
    if options.ids is SkillIds.CODE:
        contents = with_codes_as_ids(contents)
    if options.official_text is not None:
        contents = with_official_text(contents, read_frameworks([options.official_text]))
    if not contents.problems:
        _echo_summary(contents)
        if not contents.skills:
            fail("nothing to import: the files have no skill; docs/formats.md says what is one", BAD_INPUT)
    return contents


def _echo_summary(contents: FrameworkContents) -> None:
    edges = sum(len(skill.prerequisites) for skill in contents.skills)
    matched = sum(bool(skill.equivalents) for skill in contents.skills)
    title = contents.titles[0] if len(contents.titles) == 1 else f"{len(contents.titles)} frameworks"
    typer.echo(
        f"{title}: {len(contents.skills):,} skills, {edges:,} prerequisites, "
        f"{matched:,} skills with names in other frameworks"
    )
    by_reason: dict[str, list[str]] = {}
    for each in contents.left_out:
        by_reason.setdefault(each.reason, []).append(each.what)
    for reason, examples in sorted(by_reason.items(), key=lambda entry: -len(entry[1])):
        shown = "; ".join(examples[:_EXAMPLES_SHOWN])
        typer.echo(
            f"  left out {len(examples):,}: {reason} ({shown}{'; ...' if len(examples) > _EXAMPLES_SHOWN else ''})"
        )


@app.command("export", epilog="Example: cairn catalog export --as case --framework CCSS.Math > ccss.json")
def export(
    *,
    form: Annotated[ExportFormat, typer.Option("--as", help="The format.")] = ExportFormat.CASE,
    framework: Annotated[str, typer.Option(help="Only the skills of this framework.", show_default="all")] = "",
    base_uri: Annotated[str, typer.Option(help="What the URIs of documents and items begin with.")] = "urn:cairn:",
    target: Target = DEFAULT_TARGET,
    api_key_file: ApiKeyFile = None,
    insecure: Insecure = False,
    timeout_s: TimeoutS = 30.0,
) -> None:
    """Print the skills as CASE 1.1: one package, or an array of packages when there are several frameworks.

    Prerequisites become `precedes`, parents `isChildOf`, and other names of a skill `exactMatchOf`. An id that is no
    GUID gets one that is made from it, always the same. An import of the export gives the same skills.

    Exits with 1 when the service cannot be reached or refuses, with 2 when there is no such skill.
    """
    with calling(target, api_key_file, insecure=insecure) as (stub, metadata):
        skills = [
            each for each in listed(stub, metadata, Kind.SKILL, sys.maxsize, timeout_s) if isinstance(each, Skill)
        ]
    wanted = [skill for skill in skills if not framework or skill.framework == framework]
    if not wanted:
        known = ", ".join(sorted({skill.framework for skill in skills if skill.framework})) or "none"
        fail(f"no skill is of the framework {framework!r}; the catalog has: {known}", BAD_INPUT)
    packages = _WRITERS[form](wanted, base_uri, datetime.now(UTC))
    typer.echo(orjson.dumps(packages[0] if len(packages) == 1 else packages, option=orjson.OPT_INDENT_2))
