"""What a reader makes of one file, in counts, and its events in the names of JSON lines."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from services.ingest.application.check import CheckingPublisher
from services.ingest.application.ports import FileRow, LeftOutRow, Row, UnreadableRow
from services.ingest.domain.kinds.assessment import Assessment, Grain
from services.ingest.domain.kinds.correction import Correction, Void
from services.ingest.domain.kinds.interaction import Interaction, InteractionKind
from services.ingest.domain.outcome import Score
from services.ingest.domain.repeats import Outcome
from services.ingest.domain.submission import Submission

# After every payload: the service refuses events of the future.
_NOW = datetime(2030, 1, 1, tzinfo=UTC)


@dataclass
class Reading:
    """What one file becomes.

    Attributes:
        taken: what is taken, each in a few named values.
        ignored: how much is left out knowingly, by reason.
        rejected: of each part that is refused, the fields that are wrong with it.
    """

    taken: list[Mapping[str, Any]] = field(default_factory=list)
    ignored: Counter[str] = field(default_factory=Counter)
    rejected: list[tuple[str, ...]] = field(default_factory=list)


def reading_of(rows: Iterable[FileRow]) -> Reading:
    """The rows of a reader of events, each event checked as the service does."""
    reading = Reading()
    publisher = CheckingPublisher(lambda: _NOW)
    for row in rows:
        match row:
            case LeftOutRow():
                reading.ignored[row.reason] += 1
            case UnreadableRow():
                reading.rejected.append(tuple(problem.field for problem in row.problems))
            case Row():
                (result,) = asyncio.run(publisher.publish([row.submission]))
                if result.outcome is Outcome.REJECTED:
                    reading.rejected.append(tuple(problem.field for problem in result.problems))
                else:
                    reading.taken.append(event_of(row.submission))
    return reading


def event_of(submission: Submission) -> dict[str, Any]:
    """An event in the names that JSON lines of events use, without what is not set."""
    at = submission.occurred_at
    event = {
        "learner_id": submission.learner_id,
        "source": submission.source,
        "event_id": submission.event_id,
        "occurred_at": at and datetime.fromtimestamp(at.seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "source_sequence": submission.source_sequence,
        "revises": submission.revises or None,
    }
    match submission.body:
        case Assessment() as body:
            grain = Grain(body.grain).name.lower() if body.grain else None
            event |= {"item": body.item, "activity": body.activity, "skills": list(body.skills), "grain": grain}
            event |= {"attempt": body.attempt, "hints": body.hints, "duration_ms": body.duration_ms}
            event |= _outcome(body.outcome)
        case Interaction() as body:
            event |= {"resource": body.resource, "interaction": InteractionKind(body.kind).name.lower()}
            event |= {"duration_ms": body.duration_ms}
        case Correction() as body:
            event |= {"corrects": body.target_event_id, "corrects_source": body.target_source}
            event |= {"void": True} if isinstance(body.change, Void) else _outcome(body.change)
        case body:
            event["kind"] = type(body).__name__.lower()
    return {name: value for name, value in event.items() if value not in (None, "", [])}


def _outcome(outcome: Any) -> dict[str, Any]:
    if isinstance(outcome, Score):
        return {"score": [outcome.raw, outcome.min, outcome.max]}
    return {"correct": outcome}
