"""Folding events into learners: what an event changes, decided without any input or output.

A fold reads a learner as stored and its new events, and returns the learner as it is to be stored. Planning walks the
events in Python (windows, names, journal); the arithmetic of all learners of a batch is one call of the kernel.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from services.recommender.domain import names
from services.recommender.domain.events import AssessmentEvent, Grain
from services.recommender.domain.journal import Journal, JournalDraft, JournalEntry, entries_of
from services.recommender.domain.kernel import EVENT_RECORD, EVENT_SKILL_RECORD, fold_responses
from services.recommender.domain.learner import (
    LEARNER_RECORD,
    RECENT_RESOURCES,
    SKILL_RECORD,
    TOUCH_BYTES,
    InteractionKind,
    PackedState,
    encode_state,
    pack_touch,
    unpack_state,
)
from services.recommender.domain.stored import FINGERPRINT_BYTES, NEW_LEARNER, SEEN_EVENTS, StoredFold
from services.recommender.domain.tracing import FilterSettings, TenantParameters, TracingParameters

MOST_SKILLS = 0xFFFF
_SEEN_BYTES = SEEN_EVENTS * FINGERPRINT_BYTES
_LONG_WINDOW_BYTES = 512 * FINGERPRINT_BYTES  # From here on, comparing arrays is faster than searching bytes.
_EVENT = struct.Struct("<iifIHH")
_EVENT_SKILL = struct.Struct("<ii")


class LearnerEvents(NamedTuple):
    """One learner's part of a batch.

    Attributes:
        tenant: whose parameters hold.
        stored: the learner as stored.
        events: (offset, event) in the order of the log.
        counted_from: events below this offset were counted before; they are folded where the learner lacks them, but
            not counted again.
    """

    tenant: str
    stored: StoredFold
    events: Sequence[tuple[int, AssessmentEvent]]
    counted_from: int = 0


class FoldedLearner(NamedTuple):
    """What a batch made of a learner.

    Attributes:
        stored: the learner as it is to be stored; the very same object when nothing changed.
        fingerprints: of the events applied now, in order, to be added to the window.
        checkpoint_changed: whether `stored.checkpoint` differs from before.
        applied: counted events that are in the state now, including those that an earlier run had applied.
        duplicates: counted events left out because the window holds them.
    """

    stored: StoredFold
    fingerprints: bytes
    checkpoint_changed: bool
    applied: int
    duplicates: int


class LearnerFold:
    """Folds batches of events with one epoch's parameters.

    The result is a function of each learner's events in their order: how they are batched, and what other learners
    are in the batch, does not matter.
    """

    def __init__(self, parameters: TracingParameters) -> None:
        self._columns = _Columns(parameters)

    def fold(self, batch: Sequence[LearnerEvents]) -> list[FoldedLearner]:
        """Fold every learner's events; the answers are in the order of `batch`."""
        plan = _Plan(self._columns)
        drafts = [_LearnerDraft(plan, learner) for learner in batch]
        plan.run()
        return [draft.finish() for draft in drafts]

    def fold_from(self, tenant: str, checkpoint: bytes, journal: Journal, skill_names: Sequence[bytes]) -> bytes:
        """The encoded state that a journal's events give from its checkpoint; empty when there is nothing of either.

        Args:
            tenant: whose parameters hold.
            checkpoint: the encoded state before the journal; empty: none.
            journal: the events.
            skill_names: the skills of the learner's state, by slot.
        """
        entries = entries_of(journal)
        if not checkpoint and not entries:
            return b""
        plan = _Plan(self._columns)
        draft = _StateDraft(plan, tenant, unpack_state(checkpoint) if checkpoint else None)
        draft.add_again(entries, skill_names)
        plan.run()
        return encode_state(draft.finish())


def warm_up() -> None:
    """Load the compiled kernel, or compile it: the first fold would wait for it otherwise."""
    event = AssessmentEvent(bytes(FINGERPRINT_BYTES), 1.0, 0, "item", "", ("skill",), Grain.ITEM, "")
    LearnerFold(TracingParameters()).fold([LearnerEvents("", NEW_LEARNER, [(0, event)])])


@dataclass(frozen=True, slots=True)
class _TenantColumns:
    """Where one tenant's parameters stand in the columns; what a new learner and a new skill start from."""

    settings_row: int
    items: Mapping[str, int]
    skills: Mapping[str, int]
    unknown_item: int
    unknown_skill: int
    new_learner: bytes
    new_skill: bytes


