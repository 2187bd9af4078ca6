"""Finds watched lists that may have changed, by notifications, by comparing offsets, and by list inputs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import structlog

from services.recommender.application.answers.active_models import ActiveModels
from services.recommender.application.answers.list_inputs import ListInputs
from services.recommender.application.answers.prepared_catalogs import PreparedCatalogs
from services.recommender.application.ports.learners import (
    ChangeNotifications,
    LearnerKey,
    LearnerOffsets,
    StateUnavailableError,
)
from services.recommender.application.subscriptions.list_cursors import NO_STATE
from services.recommender.application.subscriptions.subscriptions import CapReachedError, Subscription, Subscriptions

_log = structlog.get_logger(__name__)

_OFFSETS_PER_READ = 500
_COMPARISONS_FAILED_MAX = 3
# The background refresh prepares catalogs within a fraction of this.
_PREPARED_WITHIN_TICKS = 20


@dataclass(frozen=True, slots=True)
class FollowOptions:
    """How often to look.

    Attributes:
        compare_every_s: how often offsets of watched learners are compared, in case a notification was lost.
        list_every_s: how often tenants that are watched as a whole are searched for learners without a notification.
        spread_s: time over which watched lists are recomputed after their inputs have changed.
        tick_s: how often to check for such a change.
    """

    compare_every_s: float = 5.0
    list_every_s: float = 30.0
    spread_s: float = 10.0
    tick_s: float = 0.1


class FollowChanges:
    """Marks the learners of subscriptions whose list may have changed."""

    def __init__(
        self,
        subscriptions: Subscriptions,
        notifications: ChangeNotifications,
        offsets: LearnerOffsets,
        active_models: ActiveModels,
        inputs: ListInputs,
        catalogs: PreparedCatalogs,
        clock_s: Callable[[], float],
        options: FollowOptions = FollowOptions(),
    ) -> None:
        """Args: ports; `clock_s` gives monotonic seconds."""
        self._subscriptions = subscriptions
        self._notifications = notifications
        self._offsets = offsets
        self._active_models = active_models
        self._inputs = inputs
        self._catalogs = catalogs
        self._clock_s = clock_s
        self._options = options
        self._epoch: int | None = None
        self._unprepared_ticks: dict[str, int] = {}
        self._round: Iterator[tuple[Subscription, str]] = iter(())
        self._owed = 0.0

    async def run(self) -> None:
        """Run until cancelled."""
        jobs = [
            asyncio.create_task(job)
            for job in (self._notifications.run(self._subscriptions), self._keep_compared(), self._keep_current())
        ]
        try:
            await asyncio.gather(*jobs)
        finally:
            for job in jobs:
                job.cancel()
            await asyncio.gather(*jobs, return_exceptions=True)

    async def _keep_compared(self) -> None:
        missed = self._subscriptions.missed
        listed_at_s = self._clock_s()
        failed = 0
        while True:
            search = True
            try:
                async with asyncio.timeout(self._options.compare_every_s):
                    await missed.wait()
            except TimeoutError:
                search = self._clock_s() - listed_at_s >= self._options.list_every_s
            missed.clear()
            try:
                if search:
                    listed_at_s = self._clock_s()
                    await self._search_tenants()
                await self._compare()
                failed = 0
            except StateUnavailableError as error:
                failed += 1
                _log.warning("watched learners could not be compared", reason=str(error), failed=failed)
                if failed >= _COMPARISONS_FAILED_MAX:
                    # A reader that receives nothing assumes that nothing changed.
                    self._subscriptions.end_all(error)

    async def _search_tenants(self) -> None:
        for tenant in {subscription.tenant for subscription in self._whole()}:
            async for learners in self._offsets.learners_of(self._active_models.epoch.meta.epoch, tenant):
                for subscription in self._whole():
                    if subscription.tenant == tenant:
                        self._add(subscription, learners)

    def _whole(self) -> list[Subscription]:
        return [subscription for subscription in self._subscriptions if subscription.query.whole_tenant]

    def _add(self, subscription: Subscription, learners: Sequence[str]) -> None:
        try:
            self._subscriptions.add(subscription, learners)
        except CapReachedError as error:
            subscription.end(error)

    async def _compare(self) -> None:
        for subscription in self._subscriptions:
            epoch = self._active_models.epoch.meta.epoch
            learners = list(subscription.watched)
            for start in range(0, len(learners), _OFFSETS_PER_READ):
                some = learners[start : start + _OFFSETS_PER_READ]
                keys = [LearnerKey(subscription.tenant, learner) for learner in some]
                stored = await self._offsets.applied_offsets(epoch, keys)
                now_s = self._clock_s()
                for learner, found in zip(some, stored, strict=True):
                    watched, offset = subscription.watched[learner], NO_STATE if found is None else found
                    if watched.damaged:
                        # A repair may leave the offset as it was.
                        subscription.mark(learner, now_s)
                    # An erased learner has an offset without a state: marked once.
                    if watched.offset is not None and offset not in {watched.offset, watched.compared}:
                        watched.compared = offset
                        subscription.mark(learner, now_s)
                await asyncio.sleep(0)

    async def _keep_current(self) -> None:
        while True:
            if self._active_models.has_epoch:
                self._follow_epoch(self._active_models.epoch.meta.epoch)
                for tenant in self._subscriptions.tenants:
                    await self._prepare(tenant)
            if self._active_models.has_epoch:
                self._mark_outdated(self._options.tick_s / self._options.spread_s)
            self._subscriptions.end_aged()
            await asyncio.sleep(self._options.tick_s)

    def _follow_epoch(self, epoch: int) -> None:
        if epoch != self._epoch:
            self._epoch = epoch
            self._notifications.follow(epoch)

    async def _prepare(self, tenant: str) -> None:
        """Prepare the tenant's catalog if the background refresh does not; until then lists do not change."""
        if self._catalogs.current(tenant) is not None:
            self._unprepared_ticks.pop(tenant, None)
            return
        waited = self._unprepared_ticks[tenant] = self._unprepared_ticks.get(tenant, 0) + 1
        if waited >= _PREPARED_WITHIN_TICKS:
            await self._catalogs.prepare(tenant)

    def _mark_outdated(self, share: float) -> None:
        """Check a share of all watched learners in turn, and mark those whose list has other inputs.

        A full round takes `spread_s`, so after any change lists are recomputed spread over that time.
        """
        self._owed = min(self._owed + self._subscriptions.learners * share, self._subscriptions.learners)
        now_s = self._clock_s()
        numbers = {tenant: self._inputs.number(tenant) for tenant in self._subscriptions.tenants}
        while self._owed >= 1:
            self._owed -= 1
            following = next(self._round, None)
            if following is None:
                self._round = self._everybody()
                following = next(self._round, None)
                if following is None:
                    return
            subscription, learner = following
            watched = subscription.watched[learner]
            if watched.offset is not None and watched.inputs != numbers.get(subscription.tenant, watched.inputs):
                subscription.mark(learner, now_s)

    def _everybody(self) -> Iterator[tuple[Subscription, str]]:
        for subscription in self._subscriptions:
            for learner in tuple(subscription.watched):
                yield subscription, learner
