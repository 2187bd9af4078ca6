"""Properties of folding corrections, interactions, preferences and erasures."""

from __future__ import annotations

import random
import struct
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.recommender.domain.learner import seen
from services.recommender.domain.learner.batch import FoldedLearner, LearnerEvents, Refusal
from services.recommender.domain.learner.corrections import NOTHING_KNOWN, LearnerCorrections
from services.recommender.domain.learner.events import (
    VOIDED,
    AssessmentEvent,
    ContentKind,
    CorrectionEvent,
    ErasureEvent,
    Grain,
    InteractionEvent,
    InteractionKind,
    LearnerEvent,
    PreferenceEvent,
    content_of,
)
from services.recommender.domain.learner.fold import LearnerFold
from services.recommender.domain.learner.journal import (
    EARLY_CORRECTIONS,
    EMPTY_JOURNAL,
    JOURNAL_EVENTS,
    decode_journal,
    encode_journal,
)
from services.recommender.domain.learner.parameters import (
    FilterSettings,
    ItemDifficulty,
    SkillDifficulty,
    TenantParameters,
    TracingParameters,
)
from services.recommender.domain.learner.preferences import NO_PREFERENCES, Pace, Preferences
from services.recommender.domain.learner.record import NEW_LEARNER, LearnerRecord
from services.recommender.domain.learner.state import DISMISSALS, LearnerState, decode_state, encode_state, unpack_state

PARAMETERS = TracingParameters(
    "test",
    {
        "riverbend": TenantParameters(
            settings=FilterSettings(base=0.4),
            items={"i0": ItemDifficulty(0.7, 0.2), "i1": ItemDifficulty(-1.1, 0.4)},
            skills={"s0": SkillDifficulty(0.3, 0.1, 0.2)},
            recent_items=True,
        )
    },
)
FOLD = LearnerFold(PARAMETERS)
WHEN_S = 1_600_000_000


def fp(number: int) -> bytes:
    return struct.pack("<Q", number)


def answer(
    number: int,
    response: float = 1.0,
    *,
    item: str = "i0",
    skills: tuple[str, ...] = ("s0",),
    activity: str = "",
    grain: Grain = Grain.ITEM,
    resource: str = "",
    at_s: int = WHEN_S,
) -> AssessmentEvent:
    return AssessmentEvent(fp(number), response, at_s, item, activity, skills, grain, resource)


def did(number: int, kind: InteractionKind, resource: str = "r1", at_s: int = WHEN_S) -> InteractionEvent:
    return InteractionEvent(fp(number), at_s, resource, kind)


def wants(number: int, **fields: object) -> PreferenceEvent:
    return PreferenceEvent(
        **({"fingerprint": fp(number), "goals": None, "interests": None, "formats": None, "pace": 0} | fields)
    )


def void(number: int, target: int) -> CorrectionEvent:
    return CorrectionEvent(fp(number), fp(target), VOIDED)


def regrade(number: int, target: int, response: float) -> CorrectionEvent:
    return CorrectionEvent(fp(number), fp(target), response)


def erase(number: int) -> ErasureEvent:
    return ErasureEvent(fp(number))


def fold(
    events: Sequence[LearnerEvent],
    stored: LearnerRecord = NEW_LEARNER,
    *,
    first: int = 0,
    known: LearnerCorrections = NOTHING_KNOWN,
) -> FoldedLearner:
    (folded,) = FOLD.fold([LearnerEvents("riverbend", stored, list(enumerate(events, first)), 0, known)])
    return folded


def state_of(events: Sequence[LearnerEvent]) -> LearnerState:
    return decode_state(encode_state(fold(events).stored.state))


def content(stored: LearnerRecord) -> tuple[bytes, bytes, bytes, bytes, bytes]:
    """Everything stored except the offset."""
    state = b"" if stored.state is None else encode_state(stored.state)
    return state, encode_journal(stored.journal), stored.checkpoint, stored.seen, stored.contents


