"""Folding events into learners: what an event changes, decided without any input or output.

A fold reads a learner as stored and its new events, and returns the learner as it is to be stored. Planning walks the
events in Python (windows, names, journal); the arithmetic of all learners of a batch is one call of the kernel.

A correction changes its target in the journal, and the state is folded again from the journal's checkpoint. One whose
target may still come waits in the journal for it. One that reaches neither is refused.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from services.recommender.domain.learner import packed_strings as names
from services.recommender.domain.learner.corrections import NOTHING_KNOWN, LearnerCorrections
from services.recommender.domain.learner.events import (
    VOIDED,
    AssessmentEvent,
    CorrectionEvent,
    ErasureEvent,
    Grain,
    InteractionEvent,
    InteractionKind,
    LearnerEvent,
    PreferenceEvent,
)
from services.recommender.domain.learner.journal import (
    EARLY_CORRECTIONS,
    JOURNAL_EVENTS,
    JournalDraft,
    JournalEntry,
    activity_hash,
    entries_of,
    hides,
)
from services.recommender.domain.learner.kernel import EVENT_RECORD, EVENT_SKILL_RECORD, fold_responses
from services.recommender.domain.learner.parameters import FilterSettings, TenantParameters, TracingParameters
from services.recommender.domain.learner.preferences import pack, replaced, unpack
from services.recommender.domain.learner.record import FINGERPRINT_BYTES, NEW_LEARNER, SEEN_EVENTS, LearnerRecord
from services.recommender.domain.learner.state import (
    DISMISSALS,
    LEARNER_RECORD,
    RECENT_RESOURCES,
    SKILL_RECORD,
    TOUCH_BYTES,
    PackedState,
    encode_state,
    pack_touch,
    unpack_state,
    with_applied_of,
)

MOST_SKILLS = 0xFFFF
BEYOND_JOURNAL = "correction-beyond-journal"
TOO_MANY_EARLY = "correction-too-early"
NOT_A_RESPONSE = "correction-not-of-a-response"
RESOLVED_BY_REPLAY = frozenset((BEYOND_JOURNAL, TOO_MANY_EARLY))
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
        known: corrections that are known before the fold meets them.
    """

    tenant: str
    stored: LearnerRecord
    events: Sequence[tuple[int, LearnerEvent]]
    counted_from: int = 0
    known: LearnerCorrections = NOTHING_KNOWN


class Refusal(NamedTuple):
    """A correction that cannot be applied: where it stands, why in one word, why in a sentence."""

    offset: int
    code: str
    reason: str


