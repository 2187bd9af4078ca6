"""A learner's state while a fold adds events to it, and the plan that collects the kernel's arguments."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence

import numpy as np

from services.recommender.domain.learner import packed_strings
from services.recommender.domain.learner.events import InteractionKind, PreferenceEvent
from services.recommender.domain.learner.journal import JournalEntry
from services.recommender.domain.learner.kernel import EVENT_RECORD, EVENT_SKILL_RECORD, fold_responses
from services.recommender.domain.learner.parameter_columns import ParameterColumns
from services.recommender.domain.learner.preferences import pack, replaced, unpack
from services.recommender.domain.learner.state import (
    DISMISSALS,
    LEARNER_RECORD,
    MOST_SKILLS,
    RECENT_ITEM_RECORD,
    RECENT_ITEMS,
    RECENT_RESOURCES,
    SKILL_RECORD,
    TOUCH_BYTES,
    PackedState,
    pack_touch,
    with_applied_of,
)

# From here on, a dictionary is built once per draft: searching the packed names would take longer.
_INDEXED_FROM = 128
_EVENT = struct.Struct("<iifIHH")
_EVENT_SKILL = struct.Struct("<ii")
_NO_RECENT_ITEMS = bytes(RECENT_ITEMS * RECENT_ITEM_RECORD.itemsize)


class FoldPlan:
    """The kernel's arguments, collected event by event, and its results."""

    def __init__(self, columns: ParameterColumns) -> None:
        self.columns = columns
        self.states: list[StateDraft] = []
        self.events = bytearray()
        self.event_skills = bytearray()
        self.learners = b""
        self.recent_items = b""
        self.skills = b""
        self.first_slot: list[int] = []

    def run(self) -> None:
        """Fold everything that was collected."""
        first = 0
        for state in self.states:
            self.first_slot.append(first)
            first += state.skill_count
        self.first_slot.append(first)
        learners = np.frombuffer(bytearray().join([state.learner for state in self.states]), LEARNER_RECORD)
        recent_items = np.frombuffer(
            bytearray().join([state.recent_items for state in self.states]), RECENT_ITEM_RECORD
        )
        skills = np.frombuffer(bytearray().join([state.skills for state in self.states]), SKILL_RECORD)
        fold_responses(
            learners,
            recent_items.reshape(-1, RECENT_ITEMS),
            skills,
            np.array(self.first_slot, np.int64),
            np.array([state.settings_row for state in self.states], np.int64),
            np.frombuffer(self.events, EVENT_RECORD),
            np.frombuffer(self.event_skills, EVENT_SKILL_RECORD),
            self.columns.settings,
            self.columns.items,
            self.columns.skills,
            self.columns.item_codes,
        )
        self.learners, self.skills = learners.tobytes(), skills.tobytes()
        self.recent_items = recent_items.tobytes()
        # Each of them knows the plan. A cycle would keep them all until garbage is collected, which workers do seldom.
        self.states.clear()


