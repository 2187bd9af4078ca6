"""The worker: one event service for every epoch that is live or catching up.

The services use mode, the service library of Faust: an error in any of them stops all of them and ends the process.
They are not Faust agents; docs/decisions/0030 explains why. The only agent counts dead letters and runs separately.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any

import mode
import structlog

from services.common.kafka.connection import BrokerUnavailableError
from services.recommender.application.ports.epochs import (
    EpochBehindError,
    EpochExistsError,
    EpochMeta,
    EpochsLostError,
    EpochStatus,
    EpochStore,
)
from services.recommender.application.ports.learners import PartitionProgress, StateRefusedError, StateUnavailableError
from services.recommender.application.ports.log import LogReader, LogTruncatedError
from services.recommender.application.ports.served_parameters import NoMemory, ServedParametersMemory
from services.recommender.application.state.epochs import check_log, ensure_first_epoch, has_reached
from services.recommender.application.state.log_marks import check_log_holds, check_not_deleted
from services.recommender.application.state.served_parameters import RememberServed
from services.recommender.entrypoints.event_service import EventService

_log = structlog.get_logger(__name__)

_WATCH_EVERY_S = 1.0
_LOG_CHECK_EVERY_S = 5.0
# An epoch counts as caught up if it reached the ends that the log had within this time.
_FRESH_ENDS_S = 2.0

MakeEventService = Callable[[EpochMeta], Awaitable[EventService]]


class EpochServices(mode.Service):
    """Reads the epochs every second, and runs an event service for each one that is live or catching up."""

    def __init__(
        self,
        epochs: EpochStore,
        log: LogReader,
        make_service: MakeEventService,
        *,
        served: ServedParametersMemory | None = None,
        watch_every_s: float = _WATCH_EVERY_S,
        clock_s: Callable[[], float] = time.monotonic,
        **service_options: Any,
    ) -> None:
        """Create the worker; starting it connects.

        Args:
            epochs: the epochs.
            log: the log of learner events.
            make_service: makes the event service of an epoch.
            served: remembers the parameters that are served; None: nothing does.
            watch_every_s: how often the epochs are read.
            clock_s: returns monotonic seconds.
            service_options: options of mode.
        """
        super().__init__(**service_options)
        self._epochs = epochs
        self._log_reader = log
        self._make_service = make_service
        self._remember = RememberServed(served or NoMemory())
        self._watch_every_s = watch_every_s
        self._clock_s = clock_s
        self._running: dict[int, EventService] = {}
        self._begun: dict[int, EpochMeta] = {}
        self._goals: dict[int, tuple[float, Mapping[int, int]]] = {}
        self._foreign: set[int] = set()
        self._log_due_s = clock_s() + _LOG_CHECK_EVERY_S
        self._unreadable = ""

    @property
    def healthy(self) -> bool:
        """Whether there is an epoch to fold into and every event service is healthy."""
        return (
            not self._unreadable and bool(self._running) and all(service.healthy for service in self._running.values())
        )

    @property
    def waits_for_keys(self) -> bool:
        """Whether an event service cannot go on because keys of records are missing."""
        return any(service.waits_for_keys for service in self._running.values())

    @property
    def folded(self) -> Collection[int]:
        """The epochs that are folded into."""
        return list(self._running)

    async def on_start(self) -> None:
        """Create the first epoch if there is none, and start the event services.

        Raises:
            EpochUnusableError: when every epoch to fold into belongs to another log.
            LogTruncatedError: when the log lost records that every such epoch has folded.
        """
        await self._look()

    @mode.Service.task
    async def _watch(self) -> None:
        while not self.should_stop:
            await self.sleep(self._watch_every_s)
            if not self.should_stop:
                await self._look_if_readable()

    async def _look_if_readable(self) -> None:
        """Read the epochs; if Redis or Kafka is unavailable, try again later. Event services pause on their own."""
        try:
            await self._look()
        except StateRefusedError:
            raise
        except (StateUnavailableError, BrokerUnavailableError) as error:
            if not self._unreadable:
                _log.warning("the epochs cannot be read", reason=str(error))
            self._unreadable = str(error)
        else:
            self._unreadable = ""

    async def _look(self) -> None:
        await self._epochs.keep_readable()
        if not self._running:
            # Not only on start: Redis may lose the epoch before this worker has started folding into it.
            await self._begin_first()
        metas = {meta.epoch: meta for meta in await self._epochs.epochs()}
        active = {
            epoch: meta
            for epoch, meta in metas.items()
            if meta.status in {EpochStatus.LIVE, EpochStatus.CATCHING_UP} and epoch not in self._foreign
        }
        await self._stop_dropped(active)
        self._check_same(active)
        await self._start_new({epoch: meta for epoch, meta in active.items() if epoch not in self._running})
        await self._check_log(metas)
        for epoch in self._running:
            await self._check_nothing_lost(epoch)
        current = await self._epochs.current_epoch()
        for epoch, meta in active.items():
            if epoch in self._running and (meta.status is EpochStatus.CATCHING_UP or current is None):
                await self._make_current_once_caught_up(meta)
        await self._remember.note(None if current is None else metas.get(current))

    async def _begin_first(self) -> None:
        try:
            await ensure_first_epoch(self._epochs, self._log_reader, self._remember)
        except EpochExistsError:
            _log.info("another worker created the first epoch")

    async def _check_log(self, metas: Mapping[int, EpochMeta]) -> None:
        """Check occasionally that the log is still the one that was folded.

        A consumer does not notice that its topic was deleted and created again.

        Raises:
            EpochUnusableError: when it is another log.
        """
        now_s = self._clock_s()
        if self._running and now_s >= self._log_due_s:
            self._log_due_s = now_s + _LOG_CHECK_EVERY_S
            identity = await self._log_reader.identity()
            for epoch in self._running:
                check_log(epoch, metas[epoch].log_identity, identity)

    async def _stop_dropped(self, active: Mapping[int, EpochMeta]) -> None:
        gone = [epoch for epoch in self._running if epoch not in active]
        if gone and await self._epochs.current_epoch() is None:
            raise EpochsLostError(
                f"Redis no longer knows epoch {', '.join(map(str, gone))} and has no current epoch: it lost its data. "
                "This worker stops. Start it again to fold the log from the beginning"
            )
        for epoch in gone:
            _log.info("epoch dropped", epoch=epoch)
            self._goals.pop(epoch, None)
            self._begun.pop(epoch)
            await self.remove_dependency(self._running.pop(epoch))

    def _check_same(self, active: Mapping[int, EpochMeta]) -> None:
        """Check that each epoch is the one that this worker started with, not a new one with the same number.

        Raises:
            EpochsLostError: when it is a new epoch.
        """
        for epoch in self._running:
            if active[epoch].fold_id != self._begun[epoch].fold_id:
                raise EpochsLostError(
                    f"epoch {epoch} is not the one that this worker folds into: Redis lost its data, and the epoch was "
                    "created again. This worker stops. Start it again to fold into the new one"
                )

    async def _start_new(self, new: Mapping[int, EpochMeta]) -> None:
        if not new:
            return
        identity = await self._log_reader.identity()
        ours = {epoch: meta for epoch, meta in new.items() if meta.log_identity == identity}
        if not ours and not self._running:
            # The newest, because the next number is free.
            newest = new[max(new)]
            check_log(newest.epoch, newest.log_identity, identity)
        for epoch in new.keys() - ours.keys():
            _log.warning("epoch of another log is ignored", epoch=epoch, log=new[epoch].log_identity)
            self._foreign.add(epoch)
        for epoch, meta in sorted((await self._held_by_the_log(ours)).items()):
            service = await self._make_service(meta)
            self._running[epoch], self._begun[epoch] = service, meta
            _log.info("epoch begun", epoch=epoch, status=meta.status.value, parameters=meta.parameters_id)
            await self.add_runtime_dependency(service)

    async def _held_by_the_log(self, epochs: Mapping[int, EpochMeta]) -> dict[int, EpochMeta]:
        """The epochs that the log suffices for; others are ignored if there is any such epoch.

        Raises:
            LogTruncatedError: when the log lost records of every epoch, folded or not.
        """
        held, lost = {}, None
        beginnings = await self._log_reader.beginnings()
        for epoch, meta in epochs.items():
            try:
                progress = await self._epochs.progress(epoch)
                await check_log_holds(self._log_reader, epoch, meta.log_identity, progress, meta.end_positions)
                positions = {partition: one.position for partition, one in progress.items()}
                check_not_deleted(epoch, positions, beginnings)
            except LogTruncatedError as error:
                lost = error
                _log.warning("the log lost records of an epoch; it is ignored", epoch=epoch, reason=str(error))
                self._foreign.add(epoch)
            else:
                held[epoch] = meta
        if lost is not None and not (held or self._running):
            raise lost
        return held

    async def _check_nothing_lost(self, epoch: int) -> None:
        """Check that the stored positions are not lost; without new events a loss would go unnoticed.

        Raises:
            EpochsLostError: when a stored position is behind the one that this worker wrote.
        """
        held = self._running[epoch].positions
        stored = await self._epochs.progress(epoch)
        lost = [partition for partition, position in held.items() if _position(stored, partition) < position]
        # An epoch dropped since the epochs were read is not lost; the next read stops its service.
        if lost and await self._epochs.get(epoch) is not None:
            raise EpochsLostError(
                f"Redis is behind what was stored in it for epoch {epoch}, partition {', '.join(map(str, lost))}: it "
                "lost data. This worker stops. Start it again to fold the missing events from the log"
            )

    async def _make_current_once_caught_up(self, meta: EpochMeta) -> None:
        """Make an epoch current once the positions stored by all workers reach the ends that the log had before.

        A replay may have stored everything before this worker has a partition. The worker still waits for its own
        partitions; otherwise the first events after the switch would wait until the group is stable.
        """
        if not self._running[meta.epoch].healthy:
            return
        if meta.epoch not in self._goals:
            self._goals[meta.epoch] = (self._clock_s(), await self._log_reader.end_offsets())
        asked_s, ends = self._goals[meta.epoch]
        progress = await self._epochs.progress(meta.epoch)
        positions = {partition: reached.position for partition, reached in progress.items()}
        if not (positions.keys() >= ends.keys() and has_reached(ends, positions)):
            self._goals[meta.epoch] = asked_s, await self._still_there(ends)
            return
        del self._goals[meta.epoch]
        if self._clock_s() - asked_s <= _FRESH_ENDS_S:
            try:
                await self._epochs.make_current(meta.epoch)
            except EpochBehindError as error:
                _log.warning("epoch is not current yet", epoch=meta.epoch, reason=str(error))
            else:
                _log.info("epoch is current", epoch=meta.epoch)
        else:
            # Checking took a while, and the log has grown since.
            await self._make_current_once_caught_up(meta)

    async def _still_there(self, ends: Mapping[int, int]) -> dict[int, int]:
        """The ends of partitions, or where they end now: the log may have lost records that nobody had folded."""
        now = await self._log_reader.end_offsets()
        return {partition: min(end, now.get(partition, 0)) for partition, end in ends.items()}


def _position(progress: Mapping[int, PartitionProgress], partition: int) -> int:
    return progress[partition].position if partition in progress else -1


async def run_services(services: EpochServices) -> None:
    """Run the services until cancelled.

    Raises:
        Exception: the error that crashed one of them.
    """
    try:
        await services.start()
        await services.wait_until_stopped()
    finally:
        await asyncio.shield(services.stop())
    if services.crash_reason is not None:
        raise services.crash_reason
