"""Skills and resources as JSON lines: one object on each line, with the field names of `cairn/v1/catalog.proto`.

A file has skills or resources, not both; its reader decides which. Enum values are the short names in lower case
(`"kind": "video"`). A field may be left out where the contract lets it be absent or empty. Files may be
gzip-compressed; empty lines are skipped.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import IO, Annotated, Any, Generic, TypeVar, cast

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from services.catalog.domain.model import Resource, ResourceStatus, Skill, SkillTag, TagOrigin
from services.common.repeated_keys import repeated_key
from services.common.resource_kinds import ResourceKindName

Record = TypeVar("Record", Skill, Resource)

_GZIP_MAGIC = b"\x1f\x8b"
_LINE_BYTES_MAX = 1_000_000
_SHOWN_CHARACTERS_MAX = 80
_UINT32_MAX = 2**32 - 1


class FileUnreadableError(ValueError):
    """A file cannot be read at all; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class LineProblem:
    """One problem of one line.

    Attributes:
        line: its number, from 1.
        field: the column, for example `teaches[0].weight`; empty: the line as a whole.
        reason: the value, what is wrong with it and the remedy.
    """

    line: int
    field: str
    reason: str


@dataclass(frozen=True, slots=True)
class FileContents(Generic[Record]):
    """The contents of a file.

    Attributes:
        records: the valid records, in order.
        lines: the line number of each record.
        problems: what is wrong with the other lines.
    """

    records: list[Record]
    lines: list[int]
    problems: list[LineProblem]


