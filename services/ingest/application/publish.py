"""Publishing a batch of events: check, stamp and append, with a result for each event."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from services.common.auth.identity import EventIdentity
from services.common.auth.tenant import Tenant
from services.common.kafka.envelope import Position
from services.common.rpc.freshness import Freshness, encode
from services.common.turns import Pauses
from services.ingest.application.ports import Confirmation, EventLog, RecentEvents, SkillTags
from services.ingest.application.repeats import Comparison, Repeats
from services.ingest.domain.problems import Problem
from services.ingest.domain.repeats import Content, LearnerKey, Outcome, content_of
from services.ingest.domain.submission import AcceptedEvent, Instant, Submission, event_ids_of
from services.ingest.domain.validation import problems_of

EVENTS_MAX = 500


class BatchSizeError(ValueError):
    """A batch has no events, or more than 500."""


def check_batch_size(events: int) -> None:
    """Raise BatchSizeError when a batch has no events, or more than 500."""
    if not 1 <= events <= EVENTS_MAX:
        raise BatchSizeError(
            f"has {events} events, a request takes 1 to {EVENTS_MAX}: send them in several requests"
            if events
            else f"is empty: send 1 to {EVENTS_MAX} events"
        )


class CatalogNotReadyError(RuntimeError):
    """The catalog has not been read completely yet, so skills cannot be stamped."""


@dataclass(frozen=True, slots=True)
class EventOutcome:
    """The result of one event.

    Attributes:
        outcome: new, a duplicate, rejected, a conflict or a revision.
        event_id: the given or derived id; empty for a rejected event without one.
        position: of the event, or of the first of its copies in the batch; None when nothing was written.
        freshness_token: requests a state that includes it; empty when nothing was written, or none was wanted.
        problems: what is wrong, or differs; empty unless rejected or a conflict.
        learner: the learner's pseudonym; empty when nothing was written.
        older: whether an assessment of the learner that is later was written before it.
        without_skills: whether it is a new assessment of no skill.
        compared: whether it was compared with earlier requests.
    """

    outcome: Outcome
    event_id: str
    position: Position | None = None
    freshness_token: str = ""
    problems: tuple[Problem, ...] = ()
    learner: str = ""
    older: bool = False
    without_skills: bool = False
    compared: bool = True


@dataclass(frozen=True, slots=True)
class CheckedEvent:
    """An event without problems, and what it says."""

    event: AcceptedEvent
    content: Content


@dataclass(frozen=True, slots=True)
class _Written:
    """What was decided about an event that is written, or that is a copy of one: its index among those written."""

    outcome: Outcome
    index: int
    older: bool = False
    compared: bool = True


Checked = EventOutcome | CheckedEvent
"""A submission that was checked: the event for the log, or the outcome of one that is rejected."""

_Decision = EventOutcome | _Written


class PendingBatch:
    """A batch that was passed to the log and awaits its confirmation."""

    def __init__(
        self,
        decided: Sequence[_Decision],
        accepted: Sequence[AcceptedEvent],
        confirmation: asyncio.Future[list[Position]] | None,
        token_of: Callable[[Position], str],
    ) -> None:
        """Args: what was decided about each submission; the events written; and the log's confirmation of them."""
        self._decided = decided
        self._accepted = accepted
        self._confirmation = confirmation
        self._token_of = token_of

    async def outcomes(self, *, tokens: bool = True) -> list[EventOutcome]:
        """One outcome per submission, in the order given, once the log has confirmed every event.

        Args:
            tokens: whether they have freshness tokens.

        Raises:
            LogUnavailableError: when it did not; nothing is acknowledged.
        """
        # Shielded: what is on its way is settled even when nobody waits for it any more.
        positions = [] if self._confirmation is None else await asyncio.shield(self._confirmation)
        return [
            entry if isinstance(entry, EventOutcome) else self._outcome(entry, positions, tokens=tokens)
            for entry in self._decided
        ]

    def _outcome(self, written: _Written, positions: Sequence[Position], *, tokens: bool) -> EventOutcome:
        event, position = self._accepted[written.index], positions[written.index]
        return EventOutcome(
            written.outcome,
            event.event_id,
            position,
            self._token_of(position) if tokens else "",
            learner=event.learner,
            older=written.older,
            without_skills=written.outcome is Outcome.ACCEPTED and event.body.without_skills,
            compared=written.compared,
        )


