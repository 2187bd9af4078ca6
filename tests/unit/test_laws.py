"""The laws of a list are judged from state and catalog alone, and a list that breaks one is found."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from services.common.resource_kinds import ResourceKind
from services.recommender.domain.learner.events import InteractionKind
from services.recommender.domain.learner.parameters import TenantParameters
from services.recommender.domain.learner.preferences import Preferences
from services.recommender.domain.learner.recall import RecallModel
from services.recommender.domain.learner.state import RecentResource
from services.recommender.domain.ranking.catalog import CatalogResource, CatalogSkill, build_columns
from services.recommender.domain.ranking.learner_context import look_up_learner
from services.recommender.domain.ranking.pipeline import rank
from services.recommender.domain.ranking.policy import EVERYTHING
from services.recommender.domain.ranking.prepared import prepare
from services.recommender.domain.ranking.request import RankingRequest
from services.recommender.domain.ranking.scope import scope_of, working_level
from services.recommender.domain.ranking.warm_up import warm_up
from services.recommender.domain.ranking.weights import DEFAULT_WEIGHTS as WEIGHTS
from services.recommender.evaluation.law_count import Answer, LawCount, checks_of, whereabouts_of
from services.recommender.evaluation.laws import LAWS, Listed, verdicts
from tests.learners import Ability, abilities, learner_state

warm_up()

NOW_S = 1_700_000_000
DAY_S = 86_400
KINDS = (ResourceKind.LESSON, ResourceKind.PRACTICE, ResourceKind.ASSESSMENT)

SKILLS = [
    CatalogSkill(f"g{grade}-{number}", prerequisites=(f"g{grade}-{number - 1}",) if number else (), grades=(grade,))
    for grade in ("3", "4", "6")
    for number in range(2)
]
RESOURCES = [
    CatalogResource(
        f"{skill.skill_id}-{kind.name.lower()}-{copy}",
        kind=kind,
        grades=skill.grades,
        **{"teaches" if kind is ResourceKind.LESSON else "assesses": ((skill.skill_id, 1.0),)},
    )
    for skill in SKILLS
    for kind in KINDS
    for copy in range(2)
]
PREPARED = prepare(build_columns(RESOURCES, SKILLS), TenantParameters())
CATALOG = PREPARED.catalog
STRONG = Ability(mean=2.5, variance=0.03, attempts=15, successes=15.0, last_at_s=NOW_S - DAY_S, last_response=1.0)
WEAK = Ability(mean=-1.0, variance=0.05, attempts=5, successes=2.0, last_at_s=NOW_S - DAY_S, last_response=0.0)
LATEST = dataclasses.replace(WEAK, mean=-0.5, last_at_s=NOW_S - 60)
# Grade 3 is mastered, both skills of grade 4 are gaps, and the last answer was wrong: on g4-1, which builds on g4-0.
LEARNER = learner_state({"g3-0": STRONG, "g4-0": WEAK, "g4-1": LATEST}, mean=0.2)
GAP, MISSED = "g4-0", frozenset({"g4-1"})
GOOD = ["g4-0-lesson-0", "g4-1-practice-0", "g4-0-practice-0", "g4-1-assessment-0", "g3-1-lesson-0"]
BROKEN = {
    "urgent": ["g4-1-lesson-0", "g4-1-practice-0", "g3-1-lesson-0", "g4-0-lesson-0", "g4-0-practice-0"],
    "missed": ["g4-0-lesson-0", "g3-1-lesson-0", "g3-1-lesson-1", "g3-1-practice-0", "g3-1-practice-1"],
    "level": [*GOOD[:4], "g6-0-lesson-0"],
    "variety": [f"g4-0-{kind}" for kind in ("lesson-0", "practice-0", "assessment-0", "practice-1", "assessment-1")],
    "mastered": ["g3-0-practice-0", *GOOD[:4]],
}


def where(state, prepared=PREPARED):
    return whereabouts_of(prepared, state, NOW_S, EVERYTHING)


def listed(resources, catalog=CATALOG):
    return [Listed(catalog.row_of_resource[one], one.rsplit("-", 2)[0]) for one in resources]


def judged(resources, *, state=LEARNER, gap=GAP, missed=MISSED, prepared=PREPARED):
    """Whether each law holds that applies."""
    found = verdicts(where(state, prepared), listed(resources, prepared.catalog), gap, missed)
    return {verdict.law: verdict.holds for verdict in found}


def test_a_list_that_keeps_every_law_is_a_case_of_each():
    assert judged(GOOD) == dict.fromkeys(LAWS, True)


@pytest.mark.parametrize("law", LAWS)
def test_a_list_that_breaks_one_law_is_found_and_keeps_the_others(law):
    assert judged(BROKEN[law]) == dict.fromkeys(LAWS, True) | {law: False}


def test_the_gap_counts_within_the_first_three_only():
    third = ["g4-1-lesson-0", "g4-1-practice-0", "g4-0-lesson-0", "g4-1-assessment-0", "g3-1-lesson-0"]
    fourth = [third[place] for place in (0, 1, 3, 2, 4)]
    assert judged(third)["urgent"]
    assert not judged(fourth)["urgent"]


def test_an_answer_that_names_no_gap_where_there_is_one_is_found():
    assert not judged(GOOD, gap="")["urgent"]
    assert "urgent" not in judged(GOOD, gap="", state=learner_state({"g3-0": STRONG}), missed=frozenset())


def with_resources(kind, reopened, skill=GAP):
    touched = [RecentResource(one.resource_id, kind, 0, reopened) for one in RESOURCES if skill in one.resource_id]
    return dataclasses.replace(LEARNER, resources=tuple(touched))


def test_a_gap_whose_resources_were_opened_three_times_need_not_be_served():
    assert not judged(BROKEN["urgent"], state=with_resources(InteractionKind.OPENED, 1))["urgent"]
    assert "urgent" not in judged(BROKEN["urgent"], state=with_resources(InteractionKind.OPENED, 2))


def test_a_gap_whose_resources_were_completed_or_dismissed_need_not_be_served():
    dismissed = tuple(one.resource_id for one in RESOURCES if GAP in one.resource_id)
    assert "urgent" not in judged(BROKEN["urgent"], state=with_resources(InteractionKind.COMPLETED, 0))
    assert "urgent" not in judged(BROKEN["urgent"], state=dataclasses.replace(LEARNER, dismissals=dismissed))


def test_a_gap_whose_resources_were_answered_is_still_served():
    assert not judged(BROKEN["urgent"], state=with_resources(InteractionKind.ANSWERED, 0))["urgent"]


def test_one_resource_about_what_was_missed_is_enough_where_there_is_only_one():
    few = [one for one in RESOURCES if one.resource_id == "g4-0-lesson-0" or not one.resource_id.startswith("g4")]
    found = judged(BROKEN["missed"], prepared=prepare(build_columns(few, SKILLS), TenantParameters()))
    assert found["missed"]


def test_a_mastered_prerequisite_of_what_was_missed_does_not_count():
    able = learner_state({"g4-0": STRONG, "g4-1": LATEST}, mean=0.2)
    about_both = ["g4-1-lesson-0", "g4-0-lesson-0", "g4-0-practice-0", "g3-0-lesson-0", "g3-1-lesson-0"]
    assert judged(about_both)["missed"]
    assert not judged(about_both, state=able, gap="g4-1")["missed"]


def test_without_a_wrong_answer_and_in_a_short_list_nothing_must_be_about_what_was_missed():
    assert "missed" not in judged(BROKEN["missed"], missed=frozenset())
    assert "missed" not in judged(BROKEN["missed"][:3])


def test_where_no_level_is_known_the_law_about_levels_has_no_case():
    resources = [dataclasses.replace(one, grades=()) for one in RESOURCES]
    skills = [dataclasses.replace(skill, grades=()) for skill in SKILLS]
    prepared = prepare(build_columns(resources, skills), TenantParameters())
    assert judged(BROKEN["level"], prepared=prepared) == {law: True for law in LAWS if law != "level"}


def test_a_goal_or_mastered_prerequisites_reach_above_the_working_level():
    goal = dataclasses.replace(LEARNER, preferences=Preferences(goals=("g6-0",)))
    assert judged(BROKEN["level"], state=goal)["level"]
    above = learner_state({"g3-0": WEAK, "g3-1": WEAK, "g6-0": STRONG}, mean=0.2)
    assert where(above).working_levels == (3.0, 3.0)
    assert judged(["g3-0-lesson-0", "g6-1-lesson-0"], state=above, gap="g3-0")["level"]
    assert not judged(["g3-0-lesson-0", "g6-0-lesson-0"], state=above, gap="g3-0")["level"]


def test_who_has_only_read_works_at_the_level_of_what_they_read():
    read = learner_state({}, completed=["g3-0-lesson-0", "g4-0-lesson-0", "g3-1-lesson-0"])
    assert where(read).working_levels == (3.0, 3.0)
    assert judged(["g3-0-practice-0", "g6-0-lesson-0"], state=read, gap="", missed=frozenset()) == {"level": False}
    assert judged(["g3-0-practice-0"], state=read, gap="", missed=frozenset()) == {"level": True}


def test_a_mastered_skill_may_come_first_when_it_is_due():
    long_ago = dataclasses.replace(STRONG, last_at_s=NOW_S - 40 * DAY_S)
    due = learner_state({"g3-0": long_ago, "g4-0": WEAK, "g4-1": LATEST}, mean=0.2)
    assert judged(BROKEN["mastered"], state=due)["mastered"]


_resources = st.sampled_from(CATALOG.resource_ids)
_states = st.builds(
    learner_state,
    st.dictionaries(st.sampled_from([skill.skill_id for skill in SKILLS]), abilities(NOW_S), min_size=1, max_size=6),
    mean=st.floats(-1, 1),
    answered=st.lists(_resources, unique=True, max_size=6),
    preferences=st.sampled_from([Preferences(), Preferences(), Preferences(goals=("g6-1",))]),
)


def request(state, *, limit=10, need_share=0.5):
    return RankingRequest("t", "l", state, "", NOW_S, "2023-11-14", EVERYTHING, limit, need_share=need_share)


def answered(state, *, prepared=PREPARED, **asked):
    """The answer of a server, and what was missed: the skills of the latest time whose last answer was wrong."""
    ranked = rank(prepared, request(state, **asked), WEIGHTS, lambda: 0.0)
    records = state.skill_records
    latest = (records["last_at_s"] == records["last_at_s"].max()) & (records["last_at_s"] > 0)
    missed = [state.skill_names[slot] for slot in np.flatnonzero(latest & (records["last_response"] < 0.5))]
    return Answer("l", state, NOW_S, EVERYTHING, ranked.resources, ranked.gap, frozenset(missed))


def broken_laws(answer, prepared=PREPARED):
    count = LawCount(prepared)
    count.add(answer)
    return {law for law in LAWS if count.held[law] < count.cases[law]}


@settings(max_examples=100, deadline=None)
@given(_states, st.sampled_from([0.0, 0.5, 1.0]))
def test_what_is_served_keeps_every_law_while_there_is_enough_that_is_new(state, need_share):
    done = {recent.resource for recent in state.resources}
    for skill in SKILLS:
        assume(sum(skill.skill_id in one and one not in done for one in CATALOG.resource_ids) >= 2)
    assert broken_laws(answered(state, need_share=need_share)) == set()


def planted(law, known, entries, gap, missed):
    """A list that breaks a law, made of one that keeps it."""
    catalog = known.catalog

    def without(skills):
        return [Listed(int(row), catalog.skill_ids[catalog.tags.row(row)[0]]) for row in np.flatnonzero(
            ~known.about(skills) & ~known.beyond
        )]  # fmt: skip

    if law == "urgent":
        return without({gap})
    if law == "missed":
        return without(missed | known.weak_prerequisites(missed))
    if law == "level":
        return [*entries[:4], Listed(int(np.flatnonzero(known.beyond)[0]), "")]
    if law == "variety":
        return entries[:1] * 5
    skill = min(known.mastered_not_due)
    return [Listed(int(np.flatnonzero(known.about({skill}))[0]), skill), *entries]


@pytest.mark.parametrize("law", LAWS)
# Few of the states have a skill that is mastered and not due.
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(state=_states)
def test_a_served_list_that_is_broken_on_purpose_is_found(law, state):
    answer = answered(state)
    known = where(state)
    entries = [Listed(each.row, each.explanation.skill) for each in answer.resources]
    found = {each.law for each in verdicts(known, entries, answer.gap, answer.missed) if each.holds}
    assume(law in found and (law != "mastered" or known.mastered_not_due))
    wrong = planted(law, known, entries, answer.gap, answer.missed)
    assume(len(wrong) >= 5)
    assert law in {each.law for each in verdicts(known, wrong, answer.gap, answer.missed) if not each.holds}


@settings(max_examples=150, deadline=None)
@given(_states)
def test_gaps_and_working_level_are_those_of_the_server(state):
    learner = look_up_learner(PREPARED, request(state), WEIGHTS)
    scope = scope_of(
        CATALOG, learner.estimates, learner.recent, None, learner.preferences.path, WEIGHTS.review_opens
    )  # fmt: skip
    served, (lowest, highest) = (
        working_level(CATALOG, learner.estimates, scope, learner.recent),
        where(state).working_levels,
    )
    assert lowest <= served <= highest
    # Exactly half of the weight may be on either side.
    assume(lowest == highest)
    gaps = {CATALOG.skill_ids[slot] for slot in learner.gaps.urgency.nonzero()[0]}
    assert where(state).gaps == gaps


RECALL = RecallModel(0.5, np.array([0.6, 0.8, 0.1, 0.2, 0.3, 0.3]), ("g3-0",), np.array([0.4]))


@pytest.mark.parametrize("recall_model", [None, RECALL], ids=["by formula", "by recall"])
@settings(max_examples=100, deadline=None)
@given(state=_states)
def test_what_is_mastered_and_not_due_is_what_the_server_takes_it_for(recall_model, state):
    prepared = prepare(CATALOG, TenantParameters(), recall_model=recall_model)
    estimates = look_up_learner(prepared, request(state), WEIGHTS).estimates
    not_due = (estimates.mastered & (estimates.reviews < WEIGHTS.review_opens)).nonzero()[0]
    found = whereabouts_of(prepared, state, NOW_S, EVERYTHING).mastered_not_due
    assert found == {CATALOG.skill_ids[slot] for slot in not_due}


@pytest.mark.parametrize(("since", "in_scope"), [(0, True), (2, True), (3, True), (4, False)])
def test_without_times_a_skill_is_in_scope_while_one_of_the_last_resources_was_about_it(since, in_scope):
    # 2^(-since / 3) is at least half. The other resources were about another skill.
    weak = dataclasses.replace(WEAK, last_at_s=0)
    later = [f"g3-0-{kind}-{copy}" for kind in ("lesson", "practice") for copy in range(2)][:since]
    state = learner_state({"g3-0": weak, "g3-1": weak}, answered=["g3-1-practice-0", *later])
    gaps = look_up_learner(PREPARED, request(state), WEIGHTS).gaps.urgency
    served = {CATALOG.skill_ids[slot] for slot in gaps.nonzero()[0]}
    assert ("g3-1" in served) == in_scope
    assert where(state).gaps == served


def test_cases_and_lists_in_which_a_law_holds_are_counted():
    count = LawCount(PREPARED)
    kept = answered(LEARNER)
    count.add(kept)
    count.add(dataclasses.replace(kept, resources=kept.resources[:1] * 5))
    assert count.as_values()["variety"] == {"cases": 2, "held": 1}
    assert count.as_values()["level"] == {"cases": 2, "held": 2}
    checks = {check.claim.partition(":")[0]: check for check in checks_of({"cairn": count})}
    assert all(check.required for check in checks.values())
    assert checks["law level"].figures == "cairn: 2 of 2 lists"
    assert not checks["law variety"].holds
    served = kept.resources[0].explanation.skill
    assert checks["law variety"].figures.startswith(f"cairn: 1 of 2 lists; l: all serve {served}, not [")


def test_a_gap_whose_resources_were_all_answered_is_served():
    done = [one.resource_id for one in RESOURCES if GAP in one.resource_id]
    assert broken_laws(answered(learner_state({GAP: WEAK}, answered=done))) == set()


def test_a_mastered_skill_that_was_just_missed_does_not_come_first_in_a_short_list():
    slipped = dataclasses.replace(STRONG, attempts=16, last_at_s=NOW_S - 60, last_response=0.0)
    assert broken_laws(answered(learner_state({"g3-0": slipped, "g3-1": WEAK}, mean=0.5), limit=3)) == set()
