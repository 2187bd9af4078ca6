"""Pairs of items: counted as a plain loop counts them, fitted without leaks, and used where they help."""

from __future__ import annotations

import dataclasses
import math
from collections import defaultdict

import numpy as np
import pytest

from services.recommender.domain.learner.item_pairs import NO_PAIRS, ItemPairs, paired_in_trace, paired_with
from services.recommender.domain.learner.parameter_identity import parameters_id
from services.recommender.domain.learner.parameters import FilterSettings, TenantParameters
from services.recommender.domain.learner.success_features import RECENT_FEATURES, SHARED_FEATURES
from services.recommender.domain.training.metrics import auc, log_loss
from services.recommender.domain.training.responses import ResponseTable, ResponseTableBuilder
from services.recommender.models.tracing import pair_fit, success_fit
from services.recommender.models.tracing.difficulty_fit import fit_difficulties, predict
from services.recommender.models.tracing.fit import fit_tracing
from services.recommender.models.tracing.pair_fit import fit_item_pairs
from services.recommender.models.tracing.success_fit import SuccessChoice, fit_success, predict_success
from services.recommender.models.tracing.success_table import success_features

SETTINGS = FilterSettings()


def quiz(learners: int, *, copied: float = 0.0, items: int = 40, each: int = 30, graded: bool = False) -> ResponseTable:
    """Items in random order; `copied`: how often the response to an odd item is that to the even one just before."""
    rng, builder = np.random.default_rng(5), ResponseTableBuilder()
    for learner in range(learners):
        last: dict[int, float] = {}
        for item in (2 * rng.permutation(items // 2)[: each // 2, None] + np.arange(2)).ravel().tolist():
            response = float(rng.random() if graded else rng.random() < 0.6)
            if item % 2 and rng.random() < copied:
                response = last[item - 1]
            last[item] = response
            name = "" if rng.random() < 0.05 and not copied else f"i{item:02}"
            builder.append(
                learner=f"l{learner:04}",
                item=name,
                skills=[f"s{item % 3}"],
                response=response,
                resource=f"r{item // 4}",
            )
    return builder.build()


def counted(table: ResponseTable) -> dict[tuple[str, int, str], tuple[float, float]]:
    """Surprise and information of each pair, by a plain loop."""
    chance = predict(table, fit_difficulties(table, SETTINGS)).tolist()
    found: dict[tuple[str, int, str], tuple[float, float]] = defaultdict(lambda: (0.0, 0.0))
    for row in range(len(table)):
        for before in range(max(row - 5, 0), row):
            if table.learner[before] == table.learner[row] and table.item[before] >= 0 and table.item[row] >= 0:
                earlier, later = (table.items[table.item[each]] for each in (before, row))
                right = float(table.response[before])
                for outcome, weight in ((0, 1 - right), (1, right)):
                    if weight:
                        surprise, information = found[earlier, outcome, later]
                        found[earlier, outcome, later] = (
                            surprise + weight * (float(table.response[row]) - chance[row]),
                            information + weight * chance[row] * (1 - chance[row]),
                        )
    return dict(found)


def as_dictionary(pairs: ItemPairs) -> dict[tuple[str, int, str], tuple[float, float]]:
    groups = np.repeat(np.arange(len(pairs.starts) - 1), np.diff(pairs.starts)).tolist()
    columns = zip(groups, pairs.later.tolist(), pairs.surprise.tolist(), pairs.information.tolist(), strict=True)
    return {(pairs.items[g // 2], g % 2, pairs.items[later]): (surprise, info) for g, later, surprise, info in columns}


@pytest.mark.parametrize("learners", range(7))
def test_a_table_of_a_few_responses_is_counted_too(learners):
    table = quiz(learners, each=2, copied=1.0).rows(np.arange(2 * learners) % 2 == 0)
    assert len(table) == learners
    assert as_dictionary(fit_item_pairs(table, fit_difficulties(table, SETTINGS))) == {}


@pytest.mark.parametrize("graded", [False, True])
def test_pairs_are_those_that_a_plain_loop_counts(graded):
    table = quiz(20, graded=graded)
    found, expected = as_dictionary(fit_item_pairs(table, fit_difficulties(table, SETTINGS))), counted(table)
    assert set(found) == set(expected)
    for pair, values in expected.items():
        assert found[pair] == pytest.approx(values, abs=1e-5)


def test_the_pairs_of_a_resource_are_the_mean_of_those_of_its_items():
    table = quiz(20)
    found = as_dictionary(fit_item_pairs(table, fit_difficulties(table, SETTINGS), of_resources=True))
    expected = counted(table)
    for earlier, outcome in (("i00", 0), ("i01", 1)):
        of_items = [expected.get((earlier, outcome, f"i{item:02}"), (0.0, 0.0)) for item in range(8, 12)]
        assert found[earlier, outcome, "r2"] == pytest.approx(np.mean(of_items, axis=0), abs=1e-5)


def test_the_features_are_the_log_odds_of_the_pairs_with_the_last_five_items():
    table = quiz(20, graded=True)
    difficulties = fit_difficulties(table, SETTINGS)
    features, known = success_features(table, difficulties, fit_item_pairs(table, difficulties)), counted(table)
    columns = [SHARED_FEATURES.index(name) for name in RECENT_FEATURES]
    for row in range(200):
        before = [at for at in range(row - 1, row - 6, -1) if at >= 0 and table.learner[at] == table.learner[row]]
        surprise = information = 0.0
        for place, at in enumerate(before):
            right = float(table.response[at])
            for outcome, weight in ((0, 1 - right), (1, right)):
                pair = known.get(tuple_of(table, at, outcome, row), (0.0, 0.0))
                surprise, information = (
                    total + 0.7**place * weight * one for total, one in zip((surprise, information), pair, strict=True)
                )
        outcomes = [float(table.response[at]) - 0.5 for at in before]
        assert features[row, columns] == pytest.approx(
            [sum(outcomes[:1]), sum(outcomes[1:]), surprise / (information + 1), math.log1p(information)], abs=1e-5
        )


def tuple_of(table: ResponseTable, earlier: int, outcome: int, later: int) -> tuple[str, int, str]:
    names = (*table.items, "")
    return names[table.item[earlier]], outcome, names[table.item[later]]


def test_the_pairs_with_the_most_information_are_kept(monkeypatch):
    table = quiz(20)
    difficulties = fit_difficulties(table, SETTINGS)
    every = as_dictionary(fit_item_pairs(table, difficulties))
    monkeypatch.setattr(pair_fit, "_MOST_PAIRS", 100)
    kept = as_dictionary(fit_item_pairs(table, difficulties))
    assert len(kept) == 100
    assert kept.items() <= every.items()
    assert min(information for _, information in kept.values()) >= max(
        information for pair, (_, information) in every.items() if pair not in kept
    )


def test_outcomes_without_any_pattern_teach_the_success_model_nothing():
    table = quiz(420)
    known = np.arange(len(table.learners)) < 300
    fitted_on, new = table.of_learners(known), table.of_learners(~known)
    success_model, _ = fit_success(fitted_on, SETTINGS, seed=1)
    features = success_features(new, fit_difficulties(fitted_on, SETTINGS), success_model.pairs)
    chance = predict_success(new, features, success_model)
    constant = log_loss(new.response, np.full(len(new), fitted_on.response.mean()))
    assert auc(new.response, chance) == pytest.approx(0.5, abs=0.03)
    assert log_loss(new.response, chance) < constant + 0.004


def test_an_item_whose_outcome_follows_another_items_is_predicted_from_it():
    table = quiz(200, copied=0.8)
    known = np.arange(len(table.learners)) < 140
    model, choice = fit_success(table.of_learners(known), SETTINGS, seed=1)
    new, difficulties = table.of_learners(~known), fit_difficulties(table.of_learners(known), SETTINGS)
    chances = [
        predict_success(new, success_features(new, difficulties, pairs), model) for pairs in (model.pairs, NO_PAIRS)
    ]
    assert choice.recent_items
    assert model.recent_items
    assert auc(new.response, chances[0]) > auc(new.response, chances[1]) + 0.03


def test_states_keep_recent_items_exactly_where_the_success_model_reads_them(monkeypatch):
    table = quiz(60, copied=0.8)
    assert fit_tracing(table, seed=1).parameters.recent_items
    without = SuccessChoice(clocks=False, products=False, skill_penalty=32.0, log_loss=0.5, recent_items=False)
    monkeypatch.setattr(success_fit, "_chosen", lambda *_: without)
    fitted = fit_tracing(table, seed=1)
    assert not fitted.parameters.recent_items
    assert fitted.success is None or not len(fitted.success.pairs.later)


def test_parameters_without_recent_items_keep_the_id_that_earlier_releases_gave_them():
    plain = TenantParameters()
    assert parameters_id({"t": plain}) == "sha256-db85037d3551b68986e0afd5bb23675b"
    assert parameters_id({"t": dataclasses.replace(plain, recent_items=True)}) != parameters_id({"t": plain})


def test_a_catalog_is_looked_up_in_bulk_as_one_response_is_in_training_bit_for_bit():
    table = quiz(30, graded=True)
    pairs = fit_item_pairs(table, fit_difficulties(table, SETTINGS))
    resources = ["new", *reversed(table.items[:25])]
    over = pairs.over({resource: row for row, resource in enumerate(resources)})
    place_of = {item: row for row, item in enumerate(pairs.items)}
    for first in range(0, 300, 7):
        recent = np.arange(first, first + 5)[table.learner[first : first + 5] == table.learner[first]]
        names = [(*table.items, "")[table.item[row]] for row in recent]
        rows, outcomes = [place_of.get(name, -1) for name in names], table.response[recent]
        places, paired = paired_with(
            np.array(rows[::-1], np.int64),
            outcomes[::-1].copy(),
            over.starts,
            over.later,
            over.surprise,
            over.information,
            len(resources),
        )
        for row, resource in enumerate(resources):
            traced = paired_in_trace(
                np.zeros(len(rows) + 1, np.int32),
                np.append(outcomes, np.float32(0)),
                np.array([*rows, place_of.get(resource, -1)], np.int64),
                pairs.starts,
                pairs.later,
                pairs.surprise,
                pairs.information,
            )
            assert paired[places[row]].tobytes() == traced[-1].tobytes()