def shown(state: LearnerState | None) -> object:
    """Posterior, counts, resources and preferences: everything except the number of applied events."""
    if state is None:
        return None
    records = {
        name: record.tobytes()
        for name, record in zip(state.skill_names, state.skill_records, strict=True)
        if record["attempts"]
    }
    return (
        np.float32(state.mean).tobytes(),
        np.float32(state.variance).tobytes(),
        state.responses,
        records,
        state.resources,
        state.dismissals,
        state.preferences,
        state.recent_items.tobytes(),
        state.last_at_s,
    )


def shown_of(stored: LearnerRecord) -> object:
    return shown(None if stored.state is None else decode_state(encode_state(stored.state)))


def known_of(events: Sequence[LearnerEvent], first: int = 0) -> LearnerCorrections:
    known = LearnerCorrections()
    for offset, event in enumerate(events, first):
        known.note(offset, event)
    return known


def without_refused(events: Sequence[LearnerEvent]) -> list[LearnerEvent]:
    refused = {refusal.offset for refusal in fold(events).refused}
    return [event for offset, event in enumerate(events) if offset not in refused]


def corrected_from_the_start(events: Sequence[LearnerEvent]) -> list[LearnerEvent]:
    """The log without corrections: each target has its last correction applied; voided ones are left out."""
    last: dict[bytes, float] = {}
    met: set[bytes] = set()
    for event in events:
        if isinstance(event, CorrectionEvent) and event.fingerprint not in met:
            last[event.target] = event.response
        met.add(event.fingerprint)
    clean: list[LearnerEvent] = []
    for event in events:
        if isinstance(event, CorrectionEvent):
            continue
        response = last.get(event.fingerprint) if isinstance(event, AssessmentEvent) else None
        if response is None:
            clean.append(event)
        elif response != VOIDED:
            clean.append(event._replace(response=response))
    return clean


SOMEBODY = wants(9_999)
"""Return an event that creates the learner even if nothing else happens."""

numbers = st.integers(0, 150)
outcomes = st.one_of(st.sampled_from([0.0, 1.0]), st.floats(0, 1, width=32))
small = st.integers(0, 5)
answers = st.builds(
    answer,
    numbers,
    outcomes,
    item=small.map(lambda n: f"i{n}"),
    skills=st.lists(small.map(lambda n: f"s{n}"), unique=True, max_size=3).map(tuple),
    activity=st.sampled_from(["", "a0", "a1"]),
    grain=st.sampled_from(list(Grain)),
    resource=st.sampled_from(["", "i0", "r0", "r1"]),
    at_s=st.integers(0, 2**32 - 1),
)
interactions = st.builds(
    did,
    numbers.map(lambda n: 1_000 + n),
    st.sampled_from([InteractionKind.OPENED, InteractionKind.COMPLETED, InteractionKind.DISMISSED]),
    small.map(lambda n: f"r{n}"),
    st.integers(0, 2**32 - 1),
)
preferences = st.builds(
    wants,
    numbers.map(lambda n: 2_000 + n),
    goals=st.none() | st.lists(small.map(lambda n: f"s{n}"), unique=True, max_size=3).map(tuple),
    interests=st.none() | st.lists(small.map(lambda n: f"t{n}"), unique=True, max_size=3).map(tuple),
    formats=st.none() | st.lists(st.integers(1, 6), unique=True, max_size=3).map(tuple),
    pace=st.integers(0, 3),
)
corrections = st.builds(
    regrade,
    numbers.map(lambda n: 3_000 + n),
    numbers,
    st.one_of(st.just(VOIDED), outcomes),
)
erasures = st.builds(erase, small.map(lambda n: 4_000 + n))
of_any_kind = st.one_of(answers, answers, answers, interactions, preferences, corrections, corrections)


logs = st.lists(of_any_kind, max_size=40)
logs_with_erasures = st.lists(st.one_of(*[of_any_kind] * 12, erasures), max_size=40)


