"""Whether the log still holds what an epoch has folded from it.

A log can lose its last records: an unclean leader election, or a disk restored from a backup. Its identity stays the
same, and it may have grown past the stored position again, with other records. So the progress of a partition names
some of the records folded last, its marks, and the end of a batch that was begun. These are looked up in the log when a
partition is assigned, and every few seconds. A record that was found is not looked up again, except the last one.
"""

from __future__ import annotations

from collections.abc import Mapping

from services.recommender.application.ports.learners import PartitionProgress
from services.recommender.application.ports.log import LogReader, LogTruncatedError, RecordMark
from services.recommender.application.state.epochs import check_log

# The marks are the last record of each stretch of this length, by the time at which the broker sent it. A partition
# that loses records has no leader for longer than that, so the last record before the loss is always one of them.
_SPACING_S = 1.0
# Bounds the marks when the log cannot be read for comparing, though it can for folding.
_MOST = 16


class LogMarks:
    """Adds and drops marks of one epoch's partitions."""

    def __init__(self) -> None:
        # When the stretch of the last mark began, by partition.
        self._began_s: dict[int, float] = {}

    def extended(
        self, partition: int, marks: tuple[RecordMark, ...], last: RecordMark | None, sent_at_s: float
    ) -> tuple[RecordMark, ...]:
        """The marks after a batch; `last`, its last record, replaces one of the same stretch."""
        if last is None:
            return marks
        began_s = self._began_s.get(partition)
        if marks and began_s is not None and sent_at_s - began_s < _SPACING_S:
            return (*marks[:-1], last)
        self._began_s[partition] = sent_at_s
        return (*marks, last)[-_MOST:]

    @staticmethod
    def confirmed(marks: tuple[RecordMark, ...], found: tuple[RecordMark, ...]) -> tuple[RecordMark, ...]:
        """The marks without the records before the last one found."""
        return tuple(mark for mark in marks if not found or mark.offset >= found[-1].offset)


async def check_log_holds(
    log: LogReader,
    epoch: int,
    log_identity: str,
    progress: Mapping[int, PartitionProgress],
    end_positions: Mapping[int, int],
) -> None:
    """Check that the log holds what an epoch has folded, and what it must still fold before it may be served.

    Records that retention deleted do not count.

    Args:
        log: the log.
        epoch: the epoch's number, for the message.
        log_identity: the log that it was folded from.
        progress: by partition.
        end_positions: one past the last record that it must fold, of the same partitions or more.

    Raises:
        LogTruncatedError: when the log lost some of them.
        EpochUnusableError: when it is another log.
        ConnectionError: when the log cannot be read.
    """
    marks = {partition: (*one.marks, *([one.ahead] if one.ahead else [])) for partition, one in progress.items()}
    found = await log.fingerprints({partition: [mark.offset for mark in some] for partition, some in marks.items()})
    other = [
        (partition, f"holds another record at offset {mark.offset} than the one that was folded")
        for partition, some in marks.items()
        for mark in some
        if found.get((partition, mark.offset), mark.fingerprint) != mark.fingerprint
    ]
    absent = {
        partition: offsets
        for partition, some in marks.items()
        if (offsets := [mark.offset for mark in some if (partition, mark.offset) not in found])
    }
    wanted = _offsets_wanted(progress, end_positions)
    if absent or wanted:
        ends, beginnings = await log.end_offsets(), await log.beginnings()
        other += [
            (partition, f"ends at offset {ends.get(partition, 0)}, but ended at {offset} or later before")
            for partition, offset in wanted.items()
            if ends.get(partition, 0) < offset
        ]
        other += [
            (partition, f"lacks the record at offset {offsets[-1]}, which was folded")
            for partition, offsets in absent.items()
            if offsets[-1] >= beginnings.get(partition, 0)
        ]
    if other:
        if log_identity:
            check_log(epoch, log_identity, await log.identity())
        raise LogTruncatedError(_lost(epoch, "; ".join(f"partition {number} {what}" for number, what in sorted(other))))


def check_not_deleted(epoch: int, positions: Mapping[int, int], beginnings: Mapping[int, int]) -> None:
    """Check that the log has not lost records that an epoch has not folded yet.

    Args:
        epoch: the epoch's number, for the message.
        positions: of the epoch, by partition.
        beginnings: the first offset that the log still holds, by partition.

    Raises:
        LogTruncatedError: when records were deleted before they were folded.
    """
    deleted = "; ".join(
        f"partition {partition} begins at offset {beginnings[partition]}, and the epoch is at {position}"
        for partition, position in sorted(positions.items())
        if position < beginnings.get(partition, 0)
    )
    if deleted:
        raise LogTruncatedError(
            f"records were deleted from the log before epoch {epoch} had folded them: {deleted}. Keep the log longer "
            f"(retention.ms=-1). The records are lost to every epoch; to go on without them: {_accepting(epoch)}"
        )


def _offsets_wanted(progress: Mapping[int, PartitionProgress], end_positions: Mapping[int, int]) -> dict[int, int]:
    """Where partitions must end at least, as far as no mark shows it.

    An epoch of an earlier release has no marks, and none are beyond the position.
    """
    wanted = {partition: one.position for partition, one in progress.items() if one.position and not one.marks}
    return wanted | {
        partition: end
        for partition, end in end_positions.items()
        if end > (progress[partition].position if partition in progress else 0)
    }


def _lost(epoch: int, what: str) -> str:
    return (
        f"the log lost records that were there when epoch {epoch} was folded: {what}. This happens after an unclean "
        "leader election, or when a disk is restored from a backup. Restore the lost records; or accept that they are "
        f"lost: {_accepting(epoch)}; or, if nothing in the state store is needed, empty it and start them"
    )


def _accepting(epoch: int) -> str:
    return (
        f"cairn replay --epoch {epoch + 1} --parameters same --accept-loss, then cairn epoch switch {epoch + 1} "
        "--accept-loss, then start the workers"
    )
