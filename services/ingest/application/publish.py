"""Publishing a batch of events: check, stamp, append, answer for each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from functools import partial

from services.common.envelope import Position
from services.common.freshness import Freshness, encode
from services.common.tenants import Tenant
from services.ingest.application.ports import EventLog, SkillTags
from services.ingest.domain.assessment import (
    AcceptedEvent,
    Assessment,
    Instant,
    Submission,
    event_id_of,
    normalised,
    stamp,
)
from services.ingest.domain.validation import Problem, problems_of

EVENTS_MAX = 500


class BatchSizeError(ValueError):
    """A batch has no events, or more than 500."""


class CatalogNotReadyError(RuntimeError):
    """The catalog has not been read to its end yet, so skills cannot be stamped."""


class Outcome(Enum):
    """What became of one event."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class EventOutcome:
    """What became of one event.

    Attributes:
        outcome: accepted, a duplicate within the batch, or rejected.
        event_id: the id given or derived; empty for a rejected event that brought none.
        position: where it, or the first of its duplicates, stands; None when rejected.
        freshness_token: asks for a state that includes it; empty when rejected.
        problems: what is wrong; empty unless rejected.
    """

    outcome: Outcome
    event_id: str
    position: Position | None = None
    freshness_token: str = ""
    problems: tuple[Problem, ...] = ()


class PublishEvents:
    """Appends a tenant's events to the log."""

    def __init__(self, log: EventLog, tags: SkillTags, clock: Callable[[], datetime]) -> None:
        """Args: `log` and `tags`, and `clock`, which tells the time with its zone."""
        self._log = log
        self._tags = tags
        self._clock = clock

    async def __call__(self, tenant: Tenant, submissions: Sequence[Submission]) -> list[EventOutcome]:
        """Append every event that is right; a wrong one never sinks the others.

        Returns:
            One outcome per submission, in the order given.

        Raises:
            BatchSizeError: when there are none, or more than 500.
            CatalogNotReadyError: before the catalog was read to its end.
            LogUnavailableError: when the log did not confirm every event; nothing is acknowledged.
            LogOverloadedError: when the log has no room for the batch now.
        """
        if not 1 <= len(submissions) <= EVENTS_MAX:
            raise BatchSizeError(
                f"has {len(submissions)} events, a request takes 1 to {EVENTS_MAX}: send them in several requests"
                if submissions
                else f"is empty: send 1 to {EVENTS_MAX} events"
            )
        if not self._tags.ready:
            raise CatalogNotReadyError("the catalog is being read, and skills cannot be stamped before its end")
        received_at = _instant(self._clock())
        accepted: list[AcceptedEvent] = []
        first_with: dict[tuple[str, str], int] = {}
        # Per submission its rejection, or the place of its event among the accepted.
        decided: list[EventOutcome | tuple[Outcome, int]] = []
        for submission in submissions:
            problems = problems_of(submission, received_at)
            if problems or submission.assessment is None:
                decided.append(EventOutcome(Outcome.REJECTED, submission.event_id, problems=tuple(problems)))
                continue
            event = self._accept(tenant, submission, submission.assessment, received_at)
            identity = (event.source, event.event_id)
            if identity in first_with:
                decided.append((Outcome.DUPLICATE, first_with[identity]))
            else:
                decided.append((Outcome.ACCEPTED, len(accepted)))
                first_with[identity] = len(accepted)
                accepted.append(event)
        written = await self._append(tenant, accepted)
        return [
            entry if isinstance(entry, EventOutcome) else EventOutcome(entry[0], *written[entry[1]])
            for entry in decided
        ]

    def _accept(
        self, tenant: Tenant, submission: Submission, assessment: Assessment, received_at: Instant
    ) -> AcceptedEvent:
        if assessment.outcome is None:
            raise AssertionError("an assessment without an outcome passed the check")
        learner = tenant.pseudonym(submission.learner_id)
        skills, skills_from, resource = stamp(assessment, partial(self._tags.assessed_skills, tenant.name))
        return AcceptedEvent(
            event_id=event_id_of(submission, assessment, tenant.name, learner),
            tenant=tenant.name,
            learner=learner,
            source=submission.source,
            occurred_at=submission.occurred_at,
            received_at=received_at,
            assessment=assessment,
            response=normalised(assessment.outcome),
            skills=skills,
            skills_from=skills_from,
            resource=resource,
        )

    async def _append(self, tenant: Tenant, events: Sequence[AcceptedEvent]) -> list[tuple[str, Position, str]]:
        """Id, position and freshness token of each event, written."""
        if not events:
            return []
        positions = await self._log.append(events)
        topic_id = self._log.identity.topic_id
        return [
            (event.event_id, position, encode(Freshness(topic_id, position), tenant.secret))
            for event, position in zip(events, positions, strict=True)
        ]


def _instant(moment: datetime) -> Instant:
    # Not by timestamp(): its float does not hold today's microseconds exactly.
    seconds = int(moment.replace(microsecond=0).timestamp())
    return Instant(seconds, moment.microsecond * 1000)
