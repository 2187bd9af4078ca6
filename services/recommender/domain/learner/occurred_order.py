"""The records of a learner in the order in which they occurred, for a replay of a log that was loaded in another order.

An erasure is a barrier: records stay on the side of it that they have in the log. Between two barriers, records are
sorted by time, and equal times keep the order of the log. Records without a time of their own have one from another:

- A record whose source and id came before (a repeat, or a revision) has that of the first record with them.
- A correction of a response that came before has that of the response.
- Any other record of unknown time (a preference, a correction that comes before its target, a response without a time)
  has that of the record before it in the log; before the first record of known time, it comes first.

So what a log of one record at a time would fold is folded with the same neighbours: a repeat stays a repeat, a revision
comes after what it revises, and an undated record directly after the record that it followed. What corrects what is
decided in the order of the log, where the last correction wins.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from services.recommender.domain.learner.corrections import NOTHING_KNOWN, LearnerCorrections
from services.recommender.domain.learner.events import (
    AssessmentEvent,
    CorrectionEvent,
    ErasureEvent,
    InteractionEvent,
    LearnerEvent,
)


class OccurredEvents(NamedTuple):
    """A learner's events in the order in which they occurred.

    Attributes:
        events: (offset, event); the offsets of the learner's events, ascending, so that a fold applies each.
        logged_at: the offset that each event has in the log, by its offset in `events`.
        known: what corrects what, by the offsets in `events`.
    """

    events: Sequence[tuple[int, LearnerEvent]]
    logged_at: Mapping[int, int]
    known: LearnerCorrections


def in_occurred_order(logged: Sequence[tuple[int, LearnerEvent]]) -> OccurredEvents:
    """Sort all of a learner's events.

    Args:
        logged: (offset, event) in the order of the log.
    """
    keys = _sort_keys([event for _, event in logged])
    order = sorted(range(len(logged)), key=keys.__getitem__)
    offsets = [offset for offset, _ in logged]
    new_offsets = {logged[place][0]: offset for place, offset in zip(order, offsets, strict=True)}
    known = LearnerCorrections()
    for offset, event in logged:
        known.note(new_offsets[offset], event)
    known.finish()
    return OccurredEvents(
        [(offset, logged[place][1]) for place, offset in zip(order, offsets, strict=True)],
        {new: old for old, new in new_offsets.items()},
        known if known.count else NOTHING_KNOWN,
    )


def _sort_keys(events: Sequence[LearnerEvent]) -> list[tuple[int, int]]:
    """The number of erasures before each event, itself included, and its time."""
    keys: list[tuple[int, int]] = []
    barriers, before_s = 0, 0
    # The times of the events since the last erasure, by identity.
    times: dict[bytes, int] = {}
    for event in events:
        identities = _identities(event)
        first = next((one for one in identities if one in times), None)
        if first is not None:
            at_s = times[first]
        elif isinstance(event, ErasureEvent):
            barriers, at_s = barriers + 1, 0
            times.clear()
        elif isinstance(event, CorrectionEvent) and event.target in times:
            at_s = times[event.target]
        else:
            at_s = _own_time(event) or before_s
        for identity in identities:
            times.setdefault(identity, at_s)
        keys.append((barriers, at_s))
        before_s = at_s
    return keys


def _identities(event: LearnerEvent) -> list[bytes]:
    former = event.former if isinstance(event, AssessmentEvent) else b""
    return [event.fingerprint, former] if former else [event.fingerprint]


def _own_time(event: LearnerEvent) -> int:
    return event.at_s if isinstance(event, AssessmentEvent | InteractionEvent) else 0
