"""Collaborative filtering by which resources go with which, on data whose answer is obvious."""

from __future__ import annotations

import numpy as np
import pytest

from services.recommender.domain.training.positives import Positives, positives_of
from services.recommender.domain.training.responses import ResponseTableBuilder
from services.recommender.models.bpr import fit_bpr
from services.recommender.models.neighbours import (
    EaseModel,
    TooLargeError,
    fit_item_knn,
    fit_rp3beta,
    fit_sequential,
    matrix_of,
)

MODELS = {
    "item_knn": fit_item_knn,
    "rp3beta": fit_rp3beta,
    "sequential": fit_sequential,
    "ease": lambda positives: EaseModel(positives, regularization=20.0),
    "bpr": lambda positives: fit_bpr(positives, factors=4, seed=1),
}


def of_histories(histories: list[list[str]]) -> Positives:
    builder = ResponseTableBuilder()
    for number, history in enumerate(histories):
        for resource in history:
            builder.append(learner=f"l{number:03}", item="", skills=[], response=1.0, resource=resource)
    return positives_of(builder.build())


def two_groups(*, learners: int, resources: int = 12, seed: int = 2) -> Positives:
    rng = np.random.default_rng(seed)
    return of_histories(
        [
            [f"{'ab'[learner % 2]}{resource:02}" for resource in rng.permutation(resources)[: resources * 3 // 4]]
            for learner in range(learners)
        ]
    )


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("learners", [16, 80], ids=["fewer learners than resources", "more"])
@pytest.mark.parametrize("group", ["a", "b"])
def test_a_learner_of_one_group_is_given_that_group_s_resources_first(name, learners, group):
    model = MODELS[name](two_groups(learners=learners))
    history = [f"{group}00", f"{group}01", f"{group}02"]
    scores = dict(zip(model.resources, model.scores(history), strict=True))
    ranked = sorted((resource for resource in scores if resource not in history), key=lambda r: -scores[r])
    assert {resource[0] for resource in ranked[:9]} == {group}


@pytest.mark.parametrize("name", MODELS)
def test_unknown_resources_are_ignored_and_nothing_known_scores_zero(name):
    model = MODELS[name](two_groups(learners=20))
    assert model.scores([]).tolist() == model.scores(["nowhere"]).tolist() == [0.0] * 24
    assert model.scores(["nowhere", "a01"]).tobytes() == model.scores(["a01"]).tobytes()
    assert model.scores(["a01"]).dtype == np.float32


def test_sequential_co_occurrence_knows_which_way_things_go():
    model = fit_sequential(of_histories([["first", "second", "third"]] * 5))
    scores = dict(zip(model.resources, model.scores(["second"]), strict=True))
    assert scores["third"] > 0
    assert scores["first"] == 0


def test_sequential_co_occurrence_counts_what_follows_sooner_for_more():
    model = fit_sequential(of_histories([["first", "second", "third"]] * 5))
    scores = dict(zip(model.resources, model.scores(["first"]), strict=True))
    assert scores["second"] > scores["third"] > 0


def test_the_newest_of_a_history_counts_most():
    model = fit_sequential(of_histories([["a", "after-a"], ["b", "after-b"]] * 5))
    scores = dict(zip(model.resources, model.scores(["a", "b"]), strict=True))
    assert scores["after-b"] > scores["after-a"] > 0


def test_ease_is_the_same_from_the_learners_side_and_from_the_resources_side():
    positives = two_groups(learners=20)
    dual = EaseModel(positives, regularization=3.0)
    matrix = matrix_of(positives).toarray().astype(np.float64)
    inverse = np.linalg.inv(matrix.T @ matrix + 3.0 * np.eye(24))
    weights = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0.0)
    history = ["a01", "a05", "b02"]
    rows = [positives.resources.index(resource) for resource in history]
    others = np.setdiff1d(np.arange(24), rows)
    np.testing.assert_allclose(dual.scores(history)[others], weights[rows].sum(axis=0)[others], atol=1e-5)
    primal = EaseModel(two_groups(learners=80), regularization=3.0)
    assert primal.scores(["a01"])[primal.resources.index("a01")] == 0.0


def test_ease_says_what_memory_it_would_take_instead_of_taking_it(monkeypatch):
    monkeypatch.setattr("services.recommender.models.neighbours.EASE_SIDE_MOST", 10)
    with pytest.raises(TooLargeError, match=r"20 learners and 24 resources needs 0\.0 GiB"):
        EaseModel(two_groups(learners=20))


def test_bpr_gives_the_same_scores_for_the_same_positives_and_seed():
    positives = two_groups(learners=40)
    first, second, other = (fit_bpr(positives, factors=4, seed=seed).scores(["a01"]) for seed in (1, 1, 2))
    assert first.tobytes() == second.tobytes() != other.tobytes()
