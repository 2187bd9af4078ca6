"""From candidates to explanations, on catalogs with an obvious right answer."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.common.resource_kinds import ResourceKind
from services.recommender.domain.learner.parameters import ItemDifficulty, TenantParameters
from services.recommender.domain.ranking import (
    compiled,
    need,
    next_item,
    policy,
    priorities,
    recent_activity,
    scope,
)
from services.recommender.domain.ranking.candidates import at_random, random_seed, select_candidates
from services.recommender.domain.ranking.catalog import CatalogResource, CatalogSkill, build_columns
from services.recommender.domain.ranking.evidence import Evidence
from services.recommender.domain.ranking.explain import picks_of
from services.recommender.domain.ranking.features import collaborative_rows, estimate_skills
from services.recommender.domain.ranking.learned import ONE_MODEL
from services.recommender.domain.ranking.next_item import CANDIDATES, ModelScores
from services.recommender.domain.ranking.pipeline import rank
from services.recommender.domain.ranking.policy import EVERYTHING, ResourceFilter
from services.recommender.domain.ranking.prepared import prepare
from services.recommender.domain.ranking.reasons import ReasonKind, Step
from services.recommender.domain.ranking.render import render
from services.recommender.domain.ranking.request import RankingRequest
from services.recommender.domain.ranking.scoring import describe
from services.recommender.domain.ranking.signals import review
from services.recommender.domain.ranking.warm_up import warm_up
from services.recommender.domain.ranking.weights import DEFAULT_WEIGHTS as WEIGHTS
from tests.learners import Ability, learner_state

# Compile first: the examples have a deadline.
warm_up()

DAY_S = 86_400
NOW_S = 1_700_000_000
PRIORS = TenantParameters()

STRONG = Ability(mean=2.5, variance=0.03, attempts=15, successes=15.0, last_at_s=NOW_S - 1 * DAY_S)
WEAK = Ability(mean=-1.0, variance=0.05, attempts=5, successes=2.0, last_at_s=NOW_S - 1 * DAY_S)


def _request(state=None, *, wanted=EVERYTHING, limit=10, models=None, day="2023-11-14", learner="L"):
    return RankingRequest(
        tenant="riverbend",
        learner=learner,
        state=state,
        models=models,
        models_id="",
        as_of_s=float(NOW_S),
        day=day,
        wanted=wanted,
        limit=limit,
    )


def _rank(catalog, state=None, parameters=PRIORS, *, models=None, ranker=ONE_MODEL, **request):
    prepared = prepare(catalog, parameters) if models is None else prepare(catalog, parameters, ranker=ranker)
    return rank(prepared, _request(state, models=models, **request), WEIGHTS, lambda: 0.0)


def _ids(catalog, ranked):
    return [catalog.resource_ids[resource.row] for resource in ranked.resources]


CHAIN = build_columns(
    [
        CatalogResource(f"{skill}-{kind.name.lower()}", kind=kind, **{side: ((skill, 1.0),)})
        for skill in ("add", "fractions", "ratios")
        for kind, side in (
            (ResourceKind.LESSON, "teaches"),
            (ResourceKind.PRACTICE, "assesses"),
            (ResourceKind.ASSESSMENT, "assesses"),
        )
    ],
    [
        CatalogSkill("add", "Adding whole numbers"),
        CatalogSkill("fractions", "Adding fractions", prerequisites=("add",)),
        CatalogSkill("ratios", "Ratios", prerequisites=("fractions",)),
    ],
)


def test_the_skill_that_is_next_on_the_path_leads():
    ranked = _rank(CHAIN, learner_state({"add": STRONG, "fractions": WEAK}, mean=0.2), limit=2)
    assert [resource.explanation.skill for resource in ranked.resources] == ["fractions", "fractions"]


def test_a_lesson_leads_where_the_learner_would_not_succeed_and_says_what_to_measure_afterwards():
    ranked = _rank(CHAIN, learner_state({"add": STRONG, "fractions": WEAK}, mean=0.2), limit=1)
    (first,) = ranked.resources
    assert _ids(CHAIN, ranked) == ["fractions-lesson"]
    assert first.explanation.step is Step.TEACH
    assert first.success < 0.57
    assert first.reassess_with == "fractions-assessment"


def test_steps_are_teach_practise_reassess_and_find_out():
    ranked = _rank(CHAIN, learner_state({"add": STRONG, "fractions": WEAK}, mean=0.2), limit=9)
    steps = {CHAIN.resource_ids[resource.row]: resource.explanation.step for resource in ranked.resources}
    assert steps["fractions-lesson"] is Step.TEACH
    assert steps["fractions-practice"] is Step.PRACTISE
    assert steps["fractions-assessment"] is Step.REASSESS
    assert steps["add-lesson"] is Step.PRACTISE  # Learners need no teaching for skills they have mastered.
    assert steps["ratios-lesson"] is Step.FIND_OUT  # Without answers it is unknown whether they do.


def test_reasons_contain_the_learners_own_numbers():
    ranked = _rank(CHAIN, learner_state({"add": STRONG, "fractions": WEAK}, mean=0.2), limit=1)
    gap, fit = ranked.resources[0].explanation.reasons
    assert gap.kind is ReasonKind.GAP
    assert render(gap.message) == "Adding fractions: not mastered yet, 2 of 5 answers right"
    assert fit.kind is ReasonKind.FIT
    assert render(fit.message) == "36 % likely to succeed without help: to be taught first"


def test_a_new_learner_gets_a_list_with_reasons_that_claim_nothing():
    ranked = _rank(CHAIN)
    assert len(ranked.resources) == 9
    texts = [render(reason.message) for resource in ranked.resources for reason in resource.explanation.reasons]
    assert texts
    assert all("no answers yet" in text or "the same skill" in text for text in texts)
    assert {resource.explanation.step for resource in ranked.resources} == {Step.FIND_OUT}


def test_a_mastered_skill_returns_when_due_with_the_days_since_practice():
    rested = dataclasses.replace(STRONG, last_at_s=NOW_S - 60 * DAY_S)
    answered = ["add-practice", "add-assessment"]
    state = learner_state({"add": rested, "fractions": STRONG, "ratios": STRONG}, mean=0.5, answered=answered)
    ranked = _rank(CHAIN, state, limit=2)
    assert {resource.explanation.skill for resource in ranked.resources} == {"add"}
    assert set(answered) & set(_ids(CHAIN, ranked))
    (due,) = (reason for reason in ranked.resources[0].explanation.reasons if reason.kind is ReasonKind.REVIEW)
    assert render(due.message) == "Adding whole numbers: mastered, all 15 answers right; last practised 60 days ago"


def test_recently_answered_resources_are_shown_only_if_nothing_else_is_left():
    state = learner_state({"fractions": WEAK}, answered=["fractions-practice", "fractions-lesson"])
    assert not {"fractions-practice", "fractions-lesson"} & set(_ids(CHAIN, _rank(CHAIN, state, limit=7)))
    assert set(_ids(CHAIN, _rank(CHAIN, state, limit=9))[-2:]) == {"fractions-practice", "fractions-lesson"}


@pytest.mark.parametrize(
    ("ability", "is_reason"),
    [
        (dataclasses.replace(STRONG, last_at_s=NOW_S - 60 * DAY_S), True),
        # Without a time, practised too lately, with a time after the moment of the list, and not mastered.
        (dataclasses.replace(STRONG, last_at_s=0), False),
        (STRONG, False),
        (dataclasses.replace(STRONG, last_at_s=NOW_S + DAY_S), False),
        (dataclasses.replace(WEAK, last_at_s=NOW_S - 60 * DAY_S), False),
    ],
)
def test_a_review_is_a_reason_only_where_a_mastered_skill_is_due_after_a_known_time(ability, is_reason):
    """The learned ranker may credit the review feature although nothing is due."""
    catalog = build_columns([CatalogResource("tagged", assesses=(("add", 1.0),)), CatalogResource("untagged")], [])
    state = learner_state({"add": ability})
    prepared = prepare(catalog, PRIORS)
    estimates = estimate_skills(catalog, prepared.difficulties, state, NOW_S, WEIGHTS)
    candidates = describe(catalog, prepared.difficulties, estimates, np.arange(2), WEIGHTS)
    evidence = Evidence(catalog, estimates, None, WEIGHTS, state, np.zeros(0, np.intp))
    said = [review.SIGNAL.reason(evidence, pick) for pick in picks_of(candidates, np.arange(2))]
    assert [reason is not None for reason in said] == [is_reason, False]


def test_a_filter_holds_for_every_resource_of_the_list():
    wanted = ResourceFilter(kinds=(ResourceKind.LESSON,), excluded=("add-lesson",))
    assert set(_ids(CHAIN, _rank(CHAIN, wanted=wanted))) == {"fractions-lesson", "ratios-lesson"}


def test_an_empty_catalog_gives_an_empty_list():
    assert _rank(build_columns([], [])).resources == ()


def test_a_filter_that_nothing_passes_gives_an_empty_list():
    assert _rank(CHAIN, wanted=ResourceFilter(skills=("nowhere",))).resources == ()


def _similar(catalog, scores):
    rows, index_of_row = collaborative_rows(catalog, list(scores))
    return ModelScores(np.array([list(scores.values())], np.float32), rows, index_of_row)


def test_among_equal_resources_the_choice_of_similar_learners_comes_first_with_that_reason():
    catalog = build_columns([CatalogResource(f"p{number}", assesses=((f"s{number}", 1.0),)) for number in range(6)], [])
    similar = _similar(catalog, {f"p{number}": float(number == 4) for number in range(6)})
    ranked = _rank(catalog, learner_state({}, answered=["p0"]), models=similar)
    assert _ids(catalog, ranked)[0] == "p4"
    kinds = [[reason.kind for reason in resource.explanation.reasons] for resource in ranked.resources]
    assert not any(ReasonKind.SIMILAR_LEARNERS in of_one for of_one in kinds[1:])


@pytest.mark.parametrize(("model", "who"), [("popular", "Many learners"), ("als", "Learners with a similar history")])
def test_popularity_is_told_as_what_many_did_and_not_as_what_similar_learners_did(model, who):
    catalog = build_columns([CatalogResource(f"p{number}", assesses=((f"s{number}", 1.0),)) for number in range(6)], [])
    scores = _similar(catalog, {f"p{number}": float(number == 4) for number in range(6)})
    state, ranker = learner_state({}, answered=["p0"]), dataclasses.replace(ONE_MODEL, models=(model,))
    first = _rank(catalog, state, models=scores, ranker=ranker).resources[0]
    (told,) = [each for each in first.explanation.reasons if each.kind is ReasonKind.SIMILAR_LEARNERS]
    assert render(told.message) == f"{who} worked on it: number 1 of 5 resources"


def test_a_skill_with_thousands_of_resources_does_not_crowd_out_the_others():
    crowd = [CatalogResource(f"crowd-{number}", assesses=(("big", 1.0),)) for number in range(3_000)]
    few = [CatalogResource(f"few-{number}", assesses=((f"s{number}", 1.0),)) for number in range(15)]
    catalog = build_columns(crowd + few, [])
    state = learner_state({"big": Ability(mean=-2.0, attempts=10, successes=1)})
    ranked = _rank(catalog, state, limit=16)
    assert sum(resource.explanation.skill == "big" for resource in ranked.resources) <= WEIGHTS.per_skill
    assert ranked.candidates <= WEIGHTS.candidates


def test_among_many_items_of_a_skill_those_that_fit_the_learner_are_found():
    items = [CatalogResource(f"i{number:04}", assesses=(("s", 1.0),)) for number in range(2_000)]
    difficulties = {item.resource_id: ItemDifficulty(-4.0 + 0.004 * number, 0.05) for number, item in enumerate(items)}
    catalog = build_columns(items, [])
    for ability in (-1.5, 0.0, 1.0):
        state = learner_state({"s": Ability(mean=ability, variance=0.05, attempts=2)}, variance=0.02)
        ranked = _rank(catalog, state, TenantParameters(items=difficulties), limit=1)
        assert ranked.resources[0].success == pytest.approx(0.75, abs=0.07)


def test_fresh_items_are_found_for_a_skill_answered_many_times():
    items = [CatalogResource(f"i{number:04}", assesses=(("s", 1.0),)) for number in range(400)]
    catalog = build_columns(items, [])
    answered = [f"i{number:04}" for number in range(128)]
    ranked = _rank(catalog, learner_state({"s": WEAK}, answered=answered), limit=10)
    assert len(ranked.resources) == 10
    assert not set(answered) & set(_ids(catalog, ranked))


def test_random_candidates_change_with_the_day_and_with_nothing_else():
    catalog = build_columns([CatalogResource(f"r{number:03}") for number in range(300)], [])
    first, again = _rank(catalog), _rank(catalog)
    assert _ids(catalog, first) == _ids(catalog, again)
    assert _ids(catalog, first) != _ids(catalog, _rank(catalog, day="2023-11-15"))
    assert _ids(catalog, first) != _ids(catalog, _rank(catalog, learner="M"))


@given(st.integers(1, 300), st.integers(0, 2**64 - 1))
def test_random_candidates_are_distinct(limit, seed):
    every = np.ones(300, np.bool_)
    assert len(set(at_random(every, limit, seed).tolist())) == limit


def test_every_resource_is_equally_likely_to_be_a_random_candidate():
    every = np.ones(60, np.bool_)
    seeds = [random_seed("t", f"learner-{number}", "b", "2023-11-14") for number in range(3_000)]
    counts = np.bincount(np.concatenate([at_random(every, 6, seed) for seed in seeds]), minlength=60)
    assert counts.min() > 220
    assert counts.max() < 380


def test_each_part_changes_the_seed():
    parts = ("tenant", "learner", "bundle", "2023-11-14")
    changed = [(*parts[:place], "other", *parts[place + 1 :]) for place in range(4)]
    assert len({random_seed(*each) for each in (parts, *changed)}) == 5


_skill_names = st.sampled_from([f"s{number}" for number in range(5)])
_tags = st.lists(st.tuples(_skill_names, st.floats(0.05, 1.0)), max_size=3).map(tuple)
_catalogs = st.lists(
    st.builds(
        CatalogResource,
        resource_id=st.integers(0, 60).map(lambda number: f"r{number:02}"),
        kind=st.sampled_from(ResourceKind),
        teaches=_tags,
        assesses=_tags,
        grades=st.lists(st.sampled_from("34"), max_size=1).map(tuple),
    ),
    unique_by=lambda resource: resource.resource_id,
    max_size=25,
)
_abilities = st.integers(1, 50).flatmap(
    lambda attempts: st.builds(
        Ability,
        mean=st.floats(-3, 3),
        variance=st.floats(0.01, 0.3),
        attempts=st.just(attempts),
        successes=st.floats(0, attempts),
        last_at_s=st.sampled_from([0, NOW_S - 1, NOW_S - 100 * DAY_S, NOW_S + DAY_S]),
    )
)
_states = st.none() | st.builds(
    learner_state,
    st.dictionaries(_skill_names, _abilities, max_size=5),
    mean=st.floats(-2, 2),
    variance=st.floats(0.01, 0.5),
    answered=st.lists(st.integers(0, 60).map(lambda number: f"r{number:02}"), unique=True, max_size=20),
)


@settings(max_examples=60)
@given(_catalogs, _states, st.integers(1, 30), st.sampled_from([EVERYTHING, ResourceFilter(grades=("3",))]))
def test_any_list_is_complete_and_consistent(resources, state, limit, wanted):
    catalog = build_columns(resources, [CatalogSkill("s1", prerequisites=("s0",))])
    ranked = _rank(catalog, state, wanted=wanted, limit=limit)
    eligible = [
        row
        for row, each in enumerate(sorted(resources, key=lambda each: each.resource_id))
        if not wanted.grades or not each.grades or "3" in each.grades
    ]
    rows = [resource.row for resource in ranked.resources]
    assert len(set(rows)) == len(rows) == min(limit, len(eligible))
    assert set(rows) <= set(eligible)
    for resource in ranked.resources:
        reasons = resource.explanation.reasons
        assert len(reasons) <= 2
        # Where nothing that added to the score is true, one that is true is given without a contribution.
        assert all(reason.contribution > 0.0 for reason in reasons) or len(reasons) == 1
        assert all(render(reason.message) for reason in reasons)
        assert sorted((reason.contribution for reason in reasons), reverse=True) == [
            reason.contribution for reason in reasons
        ]
        assert resource.reassess_with != catalog.resource_ids[resource.row]
        assert 0.0 <= resource.success <= 1.0
    assert _rank(catalog, state, wanted=wanted, limit=limit) == ranked


@settings(max_examples=30)
@given(st.integers(1, 100), st.integers(0, 2**32))
def test_candidates_are_few_allowed_and_distinct(limit, seed):
    rng = np.random.default_rng(seed)
    allowed = rng.random(len(BIG)) < rng.choice([0.02, 0.5, 1.0])
    answered = rng.choice(len(BIG), 128, replace=False)
    state = learner_state({f"s{number}": STRONG if number % 3 else WEAK for number in range(30)})
    estimates = estimate_skills(BIG, BIG_CATALOG.difficulties, state, NOW_S + 90 * DAY_S, WEIGHTS)
    likely = rng.random(len(BIG)) < CANDIDATES / len(BIG)
    rows = select_candidates(
        BIG_CATALOG.index, estimates, estimates.urgencies, likely, allowed, answered, limit, seed, WEIGHTS
    )
    assert len(rows) <= WEIGHTS.candidates
    assert len(rows) >= min(limit, np.count_nonzero(allowed))
    assert (np.diff(rows) > 0).all()
    assert allowed[rows].all()
    # None of what is likely to come next is left out: the ranker's features compare all of it.
    expected = likely & allowed
    expected[answered] = False
    assert set(expected.nonzero()[0].tolist()) <= set(rows.tolist())


BIG = build_columns(
    [
        CatalogResource(
            f"r{number:04}",
            kind=list(ResourceKind)[1 + number % 6],
            teaches=((f"s{number % 97}", 1.0),),
            assesses=((f"s{number % 89}", 0.5),),
        )
        for number in range(3_000)
    ],
    [],
)
BIG_CATALOG = prepare(BIG, PRIORS)


def test_after_the_warm_up_no_request_waits_for_a_compiler():
    warm_up()
    modules = (compiled, need, next_item, policy, priorities, recent_activity, scope)
    loops = [loop for module in modules for loop in vars(module).values() if hasattr(loop, "signatures")]
    assert len(loops) > 20
    compiled_for = [list(loop.signatures) for loop in loops]
    state = learner_state({"add": STRONG, "fractions": WEAK}, answered=["add-practice"])
    _rank(CHAIN, state, models=_similar(CHAIN, {"add-lesson": 1.0, "ratios-lesson": 0.0}))
    _rank(CHAIN, wanted=ResourceFilter(kinds=(ResourceKind.LESSON,)))
    assert [list(loop.signatures) for loop in loops] == compiled_for
