"""Tenants with few learners: what is fitted to them predicts other learners better than the filter and Best-LR do."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from services.recommender.evaluation.small_tenants import evaluate_small_tenants
from services.recommender.evaluation.tables import DataUnusableError
from services.recommender.evaluation.tracing import TracingSplit, split_by_learner
from tests.component.test_new_items import course

DATA = Path(os.environ.get("CAIRN_DATA", "../shared/data"))


def simulated() -> TracingSplit:
    table = course(100)
    judged = np.arange(len(table.learners)) >= 60
    return TracingSplit(table.of_learners(~judged), table.of_learners(judged), "simulated")


def test_few_learners_who_learn_are_predicted_better_than_by_a_filter_and_by_best_lr():
    found = evaluate_small_tenants("tracing/simulated", simulated(), learners=20, draws=2)
    assert [(check.holds, check.figures) for check in found.checks] == [(True, "by AUC and log-loss, in 2 of 2 draws")]
    assert set(found.models) == {"best_lr", "filter", "cairn"}


def test_more_learners_than_there_are_cannot_be_drawn():
    with pytest.raises(
        DataUnusableError, match="60 learners are left to fit on; give --few-learners at most that many"
    ):
        evaluate_small_tenants("tracing/simulated", simulated(), learners=61)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_twenty_learners_of_a_real_log_are_enough():
    if not (DATA / "algebra05").is_dir():
        pytest.skip(f"{DATA / 'algebra05'} does not exist; set CAIRN_DATA to the folder with the data sets")
    found = evaluate_small_tenants("tracing/algebra05", split_by_learner(DATA / "algebra05"), learners=20, draws=3)
    assert [check.holds for check in found.checks] == [True], found.checks