def long_log(seed: int) -> list[LearnerEvent]:
    """A log of several journals, drawn without hypothesis, which is slow at this size."""
    draw = random.Random(seed)

    def one() -> LearnerEvent:
        match draw.choices(["answer", "did", "wants", "corrected", "erased"], [60, 10, 5, 25, 0.4])[0]:
            case "answer":
                return answer(
                    draw.randrange(150),
                    draw.choice([0.0, 0.25, 1.0]),
                    item=f"i{draw.randrange(6)}",
                    skills=tuple(draw.sample([f"s{n}" for n in range(6)], draw.randrange(4))),
                    activity=draw.choice(["", "a0", "a1", "a2"]),
                    grain=draw.choice(list(Grain)),
                    resource=draw.choice(["", "i0", "r0", "r1"]),
                    at_s=draw.randrange(2**32),
                )
            case "did":
                kinds = [InteractionKind.OPENED, InteractionKind.COMPLETED, InteractionKind.DISMISSED]
                return did(1_000 + draw.randrange(150), draw.choice(kinds), f"r{draw.randrange(6)}")
            case "wants":
                return wants(2_000 + draw.randrange(150), pace=draw.randrange(4))
            case "corrected":
                target = draw.randrange(150)
                return CorrectionEvent(fp(3_000 + draw.randrange(150)), fp(target), draw.choice([VOIDED, 0.0, 0.5]))
            case _:
                return erase(4_000 + draw.randrange(5))

    return [one() for _ in range(draw.randrange(60, 260))]


def logs_within(journal_events: int) -> st.SearchStrategy[list[LearnerEvent]]:
    return st.lists(of_any_kind, max_size=80).map(
        lambda events: [
            event
            for place, event in enumerate(events)
            if not isinstance(event, AssessmentEvent | InteractionEvent)
            or sum(isinstance(one, AssessmentEvent | InteractionEvent) for one in events[:place]) < journal_events
        ]
    )


@settings(max_examples=60, deadline=None)  # The first call compiles.
@given(logs_within(JOURNAL_EVENTS))
def test_a_corrected_log_equals_a_log_with_the_corrected_values(events):
    folded = fold([SOMEBODY, *events])
    assert not folded.refused
    assert shown_of(folded.stored) == shown_of(fold([SOMEBODY, *corrected_from_the_start(events)]).stored)


@pytest.mark.parametrize("seed", range(20))
def test_beyond_one_journal_a_voided_response_keeps_only_its_place(seed):
    """Without scores on activities, which depend on the place, and without erasures, which the clean log lacks."""
    items = [
        event._replace(grain=Grain.ITEM) if isinstance(event, AssessmentEvent) else event
        for event in long_log(seed)
        if not isinstance(event, ErasureEvent)
    ]
    honoured = without_refused([SOMEBODY, *items])
    clean = fold(corrected_from_the_start(honoured)).stored
    assert shown_of(fold(honoured).stored) == shown_of(clean)
    # Known in advance, every correction is applied.
    known = fold([SOMEBODY, *items], known=known_of([SOMEBODY, *items]))
    assert {refusal.code for refusal in known.refused} <= {"correction-not-of-a-response"}
    assert shown_of(known.stored) == shown_of(fold(corrected_from_the_start([SOMEBODY, *items])).stored)


@settings(max_examples=100, deadline=None)
@given(logs_with_erasures)
def test_a_correction_known_in_advance_gives_the_same_bytes_as_one_applied_in_its_place(events):
    check_known_and_met_are_equal(events)


@pytest.mark.parametrize("seed", range(40))
def test_a_correction_known_in_advance_gives_the_same_bytes_in_long_logs_too(seed):
    check_known_and_met_are_equal(long_log(seed))


def check_known_and_met_are_equal(events: Sequence[LearnerEvent]) -> None:
    honoured = without_refused(events)
    met, known = fold(honoured), fold(honoured, known=known_of(honoured))
    assert content(known.stored) == content(met.stored)
    assert (known.applied, known.duplicates, known.refused, met.refused) == (met.applied, met.duplicates, [], [])
    assert content(FOLD.fold_again("riverbend", met.stored)) == content(met.stored)


