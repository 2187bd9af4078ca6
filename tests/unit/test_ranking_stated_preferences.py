"""Dismissed, completed and preferred resources, on catalogs with an obvious right answer."""

from __future__ import annotations

import dataclasses
import math

import pytest

from services.common.resource_kinds import ResourceKind
from services.recommender.domain.learner.parameters import ItemDifficulty, TenantParameters
from services.recommender.domain.learner.preferences import Pace, Preferences
from services.recommender.domain.ranking.catalog import CatalogResource, CatalogSkill, build_columns
from services.recommender.domain.ranking.pipeline import rank
from services.recommender.domain.ranking.policy import EVERYTHING
from services.recommender.domain.ranking.prepared import prepare
from services.recommender.domain.ranking.reasons import ReasonKind, Step
from services.recommender.domain.ranking.render import render
from services.recommender.domain.ranking.request import RankingRequest
from services.recommender.domain.ranking.stated_preferences import goal_path, paced
from services.recommender.domain.ranking.warm_up import warm_up
from services.recommender.domain.ranking.weights import DEFAULT_WEIGHTS as WEIGHTS
from tests.learners import Ability, learner_state

warm_up()

PRIORS = TenantParameters()
DAY_S = 86_400
NOW_S = 1_700_000_000
STRONG = Ability(mean=2.5, variance=0.03, attempts=15, successes=15.0, last_at_s=NOW_S - DAY_S)
FORGOTTEN = Ability(mean=2.5, variance=0.03, attempts=15, successes=15.0, last_at_s=NOW_S - 900 * DAY_S)
WEAK = Ability(mean=-1.0, variance=0.05, attempts=5, successes=2.0, last_at_s=NOW_S - DAY_S)


def practice(identifier: str, skill: str, **fields: object) -> CatalogResource:
    return CatalogResource(identifier, assesses=((skill, 1.0),), **fields)


def ranked(catalog, state, *, limit=10, parameters=PRIORS):
    request = RankingRequest("riverbend", "L", state, "", NOW_S, "2023-11-14", EVERYTHING, limit)
    return rank(prepare(catalog, parameters), request, WEIGHTS, lambda: 0.0).resources


def ids(catalog, resources):
    return [catalog.resource_ids[resource.row] for resource in resources]


def reasons_of(catalog, resources, identifier):
    (found,) = [one for one in resources if catalog.resource_ids[one.row] == identifier]
    return {reason.kind: reason for reason in found.explanation.reasons}


FEW = build_columns([practice(f"p{number}", "add") for number in range(4)], [])


def test_dismissed_resources_are_not_shown_even_in_a_short_list():
    assert sorted(ids(FEW, ranked(FEW, learner_state({"add": WEAK}, dismissals=["p1", "p3"])))) == ["p0", "p2"]


def test_a_dismissed_resource_is_not_used_to_reassess():
    resources = ranked(FEW, learner_state({"add": WEAK}, dismissals=["p0", "p1", "p2"]))
    assert [one.reassess_with for one in resources] == [""]


def test_completed_resources_are_not_shown_again_and_answered_ones_come_last():
    state = learner_state({"add": WEAK}, completed=["p0"], answered=["p1"])
    *fresh, last = ids(FEW, ranked(FEW, state))
    assert (sorted(fresh), last) == (["p2", "p3"], "p1")


def test_completed_resources_are_shown_again_when_a_review_is_due():
    state = learner_state({"add": FORGOTTEN}, completed=["p0", "p1", "p2", "p3"])
    assert sorted(ids(FEW, ranked(FEW, state))) == ["p0", "p1", "p2", "p3"]
    recent = learner_state({"add": STRONG}, completed=["p0", "p1", "p2", "p3"])
    assert ranked(FEW, recent) == ()


def test_opened_resources_are_shown_like_any_other():
    opened, untouched = learner_state({"add": WEAK}, opened=["p0"]), learner_state({"add": WEAK})
    assert ids(FEW, ranked(FEW, opened)) == ids(FEW, ranked(FEW, untouched))


PROGRESSION = [
    CatalogSkill("count", "Count"),
    CatalogSkill("add", "Add", ("count",)),
    CatalogSkill("ratios", "Ratios", ("add",)),
    CatalogSkill("aside", "Aside"),
]
ON_PROGRESSION = build_columns(
    [practice(f"{skill.skill_id}-practice", skill.skill_id) for skill in PROGRESSION], PROGRESSION
)


def path(mastered: tuple[str, ...], goals: tuple[str, ...], skills=PROGRESSION) -> dict[str, str]:
    catalog = build_columns([], skills)
    of_slots = goal_path(catalog, [skill in mastered for skill in catalog.skill_ids], goals)
    return {
        skill: catalog.skill_ids[goal]
        for skill, goal in zip(catalog.skill_ids, of_slots.tolist(), strict=True)
        if goal >= 0
    }


def test_the_path_is_the_goal_and_its_unmastered_prerequisites():
    assert path((), ("ratios",)) == {"count": "ratios", "add": "ratios", "ratios": "ratios"}
    assert path(("add",), ("ratios",)) == {"ratios": "ratios"}
    assert path(("ratios",), ("ratios",)) == {}
    assert path((), ("unknown", "add", "ratios")) == {"count": "add", "add": "add", "ratios": "ratios"}


def test_prerequisites_in_a_cycle_terminate():
    circle = [CatalogSkill("a", "", ("b",)), CatalogSkill("b", "", ("a",))]
    assert path((), ("a",), circle) == {"a": "a", "b": "a"}