class _Line(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _SkillTagLine(_Line):
    skill: str
    weight: float
    origin: TagOrigin = TagOrigin.SOURCE
    confidence: float | None = None

    def tag(self) -> SkillTag:
        return SkillTag(self.skill, self.weight, self.origin, self.confidence)


class _SkillLine(_Line):
    id: str
    framework: str = ""
    code: str = ""
    statement: str = ""
    prerequisites: list[str] = []
    grades: list[str] = []
    importance: float | None = None
    equivalents: list[str] = []
    parent: str = ""

    def record(self) -> Skill:
        return Skill(
            id=self.id,
            framework=self.framework,
            code=self.code,
            statement=self.statement,
            prerequisites=tuple(self.prerequisites),
            grades=tuple(self.grades),
            importance=self.importance,
            equivalents=tuple(self.equivalents),
            parent=self.parent,
        )


class _ResourceLine(_Line):
    id: str
    title: str
    kind: ResourceKindName
    description: str = ""
    provider: str = ""
    url: str = ""
    teaches: list[_SkillTagLine] = []
    assesses: list[_SkillTagLine] = []
    grades: list[str] = []
    language: str = ""
    minutes: Annotated[int, Field(ge=0, le=_UINT32_MAX)] | None = None
    license: str = ""
    difficulty: float | None = None
    status: ResourceStatus = ResourceStatus.ACTIVE
    topics: list[str] = []
    rejected_skills: list[str] = []

    def record(self) -> Resource:
        return Resource(
            id=self.id,
            title=self.title,
            kind=self.kind,
            description=self.description,
            provider=self.provider,
            url=self.url,
            teaches=tuple(tag.tag() for tag in self.teaches),
            assesses=tuple(tag.tag() for tag in self.assesses),
            grades=tuple(self.grades),
            language=self.language,
            minutes=self.minutes,
            license=self.license,
            difficulty=self.difficulty,
            status=self.status,
            topics=tuple(self.topics),
            rejected_skills=tuple(self.rejected_skills),
        )


def read_skills(path: Path) -> FileContents[Skill]:
    """Read a file of skills.

    Raises:
        FileUnreadableError: when it does not exist, may not be read, or is damaged gzip.
    """
    return _read(path, _SkillLine)


def read_resources(path: Path) -> FileContents[Resource]:
    """Read a file of resources.

    Raises:
        FileUnreadableError: when it does not exist, may not be read, or is damaged gzip.
    """
    return _read(path, _ResourceLine)


def line_of(record: Skill | Resource) -> bytes:
    """A record as one line, without the line break, as `read_skills` and `read_resources` read it.

    Optional fields with their default value are left out.
    """
    columns = _stated(record)
    for name in ("teaches", "assesses"):
        if name in columns:
            columns[name] = [_stated(tag) for tag in columns[name]]
    return orjson.dumps(columns)


def _stated(record: Skill | Resource | SkillTag) -> dict[str, Any]:
    defaults = {field.name: field.default for field in fields(record)}
    return {name: getattr(record, name) for name in defaults if getattr(record, name) != defaults[name]}


def _read(path: Path, line_model: type[_SkillLine | _ResourceLine]) -> FileContents[Record]:
    contents: FileContents[Record] = FileContents([], [], [])
    with opened(path) as stream:
        for number, raw in _numbered_lines(stream):
            if raw is None:
                reason = f"is longer than {_LINE_BYTES_MAX:,} bytes; put one record on each line"
                contents.problems.append(LineProblem(number, "", reason))
                continue
            try:
                record = line_model.model_validate_json(raw).record()
            except ValidationError as error:
                contents.problems.extend(_line_problems(number, error, line_model))
                continue
            if (key := repeated_key(raw)) is not None:
                contents.problems.append(LineProblem(number, key, "is given twice; keep the right one"))
            else:
                contents.records.append(cast("Record", record))
                contents.lines.append(number)
    return contents


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """The content of a file, plain or gzip, without the compression.

    Raises:
        FileUnreadableError: when it cannot be opened or, while it is read, is damaged.
    """
    try:
        with path.open("rb") as plain:
            magic = plain.read(len(_GZIP_MAGIC))
            plain.seek(0)
            if magic == _GZIP_MAGIC:
                with gzip.open(plain) as unpacked:
                    yield cast("IO[bytes]", unpacked)
            else:
                yield plain
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise FileUnreadableError(f"{path} is damaged gzip ({error}); compress it again") from error
    except OSError as error:
        raise FileUnreadableError(f"{path} cannot be read ({error.strerror}); name a file you may read") from error


def _numbered_lines(stream: IO[bytes]) -> Iterator[tuple[int, bytes | None]]:
    # None for a line that is too long; the rest of it is skipped in pieces, so that memory stays bounded.
    number = 0
    while raw := stream.readline(_LINE_BYTES_MAX):
        number += 1
        too_long = False
        while len(raw) == _LINE_BYTES_MAX and not raw.endswith(b"\n"):
            too_long = True
            raw = stream.readline(_LINE_BYTES_MAX)
        if too_long:
            yield number, None
            continue
        if number == 1:
            raw = raw.removeprefix(b"\xef\xbb\xbf")
        if raw.strip():
            yield number, raw


def _line_problems(
    number: int, error: ValidationError, line_model: type[_SkillLine | _ResourceLine]
) -> Iterator[LineProblem]:
    for entry in error.errors(include_url=False):
        field = _path(entry["loc"])
        value = _shown(entry["input"])
        match entry["type"]:
            case "json_invalid":
                error_at = entry["msg"].removeprefix("Invalid JSON: ").replace("at line 1 column", "at column")
                reason = f"{value} is not a JSON object: {error_at}"
            case "extra_forbidden":
                model = line_model if len(entry["loc"]) == 1 else _SkillTagLine
                reason = f"is not a known column; known are {', '.join(model.model_fields)}"
            case "missing":
                reason = "is missing; give one"
            case _:
                reason = f"{value}: {entry['msg'][0].lower()}{entry['msg'][1:]}"
        yield LineProblem(number, field, reason)


def _path(location: tuple[int | str, ...]) -> str:
    path = ""
    for step in location:
        path += f"[{step}]" if isinstance(step, int) else f".{step}"
    return path.removeprefix(".")


def _shown(value: object) -> str:
    text = value.decode(errors="replace") if isinstance(value, bytes) else value
    shown = repr(text.strip() if isinstance(text, str) else text)
    return shown if len(shown) <= _SHOWN_CHARACTERS_MAX else shown[: _SHOWN_CHARACTERS_MAX - 3] + "..."
