"""The subscriptions of a process: their learners, which lists may have changed, and how many there may be."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import islice

from services.common.kafka.envelope import record_key
from services.recommender.application.answers.list_inputs import ListInputs
from services.recommender.application.ports.learners import ChangeNotifications
from services.recommender.application.subscriptions.list_cursors import ListCursor
from services.recommender.domain.ranking.policy import EVERYTHING, ResourceFilter

# Each stream ends at a random moment in this part of a connection's life, so that not all of them end at once.
_ENDS_FROM, _ENDS_TO = 0.8, 0.95


@dataclass(frozen=True, slots=True)
class SubscribeQuery:
    """A request for a subscription.

    Attributes:
        learners: the learners to watch, by pseudonym; ignored with `whole_tenant`.
        whole_tenant: watch every learner of the tenant, including new ones.
        limit: most resources for each.
        wanted: which resources the lists may contain.
        class_id: the class that the lists are for; empty: none.
        cursors: what the reader already has, by pseudonym.
    """

    learners: Collection[str]
    whole_tenant: bool = False
    limit: int = 5
    wanted: ResourceFilter = EVERYTHING
    class_id: str = ""
    cursors: Mapping[str, ListCursor] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SubscriptionLimits:
    """The limits of one process.

    Attributes:
        streams_per_tenant: subscriptions of one tenant.
        streams: subscriptions in all.
        learners_per_tenant: learners watched for one tenant; one on two streams counts twice.
        learners: learners watched in all.
    """

    streams_per_tenant: int = 25
    streams: int = 100
    learners_per_tenant: int = 10_000
    learners: int = 20_000


class Cap(StrEnum):
    """Which of the limits."""

    STREAMS_PER_TENANT = "streams_per_tenant"
    STREAMS = "streams"
    LEARNERS_PER_TENANT = "learners_per_tenant"
    LEARNERS = "learners"


class CapReachedError(RuntimeError):
    """A limit would be exceeded.

    Attributes:
        cap: which.
    """

    def __init__(self, cap: Cap, limit: int, wanted: int) -> None:
        whose = "of the tenant " if cap in {Cap.STREAMS_PER_TENANT, Cap.LEARNERS_PER_TENANT} else ""
        what = "subscriptions" if cap in {Cap.STREAMS, Cap.STREAMS_PER_TENANT} else "watched learners"
        super().__init__(
            f"this server keeps at most {limit:,} {what} {whose}(CAIRN_SUBSCRIBE_{cap.name}), and it would be "
            f"{wanted:,}; end another subscription, watch fewer learners, use another server, or have the limit raised"
        )
        self.cap = cap


class EndReason(StrEnum):
    """Why the server ends a subscription."""

    AGED = "aged"
    STOPPING = "stopping"


class SubscriptionEndedError(Exception):
    """The server ends a subscription; the reader subscribes again with its cursors.

    Attributes:
        reason: why.
    """

    def __init__(self, reason: EndReason) -> None:
        why = "the server stops" if reason is EndReason.STOPPING else "the stream has been open for long"
        super().__init__(f"{why}; subscribe again with the cursors of the last updates, to be sent what differs")
        self.reason = reason


@dataclass(slots=True)
class Watched:
    """A learner on a subscription, and what the reader has.

    Attributes:
        offset: of the state that their list was last computed from; None: not computed yet.
        listed: hash of the list the reader has; empty: none.
        compared: the stored offset for which a comparison last marked the learner, so that it marks them once.
        inputs: number of the `ListInputs` that the list was last computed from.
        traceparent: the trace of the last notified change; empty: none, or the list has been computed since.
        damaged: whether the reader was told that what is stored about the learner is damaged.
    """

    offset: int | None = None
    listed: bytes = b""
    compared: int | None = None
    inputs: int = 0
    traceparent: str = ""
    damaged: bool = False


class Subscription:
    """One subscription: its learners, and those of them whose list may have changed.

    There is no queue of events: a learner is dirty or not, and the list is computed when the learner's turn comes.
    """

    def __init__(self, tenant: str, query: SubscribeQuery, ends_at_s: float) -> None:
        """Args: `ends_at_s` in monotonic seconds."""
        self.tenant = tenant
        self.query = query
        self.ends_at_s = ends_at_s
        self.watched: dict[str, Watched] = {}
        # By pseudonym: the time since when the learner is dirty.
        self.dirty: dict[str, float] = {}
        self._wake = asyncio.Event()
        self._ended: Exception | None = None

    def mark(self, learner: str, since_s: float) -> None:
        """Mark a learner: the list may have changed."""
        self.dirty.setdefault(learner, since_s)
        self._wake.set()

    def take(self, most: int) -> dict[str, float]:
        """Take up to `most` dirty learners and the times they were marked, the earliest first."""
        taken = dict(islice(self.dirty.items(), most))
        for learner in taken:
            del self.dirty[learner]
        return taken

    def put_back(self, taken: Mapping[str, float]) -> None:
        """Mark learners again that were taken but not ranked: they come before those marked meanwhile."""
        self.dirty = {**taken, **self.dirty, **taken}
        self._wake.set()

    async def wait_dirty(self) -> None:
        """Return when a learner is dirty. Raises the error that the subscription was ended with."""
        self.check()
        while not self.dirty:
            self._wake.clear()
            await self._wake.wait()
            self.check()

    def end(self, error: Exception) -> None:
        """End the subscription with an error."""
        if self._ended is None:
            self._ended = error
        self._wake.set()

    def check(self) -> None:
        """Raise the error that the subscription was ended with, if any."""
        if self._ended is not None:
            raise self._ended


class Subscriptions:
    """All subscriptions of a process; implements ChangeListener."""

    def __init__(
        self,
        notifications: ChangeNotifications,
        inputs: ListInputs,
        limits: SubscriptionLimits,
        clock_s: Callable[[], float],
        age_s: float | None,
        random_source: random.Random,
    ) -> None:
        """Args: `clock_s` returns monotonic seconds; `age_s`: streams end before a connection has this age, if any."""
        self._notifications = notifications
        self._inputs = inputs
        self._limits = limits
        self._clock_s = clock_s
        self._age_s = age_s
        self._random = random_source
        self._open: dict[Subscription, None] = {}
        # Subscriptions that name their learners, by tenant and pseudonym.
        self._watchers: dict[str, dict[str, list[Subscription]]] = {}
        self._whole_tenants: dict[str, list[Subscription]] = {}
        self._learners: Counter[str] = Counter()
        self._stopping = False
        self.missed = asyncio.Event()

    def __len__(self) -> int:
        return len(self._open)

    def __iter__(self) -> Iterator[Subscription]:
        return iter(tuple(self._open))

    @property
    def learners(self) -> int:
        """Watched learners; one on two subscriptions counts twice."""
        return self._learners.total()

    @property
    def dirty(self) -> int:
        """Watched learners whose list may have changed and was not yet computed again."""
        return sum(len(subscription.dirty) for subscription in self)

    @property
    def tenants(self) -> set[str]:
        """Tenants with a subscription."""
        return {subscription.tenant for subscription in self._open}

    @contextmanager
    def opened(self, tenant: str, query: SubscribeQuery) -> Iterator[Subscription]:
        """A subscription that lasts as long as the `with` block.

        Raises:
            CapReachedError: when there would be too many subscriptions or watched learners.
            SubscriptionEndedError: when the process stops.
        """
        if self._stopping:
            raise SubscriptionEndedError(EndReason.STOPPING)
        self._check_streams(tenant)
        ends_at_s = float("inf")
        if self._age_s is not None:
            ends_at_s = self._clock_s() + self._age_s * self._random.uniform(_ENDS_FROM, _ENDS_TO)
        subscription = Subscription(tenant, query, ends_at_s)
        learners = () if query.whole_tenant else query.learners
        self._check_learners(tenant, len(learners))
        self._open[subscription] = None
        try:
            if query.whole_tenant:
                self._whole_tenants.setdefault(tenant, []).append(subscription)
                self._notifications.watch_all()
            else:
                watchers = self._watchers.setdefault(tenant, {})
                for learner in learners:
                    watchers.setdefault(learner, []).append(subscription)
                self._notifications.watch(_keys(tenant, learners))
            self.add(subscription, learners)
            yield subscription
        finally:
            self._close(subscription)

    def add(self, subscription: Subscription, learners: Iterable[str]) -> None:
        """Watch those of these learners that are not yet watched; they start dirty.

        Raises:
            CapReachedError: when there would be too many.
        """
        fresh = [learner for learner in dict.fromkeys(learners) if learner not in subscription.watched]
        self._check_learners(subscription.tenant, len(fresh))
        now_s = self._clock_s()
        for learner in fresh:
            subscription.watched[learner] = Watched()
            subscription.mark(learner, now_s)
        self._learners[subscription.tenant] += len(fresh)

    def changed(self, key: bytes, offset: int, traceparent: str) -> None:
        """See the port."""
        tenant, _, learner = key.decode().partition("/")
        inputs, now_s = self._inputs.held(tenant), self._clock_s()
        for subscription in self._watchers.get(tenant, {}).get(learner, ()):
            _mark_older(subscription, learner, offset, inputs, now_s)
            subscription.watched[learner].traceparent = traceparent
        for subscription in self._whole_tenants.get(tenant, ()):
            if learner in subscription.watched:
                _mark_older(subscription, learner, offset, inputs, now_s)
                subscription.watched[learner].traceparent = traceparent
                continue
            try:
                self.add(subscription, [learner])
                subscription.watched[learner].traceparent = traceparent
            except CapReachedError as error:
                subscription.end(error)

    def missed_some(self) -> None:
        """See the port."""
        self.missed.set()

    def end_aged(self) -> None:
        """End subscriptions that have reached their age."""
        now_s = self._clock_s()
        for subscription in self:
            if subscription.ends_at_s <= now_s:
                subscription.end(SubscriptionEndedError(EndReason.AGED))

    def end_all(self, error: Exception) -> None:
        """End all subscriptions."""
        for subscription in self:
            subscription.end(error)

    def stop(self) -> None:
        """End all subscriptions, and refuse new ones."""
        self._stopping = True
        self.end_all(SubscriptionEndedError(EndReason.STOPPING))

    def _close(self, subscription: Subscription) -> None:
        tenant = subscription.tenant
        del self._open[subscription]
        self._learners[tenant] -= len(subscription.watched)
        if subscription.query.whole_tenant:
            self._whole_tenants[tenant].remove(subscription)
            self._notifications.unwatch_all()
            return
        watchers = self._watchers[tenant]
        for learner in subscription.query.learners:
            watchers[learner].remove(subscription)
            if not watchers[learner]:
                del watchers[learner]
        self._notifications.unwatch(_keys(tenant, subscription.query.learners))

    def _check_streams(self, tenant: str) -> None:
        of_tenant = sum(subscription.tenant == tenant for subscription in self._open)
        _check(Cap.STREAMS_PER_TENANT, self._limits.streams_per_tenant, of_tenant + 1)
        _check(Cap.STREAMS, self._limits.streams, len(self._open) + 1)

    def _check_learners(self, tenant: str, more: int) -> None:
        _check(Cap.LEARNERS_PER_TENANT, self._limits.learners_per_tenant, self._learners[tenant] + more)
        _check(Cap.LEARNERS, self._limits.learners, self.learners + more)


def _check(cap: Cap, limit: int, wanted: int) -> None:
    if wanted > limit:
        raise CapReachedError(cap, limit, wanted)


def _mark_older(subscription: Subscription, learner: str, offset: int, inputs: int, now_s: float) -> None:
    """Mark a learner unless their list was computed from that state or a later one."""
    watched = subscription.watched[learner]
    # Offsets of another epoch may belong to another log.
    if watched.inputs != inputs or watched.offset is None or watched.offset < offset:
        subscription.mark(learner, now_s)


def _keys(tenant: str, learners: Iterable[str]) -> list[bytes]:
    return [record_key(tenant, learner) for learner in learners]
