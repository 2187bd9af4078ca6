"""The search of the filter's constants, and of what responses teach."""

from __future__ import annotations

import numpy as np
import pytest

from services.recommender.domain.training.metrics import log_loss
from services.recommender.evaluation.mastery import Answering, simulate
from services.recommender.models.tracing.difficulty_fit import UNFITTED, fit_difficulties, predict
from services.recommender.models.tracing.settings_search import EVALUATIONS, search_settings


def responses(way, learners=120):
    return simulate(way, learners, 80, seed=1).table


def test_nothing_is_learnt_where_nobody_learns():
    found = search_settings(responses(Answering("rasch")), seed=1)
    assert (found.learning, found.retention) == (0.0, 1.0)


@pytest.mark.parametrize("learning", [0.08, 0.25])
def test_what_responses_teach_is_found_again(learning):
    found = search_settings(responses(Answering("learning", learning=learning)), seed=1)
    assert found.learning == pytest.approx(learning, rel=0.2)
    assert found.retention > 0.97


def test_the_search_finds_constants_that_predict_other_learners_at_least_as_well_as_those_before_any_data():
    table = responses(Answering("learning", learning=0.1), 160)
    known = np.arange(160) < 110
    steps = []
    found = search_settings(table.of_learners(known), seed=1, advance=lambda done, total: steps.append((done, total)))

    def loss(settings):
        fitted = fit_difficulties(table.of_learners(known), settings)
        others = table.of_learners(~known)
        return log_loss(others.response, predict(others, fitted))

    assert loss(found) < loss(UNFITTED)
    assert steps[-1] == (EVALUATIONS, EVALUATIONS)
    assert steps == sorted(steps)


def test_one_learner_is_too_few_to_search_on():
    assert search_settings(responses(Answering("rasch"), 1), seed=1) == UNFITTED
