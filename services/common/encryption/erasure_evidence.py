"""What the log says about keys that are not on their topic: whether their learners were erased.

Compaction removes a destroyed key and, later, the null record that destroyed it. The ErasureEvent stays in the log. It
is written after the key was destroyed, so every key that a learner's records used before an ErasureEvent is destroyed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from services.common.encryption.values import MissingKeys
from services.common.kafka.envelope import split_key

# A record on a wrong partition cannot be compared with the offset of an erasure.
_BEFORE_EVERYTHING = -1

KeyUse = tuple[bytes, str]
"""A learner's record key, and the id of a key that a value of theirs was encrypted with."""


@dataclass(slots=True)
class _Use:
    first: int
    records: int
    partition: int
    offset: int


class ErasureEvidence:
    """Uses of unknown keys and erasures, as far as the log was read."""

    def __init__(self) -> None:
        self._uses: dict[KeyUse, _Use] = {}
        self._last_erasures: dict[bytes, int] = {}

    def note_erasure(self, record_key: bytes, offset: int) -> None:
        """An ErasureEvent of a learner is at an offset of their partition."""
        self._last_erasures[record_key] = max(offset, self._last_erasures.get(record_key, offset))

    def note_use(
        self, use: KeyUse, partition: int, offset: int, *, right_partition: bool, counted: bool = True
    ) -> None:
        """A record is encrypted with an unknown key; `counted` once for each record."""
        first = offset if right_partition else _BEFORE_EVERYTHING
        found = self._uses.get(use)
        if found is None:
            self._uses[use] = _Use(first, int(counted), partition, offset)
            return
        found.first = min(found.first, first)
        found.records += counted

    def destroyed_before_an_erasure(self, use: KeyUse) -> bool:
        """Whether an ErasureEvent of the learner follows a record that used the key."""
        last = self._last_erasures.get(use[0])
        return last is not None and use in self._uses and self._uses[use].first < last

    def never_erased(self, record_key: bytes) -> bool:
        """Whether the learner has no ErasureEvent."""
        return record_key not in self._last_erasures

    def missing(self, known: Callable[[bytes, str], bool]) -> MissingKeys | None:
        """The records whose key is unknown and was not destroyed; None: there are none.

        Args:
            known: whether the state of a learner's key is known by now.
        """
        unproven = [
            (use, found)
            for use, found in self._uses.items()
            if not known(*use) and not self.destroyed_before_an_erasure(use)
        ]
        if not unproven:
            return None
        (record_key, key_id), example = min(unproven, key=lambda each: (each[1].partition, each[1].offset))
        records = sum(max(found.records, 1) for _, found in unproven)
        return MissingKeys(records, split_key(record_key)[0], example.partition, example.offset, key_id)
