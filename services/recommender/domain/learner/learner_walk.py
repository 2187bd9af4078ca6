"""Processing one learner's events: which of them apply, and how they change window, journal, checkpoint and state.

A correction changes its target in the journal, and the state is folded again from the journal's checkpoint. If the
target may still come, the correction waits in the journal. Otherwise it is refused. Its target is the last event
applied under the target's id, or the first response that comes under it.

An event whose id was applied is a duplicate if it says what was said under that id; a revision, which acts as a
correction of the response, if it says something else and that it revises; otherwise a conflict.
"""

from __future__ import annotations

from services.recommender.domain.learner.batch import (
    BEYOND_JOURNAL,
    CONFLICT,
    NOT_A_RESPONSE,
    RESOLVED_BY_REPLAY,
    TOO_MANY_EARLY,
    FoldedLearner,
    LearnerEvents,
    Refusal,
)
from services.recommender.domain.learner.conflicts import conflict_reason, target_reason
from services.recommender.domain.learner.corrections import NOTHING_KNOWN
from services.recommender.domain.learner.events import (
    CONTENT_UNKNOWN,
    VOIDED,
    AssessmentEvent,
    ContentKind,
    CorrectionEvent,
    ErasureEvent,
    Grain,
    InteractionEvent,
    LearnerEvent,
    PreferenceEvent,
    kind_of,
)
from services.recommender.domain.learner.journal import (
    EARLY_CORRECTIONS,
    JOURNAL_EVENTS,
    JournalDraft,
    JournalEntry,
    activity_hash,
    hides,
)
from services.recommender.domain.learner.record import NEW_LEARNER, SEEN_EVENTS, LearnerRecord
from services.recommender.domain.learner.seen import contents_under, holds, is_full, kept, unpack_contents
from services.recommender.domain.learner.state import encode_state, unpack_state
from services.recommender.domain.learner.state_draft import FoldPlan, StateDraft, carried

_CORRECTABLE = frozenset((ContentKind.ASSESSMENT, ContentKind.UNKNOWN))


