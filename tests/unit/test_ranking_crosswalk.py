"""A skill is found, and known, through the same skill of another framework."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.resource_kinds import ResourceKind
from services.recommender.domain.learner.parameters import TenantParameters
from services.recommender.domain.learner.preferences import Preferences
from services.recommender.domain.ranking.catalog import CatalogResource, CatalogSkill, build_columns
from services.recommender.domain.ranking.crosswalk import cross
from services.recommender.domain.ranking.pipeline import rank
from services.recommender.domain.ranking.policy import EVERYTHING, ResourceFilter
from services.recommender.domain.ranking.prepared import prepare
from services.recommender.domain.ranking.reasons import ReasonKind
from services.recommender.domain.ranking.render import render
from services.recommender.domain.ranking.request import RankingRequest
from services.recommender.domain.ranking.same_skills import equivalent_slots
from services.recommender.domain.ranking.warm_up import warm_up
from services.recommender.domain.ranking.weights import DEFAULT_WEIGHTS
from tests.learners import Ability, learner_state

warm_up()

NOW_S = 1_700_000_000
WEAK = Ability(mean=-1.5, variance=0.05, attempts=8, successes=3.0, last_at_s=NOW_S - 86_400, last_response=0.0)
SKILLS = [
    CatalogSkill("ccss-area", "Find areas", code="3.MD.C.7", framework="CCSS.Math", equivalents=("urn:area",)),
    CatalogSkill("tx-area", "Measure surfaces", code="3.6(C)", framework="TEKS", equivalents=("urn:area",)),
    CatalogSkill("tx-time", "Tell the time", code="3.7(C)", framework="TEKS"),
]
RESOURCES = [
    CatalogResource("about-area", kind=ResourceKind.LESSON, teaches=(("tx-area", 1.0),)),
    CatalogResource("about-time", kind=ResourceKind.LESSON, teaches=(("tx-time", 1.0),)),
]


def ranked(resources, skills, state, *, wanted=EVERYTHING, limit=10):
    catalog = build_columns(resources, skills)
    request = RankingRequest(
        tenant="t",
        learner="L",
        state=state,
        models_id="",
        as_of_s=float(NOW_S),
        day="2023-11-14",
        wanted=wanted,
        limit=limit,
    )
    listed = rank(prepare(catalog, TenantParameters()), request, DEFAULT_WEIGHTS, lambda: 0.0).resources
    return [(catalog.resource_ids[each.row], each.explanation) for each in listed]


def test_a_gap_in_one_framework_finds_a_resource_of_another_and_the_reason_names_the_hop():
    (first, why), *_ = ranked(RESOURCES, SKILLS, learner_state({"ccss-area": WEAK}))
    assert (first, why.skill) == ("about-area", "tx-area")
    gap = next(reason for reason in why.reasons if reason.kind == ReasonKind.GAP)
    assert render(gap.message) == (
        "Measure surfaces: not mastered yet, 3 of 8 answers right; the answers were on 3.MD.C.7 (CCSS.Math), "
        "which is the same skill"
    )


def test_without_the_crosswalk_nothing_is_known_of_the_resource():
    apart = [CatalogSkill(skill.skill_id, skill.label, code=skill.code) for skill in SKILLS]
    explanations = dict(ranked(RESOURCES, apart, learner_state({"ccss-area": WEAK})))
    assert all(reason.kind != ReasonKind.GAP for reason in explanations["about-area"].reasons)


def test_own_answers_need_no_hop():
    (_, why), *_ = ranked(RESOURCES, SKILLS, learner_state({"tx-area": WEAK}))
    assert not any("same skill" in render(reason.message) for reason in why.reasons)


def test_a_filter_on_a_skill_finds_resources_of_the_same_skill_in_another_framework():
    found = ranked(RESOURCES, SKILLS, None, wanted=ResourceFilter(skills=("ccss-area",)))
    assert [resource for resource, _ in found] == ["about-area"]


def test_a_goal_in_one_framework_is_a_goal_in_the_other():
    state = learner_state({"tx-time": WEAK}, preferences=Preferences(goals=("ccss-area",)))
    explanations = dict(ranked(RESOURCES, SKILLS, state))
    said = [render(reason.message) for reason in explanations["about-area"].reasons if reason.kind == ReasonKind.GOAL]
    assert said == ["Measure surfaces: the same skill as a goal of the learner, 3.MD.C.7 (CCSS.Math)"]


def test_a_prerequisite_stated_in_one_framework_holds_in_the_other():
    skills = [
        CatalogSkill("a1", equivalents=("a2",)),
        CatalogSkill("a2"),
        CatalogSkill("b1", prerequisites=("a1",)),
        CatalogSkill("b2", equivalents=("b1",)),
    ]
    columns = build_columns([], skills)
    assert [columns.skill_prerequisites.row(slot).tolist() for slot in range(4)] == [[], [], [0, 1], [0, 1]]


def test_answers_in_two_frameworks_are_evidence_of_one_ability():
    prior = 0.6
    one, other = Ability(0.4, 0.2, 4, 3.0, NOW_S - 9), Ability(-0.1, 0.3, 5, 1.0, NOW_S - 5, last_response=0.0)
    state = cross(build_columns([], SKILLS), learner_state({"ccss-area": one, "tx-area": other}), prior).state
    # Each posterior is the prior times a likelihood: divided by the prior, the likelihoods multiply.
    likelihoods = [(1 / ability.variance - 1 / prior, ability.mean / ability.variance) for ability in (one, other)]
    precision = 1 / prior + sum(precision for precision, _ in likelihoods)
    for record in state.skill_records:
        assert record["variance"] == pytest.approx(1 / precision, rel=1e-6)
        assert record["mean"] == pytest.approx(sum(weighted for _, weighted in likelihoods) / precision, rel=1e-6)
        assert (record["attempts"], record["successes"]) == (9, 4.0)
        assert (record["last_response"], record["last_at_s"]) == (0.0, NOW_S - 5)


def test_a_catalog_of_one_framework_leaves_the_state_as_it_is():
    state = learner_state({"tx-time": WEAK})
    assert cross(build_columns(RESOURCES, SKILLS), state, 1.0).state is state


_names = st.lists(
    st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=3), max_size=6, unique_by=lambda names: names[0]
)


@given(_names)
def test_what_is_the_same_is_an_equivalence(names):
    same = equivalent_slots(names)
    # A second implementation: connect what shares a name until nothing changes.
    linked = np.eye(len(names), dtype=bool) | np.array(
        [[bool(set(one) & set(other)) for other in names] for one in names], bool
    ).reshape(len(names), len(names))
    for _ in names:
        linked = linked @ linked
    assert same == [
        [other for other in range(len(names)) if linked[slot, other] and other != slot] for slot in range(len(names))
    ]


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), max_size=8), st.integers(0, 4))
def test_a_prerequisite_orders_and_never_bars(edges, weak):
    skills = [f"s{number}" for number in range(5)]
    resources = [
        CatalogResource(f"{skill}-{kind.name}", kind=kind, assesses=((skill, 1.0),))
        for skill in skills
        for kind in (ResourceKind.LESSON, ResourceKind.PRACTICE)
    ]
    needs = {skill: tuple(f"s{needed}" for needed, after in edges if f"s{after}" == skill) for skill in skills}
    state = learner_state({f"s{weak}": WEAK})
    lists = [
        {
            name
            for name, _ in ranked(
                resources, [CatalogSkill(skill, prerequisites=before.get(skill, ())) for skill in skills], state
            )
        }
        for before in (needs, {})
    ]
    assert lists[0] == lists[1] == {resource.resource_id for resource in resources}


_abilities = st.dictionaries(
    st.sampled_from([f"s{number}" for number in range(6)]),
    st.builds(Ability, st.floats(-3, 3), st.floats(0.02, 0.5), st.integers(1, 9), st.just(1.0), st.just(NOW_S - 9)),
    max_size=5,
)


@given(_abilities, st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=5))
def test_every_reason_is_true_whatever_is_the_same(abilities, pairs):
    """What is false fails the test where the suite checks every list."""
    skills = [
        CatalogSkill(
            name, f"Skill {name}", equivalents=tuple({f"s{other}" for one, other in pairs if one == number} - {name})
        )
        for number, name in enumerate(f"s{number}" for number in range(6))
    ]
    resources = [CatalogResource(f"r{number}", assesses=((f"s{number}", 1.0),)) for number in range(6)]
    assert len(ranked(resources, skills, learner_state(abilities))) == 6


def test_web_addresses_are_the_same_name_however_people_write_them():
    ways = ["http://a.org/3/MD", "https://a.org/3/MD", "https://www.a.org/3/MD/"]
    assert equivalent_slots([(f"skill-{number}", way) for number, way in enumerate(ways)]) == [[1, 2], [0, 2], [0, 1]]
    assert equivalent_slots([("a", "urn:x/"), ("b", "urn:x")]) == [[], []]
