"""Turning the rows of a table into events, by a mapping of columns to fields."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from services.common.tables import Cell
from services.ingest.application.ports import FieldReason, FileRow, LeftOutRow, Row, UnreadableRow
from services.ingest.domain.kinds.assessment import Assessment, Grain
from services.ingest.domain.kinds.interaction import Interaction, InteractionKind
from services.ingest.domain.outcome import Score
from services.ingest.domain.submission import Submission, SubmittedBody
from services.ingest.formats.mapping.fields import UNREADABLE, FieldReaders, Problems, ReadField
from services.ingest.formats.mapping.model import FileMapping
from services.ingest.formats.mapping.moments import RepeatedHours, RepeatedTime
from services.ingest.formats.mapping.outcomes import Points
from services.ingest.formats.mapping.shape import EventShape, PlaceOf

_NOT_SCORED = "without an outcome"
_TEXTS = (
    "learner_id", "source", "event_id", "source_sequence", "item", "activity", "resource", "recommendation_id",
)  # fmt: skip
_OPTIONAL = ("occurred_at", "correct", "score", "attempt", "hints", "duration")

_Values = dict[str, Any]
_Fields = list[tuple[str, ReadField]]


@dataclass(frozen=True, slots=True)
class _Event:
    """How one event of a row is read.

    Attributes:
        texts: fields that the name of its column gives.
        fields: fields of its own.
        score: the place of its score; -1: there is none.
    """

    texts: _Values
    fields: _Fields
    score: int


class RowMapper:
    """Turns rows of a table into events."""

    def __init__(
        self,
        mapping: FileMapping,
        source: str,
        columns: Sequence[str],
        place_of: PlaceOf,
        shapes: Sequence[EventShape],
    ) -> None:
        """Prepares the reading of each field.

        Args:
            mapping: what columns mean.
            source: the source of events for which the mapping names none.
            columns: the names of the columns, by place, which differ.
            place_of: see PlaceOf.
            shapes: the events of a row.

        Raises:
            FileUnusableError: when the name of a column, or a constant, is not valid for its field.
        """
        self._mapping = mapping
        self._columns = columns
        self._readers = FieldReaders(mapping, columns)
        self._hours = RepeatedHours()
        self._maxima: dict[int, float] = {}
        self._highest_level = max(mapping.levels.values(), default=None)
        self._grain = Grain.UNSPECIFIED if mapping.grain is None else Grain[mapping.grain.upper()]
        self._defaults = self._defaults_of(mapping, source)
        places = {field: tuple(map(place_of, named)) for field, named in mapping.columns.by_field().items()}
        self._zone, self._right_answer = places.pop("time_zone", ()), places.pop("right_answer", ())
        self._common = [(field, self._reader(field, each)) for field, each in places.items()]
        (common_score,) = places.get("score", (-1,))
        self._events = [self._event(shape, common_score) for shape in shapes]
        given = {*places, *mapping.constants, *(field for entry in mapping.unpivot for field in entry.fields())}
        self._are_interactions = "interaction" in given

    def _reader(self, field: str, places: tuple[int, ...]) -> ReadField:
        if field == "occurred_at" and self._zone:
            return self._readers.zoned_reader(places, self._zone[0])
        if field == "correct" and self._right_answer:
            return self._readers.answer_reader(places[0], self._right_answer[0])
        return self._readers.reader(field, places)

    def set_maxima(self, cells: Sequence[Cell]) -> None:
        """Take the maximum points of each column with a score from the cells of a row."""
        for event in self._events:
            # A column may have none: points in it get a problem.
            if (
                0 <= event.score < len(cells)
                and (number := self._readers.number_or_none(cells[event.score])) is not None
            ):
                self._maxima[event.score] = number

    def rows(self, line: int, number: int, cells: Sequence[Cell], original: object) -> Iterator[FileRow]:
        """The events of one row.

        Args:
            line: the line the row starts on.
            number: of the row in its table, from 1.
            cells: of the row, and of its companions.
            original: the row for the file of rejected rows.
        """
        common, common_problems = self._defaults.copy(), Problems()
        if self._mapping.sequence is not None:
            common["source_sequence"] = str(number)
        _read(self._common, cells, common, common_problems)
        damaged = False
        for event in self._events:
            values, problems = common, common_problems
            if event.fields:
                values, problems = common | event.texts, common_problems.copy()
                _read(event.fields, cells, values, problems)
            body = self._body(values, event.score, problems)
            if body is None:
                yield LeftOutRow(line, _NOT_SCORED)
            elif common_problems:
                # They are the row's, and named once.
                damaged = True
            elif problems:
                yield UnreadableRow(line, tuple(problems), original)
            else:
                yield Row(line, self._submission(values, body, number), original)
        if damaged:
            yield UnreadableRow(line, tuple(common_problems), original)

    def _submission(self, values: _Values, body: SubmittedBody, number: int) -> Submission:
        occurred_at = values["occurred_at"]
        if isinstance(occurred_at, RepeatedTime):
            occurred_at = self._hours.instant_of(values["learner_id"], occurred_at, _act(body), number)
        return Submission(
            learner_id=values["learner_id"],
            # Millions of rows share a few sources.
            source=sys.intern(values["source"]),
            body=body,
            event_id=values["event_id"],
            occurred_at=occurred_at,
            source_sequence=values["source_sequence"],
            revises=self._mapping.revises,
        )

    def _body(self, values: _Values, score_place: int, problems: Problems) -> SubmittedBody | None:
        """What happened; None when nobody scored it. With problems, what could be read of it."""
        if self._are_interactions:
            return Interaction(
                resource=values["resource"],
                kind=values["interaction"],
                recommendation_id=values["recommendation_id"],
                duration_ms=values["duration"],
            )
        outcome = values["correct"]
        if outcome is None:
            outcome = values["score"]
            if outcome is None:
                return None
            if outcome is not UNREADABLE:
                outcome = self._score(outcome, values, score_place, problems)
                if isinstance(outcome, Score) and outcome.min == outcome.max == 0.0:
                    # Work that is worth nothing is not graded, only handed in.
                    return None
        return Assessment(
            item=values["item"],
            activity=values["activity"],
            skills=values["skills"],
            outcome=outcome,
            attempt=values["attempt"],
            hints=values["hints"],
            duration_ms=values["duration"],
            grain=self._grain,
        )

    def _score(self, points: Points, values: _Values, place: int, problems: Problems) -> Score | None:
        raw, low, high = points
        if low is None:
            low = values["score_min"]
        if high is None:
            high = values["score_max"]
        if high is None:
            high = self._maxima.get(place, self._highest_level)
        if high is None:
            reason = "has points, but its maximum is empty: add it to its column or row, or set score_max"
            problems.append(FieldReason(self._columns[place], reason))
            return None
        if raw > high and self._mapping.extra_credit == "cap":
            raw = high
        return Score(raw, low, high)

    def _defaults_of(self, mapping: FileMapping, source: str) -> _Values:
        """The value of each field whose cell is empty, or that has no column."""
        defaults: _Values = dict.fromkeys(_TEXTS, "") | dict.fromkeys(_OPTIONAL)
        defaults |= {
            "source": source,
            "skills": (),
            "score_min": mapping.score_min,
            "score_max": mapping.score_max,
            "interaction": InteractionKind.UNSPECIFIED,
        }
        for field, text in mapping.constants.items():
            defaults[field] = self._readers.of_text(field, text, f"constants.{field}")
        defaults["skills"] = tuple(dict.fromkeys(defaults["skills"]))
        return defaults

    def _event(self, shape: EventShape, common_score: int) -> _Event:
        texts = {
            field: self._readers.of_text(field, text, f"the column name gives {field}, which")
            for field, text in shape.texts.items()
            if text.strip()
        }
        fields = [(field, self._reader(field, places)) for field, places in shape.places.items()]
        return _Event(texts, fields, shape.places.get("score", (common_score,))[0])


def _read(fields: _Fields, cells: Sequence[Cell], values: _Values, problems: Problems) -> None:
    for field, read in fields:
        if (value := read(cells, problems)) is not None:
            values[field] = value


def _act(body: SubmittedBody) -> object:
    """What was done, without its outcome: the same for each try of the same."""
    if isinstance(body, Assessment):
        return body.item, body.activity, body.skills, body.attempt
    return body
