"""Replay: the event service over a bounded range of the log, without a group, into a separate epoch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from services.recommender.application.ports.epochs import EpochMeta, EpochStatus, EpochStore
from services.recommender.application.state.fold_events import FoldReport
from services.recommender.entrypoints.event_service import EventService


@dataclass(frozen=True, slots=True)
class ReplayProgress:
    """The progress of a replay.

    Attributes:
        done: offsets processed, over all partitions, from the beginning of the log.
        total: offsets to process.
        applied: records applied by this run.
        duplicates: records left out as duplicates by this run.
        dead_lettered: records this run sent to the dead letters.
    """

    done: int
    total: int
    applied: int
    duplicates: int
    dead_lettered: int


MakeReplayService = Callable[[EpochMeta, Callable[[FoldReport], None]], EventService]


async def run_replay(
    meta: EpochMeta,
    epochs: EpochStore,
    make_service: MakeReplayService,
    on_progress: Callable[[ReplayProgress], None],
) -> ReplayProgress:
    """Fold the log up to the epoch's end positions, and mark the epoch built.

    A replay that was interrupted continues where it stopped.

    Args:
        meta: the epoch, building.
        epochs: the epochs.
        make_service: makes the event service that reads up to the end positions; calls back after each batch.
        on_progress: called when the replay begins, and after each batch.

    Raises:
        EpochBusyError: when another process replays into the epoch.
        CommitRefusedError: when another process writes to it nevertheless.
    """
    applied = duplicates = dead_lettered = 0

    def progress() -> ReplayProgress:
        done = sum(min(service.positions.get(p, 0), end) for p, end in meta.end_positions.items())
        return ReplayProgress(done, sum(meta.end_positions.values()), applied, duplicates, dead_lettered)

    def count(report: FoldReport) -> None:
        nonlocal applied, duplicates, dead_lettered
        applied += report.applied
        duplicates += report.duplicates
        dead_lettered += sum(report.dead_lettered.values())
        on_progress(progress())

    service = make_service(meta, count)
    async with epochs.exclusive(meta.epoch):
        if not await epochs.progress(meta.epoch):
            # An interrupted restore with this number may have left learners: Redis lost the epoch meanwhile.
            await epochs.clear(meta.epoch)
        try:
            await service.start()
            # A replay that continues reports its starting point.
            on_progress(progress())
            await service.wait_finished()
        finally:
            await service.stop()
        await epochs.set_status(meta.epoch, EpochStatus.BUILT)
    return progress()