@settings(max_examples=100, deadline=None)
@given(logs_with_erasures, st.data())
def test_any_batching_gives_the_same_bytes(events, data):
    whole = fold(events)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(events)), max_size=8)))
    stored, applied, duplicates, refused = NEW_LEARNER, 0, 0, list[Refusal]()
    for start, end in zip([0, *cuts], [*cuts, len(events)], strict=True):
        state, journal, *rest = content(stored)
        stored = LearnerRecord(stored.offset, unpack_state(state) if state else None, decode_journal(journal), *rest)
        folded = fold(events[start:end], stored, first=start)
        stored, applied, duplicates = folded.stored, applied + folded.applied, duplicates + folded.duplicates
        refused += folded.refused
    assert content(stored) == content(whole.stored)
    assert (applied, duplicates, refused) == (whole.applied, whole.duplicates, list(whole.refused))
    assert applied + duplicates + len(refused) == len(events)


@settings(max_examples=100, deadline=None)
@given(logs_with_erasures)
def test_folding_the_journal_from_its_checkpoint_gives_the_learner(events):
    stored = fold(events).stored
    assert content(FOLD.fold_again("riverbend", stored)) == content(stored)


@settings(max_examples=100, deadline=None)
@given(logs_with_erasures)
def test_every_event_of_every_kind_is_applied_once(events):
    folded = fold(events)
    since = max((place for place, event in enumerate(events) if isinstance(event, ErasureEvent)), default=-1)
    if since < 0:
        state = folded.stored.state
        assert folded.applied == (decode_state(encode_state(state)).applied if state else 0)


def test_a_voided_response_leaves_only_its_place():
    state = state_of([answer(1), answer(2, 0.0, skills=("s1",), resource="r", at_s=WHEN_S + 9), void(3, 2)])
    assert shown(state) == shown(state_of([answer(1)]))
    assert state.applied == 3


def test_a_regraded_response_counts_as_regraded():
    events = [answer(1, 0.0), answer(2), regrade(3, 1, 0.5)]
    assert shown(state_of(events)) == shown(state_of([answer(1, 0.5), answer(2)]))


def test_the_last_correction_of_a_response_wins():
    for corrections_, clean in (
        ([regrade(3, 1, 0.0), regrade(4, 1, 0.5)], [answer(1, 0.5), answer(2)]),
        ([void(3, 1), regrade(4, 1, 0.5)], [answer(1, 0.5), answer(2)]),
        ([regrade(3, 1, 0.5), void(4, 1)], [answer(2)]),
    ):
        late = fold([answer(1), answer(2), *corrections_]).stored
        early = fold([*corrections_, answer(1), answer(2)]).stored
        between = fold([corrections_[0], answer(1), answer(2), corrections_[1]]).stored
        assert shown_of(late) == shown_of(early) == shown_of(between) == shown_of(fold(clean).stored)
        assert late.state == early.state == between.state
        assert late.journal == early.journal == between.journal


def test_a_correction_sent_twice_does_not_undo_the_one_between():
    state = state_of([answer(1), regrade(2, 1, 0.5), void(3, 1), regrade(2, 1, 0.5)])
    assert state.responses == 0


def test_a_voided_item_no_longer_hides_the_score_on_its_activity():
    item = answer(1, activity="quiz")
    score = answer(2, 0.0, item="", activity="quiz", grain=Grain.ACTIVITY)
    assert shown(state_of([item, score, void(3, 1)])) == shown(state_of([score]))
    other = answer(4, activity="quiz")
    assert state_of([item, other, score, void(3, 1)]).responses == 1


def test_a_score_hidden_by_an_item_that_left_the_journal_stays_hidden():
    item, score = answer(1, activity="quiz"), answer(40, 0.0, item="", activity="quiz", grain=Grain.ACTIVITY)
    between = answer(39, activity="quiz")
    fill = [answer(n) for n in range(2, 36)]
    events = [item, *fill, between, score, *[answer(n) for n in range(100, 100 + JOURNAL_EVENTS)]][:66]
    folded = fold([*events, void(200, 39)])
    assert not folded.refused
    # 66 answers, one of them voided, and the score, which the first item hides even from the checkpoint.
    assert decode_state(encode_state(folded.stored.state)).responses == len(events) - 2


