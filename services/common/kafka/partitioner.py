"""Chooses the partition of a record, like every Java client.

Source: MurmurHash2 by Austin Appleby, in the variant of `org.apache.kafka.common.utils.Utils.murmur2`.
"""

from __future__ import annotations

import struct
from functools import cache, lru_cache

_SEED = 0x9747B28C
_MULTIPLIER = 0x5BD1E995
_SHIFT = 24
_MASK = 0xFFFFFFFF


def murmur2(data: bytes) -> int:
    """Kafka's 32-bit hash of `data`, unsigned; Java's is the same 32 bits, signed."""
    length = len(data)
    value = (_SEED ^ length) & _MASK
    for word in _words(length // 4).unpack_from(data):
        mixed = word * _MULTIPLIER & _MASK
        value = (value * _MULTIPLIER & _MASK) ^ ((mixed ^ mixed >> _SHIFT) * _MULTIPLIER & _MASK)
    rest = length % 4
    if rest:
        value = (value ^ int.from_bytes(data[-rest:], "little")) * _MULTIPLIER & _MASK
    value = (value ^ value >> 13) * _MULTIPLIER & _MASK
    return value ^ value >> 15


@lru_cache(maxsize=200_000)
def partition_of(key: bytes, partitions: int) -> int:
    """The partition that Java's default partitioner chooses for `key`: positive murmur2 modulo the count."""
    return (murmur2(key) & 0x7FFFFFFF) % partitions


@cache
def _words(count: int) -> struct.Struct:
    return struct.Struct(f"<{count}I")
