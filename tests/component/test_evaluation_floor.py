"""The short form of the evaluation: parts of known data, and figures that must not fall.

The same data and seeds give the same figures, so a fall is a change of the code (or of a library below it). The floors
leave .004 of AUC and of log-loss for that, less than what any part of the models is worth.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from services.recommender.domain.metrics import auc, expected_calibration_error, log_loss
from services.recommender.evaluation.tracing import TracingSplit, given_split, split_by_learner
from services.recommender.models.difficulty_fit import difficulties_of, foresee
from services.recommender.models.tracing_baselines import Served

DATA = Path(os.environ.get("CAIRN_DATA", "../shared/data"))


def part(split: TracingSplit, *, of_train: int, of_test: int) -> TracingSplit:
    """Every nth learner; their ids are hashes, so they are any."""
    number = np.arange(len(split.train.learners))
    return TracingSplit(
        split.train.of_learners(number % of_train == 0), split.test.of_learners(number % of_test == 0), "a part"
    )


def measured(split: TracingSplit, chance) -> dict[str, float]:
    outcome = split.test.response
    area = auc(outcome, chance)
    assert area is not None
    return {
        "auc": area,
        "log_loss": log_loss(outcome, chance),
        "ece": expected_calibration_error(outcome, chance),
    }  # fmt: skip


def tracing_part(name: str) -> TracingSplit:
    if not (DATA / name).is_dir():
        pytest.skip(f"{DATA / name} is not there; CAIRN_DATA names the folder with the data sets")
    if name == "assistments2009-kt":
        return part(given_split(DATA / name), of_train=12, of_test=6)
    return part(split_by_learner(DATA / name), of_train=4, of_test=2)


# Measured: .7339 and .5757, .8205 and .4035; of the filter alone .7087 and .5948, .8045 and .4154.
@pytest.mark.parametrize(
    ("name", "floor_auc", "ceiling_log_loss"), [("assistments2009-kt", 0.730, 0.580), ("algebra05", 0.8165, 0.4075)]
)
def test_the_learner_model_foresees_no_worse_than_it_did(name, floor_auc, ceiling_log_loss):
    split = tracing_part(name)
    model = Served(seed=1)
    model.fit(split.train)
    served = measured(split, model.foresee(split.test))
    parameters = model._fitted.parameters
    by_filter = measured(split, foresee(split.test, difficulties_of(split.test, parameters)))
    assert served["auc"] > floor_auc
    assert served["log_loss"] < ceiling_log_loss
    assert served["ece"] < 0.03
    assert served["log_loss"] < by_filter["log_loss"] - 0.008