@pytest.mark.parametrize("back", [32, 33, 64, 65])
def test_a_correction_reaches_as_far_as_the_journal_and_no_further(back):
    events = [answer(n) for n in range(JOURNAL_EVENTS + 1)]
    folded = fold([*events, void(500, len(events) - back)])
    if back <= 32:
        assert not folded.refused
        return
    assert [(refusal.offset, refusal.code) for refusal in folded.refused] == [(65, "correction-beyond-journal")]
    assert "replay" in folded.refused[0].reason
    assert (folded.applied, folded.duplicates) == (65, 0)
    assert content(folded.stored) == content(fold(events).stored)


def test_a_correction_known_in_advance_reaches_any_distance():
    events = [*[answer(n, n % 2) for n in range(200)], void(500, 3), regrade(501, 4, 1.0)]
    folded = fold(events, known=known_of(events))
    assert not folded.refused
    assert folded.applied == 202
    assert shown_of(folded.stored) == shown_of(fold(corrected_from_the_start(events)).stored)


def test_the_last_correction_known_in_advance_wins_even_beyond_the_journal():
    events = [answer(0), answer(1), regrade(500, 0, 0.25), *[answer(n) for n in range(2, 100)], regrade(501, 0, 0.5)]
    folded = fold(events, known=known_of(events))
    assert shown_of(folded.stored) == shown_of(fold(corrected_from_the_start(events)).stored)


def test_a_correction_after_the_known_ones_goes_through_the_journal():
    events = [*[answer(n) for n in range(70)], void(500, 3)]
    known = known_of(events)
    later = fold([*events, void(501, 69), void(502, 4)], known=known)
    assert [refusal.offset for refusal in later.refused] == [72]
    assert decode_state(encode_state(later.stored.state)).responses == 68


def test_early_corrections_are_bounded_and_one_of_a_target_replaces_another():
    early = [void(1_000 + n, n) for n in range(EARLY_CORRECTIONS)]
    folded = fold([*early, void(5_000, 500), regrade(5_001, 3, 0.5)])
    assert [(refusal.offset, refusal.code) for refusal in folded.refused] == [(64, "correction-too-early")]
    known = [*early, void(5_000, 500), answer(500)]
    assert decode_state(encode_state(fold(known, known=known_of(known)).stored.state)).responses == 0


def test_a_correction_of_an_unknown_event_is_refused_once_the_window_has_dropped_events(monkeypatch):
    monkeypatch.setattr(seen, "WINDOW_BYTES", 3 * 8)
    folded = fold([answer(1), answer(2), answer(3), answer(4), void(5, 99)])
    assert [refusal.code for refusal in folded.refused] == ["correction-beyond-journal"]


def test_only_responses_are_corrected():
    folded = fold([did(1, InteractionKind.OPENED), void(2, 1)])
    assert [refusal.code for refusal in folded.refused] == ["correction-not-of-a-response"]


def saying(event: LearnerEvent, said: str = "") -> LearnerEvent:
    """The event with a content, as a decoded one has."""
    kinds = {
        AssessmentEvent: ContentKind.ASSESSMENT,
        InteractionEvent: ContentKind.INTERACTION,
        PreferenceEvent: ContentKind.PREFERENCE,
        CorrectionEvent: ContentKind.CORRECTION,
        ErasureEvent: ContentKind.ERASURE,
    }
    body = event[1:8] if isinstance(event, AssessmentEvent) else event[1:-1]
    return event._replace(content=content_of(kinds[type(event)], (said or repr(body)).encode()))


def revised(number: int, response: float, **fields: object) -> AssessmentEvent:
    return saying(answer(number, response, **fields))._replace(revises=True)


def codes(folded: FoldedLearner) -> list[tuple[int, str]]:
    return [(refusal.offset, refusal.code) for refusal in folded.refused]


def test_the_same_id_with_other_content_is_a_conflict_and_with_the_same_content_a_duplicate():
    first, other = saying(answer(1, 0.0)), saying(answer(1, 1.0))
    folded = fold([first, other, first])
    assert codes(folded) == [(1, "conflict")]
    assert (folded.applied, folded.duplicates) == (1, 1)
    assert content(folded.stored) == content(fold([first]).stored)
    (refusal,) = folded.refused
    assert "outcome" in refusal.reason
    assert "revises" in refusal.reason