class StateDraft:
    """A row of the plan: a state, and the events to add to it.

    Attributes:
        skill_count: the skills so far.
        refused_skills: how often an event named a skill that the learner has no room for.
    """

    __slots__ = (
        "_dismissals",
        "_index",
        "_plan",
        "_preferences",
        "_resources",
        "_row",
        "_skill_names",
        "_stored",
        "_tenant",
        "_touches",
        "refused_skills",
        "skill_count",
    )

    def __init__(self, plan: FoldPlan, tenant: str, state: PackedState | None) -> None:
        self._tenant = plan.columns.of(tenant)
        self._stored = state or PackedState(self._tenant.new_learner, b"", b"", b"", b"", b"", b"", b"")
        self._plan = plan
        self._row = len(plan.states)
        self.skill_count = len(self._stored.skills) // SKILL_RECORD.itemsize
        self._skill_names = packed_strings.begin(self._stored.skill_names)
        self._index: dict[bytes, int] | None = None
        self.refused_skills = 0
        self._touches = bytearray(self._stored.touches)
        self._resources = packed_strings.begin(self._stored.resources)
        self._dismissals = self._stored.dismissals
        self._preferences = self._stored.preferences
        plan.states.append(self)

    @property
    def learner(self) -> bytes:
        """The LEARNER_RECORD before the events."""
        return self._stored.learner

    @property
    def recent_items(self) -> bytes:
        """The recent items before the events; none where they are not kept."""
        return self._stored.recent_items or _NO_RECENT_ITEMS

    @property
    def skills(self) -> bytes:
        """The SKILL_RECORDs before the events, a new one for each skill that they add."""
        stored = self._stored.skills
        return stored + self._tenant.new_skill * (self.skill_count - len(stored) // SKILL_RECORD.itemsize)

    @property
    def settings_row(self) -> int:
        """Row of the tenant's constants."""
        return self._tenant.settings_row

    def slots_of(self, skills: Iterable[str]) -> list[tuple[int, int]]:
        """(Slot, row of the difficulty) of each skill; one not met before gets the next slot.

        A learner with MOST_SKILLS skills gets no new ones: a response is then evidence of its known skills only. A
        learner that an earlier release gave more skills keeps them.
        """
        slots = []
        known, tenant, index = self._skill_names, self._tenant, self._index
        if index is None and self.skill_count >= _INDEXED_FROM:
            index = self._index = {name: slot for slot, name in enumerate(packed_strings.split(known))}
        for skill in skills:
            name = skill.encode()
            if index is not None:
                slot = index.get(name, -1)
            else:
                place = known.find(b"\0%b\0" % name)
                slot = known.count(packed_strings.SEPARATOR, 0, place) if place >= 0 else -1
            if slot < 0:
                if self.skill_count >= MOST_SKILLS:
                    self.refused_skills += 1
                    continue
                slot = self._meet(name)
            slots.append((slot, tenant.skills.get(skill, tenant.unknown_skill)))
        return slots

    def _meet(self, name: bytes) -> int:
        """Add a skill; return its slot."""
        slot = self.skill_count
        self.skill_count += 1
        self._skill_names += name + packed_strings.SEPARATOR
        if self._index is not None:
            self._index[name] = slot
        return slot

    def add_again(self, entries: Iterable[JournalEntry], skill_names: Sequence[bytes]) -> None:
        """Add the next events of the journal of a later state of the learner.

        Args:
            entries: the events that follow this state.
            skill_names: the later state's skills; they begin with this state's.
        """
        tenant = self._tenant
        for _, response, at_s, item, _, slots, _, evidence, resource, interaction, voided in entries:
            if interaction is not None:
                self.interact(resource, interaction, at_s)
                continue
            for slot in slots:
                if slot >= self.skill_count:
                    self._meet(skill_names[slot])
            rows_of_skills = [
                (slot, tenant.skills.get(skill_names[slot].decode(), tenant.unknown_skill)) for slot in slots
            ]
            if voided:
                self.add_voided(rows_of_skills)
            else:
                self.add(item, rows_of_skills, response, at_s, resource, evidence=evidence)

    def skill_names(self) -> list[bytes]:
        """The skills so far, in slot order."""
        return packed_strings.split(self._skill_names) if self._index is None else list(self._index)

    def add(
        self,
        item: str,
        slots: Sequence[tuple[int, int]],
        response: float,
        at_s: int,
        resource: str,
        *,
        evidence: bool,
    ) -> None:
        """Add a response.

        Args:
            item: the question; empty: none.
            slots: of `slots_of`.
            response: the outcome on [0, 1].
            at_s: when the learner acted, Unix seconds; 0: not known.
            resource: the catalog resource it was given in; empty: none.
            evidence: whether it moves the posterior.
        """
        plan, tenant = self._plan, self._tenant
        item_row = tenant.items.get(item, tenant.unknown_item)
        plan.events += _EVENT.pack(self._row, item_row, response, at_s, evidence, len(slots))
        for slot, skill_row in slots:
            plan.event_skills += _EVENT_SKILL.pack(slot, skill_row)
        if resource:
            self._touch(resource.encode(), InteractionKind.ANSWERED, at_s)

    def add_voided(self, slots: Sequence[tuple[int, int]]) -> None:
        """Add a voided response: its skills count as met, nothing else changes."""
        self.add("", slots, 0.0, 0, "", evidence=False)

    def count(self) -> None:
        """Add an event that is neither a response nor an interaction."""
        self.add_voided(())

    def interact(self, resource: str, kind: InteractionKind, at_s: int) -> None:
        """Add an interaction with a resource."""
        self.add("", (), 0.0, at_s, "", evidence=False)
        if kind is InteractionKind.DISMISSED:
            self._dismiss(resource.encode())
        else:
            self._touch(resource.encode(), kind, at_s)

    def prefer(self, event: PreferenceEvent) -> None:
        """Add the learner's stated preferences."""
        self.count()
        self._preferences = pack(replaced(unpack(self._preferences), event))

    def finish(self) -> PackedState:
        """The state after all events; call after `FoldPlan.run`."""
        plan = self._plan
        at = self._row * LEARNER_RECORD.itemsize
        first, end = plan.first_slot[self._row], plan.first_slot[self._row + 1]
        recent_at = self._row * len(_NO_RECENT_ITEMS)
        return PackedState(
            plan.learners[at : at + LEARNER_RECORD.itemsize],
            plan.recent_items[recent_at : recent_at + len(_NO_RECENT_ITEMS)] if self._tenant.recent_items else b"",
            plan.skills[first * SKILL_RECORD.itemsize : end * SKILL_RECORD.itemsize],
            packed_strings.end(self._skill_names),
            bytes(self._touches),
            packed_strings.end(self._resources),
            self._dismissals,
            self._preferences,
        )

    def _touch(self, resource: bytes, kind: int, at_s: int) -> None:
        if self._dismissals:
            self._dismissals = packed_strings.without(self._dismissals, resource)
        before = 0
        place = packed_strings.find(self._resources, resource)
        if place >= 0:
            touch = packed_strings.number_at(self._resources, place) * TOUCH_BYTES
            before = self._touches[touch]
            del self._touches[touch : touch + TOUCH_BYTES]
            packed_strings.remove_at(self._resources, place)
        elif len(self._touches) == RECENT_RESOURCES * TOUCH_BYTES:
            del self._touches[:TOUCH_BYTES]
            packed_strings.remove_at(self._resources, 0)
        self._resources += resource + packed_strings.SEPARATOR
        self._touches += pack_touch(kind, at_s, before)

    def _dismiss(self, resource: bytes) -> None:
        dismissals = packed_strings.begin(packed_strings.without(self._dismissals, resource))
        if packed_strings.count(dismissals) == DISMISSALS:
            packed_strings.remove_at(dismissals, 0)
        dismissals += resource + packed_strings.SEPARATOR
        self._dismissals = packed_strings.end(dismissals)


def carried(refolded: PackedState, counted: PackedState) -> PackedState:
    """A state folded again from the journal, with the parts that are not in the journal taken from the counted one."""
    return with_applied_of(refolded, counted)._replace(preferences=counted.preferences)
