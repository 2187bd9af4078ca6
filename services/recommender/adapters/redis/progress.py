"""The progress of a partition as Redis holds it: a hash."""

from __future__ import annotations

from collections.abc import Sequence

from services.recommender.application.ports.learners import PartitionProgress
from services.recommender.application.ports.log import RecordMark

# The fields, in the order of PartitionProgress. The marks are `offset:fingerprint offset:fingerprint`.
PROGRESS_FIELDS = (b"offset", b"applied", b"duplicates", b"dlt", b"erased", b"lost", b"conflicts", b"marks")


def decode_progress(fields: Sequence[bytes | None]) -> PartitionProgress | None:
    """Progress from the values of PROGRESS_FIELDS; None without an offset."""
    *counts, encoded = fields
    if counts[0] is None:
        return None
    position, applied, duplicates, dead_lettered, erased, lost, conflicts = (int(value or 0) for value in counts)
    marks = (mark.split(":") for mark in (encoded or b"").decode().split())
    return PartitionProgress(
        position,
        applied,
        duplicates,
        dead_lettered,
        erased,
        lost,
        conflicts,
        marks=tuple(RecordMark(int(offset), fingerprint) for offset, fingerprint in marks),
    )


def encode_progress(progress: PartitionProgress) -> tuple[int | str, ...]:
    """The values of PROGRESS_FIELDS."""
    return (
        progress.position,
        progress.applied,
        progress.duplicates,
        progress.dead_lettered,
        progress.erased,
        progress.lost,
        progress.conflicts,
        " ".join(f"{offset}:{fingerprint}" for offset, fingerprint in progress.marks),
    )
