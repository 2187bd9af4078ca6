"""The mapping file: which column of a table is which field of an event, and how its values are written.

`docs/files.md` explains every key with an example.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from re import error as RegexError  # noqa: N812 - re.error is the name of a class, and would hide `error`.
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

import yaml
from pydantic import BaseModel, BeforeValidator, Field, ValidationError, field_validator, model_validator

from services.common.repeated_keys import load_yaml
from services.common.tables import FileUnusableError, Layout
from services.common.tables.outcome_words import RIGHT, WRONG
from services.ingest.formats.mapping.keys import Columns, Join, RowFilter, Text, Texts, Unpivot, close_or_all

NAMED_DATE_FORMATS = ("iso", "unix", "unix_ms", "unix_us", "excel")
_SHOWN_CHARACTERS = 60

# Without them there is no event, or it means something else.
_NEEDED = {"learner_id", "correct", "right_answer", "score", "interaction", "resource"}

_TextField = Literal[
    "learner_id", "source", "source_sequence", "item", "activity", "skills", "interaction", "resource",
    "recommendation_id",
]  # fmt: skip
_LabelledField = Literal["item", "activity", "skills", "score_min", "score_max"]
_Scale = Literal["points", "percent", "fraction"]

OPEN = "FILL-IN"
"""Stands in a proposed mapping for what a person has to answer."""


def _scales(value: Any) -> Any:
    return value if isinstance(value, list | tuple) else (value,)


class FileMapping(Layout):
    """How a file is read as a table, and how the table becomes events.

    Attributes:
        columns: the column of each field.
        optional: columns of `columns` that a file may lack.
        constants: fields of text that are the same for every row; {file} is the name of the file without its ending.
        labels: fields that the lines above the header give: each in the cell to the right of one with this text.
        keep: a row is left out unless it is meant by each of these.
        drop: a row is left out if it is meant by one of these.
        unpivot: columns that become events of their own. A column belongs to the first entry that matches.
        maximum_row: the row, among the first ten, that holds the maximum points of each column with a score.
        join: companion files that add columns.
        decimal: the decimal separator of numbers.
        thousands: the separator of thousands, in full groups of three; "": none; None: "." where decimal is ",", else
            none.
        absent: values that mean an empty cell.
        not_scored: values of `correct` or `score` that mean that nobody scored it, in upper or lower case.
        id_form: `spreadsheet` reads 100236.0 and 1.00234E+05 as the whole numbers that they were.
        learner_id_marks: characters around a learner's id that are not part of it.
        skills_separator: between several skills in one cell; empty: a cell is one skill.
        right: values of `correct` for a right answer, in upper or lower case.
        wrong: the same for a wrong answer.
        scale: how `score` is written: points, percent or fraction ("7 / 10"); or several of these.
        levels: points of letters or of levels of a rubric.
        marks: characters around an outcome that mean nothing.
        score_min: the minimum number of points, where there is no column for it.
        score_max: the maximum, likewise.
        extra_credit: what happens to points above the maximum: `cap` makes them the maximum; else they are refused.
        date_format: as for Python's strptime; or iso, unix (seconds), unix_ms, unix_us or excel (days). Several are
            tried in their order.
        time_zone: of times without one.
        duration_unit: of the column `duration`; `text`: as in "3 mins 20 secs" and "0:03:20".
        sequence: `row` makes the number of the row the source's sequence.
        interactions: values of `interaction` for each kind.
        grain: what was scored, where item and activity do not determine it.
        revises: whether an assessment replaces an earlier one with the same identity.
    """

    columns: Columns
    optional: Texts = ()
    constants: dict[_TextField, Text] = Field(default={})
    labels: dict[_LabelledField, Text] = Field(default={})
    keep: tuple[RowFilter, ...] = ()
    drop: tuple[RowFilter, ...] = ()
    unpivot: tuple[Unpivot, ...] = ()
    maximum_row: RowFilter | None = None
    join: tuple[Join, ...] = ()
    decimal: Literal[".", ","] = "."
    thousands: Literal[".", ",", " ", "'", ""] | None = None
    absent: Texts = ("NA", "N/A", "NULL", "null", "nan", "None")
    not_scored: Texts = (
        "-", "--", "–", "—", "EX", "EXC", "Excused", "Exempt", "Incomplete", "In progress", "NG", "Not graded",  # noqa: RUF001 - dashes that exports have.
        "Ungraded", "Needs grading", "Requires grading", "Not attempted", "Not started", "Not submitted", "Pending",
    )  # fmt: skip
    id_form: Literal["as_written", "spreadsheet"] = "as_written"
    learner_id_marks: Texts = ()
    skills_separator: str = ";"
    right: Texts = RIGHT
    wrong: Texts = WRONG
    scale: Annotated[tuple[_Scale, ...], BeforeValidator(_scales), Field(min_length=1)] = ("points",)
    levels: dict[Text, float] = Field(default={})
    marks: Texts = ()
    score_min: float = 0.0
    score_max: float | None = None
    extra_credit: Literal["cap", "refuse"] = "refuse"
    date_format: Annotated[Texts, Field(min_length=1)] = ("iso",)
    time_zone: str | None = None
    duration_unit: Literal["ms", "s", "min", "text"] = "ms"
    sequence: Literal["row"] | None = None
    interactions: dict[Literal["opened", "completed", "dismissed"], Texts] = Field(default={})
    grain: Literal["item", "activity"] | None = None
    revises: bool = False

    @field_validator("time_zone")
    @classmethod
    def _known_zone(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                ZoneInfo(value)
            except (KeyError, ValueError, OSError) as error:
                raise ValueError("is not a time zone: use a name such as America/Chicago, or UTC") from error
        return value

    @field_validator("date_format")
    @classmethod
    def _readable_formats(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in value:
            if pattern not in NAMED_DATE_FORMATS and not _is_pattern(pattern):
                raise ValueError(
                    f"{pattern!r} is not a format: use {', '.join(NAMED_DATE_FORMATS)}, or a pattern of strptime such "
                    "as %d.%m.%Y"
                )
        return value

    @field_validator("learner_id_marks")
    @classmethod
    def _around_ids(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for mark in value:
            if len(mark) != 1 or mark.isalnum():
                raise ValueError(f"{mark!r} cannot be a mark: list single characters such as '#' that ids lack")
        return value

    @field_validator("marks")
    @classmethod
    def _signs(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for mark in value:
            if len(mark) != 1 or mark.isalnum() or mark in ".,+-%/":
                raise ValueError(f"{mark!r} cannot be a mark: list single characters such as '*' that numbers lack")
        return value

    @field_validator("levels")
    @classmethod
    def _distinct_levels(cls, value: dict[str, float]) -> dict[str, float]:
        if len({level.strip().casefold() for level in value}) < len(value):
            raise ValueError("has a level twice in upper and lower case: keep one of them")
        if not all(map(math.isfinite, value.values())):
            raise ValueError("has a level without finite points: give each a number")
        return value

    @model_validator(mode="after")
    def _complete(self) -> FileMapping:
        common = {*self.columns.by_field(), *self.constants, *self.labels}
        for fields in [common | entry.fields() for entry in self.unpivot] or [common]:
            _check_fields(fields)
            if "score" in fields:
                self._check_scale(fields)
            if self.revises and "interaction" in fields:
                raise ValueError("revises is true, but only assessments are revised: remove it")
            if self.sequence is not None and "source_sequence" in fields:
                raise ValueError("sequence and source_sequence are both given: keep one of them")
        for column in self.optional:
            self._check_optional(column)
        if self.labels and not self.header:
            raise ValueError("labels is set, but not header: set header to the line that names the columns")
        if self.columns.right_answer is not None and self.columns.correct is None:
            raise ValueError("right_answer is mapped and correct is not: name the column of the learner's answer")
        if self.columns.time_zone is not None and not self.columns.occurred_at:
            raise ValueError("columns.time_zone is mapped and occurred_at is not: name the column of the time")
        if self.thousands == self.decimal:
            raise ValueError(f"thousands and decimal are both {self.decimal!r}: correct one of them")
        return self

    def _check_optional(self, column: str) -> None:
        of = {field: named for field, named in self.columns.by_field().items() if column in named}
        if not of:
            raise ValueError(f"optional names {column!r}, which columns does not: remove it, or map it to a field")
        if field := next((field for field, named in of.items() if field in _NEEDED or _are_parts(field, named)), ""):
            raise ValueError(f"optional names {column!r}, but no row can be read without its {field}: remove it")

    def _check_scale(self, fields: set[str]) -> None:
        has_maximum = self.score_max is not None or self.maximum_row is not None or "score_max" in fields
        if "points" in self.scale and not has_maximum and not self.levels:
            raise ValueError(
                "score is mapped without a scale: set score_max, or map columns.score_max, or set scale: percent or "
                "fraction"
            )
        has_minimum = self.score_min != 0 or "score_min" in fields
        if "points" not in self.scale and has_maximum and not self.levels:
            raise ValueError(
                f"scale is {', '.join(self.scale)}, which has its own maximum, and another one is given: remove "
                "score_max and maximum_row, or add points to scale"
            )
        if self.scale == ("percent",) and has_minimum:
            raise ValueError("scale is percent, which starts at 0, and score_min is given: remove it")


def in_time_zone(mapping: FileMapping, time_zone: str) -> FileMapping:
    """The mapping for times that were recorded in a zone.

    Raises:
        FileUnusableError: when there is no such zone.
    """
    try:
        ZoneInfo(time_zone)
    except (KeyError, ValueError, OSError) as error:
        raise FileUnusableError(
            f"{time_zone!r} is not a time zone: use a name such as America/Chicago, or UTC"
        ) from error
    return mapping.model_copy(update={"time_zone": time_zone})


def with_default_zone(mapping: FileMapping, time_zone: str | None) -> FileMapping:
    """The mapping for times of a zone, where it names none itself. Raises FileUnusableError as `in_time_zone`."""
    return mapping if time_zone is None or mapping.time_zone is not None else in_time_zone(mapping, time_zone)


def _check_fields(fields: set[str]) -> None:
    if "learner_id" not in fields:
        raise ValueError("columns: learner_id is missing: name the column that identifies the learner")
    if "interaction" in fields:
        if "resource" not in fields:
            raise ValueError("interaction is mapped and resource is not: name the column of the resource")
        return
    if not {"correct", "score"} & fields:
        raise ValueError("neither correct nor score is mapped: name the column of the outcome, or of interaction")
    if {"correct", "score"} <= fields:
        raise ValueError("correct and score are both mapped: keep the one that was observed")


def _are_parts(field: str, columns: Sequence[str]) -> bool:
    """Whether each column of a field holds a part of its value."""
    return field != "skills" and len(columns) > 1


def _is_pattern(text: str) -> bool:
    """Whether strptime can read anything with it."""
    if "%" not in text:
        return False
    try:
        datetime.strptime("", text)  # noqa: DTZ007 - only whether it is a pattern matters.
    except ValueError as error:
        return "bad directive" not in str(error) and "stray %" not in str(error)
    except RegexError:
        # A directive that is there twice.
        return False
    return True


def load_mapping(path: Path) -> FileMapping:
    """A mapping file in YAML.

    Raises:
        FileUnusableError: when it cannot be read or is invalid; the message names the key, the value and the remedy.
    """
    return parse_mapping(read_yaml(path, f"the mapping {path}"), path)


def read_yaml(path: Path, name: str) -> Any:
    """The content of a YAML file.

    Args:
        path: the file.
        name: in messages.

    Raises:
        FileUnusableError: when it cannot be read, or is not YAML.
    """
    try:
        return load_yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FileUnusableError(f"{name} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise FileUnusableError(f"{name} is not YAML: {' '.join(str(error).split())}") from error


def parse_mapping(content: Any, path: Path) -> FileMapping:
    """A mapping from the content of its YAML.

    Raises:
        FileUnusableError: as `load_mapping`.
    """
    if unanswered := list(_unanswered(content)):
        raise FileUnusableError(
            f"the mapping {path} has questions that nobody answered: replace {OPEN} at {', '.join(unanswered)}; "
            "the comments next to them say what is asked"
        )
    if not isinstance(content, dict):
        what = "is empty" if content is None else "has no keys such as `columns:`"
        raise FileUnusableError(
            f"the mapping {path} cannot be used: mapping: {what}: `cairn ingest mapping` proposes one for a table"
        )
    try:
        return FileMapping.model_validate(content)
    except ValidationError as error:
        problems = "; ".join(dict.fromkeys(_explained(error)))
        raise FileUnusableError(f"the mapping {path} cannot be used: {problems}") from error


def _unanswered(content: Any, place: str = "") -> Iterator[str]:
    """The keys whose value is a question."""
    if content == OPEN:
        yield place
    elif isinstance(content, dict):
        for key, value in content.items():
            yield from _unanswered(value, f"{place}.{key}" if place else str(key))
    elif isinstance(content, list):
        for number, value in enumerate(content, 1):
            yield from _unanswered(value, f"{place}[{number}]")


_MODELS: dict[Any, type[BaseModel]] = {
    "columns": Columns,
    "keep": RowFilter,
    "drop": RowFilter,
    "maximum_row": RowFilter,
    "unpivot": Unpivot,
    "join": Join,
}


def _explained(invalid: ValidationError) -> Iterator[str]:
    """Each problem with its key, its value and the remedy."""
    for entry in invalid.errors(include_url=False):
        place = entry["loc"]
        message = entry["msg"].removeprefix("Value error, ")
        key = ".".join(map(str, place)) or "mapping"
        match entry["type"]:
            case "extra_forbidden":
                yield f"{key}: is not a key of a mapping here: {close_or_all(str(place[-1]), _keys_at(place))}"
            case "missing":
                yield f"{key}: is missing: add it"
            case "model_type" | "dict_type":
                yield f"{key}: is {_shown(entry['input'])}: give it keys, each with a value"
            case "literal_error":
                yield f"{key}: is {_shown(entry['input'])}: use {entry['ctx']['expected']}"
            case "value_error" if isinstance(entry["input"], dict):
                yield f"{key}: {message}"
            case _:
                yield f"{key}: is {_shown(entry['input'])}: {message[0].lower()}{message[1:]}"


def _keys_at(place: Sequence[int | str]) -> list[str]:
    """The keys that there are where an unknown one was found."""
    model = _MODELS[place[0]] if len(place) > 1 else FileMapping
    return [field.alias or name for name, field in model.model_fields.items()]


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "..."
