"""Replay: folds a bounded range of the log into a separate epoch, without a consumer group."""

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
        done: offsets processed since the beginning of the log, over all partitions.
        total: offsets to process.
        applied: records applied by this run.
        duplicates: records this run skipped as duplicates.
        conflicts: records this run left out because an earlier one of their source and id says something else.
        dead_lettered: records this run sent to the dead letters.
        erased: records of erased learners that this run found.
        lost: records whose keys are lost that this run found.
    """

    done: int
    total: int
    applied: int
    duplicates: int
    conflicts: int
    dead_lettered: int
    erased: int
    lost: int


MakeReplayService = Callable[[EpochMeta, Callable[[FoldReport], None]], EventService]


async def run_replay(
    meta: EpochMeta,
    epochs: EpochStore,
    make_service: MakeReplayService,
    on_progress: Callable[[ReplayProgress], None],
) -> ReplayProgress:
    """Fold the log up to the epoch's end positions, and mark the epoch built.

    An interrupted replay resumes where it stopped.

    Args:
        meta: the epoch, in the status `building`.
        epochs: the epochs.
        make_service: makes the event service, which reads up to the end positions and calls back after each batch.
        on_progress: called when the replay starts and after each batch.

    Raises:
        EpochBusyError: when another process is replaying into the epoch.
        CommitRefusedError: when another process wrote to the epoch in spite of the lock.
        KeysMissingError: when keys of records are lost, and the epoch does not accept that.
    """
    applied = duplicates = conflicts = dead_lettered = erased = lost = 0

    def progress() -> ReplayProgress:
        done = sum(min(service.positions.get(p, 0), end) for p, end in meta.end_positions.items())
        counts = (applied, duplicates, conflicts, dead_lettered, erased, lost)
        return ReplayProgress(done, sum(meta.end_positions.values()), *counts)

    def count(report: FoldReport) -> None:
        nonlocal applied, duplicates, conflicts, dead_lettered, erased, lost
        applied += report.applied
        duplicates += report.duplicates
        conflicts += report.conflicts
        dead_lettered += sum(report.dead_lettered.values())
        erased += report.erased
        lost += report.lost
        on_progress(progress())

    service = make_service(meta, count)
    async with epochs.exclusive(meta.epoch):
        if not await epochs.progress(meta.epoch):
            # An interrupted restore of this number may have left learners behind after Redis lost the epoch.
            await epochs.clear(meta.epoch)
        try:
            await service.start()
            # Report the starting point of a resumed replay.
            on_progress(progress())
            await service.wait_finished()
        finally:
            await service.stop()
        await epochs.set_status(meta.epoch, EpochStatus.BUILT)
    return progress()
