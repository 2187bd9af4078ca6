"""Resources in a table: a mapping says which column is which field. `docs/formats.md` explains every key."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import yaml
from pydantic import Field, ValidationError

from services.catalog.domain.model import Resource, ResourceStatus
from services.catalog.formats.jsonl import FileUnreadableError
from services.catalog.formats.resources.contents import (
    Alignment,
    FoundResource,
    Relation,
    ResourceContents,
    kind_of,
    minutes_of,
)
from services.common.repeated_keys import load_yaml
from services.common.resource_kinds import ResourceKindName
from services.common.tables import Cell, DamagedRow, FileUnusableError, Layout, open_table

_Field = Literal[
    "id", "title", "kind", "description", "provider", "url", "teaches", "assesses", "grades", "language", "minutes",
    "license", "difficulty", "status", "topics",
]  # fmt: skip
_LIST_MARKS = "[]\"'"


class TableMapping(Layout):
    """How a file is read as a table, and how the table becomes resources.

    Attributes:
        columns: the column of each field.
        constants: fields that are the same for every row.
        kinds: the kind for values of `kind` that are no kind of Cairn.
        separator: between several skills, grades or topics in one cell; empty: a cell is one.
        framework: the framework that the codes of skills are of, if all are of one.
        absent: values that mean an empty cell.
    """

    columns: dict[_Field, str]
    constants: dict[_Field, str] = Field(default={})
    kinds: dict[str, ResourceKindName] = Field(default={})
    separator: str = ";"
    framework: str = ""
    absent: tuple[str, ...] = ("NA", "N/A", "NULL", "null", "nan", "None")


def load_table_mapping(path: Path) -> TableMapping:
    """The mapping of a file.

    Raises:
        FileUnreadableError: when it cannot be read, or is no mapping.
    """
    try:
        return TableMapping.model_validate(load_yaml(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError) as error:
        raise FileUnreadableError(f"{path} cannot be read ({error}); name a file you may read") from error
    except yaml.YAMLError as error:
        raise FileUnreadableError(f"{path} is no YAML ({error}); correct it") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(map(str, first["loc"])) or "the mapping"
        raise FileUnreadableError(f"{path}: {field}: {first['msg']}; docs/formats.md explains the keys") from error


def read_table_of_resources(path: Path, mapping: TableMapping) -> ResourceContents:
    """The resources of a table.

    Raises:
        FileUnreadableError: when the file cannot be read, or lacks a column of the mapping.
    """
    contents = ResourceContents()
    try:
        table = open_table(path, mapping)
        missing = [name for name in mapping.columns.values() if name not in table.columns]
        if missing:
            raise FileUnreadableError(
                f"{path} has no column {missing[0]!r}; its columns are {', '.join(map(repr, table.columns[:30]))}"
            )
        places = {field: table.columns.index(name) for field, name in mapping.columns.items()}
        for row in table.rows(set(places.values())):
            if isinstance(row, DamagedRow):
                contents.reject(f"row {row.line}", row.reason)
                continue
            cells = {field: _text(row.cells[place]) for field, place in places.items()}
            values = dict(mapping.constants) | {
                field: text for field, text in cells.items() if text and text not in mapping.absent
            }
            if values.keys() - mapping.constants.keys():
                _read_row(f"row {row.line}", values, mapping, contents)
    except FileUnusableError as error:
        raise FileUnreadableError(str(error)) from error
    return contents


def _text(cell: Cell) -> str:
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return ";".join(map(_text, cell)) if isinstance(cell, list) else "" if cell is None else str(cell).strip()


def _read_row(row: str, values: Mapping[_Field, str], mapping: TableMapping, contents: ResourceContents) -> None:
    missing = [field for field in ("id", "title", "kind") if not values.get(field)]
    for field in missing:
        contents.reject(f"{row}: {field}", "is empty; fill the cell, or name the field in constants of the mapping")
    if missing:
        return
    identifier, kind = values["id"], _kind(values["kind"], mapping)
    if kind is None:
        known = ", ".join(ResourceKindName)
        contents.reject(f"{row}: kind", f"{values['kind']!r} is no kind ({known}); name one for it in kinds")
        return
    difficulty = _number(values.get("difficulty", ""))
    if difficulty is None and values.get("difficulty"):
        contents.reject(f"{row}: difficulty", f"{values['difficulty']!r} is no number; write one from 0 to 1")
        return
    status = values.get("status", ResourceStatus.ACTIVE).lower()
    if status not in [*ResourceStatus]:
        contents.reject(f"{row}: status", f"{values['status']!r} is no status; write {', '.join(ResourceStatus)}")
        return
    resource = Resource(
        id=identifier,
        title=contents.title(values["title"], identifier),
        kind=kind,
        description=contents.description(values.get("description", ""), identifier),
        provider=contents.name("provider", values.get("provider", ""), identifier),
        url=contents.url(values["url"], identifier) if "url" in values else "",
        grades=contents.grades(_parts(values.get("grades", ""), mapping), identifier),
        language=contents.language(values.get("language", ""), identifier),
        minutes=_minutes(values.get("minutes", ""), identifier, contents),
        license=contents.name("license", values.get("license", ""), identifier),
        difficulty=difficulty,
        status=ResourceStatus(status),
        topics=contents.topics(_parts(values.get("topics", ""), mapping), identifier),
    )
    alignments = [
        Alignment(relation, (skill,), skill, mapping.framework)
        for relation in Relation
        for skill in _parts(values.get(relation.value, ""), mapping)
    ]
    contents.add(FoundResource(resource, row, tuple(dict.fromkeys(alignments))), f"{row}: id")


def _kind(value: str, mapping: TableMapping) -> ResourceKindName | None:
    if value in mapping.kinds:
        return mapping.kinds[value]
    return ResourceKindName(value.lower()) if value.lower() in [*ResourceKindName] else kind_of([value])


def _parts(text: str, mapping: TableMapping) -> list[str]:
    parts = text.strip(_LIST_MARKS).split(mapping.separator) if mapping.separator else [text]
    return [part for each in parts if (part := each.strip().strip(_LIST_MARKS).strip())]


def _minutes(text: str, identifier: str, contents: ResourceContents) -> int | None:
    number = _number(text)
    if number is not None and number > 0:
        return max(1, round(number))
    return contents.minutes([text] if minutes_of(text) or text else [], identifier)


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    # Written so that NaN and infinities are none.
    return number if abs(number) < 1e9 else None