def test_the_same_id_for_another_kind_of_event_is_a_conflict():
    asked, reused = saying(answer(1)), saying(void(1, 7))
    for first, second in (
        (asked, reused),
        (reused, asked),
        (asked, saying(wants(1, pace=2))),
        (asked, saying(erase(1))),
    ):
        folded = fold([first, second])
        assert codes(folded) == [(1, "conflict")]
        assert folded.stored == fold([first]).stored


def test_an_id_whose_content_an_earlier_release_did_not_keep_is_a_duplicate():
    before = fold([answer(1, 0.0)]).stored
    assert before.contents == b""
    folded = fold([saying(answer(1, 1.0))], before, first=1)
    assert (folded.duplicates, folded.refused) == (1, [])


def test_a_revision_acts_as_a_regrade_of_the_event_it_revises():
    events = [saying(answer(1, 0.0)), saying(answer(2)), revised(1, 1.0)]
    folded = fold(events)
    assert (folded.applied, folded.duplicates, folded.refused) == (3, 0, [])
    assert shown_of(folded.stored) == shown_of(fold([answer(1, 1.0), answer(2)]).stored)


def test_a_revision_of_an_event_that_never_came_is_a_new_event():
    assert shown_of(fold([revised(1, 1.0)]).stored) == shown_of(fold([answer(1, 1.0)]).stored)


def test_the_last_revision_in_the_log_wins_and_a_repeat_of_it_is_a_duplicate():
    events = [saying(answer(1, 0.0)), revised(1, 1.0), revised(1, 0.5), revised(1, 0.5), revised(1, 1.0)]
    folded = fold(events)
    assert (folded.applied, folded.duplicates, folded.refused) == (4, 1, [])
    assert shown_of(folded.stored) == shown_of(fold([answer(1, 1.0)]).stored)


def test_what_was_said_before_a_correction_or_a_revision_is_a_duplicate_when_it_comes_again():
    first = saying(answer(1, 0.0))
    changes = [saying(regrade(2, 1, 0.5)), revised(1, 1.0)]
    folded = fold([first, *changes, first, saying(answer(1, 1.0))])
    assert (folded.applied, folded.duplicates, folded.refused) == (3, 2, [])
    assert shown_of(folded.stored) == shown_of(fold([answer(1, 1.0)]).stored)


def test_a_revision_beyond_the_journal_is_refused_and_a_replay_applies_it():
    events = [saying(answer(n, 0.0)) for n in range(JOURNAL_EVENTS + 1)]
    events.append(revised(0, 1.0))
    assert codes(fold(events)) == [(len(events) - 1, "correction-beyond-journal")]
    known = fold(events, known=known_of(events))
    assert not known.refused
    assert shown_of(known.stored) == shown_of(fold([answer(0, 1.0), *events[1:-1]]).stored)


def test_an_event_that_an_earlier_release_gave_another_id_is_a_duplicate_of_that_one():
    first, again = saying(answer(1, 0.0)), saying(answer(2, 0.0))._replace(former=fp(1))
    folded = fold([first, again])
    assert (folded.duplicates, folded.refused) == (1, [])
    assert folded.stored == fold([first]).stored
    assert fold([again]).applied == 1


def test_an_event_with_a_former_id_may_revise_what_came_under_that_one():
    revision = revised(2, 1.0)._replace(former=fp(1))
    folded = fold([saying(answer(1, 0.0)), revision, revision])
    assert (folded.applied, folded.duplicates, folded.refused) == (2, 1, [])
    assert shown_of(folded.stored) == shown_of(fold([answer(1, 1.0)]).stored)


def test_a_correction_of_a_correction_is_refused_by_name():
    events = [saying(answer(1)), saying(void(2, 1)), saying(void(3, 2))]
    for folded in (fold(events), fold(events, known=known_of(events))):
        assert codes(folded) == [(2, "correction-not-of-a-response")]
        assert "a correction" in folded.refused[0].reason
        assert content(folded.stored) == content(fold(events[:2]).stored)


