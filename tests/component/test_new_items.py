"""Items added after training: the served model predicts them no worse than the filter alone."""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
import pytest

from services.recommender.domain.training.metrics import log_loss
from services.recommender.domain.training.responses import ResponseTable, ResponseTableBuilder
from services.recommender.evaluation.new_items import predict_new_items
from services.recommender.evaluation.tracing import given_split, split_by_learner
from services.recommender.models.tracing.baselines import Constant, Filter, Served

DATA = Path(os.environ.get("CAIRN_DATA", "../shared/data"))


def course(learners: int, *, usual: int = 120, rare: int = 60, skills: int = 4) -> ResponseTable:
    """Everybody answers the usual items and learns; a few answer each of the rare ones, which are hard.

    So an item whose difficulty is little known is a hard one in this log, and one that is added to it is usual.
    """
    rng = np.random.default_rng(4)
    difficulty, builder = np.append(rng.normal(0, 1.0, usual), rng.normal(3.5, 1.0, rare)), ResponseTableBuilder()
    for learner in range(learners):
        ability, met = rng.normal(0.6, 0.8), np.zeros(skills)
        some = usual + rng.choice(rare, 3, replace=False)
        for item in rng.permutation(np.append(np.arange(usual), some)).tolist():
            skill = item % skills
            logit = ability + 0.5 * math.log1p(met[skill]) - difficulty[item]
            builder.append(
                learner=f"l{learner:03}",
                item=f"i{item:03}",
                skills=[f"s{skill}"],
                response=float(rng.random() < 1 / (1 + math.exp(-logit))),
            )
            met[skill] += 1
    return builder.build()


def log_losses_on_new_items(train: ResponseTable, test: ResponseTable) -> tuple[float, float]:
    """Log-loss of the served model and of the filter on the items that the fit did not see: one in ten."""
    served = Served(seed=1)
    found = predict_new_items(train, test, {"cairn": served, "filter": Filter(seed=1)}, seed=1)
    assert served._fitted.success is not None
    by_served, by_filter = (
        log_loss(test.response[found.rows], found.chances[name][found.rows]) for name in found.chances
    )
    return by_served, by_filter


def test_items_added_after_training_are_predicted_no_worse_than_by_the_filter():
    table = course(160)
    known = np.arange(len(table.learners)) < 110
    served, alone = log_losses_on_new_items(table.of_learners(known), table.of_learners(~known))
    assert served <= alone


class Recorder(Constant):
    """Remembers which items it was fitted on."""

    def fit(self, table: ResponseTable) -> None:
        self.items = set(table.item.tolist())
        super().fit(table)


def test_new_items_are_one_in_ten_and_no_model_is_fitted_on_them():
    table, model = course(30), Recorder()
    found = predict_new_items(table, table, {"constant": model}, seed=1)
    new = set(table.item[found.rows].tolist())
    assert 9 <= len(new) <= 27
    assert model.items == set(range(len(table.items))) - new


def test_a_table_of_few_items_has_no_new_ones():
    table = course(30, usual=12, rare=4)
    assert predict_new_items(table, table, {"constant": Constant()}, seed=1) is None


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("name", "split", "part"), [("assistments2009-kt", given_split, 6), ("algebra05", split_by_learner, 1)]
)
def test_items_added_to_a_real_log_are_predicted_no_worse_than_by_the_filter(name, split, part):
    if not (DATA / name).is_dir():
        pytest.skip(f"{DATA / name} does not exist; set CAIRN_DATA to the folder with the data sets")
    found = split(DATA / name)
    chosen = np.arange(len(found.train.learners)) % part == 0
    served, alone = log_losses_on_new_items(found.train.of_learners(chosen), found.test.of_learners(chosen))
    assert served <= alone
