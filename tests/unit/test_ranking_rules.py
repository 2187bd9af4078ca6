"""Rules of teachers and tenants: properties of pin, block and boost, for any catalog and any set of rules."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.recommender.domain.learner.parameters import TenantParameters
from services.recommender.domain.ranking.catalog import CatalogResource, build_columns
from services.recommender.domain.ranking.pipeline import rank
from services.recommender.domain.ranking.policy import EVERYTHING, ResourceFilter
from services.recommender.domain.ranking.prepared import prepare
from services.recommender.domain.ranking.reasons import ReasonKind
from services.recommender.domain.ranking.render import render
from services.recommender.domain.ranking.request import RankingRequest
from services.recommender.domain.ranking.rules import NO_RULES, ActiveRules, Rule, RuleAction, rule_book
from services.recommender.domain.ranking.warm_up import warm_up
from services.recommender.domain.ranking.weights import DEFAULT_WEIGHTS as WEIGHTS
from tests.learners import learner_state

# Compile first: the examples have a deadline.
warm_up()

NOW_S = 1_700_000_000
RESOURCES = [
    CatalogResource(
        f"r{number:02}",
        assesses=((f"s{number % 4}", 1.0),),
        provider=("acorn", "birch", "")[number % 3],
        grades=(("3",), ())[number % 2],
    )
    for number in range(24)
]
CATALOG = build_columns(RESOURCES, [])
PREPARED = prepare(CATALOG, TenantParameters())
LEARNER = learner_state({}, answered=["r01", "r02"])

PIN, BLOCK, BOOST = RuleAction


def ranked(*rules, limit=5, wanted=EVERYTHING, class_id="", as_of_s=NOW_S, state=LEARNER):
    request = RankingRequest(
        tenant="riverbend",
        learner="L",
        state=state,
        models_id="",
        as_of_s=as_of_s,
        day="2023-11-14",
        wanted=wanted,
        limit=limit,
        rules=rule_book(CATALOG, rules).active(class_id, wanted.grades, as_of_s),
    )
    return rank(PREPARED, request, WEIGHTS, lambda: 0.0).resources


def ids(resources):
    return [CATALOG.resource_ids[resource.row] for resource in resources]


names = st.lists(st.sampled_from([resource.resource_id for resource in RESOURCES]), max_size=4, unique=True).map(tuple)
rules = st.lists(
    st.builds(
        Rule,
        rule_id=st.uuids().map(str),
        action=st.sampled_from(RuleAction),
        resource_ids=names,
        providers=st.lists(st.sampled_from(["acorn", "birch"]), max_size=1).map(tuple),
        skills=st.lists(st.sampled_from(["s0", "s1"]), max_size=1).map(tuple),
        factor=st.floats(0.1, 10),
    ),
    max_size=5,
)
limits = st.integers(1, 30)
few = settings(max_examples=60, deadline=None)


def blocked_by(rules):
    return {
        resource.resource_id
        for rule in rules
        if rule.action is BLOCK
        for resource in RESOURCES
        if (resource.resource_id in rule.resource_ids or resource.provider in rule.providers)
        and (not rule.skills or resource.assesses[0][0] in rule.skills)
    }


@few
@given(rules, limits)
def test_a_block_always_wins(rules, limit):
    resources = ranked(*rules, limit=limit)
    blocked = blocked_by(rules)
    assert not blocked & set(ids(resources))
    assert not blocked & {resource.reassess_with for resource in resources}


@few
@given(names, limits)
def test_pins_come_first_and_keep_their_order(pinned, limit):
    assert ids(ranked(Rule("p", PIN, pinned), limit=limit))[: len(pinned)] == list(pinned)[:limit]


@few
@given(rules, limits)
def test_a_boost_of_1_changes_nothing(rules, limit):
    boost = Rule("boost", BOOST, tuple(CATALOG.resource_ids), factor=1.0)
    assert ranked(*rules, boost, limit=limit) == ranked(*rules, limit=limit)


@few
@given(rules, limits)
def test_a_list_has_no_duplicates_and_is_as_long_as_possible(rules, limit):
    listed = ids(ranked(*rules, limit=limit))
    assert len(listed) == len(set(listed)) == min(limit, len(RESOURCES) - len(blocked_by(rules)))


@few
@given(st.permutations(range(4)))
def test_the_order_of_rules_does_not_matter(order):
    rules = [
        Rule("a", PIN, ("r09", "r03")),
        Rule("b", PIN, ("r05",)),
        Rule("c", BLOCK, providers=("birch",)),
        Rule("d", BOOST, skills=("s2",), providers=("acorn",), factor=3.0),
    ]
    assert ranked(*[rules[place] for place in order]) == ranked(*rules)


@given(st.floats(-5, 5), st.floats(-5, 5), st.floats(0.1, 10))
def test_a_boost_raises_or_lowers_every_score_the_same_way(one, other, factor):
    active_rules = rule_book(CATALOG, [Rule("b", BOOST, ("r00", "r01"), factor=factor)]).active("", (), 0.0)
    low, high = active_rules.boost(np.array([0, 1]), np.sort(np.array([one, other])))
    assert low <= high
    (raised,) = active_rules.boost(np.array([0]), np.array([one]))
    assert raised >= one if factor >= 1.0 else raised <= one


def test_a_boosted_resource_is_considered_even_if_it_fits_badly_and_overtakes():
    last = ids(ranked(limit=24))[-3]
    resources = ranked(Rule("b", BOOST, (last,), factor=10.0), limit=1)
    assert ids(resources) == [last]


def test_a_factor_below_1_moves_a_resource_back():
    first = ids(ranked(limit=1))[0]
    assert ids(ranked(Rule("b", BOOST, (first,), factor=0.1), limit=1)) != [first]


def test_boosts_multiply():
    (plain,) = (resource for resource in ranked(limit=24) if resource.row == 0)
    both = (Rule("a", BOOST, ("r00",), factor=2.0), Rule("b", BOOST, ("r00",), factor=3.0))
    (boosted,) = (resource for resource in ranked(*both, limit=24) if resource.row == 0)
    assert boosted.score - plain.score == pytest.approx(2.6 * math.log(6.0))


def test_a_pin_holds_only_where_the_resource_is_eligible():
    wanted = ResourceFilter(grades=("5",), excluded=("r03",))
    assert ids(ranked(Rule("p", PIN, ("r02", "r03", "r05")), wanted=wanted))[0] == "r05"
    listed = ids(ranked(Rule("p", PIN, ("r02", "r03", "r05")), wanted=wanted, limit=24))
    assert not {"r02", "r03"} & set(listed)


def test_a_recently_answered_resource_can_be_pinned_by_id_but_not_by_provider():
    assert ids(ranked(Rule("p", PIN, ("r01",))))[0] == "r01"
    by_provider = ids(ranked(Rule("p", PIN, providers=("birch",)), limit=24))
    assert CATALOG.resource_ids[CATALOG.providers.rows["birch"][0]] == "r01"
    assert "r01" not in by_provider[:7]
    assert set(by_provider[:7]) == {f"r{number:02}" for number in range(4, 24, 3)}


def test_pins_by_name_come_before_pins_by_provider():
    listed = ids(ranked(Rule("a", PIN, providers=("acorn",)), Rule("b", PIN, ("r04",)), limit=3))
    assert listed[0] == "r04"
    assert all(int(name[1:]) % 3 == 0 for name in listed[1:])


def test_skills_narrow_the_scope_of_a_rule():
    listed = ids(ranked(Rule("b", BLOCK, providers=("acorn",), skills=("s0",)), limit=24))
    assert set(CATALOG.resource_ids) - set(listed) == {"r00", "r12"}


def test_a_rule_about_a_class_holds_for_that_class_alone():
    rule = Rule("p", PIN, ("r07",), classes=("4b", "4c"))
    assert ids(ranked(rule, class_id="4c"))[0] == "r07"
    assert ranked(rule, class_id="4a") == ranked(rule) == ranked()


def test_a_rule_about_grades_holds_for_answers_made_for_one_of_them():
    rule = Rule("p", PIN, ("r07",), grades=("3", "4"))
    assert ids(ranked(rule, wanted=ResourceFilter(grades=("4", "5"))))[0] == "r07"
    assert ids(ranked(rule, wanted=ResourceFilter(grades=("5",))))[0] != "r07"
    assert ranked(rule) == ranked()


def test_a_rule_stops_applying_at_its_end_time():
    rule = Rule("p", PIN, ("r07",), expires_at_s=NOW_S)
    assert ids(ranked(rule, as_of_s=NOW_S - 1))[0] == "r07"
    assert ids(ranked(rule, as_of_s=NOW_S))[0] != "r07"


def test_a_pin_is_the_first_reason_and_names_the_rule():
    (first, *others) = ranked(Rule("unit 3", PIN, ("r07",), note="the test is on Friday"))
    assert first.explanation.reasons[0].kind is ReasonKind.PINNED
    assert render(first.explanation.reasons[0].message) == "Pinned by the rule 'unit 3' (the test is on Friday)"
    assert len(first.explanation.reasons) == 2
    assert not any(reason.kind is ReasonKind.PINNED for one in others for reason in one.explanation.reasons)


def test_a_boost_is_a_reason_with_its_contribution():
    boosts = (Rule("a", BOOST, ("r07",), factor=4.0), Rule("b", BOOST, ("r07",), factor=2.0))
    (resource,) = (resource for resource in ranked(*boosts, limit=24) if resource.row == 7)
    (reason,) = (reason for reason in resource.explanation.reasons if reason.kind is ReasonKind.BOOSTED)
    assert render(reason.message) == "Moved up by the rules 'a', 'b'"
    assert reason.contribution == pytest.approx(2.6 * math.log(8.0))


def test_a_factor_below_1_is_not_given_as_a_reason():
    rule = Rule("a", BOOST, ("r07",), factor=0.5)
    (resource,) = (resource for resource in ranked(rule, limit=24) if resource.row == 7)
    assert {reason.kind for reason in resource.explanation.reasons}.isdisjoint({ReasonKind.BOOSTED})


def test_a_rule_without_matching_resources_has_no_effect():
    active_rules = rule_book(CATALOG, [Rule("p", PIN, ("gone",), providers=("nobody",))]).active("", (), 0.0)
    assert active_rules is NO_RULES
    assert not ActiveRules()
