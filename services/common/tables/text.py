"""The lines of a text file in a declared encoding."""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator
from pathlib import Path

from services.common.tables.lines import LINE_BYTES_MAX, FileUnusableError, ObserveBytes, lines_of, opened

_BYTE_ORDER_MARKS = {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16", codecs.BOM_UTF8: "utf-8"}
_ENCODING_REMEDY = "set encoding in the mapping to that of the file (latin-1, cp1252, utf-16 or utf-8)"


def text_lines(path: Path, encoding: str, observe_bytes: ObserveBytes) -> Iterator[str]:
    """The lines of a text file, each with its line end.

    Raises:
        FileUnusableError: when it cannot be read, or is in another encoding; the message names the line.
    """
    encoding = _confirmed_encoding(path, encoding)
    if encoding in {"utf-16", "utf-16-le", "utf-16-be", "utf-32"}:
        yield from _wide_lines(path, encoding, observe_bytes)
        return
    for line in lines_of(path, observe_bytes):
        if line.too_long:
            raise FileUnusableError(
                f"line {line.number} of {path} has more than {LINE_BYTES_MAX} bytes: check for an unclosed quote"
            )
        try:
            yield line.content.decode(encoding) + "\n"
        except UnicodeDecodeError as error:
            raise FileUnusableError(
                f"line {line.number} of {path} is not {encoding}: the byte 0x{line.content[error.start]:02X} at "
                f"position {error.start + 1} cannot be read; {_ENCODING_REMEDY}"
            ) from error


def _confirmed_encoding(path: Path, encoding: str) -> str:
    """The encoding, once the file's first bytes do not contradict it."""
    try:
        with opened(path) as (_, file):
            begin = file.read(4)
    except OSError as error:
        raise FileUnusableError(f"{path} cannot be read: {error.strerror or error}") from error
    for mark, marked in _BYTE_ORDER_MARKS.items():
        if begin.startswith(mark):
            if not encoding.startswith(marked):
                raise FileUnusableError(
                    f"line 1 of {path} starts as {marked}, but the mapping has {encoding}: set encoding: {marked}"
                )
            return "utf-8" if marked == "utf-8" else encoding
    if b"\0" in begin and not encoding.startswith(("utf-16", "utf-32")):
        raise FileUnusableError(f"line 1 of {path} has zero bytes, as utf-16 has: {_ENCODING_REMEDY}")
    return "utf-8" if encoding == "utf-8-sig" else encoding


def _wide_lines(path: Path, encoding: str, observe_bytes: ObserveBytes) -> Iterator[str]:
    """Lines of an encoding whose line ends are not one byte."""
    number = 0
    try:
        with opened(path) as (stored, file), io.TextIOWrapper(file, encoding=encoding, newline=None) as text:
            for line in text:
                number += 1
                if number % 1_000 == 0:
                    observe_bytes(stored.tell())
                yield line if line.endswith("\n") else line + "\n"
            observe_bytes(path.stat().st_size)
    except UnicodeError as error:
        where = f"line {number + 1} of {path}, or one soon after,"
        raise FileUnusableError(f"{where} is not {encoding}: {_ENCODING_REMEDY}") from error
    except OSError as error:
        raise FileUnusableError(f"{path} cannot be read: {error.strerror or error}") from error
