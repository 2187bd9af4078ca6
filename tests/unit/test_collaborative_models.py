"""Families of collaborative models, on data with an obvious answer and against their published formulas."""

from __future__ import annotations

import math

import numpy as np
import pytest

from services.recommender.models.collaborative.als import AlsModel
from services.recommender.models.collaborative.als_fit import AlsSettings, fit_als
from services.recommender.models.collaborative.bpr import fit_bpr
from services.recommender.models.collaborative.families import FAMILIES
from services.recommender.models.collaborative.neighbours import ItemItemModel
from services.recommender.models.collaborative.neighbours_fit import (
    EaseModel,
    TooLargeError,
    fit_item_knn,
    fit_rp3beta,
    fit_sequential,
    matrix_of,
)
from services.recommender.models.collaborative.popular import PopularModel, fit_popular
from tests.suites.collaborative_model import (
    CollaborativeModelSuite,
    HistoryModelSuite,
    StoredModelSuite,
    of_histories,
    two_groups,
)


class _ItemItemStored(StoredModelSuite):
    def stored(self, model):
        return ItemItemModel.from_arrays(model.to_arrays())


class TestItemKnn(HistoryModelSuite, _ItemItemStored):
    def fit(self, positives):
        return fit_item_knn(positives)


class TestRp3beta(HistoryModelSuite, _ItemItemStored):
    def fit(self, positives):
        return fit_rp3beta(positives)


class TestSequential(HistoryModelSuite, _ItemItemStored):
    def fit(self, positives):
        return fit_sequential(positives)


class TestEase(HistoryModelSuite, StoredModelSuite):
    def fit(self, positives):
        return EaseModel(positives, regularization=20.0)

    def stored(self, model):
        return ItemItemModel.from_arrays(model.written_out().to_arrays())


class TestBpr(HistoryModelSuite):
    def fit(self, positives):
        return fit_bpr(positives, factors=4, seed=1)


class TestPopular(CollaborativeModelSuite, StoredModelSuite):
    def fit(self, positives):
        return fit_popular(positives, days=7)

    def stored(self, model):
        return PopularModel.from_arrays(model.to_arrays())


class TestAls(HistoryModelSuite, StoredModelSuite):
    # Fitting refuses fewer.
    LEARNERS_FEW = 20

    def fit(self, positives):
        settings = AlsSettings(factors=4)
        return AlsModel.from_arrays(fit_als(positives, settings, seed=1).model)

    def stored(self, model):
        return AlsModel.from_arrays(model.to_arrays())


def test_every_family_runs_the_suite():
    of_suite = [*CollaborativeModelSuite.__subclasses__(), *HistoryModelSuite.__subclasses__()]
    suites = {suite.__name__.removeprefix("Test").lower() for suite in of_suite if suite is not HistoryModelSuite}
    assert suites == {family.replace("_", "") for family in FAMILIES}


HISTORIES = [["a", "b", "c"], ["b", "a"], ["c", "b", "d"], ["a", "d"], ["b"]]


def _learners_of(resource: str) -> set[int]:
    return {learner for learner, history in enumerate(HISTORIES) if resource in history}


def _scores_after(model, history: list[str]) -> dict[str, float]:
    return dict(zip(model.resources, model.scores(history).tolist(), strict=True))


@pytest.mark.parametrize("shrinkage", [0.0, 10.0])
def test_item_knn_sums_the_shrunk_cosine_of_the_two_sets_of_learners(shrinkage):
    """|U_h & U_r| / (sqrt(|U_h| |U_r|) + shrinkage), summed over the history (Deshpande, Karypis 2004)."""

    def cosine(one: str, other: str) -> float:
        together = len(_learners_of(one) & _learners_of(other))
        return together / (math.sqrt(len(_learners_of(one)) * len(_learners_of(other))) + shrinkage)

    model = fit_item_knn(of_histories(HISTORIES), shrinkage=shrinkage, half_life=None)
    scores = _scores_after(model, ["a", "c"])
    for resource in "bd":
        assert scores[resource] == pytest.approx(cosine("a", resource) + cosine("c", resource))
    # A resource has no weight for itself.
    assert scores["a"] == pytest.approx(cosine("c", "a"))


def test_item_knn_halves_the_weight_after_a_half_life():
    model = fit_item_knn(of_histories(HISTORIES), half_life=1.0)
    alone_a, alone_c = (_scores_after(model, [resource]) for resource in "ac")
    assert _scores_after(model, ["a", "c"])["b"] == pytest.approx(0.5 * alone_a["b"] + alone_c["b"])


def test_item_knn_keeps_the_nearest_neighbours_of_each_resource():
    all_of_them = _scores_after(fit_item_knn(of_histories(HISTORIES), half_life=None), ["b"])
    nearest = _scores_after(fit_item_knn(of_histories(HISTORIES), neighbours=1, half_life=None), ["b"])
    best = max("acd", key=all_of_them.__getitem__)
    assert nearest == {resource: pytest.approx(all_of_them[best] * (resource == best)) for resource in "abcd"}


@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 0.0), (0.7, 0.4)])
def test_rp3beta_sums_the_three_step_walk_divided_by_the_popularity_of_its_end(alpha, beta):
    """p_ui^alpha p_ju^alpha summed over u, over |U_r|^beta (Paudel, Christoffel, Newell, Bernstein 2016)."""

    def walk(start: str, end: str) -> float:
        steps = (
            (1 / len(_learners_of(start))) ** alpha * (1 / len(HISTORIES[learner])) ** alpha
            for learner in _learners_of(start) & _learners_of(end)
        )
        return sum(steps) / len(_learners_of(end)) ** beta

    model = fit_rp3beta(of_histories(HISTORIES), alpha=alpha, beta=beta)
    scores = _scores_after(model, ["a", "c"])
    for resource in "bd":
        assert scores[resource] == pytest.approx(walk("a", resource) + walk("c", resource))
    assert scores["a"] == pytest.approx(walk("c", "a"))


def test_sequential_co_occurrence_is_directional():
    model = fit_sequential(of_histories([["first", "second", "third"]] * 5))
    scores = dict(zip(model.resources, model.scores(["second"]), strict=True))
    assert scores["third"] > 0
    assert scores["first"] == 0


def test_sequential_co_occurrence_weighs_close_followers_more():
    model = fit_sequential(of_histories([["first", "second", "third"]] * 5))
    scores = dict(zip(model.resources, model.scores(["first"]), strict=True))
    assert scores["second"] > scores["third"] > 0


def test_the_newest_resource_of_a_history_counts_most():
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


def test_ease_reports_the_memory_it_would_take_instead_of_taking_it(monkeypatch):
    monkeypatch.setattr("services.recommender.models.collaborative.neighbours_fit.EASE_SIDE_MOST", 10)
    with pytest.raises(TooLargeError, match=r"20 learners and 24 resources needs 0\.0 GiB"):
        EaseModel(two_groups(learners=20))


def test_bpr_gives_other_scores_for_another_seed():
    positives = two_groups(learners=40)
    first, other = (fit_bpr(positives, factors=4, seed=seed).scores(["a01"]) for seed in (1, 2))
    assert first.tobytes() != other.tobytes()
