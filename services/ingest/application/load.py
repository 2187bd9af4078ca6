"""Loading a file: many batches in flight, each learner's events in their order."""

from __future__ import annotations

import asyncio
import zlib
from collections import deque
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
        settled: how many rows, from the first on, are all answered: a load that goes on may pass over as many.
    """

    read: int = 0
    accepted: int = 0
    duplicates: int = 0
    rejected: int = 0
    settled: int = field(default=0, compare=False)

    @property
    def answered(self) -> int:
        """Events whose fate is known."""
        return self.accepted + self.duplicates + self.rejected


@dataclass(slots=True)
class _Batch:
    first: int
    rows: list[Row] = field(default_factory=list)


@dataclass(slots=True)
class _Stream:
    batches: asyncio.Queue[_Batch | None] = field(default_factory=lambda: asyncio.Queue(_BATCHES_WAITING))
    filling: _Batch = field(default_factory=lambda: _Batch(0))
    # The first row of each batch that was not answered yet, in order.
    unanswered: deque[int] = field(default_factory=deque)


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
        progress: counted up, also when the load fails; a fresh one when not given. Where the rows go on in the middle
            of a file, its `settled` says how many stand before them.
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
    first = progress.settled - progress.read
    reading = _read(rows, lanes, batch_events, progress, reject)
    sending = (_send(lane, lanes, first, publisher, progress, reject, observe) for lane in lanes)
    await _together([reading, *sending])
    progress.settled = first + progress.read
    observe()
    return progress


async def _read(
    rows: Iterable[Row | UnreadableRow],
    lanes: Sequence[_Stream],
    batch_events: int,
    progress: LoadProgress,
    reject: Reject,
) -> None:
    # Where a load goes on that was broken off, rows before are settled.
    for number, row in enumerate(rows, start=progress.settled):
        progress.read += 1
        if isinstance(row, UnreadableRow):
            progress.rejected += 1
            reject(row.line, row.problems, row.original)
            continue
        lane = lanes[zlib.crc32(row.submission.learner_id.encode()) % len(lanes)]
        if not lane.filling.rows:
            lane.filling = _Batch(number)
            lane.unanswered.append(number)
        lane.filling.rows.append(row)
        if len(lane.filling.rows) >= batch_events:
            full, lane.filling = lane.filling, _Batch(number)
            await lane.batches.put(full)
            # A put into a queue with room does not let others run; reading must not hold up answers.
            await asyncio.sleep(0)
    for lane in lanes:
        if lane.filling.rows:
            await lane.batches.put(lane.filling)
        await lane.batches.put(None)


async def _send(
    lane: _Stream,
    lanes: Sequence[_Stream],
    first: int,
    publisher: Publisher,
    progress: LoadProgress,
    reject: Reject,
    observe: Callable[[], None],
) -> None:
    while (batch := await lane.batches.get()) is not None:
        results = await publisher.publish([row.submission for row in batch.rows])
        for row, result in zip(batch.rows, results, strict=True):
            if result.problems:
                progress.rejected += 1
                reject(row.line, result.problems, row.original)
            elif result.duplicate:
                progress.duplicates += 1
            else:
                progress.accepted += 1
        lane.unanswered.popleft()
        # What no lane still holds was answered; rows that are no event were, when they were read.
        progress.settled = min((each.unanswered[0] for each in lanes if each.unanswered), default=first + progress.read)
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
