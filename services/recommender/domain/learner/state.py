"""A learner's state and its canonical bytes.

Equal states have equal bytes, little-endian throughout:

    header          version, number of resources, of dismissals and of skills; length of the skills' names, of the
                    resources and of the dismissals
    learner         one LEARNER_RECORD
    recent items    RECENT_ITEMS of RECENT_ITEM_RECORD, the latest first; only in the version that has them
    skills          one SKILL_RECORD each, in the order first met
    skills' names   packed strings
    touches         how and when each resource was touched (kind u1, Unix seconds u4), oldest first. The high four bits
                    of the kind count how often a resource that was never finished was opened again, up to 15
    resources       their ids, as packed strings
    dismissals      ids of the dismissed resources, oldest first, as packed strings
    preferences     as `preferences.pack` gives them
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.recommender.domain.learner import packed_strings
from services.recommender.domain.learner.events import InteractionKind
from services.recommender.domain.learner.preferences import NO_PREFERENCES, Preferences, PreferencesCorruptError, unpack

# The most that fit into one byte.
RECENT_RESOURCES = 255
DISMISSALS = 256
MOST_SKILLS = 2_000
"""A learner with this many gets no new ones, which bounds the cost of an event, of a read and of an answer."""

TOUCH_BYTES = 5

# The part of the state that is not per skill, in stored precision.
LEARNER_RECORD = np.dtype(
    [
        ("mean", "<f4"),  # posterior mean of the ability (mu_u), logits
        ("variance", "<f4"),  # its posterior variance (v_u)
        ("responses", "<u4"),  # responses that were evidence
        ("applied", "<u4"),  # events applied since the learner was last erased, each once, of any kind
        ("last_at_s", "<u4"),  # latest time of any response or interaction, Unix seconds; 0: not known
    ]
)

# One record per skill a learner has responded to. Stored precision is the type's: each field is rounded to it after
# each event, so batching does not affect the result.
SKILL_RECORD = np.dtype(
    [
        ("mean", "<f4"),  # posterior mean of the ability on the skill, on top of the learner's (mu_uk), logits
        ("variance", "<f4"),  # its posterior variance (v_uk)
        ("attempts", "<u4"),  # responses that were evidence
        ("successes", "<f4"),  # their sum, each in [0, 1]
        ("recent_successes", "<f4"),  # the same sum, halving every few responses
        ("recent_failures", "<f4"),  # the sum of 1 - response, halving in the same way
        ("last_response", "<f4"),  # the response given last; one of unknown time counts as just given
        ("last_at_s", "<u4"),  # the latest time of any, Unix seconds; 0: not known
    ]
)


RECENT_ITEMS = 5

# An item that a learner responded to lately. It is kept only where the tenant's parameters ask for it.
RECENT_ITEM_RECORD = np.dtype(
    [
        ("item", "<u4"),  # `item_code` of its id; OTHER_ITEM: not a fitted one, or no item; 0: no response yet
        ("response", "<f4"),  # on [0, 1]
    ]
)
OTHER_ITEM = 1
_RECENT_BYTES = RECENT_ITEMS * RECENT_ITEM_RECORD.itemsize


def item_code(item: str) -> int:
    """A number for an item's id, above OTHER_ITEM: its CRC-32. Two items with the same code are taken for one."""
    return max(zlib.crc32(item.encode()), OTHER_ITEM + 1)


_INTERACTION_KINDS = {int(kind): kind for kind in InteractionKind}


class RecentResource(NamedTuple):
    """A catalog resource the learner used.

    Attributes:
        resource: its id.
        kind: how far they came.
        at_s: when last, Unix seconds; 0: not known.
        reopened: how often it was opened again without being answered or completed, up to 15; 0 once it was.
    """

    resource: str
    kind: InteractionKind
    at_s: int
    reopened: int = 0


