"""Files of JSON documents, as learning platforms write events: read as a stream, whatever their size.

A file holds one object, an array of them, one on each line, several one after the other, or lines of a log with words
before each object, as tracking logs have; gzip-compressed or not. Every element of an array at the top is a document.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import orjson

from services.common.tables.lines import UNREADABLE, ObserveBytes, opened, unusable
from services.ingest.application.ports import FieldReason

DOCUMENT_BYTES_MAX = 16_000_000

_READ_BYTES = 1 << 16
# Within which an array shows its first element.
_BRACKET_AHEAD_BYTES = 4_096
_SHOWN_CHARACTERS = 80
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# Between documents. RFC 7464 puts a record separator before each; a bracket is left of an array that was broken.
_BETWEEN = re.compile(rb"[\s,\]\x1e]*")
_SPACE = re.compile(rb"\s*")
# An array of documents, but not words in brackets, with which a line of a log may begin.
_ARRAY = re.compile(rb'\[\s*[\[{\]"]')
# What decides where a document ends: strings, with which no line ends; brackets; lines.
_TOKENS = re.compile(rb'"(?:[^"\\\n]|\\.)*+("?)|[{}\[\]\n]')
_SCALAR = re.compile(rb'"(?:[^"\\\n]|\\.)*+"?|[^\s,\[\]{}"]+')
# A line that may begin a document; lines within one are indented, or begin with a key or a bracket that closes.
_NEXT_LINE = re.compile(rb'\n(?=[^\s}\]",:])')


def documents_of(
    path: Path, observe_bytes: ObserveBytes = lambda _: None
) -> Iterator[tuple[int, object | FieldReason]]:
    """The documents of a file with their places, from 1; what is wrong, for a document that cannot be read.

    After a document that cannot be read, the next line that may begin one is read.

    Args:
        path: the file.
        observe_bytes: see ObserveBytes.

    Raises:
        FileUnusableError: when it cannot be opened, or its compressed content is damaged.
    """
    number = 0
    try:
        with opened(path) as (stored, content):
            for document in _Documents(stored, content, observe_bytes).read():
                number += 1
                yield number, document
    except UNREADABLE as error:
        raise unusable(path, error, f"document {number}") from error


class _Documents:
    """The part of a file that is being read, `_data`, and the place in it, `_at`."""

    def __init__(self, stored: IO[bytes], content: IO[bytes], observe_bytes: ObserveBytes) -> None:
        self._stored = stored
        self._content = content
        self._observe_bytes = observe_bytes
        self._data = b""
        self._at = 0
        self._ended = False

    def read(self) -> Iterator[object | FieldReason]:
        """Every document, or what is wrong with it."""
        self._more()
        self._data = self._data.removeprefix(_BYTE_ORDER_MARK)
        while self._skip(_BETWEEN):
            if self._data[self._at] == ord("["):
                self._have(_BRACKET_AHEAD_BYTES)
            if _ARRAY.match(self._data, self._at):
                yield from self._array()
            else:
                yield self._line()

    def _line(self) -> object | FieldReason:
        """The document that begins in this line, perhaps after words."""
        if self._data[self._at] != ord("{"):
            end = self._end_of_line()
            brace = self._data.find(b"{", self._at, end)
            if brace < 0:
                line = self._data[self._at : end].rstrip()
                self._at = end
                return _decoded(line)
            self._at = brace
        return self._element()

    def _array(self) -> Iterator[object | FieldReason]:
        self._at += 1
        while self._skip(_SPACE):
            first = self._data[self._at : self._at + 1]
            if first == b"]":
                self._at += 1
                return
            if first == b",":
                self._at += 1
            else:
                yield self._element()
        yield FieldReason("", "the file ends within an array: fetch it again, or add the bracket that closes it")

    def _element(self) -> object | FieldReason:
        """The document that begins here, which is passed even if it is wrong; else the rest of its line is."""
        end = self._end_of_element()
        if end is not None:
            document = _decoded(self._data[self._at : end])
            self._at = end
            return document
        start = self._data[self._at : self._at + 4 * _SHOWN_CHARACTERS]
        if len(self._data) - self._at > DOCUMENT_BYTES_MAX:
            reason = f"the document has more than {DOCUMENT_BYTES_MAX:,} bytes: write each event as a document"
        else:
            reason = "the document does not end: add what is missing, or remove it"
        self._at += 1
        self._to_next_line()
        return FieldReason("", f"{reason} ({_shown(start)})")

    def _end_of_element(self) -> int | None:
        """Where the value that begins here ends; None when it does not."""
        if self._data[self._at] not in b"{[":
            while (match := _SCALAR.match(self._data, self._at)) and match.end() == len(self._data) and self._more():
                pass
            return max(match.end(), self._at + 1) if match else self._at + 1
        while True:
            end = _closing(self._data, self._at)
            if end is None and len(self._data) - self._at <= DOCUMENT_BYTES_MAX and self._more():
                continue
            return end or None

    def _end_of_line(self) -> int:
        """The end of this line; of what has been read, where the line is longer than a document may be."""
        searched = self._at
        while (end := self._data.find(b"\n", searched)) < 0:
            searched = len(self._data) - self._at
            if searched > DOCUMENT_BYTES_MAX or not self._more():
                return len(self._data)
        return end

    def _to_next_line(self) -> None:
        while (match := _NEXT_LINE.search(self._data, self._at)) is None:
            # A line break may be the last byte of what has been read.
            self._at = max(self._at, len(self._data) - 1)
            if not self._more():
                self._at = len(self._data)
                return
        self._at = match.end()

    def _skip(self, what: re.Pattern[bytes]) -> bool:
        """Pass what matches; False when the file ends with it."""
        while True:
            match = what.match(self._data, self._at)
            self._at = match.end() if match else self._at
            if self._at < len(self._data):
                return True
            if not self._more():
                return False

    def _have(self, count: int) -> None:
        while len(self._data) - self._at < count and self._more():
            pass

    def _more(self) -> bool:
        """Read on, as much again as is held, so that a long document is looked through a few times only."""
        held = self._data[self._at :]
        read = b"" if self._ended else self._content.read(max(_READ_BYTES, len(held)))
        self._ended = not read
        self._observe_bytes(self._stored.tell())
        if read:
            self._data, self._at = held + read, 0
        return bool(read)


def _closing(data: bytes, start: int) -> int | None:
    """Where the object or array that begins at `start` ends; None when not in `data`; 0 when it was cut off."""
    open_brackets = bytearray()
    for token in _TOKENS.finditer(data, start):
        first = data[token.start()]
        if first == ord('"'):
            if not token[1]:
                return None if len(data) - token.end() < len(rb"\n") else 0
        elif first == ord("\n"):
            if _NEXT_LINE.match(data, token.start()) and _is_cut_off(data, token.start(), open_brackets):
                return 0
        elif first in b"{[":
            open_brackets.append(first)
        else:
            open_brackets.pop()
            if not open_brackets:
                return token.end()
    return None


def _is_cut_off(data: bytes, end: int, open_brackets: bytearray) -> bool:
    """Whether no value can follow what is before."""
    last = data[max(0, end - _SHOWN_CHARACTERS) : end].rstrip()[-1:]
    return last not in (b"[", b",", b":") or (last == b"," and open_brackets[-1:] == b"{")


def _decoded(text: bytes) -> object | FieldReason:
    try:
        decoded: object = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        return FieldReason("", f"the document is not JSON ({error}): correct it ({_shown(text)})")
    return decoded


def _shown(text: bytes) -> str:
    shown = text[: 4 * _SHOWN_CHARACTERS].decode(errors="replace")
    return repr(shown if len(shown) <= _SHOWN_CHARACTERS else f"{shown[:_SHOWN_CHARACTERS]}...")
