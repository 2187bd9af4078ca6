"""A learner's records by time: what a log in the right order would have given."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.recommender.domain.learner.batch import LearnerEvents
from services.recommender.domain.learner.corrections import NOTHING_KNOWN, LearnerCorrections
from services.recommender.domain.learner.events import (
    VOIDED,
    AssessmentEvent,
    CorrectionEvent,
    ErasureEvent,
    Grain,
    InteractionEvent,
    InteractionKind,
    PreferenceEvent,
)
from services.recommender.domain.learner.fold import LearnerFold
from services.recommender.domain.learner.occurred_order import in_occurred_order
from services.recommender.domain.learner.parameters import TracingParameters
from services.recommender.domain.learner.record import NEW_LEARNER

FOLD = LearnerFold(TracingParameters())
DAY_S = 86_400


def fingerprint(number):
    return struct.pack("<Q", 1 + number)


def answer(number, at_s, response=1.0, skill="s"):
    item = f"item-{number % 9}"
    return AssessmentEvent(fingerprint(number), response, at_s, item, "", (skill,), Grain.ITEM, f"r{number % 5}")


def opened(number, at_s):
    return InteractionEvent(fingerprint(number), at_s, f"r{number % 5}", InteractionKind.OPENED)


def prefers(number, *goals):
    return PreferenceEvent(fingerprint(number), goals, None, None, 0)


def voids(number, target):
    return CorrectionEvent(fingerprint(number), fingerprint(target), VOIDED)


def regrades(number, target, response):
    return CorrectionEvent(fingerprint(number), fingerprint(target), response)


def logged(events, first=10):
    """Events at offsets with others in between."""
    return [(first + 3 * place, event) for place, event in enumerate(events)]


def in_order(events):
    return [event for _, event in in_occurred_order(logged(events)).events]


def folded(events, known=NOTHING_KNOWN):
    (one,) = FOLD.fold([LearnerEvents("riverbend", NEW_LEARNER, events, 0, known)])
    return one


def folded_by_time(events):
    occurred = in_occurred_order(logged(events))
    return folded(occurred.events, occurred.known)


def folded_as_logged(events):
    """As a replay folds a log of these events, which knows its corrections."""
    known = LearnerCorrections()
    for offset, event in logged(events):
        known.note(offset, event)
    known.finish()
    return folded(logged(events), known)


def same(one, other):
    assert one.stored._replace(offset=0) == other.stored._replace(offset=0)
    assert (one.applied, one.duplicates, len(one.refused)) == (other.applied, other.duplicates, len(other.refused))


def test_records_are_sorted_by_time_and_equal_times_keep_their_order():
    a, b, c, d = answer(1, 300), answer(2, 100), opened(3, 200), answer(4, 100)
    assert in_order([a, b, c, d]) == [b, d, c, a]


def test_a_record_of_unknown_time_stays_directly_behind_the_one_that_it_followed():
    first, late, early = answer(1, 0), answer(2, 300), answer(3, 100)
    stated, undated = prefers(4, "x"), answer(5, 0)
    assert in_order([first, late, stated, undated, early]) == [first, early, late, stated, undated]


def test_no_record_crosses_an_erasure():
    erased = ErasureEvent(fingerprint(9))
    assert in_order([answer(1, 300), erased, answer(2, 200), answer(3, 100)]) == [
        answer(1, 300),
        erased,
        answer(3, 100),
        answer(2, 200),
    ]


def test_a_repeated_erasure_is_no_barrier():
    erased = ErasureEvent(fingerprint(9))
    events = [erased, answer(2, 200), erased, answer(3, 100)]
    assert in_order(events) == [erased, erased, answer(3, 100), answer(2, 200)]
    assert folded_by_time(events).applied == 3


def test_a_repeat_and_a_revision_stay_behind_what_they_repeat_whatever_their_time():
    first = answer(1, 200)
    repeat = first._replace(at_s=50)
    revision = first._replace(at_s=60, response=0.0, revises=True)
    older = answer(2, 100)
    assert in_order([first, repeat, revision, older]) == [older, first, repeat, revision]


def test_the_last_correction_in_the_log_wins_wherever_its_neighbours_go():
    events = [answer(1, 300), regrades(2, 1, 0.25), answer(3, 100), regrades(4, 1, 0.5), answer(5, 200)]
    right = [answer(3, 100), answer(5, 200), answer(1, 300), regrades(2, 1, 0.25), regrades(4, 1, 0.5)]
    assert in_order(events) == right
    same(folded_by_time(events), folded_as_logged(right))


def test_the_offsets_are_those_of_the_learner_and_say_where_each_record_is_in_the_log():
    occurred = in_occurred_order(logged([answer(1, 300), answer(2, 100), answer(3, 200)]))
    assert [offset for offset, _ in occurred.events] == [10, 13, 16]
    assert dict(occurred.logged_at) == {10: 13, 13: 16, 16: 10}


YEARS = st.lists(
    st.tuples(st.sampled_from(["answer", "answer", "answer", "open", "void", "regrade"]), st.integers(0, 60)),
    max_size=150,
)


def year(steps, first_number, first_day):
    """A year of dated records and corrections of them, as a platform sends them: in the order of time."""
    events = []
    for place, (kind, pick) in enumerate(steps):
        number, at_s = first_number + place, (first_day + place) * DAY_S
        answers = [one for one in events if isinstance(one, AssessmentEvent)]
        target = answers[-1 - pick % len(answers)].fingerprint if answers else b""
        match kind if answers else "answer":
            case "open":
                events.append(opened(number, at_s))
            case "void":
                events.append(CorrectionEvent(fingerprint(number), target, VOIDED))
            case "regrade":
                events.append(CorrectionEvent(fingerprint(number), target, pick / 60))
            case _:
                events.append(answer(number, at_s, response=float(pick % 2), skill=f"s{pick % 7}"))
    return events


@settings(deadline=None, max_examples=60)
@given(YEARS, YEARS)
def test_last_year_loaded_after_this_year_gives_the_state_of_a_log_in_the_right_order(last, this):
    # Corrections take the place of their targets, which is where a log in the order of time has no other records.
    before, after = year(last, 0, 1), year(this, 1_000, 1_000)
    same(folded_by_time(after + before), folded_by_time(before + after))
    dated = [[one for one in some if not isinstance(one, CorrectionEvent)] for some in (before, after)]
    same(folded_by_time(dated[1] + dated[0]), folded_as_logged(dated[0] + dated[1]))


EVENTS = st.lists(
    st.one_of(
        st.builds(answer, st.integers(0, 30), st.integers(0, 5)),
        st.builds(opened, st.integers(0, 30), st.integers(0, 5)),
        st.builds(prefers, st.integers(0, 30), st.sampled_from("xyz")),
        st.builds(regrades, st.integers(0, 30), st.integers(0, 30), st.sampled_from([0.0, 0.5, 1.0])),
        st.builds(lambda number: ErasureEvent(fingerprint(number)), st.integers(40, 43)),
    ),
    max_size=80,
)


@settings(deadline=None, max_examples=200)
@given(EVENTS)
def test_sorting_loses_no_record_and_folding_by_time_counts_each_once(events):
    occurred = in_occurred_order(logged(events))
    assert sorted(map(repr, in_order(events))) == sorted(map(repr, events))
    result = folded(occurred.events, occurred.known)
    assert result.applied + result.duplicates + len(result.refused) == len(events)


@pytest.mark.parametrize("events", [[], [answer(1, 0)], [prefers(1, "x"), prefers(2, "y")]])
def test_without_times_the_order_is_that_of_the_log(events):
    assert in_order(events) == events
