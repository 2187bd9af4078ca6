"""How much wider than the filter says the uncertainty about abilities is, by what held-out learners answer next."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from services.recommender.domain.training.responses import ResponseTableBuilder
from services.recommender.evaluation.mastery import WAYS, simulate
from services.recommender.models.tracing.difficulty_fit import UNFITTED, Difficulties, cv_folds
from services.recommender.models.tracing.interval_fit import Blocks, _forecast, fit_inflation, inflation_of


def blocks(true_variance, said_variance, *, number=4_000, size=8, seed=3):
    """Responses of learners whose logits differ by one variance, forecast with another."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0.3, np.sqrt(true_variance), (number, 1))
    right = rng.random((number, size)) < 1.0 / (1.0 + np.exp(-logits))
    return Blocks(
        np.arange(number) * size,
        right.ravel().astype(np.float64),
        np.full(number * size, 0.3),
        np.full(number * size, np.sqrt(said_variance)),
    )


def test_a_variance_that_is_right_is_kept_and_one_that_is_too_small_is_widened():
    assert inflation_of([blocks(0.4, 0.4)]) == pytest.approx(1.05, abs=0.08)
    assert inflation_of([blocks(0.8, 0.4)]) == pytest.approx(2.0, abs=0.25)


def test_no_interval_gets_narrower_than_the_filter_says():
    assert inflation_of([blocks(0.1, 0.4)]) == 1.0
    assert inflation_of([]) == 1.0
    assert inflation_of([Blocks(*(np.zeros(0, kind) for kind in (np.int64, float, float, float)))]) == 1.0


def test_blocks_are_a_learner_s_later_responses_to_the_same_skills_forecast_with_what_they_teach():
    builder = ResponseTableBuilder()
    for skills in (["a"], ["b"], ["a"], ["a"], ["c"], ["c"], ["a", "b"]):
        builder.append(learner="l", item="i", skills=skills, response=1.0)
    table = builder.build()
    settings = dataclasses.replace(UNFITTED, learning=0.2, retention=0.5, skill_noise=0.0)
    difficulties = Difficulties(settings, np.zeros(1), np.zeros(1), np.zeros(3), np.zeros(3))
    seen = np.arange(len(table)) < 2
    found = _forecast(table, difficulties, seen)
    # Two responses to a; one alone says nothing of a variance, and c was not met.
    assert found.first.tolist() == [0]
    first, second = found.mean.tolist()
    abilities = found.mean[0] - found.mean[1]
    assert len(found.response) == 2
    assert abilities != 0.0
    hidden = _forecast(table, difficulties, seen, hidden=True)
    # Two responses to c, not met: the ability is 0 before the first and 0.2 before the second.
    assert hidden.mean[1] - hidden.mean[0] == pytest.approx(0.2)
    assert second - first == pytest.approx(0.2 - 0.5 * (first - hidden.mean[0]))


def test_responses_without_skills_or_of_one_learner_leave_the_variance_as_it_is():
    builder = ResponseTableBuilder()
    for number in range(40):
        builder.append(learner=f"l{number % 4}", item="i", skills=[], response=float(number % 3 == 0))
    table = builder.build()
    found = fit_inflation(table, UNFITTED, cv_folds(table, 1), np.unique(cv_folds(table, 1)).tolist(), 1)
    assert (found.inflation_met, found.inflation_new) == (1.0, 1.0)


def test_the_same_responses_give_the_same_factors():
    table = simulate(WAYS[1], 40, 60, seed=1).table
    folds = cv_folds(table, 1)
    once, again = (fit_inflation(table, UNFITTED, folds, [0, 1, 2, 3, 4], 1) for _ in range(2))
    assert once == again
    assert once.inflation_met >= 1.0
