"""Events as JSON lines, the format to bring your own data in.

Each line is one object with the fields of the ingest contract and, next to them, those of its body. Every line has
learner_id; source where the loader was given none; and optionally event_id, occurred_at (RFC 3339), source_sequence
and, for an assessment that may replace an earlier one with the same identity, revises: true. It is one of

- an assessment, by item or activity: activity, item, skills, `correct` or `score` {raw, min, max}, attempt, hints,
  duration_ms, grain (item | activity);
- an interaction, by `interaction` (opened | completed | dismissed): resource, recommendation_id, duration_ms;
- a preference, in the object `preference`: goals, interests, formats (lesson, video, ...), pace (gentle | steady |
  brisk); an empty list withdraws an earlier one;
- a correction, by `corrects` (the id of the event that was wrong): corrects_source where it is another, and `void`:
  true, or `correct`, or `score`;
- any other kind in `wire/kinds`.

Empty lines are skipped.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

from pydantic import AwareDatetime, BaseModel, ValidationError, create_model

from services.common.repeated_keys import repeated_key
from services.common.tables.lines import LINE_BYTES_MAX, Line, lines_of
from services.ingest.application.ports import FieldReason, Row, UnreadableRow
from services.ingest.domain.submission import Instant, Submission
from services.ingest.wire.kinds import SUBMITTED_KINDS
from services.ingest.wire.kinds.kind import JsonForm, JsonObject

_SHOWN_CHARACTERS = 80
# Far more than an event can have. Checking each of very many would hold up other requests.
_VALUES_MAX = 10_000
# Of one event. A request of thousands would otherwise have an answer many times its own size.
_PROBLEMS_MAX = 5
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_OUTCOMES = ("void", "correct", "score")


class _CommonFields(JsonObject):
    learner_id: str
    source: str = ""
    event_id: str = ""
    occurred_at: AwareDatetime | None = None
    source_sequence: str = ""
    revises: bool = False


_FORMS: tuple[JsonForm[Any], ...] = tuple(kind.json for kind in SUBMITTED_KINDS)
_UNMARKED = next(form for form in _FORMS if not form.marker)
_MARKED = [form for form in _FORMS if form.marker]
_ALLOWED = {form.marker: frozenset(_CommonFields.model_fields) | frozenset(form.fields.model_fields) for form in _FORMS}
# One model of every field, so that a line is parsed once; the combination of fields is checked afterwards.
_Line: type[_CommonFields] = create_model(
    "_Line", __base__=(*(form.fields for form in reversed(_FORMS)), _CommonFields)
)


def read_ndjson(
    path: Path, source: str = "", observe_bytes: Callable[[int], None] = lambda _: None
) -> Iterator[Row | UnreadableRow]:
    """The events of a file.

    Args:
        path: the file, gzip-compressed or not.
        source: the source of events that name none.
        observe_bytes: see ObserveBytes.

    Raises:
        FileUnusableError: when it cannot be read.
    """
    for line in lines_of(path, observe_bytes):
        if line.content.strip():
            yield _row_of_line(line, source)


def _row_of_line(line: Line, source: str) -> Row | UnreadableRow:
    if line.too_long:
        problem = FieldReason("", f"the line has more than {LINE_BYTES_MAX} bytes: put one event on each line")
        return UnreadableRow(line.number, (problem,), line.content[:_SHOWN_CHARACTERS].decode(errors="replace"))
    return row_of(line.content, line.number, source)


def row_of(content: bytes, number: int, source: str = "") -> Row | UnreadableRow:
    """The event that a JSON object says.

    Args:
        content: the object, as it was sent.
        number: its place in the file or request, from 1.
        source: the source of an event that names none.
    """
    if (values := content.count(b",") + content.count(b":")) > _VALUES_MAX:
        problem = FieldReason("", f"the event has up to {values} values, and may have {_VALUES_MAX}: send fewer")
        return UnreadableRow(number, (problem,), content.decode(errors="replace"))
    try:
        event = _Line.model_validate_json(content)
    except ValidationError as error:
        found = error.errors(include_url=False)
        problems = [_problem(entry) for entry in found[:_PROBLEMS_MAX]]
        if len(found) > _PROBLEMS_MAX:
            problems.append(FieldReason("", f"has {len(found) - _PROBLEMS_MAX} more problems: correct these first"))
        return UnreadableRow(number, tuple(problems), content.decode(errors="replace"))
    if (key := repeated_key(content)) is not None:
        problem = FieldReason(key, "is given twice: keep the right one")
        return UnreadableRow(number, (problem,), content.decode())
    marked = [form for form in _MARKED if getattr(event, form.marker) is not None]
    form = marked[0] if marked else _UNMARKED
    contradictions = _contradictions(event, marked, form)
    if contradictions:
        return UnreadableRow(number, tuple(contradictions), content.decode(errors="replace"))
    return Row(number, _submission(event, form, source), content.decode())


def _contradictions(event: _CommonFields, marked: list[JsonForm[Any]], form: JsonForm[Any]) -> list[FieldReason]:
    """Fields that cannot be in one event."""
    if len(marked) > 1:
        second, first = marked[1].marker, marked[0].marker
        return [FieldReason(second, f"is set and so is {first}: describe one event on each line")]
    foreign = sorted(event.model_fields_set - _ALLOWED[form.marker])
    if foreign:
        what = f"an event with {form.marker}" if form.marker else "an assessment"
        return [FieldReason(name, f"is set, but is not a field of {what}: remove it") for name in foreign]
    outcomes = [name for name in _OUTCOMES if getattr(event, name) is not None]
    if len(outcomes) > 1:
        return [FieldReason(outcomes[1], f"is set and so is {outcomes[0]}: keep the one that was observed")]
    return []


def _submission(event: _CommonFields, form: JsonForm[Any], source: str) -> Submission:
    return Submission(
        learner_id=event.learner_id,
        # Millions of lines share a few sources.
        source=sys.intern(event.source or source),
        body=form.read(event),
        event_id=event.event_id,
        occurred_at=None if event.occurred_at is None else instant_of(event.occurred_at),
        source_sequence=event.source_sequence,
        revises=event.revises,
    )


def instant_of(moment: datetime) -> Instant:
    """The point in time of an aware moment, to the microsecond."""
    since = moment - _EPOCH
    return Instant(since.days * 86_400 + since.seconds, since.microseconds * 1000)


def _problem(entry: Any) -> FieldReason:
    field = ".".join(map(str, entry["loc"]))
    if entry["type"] == "extra_forbidden":
        model = _Line if len(entry["loc"]) == 1 else _model_of(entry["loc"][0])
        return FieldReason(
            field, f"is not a field of an event: remove it, or use one of {', '.join(model.model_fields)}"
        )
    if entry["type"] == "missing":
        return FieldReason(field, "is missing: add it")
    shown = repr(entry["input"])
    if len(shown) > _SHOWN_CHARACTERS:
        shown = shown[:_SHOWN_CHARACTERS] + "..."
    message = entry["msg"][0].lower() + entry["msg"][1:]
    if not field:
        return FieldReason("", f"the line is not an event ({message}): put one JSON object on each line")
    return FieldReason(field, f"is {shown}: {message}")


def _model_of(field: str) -> type[BaseModel]:
    """The model of the object in a field."""
    annotation = _Line.model_fields[field].annotation
    return next(
        part for part in (annotation, *get_args(annotation)) if isinstance(part, type) and issubclass(part, BaseModel)
    )
