"""Telling apart the rows of a file that have no ids: which of several equal rows each one is."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from dataclasses import replace

from services.common.auth.identity import natural_fingerprint
from services.ingest.application.ports import FileRow, Row
from services.ingest.domain.submission import Submission, former_key, natural_details

_SHARDS = 256
_SLOTS_MIN = 16
# Turns the fingerprint of a former key into that of "a row with details has this former key".
_WITH_DETAILS = 0x9E37_79B9_7F4A_7C15
_ORDINAL_MAX = 2**32 - 1


def with_ordinals(rows: Iterable[FileRow]) -> Iterator[FileRow]:
    """The rows of a file, each with its ordinal among those that are otherwise equal.

    Args:
        rows: from the first row of the file on: a resumed load counts the rows that it passes over, too.
    """
    ordinals = _FileOrdinals()
    for row in rows:
        if not isinstance(row, Row):
            yield row
            continue
        submission = ordinals.place(row.submission)
        yield row if submission is row.submission else replace(row, submission=submission)


class _FileOrdinals:
    """Counts the rows of one file by what their ids are derived from."""

    def __init__(self) -> None:
        self._seen = _Fingerprints()
        # How many rows came before the last one, for keys that came more than once.
        self._repeats: dict[int, int] = {}

    def place(self, submission: Submission) -> Submission:
        """The next row with its ordinal: the same object when it is the first of its kind, as most rows are."""
        if submission.event_id or submission.body is None:
            return submission
        normal = submission.normalised()
        plain = own = natural_fingerprint((normal.learner_id, *former_key(submission)))
        with_details = plain ^ _WITH_DETAILS
        details = natural_details(normal)
        if details or normal is not submission:
            own = natural_fingerprint((normal.learner_id, *former_key(normal), *details))
            taken = not self._seen.add(with_details) or plain in self._seen
        else:
            taken = with_details in self._seen
        ordinal = 0
        if not self._seen.add(own):
            ordinal = self._repeats[own] = min(self._repeats.get(own, 0) + 1, _ORDINAL_MAX)
        return replace(submission, ordinal=ordinal, former_id_taken=True) if taken or ordinal else submission


class _Fingerprints:
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
