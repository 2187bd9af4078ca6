"""The lines of a text file in a declared encoding."""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import IO

from services.common.tables.lines import LINE_BYTES_MAX, FileUnusableError, ObserveBytes
from services.common.tables.sources import Source

# That of utf-32 begins like that of utf-16.
_BYTE_ORDER_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
    codecs.BOM_UTF8: "utf-8",
}
_ENCODING_REMEDY = (
    "save it as utf-8, or set encoding in the mapping to that of the file (latin-1, cp1252, utf-16 or utf-8)"
)
_PIECE_BYTES = 1 << 16
_OBSERVED_LINES = 1_000


def text_lines(path: Path, encoding: str, observe_bytes: ObserveBytes) -> Iterator[str]:
    """The lines of a text file, each with its line end.

    Raises:
        FileUnusableError: when it cannot be read, or is in another encoding; the message names the line.
    """
    for number, line in enumerate(lines_of_text(Source(path), encoding, observe_bytes), 1):
        if len(line) > LINE_BYTES_MAX:
            raise FileUnusableError(
                f"line {number} of {path} has more than {LINE_BYTES_MAX} characters: check for an unclosed quote"
            )
        yield line


def lines_of_text(source: Source, encoding: str, observe_bytes: ObserveBytes) -> Iterator[str]:
    """The lines of a text, each with its line end, which is a carriage return, a line feed or both.

    A line of more than LINE_BYTES_MAX characters is cut after one more than these.

    Raises:
        FileUnusableError: when it cannot be read, or is in another encoding; the message names the line.
    """
    codec, mark_bytes = _confirmed_encoding(source, encoding)
    number = 0
    with source.opened() as (stored, content):
        text = io.TextIOWrapper(_without_mark(content, mark_bytes), encoding=codec, newline="")
        read = partial(text.readline, LINE_BYTES_MAX + 1)
        try:
            with source.reading():
                while line := read():
                    number += 1
                    if number % _OBSERVED_LINES == 0:
                        observe_bytes(stored.tell())
                    if "\0" in line:
                        raise _zero_byte(source, number, line)
                    yield line
                    if len(line) > LINE_BYTES_MAX:
                        _skip_line(line, text)
                observe_bytes(source.path.stat().st_size)
        except UnicodeError as error:
            raise _undecodable(source, encoding, codec, mark_bytes) from error
        finally:
            # Otherwise it closes a file that is not its own when it is collected.
            text.detach()


def _without_mark(content: IO[bytes], mark_bytes: int) -> IO[bytes]:
    content.read(mark_bytes)
    return content


def _skip_line(line: str, text: io.TextIOWrapper) -> None:
    while not line.endswith(("\n", "\r")) and (line := text.readline(LINE_BYTES_MAX)):
        pass


def _confirmed_encoding(source: Source, encoding: str) -> tuple[str, int]:
    """The encoding once the file's first bytes do not contradict it, and how many of them are a byte order mark."""
    begin = source.begin(4)
    for mark, marked in _BYTE_ORDER_MARKS.items():
        if begin.startswith(mark):
            if not encoding.startswith(marked) or (
                encoding.endswith(("-le", "-be")) and not _is_mark_of(encoding, mark)
            ):
                raise FileUnusableError(
                    f"line 1 of {source} starts as {marked}, but the mapping has {encoding}: set encoding: {marked}"
                )
            # A plain utf-16 or utf-32 needs its mark; every other codec takes it for a character.
            return ("utf-8", 3) if marked == "utf-8" else (encoding, len(mark) if encoding != marked else 0)
    if encoding in {"utf-16", "utf-32"} and begin:
        ordered = f"{encoding}-{'be' if begin.startswith(bytes(1)) else 'le'}"
        raise FileUnusableError(
            f"{source} does not start with the byte order mark of {encoding}: if it has none, set encoding: {ordered}"
        )
    if encoding.startswith("utf-16"):
        zeros = [byte == 0 for byte in begin[:2]]
        if zeros == [encoding == "utf-16-le", encoding == "utf-16-be"]:
            other = "utf-16-le" if encoding == "utf-16-be" else "utf-16-be"
            raise FileUnusableError(f"{source} has its zero bytes where {other} has them: set encoding: {other}")
    elif b"\0" in begin and not encoding.startswith("utf-32"):
        raise FileUnusableError(f"line 1 of {source} has zero bytes, as utf-16 has: {_ENCODING_REMEDY}")
    return ("utf-8" if encoding == "utf-8-sig" else encoding), 0


def _is_mark_of(encoding: str, mark: bytes) -> bool:
    return "\ufeff".encode(encoding) == mark


def _zero_byte(source: Source, number: int, line: str) -> FileUnusableError:
    return FileUnusableError(
        f"line {number} of {source} has a zero byte at position {line.index(chr(0)) + 1}, which no text has: "
        f"the file is damaged, or {_ENCODING_REMEDY}"
    )


def _undecodable(source: Source, encoding: str, codec: str, mark_bytes: int) -> FileUnusableError:
    """The error that names the first byte which is not of the encoding; reads the file again up to it."""
    decoder = codecs.getincrementaldecoder(codec)()
    number, position, after_return = 1, 0, False
    with source.opened() as (_, content), source.reading():
        content.read(mark_bytes)
        while True:
            piece = content.read(_PIECE_BYTES)
            try:
                text, wrong = decoder.decode(piece, final=not piece), None
            except UnicodeDecodeError as error:
                text, wrong = error.object[: error.start].decode(error.encoding, "replace"), error
            if text:
                ends = [*re.finditer("\r\n|\r|\n", text)]
                number += len(ends) - (after_return and text[0] == "\n")
                position = len(text) - ends[-1].end() if ends else position + len(text)
                after_return = text[-1] == "\r"
            if wrong is not None:
                where = f"the byte 0x{wrong.object[wrong.start]:02X} at position {position + 1}"
                return FileUnusableError(
                    f"line {number} of {source} is not {encoding}: {where} cannot be read; {_ENCODING_REMEDY}"
                )
            if not piece:
                return FileUnusableError(f"{source} is not {encoding}: {_ENCODING_REMEDY}")
