"""Composition root of the worker and of replays.

Servers have their own, because they need neither Faust nor the compiled kernel.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from prometheus_client import REGISTRY

from services.common.encryption.learner_keys import LearnerKeys
from services.common.kafka.connection import KafkaConnection, read_span
from services.common.kafka.envelope import LogIdentity
from services.common.process import announce, run_until_stopped
from services.common.rpc.addresses import check_listen_address
from services.common.rpc.server import GrpcServer, ServerOptions
from services.common.telemetry.certificates import report_expiry
from services.common.telemetry.http import serve_http
from services.common.telemetry.traces import NO_TRACES, Traces
from services.recommender.adapters.fail_points import FailingFoldStore, FailPoint, FailPoints, Step
from services.recommender.adapters.files.record_spill import FileRecordSpill
from services.recommender.adapters.files.served_parameters import ServedParametersFile
from services.recommender.adapters.kafka.catalog_tags import KafkaCatalogTags
from services.recommender.adapters.kafka.dead_letters import KafkaDeadLetters
from services.recommender.adapters.kafka.log import KafkaLog
from services.recommender.adapters.kafka.read_ahead import KafkaReadAhead
from services.recommender.application.operations.status import DEAD_LETTER_AGENT, LEARNER_KEYS_PART
from services.recommender.application.ports.epochs import EpochMeta, EpochStore, FoldOrder
from services.recommender.application.ports.learners import CommitRefusedError, StateUnavailableError
from services.recommender.application.ports.state_store import StateStore
from services.recommender.application.state.epochs import parameters_of
from services.recommender.application.state.fold_by_time import FoldByTime
from services.recommender.application.state.fold_events import FoldReport
from services.recommender.application.state.key_topic import check_keys_of_log
from services.recommender.application.state.replays import begin_replay
from services.recommender.application.state.restamps import restamp_of
from services.recommender.bootstrap.folding import FoldAdapters, epoch_service, record_decoder
from services.recommender.bootstrap.keys import learner_keys
from services.recommender.bootstrap.stores import bundle_store, state_store
from services.recommender.domain.learner.fold import LearnerFold, warm_up
from services.recommender.domain.learner.parameters import TracingParameters
from services.recommender.domain.learner.restamp import Restamp, RestampedEvents
from services.recommender.entrypoints.dead_letter_agent import run_dead_letter_agent
from services.recommender.entrypoints.dead_letter_metrics import DeadLetterMetrics
from services.recommender.entrypoints.dead_letter_watch import DeadLetterWatch
from services.recommender.entrypoints.event_service import EventService
from services.recommender.entrypoints.event_service_options import EventServiceOptions, FoldObservers
from services.recommender.entrypoints.fold_metrics import FoldMetrics
from services.recommender.entrypoints.key_topic_watch import KeyTopicWatch
from services.recommender.entrypoints.replay import ReplayProgress, run_replay
from services.recommender.entrypoints.replay_by_time import ByTime, run_replay_by_time
from services.recommender.entrypoints.worker import EpochServices, run_services
from services.recommender.settings import FoldSettings, WorkerSettings

_HEALTH_CHECK_S = 0.1
_GARBAGE_THRESHOLDS = (1_000_000, 20, 100)


@dataclass(frozen=True, slots=True)
class FoldWiring:
    """The parts shared by event services.

    Attributes:
        connection: the Kafka cluster.
        redis_url: the Redis of the learner states.
        cache_bytes: memory for recently folded learners, per epoch.
        options: how to read the log.
        fail_points: where to fail; for tests.
        traces: receives the spans of traced records.
        tenants: the tenants file, which holds the keys to decrypt values.
        keys: the keys of learners, closed by their owner; None: every event service reads its own.
    """

    connection: KafkaConnection
    redis_url: str
    cache_bytes: int = 256 * 1024 * 1024
    options: EventServiceOptions = field(default_factory=EventServiceOptions)
    fail_points: FailPoints | None = None
    traces: Traces = NO_TRACES
    tenants: Path = Path("tenants.yaml")
    keys: LearnerKeys | None = None

    @property
    def learner_keys(self) -> LearnerKeys:
        """The keys of learners that all event services share."""
        if self.keys is None:
            raise AssertionError("the wiring has no shared keys")
        return self.keys

    def event_service(
        self,
        meta: EpochMeta,
        parameters: TracingParameters,
        *,
        group: str | None,
        goal: Mapping[int, int] | None = None,
        metrics: FoldMetrics | None = None,
        on_batch: Callable[[FoldReport], None] | None = None,
        restamp: Restamp | None = None,
    ) -> EventService:
        """Make the event service of an epoch; starting it connects.

        Args:
            meta: the epoch.
            parameters: the tracing parameters to fold with.
            group: the consumer group to join; None to read every partition alone.
            goal: the offset to stop at, by partition; None to run until stopped.
            metrics: counts records.
            on_batch: called after each batch.
            restamp: as `restamp_of` says.
        """
        fail_points = self.fail_points
        acknowledged = None if fail_points is None else partial(fail_points.reach, Step.AFTER_ACKNOWLEDGEMENT)
        return epoch_service(
            meta,
            LearnerFold(parameters),
            self.adapters(meta, restamp),
            group=group,
            goal=goal,
            options=self.options,
            observers=FoldObservers(metrics, on_batch, acknowledged, self.traces),
        )

    def adapters(self, meta: EpochMeta, restamp: Restamp | None) -> FoldAdapters:
        """Make the adapters to fold an epoch with; the caller closes their resources."""
        store = state_store(self.redis_url).fold_store(meta.epoch, cache_bytes=self.cache_bytes, fold_id=meta.fold_id)
        dead_letters = KafkaDeadLetters(self.connection, origin=self.options.topic)
        decryptor = self.keys or learner_keys(self.connection, self.tenants, topic=self.options.topic)
        resources = (store, dead_letters) if self.keys else (store, dead_letters, decryptor)
        fail_points, partitions = self.fail_points, LogIdentity.parse(meta.log_identity).partitions
        return FoldAdapters(
            self.connection,
            store if fail_points is None else FailingFoldStore(store, fail_points),
            dead_letters,
            decryptor,
            KafkaReadAhead(
                self.connection,
                decryptor,
                partitions,
                topic=self.options.topic,
                accept_lost_keys=meta.accepts_lost_keys,
            ),
            resources=resources,
            log=KafkaLog(self.connection, self.options.topic),
            restamp=restamp,
        )

    async def replay(
        self,
        meta: EpochMeta,
        parameters: TracingParameters,
        epochs: EpochStore,
        on_progress: Callable[[ReplayProgress], None],
    ) -> ReplayProgress:
        """Fold the log into an epoch, in the order that the epoch was begun with."""
        restamp = await restamp_of(epochs, meta)
        if meta.order is FoldOrder.OCCURRED:
            return await self._replay_by_time(meta, parameters, epochs, on_progress, restamp)
        return await run_replay(
            meta,
            epochs,
            lambda begun, on_batch: self.event_service(
                begun, parameters, group=None, goal=begun.end_positions, on_batch=on_batch, restamp=restamp
            ),
            on_progress,
        )

    async def _replay_by_time(
        self,
        meta: EpochMeta,
        parameters: TracingParameters,
        epochs: EpochStore,
        on_progress: Callable[[ReplayProgress], None],
        restamp: Restamp | None,
    ) -> ReplayProgress:
        adapters = self.adapters(meta, restamp)
        fold = FoldByTime(adapters.store, adapters.dead_letters, LearnerFold(parameters), meta.end_positions)
        try:
            with FileRecordSpill(sum(meta.end_positions.values())) as spill:
                read = partial(read_span, self.connection, self.options.topic)
                by_time = ByTime(read, spill, record_decoder(meta, adapters), fold)
                return await run_replay_by_time(meta, epochs, by_time, on_progress)
        finally:
            for resource in adapters.resources:
                await resource.close()


def fold_wiring(settings: FoldSettings) -> FoldWiring:
    """Build the parts of event services from the settings."""
    options = EventServiceOptions(batch_records=settings.batch_records)
    fail_points = None
    if isinstance(settings, WorkerSettings):
        options = replace(
            options,
            rewind_records=settings.rewind_records,
            session_timeout_ms=settings.session_timeout_ms,
            stuck_after_s=settings.stuck_after_s,
        )
        fail_points = FailPoints(FailPoint.parse(settings.fail_point)) if settings.fail_point else None
    return FoldWiring(
        settings.connection,
        settings.redis_url,
        settings.cache_mb * 1024 * 1024,
        options,
        fail_points,
        tenants=settings.tenants,
        keys=learner_keys(settings.connection, settings.tenants),
    )


def _dead_letter_watch(wiring: FoldWiring) -> tuple[DeadLetterWatch, DeadLetterMetrics]:
    metrics, fail_points = DeadLetterMetrics(REGISTRY), wiring.fail_points
    run_agent = partial(
        run_dead_letter_agent,
        wiring.connection,
        metrics,
        session_timeout_ms=wiring.options.session_timeout_ms,
        before_count=None if fail_points is None else partial(fail_points.reach, Step.DEAD_LETTER_COUNT),
    )
    return DeadLetterWatch(run_agent, metrics), metrics


def _group_of(meta: EpochMeta) -> str:
    return f"cairn-recommender-{meta.epoch}"


async def run_worker(settings: WorkerSettings) -> None:
    """Run the worker until it is asked to stop.

    Raises:
        Exception: the error that stopped it. Events that were not stored are read again on the next start.
    """
    check_listen_address(settings.listen, insecure=settings.insecure)
    metrics = FoldMetrics(REGISTRY)
    traces = settings.traces("worker")
    wiring = replace(fold_wiring(settings), traces=traces)
    bundles = bundle_store(settings.bundles)
    warm_up()
    collect_garbage_seldom()
    async with aclosing(state_store(settings.redis_url)) as store:
        await store.check_is_one_server()
        if not settings.allow_eviction:
            await store.check_nothing_is_evicted()

        async def make_service(meta: EpochMeta) -> EventService:
            parameters = await asyncio.to_thread(parameters_of, meta, bundles)
            restamp = await restamp_of(store.epochs, meta)
            return wiring.event_service(meta, parameters, group=_group_of(meta), metrics=metrics, restamp=restamp)

        log, served = KafkaLog(settings.connection), ServedParametersFile(settings.bundles)
        services = EpochServices(store.epochs, log, make_service, served=served)
        server = GrpcServer(
            ServerOptions(
                listen=settings.listen,
                insecure=settings.insecure,
                reflection=settings.reflection,
                drain_s=settings.drain_s,
            ),
            None,
        )
        report_expiry("CAIRN_KAFKA_CERTIFICATE", settings.kafka_certificate)
        if settings.metrics_port:
            serve_http("worker", settings.metrics_port, settings.metrics_host, lambda: server.serving)
        address = await server.start()
        announce("worker", address, settings.address_file)
        keys = wiring.learner_keys
        watch_keys = KeyTopicWatch(store.epochs, keys, lambda: services.folded)
        jobs = [
            _fold(services, store),
            watch_keys.run(),
            _report_health(lambda: services.healthy and not watch_keys.problem, server),
            _report_health(lambda: not (services.waits_for_keys or watch_keys.problem), server, part=LEARNER_KEYS_PART),
        ]
        # Without a metrics port nothing can read the counts of the agent. `cairn status` does its own counting.
        if settings.metrics_port:
            watch, counted = _dead_letter_watch(wiring)
            jobs += [
                _run_once_healthy(watch, services),
                _report_health(lambda: counted.healthy, server, part=DEAD_LETTER_AGENT),
            ]
        try:
            await run_until_stopped(jobs)
        finally:
            await server.stop()
            await keys.close()
            traces.close()


async def _fold(services: EpochServices, store: StateStore) -> None:
    try:
        await run_services(services)
    except CommitRefusedError:
        with suppress(StateUnavailableError):
            await store.count_refused_commit()
        raise


async def _run_once_healthy(watch: DeadLetterWatch, services: EpochServices) -> None:
    # Start the fold first: a worker that cannot start folding exits with nothing else to stop.
    while not services.healthy:  # noqa: ASYNC110 - health is computed; there is no event to wait for.
        await asyncio.sleep(_HEALTH_CHECK_S)
    await watch.run()


async def _report_health(healthy: Callable[[], bool], server: GrpcServer, part: str | None = None) -> None:
    reported = None
    while True:
        if (now := healthy()) != reported:
            reported = now
            await server.set_serving(serving=now, name=part)
        await asyncio.sleep(_HEALTH_CHECK_S)


async def replay(
    settings: FoldSettings,
    epoch: int | None,
    parameters: str,
    on_begin: Callable[[EpochMeta], None],
    on_progress: Callable[[int, int], None],
    *,
    accept_lost_keys: bool = False,
    accept_loss: bool = False,
    order: FoldOrder | None = None,
    restamp: RestampedEvents | None = None,
) -> ReplayProgress:
    """Fold the log into a new epoch, for `cairn replay`.

    Args:
        settings: where to find the log, the states and the bundles.
        epoch: the number of the epoch to fold into; None: as `begin_replay` says.
        parameters: a bundle's id, `newest` or `same`.
        on_begin: called once, with the epoch.
        on_progress: called after each batch with the number of offsets handled and the total.
        accept_lost_keys: count records whose keys are lost, instead of refusing to go on.
        accept_loss: fold what is left of a log that no longer holds all its records, instead of refusing to.
        order: the order in which each learner's records are folded; None: as `begin_replay` says.
        restamp: which events take their skills from the catalog of now; None: as `begin_replay` says.
    """
    wiring = fold_wiring(settings)
    bundles = bundle_store(settings.bundles)
    collect_garbage_seldom()
    async with aclosing(state_store(settings.redis_url)) as store:
        await store.check_is_one_server()
        if not settings.allow_eviction:
            await store.check_nothing_is_evicted()
        keys = wiring.learner_keys
        meta = await begin_replay(
            store.epochs,
            KafkaLog(settings.connection),
            bundles,
            epoch,
            parameters,
            accept_lost_keys=accept_lost_keys,
            accept_loss=accept_loss,
            order=order,
            restamp=restamp,
            catalog=KafkaCatalogTags(settings.connection),
        )
        traced = parameters_of(meta, bundles)
        warm_up()
        on_begin(meta)
        try:
            if not meta.accepts_lost_keys:
                await check_keys_of_log(await store.epochs.epochs(), meta.log_identity, keys)
            done = await wiring.replay(
                meta, traced, store.epochs, lambda progress: on_progress(progress.done, progress.total)
            )
            if keys.seen is not None:
                await store.epochs.see_keys(meta.epoch, keys.seen)
        finally:
            await keys.close()
    return done


def collect_garbage_seldom() -> None:
    """Make the cyclic garbage collector run rarely.

    The batch that is folded and the one that is read meanwhile are hundreds of thousands of objects, none of them in
    cycles. At the default thresholds, the collector traverses all of them many times and takes a third of the worker's
    time. The first threshold is more than two batches have.
    """
    gc.freeze()
    gc.set_threshold(*_GARBAGE_THRESHOLDS)
