"""What the first entries of a list hold: laws of the served ranking, for any learner and catalog."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from services.common.resource_kinds import ResourceKind
from services.recommender.domain.learner.events import InteractionKind
from services.recommender.domain.learner.parameters import TenantParameters
from services.recommender.domain.learner.preferences import Preferences
from services.recommender.domain.learner.state import RecentResource
from services.recommender.domain.ranking.catalog import CatalogResource, CatalogSkill, build_columns
from services.recommender.domain.ranking.levels import levels_of, lowest_level
from services.recommender.domain.ranking.need import need_of
from services.recommender.domain.ranking.pipeline import rank
from services.recommender.domain.ranking.policy import EVERYTHING
from services.recommender.domain.ranking.prepared import prepare
from services.recommender.domain.ranking.reasons import Step
from services.recommender.domain.ranking.request import RankingRequest
from services.recommender.domain.ranking.warm_up import warm_up
from services.recommender.domain.ranking.weights import DEFAULT_WEIGHTS as WEIGHTS
from tests.learners import Ability, abilities, learner_state

warm_up()

NOW_S = 1_700_000_000
DAY_S = 86_400
KINDS = (ResourceKind.LESSON, ResourceKind.PRACTICE, ResourceKind.ASSESSMENT)
GRADES = ("2", "3", "4", "5", "8")

SKILLS = [
    CatalogSkill(f"g{grade}-{number}", prerequisites=(f"g{grade}-{number - 1}",) if number else (), grades=(grade,))
    for grade in GRADES
    for number in range(3)
]
CATALOG = build_columns(
    [
        CatalogResource(
            f"{skill.skill_id}-{kind.name.lower()}-{copy}",
            kind=kind,
            grades=skill.grades,
            **{"teaches" if kind is ResourceKind.LESSON else "assesses": ((skill.skill_id, 1.0),)},
        )
        for skill in SKILLS
        for kind in KINDS
        for copy in range(2)
    ],
    SKILLS,
)
STRONG = Ability(mean=2.5, variance=0.03, attempts=15, successes=15.0, last_at_s=NOW_S - DAY_S, last_response=1.0)
WEAK = Ability(mean=-1.0, variance=0.05, attempts=5, successes=2.0, last_at_s=NOW_S - DAY_S, last_response=0.0)

_resources = st.sampled_from(CATALOG.resource_ids)
_states = st.builds(
    learner_state,
    st.dictionaries(st.sampled_from([skill.skill_id for skill in SKILLS]), abilities(NOW_S), min_size=1, max_size=6),
    mean=st.floats(-1, 1),
    answered=st.lists(_resources, unique=True, max_size=12),
)


def listed(state, *, limit=10, need_share=0.5):
    request = RankingRequest("t", "l", state, "", NOW_S, "2023-11-14", EVERYTHING, limit, need_share=need_share)
    return rank(prepare(CATALOG, TenantParameters()), request, WEIGHTS, lambda: 0.0)


def about(resource, skill):
    return CATALOG.slot_of_skill[skill] in CATALOG.tags.row(resource.row).tolist()


def fresh(state, skill):
    """Resources about a skill that may be given: not answered, not opened again and again."""
    done = {recent.resource for recent in state.resources}
    return [one for one in CATALOG.resource_ids if one.startswith(f"{skill}-") and one not in done]


@settings(max_examples=150, deadline=None)
@given(_states)
def test_the_most_urgent_gap_is_served_in_the_first_three(state):
    found = listed(state)
    assume(found.gap)
    assume(fresh(state, found.gap))
    assert any(about(resource, found.gap) for resource in found.resources[:3])


@pytest.mark.parametrize("last_response", [0.0, 1.0])
def test_what_an_assessment_just_showed_to_be_weak_comes_first(last_response):
    just_now = dataclasses.replace(
        WEAK, attempts=8, successes=2.0, last_at_s=NOW_S - 60, mean=-0.8, last_response=last_response
    )
    known = {"g4-0": dataclasses.replace(WEAK, mean=-2.0, attempts=15), "g3-1": just_now}
    for seed in range(5):
        found = listed(learner_state(known, mean=-0.1 * seed, answered=["g4-0-lesson-0"]))
        assert about(found.resources[0], "g3-1") or about(found.resources[0], "g3-0")


def test_what_an_able_learner_just_missed_is_in_the_list():
    able = Ability(mean=1.0, variance=0.25, attempts=1, successes=0.0, last_at_s=NOW_S, last_response=0.0)
    state = learner_state({"g8-0": able}, mean=1.0, answered=[one for one in CATALOG.resource_ids if "g2-0" in one])
    assert sum(about(one, "g8-0") for one in listed(state).resources[:5]) >= 2


@settings(max_examples=150, deadline=None)
@given(_states, st.data())
def test_after_a_wrong_answer_two_of_the_first_five_are_about_the_skill_or_a_weak_prerequisite(state, data):
    slots = {skill: slot for slot, skill in enumerate(state.skill_names)}
    missed = data.draw(st.sampled_from(state.skill_names))
    records = state.skill_records.copy()
    records["last_at_s"][slots[missed]], records["last_response"][slots[missed]] = NOW_S, 0.0
    state = dataclasses.replace(state, skill_records=records)
    assume(len(fresh(state, missed)) >= 2)
    levels = [lowest_level((name.split("-")[0][1:],)) for name in state.skill_names]
    # Otherwise the skill may be above the working level.
    assume(levels[slots[missed]] <= min(levels) + 1)
    (prerequisites,) = (skill.prerequisites for skill in SKILLS if skill.skill_id == missed)
    head = listed(state).resources[:5]
    assert sum(any(about(one, skill) for skill in (missed, *prerequisites)) for one in head) >= 2


@settings(max_examples=150, deadline=None)
@given(_states)
def test_the_first_five_are_not_all_about_one_skill_while_there_is_another_gap(state):
    found = listed(state)
    skills = {resource.explanation.skill for resource in found.resources[:5]}
    if len(skills) == 1 and found.gap:
        assert found.gap in skills


@settings(max_examples=50, deadline=None)
@given(_states)
def test_without_a_head_the_best_resource_comes_first(state):
    request = RankingRequest("t", "l", state, "", NOW_S, "2023-11-14", EVERYTHING, 10)
    weights = dataclasses.replace(WEIGHTS, head=0)
    scores = [one.score for one in rank(prepare(CATALOG, TenantParameters()), request, weights, lambda: 0.0).resources]
    assert scores[0] == max(scores)


@settings(max_examples=150, deadline=None)
@given(_states)
def test_nothing_is_more_than_a_level_above_the_working_level_without_mastered_prerequisites(state):
    levels = sorted(lowest_level((name.split("-")[0][1:],)) for name in state.skill_names)
    for resource in listed(state, limit=30).resources:
        if CATALOG.levels[resource.row] > levels[-1] + 1:
            assert len(CATALOG.prerequisites.row(resource.row))


def test_a_learner_of_grade_3_gets_no_equations_of_grade_8():
    mastered = {f"g3-{number}": STRONG for number in range(3)}
    found = listed(learner_state(mastered, mean=1.0), limit=40)
    assert {CATALOG.resource_ids[one.row][1] for one in found.resources} <= {"2", "3", "4"}


def test_who_has_only_read_gets_nothing_more_than_a_level_above_what_they_read():
    read = [one for one in CATALOG.resource_ids if one.startswith("g3-0-lesson")]
    assert {one.row for one in listed(learner_state({}, answered=read), limit=50).resources}.isdisjoint(
        np.flatnonzero(CATALOG.levels > 4).tolist()
    )


def test_a_goal_reaches_above_the_working_level():
    state = learner_state({"g3-0": WEAK}, preferences=Preferences(goals=("g8-0",)))
    assert any(about(one, "g8-0") for one in listed(state).resources)


def test_where_everything_is_mastered_the_skill_that_is_ready_next_comes_first():
    found = listed(learner_state({"g3-0": STRONG}, mean=0.5))
    assert found.gap == ""
    assert about(found.resources[0], "g3-1")


def test_a_mastered_skill_does_not_come_first_while_there_is_a_gap():
    strong = {f"g3-{number}": STRONG for number in range(3)}
    state = learner_state(strong | {"g4-0": dataclasses.replace(WEAK, mean=0.2, successes=3.0)}, mean=0.5)
    for need_share in (0.0, 0.5, 1.0):
        assert about(listed(state, need_share=need_share).resources[0], "g4-0")


def test_what_was_missed_is_taught_practised_and_assessed_again_in_this_order():
    head = listed(learner_state({"g4-0": WEAK, "g3-0": STRONG}, mean=0.2)).resources[:5]
    steps = [one.explanation.step for one in head if one.explanation.skill == "g4-0"]
    assert steps[:3] == [Step.TEACH, Step.PRACTISE, Step.REASSESS]


def test_a_resource_that_is_opened_again_and_again_without_being_finished_sinks():
    state = learner_state({"g4-0": WEAK}, mean=0.2)
    first = CATALOG.resource_ids[listed(state).resources[0].row]

    def opened(reopened):
        recent = (RecentResource(first, InteractionKind.OPENED, NOW_S, reopened),)
        found = listed(dataclasses.replace(state, resources=recent), limit=60)
        return [CATALOG.resource_ids[one.row] for one in found.resources]

    assert first in opened(1)[:3]
    assert first not in opened(2)[:10]


def test_need_is_the_published_formula():
    catalog = build_columns(
        [
            CatalogResource("a", assesses=(("s", 1.0),)),
            CatalogResource("b", assesses=(("s", 0.5), ("t", 0.5))),
            CatalogResource("c"),
        ],
        [],
    )
    success, ready, following = np.array([0.5, 0.7, 0.9]), np.array([1.0, 0.5, 1.0]), np.array([1.0, 0.0, -1.0])
    found = need_of(catalog, np.arange(3), success, ready, following, np.array([4.0, 1.0]))
    shares = np.exp(2.0 * following)
    of_s = np.log(1 - 0.6**2) + 0.1 * np.log((shares[0] + shares[1]) / (shares[0] + 2 * shares[1]))
    of_t = np.log(1 - 0.7) + 0.1 * np.log(shares[1] / (shares[0] + 2 * shares[1]))
    expected = [of_s, max(of_s, of_t) + np.log(0.5)]
    assert found.tolist() == pytest.approx([*expected, sum(expected) / 2])


def test_a_resource_is_at_the_level_of_its_lowest_grade_but_no_lower_than_its_lowest_skill():
    grades = [("3", "4"), ("K",), (), (), ("2", "3")]
    resources, skills = levels_of(grades, [(), ("PK", "1"), (), ("3",)], np.array([0, 1, 2, 4]), np.array([0, 0, 1, 3]))
    assert resources.tolist() == pytest.approx([3.0, 0.0, -1.0, np.nan, 3.0], nan_ok=True)
    assert skills.tolist() == pytest.approx([0.0, -1.0, np.nan, 3.0], nan_ok=True)
