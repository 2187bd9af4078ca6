"""Ordered names as one run of bytes: each UTF-8 name stands between NUL bytes, no names are no bytes.

Searching a few kilobytes that lie together is faster than keeping, copying and encoding as many strings, and the form
in memory is the form in storage. No name holds NUL; what reads events sees to it.
"""

from __future__ import annotations

SEPARATOR = b"\0"


def find(names: bytes | bytearray, name: bytes) -> int:
    """Where `name` begins, counting from its leading separator; -1 when it is not there."""
    return names.find(b"\0%b\0" % name)


def number_at(names: bytes | bytearray, place: int) -> int:
    """How many names stand before the one found at `place`."""
    return names.count(SEPARATOR, 0, place)


def begin(names: bytes) -> bytearray:
    """Names that can be added to: each addition is the name and a separator."""
    return bytearray(names or SEPARATOR)


def end(names: bytearray) -> bytes:
    """What was added to, as kept."""
    return bytes(names) if len(names) > 1 else b""


def remove_at(names: bytearray, place: int) -> None:
    """Remove the name found at `place`."""
    del names[place : names.index(SEPARATOR, place + 1)]


def split(names: bytes | bytearray) -> list[bytes]:
    """The names, in order."""
    return bytes(names[1:-1]).split(SEPARATOR) if len(names) > 1 else []


def count(names: bytes | bytearray) -> int:
    """How many names there are; -1 when the bytes are no names."""
    if not names:
        return 0
    return names.count(SEPARATOR) - 1 if names[:1] == names[-1:] == SEPARATOR else -1


def without(names: bytes, name: bytes) -> bytes:
    """The names but for one; the very same bytes when it is not there."""
    place = find(names, name)
    if place < 0:
        return names
    remaining = bytearray(names)
    remove_at(remaining, place)
    return end(remaining)
