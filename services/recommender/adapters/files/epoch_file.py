"""Snapshots of epochs in files.

    magic            12 bytes, with the version of the format
    frames           u4 length, then that many bytes: first the header as JSON, then one frame a learner, by key
    end              u4 zero, then a frame with the contents as JSON
    checksum         SHA-256 of everything before it, 32 bytes

A learner's frame: i8 offset, then key, state, journal, checkpoint, seen and contents, each behind its u4 length; files
of earlier releases have no contents. Numbers are little-endian.
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, astuple
from pathlib import Path
from typing import Any, BinaryIO, Self

import orjson

from services.common.encryption.values import KeyTopicSeen
from services.recommender.application.ports.epochs import (
    EpochMeta,
    EpochRestamp,
    EpochStatus,
    FoldOrder,
    StoredLearnerBytes,
)
from services.recommender.application.ports.learners import PartitionProgress
from services.recommender.application.ports.log import RecordMark
from services.recommender.application.state.epochs import EpochDigest
from services.recommender.application.state.snapshots import SnapshotHeader, SnapshotInvalidError
from services.recommender.domain.learner.restamp import RestampedEvents

_MAGIC = b"cairn-epoch1"
_LENGTH = struct.Struct("<I")
_OFFSET = struct.Struct("<q")
_CHECKSUM_BYTES = 32
_READ_BYTES = 1 << 20


class EpochFileWriter:
    """Writes a snapshot under a temporary name and moves it once it is whole; implements SnapshotSink."""

    def __init__(self, path: Path) -> None:
        """Args: `path` of the file; an existing file is replaced."""
        self._path = path
        self._partial = path.with_name(f"{path.name}.partial")
        self._file: BinaryIO | None = None
        self._checksum = hashlib.sha256()
        self.bytes_written = 0

    def __enter__(self) -> Self:
        # It holds learners' data: only its owner may read it.
        descriptor = os.open(self._partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        self._file = os.fdopen(descriptor, "wb")
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()
            self._partial.unlink(missing_ok=True)

    def begin(self, header: SnapshotHeader) -> None:
        """Write the header."""
        self._write(_MAGIC)
        self._frame(_encode_header(header))

    def add(self, learner: StoredLearnerBytes) -> None:
        """Write a learner."""
        parts = (learner.key, learner.state, learner.journal, learner.checkpoint, learner.seen, learner.contents)
        framed = b"".join(_LENGTH.pack(len(part)) + part for part in parts)
        self._frame(_OFFSET.pack(learner.offset) + framed)

    def finish(self, contents: EpochDigest) -> None:
        """Write the end, and move the file to its final name."""
        self._write(_LENGTH.pack(0))
        self._frame(
            orjson.dumps({"digest": contents.digest, "learners": contents.learners, "applied": contents.applied})
        )
        self._write(self._checksum.digest())
        file = self._opened()
        file.flush()
        os.fsync(file.fileno())
        file.close()
        self._file = None
        self._partial.replace(self._path)

    def _frame(self, data: bytes) -> None:
        self._write(_LENGTH.pack(len(data)))
        self._write(data)

    def _write(self, data: bytes) -> None:
        self._opened().write(data)
        self._checksum.update(data)
        self.bytes_written += len(data)

    def _opened(self) -> BinaryIO:
        if self._file is None:
            raise AssertionError("the file is not open")
        return self._file


class EpochFile:
    """A snapshot whose checksum is right; implements SnapshotSource."""

    def __init__(self, path: Path) -> None:
        """Read the whole file once.

        Raises:
            SnapshotInvalidError: when it is incomplete or damaged.
            OSError: when it cannot be read.
        """
        self._path = path
        self._verify()
        with path.open("rb") as file:
            file.seek(len(_MAGIC))
            self.header = _decode_header(self._frame(file))
            self._learners_at = file.tell()
            while length := self._length(file):
                file.seek(length, os.SEEK_CUR)
            found = orjson.loads(self._frame(file))
        self.contents = EpochDigest(found["digest"], found["learners"], found["applied"])

    def learners(self) -> Iterator[StoredLearnerBytes]:
        """The learners, in the order of their keys."""
        with self._path.open("rb") as file:
            file.seek(self._learners_at)
            while length := self._length(file):
                yield _decode_learner(file.read(length))

    def _verify(self) -> None:
        size = self._path.stat().st_size
        with self._path.open("rb") as file:
            magic = file.read(len(_MAGIC))
            if magic != _MAGIC:
                raise SnapshotInvalidError(
                    f"{self._path} is not a snapshot of an epoch in a format that this program knows: make one with "
                    "cairn epoch snapshot"
                )
            checksum = hashlib.sha256(magic)
            left = size - len(_MAGIC) - _CHECKSUM_BYTES
            while left > 0:
                data = file.read(min(left, _READ_BYTES))
                checksum.update(data)
                left -= len(data)
            if left < 0 or file.read() != checksum.digest():
                raise SnapshotInvalidError(
                    f"{self._path} is damaged or truncated: its checksum does not match; nothing was restored. Take "
                    "another copy of it, or replay the log"
                )

    def _frame(self, file: BinaryIO) -> bytes:
        return file.read(self._length(file))

    @staticmethod
    def _length(file: BinaryIO) -> int:
        return int(_LENGTH.unpack(file.read(_LENGTH.size))[0])


def _encode_header(header: SnapshotHeader) -> bytes:
    meta, progress = header.meta, sorted(header.progress.items())
    fields: dict[str, object] = {
        "epoch": meta.epoch,
        "status": meta.status.value,
        "parameters_id": meta.parameters_id,
        "parameters_bundle": meta.parameters_bundle,
        "log_identity": meta.log_identity,
        "end_positions": {str(partition): offset for partition, offset in sorted(meta.end_positions.items())},
        "progress": {str(partition): _counts(one) for partition, one in progress},
    }
    if meta.accepts_lost_keys:
        fields["accepts_lost_keys"] = True
    if meta.keys is not None:
        fields["keys"] = asdict(meta.keys)
    marks = {str(partition): [tuple(mark) for mark in one.marks] for partition, one in progress if one.marks}
    if marks:
        fields["marks"] = marks
    ahead = {str(partition): tuple(one.ahead) for partition, one in progress if one.ahead is not None}
    if ahead:
        fields["ahead"] = ahead
    if meta.begin_positions:
        fields["begin_positions"] = {str(p): offset for p, offset in sorted(meta.begin_positions.items())}
    if meta.order is not FoldOrder.LOG:
        fields["order"] = meta.order.value
    if meta.restamp is not None:
        fields["restamp"] = asdict(meta.restamp)
        fields["restamp_skills"] = header.restamp_skills
    return orjson.dumps(fields, option=orjson.OPT_NON_STR_KEYS)


def _counts(progress: PartitionProgress) -> tuple[int, ...]:
    """Position and counts; without conflicts if there are none, as releases that knew none wrote and read them.

    There is no snapshot of an epoch with quarantined records.
    """
    *counts, _quarantined, _marks, _ahead = astuple(progress)
    return tuple(counts if progress.conflicts else counts[:-1])


def _decode_header(data: bytes) -> SnapshotHeader:
    fields = orjson.loads(data)
    meta = EpochMeta(
        epoch=fields["epoch"],
        status=EpochStatus(fields["status"]),
        parameters_id=fields["parameters_id"],
        parameters_bundle=fields["parameters_bundle"],
        log_identity=fields["log_identity"],
        end_positions={int(partition): offset for partition, offset in fields["end_positions"].items()},
        accepts_lost_keys=fields.get("accepts_lost_keys", False),
        keys=KeyTopicSeen(**keys) if (keys := fields.get("keys")) else None,
        begin_positions={int(partition): offset for partition, offset in fields.get("begin_positions", {}).items()},
        order=FoldOrder(fields.get("order", FoldOrder.LOG)),
        restamp=_restamp(restamp) if (restamp := fields.get("restamp")) else None,
    )
    # Earlier releases stored no marks.
    marks, ahead = fields.get("marks", {}), fields.get("ahead", {})
    progress = {int(p): _progress(counts, marks.get(p, ()), ahead.get(p)) for p, counts in fields["progress"].items()}
    if meta.restamp is None:
        return SnapshotHeader(meta, progress)
    skills = {
        tenant: {resource: tuple(some) for resource, some in resources.items()}
        for tenant, resources in fields["restamp_skills"].items()
    }
    return SnapshotHeader(meta, progress, skills)


def _restamp(fields: dict[str, Any]) -> EpochRestamp:
    return EpochRestamp(
        RestampedEvents(fields["events"]),
        fields["resources_offset"],
        fields["skills_offset"],
        fields["skills_id"],
        {int(partition): offset for partition, offset in fields["before"].items()},
    )


def _progress(counts: Sequence[int], marks: Iterable[Sequence[Any]], ahead: Sequence[Any] | None) -> PartitionProgress:
    position, applied, duplicates, dead_lettered, erased, lost, conflicts = (*counts, 0, 0)[:7]
    return PartitionProgress(
        position,
        applied,
        duplicates,
        dead_lettered,
        erased,
        lost,
        conflicts,
        marks=tuple(RecordMark(*mark) for mark in marks),
        ahead=None if ahead is None else RecordMark(*ahead),
    )


def _decode_learner(frame: bytes) -> StoredLearnerBytes:
    parts, at = [], _OFFSET.size
    while at < len(frame):
        (length,) = _LENGTH.unpack_from(frame, at)
        at += _LENGTH.size
        parts.append(frame[at : at + length])
        at += length
    key, *rest = parts
    return StoredLearnerBytes(key, _OFFSET.unpack_from(frame)[0], *rest)
