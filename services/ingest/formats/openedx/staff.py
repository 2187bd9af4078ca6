"""Changes by staff: rescored and overridden grades, and deleted states, each of a learner on a block."""

from __future__ import annotations

from dataclasses import dataclass

from services.ingest.domain.outcome import Score
from services.ingest.domain.submission import Instant
from services.ingest.formats.openedx.events import TrackingEvent, learner_id_in, moment_of, payload_of
from services.ingest.formats.openedx.fields import FieldError, required_number, required_text
from services.ingest.formats.openedx.problems import UNGRADED, LeftOutError

DELETED = "edx.grades.problem.state_deleted"
STAFF_EVENTS = frozenset({"edx.grades.problem.rescored", "edx.grades.problem.score_overridden", DELETED})
NOT_IN_LOAD = "a change by staff of an answer that is not loaded with it: load both, or send a correction"


@dataclass(frozen=True, slots=True)
class Change:
    """What staff changed.

    Attributes:
        learner_id: whose answers.
        block: to what.
        at: when.
        score: the new one of the last answer; None: the answers were deleted.
    """

    learner_id: str
    block: str
    at: Instant
    score: Score | None


def change_of(event: TrackingEvent) -> Change:
    """The change that one of STAFF_EVENTS is. Raises FieldError and LeftOutError."""
    payload = payload_of(event)
    block = required_text(payload, "problem_id", event.path)
    # The user of the request is the member of staff.
    learner_id = learner_id_in(payload, f"{event.path}.user_id")
    at = moment_of(event)
    if at is None:
        raise FieldError(event.at_path, "is missing: add it")
    if event.name == DELETED:
        return Change(learner_id, block, at, None)
    if payload.get("new_weighted_possible") in (None, 0):
        raise LeftOutError(UNGRADED)
    raw = required_number(payload, "new_weighted_earned", event.path)
    most = required_number(payload, "new_weighted_possible", event.path)
    return Change(learner_id, block, at, Score(raw, 0.0, most))