@dataclass(frozen=True)
class LearnerState:
    """Everything known about a learner that ranking reads.

    Attributes:
        mean: posterior mean of the learner's ability (mu_u), logits.
        variance: its posterior variance (v_u).
        responses: responses that were evidence.
        skill_names: the skills met, in that order. One met only in events that were not evidence has 0 attempts and
            is at the priors.
        skill_records: one SKILL_RECORD per name, in the same order; do not write.
        resources: the last 255 distinct catalog resources touched, oldest first.
        applied: events that changed the state since the learner was last erased (each once).
        last_at_s: latest time of any response or interaction, Unix seconds; 0: not known.
        dismissals: the last 256 resources dismissed and not opened since, oldest first.
        preferences: what the learner prefers.
        recent_items: one RECENT_ITEM_RECORD per remembered response, the latest first; do not write.
    """

    mean: float
    variance: float
    responses: int
    skill_names: tuple[str, ...]
    skill_records: NDArray[np.void]
    resources: tuple[RecentResource, ...]
    applied: int
    last_at_s: int
    dismissals: tuple[str, ...] = ()
    preferences: Preferences = NO_PREFERENCES
    recent_items: NDArray[np.void] = field(default_factory=lambda: np.zeros(0, RECENT_ITEM_RECORD))

    @cached_property
    def slot_of_skill(self) -> Mapping[str, int]:
        """Index into `skill_records` by skill."""
        return {name: slot for slot, name in enumerate(self.skill_names)}


class StateCorruptError(ValueError):
    """Stored bytes are not a learner's state of a version this program knows."""


class PackedState(NamedTuple):
    """A learner's state in the parts that a fold works on. Never changed in place.

    Attributes:
        learner: one LEARNER_RECORD.
        recent_items: RECENT_ITEMS of RECENT_ITEM_RECORD, the latest first; empty where they are not kept.
        skills: SKILL_RECORDs, in the order of the slots.
        skill_names: the skills' names in that order, as packed strings.
        touches: TOUCH_BYTES per resource, oldest first.
        resources: the resources' ids in that order, as packed strings.
        dismissals: ids of the dismissed resources, oldest first, as packed strings.
        preferences: what the learner wants, as `preferences` keeps it.
    """

    learner: bytes
    recent_items: bytes
    skills: bytes
    skill_names: bytes
    touches: bytes
    resources: bytes
    dismissals: bytes
    preferences: bytes


def pack_touch(kind: int, at_s: int, before: int = 0) -> bytes:
    """How and when a resource was touched, as stored.

    Args:
        kind: a number of InteractionKind.
        at_s: when, Unix seconds; 0: not known.
        before: the first byte that was stored for it before; 0: none.
    """
    furthest = max(kind, before & _KIND_BITS)
    reopened = 0
    if furthest == kind == InteractionKind.OPENED and before:
        reopened = min((before >> _REOPENED_SHIFT) + 1, _KIND_BITS)
    return _TOUCH.pack(furthest | reopened << _REOPENED_SHIFT, at_s)


def encode_state(state: PackedState) -> bytes:
    """The canonical bytes of a state."""
    version = _WITH_REOPENED if max(state.touches[::TOUCH_BYTES], default=0) > _KIND_BITS else _VERSION
    header = _HEADER.pack(
        _WITH_RECENT_ITEMS if state.recent_items else version,
        len(state.touches) // TOUCH_BYTES,
        packed_strings.count(state.dismissals),
        len(state.skills) // SKILL_RECORD.itemsize,
        len(state.skill_names),
        len(state.resources),
        len(state.dismissals),
    )
    return b"".join((header, *state))


