"""A learner's journal: the recent events, with everything needed to fold them again, and the state before them.

The journal holds at most 64 responses and interactions. When one more arrives, the oldest 33 are folded into the
checkpoint, the state that the journal starts from. That happens at the same event however the log is batched, so the
bytes depend only on the learner's events. Folding the journal from its checkpoint gives the learner's state, except for
the number of events applied and the preferences, which corrections do not change.

The journal holds a corrected response as if it had been given that way: with another outcome, or voided. A voided
response keeps its place and its skills, because it may still be regraded, and stores the outcome 0; it changes no
estimate. So it does not matter whether a correction comes before or after its target.

    header       version, number of events, of slots and of corrections
    events       fingerprint, response (float32), time (Unix seconds), hash of the activity, flags
    slots        u2 each: the events' skills, as slots of the learner's state. A state meets skills in the order of the
                 events, so the checkpoint's slots are the first of the state's
    corrections  those whose target has not come yet: its fingerprint and the response (float32), oldest first
    names        each event's item, then its resource where that is not its item; an interaction's resource. As packed
                 strings
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from typing import NamedTuple

from services.recommender.domain.learner import packed_strings
from services.recommender.domain.learner.events import VOIDED, AssessmentEvent, Grain, InteractionEvent, InteractionKind
from services.recommender.domain.learner.state import StateCorruptError

JOURNAL_EVENTS = 64
FOLDED_AT_ONCE = 33
EARLY_CORRECTIONS = 64

_VERSION = 2
_HEADER = struct.Struct("<BBHB")
_EVENT = struct.Struct("<8sfIIH")
_CORRECTION = struct.Struct("<8sf")
_EVIDENCE = 0b0001
_GRAIN_SHIFT = 1
_ACTIVITY_GRAIN = Grain.ACTIVITY << _GRAIN_SHIFT
_RESOURCE_IS_ITEM = 0b0100
_RESOURCE_IS_NAMED = 0b1000
_SKILL_COUNT_SHIFT = 4
_SKILL_COUNT_MASK = 0x1F
_INTERACTION_SHIFT = 9
_INTERACTION = 0b111 << _INTERACTION_SHIFT
_VOIDED = 1 << 12
_HIDDEN = 1 << 13  # A score on an activity of which an item has moved from the journal to the checkpoint.
_NOT_AN_ITEM = _ACTIVITY_GRAIN | _INTERACTION | _VOIDED
_INTERACTION_KINDS = (None, *InteractionKind)


class JournalEntry(NamedTuple):
    """An event in the journal.

    Attributes:
        fingerprint: eight bytes that identify the event's source and id.
        response: the outcome on [0, 1].
        at_s: when the learner acted, Unix seconds; 0: not known.
        item: the question; empty for an activity and an interaction.
        activity_hash: CRC-32 of the activity; 0: not known.
        slots: its skills, as slots of the learner's state.
        grain: what was scored.
        evidence: whether it moved the posterior.
        resource: the catalog resource it was given in; empty when there is none.
        interaction: what was done with the resource, if the event is not a response.
        voided: whether it was voided.
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
    interaction: InteractionKind | None
    voided: bool


class Journal(NamedTuple):
    """A journal in the parts that a fold works on; never changed in place.

    Attributes:
        events: packed events.
        slots: packed slots of their skills.
        corrections: packed corrections that wait for their target.
        names: items and resources, as packed strings.
    """

    events: bytes
    slots: bytes
    corrections: bytes
    names: bytes

    @property
    def count(self) -> int:  # type: ignore[override]  # nobody calls tuple.count on a journal.
        """The number of events."""
        return len(self.events) // _EVENT.size

    def first(self, count: int) -> Journal:
        """The journal after its first events, with all corrections."""
        return self._replace(events=self.events[: count * _EVENT.size])


EMPTY_JOURNAL = Journal(b"", b"", b"", b"")


def activity_hash(activity: str) -> int:
    """The journal's hash of an activity, enough to distinguish the activities of 64 events; 0: not known."""
    return zlib.crc32(activity.encode()) or 1 if activity else 0


def journal_length(events: int) -> int:
    """The number of events in the journal of a learner with this many responses and interactions."""
    if events <= JOURNAL_EVENTS:
        return events
    return JOURNAL_EVENTS + 1 - FOLDED_AT_ONCE + (events - JOURNAL_EVENTS - 1) % FOLDED_AT_ONCE


