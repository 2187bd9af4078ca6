"""Measures with intervals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from services.recommender.domain.training import metrics
from services.recommender.evaluation.intervals import Draws, centred, compared, estimate, of_forecasts, of_learners


def forecasts(responses: int = 400, learners: int = 20, seed: int = 3):
    rng = np.random.default_rng(seed)
    chance = np.round(rng.random(responses), 2)
    return rng.integers(0, learners, responses), (rng.random(responses) < chance).astype(float), chance


def calibration_error(outcome, chance):
    """Mean distance between predicted and observed success over 15 bins, weighted by their responses."""
    bins = np.minimum((chance * 15).astype(int), 14)
    distances = [abs((chance - outcome)[bins == number].sum()) for number in range(15)]
    return sum(distances) / len(outcome)


def test_the_first_draw_is_the_measure_itself():
    learner, outcome, chance = forecasts()
    values = of_forecasts(learner, outcome, chance, Draws.of(20, draws=5, seed=1))
    assert values["auc"][0] == pytest.approx(metrics.auc(outcome, chance))
    assert values["log_loss"][0] == pytest.approx(metrics.log_loss(outcome, chance))
    assert values["rmse"][0] == pytest.approx(np.sqrt(np.mean((outcome - chance) ** 2)))
    assert values["ece"][0] == pytest.approx(calibration_error(outcome, chance))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1_000))
def test_a_draw_measures_the_responses_of_the_learners_drawn_as_often_as_they_were(seed):
    learner, outcome, chance = forecasts()
    draws = Draws.of(20, draws=1, seed=seed)
    values = of_forecasts(learner, outcome, chance, draws)
    rows = np.repeat(np.arange(len(learner)), draws.weights[1].astype(int)[learner])
    assert values["auc"][1] == pytest.approx(roc_auc_score(outcome[rows], chance[rows]))
    assert values["log_loss"][1] == pytest.approx(metrics.log_loss(outcome[rows], chance[rows]))
    assert values["ece"][1] == pytest.approx(calibration_error(outcome[rows], chance[rows]))


def test_an_interval_covers_the_truth_about_as_often_as_it_claims():
    rng = np.random.default_rng(0)
    held = 0
    for trial in range(200):
        values = rng.normal(0.3, 1.0, 80)
        found = estimate(of_learners(values, Draws.of(80, draws=200, seed=trial)))
        held += found.low <= 0.3 <= found.high
    assert 175 <= held <= 199


def test_a_difference_of_correlated_measures_has_a_narrower_interval_than_either():
    rng = np.random.default_rng(1)
    hard = rng.normal(0, 1, 200)
    draws = Draws.of(200, draws=300, seed=1)
    values = {
        name: {"ndcg": of_learners(hard + shift + rng.normal(0, 0.05, 200), draws)}
        for name, shift in (("cairn", 0.1), ("other", 0.0))
    }
    difference = compared(values, "cairn")["other"]["ndcg"]
    alone = estimate(values["cairn"]["ndcg"])
    assert difference.low > 0
    assert difference.high - difference.low < (alone.high - alone.low) / 5


def test_a_measure_reduced_by_resampling_lies_within_its_interval():
    # The number of different resources in the lists of 60 learners; a draw's 38 different learners always have fewer.
    lists = np.random.default_rng(2).integers(0, 400, (60, 5))
    draws = Draws.of(60, draws=200, seed=1)
    covered = np.array([len(np.unique(lists[weights > 0])) for weights in draws.weights], float)
    assert covered[1:].max() < covered[0]
    found = estimate(centred(covered))
    assert found.low < found.mean < found.high
    assert found.mean == covered[0]
    assert found.high - found.low == pytest.approx(np.ptp(np.percentile(covered[1:], (2.5, 97.5))))
