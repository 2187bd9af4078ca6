"""Dead letters counted by reason, tenant and age."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from services.common.auth.identity import TENANT_PATTERN
from services.common.kafka.envelope import KeyInvalidError, Position, split_key
from services.recommender.application.operations.dead_letters import FiledLetter
from services.recommender.application.ports.log import DeadLetter

_HOUR_S = 3_600.0
# The names of the age bands, and the age at which a letter leaves each.
_AGE_BANDS = (("hour", _HOUR_S), ("day", 24 * _HOUR_S), ("week", 7 * 24 * _HOUR_S), ("older", float("inf")))
# An origin is kept as one number: a third of the memory of a pair.
_OFFSET_BITS = 48


@dataclass(frozen=True, slots=True)
class LetterGroup:
    """The letters of one reason and one tenant.

    Attributes:
        reason: the code of the reason, one word; empty: the record names none.
        tenant: the tenant of the record's key; empty: the key names none.
        by_age: letters by age band: at most an hour old, a day, a week, or older. A letter is in one band only.
        oldest_at_s: when the oldest one was written, in seconds since 1970.
        newest_at_s: when the newest one was written.
    """

    reason: str
    tenant: str
    by_age: Mapping[str, int]
    oldest_at_s: float
    newest_at_s: float

    @property
    def letters(self) -> int:
        """How many letters there are."""
        return sum(self.by_age.values())


class DeadLetterCounter(Protocol):
    """Counts the letters of the dead-letter topic."""

    async def count(self) -> DeadLetterCounts:
        """Every letter on the topic. Raises ConnectionError or LookupError (no such topic)."""
        ...


@dataclass(slots=True)
class _Partition:
    """What one partition of the dead-letter topic holds.

    Attributes:
        next_offset: records before it were counted.
        groups: when each letter was written, by its origin, by reason and tenant.
        replayed: the origins of letters that were replayed.
    """

    next_offset: int = 0
    groups: defaultdict[tuple[str, str], dict[int, float]] = field(default_factory=lambda: defaultdict(dict))
    replayed: set[int] = field(default_factory=set)


class DeadLetterCounts:
    """Counts letters that are on the dead-letter topic and were not replayed.

    The topic may hold a letter twice, even after it was replayed: a log that is folded again finds it again. It counts
    once. Reading a record again changes nothing. Copies of a letter and the note that it was replayed share its key, so
    they are on one partition, unless the record had no key: such a letter cannot be replayed, and each copy may count.
    """

    def __init__(self) -> None:
        self._partitions: dict[int, _Partition] = {}
        self._letters = 0

    @property
    def letters(self) -> int:
        """How many letters there are."""
        return self._letters

    def add(self, place: Position, filed: FiledLetter, written_at_s: float) -> None:
        """Count one record of the dead-letter topic.

        Args:
            place: where the record is on the dead-letter topic.
            filed: the letter, or the note that it was replayed.
            written_at_s: when the record was written, in seconds since 1970.
        """
        partition = self._partitions.setdefault(place.partition, _Partition())
        if place.offset < partition.next_offset:
            return
        partition.next_offset = place.offset + 1
        letter = filed.letter
        # A record that does not say where it came from is known by its own place.
        origin = -1 - place.offset if letter.offset < 0 else letter.partition << _OFFSET_BITS | letter.offset
        if filed.replayed_to is not None:
            partition.replayed.add(origin)
            for times in partition.groups.values():
                self._letters -= times.pop(origin, None) is not None
        elif origin not in partition.replayed:
            times = partition.groups[letter.code, _tenant_of(letter)]
            self._letters += origin not in times
            times.setdefault(origin, written_at_s)

    def keep_only(self, partitions: Collection[int]) -> None:
        """Forget the other partitions of the dead-letter topic: other processes count them."""
        for partition in self._partitions.keys() - set(partitions):
            forgotten = self._partitions.pop(partition)
            self._letters -= sum(len(times) for times in forgotten.groups.values())

    def groups(self, now_s: float) -> list[LetterGroup]:
        """The letters by reason and tenant, in that order; ages are as of `now_s`."""
        times: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
        for partition in self._partitions.values():
            for group, by_origin in partition.groups.items():
                times[group] += by_origin.values()
        return [
            LetterGroup(reason, tenant, _by_age(written, now_s), min(written), max(written))
            for (reason, tenant), written in sorted(times.items())
            if written
        ]


def _tenant_of(letter: DeadLetter) -> str:
    try:
        tenant, _ = split_key(letter.key)
    except KeyInvalidError:
        return ""
    return tenant if TENANT_PATTERN.fullmatch(tenant) else ""


def _by_age(written: Collection[float], now_s: float) -> dict[str, int]:
    counts = dict.fromkeys((name for name, _ in _AGE_BANDS), 0)
    for at_s in written:
        counts[next(name for name, limit_s in _AGE_BANDS if now_s - at_s <= limit_s)] += 1
    return counts
