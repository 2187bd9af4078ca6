"""What the processes run: workers, and the commands of operators."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from services.common.kafka.connection import KafkaConnection
from services.common.kafka.partitioner import partition_of
from services.recommender.application.ports.epochs import EpochMeta
from services.recommender.application.ports.learners import StateUnavailableError
from services.recommender.application.ports.log import DeadLetter
from services.recommender.application.ports.models import Bundle
from services.recommender.application.state.fold_events import FoldReport
from services.recommender.application.state.repair import RepairLearners, quarantine_learner
from services.recommender.application.state.replays import begin_replay, switch_epoch
from services.recommender.bootstrap.folding import FoldAdapters, epoch_service
from services.recommender.entrypoints.event_service import EventService
from services.recommender.entrypoints.event_service_options import EventServiceOptions, FoldObservers
from services.recommender.entrypoints.replay import run_replay
from services.recommender.entrypoints.worker import EpochServices
from tests.simulation.clean_replay import FOLD
from tests.simulation.invariants import check_served
from tests.simulation.keys import SimulatedLearnerKeys
from tests.simulation.log import PARTITIONS, SimulatedConsumer, SimulatedLog
from tests.simulation.log_readers import SimulatedLearnerLog, SimulatedLogReader, SimulatedReadAhead
from tests.simulation.network import Process, Server
from tests.simulation.store import SimulatedDeadLetters, SimulatedEpochs, SimulatedFoldStore, SimulatedRedis

_OPTIONS = EventServiceOptions(batch_records=40, rewind_records=5, session_timeout_ms=3_000, stuck_after_s=10.0)
_CONNECTION = KafkaConnection("simulated")


class _NoBundles:
    """Loads the priors for every epoch."""

    def latest_id(self) -> str | None:
        return None

    def load(self, bundle_id: str) -> Bundle:
        raise AssertionError(f"there is no bundle {bundle_id}")


class Programs:
    """The programs, and the servers that they use.

    Attributes:
        log: the log.
        redis: where workers store what they fold.
        letters: the dead letters written.
    """

    def __init__(self, log: SimulatedLog, redis: SimulatedRedis, rng: random.Random) -> None:
        self.log = log
        self.redis = redis
        self.letters: list[DeadLetter] = []
        self._letters_server = Server(lambda: StateUnavailableError("away"))
        self._rng = rng
        self._services: dict[str, EpochServices] = {}

    def waits_for_keys(self, process: Process) -> bool:
        """Whether a worker cannot go on because keys of records are missing."""
        return process.name in self._services and self._services[process.name].waits_for_keys

    async def worker(self, process: Process) -> None:
        """What `python -m services.recommender worker` runs, without its health service and its dead-letter agent."""

        async def event_service(meta: EpochMeta) -> EventService:
            return self._event_service(process, meta, group=f"cairn-recommender-{meta.epoch}")

        services = EpochServices(
            self._epochs(process), SimulatedLogReader(process, self.log), event_service, clock_s=process.loop.time
        )
        self._services[process.name] = services
        try:
            await services.start()
            await services.wait_until_stopped()
        finally:
            with suppress(Exception):
                await asyncio.shield(services.stop())
        if services.crash_reason is not None:
            raise services.crash_reason

    async def replay(self, process: Process, *, accept_lost_keys: bool = False) -> None:
        """What `cairn replay` and `cairn epoch switch` run."""
        epochs, log = self._epochs(process), SimulatedLogReader(process, self.log)
        number = max((meta.epoch for meta in await epochs.epochs()), default=0) + 1
        meta = await begin_replay(epochs, log, _NoBundles(), number, "same", accept_lost_keys=accept_lost_keys)

        def service(begun: EpochMeta, on_batch: Callable[[FoldReport], None]) -> EventService:
            observers = FoldObservers(on_batch=on_batch)
            return self._event_service(process, begun, goal=begun.end_positions, observers=observers)

        await run_replay(meta, epochs, service, lambda _: None)
        await switch_epoch(epochs, number)

    async def replay_without_keys(self, process: Process) -> None:
        """What `cairn replay --accept-lost-keys`, `cairn epoch switch` and `cairn epoch drop` run."""
        epochs = self._epochs(process)
        await self.replay(process, accept_lost_keys=True)
        *others, built = [meta.epoch for meta in await epochs.epochs()]
        while await epochs.current_epoch() != built:  # noqa: ASYNC110 - workers switch; there is no event to wait for.
            await asyncio.sleep(1)
        for epoch in others:
            await epochs.drop(epoch)

    async def repair(self, process: Process) -> None:
        """What `cairn learner repair` runs, for every epoch and every damaged learner."""
        for meta in await self._epochs(process).epochs():
            if meta.log_identity != self.log.identity:
                continue
            store = SimulatedFoldStore(process, self.redis, meta)
            letters = SimulatedDeadLetters(process, self._letters_server, self.letters)
            for key in [key for epoch, key in self.redis.damaged() if epoch == meta.epoch]:
                partition, keys = partition_of(key, PARTITIONS), SimulatedLearnerKeys(process, self.log)
                await quarantine_learner(store, partition, key)
                known = await SimulatedReadAhead(process, self.log, keys, accept_lost_keys=True).read(
                    {partition: (0, meta.end_positions[partition])}
                )
                repair = RepairLearners(store, SimulatedLearnerLog(process, self.log, keys), letters, FOLD, known)
                await repair(partition, [key])

    def _epochs(self, process: Process) -> SimulatedEpochs:
        return SimulatedEpochs(process, self.redis, lambda epoch: check_served(self.redis, epoch))

    def _event_service(
        self, process: Process, meta: EpochMeta, *, group: str | None = None, **options: Any
    ) -> EventService:
        keys = SimulatedLearnerKeys(process, self.log)
        adapters = FoldAdapters(
            _CONNECTION,
            SimulatedFoldStore(process, self.redis, meta),
            SimulatedDeadLetters(process, self._letters_server, self.letters),
            keys,
            read_ahead=SimulatedReadAhead(process, self.log, keys, accept_lost_keys=meta.accepts_lost_keys),
            log=SimulatedLogReader(process, self.log),
            make_consumer=lambda _, **options: SimulatedConsumer(process, self.log, self._rng, **options),
            clock_s=process.loop.time,
        )
        return epoch_service(meta, FOLD, adapters, group=group, options=_OPTIONS, **options)