class JournalDraft:
    """Appends to a copy of a journal, and applies corrections to it.

    Attributes:
        corrections: the packed corrections that wait for their target.
    """

    __slots__ = ("_events", "_names", "_slots", "corrections")

    def __init__(self, journal: Journal) -> None:
        self._events = bytearray(journal.events)
        self._slots = bytearray(journal.slots)
        self._names = packed_strings.begin(journal.names)
        self.corrections = journal.corrections

    @property
    def full(self) -> bool:
        """Whether the oldest events must be removed before another is appended."""
        return len(self._events) >= JOURNAL_EVENTS * _EVENT.size

    def holds_item_of(self, activity: str) -> bool:
        """Whether a response to an item of the activity is in the journal."""
        wanted = activity_hash(activity)
        return any(
            hashed == wanted and not flags & _NOT_AN_ITEM for _, _, _, hashed, flags in _EVENT.iter_unpack(self._events)
        )

    def append(
        self,
        event: AssessmentEvent,
        slots: Sequence[tuple[int, int]],
        *,
        evidence: bool,
        voided: bool = False,
        hidden: bool = False,
    ) -> None:
        """Add the newest response.

        Args:
            event: what happened.
            slots: its skills, each as its slot in the state and a value that the journal ignores.
            evidence: whether it moves the posterior.
            voided: whether it was voided; then its response is 0.
            hidden: whether an event that was just removed makes it no evidence.
        """
        fingerprint, response, at_s, item, activity, _, grain, resource, _, _, _ = event
        flags = len(slots) << _SKILL_COUNT_SHIFT | evidence | grain << _GRAIN_SHIFT
        if voided or hidden:
            flags |= voided * _VOIDED | hidden * _HIDDEN
        self._names += item.encode() + packed_strings.SEPARATOR
        if resource:
            if resource == item:
                flags |= _RESOURCE_IS_ITEM
            else:
                flags |= _RESOURCE_IS_NAMED
                self._names += resource.encode() + packed_strings.SEPARATOR
        self._events += _EVENT.pack(fingerprint, response, at_s, activity_hash(activity), flags)
        for slot, _ in slots:
            self._slots += slot.to_bytes(2, "little")

    def append_interaction(self, event: InteractionEvent) -> None:
        """Add the newest interaction."""
        self._names += event.resource.encode() + packed_strings.SEPARATOR
        flags = event.kind << _INTERACTION_SHIFT
        self._events += _EVENT.pack(event.fingerprint, 0.0, event.at_s, 0, flags)

    def take_oldest(self) -> list[JournalEntry]:
        """Remove the oldest FOLDED_AT_ONCE events."""
        taken = _EVENT.size * FOLDED_AT_ONCE
        item_names = packed_strings.split(self._names)
        entries, slots_end, names_end = _entries(self._events[:taken], self._slots, item_names)
        del self._events[:taken]
        del self._slots[: 2 * slots_end]
        # Each name ends with a separator; the first remaining one needs one before it.
        del self._names[: sum(map(len, item_names[:names_end])) + names_end]
        self._hide_scores({entry.activity_hash for entry in entries if hides(entry)})
        return entries

    def find(self, fingerprint: bytes) -> int:
        """The index of the last event with the fingerprint, 0 for the oldest; -1 when there is none."""
        at = self._events.rfind(fingerprint)
        while at >= 0 and at % _EVENT.size:
            at = self._events.rfind(fingerprint, 0, at + len(fingerprint) - 1)
        return at // _EVENT.size if at >= 0 else -1

    def is_response(self, place: int) -> bool:
        """Whether the event at an index is a response."""
        return not self._unpack(place)[-1] & _INTERACTION

    def correct(self, place: int, response: float) -> bool:
        """Correct the outcome of the response at an index, or void it. Returns whether anything changed."""
        fingerprint, before, at_s, hashed, flags = self._unpack(place)
        corrected = flags | _VOIDED if response == VOIDED else flags & ~_VOIDED
        outcome = max(response, 0.0)
        if (outcome, corrected) == (before, flags):
            return False
        self._pack(place, (fingerprint, outcome, at_s, hashed, corrected))
        self._judge_evidence()
        return True

    def has_room_to_await(self, target: bytes) -> bool:
        """Whether a correction can wait for its target: fewer than 64 do, or one for the same target."""
        return len(self.corrections) < EARLY_CORRECTIONS * _CORRECTION.size or any(
            of == target for of, _ in _CORRECTION.iter_unpack(self.corrections)
        )

    def await_target(self, target: bytes, response: float) -> None:
        """Let a correction wait for its target; it replaces an earlier one of the same target."""
        self.take_correction(target)
        self.corrections += _CORRECTION.pack(target, response)

    def take_correction(self, target: bytes) -> float | None:
        """Remove and return the correction that waits for a target; None when there is none."""
        for number, (of, response) in enumerate(_CORRECTION.iter_unpack(self.corrections)):
            if of == target:
                at = number * _CORRECTION.size
                self.corrections = self.corrections[:at] + self.corrections[at + _CORRECTION.size :]
                return float(response)
        return None

    def entries(self) -> list[JournalEntry]:
        """The events, oldest first."""
        return _entries(self._events, self._slots, packed_strings.split(self._names))[0]

    def finish(self) -> Journal:
        """The journal with the changes."""
        return Journal(bytes(self._events), bytes(self._slots), self.corrections, packed_strings.end(self._names))

    def _hide_scores(self, activities: set[int]) -> None:
        if not activities:
            return
        for place, (*_, hashed, flags) in enumerate(list(_EVENT.iter_unpack(self._events))):
            if flags & _ACTIVITY_GRAIN and hashed in activities:
                *rest, _ = self._unpack(place)
                self._pack(place, (*rest, flags | _HIDDEN))

    def _judge_evidence(self) -> None:
        """Recompute for every response whether it is evidence."""
        items: set[int] = set()
        for place, (fingerprint, response, at_s, hashed, flags) in enumerate(list(_EVENT.iter_unpack(self._events))):
            if flags & _INTERACTION:
                continue
            evidence = not flags & _VOIDED
            if flags & _ACTIVITY_GRAIN:
                evidence &= not (flags & _HIDDEN or hashed in items)
            elif evidence and hashed:
                items.add(hashed)
            self._pack(place, (fingerprint, response, at_s, hashed, flags & ~_EVIDENCE | evidence))

    def _unpack(self, place: int) -> tuple[bytes, float, int, int, int]:
        fingerprint, response, at_s, hashed, flags = _EVENT.unpack_from(self._events, place * _EVENT.size)
        return fingerprint, response, at_s, hashed, flags

    def _pack(self, place: int, event: tuple[bytes, float, int, int, int]) -> None:
        _EVENT.pack_into(self._events, place * _EVENT.size, *event)


