"""Loading a file: many batches in flight, each learner's events in their order."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field

from services.ingest.application.ports import FieldReason, Publisher, Row, UnreadableRow
from services.ingest.application.publish import EVENTS_MAX

# Batches that wait per stream: enough to keep it busy, few enough to bound memory whatever the file's length.
_BATCHES_WAITING = 2

Reject = Callable[[int, Sequence[FieldReason], object], None]
"""Told the line, the reasons and the original of a row that was not accepted."""


@dataclass(slots=True)
class LoadProgress:
    """How far a load is. Counts only grow.

    Attributes:
        read: events read from the file, rejected ones included.
        accepted: events the log confirmed.
        duplicates: events that stand twice in one request, not written again.
        rejected: rows that are no event, and events the service refused.
    """

    read: int = 0
    accepted: int = 0
    duplicates: int = 0
    rejected: int = 0

    @property
    def answered(self) -> int:
        """Events whose fate is known."""
        return self.accepted + self.duplicates + self.rejected


@dataclass(slots=True)
class _Stream:
    batches: asyncio.Queue[list[Row] | None] = field(default_factory=lambda: asyncio.Queue(_BATCHES_WAITING))
    filling: list[Row] = field(default_factory=list)


async def load(
    rows: Iterable[Row | UnreadableRow],
    publisher: Publisher,
    *,
    reject: Reject,
    progress: LoadProgress | None = None,
    observe: Callable[[], None] = lambda: None,
    streams: int = 4,
    batch_events: int = EVENTS_MAX,
) -> LoadProgress:
    """Publish every event of a file.

    A learner's events all go through one stream, which sends a batch only once the one before was answered, so that
    they reach the log in the file's order. Memory is bounded by the streams' waiting batches.

    Args:
        rows: the file, read as it is needed.
        publisher: where events go.
        reject: told of every row that was not accepted.
        progress: counted up, also when the load fails; a fresh one when not given.
        observe: called whenever the counts grew by a batch.
        streams: requests in flight at once.
        batch_events: events per request, at most 500.

    Returns:
        The final counts.

    Raises:
        PublisherUnavailableError: when the service stays away; `progress` counts what was acknowledged by then.
    """
    progress = LoadProgress() if progress is None else progress
    lanes = [_Stream() for _ in range(streams)]
    reading = _read(rows, lanes, batch_events, progress, reject)
    sending = (_send(lane, publisher, progress, reject, observe) for lane in lanes)
    await _together([reading, *sending])
    observe()
    return progress


async def _read(
    rows: Iterable[Row | UnreadableRow],
    lanes: Sequence[_Stream],
    batch_events: int,
    progress: LoadProgress,
    reject: Reject,
) -> None:
    for row in rows:
        progress.read += 1
        if isinstance(row, UnreadableRow):
            progress.rejected += 1
            reject(row.line, row.problems, row.original)
            continue
        lane = lanes[zlib.crc32(row.submission.learner_id.encode()) % len(lanes)]
        lane.filling.append(row)
        if len(lane.filling) >= batch_events:
            await lane.batches.put(lane.filling)
            lane.filling = []
            # A put into a queue with room does not let others run; reading must not hold up answers.
            await asyncio.sleep(0)
    for lane in lanes:
        if lane.filling:
            await lane.batches.put(lane.filling)
        await lane.batches.put(None)


async def _send(
    lane: _Stream,
    publisher: Publisher,
    progress: LoadProgress,
    reject: Reject,
    observe: Callable[[], None],
) -> None:
    while (batch := await lane.batches.get()) is not None:
        results = await publisher.publish([row.submission for row in batch])
        for row, result in zip(batch, results, strict=True):
            if result.problems:
                progress.rejected += 1
                reject(row.line, result.problems, row.original)
            elif result.duplicate:
                progress.duplicates += 1
            else:
                progress.accepted += 1
        observe()


async def _together(jobs: Sequence[Coroutine[object, None, None]]) -> None:
    """Run jobs; the first failure ends them all and is raised as it is."""
    tasks = [asyncio.ensure_future(job) for job in jobs]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
