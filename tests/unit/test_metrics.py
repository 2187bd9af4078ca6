"""Measures of forecasts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import log_loss as reference_log_loss
from sklearn.metrics import roc_auc_score

from services.recommender.domain.training.metrics import auc, log_loss
from services.recommender.evaluation.intervals import Draws, of_forecasts

forecasts = st.lists(st.tuples(st.booleans(), st.integers(1, 19).map(lambda n: n / 20)), min_size=2, max_size=60).map(
    lambda pairs: (np.array([float(y) for y, _ in pairs]), np.array([p for _, p in pairs]))
)


@given(forecasts)
def test_auc_and_log_loss_are_those_of_scikit_learn(forecast):
    outcome, chance = forecast
    assert log_loss(outcome, chance) == pytest.approx(reference_log_loss(outcome, chance, labels=[0, 1]))
    if 0 < outcome.sum() < len(outcome):
        assert auc(outcome, chance) == pytest.approx(roc_auc_score(outcome, chance))
    else:
        assert auc(outcome, chance) is None


def test_a_graded_outcome_counts_as_a_share_of_a_success():
    assert log_loss(np.array([0.25]), np.array([0.5])) == pytest.approx(np.log(2))
    assert log_loss(np.array([0.25]), np.array([0.25])) < log_loss(np.array([0.25]), np.array([0.3]))


def test_certain_but_wrong_forecasts_cost_much_but_are_bounded():
    assert 10 < log_loss(np.array([1.0]), np.array([0.0])) < 100


def measured(name, outcome, chance):
    """A measure of the evaluation, without its draws."""
    learner = np.zeros(len(outcome), np.int64)
    return of_forecasts(learner, outcome, chance, Draws(np.ones((1, 1))))[name][0]


def test_calibration_error_weighs_each_bin_by_its_responses():
    outcome = np.array([1.0, 1.0, 0.0, 0.0])
    chance = np.array([0.9, 0.9, 0.9, 0.1])
    # Bin of .9: predicted .9, observed 2/3, three responses; bin of .1: predicted .1, observed 0, one response.
    assert measured("ece", outcome, chance) == pytest.approx((3 * (0.9 - 2 / 3) + 0.1) / 4)
    assert measured("ece", np.array([1.0]), np.array([1.0])) == 0.0


def test_rmse_is_the_root_of_the_mean_squared_error():
    assert measured("rmse", np.array([1.0, 0.0]), np.array([0.7, 0.1])) == pytest.approx(((0.09 + 0.01) / 2) ** 0.5)
