"""Packed strings: a sequence of strings as contiguous bytes. Each is UTF-8 between NUL bytes; no strings are no bytes.

Searching a few contiguous kilobytes is faster than keeping, copying and encoding many string objects, and the form in
memory is the form in storage. No string contains NUL: the code that reads events rejects it.
"""

from __future__ import annotations

SEPARATOR = b"\0"


def find(packed: bytes | bytearray, string: bytes) -> int:
    """Where `string` begins, counting from its leading separator; -1 when it is not there."""
    return packed.find(b"\0%b\0" % string)


def number_at(packed: bytes | bytearray, place: int) -> int:
    """The number of strings before the one at `place`."""
    return packed.count(SEPARATOR, 0, place)


def begin(packed: bytes) -> bytearray:
    """Packed strings to append to: each string is followed by a separator."""
    return bytearray(packed or SEPARATOR)


def end(packed: bytearray) -> bytes:
    """The inverse of `begin`: the stored form."""
    return bytes(packed) if len(packed) > 1 else b""


def remove_at(packed: bytearray, place: int) -> None:
    """Remove the string at `place`."""
    del packed[place : packed.index(SEPARATOR, place + 1)]


def split(packed: bytes | bytearray) -> list[bytes]:
    """The strings, in order."""
    return bytes(packed[1:-1]).split(SEPARATOR) if len(packed) > 1 else []


def count(packed: bytes | bytearray) -> int:
    """The number of strings; -1 when the bytes are not packed strings."""
    if not packed:
        return 0
    return packed.count(SEPARATOR) - 1 if packed[:1] == packed[-1:] == SEPARATOR else -1


def without(packed: bytes, string: bytes) -> bytes:
    """The strings without the given one; the same bytes object when it is absent."""
    place = find(packed, string)
    if place < 0:
        return packed
    remaining = bytearray(packed)
    remove_at(remaining, place)
    return end(remaining)
