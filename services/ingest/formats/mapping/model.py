"""The mapping file: which column of a table is which field of an event, and how its values are written.

`docs/files.md` explains every field with an example.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal
from zoneinfo import ZoneInfo

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from services.common.repeated_keys import load_yaml
from services.common.tables import FileUnusableError, Layout

OPEN = "FILL-IN"
"""Stands in a proposed mapping for what a person has to answer."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Columns(_Strict):
    """The column of each field of an event; None: there is none."""

    learner_id: str | None = None
    source: str | None = None
    event_id: str | None = None
    source_sequence: str | None = None
    occurred_at: str | None = None
    item: str | None = None
    activity: str | None = None
    skills: str | Sequence[str] | None = None
    correct: str | None = None
    score: str | None = None
    score_min: str | None = None
    score_max: str | None = None
    attempt: str | None = None
    hints: str | None = None
    duration: str | None = None
    interaction: str | None = None
    resource: str | None = None
    recommendation_id: str | None = None

    def named(self) -> list[str]:
        """The columns that a table must have, each once."""
        columns: dict[str, None] = {}
        for value in self.model_dump().values():
            columns |= dict.fromkeys([value] if isinstance(value, str) else value or ())
        return list(columns)


class FileMapping(Layout):
    """How a file is read as a table, and how the table becomes events.

    Attributes:
        columns: the column of each field.
        constants: fields that are the same for every row.
        decimal: the decimal separator of numbers.
        absent: values that mean an empty cell.
        skills_separator: between several skills in one cell; empty: a cell is one skill.
        right: values of `correct` for a right answer, case-insensitive.
        wrong: the same for a wrong answer.
        score_min: the minimum number of points, where there is no column for it.
        score_max: the maximum, likewise.
        date_format: as for Python's strptime; or iso, unix (seconds) or unix_ms.
        time_zone: of times without one.
        duration_unit: of the column `duration`.
        interactions: values of `interaction` for each kind.
        grain: what was scored, where item and activity do not determine it.
    """

    columns: Columns
    constants: dict[Literal["source", "activity", "skills", "item"], str] = Field(default={})
    decimal: Literal[".", ","] = "."
    absent: tuple[str, ...] = ("NA", "N/A", "NULL", "null", "nan", "None")
    skills_separator: str = ";"
    right: tuple[str, ...] = ("1", "1.0", "true", "t", "yes", "y", "correct", "right")
    wrong: tuple[str, ...] = ("0", "0.0", "false", "f", "no", "n", "incorrect", "wrong")
    score_min: float = 0.0
    score_max: float | None = None
    date_format: str = "iso"
    time_zone: str | None = None
    duration_unit: Literal["ms", "s", "min"] = "ms"
    interactions: dict[Literal["opened", "completed", "dismissed"], tuple[str, ...]] = Field(default={})
    grain: Literal["item", "activity"] | None = None

    @field_validator("time_zone")
    @classmethod
    def _known_zone(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                ZoneInfo(value)
            except (KeyError, ValueError, OSError) as error:
                raise ValueError("is not a time zone: use a name such as America/Chicago, or UTC") from error
        return value

    @field_validator("columns")
    @classmethod
    def _some_columns(cls, value: Columns) -> Columns:
        if value.learner_id is None:
            raise ValueError("learner_id is missing: name the column that identifies the learner")
        if value.interaction is not None:
            if value.resource is None:
                raise ValueError("interaction is mapped and resource is not: name the column of the resource")
            return value
        if value.correct is None and value.score is None:
            raise ValueError("neither correct nor score is mapped: name the column of the outcome, or of interaction")
        if value.correct is not None and value.score is not None:
            raise ValueError("correct and score are both mapped: keep the one that was observed")
        return value

    @model_validator(mode="after")
    def _a_scale(self) -> FileMapping:
        if self.columns.score is not None and self.columns.score_max is None and self.score_max is None:
            raise ValueError("score is mapped without a scale: set score_max, or map columns.score_max")
        return self


def load_mapping(path: Path) -> FileMapping:
    """A mapping file in YAML.

    Raises:
        FileUnusableError: when it cannot be read or is invalid; the message names the field and the remedy.
    """
    try:
        content = load_yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FileUnusableError(f"the mapping {path} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise FileUnusableError(f"the mapping {path} is not YAML: {' '.join(str(error).split())}") from error
    return parse_mapping(content, path)


def parse_mapping(content: Any, path: Path) -> FileMapping:
    """A mapping from the content of its YAML.

    Raises:
        FileUnusableError: as `load_mapping`.
    """
    try:
        return FileMapping.model_validate(content)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, entry['loc'])) or 'mapping'}: {entry['msg']}"
            for entry in error.errors(include_url=False)
        )
        raise FileUnusableError(f"the mapping {path} cannot be used: {problems}") from error