class _Columns:
    """Parameters of all tenants as arrays."""

    def __init__(self, parameters: TracingParameters) -> None:
        settings: list[list[float]] = []
        items: list[tuple[float, float]] = []
        skills: list[tuple[float, float]] = []
        self._tenants: dict[str, _TenantColumns] = {}
        for tenant, values in [("", TenantParameters()), *sorted(parameters.tenants.items())]:
            constants = values.settings
            unknown_item, unknown_skill = len(items), len(skills)
            items.append((0.0, constants.item_difficulty_variance))
            skills.append((0.0, constants.skill_difficulty_variance))
            self._tenants[tenant] = _TenantColumns(
                settings_row=len(settings),
                items={item: unknown_item + 1 + index for index, item in enumerate(values.items)},
                skills={skill: unknown_skill + 1 + index for index, skill in enumerate(values.skills)},
                unknown_item=unknown_item,
                unknown_skill=unknown_skill,
                new_learner=np.array([(0, constants.learner_variance, 0, 0, 0)], LEARNER_RECORD).tobytes(),
                new_skill=np.array([(0, constants.skill_variance, 0, 0, 0, 0, 0, 0)], SKILL_RECORD).tobytes(),
            )
            settings.append(_settings_row(constants))
            items += [(difficulty.mean, difficulty.variance) for difficulty in values.items.values()]
            skills += [(difficulty.mean, difficulty.variance) for difficulty in values.skills.values()]
        self._priors = self._tenants.pop("")
        self.settings = np.array(settings, np.float64)
        self.items = np.array(items, np.float64)
        self.skills = np.array(skills, np.float64)

    def of(self, tenant: str) -> _TenantColumns:
        return self._tenants.get(tenant, self._priors)


def _settings_row(constants: FilterSettings) -> list[float]:
    return [
        constants.base,
        constants.learner_variance,
        constants.skill_variance,
        constants.learner_noise,
        constants.skill_noise,
        constants.variance_floor,
    ]


class _Plan:
    """The kernel's arguments, collected event by event, and its results."""

    def __init__(self, columns: _Columns) -> None:
        self.columns = columns
        self.states: list[_StateDraft] = []
        self.events = bytearray()
        self.event_skills = bytearray()
        self.learners = b""
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
        skills = np.frombuffer(bytearray().join([state.skills for state in self.states]), SKILL_RECORD)
        fold_responses(
            learners,
            skills,
            np.array(self.first_slot, np.int64),
            np.array([state.settings_row for state in self.states], np.int64),
            np.frombuffer(self.events, EVENT_RECORD),
            np.frombuffer(self.event_skills, EVENT_SKILL_RECORD),
            self.columns.settings,
            self.columns.items,
            self.columns.skills,
        )
        self.learners, self.skills = learners.tobytes(), skills.tobytes()


