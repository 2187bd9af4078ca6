"""The mapping file: which column of a table is which field of an event, and how its values are written.

`docs/files.md` explains every field with an example.
"""

from __future__ import annotations

import codecs
import math
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Literal
from zoneinfo import ZoneInfo

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from services.ingest.application.ports import FieldReason, Row, UnreadableRow
from services.ingest.domain.kinds.assessment import Assessment, Grain
from services.ingest.domain.kinds.interaction import Interaction, InteractionKind
from services.ingest.domain.outcome import Score
from services.ingest.domain.submission import Submission, SubmittedBody
from services.ingest.formats.lines import FileUnusableError
from services.ingest.formats.ndjson import instant_of

_UINT32_MAX = 2**32 - 1
_SHOWN_CHARACTERS = 40
_UNIX_FORMATS = {"unix": 1.0, "unix_ms": 1000.0}
_MILLISECONDS = {"ms": 1.0, "s": 1000.0, "min": 60_000.0}

Values = Mapping[str, Any]
"""A row of a table by column: text, or the plain Python values that Parquet holds."""


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


class FileMapping(_Strict):
    """How a table becomes events.

    Attributes:
        columns: the column of each field.
        constants: fields that are the same for every row.
        delimiter: between the columns of a text file.
        encoding: of a text file.
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
    constants: dict[Literal["source", "activity", "skills", "item"], str] = {}
    delimiter: str = Field(default=",", min_length=1, max_length=1)
    encoding: str = "utf-8"
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
    interactions: dict[Literal["opened", "completed", "dismissed"], tuple[str, ...]] = {}
    grain: Literal["item", "activity"] | None = None

    @field_validator("encoding")
    @classmethod
    def _known_encoding(cls, value: str) -> str:
        try:
            return codecs.lookup(value).name
        except LookupError as error:
            raise ValueError("is no encoding: use utf-8, utf-16, latin-1 or cp1252") from error

    @field_validator("time_zone")
    @classmethod
    def _known_zone(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                ZoneInfo(value)
            except (KeyError, ValueError, OSError) as error:
                raise ValueError("is no time zone: use a name such as America/Chicago, or UTC") from error
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
        content = yaml.safe_load(path.read_text())
    except OSError as error:
        raise FileUnusableError(f"the mapping {path} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise FileUnusableError(f"the mapping {path} is no YAML: {' '.join(str(error).split())}") from error
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


class _CellError(ValueError):
    """A cell is not valid for its field; the message says which value, and what to do."""


class RowMapper:
    """Turns rows of a table into events."""

    def __init__(self, mapping: FileMapping, source: str) -> None:
        """Args: the mapping, and the source of events for which it names none."""
        self._mapping = mapping
        self._columns = mapping.columns
        self._source = mapping.constants.get("source", source)
        self._absent = frozenset(mapping.absent)
        self._zone = None if mapping.time_zone is None else ZoneInfo(mapping.time_zone)
        self._outcomes = {word.casefold(): True for word in mapping.right}
        self._outcomes |= {word.casefold(): False for word in mapping.wrong}
        self._kinds = {kind.name.casefold(): kind for kind in InteractionKind if kind}
        for name, words in mapping.interactions.items():
            self._kinds |= {word.casefold(): InteractionKind[name.upper()] for word in words}

    def row(self, line: int, values: Values, original: object) -> Row | UnreadableRow:
        """The event of one row.

        Args:
            line: the line the row starts on.
            values: its cells by column.
            original: the row for the file of rejected rows.
        """
        problems: list[FieldReason] = []

        def cell(column: str | None, read: Callable[[Any], Any], otherwise: Any = None) -> Any:
            value = None if column is None else self._present(values.get(column))
            if column is None or value is None:
                return otherwise
            try:
                return read(value)
            except _CellError as error:
                problems.append(FieldReason(column, str(error)))
                return otherwise

        columns = self._columns
        submission = Submission(
            learner_id=cell(columns.learner_id, _text, ""),
            # Millions of rows share a few sources.
            source=sys.intern(cell(columns.source, _text, self._source)),
            body=self._interaction(cell) if columns.interaction is not None else self._assessment(cell),
            event_id=cell(columns.event_id, _text, ""),
            occurred_at=cell(columns.occurred_at, self._moment),
            source_sequence=cell(columns.source_sequence, _text, ""),
        )
        if problems:
            return UnreadableRow(line, tuple(problems), original)
        return Row(line, submission, original)

    def _assessment(self, cell: Callable[..., Any]) -> SubmittedBody:
        columns, constants = self._columns, self._mapping.constants
        outcome: bool | Score | None = cell(columns.correct, self._correct)
        if columns.score is not None:
            raw = cell(columns.score, self._number)
            low = cell(columns.score_min, self._number, self._mapping.score_min)
            high = cell(columns.score_max, self._number, self._mapping.score_max)
            outcome = None if raw is None or high is None else Score(raw, low, high)
        return Assessment(
            item=cell(columns.item, _text, constants.get("item", "")),
            activity=cell(columns.activity, _text, constants.get("activity", "")),
            skills=self._skills(cell),
            outcome=outcome,
            attempt=cell(columns.attempt, self._count),
            hints=cell(columns.hints, self._count),
            duration_ms=cell(columns.duration, self._duration_ms),
            grain=Grain.UNSPECIFIED if self._mapping.grain is None else Grain[self._mapping.grain.upper()],
        )

    def _interaction(self, cell: Callable[..., Any]) -> SubmittedBody:
        columns = self._columns
        return Interaction(
            resource=cell(columns.resource, _text, ""),
            kind=cell(columns.interaction, self._kind, InteractionKind.UNSPECIFIED),
            recommendation_id=cell(columns.recommendation_id, _text, ""),
            duration_ms=cell(columns.duration, self._duration_ms),
        )

    def _skills(self, cell: Callable[..., Any]) -> tuple[str, ...]:
        mapped = self._columns.skills
        columns = [mapped] if isinstance(mapped, str) else list(mapped or ())
        skills = [skill for column in columns for skill in cell(column, self._skills_of, ())]
        if not skills:
            skills = self._skills_of(self._mapping.constants.get("skills", ""))
        # A table may have the same skill in two columns.
        return tuple(dict.fromkeys(skills))

    def _skills_of(self, value: Any) -> list[str]:
        if isinstance(value, list | tuple):
            return [sys.intern(text) for entry in value if (text := _text(entry))]
        separator = self._mapping.skills_separator
        parts = _text(value).split(separator) if separator else [_text(value)]
        return [sys.intern(part.strip()) for part in parts if part.strip()]

    def _present(self, value: Any) -> Any:
        if isinstance(value, str):
            value = value.strip()
            return None if not value or value in self._absent else value
        if isinstance(value, float) and math.isnan(value):
            return None
        return value

    def _correct(self, value: Any) -> bool:
        if isinstance(value, bool):
            return value
        outcome = self._outcomes.get(_text(value).casefold())
        if outcome is None:
            words = f"right: {', '.join(self._mapping.right)}; wrong: {', '.join(self._mapping.wrong)}"
            raise _CellError(f"is {_shown(value)}, neither right nor wrong ({words}): add it to right or wrong")
        return outcome

    def _number(self, value: Any) -> float:
        if isinstance(value, bool):
            raise _CellError(f"is {value}: it must be a number")
        text = _text(value)
        if isinstance(value, str) and self._mapping.decimal == ",":
            text = text.replace(".", "").replace(",", ".")
        try:
            number = float(text)
        except ValueError as error:
            hint = "" if "," not in text else ", or set decimal: ','"
            raise _CellError(f"is {_shown(value)}: it must be a number{hint}") from error
        if not math.isfinite(number):
            raise _CellError(f"is {_shown(value)}: it must be a finite number")
        return number

    def _count(self, value: Any) -> int:
        number = self._number(value)
        if not number.is_integer() or not 0 <= number <= _UINT32_MAX:
            raise _CellError(f"is {_shown(value)}: it must be a whole number, 0 or more")
        return int(number)

    def _duration_ms(self, value: Any) -> int:
        milliseconds = round(self._number(value) * _MILLISECONDS[self._mapping.duration_unit])
        if not 0 <= milliseconds <= _UINT32_MAX:
            raise _CellError(f"is {_shown(value)} {self._mapping.duration_unit}: it must be 0 or more, at most 49 days")
        return milliseconds

    def _kind(self, value: Any) -> InteractionKind:
        kind = self._kinds.get(_text(value).casefold())
        if kind is None:
            raise _CellError(f"is {_shown(value)}, none of {', '.join(self._kinds)}: add it to interactions")
        return kind

    def _moment(self, value: Any) -> Any:
        moment = value if isinstance(value, datetime) else self._parsed_moment(value)
        if moment.tzinfo is None:
            if self._zone is None:
                raise _CellError(
                    f"is {_shown(value)}, without a time zone: set time_zone to the one it was recorded in"
                )
            moment = moment.replace(tzinfo=self._zone)
        try:
            return instant_of(moment.astimezone(UTC))
        except OverflowError as error:
            raise _CellError(f"is {_shown(value)}: it is out of range") from error

    def _parsed_moment(self, value: Any) -> datetime:
        date_format = self._mapping.date_format
        if isinstance(value, date):
            return datetime(value.year, value.month, value.day)  # noqa: DTZ001 - the caller adds the zone.
        if date_format in _UNIX_FORMATS:
            seconds = self._number(value) / _UNIX_FORMATS[date_format]
            try:
                return datetime.fromtimestamp(seconds, UTC)
            except (OverflowError, ValueError, OSError) as error:
                raise _CellError(f"is {_shown(value)}: it must be {date_format} time") from error
        try:
            if date_format == "iso":
                return datetime.fromisoformat(_text(value))
            return datetime.strptime(_text(value), date_format)  # noqa: DTZ007 - the caller adds the zone where there is none.
        except ValueError as error:
            raise _CellError(
                f"is {_shown(value)}, not in the format {date_format}: set date_format to the right one"
            ) from error


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, float) and value.is_integer():
        # Tables that have no type for integers with missing values store 17 as 17.0.
        return str(int(value))
    return str(value)


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else str(value)
    # Unprintable bytes are shown as escapes, and long values such as names are truncated.
    return repr(re.sub(r"\s+", " ", text)[:_SHOWN_CHARACTERS])
