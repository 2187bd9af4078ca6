"""Records of the log in temporary files: a record's file depends on its key, and a file is read into memory at once."""

from __future__ import annotations

import struct
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from services.recommender.application.ports.record_spill import SpilledRecord

_RECORDS_PER_FILE = 200_000
_MOST_FILES = 256
_RECORD = struct.Struct("<iqH")
_PART = struct.Struct("<i")


class FileRecordSpill:
    """Implements RecordSpill in a temporary folder that only its owner can read; it is removed at the end."""

    def __init__(self, records: int) -> None:
        """Args: about how many records there will be; a file gets 200,000 of them, or more in 256 files."""
        self._count = min(records // _RECORDS_PER_FILE + 1, _MOST_FILES)
        self._files: list[BinaryIO] = []
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def __enter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory(prefix="cairn-replay-")
        folder = Path(self._folder.name)
        self._files = [(folder / str(number)).open("w+b") for number in range(self._count)]
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for file in self._files:
            file.close()
        if self._folder is not None:
            self._folder.cleanup()

    def add(self, record: SpilledRecord) -> None:
        """Add a record."""
        file = self._files[zlib.crc32(record.key or b"") % self._count]
        file.write(_RECORD.pack(record.partition, record.offset, len(record.headers)))
        for part in (record.key, record.value):
            _write(file, part)
        for name, content in record.headers:
            _write(file, name.encode())
            _write(file, content)

    def groups(self) -> Iterator[dict[int, list[SpilledRecord]]]:
        """The records by partition, file by file."""
        for file in self._files:
            file.seek(0)
            found: dict[int, list[SpilledRecord]] = {}
            while fixed := file.read(_RECORD.size):
                partition, offset, headers = _RECORD.unpack(fixed)
                key, value = _read(file), _read(file)
                named = tuple(((_read(file) or b"").decode(), _read(file) or b"") for _ in range(headers))
                found.setdefault(partition, []).append(SpilledRecord(partition, offset, key, value, named))
            if found:
                yield found


def _write(file: BinaryIO, part: bytes | None) -> None:
    file.write(_PART.pack(-1 if part is None else len(part)))
    file.write(part or b"")


def _read(file: BinaryIO) -> bytes | None:
    (length,) = _PART.unpack(file.read(_PART.size))
    return None if length < 0 else file.read(length)
