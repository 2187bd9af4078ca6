"""Keeps an epoch outside the store, and brings it back: faster than folding a long log again."""

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

_LEARNERS_AT_ONCE = 256


class SnapshotInvalidError(ValueError):
    """A snapshot is damaged, incomplete or of a version this program does not know."""


@dataclass(frozen=True, slots=True)
class SnapshotHeader:
    """What a snapshot says of its epoch.

    Attributes:
        meta: what was fixed when the epoch began.
        progress: how far it had come, by partition. Learners may be ahead of it, never behind.
    """

    meta: EpochMeta
    progress: Mapping[int, PartitionProgress]


class SnapshotSink(Protocol):
    """Where a snapshot is written. Nobody finds it before `finish`."""

    def begin(self, header: SnapshotHeader) -> None:
        """Write what comes first."""
        ...

    def add(self, learner: StoredLearnerBytes) -> None:
        """Write a learner; called in the order of the keys."""
        ...

    def finish(self, contents: EpochDigest) -> None:
        """Write what comes last, and make the snapshot visible."""
        ...


class SnapshotSource(Protocol):
    """A snapshot that was found to be whole."""

    @property
    def header(self) -> SnapshotHeader:
        """What it says of its epoch."""
        ...

    @property
    def contents(self) -> EpochDigest:
        """What it holds."""
        ...

    def learners(self) -> Iterator[StoredLearnerBytes]:
        """The learners, in the order of their keys."""
        ...


class RestorableEpochStore(EpochStore, EpochRestorer, Protocol):
    """An epoch store that snapshots can be restored into."""


async def snapshot_epoch(store: EpochStore, epoch: int, sink: SnapshotSink) -> EpochDigest:
    """Write all that an epoch holds, while workers may go on folding into it.

    Positions are read before learners. So each learner holds at least what its partition's position says, and one that
    is ahead drops, by its offset, what a worker reads again after a restore.

    Raises:
        EpochMissingError: when there is no such epoch, or it was dropped meanwhile.
        EpochUnusableError: when its replay has not reached its end, or the store lost data meanwhile.
    """
    meta = await store.get(epoch)
    if meta is None:
        raise EpochMissingError(f"there is no epoch {epoch}; list them with: cairn epoch list")
    if meta.status is EpochStatus.BUILDING:
        raise EpochUnusableError(f"the replay into epoch {epoch} has not reached its end; run cairn replay again first")
    progress = await store.progress(epoch)
    sink.begin(SnapshotHeader(meta, progress))
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
    """Bring an epoch back from a snapshot, as one that a replay has built: it is served after a switch.

    Args:
        store: the epochs.
        log: the log, which must be the one that the snapshot was folded from.
        bundles: where the parameters are that the epoch was folded with.
        source: the snapshot.
        epoch: the number to restore it under; None: its own.

    Returns:
        The number, and what the epoch holds, read back from the store.

    Raises:
        EpochUnusableError: when the number is taken, the log is another or ends before the snapshot does, or what was
            stored is not what the snapshot holds.
        EpochExistsError: when somebody else takes the number at this moment.
        EpochBusyError: when somebody replays into it at this moment.
        BundleUnreadableError: when its parameters cannot be read.
    """
    header = source.header
    number = header.meta.epoch if epoch is None else epoch
    meta = replace(header.meta, epoch=number, status=EpochStatus.BUILDING)
    await _check_usable(store, log, bundles, SnapshotHeader(meta, header.progress))
    await store.create(meta)
    async with store.exclusive(number):
        batch: list[StoredLearnerBytes] = []
        for learner in source.learners():
            batch.append(learner)
            if len(batch) == _LEARNERS_AT_ONCE:
                await store.put_learners(number, batch)
                batch = []
        await store.put_learners(number, batch)
        # Last, as in a fold: an epoch left half restored says that it has dealt with nothing.
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
            f"there is an epoch {meta.epoch} already: restore under another number with --epoch, or run "
            f"cairn epoch drop {meta.epoch}"
        )
    check_log(meta, await log.identity())
    ends = await log.end_offsets()
    for partition, progress in sorted(header.progress.items()):
        if progress.position > ends.get(partition, 0):
            raise EpochUnusableError(
                f"the snapshot is at offset {progress.position} of partition {partition}, but the log ends at "
                f"{ends.get(partition, 0)}: the log lost records that the snapshot holds. Replay the log instead: "
                f"cairn replay --epoch {meta.epoch} --parameters {meta.parameters_bundle or 'same'}"
            )
    parameters_of(meta, bundles)
