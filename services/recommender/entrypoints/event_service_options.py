"""The parameters of an event service."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from services.common.kafka.envelope import LEARNER_EVENTS
from services.common.telemetry.traces import NO_TRACES, Traces
from services.recommender.application.ports.log import LogReader, ReadAhead
from services.recommender.application.state.fold_events import FoldReport
from services.recommender.entrypoints.fold_metrics import FoldMetrics
from services.recommender.entrypoints.log_consumer import LogConsumer
from services.recommender.entrypoints.record_decoding import RecordDecoder


class Closable(Protocol):
    """A resource with a connection to close."""

    async def close(self) -> None:
        """Close the connection."""
        ...


@dataclass(frozen=True, slots=True)
class EventServiceOptions:
    """How an event service reads the log.

    Attributes:
        topic: the log.
        batch_records: most records per batch; fewer if they are large, have many skills, or take long to store.
        rewind_records: how many records before the position are read again on assignment. Learners that have them skip
            them; learners that Redis lost in a failure get them back.
        session_timeout_ms: how long the group waits for a silent member. The embedded broker delays every join by
            half of it.
        stuck_after_s: a partition with unread records counts as stuck if it does not advance for this long.
        look_for_keys_s: how often to look for keys of records that are missing.
    """

    topic: str = LEARNER_EVENTS
    batch_records: int = 20_000
    rewind_records: int = 1_000
    session_timeout_ms: int = 6_000
    stuck_after_s: float = 30.0
    look_for_keys_s: float = 1.0


@dataclass(frozen=True, slots=True)
class FoldTask:
    """What to fold, and where to stop.

    Attributes:
        epoch: the epoch's number.
        goal: the offset to stop at, by partition; None to run until stopped.
        known_to: one past the last offset whose corrections must be known, by partition.
        log_identity: the log that the epoch is folded from.
        begin_positions: the first offset to fold, by partition, where it is not 0.
    """

    epoch: int
    goal: Mapping[int, int] | None = None
    known_to: Mapping[int, int] = field(default_factory=dict)
    log_identity: str = ""
    begin_positions: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EventSource:
    """Reads and decodes the log.

    Attributes:
        consumer: fetches records.
        decoder: decodes them.
        read_ahead: finds the corrections that must be known before the fold reaches them; None if there are none.
        resources: closed at the end.
        log: compares the log with what was folded from it; None: it is not compared.
    """

    consumer: LogConsumer
    decoder: RecordDecoder
    read_ahead: ReadAhead | None = None
    resources: Sequence[Closable] = ()
    log: LogReader | None = None


@dataclass(frozen=True, slots=True)
class FoldObservers:
    """The observers of an event service.

    Attributes:
        metrics: counts the records of each batch.
        on_batch: called after each batch.
        on_acknowledged: called after offsets were committed to Kafka.
        traces: receives a span for each traced record.
    """

    metrics: FoldMetrics | None = None
    on_batch: Callable[[FoldReport], None] | None = None
    on_acknowledged: Callable[[], None] | None = None
    traces: Traces = NO_TRACES


DEFAULT_OPTIONS = EventServiceOptions()
NO_OBSERVERS = FoldObservers()