class PublishEvents:
    """Appends a tenant's events to the log."""

    def __init__(self, log: EventLog, recent: RecentEvents, tags: SkillTags, clock: Callable[[], datetime]) -> None:
        """Args: the log, what is remembered of its last events, the catalog, and the clock, aware."""
        self._log = log
        self._repeats = Repeats(recent)
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
        check_batch_size(len(submissions))
        return await self.begin_checked(tenant, await self.check(tenant, submissions), wait_for_room=wait_for_room)

    async def check(self, tenant: Tenant, submissions: Sequence[Submission]) -> list[Checked]:
        """Check events, and stamp those without problems.

        Args:
            tenant: whose events they are.
            submissions: the events, however many.

        Returns:
            For each, the event for the log; or its outcome, when it is rejected.

        Raises:
            CatalogNotReadyError: before the catalog was read completely.
        """
        if not self._tags.ready:
            raise CatalogNotReadyError("the catalog is still being read, and skills cannot be stamped before its end")
        received_at = instant_of(self._clock())
        checked, pauses = list[Checked](), Pauses()
        for submission in submissions:
            checked.append(self._check(tenant, submission, received_at))
            await pauses.when_due()
        return checked

    async def begin_checked(
        self, tenant: Tenant, checked: Sequence[Checked], *, wait_for_room: bool = False
    ) -> PendingBatch:
        """As `begin`, for events that `check` returned, at most 500."""
        events = [each.event for each in checked if isinstance(each, CheckedEvent)]
        learners = [LearnerKey(event.tenant, event.learner) for event in events]
        token_of = partial(self._token, tenant)
        if not learners:
            return PendingBatch([each for each in checked if isinstance(each, EventOutcome)], (), None, token_of)
        comparison = await self._repeats.comparison(self._log.identity, learners)
        accepted: list[AcceptedEvent] = []
        decided = list(_decided(checked, comparison, accepted))
        if not accepted:
            return PendingBatch(decided, (), None, token_of)
        self._repeats.begin(comparison)
        try:
            confirmation = await self._log.submit(accepted, wait_for_room=wait_for_room)
        except BaseException:
            self._repeats.end(comparison)
            raise
        confirmed = asyncio.ensure_future(self._settle(confirmation, comparison, accepted))
        # The caller may be gone when it fails.
        confirmed.add_done_callback(lambda done: done.cancelled() or done.exception())
        return PendingBatch(decided, accepted, confirmed, token_of)

    def _check(self, tenant: Tenant, sent: Submission, received_at: Instant) -> Checked:
        submission = sent.normalised()
        problems = problems_of(submission, received_at)
        if problems:
            return EventOutcome(Outcome.REJECTED, submission.event_id, problems=tuple(problems))
        return CheckedEvent(self._accept(tenant, submission, sent, received_at), content_of(submission))

    def _accept(self, tenant: Tenant, submission: Submission, sent: Submission, received_at: Instant) -> AcceptedEvent:
        if submission.body is None:
            raise AssertionError("an event without a body passed the check")
        learner = tenant.pseudonym(submission.learner_id)
        event_id, former_event_id = event_ids_of(submission, tenant.name, learner, sent)
        return AcceptedEvent(
            event_id=event_id,
            tenant=tenant.name,
            learner=learner,
            source=submission.source,
            occurred_at=submission.occurred_at,
            received_at=received_at,
            body=submission.body.accept(submission.source, partial(self._tags.assessed_skills, tenant.name)),
            former_event_id=former_event_id,
            revises=submission.revises,
        )

    async def _settle(
        self, confirmation: Confirmation, comparison: Comparison, events: Sequence[AcceptedEvent]
    ) -> list[Position]:
        try:
            positions = await confirmation
            await self._repeats.remember(comparison, events, positions)
        finally:
            self._repeats.end(comparison)
        return positions

    def _token(self, tenant: Tenant, position: Position) -> str:
        return encode(Freshness(self._log.identity.topic_id, position), tenant.secret)


def _decided(checked: Sequence[Checked], comparison: Comparison, accepted: list[AcceptedEvent]) -> Iterator[_Decision]:
    """What is decided about each event; those to be written are added to `accepted`."""
    first_with: dict[tuple[EventIdentity, bytes], int] = {}
    for each in checked:
        if isinstance(each, EventOutcome):
            yield each
            continue
        event, content = each.event, each.content
        outcome, problems = comparison.outcome_of(event, content)
        if outcome is Outcome.CONFLICT:
            yield EventOutcome(outcome, event.event_id, problems=tuple(problems), compared=comparison.compared)
            continue
        said = event.identity, content.digest
        # A copy of an event of an earlier request is written too, because only the log knows what it still has.
        if outcome is not Outcome.DUPLICATE or said not in first_with:
            first_with[said] = len(accepted)
            accepted.append(event)
        older = content.revisable and outcome is Outcome.ACCEPTED and comparison.is_older(event)
        yield _Written(outcome, first_with[said], older, comparison.compared)


def instant_of(moment: datetime) -> Instant:
    """The point in time of an aware moment, to the microsecond."""
    # Not from timestamp(): a float cannot represent current times to the microsecond.
    seconds = int(moment.replace(microsecond=0).timestamp())
    return Instant(seconds, moment.microsecond * 1000)
