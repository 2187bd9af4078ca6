"""Reading the log for training: everything in it, in columns by tenant."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from services.recommender.application.ports.models import TrainingWindow
from services.recommender.domain.learner.batch import CONFLICT
from services.recommender.domain.learner.events import LearnerEvent
from services.recommender.domain.training.event_columns import EventColumns, TenantResponses

READING = "reading the log"
ERASED = "erased"
LOST = "lost"

Progress = Callable[[str, int, int], None]
"""Reports progress: the name of the step, how much is done, and the total."""


class LoggedEvent(NamedTuple):
    """An event of the log."""

    tenant: str
    learner: str
    event: LearnerEvent


@dataclass(frozen=True, slots=True)
class LogSpan:
    """A bounded part of the log.

    Attributes:
        log_identity: the log, as `services.common.kafka.envelope.LogIdentity` text.
        begin_offsets: the first offset to read, by partition.
        end_offsets: one past the last offset to read, by partition.
    """

    log_identity: str
    begin_offsets: Mapping[int, int]
    end_offsets: Mapping[int, int]

    @property
    def offsets(self) -> int:
        """The number of offsets it spans; also the number of records if none was removed."""
        return sum(end - self.begin_offsets[partition] for partition, end in self.end_offsets.items())


class LogBatch(NamedTuple):
    """Some records of the log.

    Attributes:
        events: those that could be decoded; each learner's in log order.
        skipped: a reason for each of the others.
        offsets: how many offsets of the span have been read.
    """

    events: Sequence[LoggedEvent]
    skipped: Sequence[str]
    offsets: int


class TrainingLog(Protocol):
    """The log, read for training. Every call may raise ConnectionError or LookupError (no such topic)."""

    async def span(self) -> LogSpan:
        """Everything in the log now."""
        ...

    def batches(self, span: LogSpan) -> AsyncIterator[LogBatch]:
        """The records of a span, each once."""
        ...


async def collect(
    log: TrainingLog, progress: Progress = lambda *_: None
) -> tuple[TrainingWindow, dict[str, TenantResponses]]:
    """Everything in the log now, in columns by tenant.

    Training sees the whole log, while folding keeps a window of ids and a journal per learner. So an event that was
    sent twice counts once, however far apart the copies are, and a correction counts however far back its target is.
    """
    span = await log.span()
    collected: dict[str, EventColumns] = {}
    skipped: Counter[str] = Counter()
    records = 0
    progress(READING, 0, span.offsets)
    async for batch in log.batches(span):
        records += len(batch.events) + len(batch.skipped)
        skipped.update(batch.skipped)
        for tenant, learner, event in batch.events:
            collector = collected.get(tenant)
            if collector is None:
                collector = collected[tenant] = EventColumns()
            collector.add(learner, event)
        progress(READING, batch.offsets, span.offsets)
    responses = {tenant: collector.responses() for tenant, collector in sorted(collected.items())}
    forgotten = sum(collector.forgotten for collector in collected.values())
    if forgotten:
        skipped[ERASED] += forgotten
    conflicts = sum(collector.conflicts for collector in collected.values())
    if conflicts:
        skipped[CONFLICT] += conflicts
    duplicates = sum(collector.copies for collector in collected.values())
    responses = {tenant: found for tenant, found in responses.items() if len(found.evidence)}
    window = TrainingWindow(
        log_identity=span.log_identity,
        begin_offsets=span.begin_offsets,
        end_offsets=span.end_offsets,
        records=records,
        duplicates=duplicates,
        skipped=dict(sorted(skipped.items())),
    )
    return window, responses