def test_resources_on_the_path_to_a_goal_come_first_with_that_reason():
    same = dict.fromkeys(("count", "add", "ratios"), WEAK) | {"aside": dataclasses.replace(WEAK, mean=-2.0)}
    without = ranked(ON_PROGRESSION, learner_state(same))
    goals = Preferences(goals=("ratios",))
    with_goal = ranked(ON_PROGRESSION, learner_state(same, preferences=goals))
    order = ids(ON_PROGRESSION, with_goal)
    assert order.index("count-practice") < order.index("aside-practice")
    reason = reasons_of(ON_PROGRESSION, with_goal, "count-practice")[ReasonKind.GOAL]
    assert render(reason.message) == "Count: leads to the learner's goal, Ratios"
    assert reason.contribution > 0
    own = reasons_of(ON_PROGRESSION, with_goal, "ratios-practice")[ReasonKind.GOAL]
    assert render(own.message) == "Ratios: a goal of the learner"
    assert ReasonKind.GOAL not in reasons_of(ON_PROGRESSION, with_goal, "aside-practice")
    scores = dict(zip(ids(ON_PROGRESSION, without), (one.score for one in without), strict=True))
    assert scores["aside-practice"] > scores["count-practice"]


def test_a_goal_puts_resources_with_hardly_a_gap_left_before_others():
    nearly = Ability(mean=2.0, variance=0.3, attempts=2, successes=2.0, last_at_s=NOW_S - DAY_S)
    state = learner_state({"count": nearly, "aside": nearly}, preferences=Preferences(goals=("count",)))
    order = ids(ON_PROGRESSION, ranked(ON_PROGRESSION, state))
    assert order.index("count-practice") < order.index("aside-practice")


def test_a_goal_includes_its_resources_regardless_of_other_gaps():
    skills = [CatalogSkill(f"s{number:03d}", importance=1.0) for number in range(200)]
    skills.append(CatalogSkill("wanted", importance=0.9))
    resources = [practice(f"r{number:03d}-{copy}", f"s{number:03d}") for number in range(200) for copy in range(5)]
    catalog = build_columns([*resources, practice("wanted-practice", "wanted")], skills)
    known = {f"s{number:03d}": WEAK for number in range(200)} | {"wanted": WEAK}
    state = learner_state(known, preferences=Preferences(goals=("wanted",)))
    assert ids(catalog, ranked(catalog, state))[0] == "wanted-practice"
    assert "wanted-practice" not in ids(catalog, ranked(catalog, learner_state(known)))


KINDS = build_columns(
    [
        practice("p-space", "add", topics=("space",)),
        practice("p-sport", "add", topics=("sport",)),
        practice("g-sport", "add", kind=ResourceKind.GAME, topics=("sport",)),
        practice("g-none", "add", kind=ResourceKind.GAME),
    ],
    [],
)


def test_preferred_resources_come_before_similar_ones_with_that_reason():
    preferences = Preferences(interests=("space",))
    resources = ranked(KINDS, learner_state({"add": WEAK}, preferences=preferences))
    order = ids(KINDS, resources)
    assert order.index("p-space") < order.index("p-sport")
    reason = reasons_of(KINDS, resources, "p-space")[ReasonKind.PREFERENCE]
    assert render(reason.message) == "About what the learner likes: space"
    assert ReasonKind.PREFERENCE not in reasons_of(KINDS, resources, "p-sport")


def test_kinds_and_topics_count_half_each_when_both_are_wanted():
    preferences = Preferences(interests=("sport",), formats=(ResourceKind.GAME,))
    resources = ranked(KINDS, learner_state({"add": WEAK}, preferences=preferences))
    both = reasons_of(KINDS, resources, "g-sport")[ReasonKind.PREFERENCE]
    one = reasons_of(KINDS, resources, "g-none")[ReasonKind.PREFERENCE]
    assert both.contribution == pytest.approx(2 * one.contribution)
    assert render(both.message) == "Of a kind the learner prefers, game, and about what they like: sport"


def test_preferences_do_not_put_want_before_need():
    """A whole preference weighs less than a gap in which a failure is a third more likely."""
    assert WEIGHTS.signals["preference"] < WEIGHTS.signals["gap"] * math.log(4 / 3)


@pytest.mark.parametrize(
    ("pace", "best"),
    [(Pace.GENTLE, "easy"), (Pace.STEADY, "middle"), (Pace.UNSPECIFIED, "middle"), (Pace.BRISK, "hard")],
)
def test_a_pace_chooses_how_hard_practice_is(pace, best):
    catalog = build_columns([practice(name, "add") for name in ("easy", "middle", "hard")], [])
    items = {
        "easy": ItemDifficulty(-1.75, 0.01),
        "middle": ItemDifficulty(-1.1, 0.01),
        "hard": ItemDifficulty(-0.62, 0.01),
    }
    even = Ability(mean=0.0, variance=0.01, attempts=50, successes=25.0, last_at_s=NOW_S)
    state = learner_state({"add": even}, variance=0.01, preferences=Preferences(pace=pace))
    resources = ranked(catalog, state, parameters=TenantParameters(items=items))
    assert ids(catalog, resources)[0] == best
    assert resources[0].explanation.step is Step.PRACTISE


def test_the_pace_moves_the_challenge_that_fits_best_and_nothing_else():
    assert paced(WEIGHTS, Preferences()) is WEIGHTS
    assert paced(WEIGHTS, Preferences(pace=Pace.STEADY)) == WEIGHTS
    gentle = paced(WEIGHTS, Preferences(pace=Pace.GENTLE))
    assert gentle == dataclasses.replace(WEIGHTS, fit_target=0.85)
