"""A learner's preferences (goals, interests, formats and pace) and their canonical bytes.

No preferences are no bytes. Otherwise, little-endian: pace u1, formats u1 (bit k: the kind of that number), number of
goals u1, number of interests u1, then goals and interests as packed strings.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

from services.recommender.domain.learner import packed_strings
from services.recommender.domain.learner.events import PreferenceEvent

MOST_GOALS = 16
MOST_INTERESTS = 32
MOST_KIND = 7

_HEADER = struct.Struct("<BBBB")


class Pace(IntEnum):
    """How much of a challenge a learner wants; the numbers of the contract."""

    UNSPECIFIED = 0
    GENTLE = 1
    STEADY = 2
    BRISK = 3


@dataclass(frozen=True, slots=True)
class Preferences:
    """What a learner prefers, as far as stated.

    Attributes:
        goals: skills that the learner works towards.
        interests: topics that the learner likes, as named by the catalog's resources.
        formats: kinds of resource that the learner prefers, by the numbers of the contract, ascending.
        pace: how much of a challenge the learner wants.
    """

    goals: tuple[str, ...] = ()
    interests: tuple[str, ...] = ()
    formats: tuple[int, ...] = ()
    pace: Pace = Pace.UNSPECIFIED


NO_PREFERENCES = Preferences()


class PreferencesCorruptError(ValueError):
    """Stored bytes are not valid preferences."""


def replaced(preferences: Preferences, event: PreferenceEvent) -> Preferences:
    """The preferences after an event: fields that it sets are replaced, others stay."""
    return Preferences(
        goals=preferences.goals if event.goals is None else event.goals,
        interests=preferences.interests if event.interests is None else event.interests,
        formats=preferences.formats if event.formats is None else tuple(sorted(event.formats)),
        pace=Pace(event.pace) if event.pace else preferences.pace,
    )


def pack(preferences: Preferences) -> bytes:
    """The canonical bytes: equal for equal preferences."""
    if preferences == NO_PREFERENCES:
        return b""
    named = packed_strings.begin(b"")
    for name in preferences.goals + preferences.interests:
        named += name.encode() + packed_strings.SEPARATOR
    formats = sum(1 << kind for kind in preferences.formats)
    header = _HEADER.pack(preferences.pace, formats, len(preferences.goals), len(preferences.interests))
    return header + packed_strings.end(named)


def unpack(packed: bytes) -> Preferences:
    """The inverse of `pack`.

    Raises:
        PreferencesCorruptError: when the bytes are not valid preferences.
    """
    if not packed:
        return NO_PREFERENCES
    named = packed[_HEADER.size :]
    if len(packed) < _HEADER.size or packed[0] > max(Pace):
        raise PreferencesCorruptError(f"{len(packed)} bytes are not valid preferences")
    pace, formats, goals, interests = _HEADER.unpack_from(packed)
    if packed_strings.count(named) != goals + interests:
        raise PreferencesCorruptError(
            f"{len(packed)} bytes do not hold the {goals + interests} strings that their header says"
        )
    texts = tuple(name.decode() for name in packed_strings.split(named))
    kinds = tuple(kind for kind in range(MOST_KIND + 1) if formats >> kind & 1)
    return Preferences(texts[:goals], texts[goals:], kinds, Pace(pace))
