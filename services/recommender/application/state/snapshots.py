"""Saves an epoch outside the store and restores it, which is faster than folding a long log again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from services.recommender.application.ports.epochs import (
    EpochMeta,
    EpochMissingError,
    EpochRestorer,
    EpochStatus,
    EpochStore,
    StoredLearnerBytes,
)
from services.recommender.application.ports.learners import PartitionProgress
from services.recommender.application.ports.log import LogReader
from services.recommender.application.ports.models import BundleReader
from services.recommender.application.state.epochs import (
    EpochContents,
    EpochDigest,
    EpochUnusableError,
    check_log,
    digest_epoch,
    parameters_of,
)
from services.recommender.application.state.log_marks import check_log_holds
from services.recommender.application.state.restamps import restamp_of
from services.recommender.domain.learner.restamp import AssessedSkills

_LEARNERS_AT_ONCE = 256


class SnapshotInvalidError(ValueError):
    """A snapshot is damaged, incomplete or of a version this program does not know."""


@dataclass(frozen=True, slots=True)
class SnapshotHeader:
    """The header of a snapshot.

    Attributes:
        meta: what was fixed when the epoch was created.
        progress: its progress by partition. Learners may be ahead of it, never behind.
        restamp_skills: the skills kept with it, if it stamps events again.
    """

    meta: EpochMeta
    progress: Mapping[int, PartitionProgress]
    restamp_skills: AssessedSkills | None = None


class SnapshotSink(Protocol):
    """Where a snapshot is written. It is not visible before `finish`."""

    def begin(self, header: SnapshotHeader) -> None:
        """Write the header."""
        ...

    def add(self, learner: StoredLearnerBytes) -> None:
        """Write a learner; called in the order of the keys."""
        ...

    def finish(self, contents: EpochDigest) -> None:
        """Write the end, and make the snapshot visible."""
        ...


class SnapshotSource(Protocol):
    """A snapshot that was verified."""

    @property
    def header(self) -> SnapshotHeader:
        """Its header."""
        ...

    @property
    def contents(self) -> EpochDigest:
        """The summary of its contents."""
        ...

    def learners(self) -> Iterator[StoredLearnerBytes]:
        """The learners, in the order of their keys."""
        ...


class RestorableEpochStore(EpochStore, EpochRestorer, Protocol):
    """An epoch store that snapshots can be restored into."""


async def snapshot_epoch(store: EpochStore, epoch: int, sink: SnapshotSink) -> EpochDigest:
    """Write the contents of an epoch; workers may continue to fold into it.

    Positions are read before learners, so each learner includes at least everything before its partition's position.
    After a restore, the worker skips events that a learner already holds, by its offset.

    Raises:
        EpochMissingError: when there is no such epoch, or it was dropped meanwhile.
        EpochUnusableError: when its replay has not reached its end, or the store lost data.
        LearnerDamagedError: when what is stored about a learner is damaged.
    """
    meta = await store.get(epoch)
    if meta is None:
        raise EpochMissingError(f"there is no epoch {epoch}; list them with: cairn epoch list")
    if meta.status is EpochStatus.BUILDING:
        raise EpochUnusableError(f"the replay into epoch {epoch} has not reached its end; run cairn replay again first")
    progress = await store.progress(epoch)
    restamp = await restamp_of(store, meta)
    sink.begin(SnapshotHeader(meta, progress, None if restamp is None else restamp.assessed))
    contents = EpochContents()
    async for learner in store.contents(epoch):
        contents.add(learner)
        sink.add(learner)
    after = await store.progress(epoch)
    if any(partition not in after or after[partition].position < one.position for partition, one in progress.items()):
        raise EpochUnusableError(f"epoch {epoch} was dropped or lost data while it was read; nothing was written")
    found = contents.digest()
    sink.finish(found)
    return found


async def restore_epoch(
    store: RestorableEpochStore, log: LogReader, bundles: BundleReader, source: SnapshotSource, epoch: int | None
) -> tuple[int, EpochDigest]:
    """Restore an epoch from a snapshot, as if a replay had built it: it is served after a switch.

    Args:
        store: the epochs.
        log: the log, which must be the one that the snapshot was folded from.
        bundles: holds the parameters that the epoch was folded with.
        source: the snapshot.
        epoch: the number to restore it as; None: its own.

    Returns:
        The number, and the summary of the epoch as read back from the store.

    Raises:
        EpochUnusableError: when the number is taken, the log is another one or ends before the snapshot does, or the
            restored epoch differs from the snapshot.
        LogTruncatedError: when the log lost records that the snapshot holds, and has grown again.
        EpochExistsError: when another process takes the number at the same time.
        EpochBusyError: when another process replays into it at the same time.
        BundleUnreadableError: when its parameters cannot be read.
    """
    header = source.header
    number = header.meta.epoch if epoch is None else epoch
    meta = replace(header.meta, epoch=number, status=EpochStatus.BUILDING)
    await _check_usable(store, log, bundles, SnapshotHeader(meta, header.progress))
    await store.create(meta, header.restamp_skills)
    async with store.exclusive(number):
        batch: list[StoredLearnerBytes] = []
        for learner in source.learners():
            batch.append(learner)
            if len(batch) == _LEARNERS_AT_ONCE:
                await store.put_learners(number, batch)
                batch = []
        await store.put_learners(number, batch)
        # Last, as in a fold: a partially restored epoch has no positions.
        await store.put_progress(number, header.progress)
        restored = await digest_epoch(store, number)
        if restored != source.contents:
            raise EpochUnusableError(
                f"epoch {number} holds {restored.learners} learners of digest {restored.digest} after the restore, the "
                f"snapshot {source.contents.learners} of {source.contents.digest}: run cairn epoch drop {number} and "
                "restore it again"
            )
        await store.set_status(number, EpochStatus.BUILT)
    return number, restored


async def _check_usable(store: EpochStore, log: LogReader, bundles: BundleReader, header: SnapshotHeader) -> None:
    meta = header.meta
    if await store.get(meta.epoch) is not None:
        raise EpochUnusableError(
            f"epoch {meta.epoch} already exists: restore it as another number with --epoch, or run "
            f"cairn epoch drop {meta.epoch}"
        )
    check_log(meta.epoch, meta.log_identity, await log.identity())
    ends = await log.end_offsets()
    for partition, progress in sorted(header.progress.items()):
        if progress.position > ends.get(partition, 0):
            raise EpochUnusableError(
                f"the snapshot is at offset {progress.position} of partition {partition}, but the log ends at "
                f"{ends.get(partition, 0)}: the log lost records that the snapshot holds. Replay the log instead: "
                f"cairn replay --epoch {meta.epoch} --parameters {meta.parameters_bundle or 'same'}"
            )
    await check_log_holds(log, meta.epoch, meta.log_identity, header.progress, meta.end_positions)
    parameters_of(meta, bundles)