class FoldedLearner(NamedTuple):
    """What a batch made of a learner.

    Attributes:
        stored: the learner as it is to be stored; the very same object when nothing changed.
        fingerprints: of the events applied now, in order, to be added to the window; since the erasure, if there was
            one.
        checkpoint_changed: whether `stored.checkpoint` differs from before.
        applied: counted events that are in the state now, including those that an earlier run had applied.
        duplicates: counted events left out because the window holds them.
        refused: corrections left out, counted or not.
        erased: whether the learner was forgotten: nothing stored before may stay.
    """

    stored: LearnerRecord
    fingerprints: bytes
    checkpoint_changed: bool
    applied: int
    duplicates: int
    refused: Sequence[Refusal] = ()
    erased: bool = False


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

    def fold_again(self, tenant: str, stored: LearnerRecord) -> LearnerRecord:
        """A learner as its journal gives it from its checkpoint.

        Args:
            tenant: whose parameters hold.
            stored: the learner.
        """
        if stored.state is None:
            return stored
        plan = _Plan(self._columns)
        draft = _StateDraft(plan, tenant, unpack_state(stored.checkpoint) if stored.checkpoint else None)
        draft.add_again(entries_of(stored.journal), names.split(stored.state.skill_names))
        plan.run()
        return stored._replace(state=_carried(draft.finish(), stored.state))


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

    __slots__ = (
        "_dismissals",
        "_plan",
        "_preferences",
        "_resources",
        "_row",
        "_skill_names",
        "_stored",
        "_tenant",
        "_touches",
        "skill_count",
    )

    def __init__(self, plan: _Plan, tenant: str, state: PackedState | None) -> None:
        self._tenant = plan.columns.of(tenant)
        self._stored = state or PackedState(self._tenant.new_learner, b"", b"", b"", b"", b"", b"")
        self._plan = plan
        self._row = len(plan.states)
        self.skill_count = len(self._stored.skills) // SKILL_RECORD.itemsize
        self._skill_names = names.begin(self._stored.skill_names)
        self._touches = bytearray(self._stored.touches)
        self._resources = names.begin(self._stored.resources)
        self._dismissals = self._stored.dismissals
        self._preferences = self._stored.preferences
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
        for _, response, at_s, item, _, slots, _, evidence, resource, interaction, voided in entries:
            if interaction is not None:
                self.interact(resource, interaction, at_s)
                continue
            for slot in slots:
                if slot >= self.skill_count:
                    self.skill_count += 1
                    self._skill_names += skill_names[slot] + names.SEPARATOR
            rows_of_skills = [(slot, rows[slot]) for slot in slots]
            if voided:
                self.add_voided(rows_of_skills)
            else:
                self.add(item, rows_of_skills, response, at_s, resource, evidence=evidence)

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
            self._touch(resource.encode(), InteractionKind.ANSWERED, at_s)

    def add_voided(self, slots: Sequence[tuple[int, int]]) -> None:
        """A response that counts as not given: its skills are met, nothing else moves."""
        self.add("", slots, 0.0, 0, "", evidence=False)

    def count(self) -> None:
        """An event that is neither a response nor an interaction."""
        self.add_voided(())

    def interact(self, resource: str, kind: InteractionKind, at_s: int) -> None:
        self.add("", (), 0.0, at_s, "", evidence=False)
        if kind is InteractionKind.DISMISSED:
            self._dismiss(resource.encode())
        else:
            self._touch(resource.encode(), kind, at_s)

    def prefer(self, event: PreferenceEvent) -> None:
        self.count()
        self._preferences = pack(replaced(unpack(self._preferences), event))

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
            self._dismissals,
            self._preferences,
        )

    def _touch(self, resource: bytes, kind: int, at_s: int) -> None:
        if self._dismissals:
            self._dismissals = names.without(self._dismissals, resource)
        place = names.find(self._resources, resource)
        if place >= 0:
            touch = names.number_at(self._resources, place) * TOUCH_BYTES
            kind = max(kind, self._touches[touch])
            del self._touches[touch : touch + TOUCH_BYTES]
            names.remove_at(self._resources, place)
        elif len(self._touches) == RECENT_RESOURCES * TOUCH_BYTES:
            del self._touches[:TOUCH_BYTES]
            names.remove_at(self._resources, 0)
        self._resources += resource + names.SEPARATOR
        self._touches += pack_touch(kind, at_s)

    def _dismiss(self, resource: bytes) -> None:
        dismissals = names.begin(names.without(self._dismissals, resource))
        if names.count(dismissals) == DISMISSALS:
            names.remove_at(dismissals, 0)
        dismissals += resource + names.SEPARATOR
        self._dismissals = names.end(dismissals)


