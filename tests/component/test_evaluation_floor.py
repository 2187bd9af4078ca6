"""The short form of the evaluation: parts of known data, and figures that must not fall.

The same data and seeds give the same figures, so a fall is a change of the code (or of a library below it). The floors
allow for that .004 of AUC and log-loss, and .01 of the metrics of lists and tags. Every part of the models contributes
more.
"""

from __future__ import annotations

import gzip
import hashlib
import os
from pathlib import Path

import numpy as np
import orjson
import pytest
from typer.testing import CliRunner

from services.catalog.cli.evaluate import app as catalog_app
from services.recommender.cli.evaluate import app as recommender_app
from services.recommender.domain.learner.parameters import FilterSettings
from services.recommender.domain.training.metrics import auc, log_loss
from services.recommender.evaluation.intervals import Draws, of_forecasts
from services.recommender.evaluation.tracing import TracingSplit, given_split, split_by_learner
from services.recommender.models.tracing.baselines import Served
from services.recommender.models.tracing.difficulty_fit import difficulties_of, predict
from services.recommender.models.tracing.recall_fit import fit_recall

DATA = Path(os.environ.get("CAIRN_DATA", "../shared/data"))


def part(split: TracingSplit, *, of_train: int, of_test: int) -> TracingSplit:
    """Every nth learner; ids are hashes, so this is a random sample."""
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
        "ece": of_forecasts(np.zeros(len(outcome), np.int64), outcome, chance, Draws(np.ones((1, 1))))["ece"][0],
    }  # fmt: skip


def tracing_part(name: str, *, of_train: int = 4) -> TracingSplit:
    if not (DATA / name).is_dir():
        pytest.skip(f"{DATA / name} does not exist; set CAIRN_DATA to the folder with the data sets")
    if name == "assistments2009-kt":
        return part(given_split(DATA / name), of_train=12, of_test=6)
    return part(split_by_learner(DATA / name), of_train=of_train, of_test=2)


# Measured: .7339 and .5757, .8205 and .4035; of the filter alone .7087 and .5948, .8045 and .4154.
@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("name", "floor_auc", "ceiling_log_loss"), [("assistments2009-kt", 0.730, 0.580), ("algebra05", 0.8165, 0.4075)]
)
def test_the_learner_model_predicts_no_worse_than_before(name, floor_auc, ceiling_log_loss):
    split = tracing_part(name)
    model = Served(seed=1)
    model.fit(split.train)
    served = measured(split, model.predict(split.test))
    parameters = model._fitted.parameters
    by_filter = measured(split, predict(split.test, difficulties_of(split.test, parameters)))
    assert served["auc"] > floor_auc
    assert served["log_loss"] < ceiling_log_loss
    assert served["ece"] < 0.03
    assert served["log_loss"] < by_filter["log_loss"] - 0.008


# Measured: .4692 of the recall model, .4710 without time, .4902 of the filter alone.
@pytest.mark.slow
def test_recall_is_predicted_no_worse_than_before():
    table = tracing_part("algebra05", of_train=2).train
    fitted = fit_recall(table, FilterSettings(), seed=1)
    assert fitted.model is not None
    assert fitted.metrics["recall_responses"] > 5_000
    assert fitted.metrics["recall_log_loss"] < 0.4705
    assert fitted.metrics["recall_log_loss"] < fitted.metrics["recall_filter_log_loss"] - 0.015


def some_lines(path: Path, *, keep) -> str:
    if not path.is_file():
        pytest.skip(f"{path} does not exist; set CAIRN_DATA to the folder with the data sets")
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return "".join(line for number, line in enumerate(file) if keep(number, line))


def figures_of(app, folder: Path, *arguments) -> dict[str, dict[str, float]]:
    report = folder / "report.json"
    result = CliRunner().invoke(app, [*arguments, "--data", str(folder), "--json", str(report)])
    assert result.exit_code == 0, result.output
    models = orjson.loads(report.read_bytes())["models"]
    return {name: {measure: value["mean"] for measure, value in found.items()} for name, found in models.items()}


# Measured: 0.0846; of the best part alone 0.0814. With only 188 learners, changes that help on ten times as many
# move it by .013 in either direction (it was .0953 and .0982).
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_ranking_lists_what_comes_next_no_worse_than_before(tmp_path):
    def one_in_eleven(number: int, line: str) -> bool:
        learner = line.partition(",")[0].encode()
        return number == 0 or hashlib.blake2b(learner, digest_size=1).digest()[0] < 24

    log = some_lines(DATA / "assistments2009" / "interactions.csv.gz", keep=one_in_eleven)
    (tmp_path / "interactions.csv").write_text(log)
    models = figures_of(recommender_app, tmp_path, "ranking", "--protocol", "assistments2009")
    assert models["cairn"]["ndcg_at_10"] > 0.075
    assert models["cairn"]["ndcg_at_10"] > models["sequential"]["ndcg_at_10"]


# Measured: 0.6925.
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_tagger_is_right_no_less_often_than_before(tmp_path):
    problems = some_lines(DATA / "oatutor" / "problems.jsonl.gz", keep=lambda number, _line: number % 30 == 0)
    (tmp_path / "problems.jsonl").write_text(problems)
    for name in ("coursePlans.json.gz", "skillModel.json.gz"):
        (tmp_path / name).symlink_to((DATA / "oatutor" / name).resolve())
    models = figures_of(catalog_app, tmp_path, "--protocol", "oatutor")
    assert models["cairn"]["micro_f1"] > 0.6825
