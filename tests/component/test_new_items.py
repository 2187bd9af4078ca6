"""Items added after training: the served model predicts them no worse than the filter alone."""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
import pytest

from services.recommender.domain.training.metrics import log_loss
from services.recommender.domain.training.responses import ResponseTable, ResponseTableBuilder
from services.recommender.evaluation.tracing import given_split, split_by_learner
from services.recommender.models.tracing.baselines import Served
from services.recommender.models.tracing.difficulty_fit import difficulties_of, predict

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


def losses_on_new_items(train: ResponseTable, test: ResponseTable, *, seed: int) -> tuple[float, float]:
    """Log-loss of the served model and of its filter on the items that the fit did not see: one in ten."""
    new = np.append(np.random.default_rng(seed).random(len(train.items)) < 0.1, False)
    model = Served(seed=1)
    model.fit(train.rows(~new[train.item]))
    assert model._fitted.success is not None
    rows = new[test.item]
    by_filter = predict(test, difficulties_of(test, model._fitted.parameters))
    served, alone = (log_loss(test.response[rows], chances[rows]) for chances in (model.predict(test), by_filter))
    return served, alone


def test_items_added_after_training_are_predicted_no_worse_than_by_the_filter():
    table = course(160)
    known = np.arange(len(table.learners)) < 110
    served, alone = losses_on_new_items(table.of_learners(known), table.of_learners(~known), seed=1)
    assert served <= alone


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
    served, alone = losses_on_new_items(found.train.of_learners(chosen), found.test.of_learners(chosen), seed=1)
    assert served <= alone
