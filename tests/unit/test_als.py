"""Collaborative filtering by alternating least squares."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given
from hypothesis import strategies as st

from services.recommender.application.ports.models import ModelArraysInvalidError
from services.recommender.models.collaborative.als import AlsModel

RESOURCES = tuple(f"r{number}" for number in range(6))


def model(*, confidence: float = 4.0, seed: int = 3) -> AlsModel:
    factors = np.random.default_rng(seed).normal(size=(6, 3)).astype(np.float32)
    return AlsModel(RESOURCES, factors, regularization=0.5, confidence=confidence)


MANY = AlsModel(
    [f"r{number}" for number in range(500)],
    np.random.default_rng(1).normal(size=(500, 8)).astype(np.float32),
    regularization=0.5,
    confidence=4.0,
)


def test_a_learner_without_known_positives_scores_zero_everywhere():
    for history in ([], ["never seen"]):
        scores = model().scores(history)
        assert scores.dtype == np.float32
        assert scores.tolist() == [0.0] * 6


def test_unknown_and_repeated_ids_do_not_change_scores():
    assert model().scores(["r1", "nowhere", "r4", "r1"]).tobytes() == model().scores(["r1", "r4"]).tobytes()


@given(st.lists(st.integers(0, 499), min_size=2, max_size=30, unique=True), st.randoms(use_true_random=False))
def test_the_order_of_a_history_does_not_change_the_last_bit(numbers, random):
    history = [f"r{number}" for number in numbers]
    shuffled = random.sample(history, len(history))
    assert MANY.scores(shuffled).tobytes() == MANY.scores(history).tobytes()


@given(st.sets(st.sampled_from(RESOURCES), min_size=1), st.floats(1, 50), st.integers(0, 1_000))
def test_the_fold_in_minimises_the_weighted_squared_loss(history, confidence, seed):
    als = model(confidence=confidence, seed=seed)
    factors = als.to_arrays().arrays["factors"].astype(np.float64)
    positive = np.array([resource in history for resource in RESOURCES])
    weights = np.where(positive, confidence, 1.0)
    learner = als.fold_in(positive.nonzero()[0]).astype(np.float64)
    gradient = factors.T @ (weights * (factors @ learner - positive)) + 0.5 * learner
    assert np.abs(gradient).max() < 1e-3 * confidence


@pytest.mark.parametrize("confidence", [1.0, 8.0])
@pytest.mark.filterwarnings("ignore:OpenBLAS is configured:RuntimeWarning")
def test_the_fold_in_equals_the_recalculation_of_implicit(confidence):
    from implicit.als import AlternatingLeastSquares

    rng = np.random.default_rng(11)
    positives = scipy.sparse.csr_matrix((rng.random((60, 30)) < 0.2).astype(np.float32))
    reference = AlternatingLeastSquares(
        factors=8, regularization=0.3, alpha=confidence, iterations=5, num_threads=1, random_state=5
    )
    reference.fit(positives, show_progress=False)
    resources = tuple(f"r{number}" for number in range(30))
    als = AlsModel(resources, np.asarray(reference.item_factors), regularization=0.3, confidence=confidence)
    for learner in range(60):
        expected = reference.recalculate_user(learner, positives[learner])
        np.testing.assert_allclose(als.fold_in(positives[learner].indices), expected, atol=2e-5)


def test_a_model_is_restored_from_its_arrays():
    again = AlsModel.from_arrays(model().to_arrays())
    assert again.resources == RESOURCES
    assert again.scores(["r2"]).tobytes() == model().scores(["r2"]).tobytes()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"resources": RESOURCES[:5]}, "expected float32 of \\(5, factors\\)"),
        ({"resources": ("r0",) * 6}, "not distinct"),
        ({"factors": np.zeros((6, 3))}, "type float64"),
        ({"factors": np.full((6, 3), np.nan, np.float32)}, "not all finite"),
        ({"regularization": 0.0}, "must be above 0"),
        ({"confidence": 0.5}, "at least 1"),
    ],
)
def test_an_invalid_model_is_refused(change, message):
    arguments = {
        "resources": RESOURCES,
        "factors": np.zeros((6, 3), np.float32),
        "regularization": 1.0,
        "confidence": 1.0,
    } | change
    with pytest.raises(ModelArraysInvalidError, match=message):
        AlsModel(**arguments)