class _LearnerDraft:
    """Walks one learner's events: window, journal, checkpoint, state."""

    __slots__ = (
        "_applied",
        "_base",
        "_checkpoint",
        "_corrected",
        "_duplicates",
        "_erased",
        "_fingerprints",
        "_journal",
        "_known",
        "_offset",
        "_plan",
        "_refolded",
        "_refused",
        "_state",
        "_taken",
        "_tenant",
        "_window",
    )

    def __init__(self, plan: _Plan, learner: LearnerEvents) -> None:
        self._plan = plan
        self._tenant = learner.tenant
        self._known = None if learner.known is NOTHING_KNOWN else learner.known
        self._offset = learner.stored.offset
        self._applied = 0
        self._duplicates = 0
        self._refused: list[Refusal] = []
        self._erased = False
        self._begin(learner.stored)
        self._walk(learner)

    def _begin(self, base: LearnerRecord) -> None:
        """Go on from what is stored."""
        self._base = base
        self._checkpoint: _StateDraft | None = None
        self._state: _StateDraft | None = None
        self._refolded: _StateDraft | None = None
        self._journal = JournalDraft(base.journal)
        self._window = bytearray(base.seen)
        self._fingerprints = bytearray()
        # What went from the journal into the checkpoint; whether a correction changed the journal.
        self._taken: list[JournalEntry] = []
        self._corrected = False

    def _walk(self, learner: LearnerEvents) -> None:
        stored, counted_from = learner.stored, learner.counted_from
        window = self._window
        state: _StateDraft | None = None
        for offset, event in learner.events:
            counted = offset >= counted_from
            if offset <= stored.offset:
                self._applied += counted
                continue
            fingerprint = event.fingerprint
            if _holds(window, fingerprint):
                self._duplicates += counted
                continue
            response = type(event) is AssessmentEvent
            if not response and self._refuses(offset, event):
                continue
            self._applied += counted
            self._offset = offset
            if not response and isinstance(event, ErasureEvent):
                self._erased = True
                self._begin(NEW_LEARNER)
                window, state = self._window, None
                window += fingerprint
                self._fingerprints += fingerprint
                continue
            window += fingerprint
            self._fingerprints += fingerprint
            if state is None:
                state = self._state = _StateDraft(self._plan, self._tenant, self._base.state)
            if response:
                self._apply(offset, event, state)  # type: ignore[arg-type]  # it is one, by its type.
            else:
                self._apply_other(offset, event, state)
        if self._corrected and state is not None:
            self._refold(state)

    def _apply(self, offset: int, event: AssessmentEvent, state: _StateDraft) -> None:
        journal = self._journal
        if journal.corrections or self._known is not None:
            corrected = self._correction_of(offset, event)
            if corrected == VOIDED:
                self._apply_voided(event, state)
                return
            if corrected is not None:
                event = event._replace(response=corrected)
        evidence = not (event.grain is Grain.ACTIVITY and event.activity and journal.holds_item_of(event.activity))
        hidden = False
        if journal.full:
            hidden = self._fold_oldest(event, state)
        slots = state.slots_of(event.skills)
        journal.append(event, slots, evidence=evidence, hidden=hidden)
        state.add(event.item, slots, event.response, event.at_s, event.resource, evidence=evidence)

    def _apply_voided(self, event: AssessmentEvent, state: _StateDraft) -> None:
        hidden = self._fold_oldest(event, state) if self._journal.full else False
        slots = state.slots_of(event.skills)
        self._journal.append(event._replace(response=0.0), slots, evidence=False, voided=True, hidden=hidden)
        state.add_voided(slots)

    def _apply_other(self, offset: int, event: LearnerEvent, state: _StateDraft) -> None:
        match event:
            case InteractionEvent():
                if self._journal.full:
                    self._fold_oldest(None, state)
                self._journal.append_interaction(event)
                state.interact(event.resource, event.kind, event.at_s)
            case PreferenceEvent():
                state.prefer(event)
            case CorrectionEvent():
                state.count()
                self._correct(offset, event)

    def _refuses(self, offset: int, event: LearnerEvent) -> bool:
        """Whether the event is a correction that can neither be applied nor wait."""
        if not isinstance(event, CorrectionEvent):
            return False
        refusal = self._refusal(event)
        known = self._known is not None and self._known.holds(offset)
        if refusal is None or (known and refusal[0] in RESOLVED_BY_REPLAY):
            return False
        self._refused.append(Refusal(offset, *refusal))
        return True

    def _refusal(self, event: CorrectionEvent) -> tuple[str, str] | None:
        journal, target = self._journal, event.target
        place = journal.find(target)
        if place >= 0:
            if journal.is_response(place):
                return None
            return NOT_A_RESPONSE, "what it corrects is an interaction; only responses are corrected"
        if _holds(self._window, target):
            return BEYOND_JOURNAL, (
                f"what it corrects is no response among the learner's last {JOURNAL_EVENTS // 2} to {JOURNAL_EVENTS}; "
                "a replay takes it into account"
            )
        if len(self._window) >= _SEEN_BYTES:
            return BEYOND_JOURNAL, (
                f"what it corrects is not among the learner's last {SEEN_EVENTS:,} events; "
                "a replay takes it into account"
            )
        if not journal.has_room_to_await(target):
            return TOO_MANY_EARLY, (
                f"{EARLY_CORRECTIONS} corrections of the learner wait for what they correct; "
                "a replay takes it into account"
            )
        return None

    def _correct(self, offset: int, event: CorrectionEvent) -> None:
        response: float | None = None
        if self._known is not None and self._known.holds(offset):
            # Later corrections of the same event are known too: the last one has been applied already.
            response = self._known.response(offset, event.target)
        if response is None:
            response = event.response
        place = self._journal.find(event.target)
        if place >= 0:
            self._corrected |= self._journal.correct(place, response)
        elif not _holds(self._window, event.target) and self._journal.has_room_to_await(event.target):
            self._journal.await_target(event.target, response)

    def _correction_of(self, offset: int, event: AssessmentEvent) -> float | None:
        waiting = self._journal.take_correction(event.fingerprint)
        if waiting is None and self._known is not None:
            return self._known.response(offset, event.fingerprint)
        return waiting

    def _fold_oldest(self, event: AssessmentEvent | None, state: _StateDraft) -> bool:
        """Move the journal's oldest events to the checkpoint; whether one of them hides the event, a score."""
        checkpoint = self._checkpoint
        if checkpoint is None:
            checkpoint = self._checkpoint = self._draft_of_checkpoint()
        taken = self._journal.take_oldest()
        checkpoint.add_again(taken, state.skill_names())
        self._taken += taken
        if event is None or event.grain is not Grain.ACTIVITY or not event.activity:
            return False
        hashed = activity_hash(event.activity)
        return any(entry.activity_hash == hashed and hides(entry) for entry in taken)

    def _refold(self, state: _StateDraft) -> None:
        """Fold what the checkpoint was when the batch began, and everything after it, anew."""
        self._refolded = self._draft_of_checkpoint()
        self._refolded.add_again([*self._taken, *self._journal.entries()], state.skill_names())

    def _draft_of_checkpoint(self) -> _StateDraft:
        stored = self._base.checkpoint
        return _StateDraft(self._plan, self._tenant, unpack_state(stored) if stored else None)

    def finish(self) -> FoldedLearner:
        base = self._base
        if not self._fingerprints:
            return FoldedLearner(base, b"", False, self._applied, self._duplicates, self._refused)  # noqa: FBT003 - a field's value.
        checkpoint = base.checkpoint if self._checkpoint is None else encode_state(self._checkpoint.finish())
        state = None if self._state is None else self._state.finish()
        if self._refolded is not None and state is not None:
            state = _carried(self._refolded.finish(), state)
        return FoldedLearner(
            LearnerRecord(
                self._offset,
                state,
                self._journal.finish(),
                checkpoint,
                bytes(self._window[-_SEEN_BYTES:]),
            ),
            bytes(self._fingerprints),
            self._checkpoint is not None or self._erased,
            self._applied,
            self._duplicates,
            self._refused,
            self._erased,
        )


def _carried(refolded: PackedState, counted: PackedState) -> PackedState:
    """A state folded again, with what is not folded from the journal."""
    return with_applied_of(refolded, counted)._replace(preferences=counted.preferences)


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
