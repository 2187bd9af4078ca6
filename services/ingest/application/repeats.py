"""Comparing the events of a request with those of the same identity that came before."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from services.common.auth.identity import EventIdentity
from services.common.kafka.envelope import LogIdentity, Position
from services.ingest.application.ports import Addition, RecentEvents, RecentEventsUnavailableError
from services.ingest.domain.problems import Problem
from services.ingest.domain.repeats import Content, LearnerKey, Outcome, RecentLearner, entry_of
from services.ingest.domain.submission import AcceptedEvent

_NOTHING = RecentLearner()


class NoRecentEvents:
    """Implements RecentEvents where nothing is remembered."""

    available = False

    async def of(
        self,
        log: LogIdentity,  # noqa: ARG002 - the port's.
        learners: Sequence[LearnerKey],  # noqa: ARG002 - the port's.
    ) -> list[RecentLearner]:
        """See RecentEvents."""
        raise RecentEventsUnavailableError("CAIRN_REDIS is empty")

    async def add(self, log: LogIdentity, additions: Sequence[Addition]) -> None:
        """See RecentEvents."""

    async def forget(self, log: LogIdentity, learner: LearnerKey, offset: int) -> None:
        """See RecentEvents."""


class Repeats:
    """What is known of earlier events: of those on their way to the log in this process, and of the log's last ones."""

    def __init__(self, recent: RecentEvents) -> None:
        self._recent = recent
        # With the comparison that they are of: a later one replaces them.
        self._digests: dict[EventIdentity, tuple[bytes, Comparison]] = {}
        self._latest: dict[LearnerKey, tuple[int, Comparison]] = {}

    async def comparison(self, log: LogIdentity, learners: Iterable[LearnerKey]) -> Comparison:
        """A comparison for one request.

        Between this call's return and `begin`, no other request may be compared, so the caller does not wait there.

        Args:
            log: the log that the events go to.
            learners: the learners of its events.
        """
        distinct = list(dict.fromkeys(learners))
        try:
            recent = dict(zip(distinct, await self._recent.of(log, distinct), strict=True))
        except RecentEventsUnavailableError:
            return Comparison(self, log, {}, compared=False)
        return Comparison(self, log, recent, compared=True)

    def begin(self, comparison: Comparison) -> None:
        """Its events are on their way to the log, so that later requests are compared with them. `end` must follow."""
        for identity, digest in comparison.digests.items():
            self._digests[identity] = digest, comparison
        for learner, latest_at_s in comparison.latest.items():
            self._latest[learner] = latest_at_s, comparison

    async def remember(
        self, comparison: Comparison, events: Sequence[AcceptedEvent], positions: Sequence[Position]
    ) -> None:
        """The log has confirmed its events: add them to the log's last ones, if that is possible."""
        offsets = {(at.tenant, at.learner): position.offset for at, position in zip(events, positions, strict=True)}
        entries: dict[LearnerKey, list[bytes]] = {}
        for identity, digest in comparison.digests.items():
            entries.setdefault(LearnerKey(identity.tenant, identity.learner), []).append(entry_of(identity, digest))
        additions = [
            Addition(learner, b"".join(added), comparison.latest.get(learner), offsets[learner])
            for learner, added in entries.items()
        ]
        if additions:
            try:
                await self._recent.add(comparison.log, additions)
            except RecentEventsUnavailableError:
                # The adapter reports it. Repeats of these events will be taken for new ones, and found by the fold.
                return

    def end(self, comparison: Comparison) -> None:
        """Its events are no longer on their way."""
        for identity in comparison.digests:
            if self._digests.get(identity, (b"", None))[1] is comparison:
                del self._digests[identity]
        for learner in comparison.latest:
            if self._latest.get(learner, (0, None))[1] is comparison:
                del self._latest[learner]

    def digest_of(self, identity: EventIdentity) -> bytes | None:
        """The digest of an event on its way."""
        found = self._digests.get(identity)
        return None if found is None else found[0]

    def latest_of(self, learner: LearnerKey) -> int | None:
        """The latest time of a learner's assessments on their way."""
        found = self._latest.get(learner)
        return None if found is None else found[0]


class Comparison:
    """The events of one request, compared one after the other with everything before them.

    Attributes:
        log: the log that they go to.
        compared: whether the log's last events are known.
        digests: what is new, of those that are to be written: the last digest of each identity.
        latest: where they are later than all before, the latest time of a learner's assessments.
    """

    def __init__(
        self, repeats: Repeats, log: LogIdentity, recent: Mapping[LearnerKey, RecentLearner], *, compared: bool
    ) -> None:
        """Args: the events on their way, the log, and its last events."""
        self.log = log
        self.compared = compared
        self.digests: dict[EventIdentity, bytes] = {}
        self.latest: dict[LearnerKey, int] = {}
        self._repeats = repeats
        self._recent = recent

    def outcome_of(self, event: AcceptedEvent, content: Content) -> tuple[Outcome, list[Problem]]:
        """Whether the next event is new, a copy, a conflict or a revision, and in which fields a conflict differs."""
        identity = event.identity
        earlier = self._earlier(identity)
        if earlier is not None and content.is_said_by(earlier):
            return Outcome.DUPLICATE, []
        if earlier is not None and not (event.revises and content.is_of_the_kind_of(earlier)):
            return Outcome.CONFLICT, content.differences(earlier)
        self.digests[identity] = content.digest
        return Outcome.ACCEPTED if earlier is None else Outcome.REVISED, []

    def is_older(self, event: AcceptedEvent) -> bool:
        """Whether the learner has a later assessment among those before this one, which counts from now on."""
        if event.occurred_at is None:
            return False
        learner = LearnerKey(event.tenant, event.learner)
        known = [self.latest.get(learner), self._repeats.latest_of(learner), self._recent_of(learner).latest_at_s]
        latest_at_s = max((at_s for at_s in known if at_s is not None), default=None)
        if latest_at_s is None or event.occurred_at.seconds > latest_at_s:
            self.latest[learner] = event.occurred_at.seconds
        return latest_at_s is not None and event.occurred_at.seconds < latest_at_s

    def _earlier(self, identity: EventIdentity) -> bytes | None:
        digest = self.digests.get(identity) or self._repeats.digest_of(identity)
        return digest or self._recent_of(LearnerKey(identity.tenant, identity.learner)).digest_of(identity)

    def _recent_of(self, learner: LearnerKey) -> RecentLearner:
        return self._recent.get(learner, _NOTHING)
