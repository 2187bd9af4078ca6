"""Turning the rows of a table into events, by a mapping of columns to fields."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from services.ingest.application.ports import FieldReason, Row, UnreadableRow
from services.ingest.domain.kinds.assessment import Assessment, Grain
from services.ingest.domain.kinds.interaction import Interaction, InteractionKind
from services.ingest.domain.outcome import Score
from services.ingest.domain.submission import Submission, SubmittedBody
from services.ingest.formats.mapping.model import FileMapping
from services.ingest.formats.ndjson import instant_of

_UINT32_MAX = 2**32 - 1
_SHOWN_CHARACTERS = 40
_UNIX_FORMATS = {"unix": 1.0, "unix_ms": 1000.0}
_MILLISECONDS = {"ms": 1.0, "s": 1000.0, "min": 60_000.0}

Values = Mapping[str, Any]
"""A row of a table by column: text, or the plain Python values that Parquet holds."""


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
