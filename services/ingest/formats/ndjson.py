"""Events as JSON lines, the form to bring data of one's own in.

One object a line, with the fields of the ingest contract and the body's beside them: learner_id, source, occurred_at
(RFC 3339), source_sequence, event_id, item, activity, skills, `correct` or `score` {raw, min, max}, attempt, hints,
duration_ms, grain (item | activity). Required are learner_id, item or activity, and one of correct and score; source
where the loader was given none. Empty lines are passed over.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from services.ingest.application.ports import FieldReason, Row, UnreadableRow
from services.ingest.domain.assessment import Assessment, Grain, Instant, Score, Submission
from services.ingest.formats.lines import LINE_BYTES_MAX, Line, lines_of

_SHOWN_CHARACTERS = 80
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_GRAINS = {None: Grain.UNSPECIFIED, "item": Grain.ITEM, "activity": Grain.ACTIVITY}


class _Object(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _ScoreObject(_Object):
    raw: float
    min: float
    max: float


class _EventObject(_Object):
    learner_id: str
    source: str = ""
    event_id: str = ""
    occurred_at: AwareDatetime | None = None
    source_sequence: str = ""
    item: str = ""
    activity: str = ""
    skills: list[str] = []
    correct: bool | None = None
    score: _ScoreObject | None = None
    attempt: int | None = Field(None, ge=0, lt=2**32)
    hints: int | None = Field(None, ge=0, lt=2**32)
    duration_ms: int | None = Field(None, ge=0, lt=2**32)
    grain: Literal["item", "activity"] | None = None


def read_ndjson(
    path: Path, source: str = "", observe_bytes: Callable[[int], None] = lambda _: None
) -> Iterator[Row | UnreadableRow]:
    """The events of a file.

    Args:
        path: the file, gzip-compressed or not.
        source: the source of events that name none.
        observe_bytes: now and then told how many bytes of the file as stored were read.

    Raises:
        FileUnusableError: when it cannot be read.
    """
    for line in lines_of(path, observe_bytes):
        if line.content.strip():
            yield _row(line, source)


def _row(line: Line, source: str) -> Row | UnreadableRow:
    if line.too_long:
        problem = FieldReason(
            "", f"the line has more than {LINE_BYTES_MAX} bytes: one event a line takes a few hundred"
        )
        return UnreadableRow(line.number, (problem,), line.content[:_SHOWN_CHARACTERS].decode(errors="replace"))
    try:
        event = _EventObject.model_validate_json(line.content)
    except ValidationError as error:
        problems = tuple(_problem(entry) for entry in error.errors(include_url=False))
        return UnreadableRow(line.number, problems, line.content.decode(errors="replace"))
    if event.correct is not None and event.score is not None:
        problem = FieldReason("score", "is set and so is correct: keep the one that was observed")
        return UnreadableRow(line.number, (problem,), line.content.decode(errors="replace"))
    return Row(line.number, _submission(event, source), line.content.decode())


def _submission(event: _EventObject, source: str) -> Submission:
    outcome: bool | Score | None = event.correct
    if event.score is not None:
        outcome = Score(event.score.raw, event.score.min, event.score.max)
    return Submission(
        learner_id=event.learner_id,
        # A few sources stand in millions of lines.
        source=sys.intern(event.source or source),
        assessment=Assessment(
            item=event.item,
            activity=event.activity,
            skills=tuple(event.skills),
            outcome=outcome,
            attempt=event.attempt,
            hints=event.hints,
            duration_ms=event.duration_ms,
            grain=_GRAINS[event.grain],
        ),
        event_id=event.event_id,
        occurred_at=None if event.occurred_at is None else _instant(event.occurred_at),
        source_sequence=event.source_sequence,
    )


def _instant(moment: datetime) -> Instant:
    since = moment - _EPOCH
    return Instant(since.days * 86_400 + since.seconds, since.microseconds * 1000)


def _problem(entry: Any) -> FieldReason:
    field = ".".join(map(str, entry["loc"]))
    if entry["type"] == "extra_forbidden":
        known = ", ".join(_EventObject.model_fields if len(entry["loc"]) == 1 else _ScoreObject.model_fields)
        return FieldReason(field, f"is no field of an event: remove it, or use one of {known}")
    if entry["type"] == "missing":
        return FieldReason(field, "is missing: add it")
    shown = repr(entry["input"])
    if len(shown) > _SHOWN_CHARACTERS:
        shown = shown[:_SHOWN_CHARACTERS] + "..."
    message = entry["msg"][0].lower() + entry["msg"][1:]
    if not field:
        return FieldReason("", f"the line is no event ({message}): send one JSON object a line")
    return FieldReason(field, f"is {shown}: {message}")
