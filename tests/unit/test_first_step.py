"""What the first entry of a list is: the next step that the learner is ready for."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from services.common.resource_kinds import ResourceKind
from services.recommender.domain.learner.parameters import TenantParameters
from services.recommender.domain.ranking.catalog import CatalogResource, CatalogSkill, build_columns
from services.recommender.domain.ranking.first_step import can_begin_with, first_step
from services.recommender.domain.ranking.learner_context import look_up_learner
from services.recommender.domain.ranking.pipeline import rank
from services.recommender.domain.ranking.policy import EVERYTHING
from services.recommender.domain.ranking.prepared import prepare
from services.recommender.domain.ranking.request import RankingRequest
from services.recommender.domain.ranking.scoring import describe
from services.recommender.domain.ranking.warm_up import warm_up
from services.recommender.domain.ranking.weights import DEFAULT_WEIGHTS
from tests.learners import Ability, learner_state

warm_up()

NOW_S = 1_700_000_000
SKILLS = [
    CatalogSkill("before", grades=("2",)),
    CatalogSkill("below", grades=("3",)),
    CatalogSkill("now", prerequisites=("below", "before"), grades=("3",)),
    CatalogSkill("next", prerequisites=("now",), grades=("3",)),
    CatalogSkill("later", prerequisites=("next",), grades=("3",)),
]


def resource(skill, kind, number=0):
    tags = ((skill, 1.0),)
    return CatalogResource(
        f"{skill}-{kind.name.lower()}-{number}",
        kind=kind,
        grades=("2",) if skill == "before" else ("3",),
        teaches=tags if kind in (ResourceKind.LESSON, ResourceKind.GAME) else (),
        assesses=tags if kind in (ResourceKind.PRACTICE, ResourceKind.ASSESSMENT) else (),
    )


KINDS = (ResourceKind.LESSON, ResourceKind.PRACTICE, ResourceKind.ASSESSMENT, ResourceKind.GAME)
RESOURCES = [resource(skill.skill_id, kind, number) for skill in SKILLS for kind in KINDS for number in (0, 1)]
PREPARED = prepare(build_columns(RESOURCES, SKILLS), TenantParameters())
MASTERED = Ability(mean=2.5, variance=0.03, attempts=15, successes=15.0, last_at_s=NOW_S - 86_400, last_response=1.0)
GAP = Ability(mean=-0.6, variance=0.05, attempts=6, successes=3.0, last_at_s=NOW_S - 86_400, last_response=1.0)


def request(known, answered=()):
    state = learner_state(known, mean=0.5, answered=list(answered))
    return RankingRequest("t", "l", state, "", NOW_S, "2023-11-14", EVERYTHING, 10)


def first(known, answered=()):
    resources = rank(PREPARED, request(known, answered), DEFAULT_WEIGHTS, lambda: 0.0).resources
    return PREPARED.catalog.resource_ids[resources[0].row]


def test_a_gap_whose_prerequisites_are_known_comes_before_one_that_builds_on_it():
    assert first({"below": MASTERED, "now": GAP, "next": GAP}).startswith("now-")


def test_of_two_gaps_the_one_that_the_other_builds_on_comes_first():
    assert first({"next": GAP, "later": dataclasses.replace(GAP, mean=-1.2)}).startswith("next-")


def test_after_a_wrong_answer_what_the_skill_builds_on_comes_first_however_far_down_it_is():
    wrong = dataclasses.replace(GAP, attempts=1, successes=0.0, last_at_s=NOW_S - 60, last_response=0.0)
    assert first({"later": wrong}).startswith("below-lesson")
    assert first({"later": wrong, "below": MASTERED}).startswith("now-lesson")


def test_what_is_below_the_learners_level_and_was_never_met_does_not_stand_in_the_way():
    assert first({"below": MASTERED, "now": GAP}).startswith("now-")


def test_what_a_mastered_skill_builds_on_does_not_come_first_where_it_was_never_met():
    assert first({"now": MASTERED}).startswith("next-")


def test_a_new_skill_begins_with_a_lesson():
    assert first({"below": MASTERED, "now": MASTERED}).startswith("next-lesson")


def test_where_everything_met_is_known_the_next_skill_comes_first_and_not_one_that_builds_on_it():
    assert first({"below": MASTERED, "now": MASTERED, "next": MASTERED}).startswith("later-")


@pytest.mark.parametrize("near", ["a", "b", "c", "d"])
def test_of_two_new_skills_the_one_nearer_to_the_learners_level_comes_first(near):
    skills = [
        CatalogSkill("known", grades=("3",)),
        *(CatalogSkill(name, prerequisites=("known",), grades=("4" if name == near else "5",)) for name in "abcd"),
    ]
    lessons = [resource(skill.skill_id, ResourceKind.LESSON, number) for skill in skills for number in (0, 1)]
    catalog = build_columns([dataclasses.replace(lesson, grades=()) for lesson in lessons], skills)
    listed = rank(prepare(catalog, TenantParameters()), request({"known": MASTERED}), DEFAULT_WEIGHTS, lambda: 0.0)
    assert catalog.resource_ids[listed.resources[0].row].startswith(f"{near}-")


@pytest.mark.parametrize("done", [(), ("now-lesson-0", "now-lesson-1")])
def test_an_assessment_does_not_come_before_practice(done):
    assert not first({"below": MASTERED, "now": GAP}, done).startswith("now-assessment")


@pytest.mark.parametrize(
    ("kinds", "prerequisites", "known"),
    [
        ((ResourceKind.PRACTICE, ResourceKind.ASSESSMENT, ResourceKind.GAME), False, False),
        ((ResourceKind.PRACTICE, ResourceKind.LESSON), False, True),
        ((ResourceKind.PRACTICE, ResourceKind.ASSESSMENT), True, True),
    ],
)
def test_steps_are_known_where_there_are_prerequisites_or_lessons(kinds, prerequisites, known):
    skills = SKILLS if prerequisites else [dataclasses.replace(skill, prerequisites=()) for skill in SKILLS]
    catalog = build_columns([one for one in RESOURCES if one.kind in kinds], skills)
    assert prepare(catalog, TenantParameters()).has_steps is known


ABLE = Ability(mean=1.0, variance=0.3, attempts=1, successes=0.0, last_at_s=NOW_S - 60, last_response=0.0)


@pytest.mark.parametrize(
    "known",
    [
        {"now": dataclasses.replace(GAP, mean=0.6, attempts=3, successes=2.0)},
        {"before": dataclasses.replace(GAP, mean=-2.0), "below": ABLE},
    ],
    ids=["a gap", "another skill was missed"],
)
def test_where_nothing_is_known_of_steps_the_best_resource_comes_first(known):
    prepared = dataclasses.replace(PREPARED, has_steps=False)
    resources = rank(prepared, request(known), DEFAULT_WEIGHTS, lambda: 0.0).resources
    assert resources[0].score == max(one.score for one in resources)


def test_steps_are_the_published_formula():
    known = {"below": MASTERED, "now": GAP}
    learner = look_up_learner(PREPARED, request(known), DEFAULT_WEIGHTS)
    catalog = PREPARED.catalog
    names = [
        "now-lesson-0",
        "now-practice-0",
        "now-assessment-0",
        "next-lesson-0",
        "below-practice-0",
        "now-practice-1",
    ]
    rows = catalog.rows_of(names)
    candidates = describe(catalog, PREPARED.difficulties, learner.estimates, rows, DEFAULT_WEIGHTS, scope=learner.scope)
    done = np.array([name == "now-practice-1" for name in names])
    found = first_step(candidates, learner.scope, learner.level, done)
    slot = catalog.slot_of_skill["now"]
    # `below` is mastered, `before` was never met and is below the level of what was worked on.
    value = math.sqrt(learner.scope[slot])
    assert learner.estimates.probabilities[slot] < 0.6
    practice = math.exp(-((candidates.success[1] - 0.7) ** 2) / (2 * 0.5**2))
    assessment = 0.3 * math.exp(-((candidates.success[2] - 0.7) ** 2) / (2 * 0.5**2))
    # Both exercises are equally hard.
    again = max(practice * value / 10, 0.02)
    expected = [1.2 * value, practice * value, assessment * value, 0.02, 0.02, again]
    assert found.tolist() == pytest.approx([4 * math.log(each) for each in expected])
    assert can_begin_with(candidates, done).tolist() == [True, *(candidates.success[1:3] >= 0.4), True, True, False]


def test_what_is_given_again_because_everything_of_the_skill_is_done_does_not_come_first():
    done = [one.resource_id for one in RESOURCES if one.resource_id.startswith("now-")]
    assert first({"below": MASTERED, "now": dataclasses.replace(GAP, last_response=0.0)}, done) not in done


def test_an_exercise_that_is_far_too_hard_does_not_come_first_because_the_skill_was_missed():
    missed = dataclasses.replace(GAP, mean=-4.0, last_response=0.0)
    found = first({"below": MASTERED, "now": missed}, ["now-lesson-0", "now-lesson-1", "now-game-0", "now-game-1"])
    assert not found.startswith("now-practice")
