"""The numbers that follow a claim about a learner support it, and are true of the answers that were given."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.recommender.domain.learner.batch import LearnerEvents
from services.recommender.domain.learner.events import AssessmentEvent, Grain
from services.recommender.domain.learner.fold import LearnerFold
from services.recommender.domain.learner.parameters import TenantParameters, TracingParameters
from services.recommender.domain.learner.record import NEW_LEARNER
from services.recommender.domain.learner.state import decode_state, encode_state
from services.recommender.domain.ranking.answer_record import (
    Answers,
    counted,
    of_strength,
    of_weakness,
    right_in_a_row,
)
from services.recommender.domain.ranking.render import render

FOLD = LearnerFold(TracingParameters("", {"t": TenantParameters()}))


def answers_after(marks, chance=0.5):
    """The learner's answers on a skill, from a state that was folded from marks."""
    events = [
        (place, AssessmentEvent(struct.pack("<Q", place), mark, 0, f"i{place}", "", ("s",), Grain.ITEM, ""))
        for place, mark in enumerate(marks)
    ]
    stored = FOLD.fold([LearnerEvents("t", NEW_LEARNER, events)])[0].stored
    record = decode_state(encode_state(stored.state)).skill_records[0]
    return Answers(
        int(record["attempts"]), float(record["successes"]), float(record["recent_failures"]), chance, mastered=False
    )


def in_a_row(marks):
    """How many of the latest answers got more than half of the marks."""
    wrong = [place for place, mark in enumerate(reversed(marks)) if mark <= 0.5]
    return wrong[0] if wrong else len(marks)


@given(st.lists(st.sampled_from([0.0, 1.0]), min_size=1, max_size=60))
def test_no_more_answers_are_said_to_be_right_in_a_row_than_were(marks):
    assert right_in_a_row(answers_after(marks)) <= in_a_row(marks)


@given(st.lists(st.sampled_from([0.0, 0.25, 0.5, 0.75, 0.9, 1.0]) | st.floats(0, 1), min_size=1, max_size=40))
def test_no_more_answers_are_said_to_be_right_in_a_row_with_parts_of_the_marks(marks):
    assert right_in_a_row(answers_after(marks)) <= in_a_row(marks)


@pytest.mark.parametrize(("wrong", "right"), [(11, 8), (3, 13), (1, 4), (5, 20), (40, 6), (200, 5)])
def test_right_answers_after_wrong_ones_are_all_found(wrong, right):
    assert right_in_a_row(answers_after([0.0] * wrong + [1.0] * right)) == right


@pytest.mark.parametrize(
    ("marks", "text"),
    [
        ([1], "the only answer was right"),
        ([0], "the only answer was wrong"),
        ([1, 1], "2 of 2 answers right"),
        ([1, 1, 1], "all 3 answers right"),
        ([0, 0], "none of 2 answers right"),
        ([1, 0, 0], "1 of 3 answers right"),
        ([0.5], "50 % of the marks in the only answer"),
        ([0.5, 1, 0.25], "58 % of the marks in 3 answers"),
    ],
)
def test_answers_are_counted_in_the_right_number(marks, text):
    assert render(counted(answers_after([float(mark) for mark in marks]))) == text


@pytest.mark.parametrize(
    ("marks", "chance", "told"),
    [
        ([1] * 15 + [0] * 2, 0.8, "15 of 17 answers right"),
        ([0] * 11 + [1] * 8, 0.8, "the last 8 answers were right"),
        ([1, 0] * 9, 0.84, "likely to get 84 % of its questions right"),
    ],
)
def test_strength_is_supported_by_the_share_the_latest_answers_or_the_chance(marks, chance, told):
    assert render(of_strength(answers_after([float(mark) for mark in marks], chance))) == told


@pytest.mark.parametrize(
    ("marks", "chance", "told"),
    [([1, 0, 0], 0.4, "1 of 3 answers right"), ([1] * 10 + [0], 0.62, "likely to get 62 % of its questions right")],
)
def test_weakness_is_supported_by_the_share_or_the_chance(marks, chance, told):
    assert render(of_weakness(answers_after([float(mark) for mark in marks], chance))) == told