def unpack_state(blob: bytes) -> PackedState:
    """The inverse of `encode_state`.

    Raises:
        StateCorruptError: when the bytes are not a state of a version this program knows.
    """
    _check_header(blob)
    version, resource_count, dismissal_count, skill_count, *lengths = _HEADER.unpack_from(blob)
    pieces = []
    start = _HEADER.size
    for length in (
        LEARNER_RECORD.itemsize,
        _RECENT_BYTES if version == _WITH_RECENT_ITEMS else 0,
        skill_count * SKILL_RECORD.itemsize,
        lengths[0],
        resource_count * TOUCH_BYTES,
        *lengths[1:],
    ):
        pieces.append(blob[start : start + length])
        start += length
    packed = PackedState._make([*pieces, blob[start:]])
    if len(blob) < start or (skill_count, resource_count, dismissal_count) != tuple(
        map(packed_strings.count, (packed.skill_names, packed.resources, packed.dismissals))
    ):
        raise StateCorruptError(f"a learner's state of {len(blob)} bytes does not hold what its header says")
    try:
        unpack(packed.preferences)
    except PreferencesCorruptError as error:
        raise StateCorruptError(
            f"a learner's state of {len(blob)} bytes ends with invalid preferences: {error}"
        ) from error
    return packed


def decode_state(blob: bytes) -> LearnerState:
    """A stored state in the form that ranking reads.

    Raises:
        StateCorruptError: when the bytes are not a state of a version this program knows.
    """
    packed = unpack_state(blob)
    learner = np.frombuffer(packed.learner, LEARNER_RECORD)[0]
    recent_items = np.frombuffer(packed.recent_items, RECENT_ITEM_RECORD)
    return LearnerState(
        mean=float(learner["mean"]),
        variance=float(learner["variance"]),
        responses=int(learner["responses"]),
        skill_names=tuple(_text(packed.skill_names)),
        skill_records=np.frombuffer(packed.skills, SKILL_RECORD),
        resources=tuple(
            RecentResource(resource, _INTERACTION_KINDS[kind & _KIND_BITS], at_s, kind >> _REOPENED_SHIFT)
            for resource, (kind, at_s) in zip(_text(packed.resources), _TOUCH.iter_unpack(packed.touches), strict=True)
        ),
        applied=int(learner["applied"]),
        last_at_s=int(learner["last_at_s"]),
        dismissals=tuple(_text(packed.dismissals)),
        preferences=unpack(packed.preferences),
        recent_items=recent_items[recent_items["item"] > 0],
    )


def with_applied_of(state: PackedState, counted: PackedState) -> PackedState:
    """A state with the number of applied events of another."""
    learner = bytearray(state.learner)
    learner[_APPLIED] = counted.learner[_APPLIED]
    return state._replace(learner=bytes(learner))


def applied_of(blob: bytes) -> int:
    """The number of applied events, read from a stored state without decoding the rest.

    Raises:
        StateCorruptError: when the bytes are not a state of a version this program knows.
    """
    _check_header(blob)
    return int(np.frombuffer(blob, LEARNER_RECORD, count=1, offset=_HEADER.size)[0]["applied"])


_VERSION = 2
# Releases that know only version 2 cannot read how often a resource was opened again: they refuse such a state.
_WITH_REOPENED = 3
# Likewise a state with recent items, which may also say how often a resource was opened again.
_WITH_RECENT_ITEMS = 4
_VERSIONS = (_VERSION, _WITH_REOPENED, _WITH_RECENT_ITEMS)
_KIND_BITS, _REOPENED_SHIFT = 0b1111, 4
_HEADER = struct.Struct("<BBHIIII")
_APPLIED = slice(12, 16)
_TOUCH = struct.Struct("<BI")


def _check_header(blob: bytes) -> None:
    if len(blob) < _HEADER.size + LEARNER_RECORD.itemsize:
        raise StateCorruptError(f"a learner's state has {len(blob)} bytes, fewer than its header")
    if blob[0] not in _VERSIONS:
        raise StateCorruptError(
            f"a learner's state has version {blob[0]}, this program knows {_VERSION} to {_WITH_RECENT_ITEMS}: run the "
            "release that wrote it, or replay into a new epoch"
        )


def _text(stored: bytes) -> list[str]:
    return stored[1:-1].decode().split("\0") if stored else []