class LearnerWalk:
    """Processes one learner's events in the constructor; `finish` returns the result after the plan has run."""

    __slots__ = (
        "_applied",
        "_base",
        "_checkpoint",
        "_contents",
        "_corrected",
        "_duplicates",
        "_erased",
        "_journal",
        "_known",
        "_offset",
        "_plan",
        "_refolded",
        "_refused",
        "_seen",
        "_state",
        "_taken",
        "_tenant",
        "_window",
    )

    def __init__(self, plan: FoldPlan, learner: LearnerEvents) -> None:
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
        """Continue from the stored learner."""
        self._base = base
        self._checkpoint: StateDraft | None = None
        self._state: StateDraft | None = None
        self._refolded: StateDraft | None = None
        self._journal = JournalDraft(base.journal)
        self._window = bytearray(base.seen)
        self._contents = unpack_contents(base.seen, base.contents)
        self._seen = bytearray()
        # The events moved from the journal into the checkpoint, and whether a correction changed the journal.
        self._taken: list[JournalEntry] = []
        self._corrected = False

    def _walk(self, learner: LearnerEvents) -> None:
        stored, counted_from = learner.stored, learner.counted_from
        window, contents, seen = self._window, self._contents, self._seen
        state: StateDraft | None = None
        for offset, logged in learner.events:
            event = logged
            fingerprint = event.fingerprint
            counted = offset >= counted_from
            if offset <= stored.offset:
                self._applied += counted
                continue
            response = type(event) is AssessmentEvent
            if holds(window, fingerprint) or (response and event.former and holds(window, event.former)):  # type: ignore[union-attr]  # an assessment, by its type.
                revision = self._repeated(offset, event, counted=counted)
                if revision is None:
                    continue
                event, fingerprint, response = revision, revision.fingerprint, False
            if not response and self._refuses(offset, event):
                continue
            self._applied += counted
            self._offset = offset
            if not response and isinstance(event, ErasureEvent):
                self._erased = True
                self._begin(NEW_LEARNER)
                window, contents, seen, state = self._window, self._contents, self._seen, None
                window += fingerprint
                contents += event.content
                seen += fingerprint + event.content
                continue
            window += fingerprint
            contents += event.content
            seen += fingerprint + event.content
            if state is None:
                state = self._state = StateDraft(self._plan, self._tenant, self._base.state)
            if response:
                self._apply(offset, event, state)  # type: ignore[arg-type]  # it is one, by its type.
            else:
                self._apply_other(offset, event, state)
        if self._corrected and state is not None:
            self._refold(state)

    def _apply(self, offset: int, event: AssessmentEvent, state: StateDraft) -> None:
        journal = self._journal
        if journal.corrections or self._known is not None:
            corrected = self._correction_of(offset, event)
            if corrected == VOIDED:
                self._apply_voided(event, state)
                return
            if corrected is not None:
                event = event._replace(response=corrected)
        evidence = not (event.grain and event.activity and journal.holds_item_of(event.activity))
        hidden = False
        if journal.full:
            hidden = self._fold_oldest(event, state)
        slots = state.slots_of(event.skills)
        journal.append(event, slots, evidence=evidence, hidden=hidden)
        state.add(event.item, slots, event.response, event.at_s, event.resource, evidence=evidence)

    def _apply_voided(self, event: AssessmentEvent, state: StateDraft) -> None:
        hidden = self._fold_oldest(event, state) if self._journal.full else False
        slots = state.slots_of(event.skills)
        self._journal.append(event._replace(response=0.0), slots, evidence=False, voided=True, hidden=hidden)
        state.add_voided(slots)

    def _apply_other(self, offset: int, event: LearnerEvent, state: StateDraft) -> None:
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
            case _:
                # An event kind that changes no mastery, resource or preference is only counted as applied.
                state.count()

    def _repeated(self, offset: int, event: LearnerEvent, *, counted: bool) -> CorrectionEvent | None:
        """The correction that an event amounts to whose identity was applied; None if it is a duplicate or conflict."""
        identity, former = event.fingerprint, getattr(event, "former", b"")
        if former and not holds(self._window, identity):
            identity = former
        said = contents_under(self._window, self._contents, identity)
        known = event.content != CONTENT_UNKNOWN
        if isinstance(event, AssessmentEvent) and event.revises:
            if not (known and event.content == said[-1]):
                return CorrectionEvent(identity, identity, event.response, event.content)
        elif known and CONTENT_UNKNOWN not in said and event.content not in said:
            journal = self._journal.finish()
            self._refused.append(Refusal(offset, CONFLICT, conflict_reason(event, said[-1], identity, journal)))
            return None
        self._duplicates += counted
        return None

    def _refuses(self, offset: int, event: LearnerEvent) -> bool:
        """Whether the event is a correction or revision that can neither be applied nor wait."""
        if not isinstance(event, CorrectionEvent):
            return False
        refusal = self._refusal(event)
        known = self._known is not None and self._known.target_of(offset) is not None
        if refusal is None or (known and refusal[0] in RESOLVED_BY_REPLAY):
            return False
        self._refused.append(Refusal(offset, *refusal))
        return True

    def _refusal(self, event: CorrectionEvent) -> tuple[str, str] | None:
        journal, target = self._journal, event.target
        said = contents_under(self._window, self._contents, target)
        kind = kind_of(said[-1]) if said else ContentKind.UNKNOWN
        if kind not in _CORRECTABLE:
            return NOT_A_RESPONSE, target_reason(kind)
        place = journal.find(target)
        if place >= 0:
            return None if journal.is_response(place) else (NOT_A_RESPONSE, target_reason(ContentKind.INTERACTION))
        if said:
            return BEYOND_JOURNAL, (
                f"its target is not a response among the learner's last {JOURNAL_EVENTS // 2} to {JOURNAL_EVENTS}; "
                "a replay applies it"
            )
        if is_full(self._window):
            return BEYOND_JOURNAL, (
                f"its target is not among the learner's last {SEEN_EVENTS:,} events; a replay applies it"
            )
        if not journal.has_room_to_await(target):
            return TOO_MANY_EARLY, (
                f"{EARLY_CORRECTIONS} corrections of the learner already wait for their targets; a replay applies it"
            )
        return None

    def _correct(self, offset: int, event: CorrectionEvent) -> None:
        target_at = None if self._known is None else self._known.target_of(offset)
        if target_at is not None and target_at < offset:
            # The target was folded as corrected, by this correction or a later one.
            return
        place = self._journal.find(event.target)
        if place >= 0:
            self._corrected |= self._journal.correct(place, event.response)
            return
        # A correction that names its own id waits for a response of that id, like one of any other that never comes.
        may_come = event.target == event.fingerprint or not holds(self._window, event.target)
        if may_come and self._journal.has_room_to_await(event.target):
            self._journal.await_target(event.target, event.response)

    def _correction_of(self, offset: int, event: AssessmentEvent) -> float | None:
        waiting = self._journal.take_correction(event.fingerprint)
        known = None if self._known is None else self._known.response(offset)
        return waiting if known is None else known

    def _fold_oldest(self, event: AssessmentEvent | None, state: StateDraft) -> bool:
        """Move the journal's oldest events to the checkpoint; return whether one of them hides the event."""
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

    def _refold(self, state: StateDraft) -> None:
        """Fold everything after the checkpoint that the batch started from again."""
        self._refolded = self._draft_of_checkpoint()
        self._refolded.add_again([*self._taken, *self._journal.entries()], state.skill_names())

    def _draft_of_checkpoint(self) -> StateDraft:
        stored = self._base.checkpoint
        return StateDraft(self._plan, self._tenant, unpack_state(stored) if stored else None)

    def finish(self) -> FoldedLearner:
        """The learner after all events; call after `FoldPlan.run`."""
        base = self._base
        if not self._seen:
            return FoldedLearner(base, b"", False, self._applied, self._duplicates, self._refused)  # noqa: FBT003 - a field's value.
        checkpoint = base.checkpoint if self._checkpoint is None else encode_state(self._checkpoint.finish())
        state = None if self._state is None else self._state.finish()
        if self._refolded is not None and state is not None:
            state = carried(self._refolded.finish(), state)
        return FoldedLearner(
            LearnerRecord(self._offset, state, self._journal.finish(), checkpoint, *kept(self._window, self._contents)),
            bytes(self._seen),
            self._checkpoint is not None or self._erased,
            self._applied,
            self._duplicates,
            self._refused,
            self._erased,
            0 if self._state is None else self._state.refused_skills,
        )
