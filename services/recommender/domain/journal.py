"""A learner's journal: the recent events, each with all it takes to fold it again, and the state before them.

The journal holds at most 64 events. When one more arrives, the oldest 33 are folded into the checkpoint, the state that
the journal starts from. That happens at the same event however the log is batched, so the bytes are a function of the
learner's events alone, and folding the journal from its checkpoint gives the learner's state.

    header     version, number of events, number of slots
    events     fingerprint, response (float32), time (Unix seconds), hash of the activity, flags
    slots      u2 each: the events' skills, as slots of the learner's state. A state meets skills in the order of the
               events, so the checkpoint's slots are the first of the state's
    names      each event's item, then its resource where that is not its item; as `names` keeps them
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from typing import NamedTuple

from services.recommender.domain import names
from services.recommender.domain.events import AssessmentEvent, Grain
from services.recommender.domain.learner import StateCorruptError

JOURNAL_EVENTS = 64
FOLDED_AT_ONCE = 33

_VERSION = 1
_HEADER = struct.Struct("<BBH")
_EVENT = struct.Struct("<8sfIIH")
_EVIDENCE = 0b0001
_GRAIN_SHIFT = 1
_ACTIVITY_GRAIN = Grain.ACTIVITY << _GRAIN_SHIFT
_RESOURCE_IS_ITEM = 0b0100
_RESOURCE_IS_NAMED = 0b1000
_SKILL_COUNT_SHIFT = 4


class JournalEntry(NamedTuple):
    """An event as the journal keeps it.

    Attributes:
        fingerprint: eight bytes that stand for the event's source and id.
        response: the outcome on [0, 1].
        at_s: when the learner acted, Unix seconds; 0: not known.
        item: the question; empty for an activity.
        activity_hash: CRC-32 of the activity; 0: not known.
        slots: its skills, as slots of the learner's state.
        grain: what was scored.
        evidence: whether it moved the posterior.
        resource: the catalog resource it was given in; empty when there is none.
    """

    fingerprint: bytes
    response: float
    at_s: int
    item: str
    activity_hash: int
    slots: tuple[int, ...]
    grain: Grain
    evidence: bool
    resource: str


class Journal(NamedTuple):
    """A journal in the pieces that a fold works on; never changed in place.

    Attributes:
        events: packed events.
        slots: packed slots of their skills.
        names: items and resources.
    """

    events: bytes
    slots: bytes
    names: bytes

    @property
    def count(self) -> int:  # type: ignore[override]  # a journal is no tuple to its users, so nobody counts values in it.
        """How many events it holds."""
        return len(self.events) // _EVENT.size


EMPTY_JOURNAL = Journal(b"", b"", b"")


def activity_hash(activity: str) -> int:
    """What the journal keeps of an activity: enough to tell the activities of 64 events apart; 0: not known."""
    return zlib.crc32(activity.encode()) or 1 if activity else 0


class JournalDraft:
    """Appends to a journal without changing it."""

    __slots__ = ("_events", "_names", "_slots")

    def __init__(self, journal: Journal) -> None:
        self._events = bytearray(journal.events)
        self._slots = bytearray(journal.slots)
        self._names = names.begin(journal.names)

    @property
    def full(self) -> bool:
        """Whether the oldest events must be taken before another is appended."""
        return len(self._events) >= JOURNAL_EVENTS * _EVENT.size

    def holds_item_of(self, activity: str) -> bool:
        """Whether an item-grain event of the activity is in the journal."""
        wanted = activity_hash(activity)
        return any(
            hashed == wanted and not flags & _ACTIVITY_GRAIN
            for _, _, _, hashed, flags in _EVENT.iter_unpack(self._events)
        )

    def append(self, event: AssessmentEvent, slots: Sequence[tuple[int, int]], *, evidence: bool) -> None:
        """Add the newest event.

        Args:
            event: what happened.
            slots: its skills, each as its slot in the state and something that the journal does not need.
            evidence: whether it moves the posterior.
        """
        fingerprint, response, at_s, item, activity, _, grain, resource = event
        flags = len(slots) << _SKILL_COUNT_SHIFT | evidence | grain << _GRAIN_SHIFT
        self._names += item.encode() + names.SEPARATOR
        if resource:
            if resource == item:
                flags |= _RESOURCE_IS_ITEM
            else:
                flags |= _RESOURCE_IS_NAMED
                self._names += resource.encode() + names.SEPARATOR
        self._events += _EVENT.pack(fingerprint, response, at_s, activity_hash(activity), flags)
        for slot, _ in slots:
            self._slots += slot.to_bytes(2, "little")

    def take_oldest(self) -> list[JournalEntry]:
        """Remove the oldest FOLDED_AT_ONCE events."""
        taken = _EVENT.size * FOLDED_AT_ONCE
        item_names = names.split(self._names)
        entries, slots_end, names_end = _entries(self._events[:taken], self._slots, item_names)
        del self._events[:taken]
        del self._slots[: 2 * slots_end]
        # Each name ends with a separator; the first of those that stay needs one before it.
        del self._names[: sum(map(len, item_names[:names_end])) + names_end]
        return entries

    def finish(self) -> Journal:
        """The journal with what was appended."""
        return Journal(bytes(self._events), bytes(self._slots), names.end(self._names))


def entries_of(journal: Journal) -> list[JournalEntry]:
    """The events, oldest first."""
    return _entries(journal.events, journal.slots, names.split(journal.names))[0]


def encode_journal(journal: Journal) -> bytes:
    """The canonical bytes of a journal."""
    return b"".join((_HEADER.pack(_VERSION, journal.count, len(journal.slots) // 2), *journal))


def decode_journal(blob: bytes) -> Journal:
    """The inverse of `encode_journal`.

    Raises:
        StateCorruptError: when the bytes are not a journal of a version this program knows.
    """
    if len(blob) < _HEADER.size:
        raise StateCorruptError(f"a journal has {len(blob)} bytes, fewer than its header")
    version, count, slot_count = _HEADER.unpack_from(blob)
    if version != _VERSION:
        raise StateCorruptError(
            f"a journal has version {version}, this program knows {_VERSION}: run the release that wrote it, "
            "or replay into a new epoch"
        )
    slots_at = _HEADER.size + count * _EVENT.size
    names_at = slots_at + 2 * slot_count
    journal = Journal(blob[_HEADER.size : slots_at], blob[slots_at:names_at], blob[names_at:])
    if journal.count != count or len(journal.slots) != 2 * slot_count or journal.names[-1:] not in {b"", b"\0"}:
        raise StateCorruptError(f"a journal of {len(blob)} bytes does not hold what its header says")
    return journal


def _entries(
    events: bytes | bytearray, slots: bytes | bytearray, item_names: Sequence[bytes]
) -> tuple[list[JournalEntry], int, int]:
    """The entries, and how many slots and how many names they use."""
    slot = struct.unpack(f"<{len(slots) // 2}H", slots)
    entries = []
    slot_at = name_at = 0
    for fingerprint, response, at_s, hashed, flags in _EVENT.iter_unpack(events):
        slots_end = slot_at + (flags >> _SKILL_COUNT_SHIFT)
        item = item_names[name_at].decode()
        name_at += 1
        resource = item if flags & _RESOURCE_IS_ITEM else ""
        if flags & _RESOURCE_IS_NAMED:
            resource = item_names[name_at].decode()
            name_at += 1
        grain = Grain.ACTIVITY if flags & _ACTIVITY_GRAIN else Grain.ITEM
        evidence = flags & _EVIDENCE == _EVIDENCE
        entries.append(
            JournalEntry(fingerprint, response, at_s, item, hashed, slot[slot_at:slots_end], grain, evidence, resource)
        )
        slot_at = slots_end
    return entries, slot_at, name_at
