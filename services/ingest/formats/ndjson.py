"""Events as JSON lines, the form to bring data of one's own in.

One object a line, with the fields of the ingest contract and the body's beside them. Every line has learner_id; source
where the loader was given none; and may have event_id, occurred_at (RFC 3339) and source_sequence. Then it says one of

- an assessment, by item or activity: activity, item, skills, `correct` or `score` {raw, min, max}, attempt, hints,
  duration_ms, grain (item | activity);
- an interaction, by `interaction` (opened | completed | dismissed): resource, recommendation_id, duration_ms;
- a preference, in the object `preference`: goals, interests, formats (lesson, video, ...), pace (gentle | steady |
  brisk); an empty list takes back what was said before;
- a correction, by `corrects` (the id of the event that was wrong): corrects_source where it is another, and `void`:
  true, or `correct`, or `score`.

Empty lines are passed over.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from services.ingest.application.ports import FieldReason, Row, UnreadableRow
from services.ingest.domain.assessment import Assessment, Grain, Score
from services.ingest.domain.correction import Correction, Void
from services.ingest.domain.interaction import Interaction, InteractionKind
from services.ingest.domain.preference import Pace, Preference, ResourceKind
from services.ingest.domain.submission import Instant, Submission, SubmittedBody
from services.ingest.formats.lines import LINE_BYTES_MAX, Line, lines_of

_SHOWN_CHARACTERS = 80
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_GRAINS = {None: Grain.UNSPECIFIED, "item": Grain.ITEM, "activity": Grain.ACTIVITY}

# What each kind of event is known by, and what else may stand beside it.
_INTERACTION_FIELDS = frozenset({"interaction", "resource", "recommendation_id", "duration_ms"})
_PREFERENCE_FIELDS = frozenset({"preference"})
_CORRECTION_FIELDS = frozenset({"corrects", "corrects_source", "void", "correct", "score"})
_COMMON_FIELDS = frozenset({"learner_id", "source", "event_id", "occurred_at", "source_sequence"})


class _Object(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _ScoreObject(_Object):
    raw: float
    min: float
    max: float


class _PreferenceObject(_Object):
    goals: list[str] | None = None
    interests: list[str] | None = None
    formats: list[Literal["lesson", "video", "practice", "game", "assessment", "activity"]] | None = None
    pace: Literal["gentle", "steady", "brisk"] | None = None


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
    interaction: Literal["opened", "completed", "dismissed"] | None = None
    resource: str = ""
    recommendation_id: str = ""
    preference: _PreferenceObject | None = None
    corrects: str | None = None
    corrects_source: str = ""
    void: Literal[True] | None = None


_ASSESSMENT_FIELDS = frozenset(_EventObject.model_fields) - (
    _COMMON_FIELDS
    | _PREFERENCE_FIELDS
    | (_INTERACTION_FIELDS - {"duration_ms"})
    | {"corrects", "corrects_source", "void"}
)


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
    contradictions = _contradictions(event)
    if contradictions:
        return UnreadableRow(line.number, tuple(contradictions), line.content.decode(errors="replace"))
    return Row(line.number, _submission(event, source), line.content.decode())


def _contradictions(event: _EventObject) -> list[FieldReason]:
    """Fields that cannot stand in one event."""
    kinds = {"interaction": _INTERACTION_FIELDS, "preference": _PREFERENCE_FIELDS, "corrects": _CORRECTION_FIELDS}
    said = [name for name in kinds if getattr(event, name) is not None]
    if len(said) > 1:
        return [FieldReason(said[1], f"is set and so is {said[0]}: say one thing a line")]
    own = kinds[said[0]] if said else _ASSESSMENT_FIELDS
    foreign = sorted(event.model_fields_set - _COMMON_FIELDS - own)
    if foreign:
        what = f"an event with {said[0]}" if said else "an assessment"
        return [FieldReason(name, f"is set, but is no field of {what}: remove it") for name in foreign]
    outcomes = [name for name in ("void", "correct", "score") if getattr(event, name) is not None]
    if len(outcomes) > 1:
        return [FieldReason(outcomes[1], f"is set and so is {outcomes[0]}: keep the one that was observed")]
    return []


def _submission(event: _EventObject, source: str) -> Submission:
    return Submission(
        learner_id=event.learner_id,
        # A few sources stand in millions of lines.
        source=sys.intern(event.source or source),
        body=_body(event),
        event_id=event.event_id,
        occurred_at=None if event.occurred_at is None else instant_of(event.occurred_at),
        source_sequence=event.source_sequence,
    )


def _body(event: _EventObject) -> SubmittedBody:
    outcome: bool | Score | None = event.correct
    if event.score is not None:
        outcome = Score(event.score.raw, event.score.min, event.score.max)
    if event.interaction is not None:
        kind = InteractionKind[event.interaction.upper()]
        return Interaction(event.resource, kind, event.recommendation_id, event.duration_ms)
    if event.preference is not None:
        wanted = event.preference
        kinds = None if wanted.formats is None else tuple(ResourceKind[name.upper()] for name in wanted.formats)
        pace = Pace.UNSPECIFIED if wanted.pace is None else Pace[wanted.pace.upper()]
        return Preference(_tuple(wanted.goals), _tuple(wanted.interests), kinds, pace)
    if event.corrects is not None:
        return Correction(event.corrects, Void() if event.void else outcome, event.corrects_source)
    return Assessment(
        item=event.item,
        activity=event.activity,
        skills=tuple(event.skills),
        outcome=outcome,
        attempt=event.attempt,
        hints=event.hints,
        duration_ms=event.duration_ms,
        grain=_GRAINS[event.grain],
    )


def _tuple(values: Sequence[str] | None) -> tuple[str, ...] | None:
    return None if values is None else tuple(values)


def instant_of(moment: datetime) -> Instant:
    """The point in time of an aware moment, to the microsecond."""
    since = moment - _EPOCH
    return Instant(since.days * 86_400 + since.seconds, since.microseconds * 1000)


def _problem(entry: Any) -> FieldReason:
    field = ".".join(map(str, entry["loc"]))
    if entry["type"] == "extra_forbidden":
        models: dict[Any, type[BaseModel]] = {"score": _ScoreObject, "preference": _PreferenceObject}
        model = _EventObject if len(entry["loc"]) == 1 else models[entry["loc"][0]]
        return FieldReason(field, f"is no field of an event: remove it, or use one of {', '.join(model.model_fields)}")
    if entry["type"] == "missing":
        return FieldReason(field, "is missing: add it")
    shown = repr(entry["input"])
    if len(shown) > _SHOWN_CHARACTERS:
        shown = shown[:_SHOWN_CHARACTERS] + "..."
    message = entry["msg"][0].lower() + entry["msg"][1:]
    if not field:
        return FieldReason("", f"the line is no event ({message}): send one JSON object a line")
    return FieldReason(field, f"is {shown}: {message}")