def test_a_correction_that_reuses_the_id_of_an_answer_changes_nothing_live_or_replayed():
    events = [saying(answer(1)), saying(answer(2)), saying(void(2, 1))]
    for folded in (fold(events), fold(events, known=known_of(events))):
        assert codes(folded) == [(2, "conflict")]
        assert content(folded.stored) == content(fold(events[:2]).stored)


def test_a_void_of_an_id_that_came_again_beyond_the_window_voids_the_one_that_came_last(monkeypatch):
    monkeypatch.setattr(seen, "WINDOW_BYTES", 70 * 8)
    events = [saying(answer(1, 0.0)), *[saying(answer(n)) for n in range(100, 170)], saying(answer(1, 0.0))]
    events.append(saying(void(500, 1)))
    live, replayed = fold(events), fold(events, known=known_of(events))
    assert not live.refused
    assert decode_state(encode_state(live.stored.state)).responses == 71
    assert content(live.stored) == content(replayed.stored)


def test_an_event_sent_again_after_an_erasure_is_a_new_one_live_and_replayed():
    once = [saying(answer(1, 0.0)), saying(void(2, 1))]
    events = [*once, saying(erase(9)), saying(answer(1, 0.0)), saying(answer(3)), saying(regrade(2, 3, 0.0)), *once]
    live, replayed = fold(events), fold(events, known=known_of(events))
    assert content(live.stored) == content(replayed.stored)
    assert codes(live) == codes(replayed) == [(7, "conflict")]
    assert decode_state(encode_state(live.stored.state)).responses == 2


def test_an_erased_learner_is_a_tombstone_with_its_offset():
    stored = fold([answer(1), wants(2, goals=("s1",)), did(3, InteractionKind.DISMISSED), void(4, 9), erase(5)]).stored
    assert stored == LearnerRecord(4, None, EMPTY_JOURNAL, b"", fp(5))


def test_after_an_erasure_the_history_starts_again():
    before = [answer(n, 0.0, resource=f"r{n}") for n in range(80)]
    after = [answer(3), did(1_000, InteractionKind.COMPLETED), wants(1_001, pace=1)]
    folded, alone = fold([*before, erase(500), *after]), fold(after)
    assert folded.stored.state == alone.stored.state
    assert folded.stored.journal == alone.stored.journal
    assert folded.stored.seen == fp(500) + alone.stored.seen
    assert folded.seen == b"".join(event.fingerprint + event.content for event in [erase(500), *after])
    assert folded.erased
    assert folded.checkpoint_changed
    assert folded.applied == 84


def test_an_erasure_sent_twice_forgets_once():
    stored = fold([answer(1), erase(2), answer(3), erase(2)]).stored
    assert decode_state(encode_state(stored.state)).responses == 1


def test_a_rewind_does_not_resurrect_an_erased_learner():
    events = [answer(1), erase(2)]
    erased = fold(events)
    again = fold(events, erased.stored)
    assert again.stored is erased.stored
    assert not again.erased


def test_corrections_do_not_reach_across_an_erasure():
    events = [void(1, 7), erase(2), answer(7), erase(3), void(4, 8)]
    stored = fold(events).stored
    assert content(stored) == content(fold(events, known=known_of(events)).stored)
    for known in (NOTHING_KNOWN, known_of(events)):
        assert decode_state(encode_state(fold(events[:3], known=known).stored.state)).responses == 1


def test_interactions_keep_the_furthest_stage_the_learner_reached():
    opened, completed = InteractionKind.OPENED, InteractionKind.COMPLETED
    state = state_of(
        [did(1, completed, "r1"), did(2, opened, "r2"), answer(3, resource="r2"), did(4, opened, "r1", WHEN_S + 5)]
    )
    assert [(r.resource, r.kind) for r in state.resources] == [
        ("r2", InteractionKind.ANSWERED),
        ("r1", InteractionKind.COMPLETED),
    ]
    assert state.resources[-1].at_s == WHEN_S + 5
    assert (state.applied, state.responses, state.last_at_s) == (4, 1, WHEN_S + 5)