def hides(entry: JournalEntry) -> bool:
    """Whether the entry makes a later score on its activity no evidence."""
    response_to_item = entry.grain is Grain.ITEM and entry.interaction is None
    return response_to_item and not entry.voided and entry.activity_hash > 0


def entries_of(journal: Journal) -> list[JournalEntry]:
    """The events, oldest first."""
    return _entries(journal.events, journal.slots, packed_strings.split(journal.names))[0]


def corrections_of(journal: Journal) -> list[tuple[bytes, float]]:
    """The waiting corrections: the fingerprint of the target, and its new response."""
    return [(target, response) for target, response in _CORRECTION.iter_unpack(journal.corrections)]


def encode_journal(journal: Journal) -> bytes:
    """The canonical bytes of a journal."""
    header = _HEADER.pack(
        _VERSION, journal.count, len(journal.slots) // 2, len(journal.corrections) // _CORRECTION.size
    )
    return b"".join((header, *journal))


def decode_journal(blob: bytes) -> Journal:
    """The inverse of `encode_journal`.

    Raises:
        StateCorruptError: when the bytes are not a journal of a version this program knows.
    """
    if len(blob) < _HEADER.size:
        raise StateCorruptError(f"a journal has {len(blob)} bytes, fewer than its header")
    version, count, slot_count, correction_count = _HEADER.unpack_from(blob)
    if version != _VERSION:
        raise StateCorruptError(
            f"a journal has version {version}, this program knows {_VERSION}: run the release that wrote it, "
            "or replay into a new epoch"
        )
    slots_at = _HEADER.size + count * _EVENT.size
    corrections_at = slots_at + 2 * slot_count
    names_at = corrections_at + correction_count * _CORRECTION.size
    journal = Journal(
        blob[_HEADER.size : slots_at], blob[slots_at:corrections_at], blob[corrections_at:names_at], blob[names_at:]
    )
    whole = journal.count == count and len(blob) >= names_at
    if not whole or journal.names[-1:] not in {b"", b"\0"}:
        raise StateCorruptError(f"a journal of {len(blob)} bytes does not hold what its header says")
    return journal


def _entries(
    events: bytes | bytearray, slots: bytes | bytearray, item_names: Sequence[bytes]
) -> tuple[list[JournalEntry], int, int]:
    """The entries, and the numbers of slots and of names that they use."""
    slot = struct.unpack(f"<{len(slots) // 2}H", slots)
    entries = []
    slot_at = name_at = 0
    for fingerprint, response, at_s, hashed, flags in _EVENT.iter_unpack(events):
        slots_end = slot_at + (flags >> _SKILL_COUNT_SHIFT & _SKILL_COUNT_MASK)
        item = item_names[name_at].decode()
        name_at += 1
        resource = item if flags & _RESOURCE_IS_ITEM else ""
        interaction = None
        if flags & _RESOURCE_IS_NAMED:
            resource = item_names[name_at].decode()
            name_at += 1
        elif flags & _INTERACTION:
            interaction = _INTERACTION_KINDS[flags >> _INTERACTION_SHIFT & 0b111]
            item, resource = "", item
        entries.append(
            JournalEntry(
                fingerprint,
                response,
                at_s,
                item,
                hashed,
                slot[slot_at:slots_end],
                Grain.ACTIVITY if flags & _ACTIVITY_GRAIN else Grain.ITEM,
                flags & _EVIDENCE == _EVIDENCE,
                resource,
                interaction,
                flags & _VOIDED == _VOIDED,
            )
        )
        slot_at = slots_end
    return entries, slot_at, name_at
