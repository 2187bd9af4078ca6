"""Reading the fields of an event from the cells of a row."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from services.common.tables import Cell, FileUnusableError
from services.ingest.application.ports import FieldReason
from services.ingest.domain.kinds.interaction import InteractionKind
from services.ingest.formats.mapping.cells import (
    CellError,
    Numbers,
    duration_reader,
    id_as_written,
    id_of_spreadsheet,
    shown,
    skills_reader,
    text_of,
    unmarked_id,
)
from services.ingest.formats.mapping.model import FileMapping, in_time_zone
from services.ingest.formats.mapping.moments import Moments, joined_moment
from services.ingest.formats.mapping.outcomes import Outcomes

Problems = list[FieldReason]
ReadField = Callable[[Sequence[Cell], Problems], Any]
"""Reads a field from the cells of a row, and adds what is wrong with it to the problems; None: there is no value."""

UNREADABLE = object()
"""An outcome whose cell has a problem: not one that nobody scored."""

_IDS = ("learner_id", "event_id", "source_sequence", "item", "activity", "resource")
_ReadCell = Callable[[Any], Any]


class FieldReaders:
    """Makes what reads each field of a table."""

    def __init__(self, mapping: FileMapping, columns: Sequence[str]) -> None:
        """Args: how values are written, and the names of the columns, by place, which differ."""
        self._mapping = mapping
        self._columns = columns
        self._absent = frozenset(mapping.absent)
        numbers = Numbers(mapping)
        read_id = id_as_written if mapping.id_form == "as_written" else id_of_spreadsheet
        self._outcomes = Outcomes(mapping, numbers)
        self._skills = skills_reader(mapping.skills_separator)
        self._readers: dict[str, _ReadCell] = {
            **dict.fromkeys(_IDS, read_id),
            "learner_id": unmarked_id(read_id, mapping.learner_id_marks),
            **dict.fromkeys(("score_min", "score_max"), numbers.number),
            **dict.fromkeys(("attempt", "hints"), numbers.count),
            "correct": self._outcomes.correct,
            "score": self._outcomes.points,
            "skills": self._skills,
            "duration": duration_reader(mapping, numbers),
            "occurred_at": Moments(mapping, numbers).moment,
            "interaction": _kind_reader(mapping.interactions),
        }

    def reader(self, field: str, places: Sequence[int]) -> ReadField:
        """What reads a field from its columns, of which skills, times and learners' ids may have several."""
        if field == "skills":
            return self._skills_reader(places)
        if len(places) > 1:
            return self._joined_reader(field, places)
        if field in ("correct", "score"):
            return self._outcome_reader(field, places[0])
        (place,) = places
        column, absent = self._columns[place], self._absent
        read: _ReadCell = self._readers.get(field, text_of)

        def of(cells: Sequence[Cell], problems: Problems) -> Any:
            value: Any = cells[place]
            # As `present`, without a call: nearly every cell is a text.
            if type(value) is str:
                value = value.strip()
                if not value or value in absent:
                    return None
            elif value is None or (isinstance(value, float) and math.isnan(value)):
                return None
            try:
                return read(value)
            except CellError as error:
                problems.append(FieldReason(column, str(error)))
                return None

        return of

    def answer_reader(self, place: int, right: int) -> ReadField:
        """What reads `correct` from a learner's answer and the right one."""

        def of(cells: Sequence[Cell], problems: Problems) -> Any:
            answer, right_answer = self.present(cells[place]), self.present(cells[right])
            if answer is None or self._outcomes.is_not_scored(text_of(answer)):
                return None
            if right_answer is None:
                problems.append(FieldReason(self._columns[right], "is empty, so the answer cannot be judged: fill it"))
                return UNREADABLE
            return text_of(answer).casefold() == text_of(right_answer).casefold()

        return of

    def zoned_reader(self, places: Sequence[int], zone: int) -> ReadField:
        """What reads `occurred_at` in the time zone that another column names."""
        readers: dict[str, ReadField] = {"": self.reader("occurred_at", places)}

        def of(cells: Sequence[Cell], problems: Problems) -> Any:
            name = text_of(self.present(cells[zone]) or "")
            if name not in readers:
                try:
                    mapping = in_time_zone(self._mapping, name)
                except FileUnusableError as error:
                    problems.append(FieldReason(self._columns[zone], str(error)))
                    return None
                readers[name] = FieldReaders(mapping, self._columns).reader("occurred_at", places)
            return readers[name](cells, problems)

        return of

    def of_text(self, field: str, text: str, where: str) -> Any:
        """A field that the mapping or a column's name gives for every row.

        Raises:
            FileUnusableError: when it is not valid; `where` says where it stands.
        """
        read: _ReadCell = self._readers.get(field, text_of)
        try:
            return read(text.strip())
        except CellError as error:
            raise FileUnusableError(f"{where} {error}") from error

    def present(self, value: Any) -> Any:
        """The value of a cell; None when there is none."""
        if isinstance(value, str):
            value = value.strip()
            return None if not value or value in self._absent else value
        if isinstance(value, float) and math.isnan(value):
            return None
        return value

    def number_or_none(self, value: Any) -> float | None:
        """A number; None for a cell without one."""
        try:
            return None if self.present(value) is None else float(self._readers["score_max"](value))
        except CellError:
            return None

    def _outcome_reader(self, field: str, place: int) -> ReadField:
        column, is_not_scored, read = self._columns[place], self._outcomes.is_not_scored, self._readers[field]

        def of(cells: Sequence[Cell], problems: Problems) -> Any:
            value = self.present(cells[place])
            if value is None or (isinstance(value, str) and is_not_scored(value)):
                return None
            try:
                return read(value)
            except CellError as error:
                problems.append(FieldReason(column, str(error)))
                return UNREADABLE

        return of

    def _skills_reader(self, places: Sequence[int]) -> ReadField:
        def of(cells: Sequence[Cell], _problems: Problems) -> Any:
            found = [self._skills(value) for place in places if (value := self.present(cells[place])) is not None]
            # A table may have the same skill in two columns.
            return tuple(dict.fromkeys([skill for skills in found for skill in skills])) or None

        return of

    def _joined_reader(self, field: str, places: Sequence[int]) -> ReadField:
        """A learner's id of several parts, or a date and a time."""
        read, columns = self._readers[field], [self._columns[place] for place in places]

        def of(cells: Sequence[Cell], problems: Problems) -> Any:
            values = [self.present(cells[place]) for place in places]
            empty = [column for column, value in zip(columns, values, strict=True) if value is None]
            if len(empty) == len(places):
                return None
            if empty:
                reason = f"is empty, but is a part of {field}: fill it, or map other columns"
                problems.append(FieldReason(empty[0], reason))
                return None
            try:
                return read(joined_moment(values)) if field == "occurred_at" else "/".join(map(read, values))
            except CellError as error:
                problems.append(FieldReason(", ".join(columns), str(error)))
                return None

        return of


def _kind_reader(interactions: Mapping[Any, Sequence[str]]) -> _ReadCell:
    """What reads the kind of an interaction, by its own name or by one of the mapping."""
    kinds = {kind.name.casefold(): kind for kind in InteractionKind if kind}
    for name, words in interactions.items():
        kinds |= {word.casefold(): InteractionKind[name.upper()] for word in words}

    def read(value: Any) -> InteractionKind:
        kind = kinds.get(text_of(value).casefold())
        if kind is None:
            raise CellError(f"is {shown(value)}, none of {', '.join(kinds)}: add it to interactions")
        return kind

    return read
