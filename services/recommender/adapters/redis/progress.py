"""The progress of a partition as Redis holds it: a hash."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple

from services.recommender.application.ports.learners import PartitionProgress
from services.recommender.application.ports.log import RecordMark

# The counts of records, in the order of PartitionProgress.
COUNT_FIELDS = (b"applied", b"duplicates", b"dlt", b"erased", b"lost", b"conflicts", b"quarantined")

# The fields, in the order of PartitionProgress. A mark is `offset:fingerprint`; marks are separated by spaces.
PROGRESS_FIELDS = (b"offset", *COUNT_FIELDS, b"marks", b"ahead")


def decode_progress(fields: Sequence[bytes | None]) -> PartitionProgress | None:
    """Progress from the values of PROGRESS_FIELDS; None without an offset."""
    *counts, marks, ahead = fields
    if counts[0] is None:
        return None
    position, applied, duplicates, dead_lettered, *others = (int(value or 0) for value in counts)
    erased, lost, conflicts, quarantined = others
    return PartitionProgress(
        position,
        applied,
        duplicates,
        dead_lettered,
        erased,
        lost,
        conflicts,
        quarantined,
        marks=_decode_marks(marks),
        ahead=next(iter(_decode_marks(ahead)), None),
    )


def encode_progress(progress: PartitionProgress) -> tuple[int | str, ...]:
    """The values of PROGRESS_FIELDS."""
    return (progress.position, *counts_of(progress), *encode_marks(progress))


def encode_marks(progress: PartitionProgress) -> tuple[str, str]:
    """The values of marks and ahead."""
    return " ".join(map(encode_mark, progress.marks)), "" if progress.ahead is None else encode_mark(progress.ahead)


def encode_mark(mark: RecordMark) -> str:
    """The text of a mark."""
    return f"{mark.offset}:{mark.fingerprint}"


def counts_of(progress: PartitionProgress | None) -> tuple[int, ...]:
    """The values of COUNT_FIELDS; all 0 for a partition that was never seen."""
    return (0,) * len(COUNT_FIELDS) if progress is None else astuple(progress)[1 : 1 + len(COUNT_FIELDS)]


def _decode_marks(encoded: bytes | None) -> tuple[RecordMark, ...]:
    marks = (mark.split(":") for mark in (encoded or b"").decode().split())
    return tuple(RecordMark(int(offset), fingerprint) for offset, fingerprint in marks)
