"""Connects event services to their adapters."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from services.common.kafka.connection import KafkaConnection, new_consumer
from services.common.kafka.envelope import LogIdentity
from services.recommender.application.ports.epochs import EpochMeta
from services.recommender.application.ports.learners import FoldStore
from services.recommender.application.ports.log import DeadLetters, LogReader, ReadAhead, ValueDecryptor
from services.recommender.application.state.fold_events import FoldEvents
from services.recommender.domain.learner.fold import LearnerFold
from services.recommender.domain.learner.restamp import Restamp
from services.recommender.entrypoints.event_service import EventService
from services.recommender.entrypoints.event_service_options import (
    DEFAULT_OPTIONS,
    NO_OBSERVERS,
    Closable,
    EventServiceOptions,
    EventSource,
    FoldObservers,
    FoldTask,
)
from services.recommender.entrypoints.log_consumer import LogConsumer
from services.recommender.entrypoints.record_decoding import RecordDecoder

# How often a worker looks for missing keys before it takes its partitions over again.
_LOOKS = 10


@dataclass(frozen=True, slots=True)
class FoldAdapters:
    """The adapters used to fold an epoch.

    Attributes:
        connection: the Kafka cluster.
        store: the write side of the epoch.
        dead_letters: receives records that cannot be applied.
        decryptor: decrypts encrypted values; None if nothing is encrypted.
        read_ahead: finds corrections before the fold reaches them; None to apply them as they come.
        make_consumer: connects to Kafka, given the connection and the consumer's options.
        clock_s: monotonic seconds.
        resources: closed when the event service stops.
        log: compares the log with what was folded from it; None: it is not compared.
        restamp: stamps events again; None: they stay as they are.
    """

    connection: KafkaConnection
    store: FoldStore
    dead_letters: DeadLetters
    decryptor: ValueDecryptor | None = None
    read_ahead: ReadAhead | None = None
    make_consumer: Callable[..., Any] = new_consumer
    clock_s: Callable[[], float] = time.monotonic
    resources: Sequence[Closable] = ()
    log: LogReader | None = None
    restamp: Restamp | None = None


def epoch_service(
    meta: EpochMeta,
    fold: LearnerFold,
    adapters: FoldAdapters,
    *,
    group: str | None,
    goal: Mapping[int, int] | None = None,
    options: EventServiceOptions = DEFAULT_OPTIONS,
    observers: FoldObservers = NO_OBSERVERS,
) -> EventService:
    """Return the event service of an epoch; starting it connects.

    Args:
        meta: the epoch.
        fold: folds with the epoch's parameters.
        adapters: the adapters to fold with.
        group: the consumer group to join; None to read every partition without a group.
        goal: the offset to stop at, by partition; None to run until stopped.
        options: how to read the log.
        observers: who is notified.
    """
    partitions = LogIdentity.parse(meta.log_identity).partitions
    consumer = LogConsumer(
        adapters.connection,
        partitions=partitions,
        group=group,
        topic=options.topic,
        session_timeout_ms=options.session_timeout_ms,
        make_consumer=adapters.make_consumer,
    )
    decoder = record_decoder(meta, adapters, group=group, options=options, observers=observers)
    return EventService(
        FoldTask(meta.epoch, goal, meta.end_positions, meta.log_identity, meta.begin_positions),
        FoldEvents(adapters.store, adapters.dead_letters, fold),
        EventSource(consumer, decoder, adapters.read_ahead, adapters.resources, adapters.log),
        options=options,
        observers=observers,
        clock_s=adapters.clock_s,
    )


def record_decoder(
    meta: EpochMeta,
    adapters: FoldAdapters,
    *,
    group: str | None = None,
    options: EventServiceOptions = DEFAULT_OPTIONS,
    observers: FoldObservers = NO_OBSERVERS,
) -> RecordDecoder:
    """Return the decoder of an epoch's records. The arguments are those of `epoch_service`."""
    metrics, partitions = observers.metrics, LogIdentity.parse(meta.log_identity).partitions
    return RecordDecoder(
        partitions,
        adapters.decryptor,
        traced=observers.traces.on,
        lost_before=meta.end_positions if meta.accepts_lost_keys else {},
        # A replay fails instead: a user waits for it, and it can be resumed.
        looks=1 if group is None else _LOOKS,
        look_again_s=options.look_for_keys_s,
        on_missing=None if metrics is None else partial(metrics.keys_missing, meta.epoch),
        restamp=adapters.restamp,
    )
