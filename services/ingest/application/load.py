"""Loading a file: many batches in flight, with each learner's events in order."""

from __future__ import annotations

import asyncio
import zlib
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field

from services.common.auth.identity import normalised_id
from services.ingest.application.ports import (
    FieldReason,
    FileRow,
    LeftOutRow,
    Publisher,
    Row,
    SubmissionResult,
    UnreadableRow,
)
from services.ingest.application.publish import EVENTS_MAX
from services.ingest.domain.repeats import Outcome

# Batches waiting per stream: enough to keep it busy, few enough to bound memory.
_BATCHES_WAITING = 2

Reject = Callable[[int, Sequence[FieldReason], object], None]
"""Takes the line, the reasons and the original of a row that was not accepted."""

UNTAGGED_NAMED = 5
"""How many items without skills are named."""


@dataclass(slots=True)
class LoadProgress:
    """The progress of a load. Counts only grow.

    Attributes:
        read: what was read from the file: events, rows that are none, and what is left out.
        new: events that were not known.
        unchanged: events that are the same as an earlier one with the same identity.
        revised: events that replace an earlier one with the same identity.
        conflicts: events that differ from an earlier one with the same identity and do not replace it; not written.
        rejected: rows that are not events, and events that the service rejected.
        left_out: how often what was read is left out on purpose, by the reason.
        remarks: how often there is something to know of an event that was read, in the words of the summary.
        not_compared: events that the service did not compare with those of earlier requests.
        older: new assessments that are older than one of the learner that was written before.
        older_learners: the pseudonyms of their learners.
        without_skills: new assessments that are evidence of no skill.
        untagged: some of their items, or activities.
        settled: how much of what is read from the file, from its start on, was answered; a resumed load may skip it. A
            row that gives several events is read as several.
    """

    read: int = 0
    new: int = 0
    unchanged: int = 0
    revised: int = 0
    conflicts: int = 0
    rejected: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    remarks: Counter[str] = field(default_factory=Counter)
    not_compared: int = 0
    older: int = 0
    older_learners: set[str] = field(default_factory=set)
    without_skills: int = 0
    untagged: set[str] = field(default_factory=set)
    settled: int = field(default=0, compare=False)

    @property
    def answered(self) -> int:
        """Events whose outcome is known."""
        return self.new + self.unchanged + self.revised + self.not_taken

    @property
    def not_taken(self) -> int:
        """Rows that were not written."""
        return self.conflicts + self.rejected

    def count(self, result: SubmissionResult) -> None:
        """Count the result of one event."""
        match result.outcome:
            case Outcome.ACCEPTED:
                self.new += 1
            case Outcome.DUPLICATE:
                self.unchanged += 1
            case Outcome.REVISED:
                self.revised += 1
            case Outcome.CONFLICT:
                self.conflicts += 1
            case Outcome.REJECTED:
                self.rejected += 1
        self.not_compared += not result.compared
        if result.older:
            self.older += 1
            self.older_learners.add(result.learner)

    def note_untagged(self, item: str) -> None:
        """Count an assessment that is evidence of no skill."""
        self.without_skills += 1
        if len(self.untagged) < UNTAGGED_NAMED:
            self.untagged.add(item)


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
    rows: Iterable[FileRow],
    publisher: Publisher,
    *,
    reject: Reject,
    progress: LoadProgress | None = None,
    observe: Callable[[], None] = lambda: None,
    streams: int = 4,
    batch_events: int = EVENTS_MAX,
) -> LoadProgress:
    """Publish every event of a file.

    A learner's events all go through one stream, which sends a batch only once the previous one was answered, so that
    they reach the log in the file's order. The streams' waiting batches bound the memory.

    Args:
        rows: the rows of the file; read lazily.
        publisher: where events go.
        reject: called with every row that was not accepted.
        progress: updated, also when the load fails; None: a new one. When the rows start in the middle of a file, its
            `settled` is the number of rows before them.
        observe: called whenever a batch was counted.
        streams: requests in flight at once.
        batch_events: events per request, at most 500.

    Returns:
        The final counts.

    Raises:
        PublisherUnavailableError: when the service stays unavailable; `progress` counts what was acknowledged by then.
    """
    progress = LoadProgress() if progress is None else progress
    open_streams = [_Stream() for _ in range(streams)]
    first = progress.settled - progress.read
    reading = _read(rows, open_streams, batch_events, progress, reject)
    sending = (_send(stream, open_streams, first, publisher, progress, reject, observe) for stream in open_streams)
    await _together([reading, *sending])
    progress.settled = first + progress.read
    observe()
    return progress


async def _read(
    rows: Iterable[FileRow],
    streams: Sequence[_Stream],
    batch_events: int,
    progress: LoadProgress,
    reject: Reject,
) -> None:
    # In a resumed load, earlier rows are settled.
    for number, row in enumerate(rows, start=progress.settled):
        progress.read += 1
        if isinstance(row, UnreadableRow):
            progress.rejected += 1
            reject(row.line, row.problems, row.original)
            continue
        if isinstance(row, LeftOutRow):
            progress.left_out[row.reason] += 1
            continue
        if row.remark:
            progress.remarks[row.remark] += 1
        learner_id = normalised_id(row.submission.learner_id)
        stream = streams[zlib.crc32(learner_id.encode(errors="surrogatepass")) % len(streams)]
        if not stream.filling.rows:
            stream.filling = _Batch(number)
            stream.unanswered.append(number)
        stream.filling.rows.append(row)
        if len(stream.filling.rows) >= batch_events:
            full, stream.filling = stream.filling, _Batch(number)
            await stream.batches.put(full)
            # A put into a queue with room does not yield to other tasks; reading must not delay replies.
            await asyncio.sleep(0)
    for stream in streams:
        if stream.filling.rows:
            await stream.batches.put(stream.filling)
        await stream.batches.put(None)


async def _send(
    stream: _Stream,
    streams: Sequence[_Stream],
    first: int,
    publisher: Publisher,
    progress: LoadProgress,
    reject: Reject,
    observe: Callable[[], None],
) -> None:
    while (batch := await stream.batches.get()) is not None:
        results = await publisher.publish([row.submission for row in batch.rows])
        for row, result in zip(batch.rows, results, strict=True):
            progress.count(result)
            if result.problems:
                reject(row.line, row.named(result.problems), row.original)
            if result.without_skills and row.submission.body is not None:
                progress.note_untagged(row.submission.body.summary().what)
        stream.unanswered.popleft()
        # Rows that no stream holds were answered; rows that are not events, when they were read.
        progress.settled = min(
            (each.unanswered[0] for each in streams if each.unanswered), default=first + progress.read
        )
        observe()


async def _together(jobs: Sequence[Coroutine[object, None, None]]) -> None:
    """Run jobs; the first failure cancels all of them and is raised unchanged."""
    tasks = [asyncio.ensure_future(job) for job in jobs]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