@pytest.mark.parametrize(("openings", "reopened"), [(1, 0), (2, 1), (16, 15), (40, 15)])
def test_a_resource_that_is_never_finished_counts_how_often_it_was_opened_again(openings, reopened):
    state = state_of([did(number, InteractionKind.OPENED, "r1") for number in range(openings)])
    assert [(r.resource, r.kind, r.reopened) for r in state.resources] == [("r1", InteractionKind.OPENED, reopened)]


@pytest.mark.parametrize("finish", [did(3, InteractionKind.COMPLETED, "r1"), answer(3, resource="r1")])
def test_finishing_a_resource_forgets_how_often_it_was_opened(finish):
    opened = [did(1, InteractionKind.OPENED, "r1"), did(2, InteractionKind.OPENED, "r1")]
    again = did(4, InteractionKind.OPENED, "r1")
    assert [r.reopened for r in state_of([*opened, finish]).resources] == [0]
    assert [r.reopened for r in state_of([*opened, finish, again]).resources] == [0]


def test_only_a_state_with_a_reopened_resource_has_the_version_that_earlier_releases_refuse():
    opened = [did(1, InteractionKind.OPENED, "r1"), did(2, InteractionKind.OPENED, "r1")]
    found = []
    for tenant, events in (("lakeside", opened[:1]), ("lakeside", opened), ("riverbend", opened)):
        (folded,) = FOLD.fold([LearnerEvents(tenant, NEW_LEARNER, list(enumerate(events)))])
        found.append(encode_state(folded.stored.state)[0])
    # Recent items are in the version after that.
    assert found == [2, 3, 4]


def test_a_dismissed_resource_stays_away_until_it_is_opened():
    dismissed = did(1, InteractionKind.DISMISSED)
    assert state_of([dismissed]).dismissals == ("r1",)
    for lifted in (
        did(2, InteractionKind.OPENED),
        did(2, InteractionKind.COMPLETED),
        answer(2, resource="r1"),
    ):
        assert state_of([dismissed, lifted]).dismissals == ()
    assert state_of([did(2, InteractionKind.OPENED), dismissed]).dismissals == ("r1",)
    assert state_of([dismissed, did(3, InteractionKind.OPENED, "r11")]).dismissals == ("r1",)


def test_many_resources_do_not_push_a_dismissal_out_and_many_dismissals_the_oldest():
    many = [did(n, InteractionKind.OPENED, f"o{n}") for n in range(300)]
    assert state_of([did(999, InteractionKind.DISMISSED), *many]).dismissals == ("r1",)
    dismissed = [did(n, InteractionKind.DISMISSED, f"d{n}") for n in range(DISMISSALS + 2)]
    again = did(9_999, InteractionKind.DISMISSED, "d2")
    kept = state_of([*dismissed, again]).dismissals
    assert len(kept) == DISMISSALS
    assert (kept[0], kept[-1]) == ("d3", "d2")


def test_preferences_replace_the_fields_they_set():
    first = wants(1, goals=("s1", "s2"), interests=("space",), formats=(5, 2), pace=1)
    assert state_of([first]).preferences == Preferences(("s1", "s2"), ("space",), (2, 5), Pace.GENTLE)
    second = wants(2, goals=(), formats=(3,))
    assert state_of([first, second]).preferences == Preferences((), ("space",), (3,), Pace.GENTLE)
    nothing = wants(3, goals=(), interests=(), formats=())
    assert state_of([wants(2, goals=("s1",)), nothing]).preferences == NO_PREFERENCES


def test_preferences_survive_a_correction_and_the_journals_end():
    events = [wants(1, goals=("s1",)), *[answer(n) for n in range(10, 110)], void(2, 109)]
    assert state_of(events).preferences == Preferences(goals=("s1",))


def test_a_journal_of_interactions_keeps_within_its_budget():
    events = [did(n, InteractionKind.COMPLETED, f"problem-set-{n:04d}") for n in range(JOURNAL_EVENTS)]
    assert len(encode_journal(fold(events).stored.journal)) <= 3 * 1024
