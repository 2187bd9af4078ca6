"""Learners with very many skills: what they may have, and that an event of theirs costs no more than another."""

from __future__ import annotations

import struct
import time
from collections.abc import Sequence
from contextlib import ExitStack
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.recommender.domain.learner import state_draft
from services.recommender.domain.learner.batch import FoldedLearner, LearnerEvents
from services.recommender.domain.learner.events import VOIDED, AssessmentEvent, CorrectionEvent, Grain, LearnerEvent
from services.recommender.domain.learner.fold import LearnerFold, warm_up
from services.recommender.domain.learner.journal import encode_journal
from services.recommender.domain.learner.parameters import TracingParameters
from services.recommender.domain.learner.record import NEW_LEARNER, LearnerRecord
from services.recommender.domain.learner.state import MOST_SKILLS, decode_state, encode_state

FOLD = LearnerFold(TracingParameters())
PER_EVENT = 16


def answered(number: int, skills: Sequence[str]) -> AssessmentEvent:
    item = f"item-{number}"
    return AssessmentEvent(struct.pack("<Q", number), 1.0, 1_700_000_000, item, "", tuple(skills), Grain.ITEM, "")


def fold(events: Sequence[LearnerEvent], stored: LearnerRecord = NEW_LEARNER, first: int = 0) -> FoldedLearner:
    (folded,) = FOLD.fold([LearnerEvents("district", stored, list(enumerate(events, first)))])
    return folded


def learner_with(skills: Sequence[str]) -> LearnerRecord:
    chunks = [skills[at : at + PER_EVENT] for at in range(0, len(skills), PER_EVENT)]
    return fold([answered(number, chunk) for number, chunk in enumerate(chunks)]).stored


def names(count: int) -> list[str]:
    return [f"{number:06d}-{'standard ' * 20}" for number in range(count)]


def test_a_learner_keeps_the_first_2000_skills_and_learns_those_further_on():
    skills = names(MOST_SKILLS + 10)
    folded = fold([*(answered(number, [skill]) for number, skill in enumerate(skills)), answered(9_999, skills[:1])])
    assert MOST_SKILLS == 2_000
    assert folded.refused_skills == 10
    state = decode_state(encode_state(folded.stored.state))
    assert list(state.skill_names) == skills[:MOST_SKILLS]
    assert state.responses == len(skills) + 1
    assert state.skill_records["attempts"].tolist() == [2, *[1] * (MOST_SKILLS - 1)]


def test_an_event_with_known_and_new_skills_is_evidence_of_the_known_ones_only():
    with patch.object(state_draft, "MOST_SKILLS", 2):
        folded = fold([answered(1, ["a", "b"]), answered(2, ["b", "c"])])
    state = decode_state(encode_state(folded.stored.state))
    assert (state.skill_names, state.skill_records["attempts"].tolist()) == (("a", "b"), [1, 2])
    assert folded.refused_skills == 1


def test_a_learner_that_an_earlier_release_gave_more_skills_keeps_them_and_gets_no_more():
    with patch.object(state_draft, "MOST_SKILLS", 0xFFFF):
        stored = learner_with(names(MOST_SKILLS + 100))
    folded = fold([answered(50_000, [names(MOST_SKILLS + 100)[-1], "new"])], stored, first=10_000)
    state = decode_state(encode_state(folded.stored.state))
    assert list(state.skill_names) == names(MOST_SKILLS + 100)
    assert int(state.skill_records["attempts"][-1]) == 2
    assert folded.refused_skills == 1


def test_an_event_of_a_learner_with_2000_skills_costs_no_more_than_one_of_a_learner_with_20():
    warm_up()
    costs = []
    for count in (20, MOST_SKILLS):
        skills = names(count)
        stored = learner_with(skills)
        events = [answered(10**6 + n, (skills[n * 7 % count], skills[(n * 7 + 3) % count])) for n in range(1_000)]
        costs.append(min(_cpu_s(events, stored) for _ in range(5)))
    assert costs[1] < 2.5 * costs[0], f"20 skills {costs[0]:.4f} s, {MOST_SKILLS} skills {costs[1]:.4f} s"


def _cpu_s(events: Sequence[LearnerEvent], stored: LearnerRecord) -> float:
    began = time.process_time()
    fold(events, stored, first=1_000_000)
    return time.process_time() - began


SOME_SKILLS = st.lists(st.integers(0, 11).map("skill-{}".format), max_size=4, unique=True)
EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("answer"), SOME_SKILLS),
        st.tuples(st.just("void"), st.integers(0, 90)),
        st.tuples(st.just("regrade"), st.integers(0, 90)),
    ),
    max_size=90,
)


def _made(kinds: Sequence[tuple[str, object]]) -> list[LearnerEvent]:
    made: list[LearnerEvent] = []
    for number, (kind, detail) in enumerate(kinds):
        if kind == "answer":
            made.append(answered(number, detail))  # type: ignore[arg-type]
        else:
            target = struct.pack("<Q", detail)
            made.append(CorrectionEvent(struct.pack("<Q", number), target, VOIDED if kind == "void" else 0.25))
    return made


def _bytes(stored: LearnerRecord) -> tuple[object, ...]:
    state = b"" if stored.state is None else encode_state(stored.state)
    return stored.offset, state, encode_journal(stored.journal), stored.checkpoint, stored.seen


@settings(max_examples=150, deadline=None)
@given(EVENTS, st.lists(st.integers(0, 90), max_size=6).map(sorted), st.integers(1, 12), st.sampled_from((0, 4, 1_000)))
def test_any_batching_and_either_search_give_the_same_bytes_for_a_learner_without_room(kinds, cuts, room, indexed_from):
    events = _made(kinds)
    with ExitStack() as patches:
        patches.enter_context(patch.object(state_draft, "MOST_SKILLS", room))
        whole = fold(events).stored
        patches.enter_context(patch.object(state_draft, "_INDEXED_FROM", indexed_from))
        stored = NEW_LEARNER
        for begin, end in zip([0, *cuts], [*cuts, len(events)], strict=True):
            stored = fold(events[begin:end], stored, first=begin).stored
        assert _bytes(stored) == _bytes(whole)
        assert stored.state is None or len(decode_state(encode_state(stored.state)).skill_names) <= room
        assert _bytes(FOLD.fold_again("district", stored)) == _bytes(stored)


@pytest.mark.parametrize("indexed_from", [0, 1_000])
def test_a_skill_that_is_part_of_another_is_distinct_with_and_without_an_index(indexed_from):
    with patch.object(state_draft, "_INDEXED_FROM", indexed_from):
        stored = fold([answered(1, ["ab"]), answered(2, ["b"]), answered(3, ["a", "ab"])]).stored
    assert decode_state(encode_state(stored.state)).skill_names == ("ab", "b", "a")
