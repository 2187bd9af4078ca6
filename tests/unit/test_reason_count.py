"""Reasons are counted, and so are those that are false and the lists that could not be made."""

from __future__ import annotations

import dataclasses

from services.recommender.domain.learner.parameters import TenantParameters
from services.recommender.domain.ranking.catalog import CatalogResource, build_columns
from services.recommender.domain.ranking.pipeline import rank
from services.recommender.domain.ranking.policy import EVERYTHING
from services.recommender.domain.ranking.prepared import prepare
from services.recommender.domain.ranking.request import RankingRequest
from services.recommender.domain.ranking.weights import DEFAULT_WEIGHTS
from services.recommender.evaluation.reason_count import ReasonCount, check_of
from tests.learners import Ability, learner_state

PREPARED = prepare(
    build_columns([CatalogResource(f"r{number}", assesses=(("s", 1.0),)) for number in range(4)], []),
    TenantParameters(),
)
WEAK = learner_state({"s": Ability(mean=-1.0, attempts=5, successes=2.0)})
REQUEST = RankingRequest("t", "l", WEAK, "", 0.0, "1970-01-01", EVERYTHING, limit=4)


def ranked():
    return rank(PREPARED, REQUEST, DEFAULT_WEIGHTS, lambda: 0.0)


def test_true_reasons_are_counted():
    count = ReasonCount(PREPARED)
    made = count.made(ranked, REQUEST)
    given = sum(len(one.explanation.reasons) for one in made.resources)
    assert (count.lists, count.reasons, count.false, count.crashed) == (1, given, 0, 0)
    assert given >= 4
    assert check_of({"cairn": count}).described == (
        f"yes: every reason is true: cairn: {given} reasons in 1 list, 0 false, 0 crashed"
    )


def test_only_the_first_entries_are_checked_where_a_number_is_given():
    count = ReasonCount(PREPARED, first=1)
    made = count.made(ranked, REQUEST)
    assert len(made.resources) == 4
    assert count.reasons == len(made.resources[0].explanation.reasons)


def test_a_reason_that_is_false_of_the_learner_is_counted_and_shown():
    count = ReasonCount(PREPARED)
    other = learner_state({"s": Ability(mean=-1.0, attempts=6, successes=2.0)})
    count.made(ranked, dataclasses.replace(REQUEST, state=other))
    assert count.false > 0
    check = check_of({"cairn": count})
    assert not check.holds
    assert "the state has 6 answers" in check.described


def test_a_list_that_cannot_be_made_is_counted_and_empty():
    def fails():
        raise ValueError("cannot convert float NaN to integer")

    count = ReasonCount(PREPARED)
    assert count.made(fails, REQUEST).resources == ()
    assert (count.lists, count.crashed) == (0, 1)
    assert "0 false, 1 crashed; ValueError: cannot convert float NaN" in check_of({"cairn": count}).described
