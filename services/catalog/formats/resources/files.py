"""Files of resources in a public format."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum
from pathlib import Path

from services.catalog.domain.model import Resource, ResourceStatus, Skill, SkillTag, TagOrigin
from services.catalog.domain.validation.resources import TAGS_MAX
from services.catalog.formats.file_bytes import bytes_of
from services.catalog.formats.resources.alignments import SkillFinder, Unresolved, tagged
from services.catalog.formats.resources.common_cartridge import read_common_cartridge
from services.catalog.formats.resources.contents import FoundResource, ResourceContents
from services.catalog.formats.resources.lrmi import read_lrmi
from services.catalog.formats.resources.table import load_table_mapping, read_table_of_resources


class ResourceFormat(StrEnum):
    """Formats of files of resources."""

    JSONL = "jsonl"
    LRMI = "lrmi"
    COMMON_CARTRIDGE = "common-cartridge"
    TABLE = "csv"


def read_resource_files(
    files: Sequence[Path], form: ResourceFormat, id_prefix: str | None, mapping: Path | None
) -> list[ResourceContents]:
    """The contents of each file; of a resource that several have, all.

    Args:
        files: the files.
        form: their format, not JSONL.
        id_prefix: what ids begin with; it is put in front of those that do not. None: what the format says.
        mapping: how a table is read.

    Raises:
        FileUnreadableError: when one cannot be read, or is too large.
    """
    table = load_table_mapping(mapping) if mapping is not None else None
    read = []
    for file in files:
        if form is ResourceFormat.COMMON_CARTRIDGE:
            contents = read_common_cartridge(file, id_prefix)
        elif table is not None:
            contents = _prefixed(read_table_of_resources(file, table), id_prefix or "")
        else:
            contents = _prefixed(read_lrmi(bytes_of(file)), id_prefix or "")
        read.append(contents)
    return read


def with_tags(
    found: Sequence[FoundResource], skills: Sequence[Skill], stored: dict[str, Resource]
) -> tuple[list[Resource], list[Unresolved]]:
    """Resources with the tags that their files say, and with what the catalog knows of them besides.

    That is what people and taggers have decided: tags they gave, skills they rejected, and that one is a draft.

    Args:
        found: the resources of the files.
        skills: of the catalog.
        stored: the resources of the catalog by id.
    """
    finder, resources, unresolved = SkillFinder(skills), [], []
    for each in found:
        resource, missing = tagged(each, finder)
        unresolved += missing
        resources.append(_with_decisions(resource, stored.get(resource.id)))
    return resources, unresolved


def _with_decisions(resource: Resource, stored: Resource | None) -> Resource:
    if stored is None:
        return resource
    return replace(
        resource,
        teaches=_with_given(resource.teaches, stored.teaches, stored.rejected_skills),
        assesses=_with_given(resource.assesses, stored.assesses, stored.rejected_skills),
        rejected_skills=stored.rejected_skills,
        difficulty=stored.difficulty if resource.difficulty is None else resource.difficulty,
        status=stored.status if stored.status is ResourceStatus.DRAFT else resource.status,
    )


def _with_given(
    own: tuple[SkillTag, ...], stored: tuple[SkillTag, ...], rejected: tuple[str, ...]
) -> tuple[SkillTag, ...]:
    given = {tag.skill: tag for tag in stored if tag.origin is not TagOrigin.SOURCE}
    reviewed = {skill: tag for skill, tag in given.items() if tag.origin is TagOrigin.REVIEWED}
    kept = {tag.skill: reviewed.get(tag.skill, tag) for tag in own if tag.skill not in rejected}
    return tuple((given | kept).values())[:TAGS_MAX]


def _prefixed(contents: ResourceContents, prefix: str) -> ResourceContents:
    contents.scope = prefix
    contents.resources = [
        each
        if each.resource.id.startswith(prefix)
        else replace(each, resource=replace(each.resource, id=prefix + each.resource.id))
        for each in contents.resources
    ]
    return contents
