"""Evaluates what is served to a tenant with few learners: many draws of a few learners to fit on."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from threadpoolctl import threadpool_limits

from services.recommender.domain.training.metrics import auc, log_loss
from services.recommender.domain.training.responses import ResponseTable
from services.recommender.evaluation.intervals import Estimate, Floats
from services.recommender.evaluation.results import SERVED, Check, Evaluation
from services.recommender.evaluation.tables import DataUnusableError
from services.recommender.evaluation.tracing import SEED, TracingSplit
from services.recommender.models.tracing.baselines import Filter, Served, TracingModel
from services.recommender.models.tracing.logistic import LogisticOnCounts

DRAWS = 10
_WON_OF_TEN = 9

Advance = Callable[[str, int, int], None]


def evaluate_small_tenants(
    protocol: str,
    split: TracingSplit,
    *,
    learners: int,
    draws: int = DRAWS,
    commit: str = "",
    advance: Advance = lambda *_: None,
) -> Evaluation:
    """Fit models to a few learners, drawn several times, and evaluate each fit on all learners held out.

    Args:
        protocol: its name.
        split: the data.
        learners: how many to fit on.
        draws: how often they are drawn.
        commit: of the code.
        advance: progress callback: the current model, fits done, fits in total.

    Raises:
        DataUnusableError: when there are fewer learners to fit on, or no AUC.
    """
    with_responses = np.unique(split.train.learner)
    if len(with_responses) < learners:
        raise DataUnusableError(
            f"{split.description}: {len(with_responses)} learners are left to fit on; "
            "give --few-learners at most that many"
        )
    values = _measured(split, learners, draws, advance)
    return Evaluation(
        protocol=protocol,
        data=f"{split.description}; fitted on {learners} learners, {draws} times",
        commit=commit,
        models=_over_draws(values),
        differences={
            name: _over_draws({"": {measure: values[SERVED][measure] - of[measure] for measure in of}})[""]
            for name, of in values.items()
            if name != SERVED
        },
        checks=(_check(values),),
        twins=split.twins._asdict(),
        notes=(
            split.twins.note,
            "Each figure is the mean over the draws, with the lowest and the highest.",
        ),
        seeds={"draws": draws, "held-out learners": SEED},
    )


def _measured(split: TracingSplit, learners: int, draws: int, advance: Advance) -> dict[str, dict[str, Floats]]:
    """Each model's measures, one for each draw.

    Raises:
        DataUnusableError: when there is no AUC.
    """
    models = _models()
    found: dict[str, dict[str, list[float]]] = {name: {"auc": [], "log_loss": []} for name in models}
    with threadpool_limits(1):
        for draw in range(draws):
            train = _drawn(split.train, learners, draw)
            for number, (name, model) in enumerate(models.items()):
                advance(f"draw {draw + 1}, {name}", draw * len(models) + number, draws * len(models))
                model.fit(train)
                chance = model.predict(split.test)
                area = auc(split.test.response, chance)
                if area is None:
                    raise DataUnusableError(f"{split.description}: all responses are right or all are wrong")
                found[name]["auc"].append(area)
                found[name]["log_loss"].append(log_loss(split.test.response, chance))
    return {name: {measure: np.array(each) for measure, each in of.items()} for name, of in found.items()}


def _models() -> dict[str, TracingModel]:
    return {"best_lr": LogisticOnCounts(best=True), "filter": Filter(seed=SEED), SERVED: Served(seed=SEED)}


def _drawn(table: ResponseTable, learners: int, seed: int) -> ResponseTable:
    """Some of the learners who have responses in a table."""
    chosen = np.random.default_rng(seed).choice(np.unique(table.learner), learners, replace=False)
    return table.of_learners(np.isin(np.arange(len(table.learners)), chosen))


def _over_draws(values: Mapping[str, Mapping[str, Floats]]) -> dict[str, dict[str, Estimate]]:
    return {
        name: {
            measure: Estimate(float(of.mean()), float(of.min()), float(of.max())) for measure, of in measures.items()
        }
        for name, measures in values.items()
    }


def _check(values: Mapping[str, Mapping[str, Floats]]) -> Check:
    served = values[SERVED]
    won = np.ones(len(served["auc"]), np.bool_)
    for name, of in values.items():
        if name != SERVED:
            won &= (served["auc"] >= of["auc"]) & (served["log_loss"] <= of["log_loss"])
    return Check(
        claim="what is served predicts no worse than Best-LR and the filter alone in nine of ten draws",
        holds=bool(won.sum() * 10 >= _WON_OF_TEN * len(won)),
        figures=f"by AUC and log-loss, in {won.sum()} of {len(won)} draws",
    )
