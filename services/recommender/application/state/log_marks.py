"""Whether the log still holds what an epoch has folded from it.

A log can lose its last records: an unclean leader election, or a disk restored from a backup. Its identity stays the
same, and it may have grown past the stored position again, with other records. So the progress of a partition names
some of the records folded last, its marks. These are looked up in the log when a partition is assigned, and every few
seconds. A record that was found is not looked up again, except the last one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from services.recommender.application.ports.learners import PartitionProgress
from services.recommender.application.ports.log import LogReader, LogTruncatedError, RecordMark
from services.recommender.application.state.epochs import check_log

# The marks are the last record of each stretch of this length. A partition that loses records has no leader for
# longer than that, so the last record before the loss is always one of them.
_SPACING_S = 1.0
# Bounds the marks when the log cannot be read for comparing, though it can for folding.
_MOST = 16


class LogMarks:
    """Adds and drops marks of one epoch's partitions."""

    def __init__(self, clock_s: Callable[[], float]) -> None:
        """Args: `clock_s`, monotonic seconds."""
        self._clock_s = clock_s
        # When the stretch of the last mark began, by partition.
        self._began_s: dict[int, float] = {}

    def extended(
        self, partition: int, marks: tuple[RecordMark, ...], last: RecordMark | None
    ) -> tuple[RecordMark, ...]:
        """The marks after a batch; `last`, its last record, replaces one of the same stretch."""
        if last is None:
            return marks
        now_s = self._clock_s()
        began_s = self._began_s.get(partition)
        if marks and began_s is not None and now_s - began_s < _SPACING_S:
            return (*marks[:-1], last)
        self._began_s[partition] = now_s
        return (*marks, last)[-_MOST:]

    @staticmethod
    def confirmed(marks: tuple[RecordMark, ...], found: tuple[RecordMark, ...]) -> tuple[RecordMark, ...]:
        """The marks without the records before the last one found."""
        return tuple(mark for mark in marks if not found or mark.offset >= found[-1].offset)


async def check_log_holds(
    log: LogReader, epoch: int, log_identity: str, progress: Mapping[int, PartitionProgress]
) -> None:
    """Check that the log holds the records that an epoch has folded; those that retention deleted do not count.

    Args:
        log: the log.
        epoch: the epoch's number, for the message.
        log_identity: the log that it was folded from.
        progress: by partition.

    Raises:
        LogTruncatedError: when the log lost some of them.
        EpochUnusableError: when it is another log.
        ConnectionError: when the log cannot be read.
    """
    found = await log.fingerprints(
        {partition: [mark.offset for mark in one.marks] for partition, one in progress.items() if one.marks}
    )
    other = [
        (partition, f"holds another record at offset {mark.offset} than the one that was folded")
        for partition, one in progress.items()
        for mark in one.marks
        if found.get((partition, mark.offset), mark.fingerprint) != mark.fingerprint
    ]
    absent = {
        partition: [mark.offset for mark in one.marks if (partition, mark.offset) not in found]
        for partition, one in progress.items()
    }
    # An epoch of an earlier release has no marks; then the end is all there is to compare.
    doubtful = [
        partition for partition, one in progress.items() if absent[partition] or not (one.marks or not one.position)
    ]
    if doubtful:
        ends, beginnings = await log.end_offsets(), await log.beginnings()
        for partition in doubtful:
            position, end = progress[partition].position, ends.get(partition, 0)
            if position > end:
                other.append((partition, f"ends at offset {end}, but records up to {position} were folded"))
            elif any(offset >= beginnings.get(partition, 0) for offset in absent[partition]):
                other.append((partition, f"lacks the record at offset {absent[partition][-1]}, which was folded"))
    if other:
        if log_identity:
            check_log(epoch, log_identity, await log.identity())
        raise LogTruncatedError(_lost(epoch, "; ".join(f"partition {number} {what}" for number, what in sorted(other))))


async def check_goal_exists(log: LogReader, epoch: int, goal: Mapping[int, int]) -> None:
    """Check that a replay can reach its goal.

    Raises:
        LogTruncatedError: when the log ends before it.
        ConnectionError: when the log cannot be read.
    """
    ends = await log.end_offsets()
    short = {partition: offset for partition, offset in goal.items() if ends.get(partition, 0) < offset}
    if short:
        named = "; ".join(
            f"partition {partition} ends at offset {ends.get(partition, 0)}, but the replay goes up to {offset}"
            for partition, offset in sorted(short.items())
        )
        raise LogTruncatedError(_lost(epoch, named))


def _lost(epoch: int, what: str) -> str:
    return (
        f"the log lost records that were there when epoch {epoch} was folded: {what}. This happens after an unclean "
        "leader election, or when a disk is restored from a backup. Restore the lost records; or accept that they are "
        f"lost: cairn replay --epoch {epoch + 1} --parameters same, then cairn epoch switch {epoch + 1} --accept-loss, "
        "then start the workers; or, if nothing in the state store is needed, empty it and start them"
    )
