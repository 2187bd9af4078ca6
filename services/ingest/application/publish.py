"""Publishing a batch of events: check, stamp and append, with a result for each event."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from functools import partial

from services.common.auth.tenant import Tenant
from services.common.kafka.envelope import Position
from services.common.rpc.freshness import Freshness, encode
from services.ingest.application.ports import Confirmation, EventLog, SkillTags
from services.ingest.domain.problems import Problem
from services.ingest.domain.submission import AcceptedEvent, Instant, Submission, event_ids_of
from services.ingest.domain.validation import problems_of

EVENTS_MAX = 500


class BatchSizeError(ValueError):
    """A batch has no events, or more than 500."""


class CatalogNotReadyError(RuntimeError):
    """The catalog has not been read completely yet, so skills cannot be stamped."""


class Outcome(Enum):
    """The outcome of one event."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class EventOutcome:
    """The result of one event.

    Attributes:
        outcome: accepted, a duplicate within the batch, or rejected.
        event_id: the given or derived id; empty for a rejected event without one.
        position: of the event, or of the first of its duplicates; None when rejected.
        freshness_token: requests a state that includes it; empty when rejected.
        problems: what is wrong; empty unless rejected.
        learner: the learner's pseudonym; empty when rejected.
    """

    outcome: Outcome
    event_id: str
    position: Position | None = None
    freshness_token: str = ""
    problems: tuple[Problem, ...] = ()
    learner: str = ""


class PendingBatch:
    """A batch that was passed to the log and awaits its confirmation."""

    def __init__(
        self,
        decided: Sequence[EventOutcome | tuple[Outcome, int]],
        accepted: Sequence[AcceptedEvent],
        confirmation: Confirmation | None,
        token_of: Callable[[Position], str],
    ) -> None:
        """Args: each submission's rejection or the index of its event in `accepted`; and the log's confirmation."""
        self._decided = decided
        self._accepted = accepted
        self._confirmation = confirmation
        self._token_of = token_of

    async def outcomes(self) -> list[EventOutcome]:
        """One outcome per submission, in the order given, once the log has confirmed every event.

        Raises:
            LogUnavailableError: when it did not; nothing is acknowledged.
        """
        positions = [] if self._confirmation is None else await self._confirmation
        written = [
            (event.event_id, position, self._token_of(position), (), event.learner)
            for event, position in zip(self._accepted, positions, strict=True)
        ]
        return [
            entry if isinstance(entry, EventOutcome) else EventOutcome(entry[0], *written[entry[1]])
            for entry in self._decided
        ]


class PublishEvents:
    """Appends a tenant's events to the log."""

    def __init__(self, log: EventLog, tags: SkillTags, clock: Callable[[], datetime]) -> None:
        """Args: the log, the catalog, and the clock, aware."""
        self._log = log
        self._tags = tags
        self._clock = clock

    async def __call__(self, tenant: Tenant, submissions: Sequence[Submission]) -> list[EventOutcome]:
        """Append every valid event; an invalid one does not affect the others.

        Returns:
            One outcome per submission, in the order given.

        Raises:
            BatchSizeError: when there are none, or more than 500.
            CatalogNotReadyError: before the catalog was read completely.
            LogUnavailableError: when the log did not confirm every event; nothing is acknowledged.
            LogOverloadedError: when the log has no room for the batch now.
        """
        return await (await self.begin(tenant, submissions)).outcomes()

    async def begin(
        self, tenant: Tenant, submissions: Sequence[Submission], *, wait_for_room: bool = False
    ) -> PendingBatch:
        """Check a batch and pass the valid events to the log, without waiting for the confirmation.

        Consecutive calls keep their order in the log.

        Args:
            tenant: whose events they are.
            submissions: the events.
            wait_for_room: wait while too many events await the log, instead of raising.

        Raises:
            BatchSizeError: when there are none, or more than 500.
            CatalogNotReadyError: before the catalog was read completely.
            LogUnavailableError: when the log cannot be reached.
            LogOverloadedError: when the log has no room for the batch now.
        """
        if not 1 <= len(submissions) <= EVENTS_MAX:
            raise BatchSizeError(
                f"has {len(submissions)} events, a request takes 1 to {EVENTS_MAX}: send them in several requests"
                if submissions
                else f"is empty: send 1 to {EVENTS_MAX} events"
            )
        if not self._tags.ready:
            raise CatalogNotReadyError("the catalog is still being read, and skills cannot be stamped before its end")
        received_at = instant_of(self._clock())
        accepted: list[AcceptedEvent] = []
        first_with: dict[tuple[str, str], int] = {}
        # For each submission its rejection, or the index of its event in `accepted`.
        decided: list[EventOutcome | tuple[Outcome, int]] = []
        for submission in submissions:
            problems = problems_of(submission, received_at)
            if problems:
                decided.append(EventOutcome(Outcome.REJECTED, submission.event_id, problems=tuple(problems)))
                continue
            event = self._accept(tenant, submission, received_at)
            identity = (event.source, event.event_id)
            if identity in first_with:
                decided.append((Outcome.DUPLICATE, first_with[identity]))
            else:
                decided.append((Outcome.ACCEPTED, len(accepted)))
                first_with[identity] = len(accepted)
                accepted.append(event)
        confirmation = await self._log.submit(accepted, wait_for_room=wait_for_room) if accepted else None
        return PendingBatch(decided, accepted, confirmation, partial(self._token, tenant))

    def _accept(self, tenant: Tenant, submission: Submission, received_at: Instant) -> AcceptedEvent:
        if submission.body is None:
            raise AssertionError("an event without a body passed the check")
        learner = tenant.pseudonym(submission.learner_id)
        event_id, former_event_id = event_ids_of(submission, tenant.name, learner)
        return AcceptedEvent(
            event_id=event_id,
            tenant=tenant.name,
            learner=learner,
            source=submission.source,
            occurred_at=submission.occurred_at,
            received_at=received_at,
            body=submission.body.accept(submission.source, partial(self._tags.assessed_skills, tenant.name)),
            former_event_id=former_event_id,
        )

    def _token(self, tenant: Tenant, position: Position) -> str:
        return encode(Freshness(self._log.identity.topic_id, position), tenant.secret)


def instant_of(moment: datetime) -> Instant:
    """The point in time of an aware moment, to the microsecond."""
    # Not from timestamp(): a float cannot represent current times to the microsecond.
    seconds = int(moment.replace(microsecond=0).timestamp())
    return Instant(seconds, moment.microsecond * 1000)
