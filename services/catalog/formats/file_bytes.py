"""The bytes of files of others, plain or gzip, to a limit of their size."""

from __future__ import annotations

from pathlib import Path

from services.catalog.formats.jsonl import FileUnreadableError, opened

_BYTES_MAX = 256 << 20


def bytes_of(file: Path) -> bytes:
    """The content of a file, without the compression.

    Raises:
        FileUnreadableError: when it cannot be read, is damaged, or is too large.
    """
    with opened(file) as content:
        raw = content.read(_BYTES_MAX + 1)
    if len(raw) > _BYTES_MAX:
        raise FileUnreadableError(f"{file} has more than {_BYTES_MAX >> 20} MiB; split it")
    return raw
