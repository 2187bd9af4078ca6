"""Replay by time: reads the log into a spill, then folds it learner by learner."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass

from services.common.kafka.connection import SpanPart
from services.common.kafka.envelope import record_fingerprint
from services.recommender.application.ports.epochs import EpochMeta, EpochStatus, EpochStore
from services.recommender.application.ports.log import RecordMark
from services.recommender.application.ports.record_spill import RecordSpill, SpilledRecord
from services.recommender.application.state.fold_by_time import FoldByTime
from services.recommender.entrypoints.record_decoding import RecordDecoder
from services.recommender.entrypoints.replay import ReplayProgress

# Reads a span of the log: the first offset and one past the last, by partition.
ReadSpan = Callable[[Mapping[int, tuple[int, int]]], AsyncGenerator[SpanPart, None]]


@dataclass(frozen=True, slots=True)
class ByTime:
    """What a replay by time needs.

    Attributes:
        read: reads the log.
        spill: holds the records in between.
        decoder: decodes them.
        fold: folds them into the epoch.
    """

    read: ReadSpan
    spill: RecordSpill
    decoder: RecordDecoder
    fold: FoldByTime


async def run_replay_by_time(
    meta: EpochMeta, epochs: EpochStore, by_time: ByTime, on_progress: Callable[[ReplayProgress], None]
) -> ReplayProgress:
    """Fold the log up to the epoch's end positions, each learner's records by time, and mark the epoch built.

    An interrupted replay starts again. Every record is handled twice, which the progress counts as one offset each.

    Raises:
        EpochBusyError: when another process is replaying into the epoch.
        CommitRefusedError: when another process wrote to the epoch in spite of the lock.
        KeysMissingError: when keys of records are lost, and the epoch does not accept that.
        OSError: when the spill cannot be written.
    """
    span = {partition: (meta.begin_positions.get(partition, 0), end) for partition, end in meta.end_positions.items()}
    offsets = sum(end - begin for begin, end in span.values())
    read = spilled = folded = 0
    lasts: dict[int, RecordMark] = {}

    def progress() -> ReplayProgress:
        counts = by_time.fold.progress.values()
        return ReplayProgress(
            read + folded,
            offsets + (spilled if read == offsets else offsets),
            applied=sum(one.applied for one in counts),
            duplicates=sum(one.duplicates for one in counts),
            conflicts=sum(one.conflicts for one in counts),
            dead_lettered=sum(one.dead_lettered for one in counts),
            erased=sum(one.erased for one in counts),
            lost=sum(one.lost for one in counts),
        )

    async with epochs.exclusive(meta.epoch):
        await epochs.clear(meta.epoch)
        # It starts with nothing done, which a display tells from a replay that continues.
        on_progress(progress())
        parts = by_time.read(span)
        async with aclosing(parts):
            async for part in parts:
                for record in part.records:
                    headers = tuple(record.headers)
                    by_time.spill.add(SpilledRecord(record.partition, record.offset, record.key, record.value, headers))
                    mark = RecordMark(record.offset, record_fingerprint(record.key, record.value, headers))
                    lasts[record.partition] = mark
                read, spilled = part.done, spilled + len(part.records)
                on_progress(progress())
        for group in by_time.spill.groups():
            await by_time.fold.fold(await by_time.decoder.decode(group))
            folded += sum(map(len, group.values()))
            on_progress(progress())
        await by_time.fold.finish(lasts)
        await epochs.set_status(meta.epoch, EpochStatus.BUILT)
    return progress()