class _StateDraft:
    """A row of the plan: a state, and what its events will add to it."""

    __slots__ = ("_plan", "_resources", "_row", "_skill_names", "_stored", "_tenant", "_touches", "skill_count")

    def __init__(self, plan: _Plan, tenant: str, state: PackedState | None) -> None:
        self._tenant = plan.columns.of(tenant)
        self._stored = state or PackedState(self._tenant.new_learner, b"", b"", b"", b"")
        self._plan = plan
        self._row = len(plan.states)
        self.skill_count = len(self._stored.skills) // SKILL_RECORD.itemsize
        self._skill_names = names.begin(self._stored.skill_names)
        self._touches = bytearray(self._stored.touches)
        self._resources = names.begin(self._stored.resources)
        plan.states.append(self)

    @property
    def learner(self) -> bytes:
        return self._stored.learner

    @property
    def skills(self) -> bytes:
        stored = self._stored.skills
        return stored + self._tenant.new_skill * (self.skill_count - len(stored) // SKILL_RECORD.itemsize)

    @property
    def settings_row(self) -> int:
        return self._tenant.settings_row

    def slots_of(self, skills: Iterable[str]) -> list[tuple[int, int]]:
        """(Slot, row of the difficulty) of each skill; one not met before gets the next slot.

        A learner who has MOST_SKILLS skills meets no more: a response to another one is evidence of what remains.
        """
        slots = []
        known, tenant = self._skill_names, self._tenant
        for skill in skills:
            name = skill.encode()
            place = known.find(b"\0%b\0" % name)
            if place >= 0:
                slot = known.count(names.SEPARATOR, 0, place)
            elif self.skill_count < MOST_SKILLS:
                slot = self.skill_count
                self.skill_count += 1
                known += name + names.SEPARATOR
            else:
                continue
            slots.append((slot, tenant.skills.get(skill, tenant.unknown_skill)))
        return slots

    def add_again(self, entries: Iterable[JournalEntry], skill_names: Sequence[bytes]) -> None:
        """Add the next events of the journal of a later state of the learner.

        Args:
            entries: the events that follow this state.
            skill_names: the later state's skills; this one's are the first of them.
        """
        tenant = self._tenant
        rows = [tenant.skills.get(name.decode(), tenant.unknown_skill) for name in skill_names]
        for _, response, at_s, item, _, slots, _, evidence, resource in entries:
            for slot in slots:
                if slot >= self.skill_count:
                    self.skill_count += 1
                    self._skill_names += skill_names[slot] + names.SEPARATOR
            self.add(item, [(slot, rows[slot]) for slot in slots], response, at_s, resource, evidence=evidence)

    def skill_names(self) -> list[bytes]:
        return names.split(self._skill_names)

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
        plan, tenant = self._plan, self._tenant
        item_row = tenant.items.get(item, tenant.unknown_item)
        plan.events += _EVENT.pack(self._row, item_row, response, at_s, evidence, len(slots))
        for slot, skill_row in slots:
            plan.event_skills += _EVENT_SKILL.pack(slot, skill_row)
        if resource:
            self._touch(resource.encode(), at_s)

    def finish(self) -> PackedState:
        plan = self._plan
        at = self._row * LEARNER_RECORD.itemsize
        first, end = plan.first_slot[self._row], plan.first_slot[self._row + 1]
        return PackedState(
            plan.learners[at : at + LEARNER_RECORD.itemsize],
            plan.skills[first * SKILL_RECORD.itemsize : end * SKILL_RECORD.itemsize],
            names.end(self._skill_names),
            bytes(self._touches),
            names.end(self._resources),
        )

    def _touch(self, resource: bytes, at_s: int) -> None:
        place = names.find(self._resources, resource)
        if place >= 0:
            touch = names.number_at(self._resources, place) * TOUCH_BYTES
            del self._touches[touch : touch + TOUCH_BYTES]
            names.remove_at(self._resources, place)
        elif len(self._touches) == RECENT_RESOURCES * TOUCH_BYTES:
            del self._touches[:TOUCH_BYTES]
            names.remove_at(self._resources, 0)
        self._resources += resource + names.SEPARATOR
        self._touches += pack_touch(InteractionKind.ANSWERED, at_s)


class _LearnerDraft:
    """Walks one learner's events: window, journal, checkpoint, state."""

    __slots__ = (
        "_applied",
        "_checkpoint",
        "_duplicates",
        "_fingerprints",
        "_journal",
        "_learner",
        "_offset",
        "_plan",
        "_state",
        "_window",
    )

    def __init__(self, plan: _Plan, learner: LearnerEvents) -> None:
        self._plan = plan
        self._learner = learner
        self._offset = learner.stored.offset
        self._checkpoint: _StateDraft | None = None
        self._state: _StateDraft | None = None
        self._journal = JournalDraft(learner.stored.journal)
        self._window = bytearray(learner.stored.seen)
        self._fingerprints = bytearray()
        self._applied = 0
        self._duplicates = 0
        self._walk()

    def _walk(self) -> None:
        tenant, stored, events, counted_from = self._learner
        window = self._window
        state: _StateDraft | None = None
        for offset, event in events:
            counted = offset >= counted_from
            if offset <= stored.offset:
                self._applied += counted
                continue
            if _holds(window, event.fingerprint):
                self._duplicates += counted
                continue
            window += event.fingerprint
            self._fingerprints += event.fingerprint
            self._applied += counted
            self._offset = offset
            if state is None:
                state = self._state = _StateDraft(self._plan, tenant, stored.state)
            self._apply(event, state)

    def _apply(self, event: AssessmentEvent, state: _StateDraft) -> None:
        journal = self._journal
        evidence = not (event.grain is Grain.ACTIVITY and event.activity and journal.holds_item_of(event.activity))
        if journal.full:
            self._fold_oldest(state)
        slots = state.slots_of(event.skills)
        journal.append(event, slots, evidence=evidence)
        state.add(event.item, slots, event.response, event.at_s, event.resource, evidence=evidence)

    def _fold_oldest(self, state: _StateDraft) -> None:
        checkpoint = self._checkpoint
        if checkpoint is None:
            stored = self._learner.stored.checkpoint
            checkpoint = _StateDraft(self._plan, self._learner.tenant, unpack_state(stored) if stored else None)
            self._checkpoint = checkpoint
        checkpoint.add_again(self._journal.take_oldest(), state.skill_names())

    def finish(self) -> FoldedLearner:
        stored = self._learner.stored
        if self._state is None:
            return FoldedLearner(stored, b"", False, self._applied, self._duplicates)  # noqa: FBT003 - a field's value.
        checkpoint = stored.checkpoint if self._checkpoint is None else encode_state(self._checkpoint.finish())
        return FoldedLearner(
            StoredFold(
                self._offset,
                self._state.finish(),
                self._journal.finish(),
                checkpoint,
                bytes(self._window[-_SEEN_BYTES:]),
            ),
            bytes(self._fingerprints),
            self._checkpoint is not None,
            self._applied,
            self._duplicates,
        )


def _holds(window: bytearray, fingerprint: bytes) -> bool:
    """Whether one of the last SEEN_EVENTS fingerprints of the window is this one."""
    start = max(0, len(window) - _SEEN_BYTES)
    if len(window) - start > _LONG_WINDOW_BYTES:
        numbers = np.frombuffer(window, np.uint64, offset=start)
        return bool((numbers == np.frombuffer(fingerprint, np.uint64)).any())
    at = window.find(fingerprint, start)
    while at >= 0 and at % FINGERPRINT_BYTES:
        at = window.find(fingerprint, at + 1)
    return at >= 0
