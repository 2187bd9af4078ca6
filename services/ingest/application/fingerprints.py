"""A set of fingerprints in little memory."""

from __future__ import annotations

from array import array

_SHARDS = 256
_SLOTS_MIN = 16


class Fingerprints:
    """A set of 64-bit numbers in 11 to 22 bytes each; a set of Python's would take about 100.

    Each of many small tables of open addressing grows on its own, so that no single addition takes long.
    """

    def __init__(self) -> None:
        self._tables = [array("Q", bytes(8 * _SLOTS_MIN)) for _ in range(_SHARDS)]
        self._sizes = [0] * _SHARDS

    def __contains__(self, number: int) -> bool:
        table = self._tables[number % _SHARDS]
        return table[_slot_of(number, table)] != 0

    def add(self, number: int) -> bool:
        """Add a number. Returns whether it was new."""
        shard = number % _SHARDS
        table = self._tables[shard]
        slot = _slot_of(number, table)
        if table[slot]:
            return False
        # An empty slot is 0, so 0 itself is kept as another number.
        table[slot] = number or _SHARDS
        self._sizes[shard] += 1
        if 4 * self._sizes[shard] > 3 * len(table):
            self._tables[shard] = _grown(table)
        return True


def _slot_of(number: int, table: array[int]) -> int:
    """Where a number is, or the empty slot where it belongs."""
    number, mask = number or _SHARDS, len(table) - 1
    slot = number // _SHARDS & mask
    while table[slot] and table[slot] != number:
        slot = slot + 1 & mask
    return slot


def _grown(table: array[int]) -> array[int]:
    larger = array("Q", bytes(16 * len(table)))
    for number in table:
        if number:
            larger[_slot_of(number, larger)] = number
    return larger
