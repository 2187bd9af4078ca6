"""Files of frameworks: which format one has, and the frameworks that ship with the project."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import orjson

from services.catalog.domain.validation.skills import EQUIVALENTS_MAX
from services.catalog.formats.file_bytes import bytes_of
from services.catalog.formats.frameworks.asn import is_asn, read_asn
from services.catalog.formats.frameworks.case import read_case
from services.catalog.formats.frameworks.contents import FrameworkContents, LeftOut
from services.catalog.formats.jsonl import FileUnreadableError, read_skills

_PLACE = re.compile(r"\[(\d+)\]\.?")
_SHIPPED = Path(__file__).parent / "shipped"
# What publishers write in front of a code to say whose it is.
_PREFIX = re.compile(r"^(?:[a-z][\w-]*\.)+(?=(?:[0-9k]|hs)[\w-]*\.)", re.IGNORECASE)


def shipped_frameworks() -> list[str]:
    """The names of the frameworks that ship with the project."""
    return sorted(path.stem for path in _SHIPPED.glob("*.jsonl"))


def read_frameworks(files: Sequence[Path]) -> FrameworkContents:
    """The contents of files, and of shipped frameworks by name. Files of CASE may link to each other.

    The paths of problems begin with the file and a colon.

    Raises:
        FileUnreadableError: when one cannot be read, or is no JSON.
    """
    parts: list[FrameworkContents] = []
    packages: dict[Path, object] = {}
    for file in files:
        if str(file) in shipped_frameworks() and not file.exists():
            parts.append(_shipped(str(file)))
        elif is_asn(document := _json_of(file)):
            parts.append(_of_file(read_asn(document), file))
        else:
            packages[file] = document
    if len(packages) == 1:
        parts += [_of_file(read_case(document), file) for file, document in packages.items()]
    elif packages:
        parts.append(_of_files(read_case([*packages.values()]), [*packages]))
    together = FrameworkContents()
    for part in parts:
        together.titles += part.titles
        together.skills += part.skills
        together.item_types |= part.item_types
        together.links += part.links
        together.left_out += part.left_out
        together.problems += part.problems
    return together


def _of_file(contents: FrameworkContents, file: Path) -> FrameworkContents:
    contents.problems = [replace(problem, path=f"{file}: {problem.path}") for problem in contents.problems]
    return contents


def _of_files(contents: FrameworkContents, files: Sequence[Path]) -> FrameworkContents:
    """Contents whose problems begin with the places of the files."""
    found = [(problem, _PLACE.match(problem.path)) for problem in contents.problems]
    contents.problems = [
        replace(problem, path=f"{files[int(place[1])]}: {problem.path[place.end() :]}") if place else problem
        for problem, place in found
    ]
    return contents


def _shipped(name: str) -> FrameworkContents:
    skills = read_skills(_SHIPPED / f"{name}.jsonl").records
    return FrameworkContents(
        titles=[name],
        skills=skills,
        item_types={skill.id: "" for skill in skills},
        links=sum(len(skill.prerequisites) for skill in skills),
    )


def with_official_text(contents: FrameworkContents, official: FrameworkContents) -> FrameworkContents:
    """Skills with the statements and the names that another copy of their framework has for their codes.

    Codes are compared without what comes before the grade, as in `CCSS.Math.Content.3.MD.C.7`, and without case.
    """
    found = {_bare(skill.code): skill for skill in reversed(official.skills) if skill.code}
    skills, left_out = [], list(contents.left_out)
    for skill in contents.skills:
        own = found.get(_bare(skill.code))
        if own is None:
            left_out.append(LeftOut("the official text of a code that the copy does not have", skill.code))
            skills.append(skill)
        else:
            names = dict.fromkeys((*skill.equivalents, own.id, *own.equivalents))
            names.pop(skill.id, None)
            skills.append(replace(skill, statement=own.statement, equivalents=tuple(names)[:EQUIVALENTS_MAX]))
    return replace(contents, skills=skills, left_out=left_out, problems=[*contents.problems, *official.problems])


def _bare(code: str) -> str:
    return _PREFIX.sub("", code).lower()


def _json_of(file: Path) -> object:
    try:
        file.stat()
    except OSError as error:
        known = ", ".join(shipped_frameworks())
        message = f"{file} is no file ({error.strerror}), and no framework that Cairn ships ({known})"
        raise FileUnreadableError(message) from error
    try:
        return orjson.loads(bytes_of(file).removeprefix(b"\xef\xbb\xbf"))
    except orjson.JSONDecodeError as error:
        raise FileUnreadableError(f"{file} is no JSON ({error}); name a file of CASE or ASN") from error
