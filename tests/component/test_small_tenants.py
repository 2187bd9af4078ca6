"""Tenants with few learners: what is fitted to them predicts other learners better than the filter and Best-LR do."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from services.recommender.domain.training.metrics import auc, log_loss
from services.recommender.domain.training.responses import ResponseTable
from services.recommender.evaluation.tracing import split_by_learner
from services.recommender.models.tracing.baselines import Filter, Served
from services.recommender.models.tracing.logistic import LogisticOnCounts
from tests.component.test_new_items import course

DATA = Path(os.environ.get("CAIRN_DATA", "../shared/data"))


def drawn(table: ResponseTable, learners: int, seed: int) -> ResponseTable:
    """Some of the learners who have responses in a table."""
    found = np.random.default_rng(seed).choice(np.unique(table.learner), learners, replace=False)
    return table.of_learners(np.isin(np.arange(len(table.learners)), found))


def is_best(train: ResponseTable, test: ResponseTable) -> bool:
    """Whether the served model is no worse than the filter and Best-LR, by AUC and by log-loss."""
    measured = []
    for model in (Served(seed=1), Filter(seed=1), LogisticOnCounts(best=True)):
        model.fit(train)
        chance = model.predict(test)
        measured.append((auc(test.response, chance), -log_loss(test.response, chance)))
    served, *others = measured
    return all(here >= there for other in others for here, there in zip(served, other, strict=True))


def test_few_learners_who_learn_are_predicted_better_than_by_a_filter_and_by_best_lr():
    table = course(100)
    judged = np.arange(len(table.learners)) >= 60
    train, test = table.of_learners(~judged), table.of_learners(judged)
    assert sum(is_best(drawn(train, 20, seed), test) for seed in range(2)) == 2


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_twenty_learners_of_a_real_log_are_enough_in_nine_of_ten_draws():
    if not (DATA / "algebra05").is_dir():
        pytest.skip(f"{DATA / 'algebra05'} does not exist; set CAIRN_DATA to the folder with the data sets")
    split = split_by_learner(DATA / "algebra05")
    assert sum(is_best(drawn(split.train, 20, seed), split.test) for seed in range(10)) >= 9
