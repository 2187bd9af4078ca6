"""The sequence of steps of a group for its skill."""

from __future__ import annotations

import numpy as np
import pytest

from services.common.resource_kinds import ResourceKind
from services.recommender.domain.planning.sequences import GroupFit, SequenceStep, compose_sequence, step_reason
from services.recommender.domain.ranking.catalog import CatalogResource, build_columns
from services.recommender.domain.ranking.reasons import Step
from services.recommender.domain.ranking.render import render

ABOUT = (("s", 1.0),)


def resource(name, kind, minutes=10, **sides):
    return CatalogResource(name, kind=kind, minutes=minutes, **(sides or {"assesses": ABOUT}))


LESSON = resource("lesson", ResourceKind.LESSON, teaches=ABOUT)
PRACTICE = resource("practice", ResourceKind.PRACTICE)
CHECK = resource("check", ResourceKind.ASSESSMENT)


def sequence(*resources, minutes_max=60, fit=None, untouched=None, favour=None):
    catalog = build_columns(resources, [])
    rows = np.arange(len(catalog))
    suits = GroupFit(
        rows,
        np.array([(fit or {}).get(name, 0.5) for name in catalog.resource_ids]),
        np.full(len(rows), 0.6),
        np.array([(untouched or {}).get(name, 1.0) for name in catalog.resource_ids]),
        np.array([(favour or {}).get(name, 1.0) for name in catalog.resource_ids]),
    )
    steps = compose_sequence(catalog, catalog.slot_of_skill["s"], suits, minutes_max)
    return [(step.step, catalog.resource_ids[step.row]) for step in steps]


def test_a_group_learns_practises_and_measures_again():
    assert sequence(CHECK, PRACTICE, LESSON) == [
        (Step.TEACH, "lesson"),
        (Step.PRACTISE, "practice"),
        (Step.REASSESS, "check"),
    ]


def test_practice_is_the_resource_that_fits_the_group_best():
    other = resource("another practice", ResourceKind.PRACTICE)
    assert (Step.PRACTISE, "practice") in sequence(LESSON, PRACTICE, other, CHECK, fit={"practice": 0.9})
    assert (Step.PRACTISE, "another practice") in sequence(LESSON, PRACTICE, other, CHECK, fit={"practice": 0.1})


def test_resources_new_to_the_group_come_first():
    other = resource("another practice", ResourceKind.PRACTICE)
    assert (Step.PRACTISE, "practice") in sequence(PRACTICE, other, untouched={"another practice": 0.0})


def test_favoured_resources_come_first():
    other = resource("another practice", ResourceKind.PRACTICE)
    assert (Step.PRACTISE, "practice") in sequence(PRACTICE, other, favour={"practice": 2.0})


def test_a_step_without_a_resource_is_missing():
    assert sequence(PRACTICE, CHECK) == [(Step.PRACTISE, "practice"), (Step.REASSESS, "check")]
    assert sequence(LESSON) == [(Step.TEACH, "lesson")]


def test_without_assessments_another_practice_measures():
    other = resource("another practice", ResourceKind.PRACTICE)
    assert [step for step, _ in sequence(LESSON, PRACTICE, other)] == [Step.TEACH, Step.PRACTISE, Step.REASSESS]
    assert sequence(PRACTICE) == [(Step.PRACTISE, "practice")]


@pytest.mark.parametrize(
    ("minutes_max", "expected"),
    [
        (30, ["lesson", "practice", "check"]),
        (29, ["lesson", "practice"]),
        (10, ["lesson"]),
        (9, []),
    ],
)
def test_the_sequence_fits_into_the_minutes_and_keeps_what_comes_first(minutes_max, expected):
    assert [name for _, name in sequence(LESSON, PRACTICE, CHECK, minutes_max=minutes_max)] == expected


def test_a_shorter_resource_is_taken_where_it_makes_room_for_a_further_step():
    short = resource("short lesson", ResourceKind.LESSON, minutes=5, teaches=ABOUT)
    taken = sequence(LESSON, short, PRACTICE, CHECK, minutes_max=25, fit={"lesson": 0.9})
    assert [name for _, name in taken] == ["short lesson", "practice", "check"]


def test_a_resource_of_unknown_duration_counts_as_ten_minutes():
    unknown = resource("lesson", ResourceKind.LESSON, minutes=None, teaches=ABOUT)
    assert sequence(unknown, minutes_max=10)
    assert not sequence(unknown, minutes_max=9)


@pytest.mark.parametrize(
    ("step", "members", "untouched", "text"),
    [
        (Step.TEACH, 1, 1.0, "42 % likely to succeed on the skill; new to the learner"),
        (Step.TEACH, 3, 1.0, "3 learners, on average 42 % likely to succeed on the skill; new to all of them"),
        (Step.PRACTISE, 1, 0.0, "61 % likely to succeed on it; the learner worked on it before"),
        (Step.PRACTISE, 3, 1 / 3, "3 learners, on average 61 % likely to succeed on it; new to 1 of them"),
        (
            Step.REASSESS,
            3,
            0.0,
            "shows who has it now: on average 61 % likely to succeed; all of them worked on it before",
        ),
        (
            Step.REASSESS,
            1,
            1.0,
            "shows whether the learner has it now: 61 % likely to succeed; new to the learner",
        ),
    ],
)
def test_the_reason_for_a_step_speaks_of_one_learner_or_of_several(step, members, untouched, text):
    assert render(step_reason(SequenceStep(step, 0, 0.61, untouched), members, 0.42)) == text
