"""The event service: reads the log of learner events in batches and folds each batch into one epoch.

It is a mode service with its own consumer. It reads whole batches, and acknowledges records only once they are stored.
A Faust agent does neither; docs/decisions/0030 has the figures.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import mode
import structlog
from aiokafka.errors import CommitFailedError

from services.common.encryption.values import KeysMissingError
from services.common.kafka.connection import BrokerUnavailableError
from services.recommender.application.ports.learners import StateRefusedError, StateUnavailableError
from services.recommender.application.state.fold_events import FoldEvents, FoldReport
from services.recommender.domain.learner.state import MOST_SKILLS
from services.recommender.entrypoints.assigned_log import AssignedLog, Fetched
from services.recommender.entrypoints.event_service_options import (
    DEFAULT_OPTIONS,
    NO_OBSERVERS,
    EventServiceOptions,
    EventSource,
    FoldObservers,
    FoldTask,
)

_log = structlog.get_logger(__name__)

_KAFKA_COMMIT_EVERY_S = 1.0
# aiokafka would retry for as long as the broker is unavailable, and the worker could not be stopped meanwhile.
_KAFKA_COMMIT_TIMEOUT_S = 5.0
# At the end nobody is served by waiting longer.
_LAST_COMMIT_TIMEOUT_S = 1.0
_PAUSE_FIRST_S = 0.2
_PAUSE_LAST_S = 2.0
_TRANSIENT = (StateUnavailableError, BrokerUnavailableError, KeysMissingError)
_COMPARE_LOG_EVERY_S = 5.0


class EventService(mode.Service):
    """Folds one epoch's events, as a member of a consumer group or over the whole log up to a goal.

    While it cannot write to Redis or to the dead letters, it pauses: it acknowledges nothing, and takes its partitions
    over again once it can write. Any other exception crashes the service and the process: no record is skipped, and the
    next owner of the partitions reads the records again that were not stored.
    """

    def __init__(
        self,
        task: FoldTask,
        fold: FoldEvents,
        source: EventSource,
        *,
        options: EventServiceOptions = DEFAULT_OPTIONS,
        observers: FoldObservers = NO_OBSERVERS,
        clock_s: Callable[[], float] = time.monotonic,
        **service_options: Any,
    ) -> None:
        """Create the service; starting it connects.

        Args:
            task: what to fold.
            fold: the use case, bound to the epoch's store.
            source: reads the log.
            options: how much to read at once, and when the service counts as stuck.
            observers: who is notified.
            clock_s: returns monotonic seconds, for the commit interval and for detecting a stuck partition.
            service_options: options of mode.
        """
        super().__init__(**service_options)
        self.epoch = task.epoch
        self._goal = task.goal
        self._fold = fold
        self._source = source
        self._consumer = source.consumer
        self._assigned_log = AssignedLog(task, fold, source, options)
        self._options = options
        self._observers = observers
        self._clock_s = clock_s
        self._assigned = False
        self._rebalancing = False
        self._folding = asyncio.Lock()
        self._listener_failure: BaseException | None = None
        self._interruption: Exception | None = None
        self._kafka_committed_at_s = 0.0
        self._progressed_at_s: dict[int, float] = {}
        self._finished = asyncio.Event()
        self._named_full: set[bytes] = set()

    @property
    def positions(self) -> dict[int, int]:
        """One past the last record processed, by assigned partition."""
        return self._fold.positions

    async def wait_finished(self) -> None:
        """Wait until the goal is reached or the service has stopped.

        Raises:
            Exception: the error that crashed the service.
        """
        await self.wait(self._finished.wait())
        if self.crash_reason is not None:
            raise self.crash_reason

    @property
    def healthy(self) -> bool:
        """Whether partitions are assigned, and each of them advances or has nothing to read."""
        if not self._assigned or self.crashed or self._interruption is not None or self.waits_for_keys:
            return False
        now_s, lag = self._clock_s(), self.lag
        return all(
            lag.get(partition, 0) == 0 or now_s - since_s < self._options.stuck_after_s
            for partition, since_s in self._progressed_at_s.items()
        )

    @property
    def waits_for_keys(self) -> bool:
        """Whether records of assigned partitions cannot be decrypted because their keys are missing."""
        # Corrections are read ahead before any record of the partitions.
        if isinstance(self._interruption, KeysMissingError):
            return True
        return not self._source.decoder.waiting.isdisjoint(self.positions)

    @property
    def lag(self) -> dict[int, int]:
        """Number of records not processed yet, by assigned partition, as of the last fetch."""
        return self._consumer.lag(self._fold.positions)

    async def on_start(self) -> None:
        """Connect, and join the group or take every partition."""
        await self._consumer.start(self)

    async def on_started(self) -> None:
        """Begin to fold, then to compare. Tasks of mode are a set: each process would begin them in another order."""
        self.add_future(self._fold_the_log())
        self.add_future(self._compare_the_log())

    async def on_stop(self) -> None:
        """Finish the current batch, and fold no other."""
        async with self._folding:
            self._assigned_log.drop()

    async def on_shutdown(self) -> None:
        """Commit the positions, then leave the group."""
        if self._consumer.started:
            if self._consumer.group is not None and not self.crashed:
                await self._commit_to_kafka(_LAST_COMMIT_TIMEOUT_S)
            await self._consumer.stop()
        for resource in self._source.resources:
            await resource.close()

    async def _fold_the_log(self) -> None:
        # The next batch is read and decoded while Redis stores this one.
        fetching = asyncio.create_task(self._fetch())
        try:
            while not (self.should_stop or self._reached_goal()):
                try:
                    try:
                        fetched = await fetching
                    finally:
                        fetching = asyncio.create_task(self._fetch())
                    async with self._folding:
                        await self._fold_fetched(fetched)
                    # Stopping waits for the batch, not for this: aiokafka waits for a broker that is away.
                    await self._commit_to_kafka_when_due()
                except _TRANSIENT as error:
                    if not self._waits_out(error):
                        raise
                    self._interrupt(error)
                await self._resume()
        finally:
            fetching.cancel()
            with suppress(asyncio.CancelledError):
                await fetching
        if self._reached_goal():
            self._finished.set()

    async def _compare_the_log(self) -> None:
        while not self.should_stop:
            await self.sleep(_COMPARE_LOG_EVERY_S)
            await self._assigned_log.compare()

    async def on_assigned(self, assigned: Sequence[int]) -> None:
        """Take partitions over and seek to the positions of this epoch.

        Raises:
            LogTruncatedError: when the log no longer holds records that were not processed.
            StateUnavailableError: when Redis does not return the positions.
            BrokerUnavailableError: when Kafka does not return the beginning of the log.
        """
        async with self._folding:
            self._rebalancing = False
            await self._assign(assigned)

    async def _assign(self, assigned: Sequence[int]) -> None:
        await self._assigned_log.take(assigned)
        self._progressed_at_s = dict.fromkeys(assigned, self._clock_s())
        self._assigned = True
        self._interruption = None
        _log.info("partitions assigned", epoch=self.epoch, positions=self._fold.positions)

    async def on_revoked(self, revoked: Sequence[int]) -> None:
        """Release partitions: finish the current batch, and drop the records read ahead."""
        async with self._folding:
            # Until partitions are assigned, the consumer still lists the previous ones and may drop them at any moment.
            self._rebalancing = True
            if revoked:
                await self._commit_to_kafka()
            if self._observers.metrics is not None:
                self._observers.metrics.forget(self.epoch, dict.fromkeys(self._progressed_at_s, 0))
            self._fold.release(revoked)
            self._source.decoder.release(revoked)
            self._assigned_log.drop()
            self._progressed_at_s = {}
            self._assigned = False

    def _interrupt(self, error: Exception) -> None:
        """Pause because of a transient error."""
        if self._interruption is None:
            _log.warning("paused: nothing can be stored now", epoch=self.epoch, reason=str(error))
        self._interruption = error
        self._assigned_log.drop()

    async def _resume(self) -> None:
        """After an interruption, wait until partitions are assigned again; records not stored are read again."""
        pause_s = _PAUSE_FIRST_S
        while self._interruption is not None and not self.should_stop:
            await self.sleep(pause_s)
            pause_s = min(pause_s * 2, _PAUSE_LAST_S)
            try:
                async with self._folding:
                    if self._interruption is not None and not self._rebalancing:
                        await self._assign(self._consumer.assignment)
            except _TRANSIENT as error:
                if not self._waits_out(error):
                    raise
                self._interrupt(error)

    def _waits_out(self, error: Exception) -> bool:
        """Whether to wait out a transient error. A replay fails instead: a user waits for it, and it can be resumed."""
        return (
            isinstance(error, _TRANSIENT)
            and not isinstance(error, StateRefusedError)
            and self._consumer.group is not None
        )

    def fail(self, error: Exception) -> None:
        """Pause or crash because of an error in a rebalance; aiokafka would only log it."""
        if self._waits_out(error):
            self._interrupt(error)
        else:
            self._listener_failure = error

    async def _fetch(self) -> list[Fetched]:
        fetched = await self._assigned_log.fetch()
        if self._listener_failure is not None:
            raise self._listener_failure
        return fetched

    async def _fold_fetched(self, fetched: Sequence[Fetched]) -> None:
        observers = self._observers
        following = [one for one in fetched if await self._assigned_log.follows(one)]
        await self._assigned_log.check_partitions(following)
        if following:
            report = await self._fold.fold([one.batch for one in following])
            self._assigned_log.budget.took(sum(one.batch.cost for one in following), report.fold_cpu_s)
            self._trace(following)
            now_s = self._clock_s()
            for one in following:
                self._progressed_at_s[one.batch.partition] = now_s
            self._name_full(report)
            if observers.metrics is not None:
                observers.metrics.observe(self.epoch, sum(one.records for one in following), report)
            if observers.on_batch is not None:
                observers.on_batch(report)
        lag = self.lag
        if observers.metrics is not None:
            observers.metrics.lag(self.epoch, lag)
        now_s = self._clock_s()
        for partition, behind in lag.items():
            if not behind:
                self._progressed_at_s[partition] = now_s

    def _name_full(self, report: FoldReport) -> None:
        """Name each learner who has no room for a new skill, once."""
        for key in report.refused_skills.keys() - self._named_full:
            self._named_full.add(key)
            _log.warning(
                "a learner has no room for new skills: events are evidence only of the skills it has",
                epoch=self.epoch,
                learner=key.decode(errors="replace"),
                skills=MOST_SKILLS,
            )

    def _trace(self, folded: Sequence[Fetched]) -> None:
        """Record a span for each traced record, which is now stored."""
        for one in folded:
            attributes = {
                "cairn.epoch": self.epoch,
                "cairn.partition": one.batch.partition,
                "cairn.records": one.records,
            }
            for traceparent in one.batch.traceparents.values():
                self._observers.traces.record("fold", traceparent, began_ns=one.fetched_at_ns, attributes=attributes)

    async def _commit_to_kafka_when_due(self) -> None:
        now_s = self._clock_s()
        due = now_s - self._kafka_committed_at_s >= _KAFKA_COMMIT_EVERY_S
        # A rebalance commits by itself, and partitions may be taken away at any moment during one.
        if due and self._consumer.group is not None and not self._rebalancing:
            self._kafka_committed_at_s = now_s
            await self._commit_to_kafka()

    async def _commit_to_kafka(self, timeout_s: float = _KAFKA_COMMIT_TIMEOUT_S) -> None:
        # The positions in Redis are authoritative; these are only for Kafka's tools.
        try:
            async with asyncio.timeout(timeout_s):
                acknowledged = await self._consumer.commit(self._fold.positions)
        except CommitFailedError:
            _log.info("offsets were not committed: a rebalance has begun", epoch=self.epoch)
        except TimeoutError:
            _log.warning("offsets were not committed: Kafka does not respond", epoch=self.epoch)
        else:
            if acknowledged and self._observers.on_acknowledged is not None:
                self._observers.on_acknowledged()

    def _reached_goal(self) -> bool:
        positions = self._fold.positions
        return self._goal is not None and all(
            positions.get(partition, 0) >= offset for partition, offset in self._goal.items()
        )
