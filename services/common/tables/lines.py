"""The lines of a file, which may be compressed, large or damaged."""

from __future__ import annotations

import gzip
import stat
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

LINE_BYTES_MAX = 1_000_000

ObserveBytes = Callable[[int], None]
"""Called from time to time with the number of bytes read from a file as stored."""

_GZIP_MAGIC = b"\x1f\x8b"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class FileUnusableError(ValueError):
    """A file cannot be read in its stated format; the message says why and what to do."""


UNREADABLE = (OSError, EOFError, zlib.error)
"""What reading a file raises, whose compressed content may be damaged: `unusable` words it."""


def unusable(path: Path, error: Exception, after: str = "") -> FileUnusableError:
    """Why a file cannot be read, or not further; `after` is the last place that could, such as `line 7`."""
    if isinstance(error, OSError) and not isinstance(error, gzip.BadGzipFile):
        return FileUnusableError(f"{path} cannot be read: {error.strerror or error}")
    if not after:
        return FileUnusableError(f"{path} is damaged ({error}): fetch it again")
    return FileUnusableError(
        f"{path} is damaged after {after} ({error}): fetch it again; it is safe to load what is before that twice"
    )


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a file.

    Attributes:
        number: its number, from 1.
        content: its bytes without the line end; truncated when `too_long`.
        too_long: whether it exceeds LINE_BYTES_MAX; the rest was skipped.
    """

    number: int
    content: bytes
    too_long: bool = False


def lines_of(path: Path, observe_bytes: ObserveBytes = lambda _: None) -> Iterator[Line]:
    """Read a file line by line; gzip is recognised by its first bytes.

    Args:
        path: the file.
        observe_bytes: see ObserveBytes.

    Raises:
        FileUnusableError: when it cannot be opened, or its compressed content is damaged.
    """
    number = 0
    try:
        with opened(path) as (stored, file):
            while raw := file.readline(LINE_BYTES_MAX + 1):
                number += 1
                if number % 1_000 == 0:
                    observe_bytes(stored.tell())
                too_long = len(raw) > LINE_BYTES_MAX and not raw.endswith(b"\n")
                if too_long:
                    _skip_line(file)
                if number == 1:
                    raw = raw.removeprefix(_BYTE_ORDER_MARK)
                yield Line(number, raw.rstrip(b"\r\n"), too_long)
            observe_bytes(stored.tell())
    except UNREADABLE as error:
        raise unusable(path, error, f"line {number}") from error


@contextmanager
def opened(path: Path) -> Iterator[tuple[IO[bytes], IO[bytes]]]:
    """The file as stored and its decompressed content; the same object when it is not gzip-compressed.

    Raises:
        FileUnusableError: when it is no file that can be read again.
        OSError: when it cannot be opened.
    """
    require_file(path)
    with path.open("rb") as stored:
        magic = stored.read(len(_GZIP_MAGIC))
        stored.seek(0)
        if magic != _GZIP_MAGIC:
            yield stored, stored
            return
        with gzip.open(stored) as content:
            yield stored, cast("IO[bytes]", content)


def require_file(path: Path) -> None:
    """Raises FileUnusableError for a pipe or a device: what was read of it to see what it holds would be gone."""
    mode = path.stat().st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise FileUnusableError(f"{path} is a pipe or a device, which can be read only once: save it to a file first")


def _skip_line(file: IO[bytes]) -> None:
    while (rest := file.readline(LINE_BYTES_MAX)) and not rest.endswith(b"\n"):
        pass
