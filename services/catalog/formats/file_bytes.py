"""The bytes of files of others, plain or gzip, to a limit of their size."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

from services.catalog.formats.jsonl import FileUnreadableError

_GZIP_MAGIC = b"\x1f\x8b"
_BYTES_MAX = 256 << 20


def bytes_of(file: Path) -> bytes:
    """The content of a file, without the compression.

    Raises:
        FileUnreadableError: when it cannot be read, is damaged, or is too large.
    """
    try:
        with file.open("rb") as stream:
            raw = stream.read(_BYTES_MAX + 1)
        if raw.startswith(_GZIP_MAGIC):
            with gzip.open(file) as unpacked:
                raw = unpacked.read(_BYTES_MAX + 1)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise FileUnreadableError(f"{file} is damaged gzip ({error}); compress it again") from error
    except OSError as error:
        raise FileUnreadableError(f"{file} cannot be read ({error.strerror}); name a file you may read") from error
    if len(raw) > _BYTES_MAX:
        raise FileUnreadableError(f"{file} has more than {_BYTES_MAX >> 20} MiB; split it")
    return raw
