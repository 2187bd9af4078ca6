"""Predicts items that were added after the fit: models are fitted without one item in ten, and predict those."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.recommender.domain.training.responses import ResponseTable
from services.recommender.evaluation.intervals import Estimate, Floats
from services.recommender.evaluation.results import SERVED, Check
from services.recommender.models.tracing.baselines import TracingModel

_SHARE_LEFT_OUT = 0.1
# With fewer items, one in ten is too few to judge by.
_ITEMS_MIN = 20


@dataclass(frozen=True, eq=False)
class NewItems:
    """What models predict for responses to items that they were not fitted on.

    Attributes:
        rows: which of the responses that are evaluated are to such items.
        chances: by model, for all of these responses; only those of `rows` are of new items.
    """

    rows: NDArray[np.bool_]
    chances: Mapping[str, Floats]


def predict_new_items(
    train: ResponseTable,
    test: ResponseTable,
    models: Mapping[str, TracingModel],
    *,
    seed: int,
    advance: Callable[[str], None] = lambda _name: None,
) -> NewItems | None:
    """Fit models without one item in ten, and predict other learners; None where there are too few items.

    Args:
        train: responses to fit on.
        test: responses of other learners, in a table with the same ids.
        models: the models by name; they are fitted again.
        seed: decides which items are left out.
        advance: reports the name of each model before it is fitted.
    """
    left_out = np.random.default_rng(seed).random(len(train.items)) < _SHARE_LEFT_OUT
    # A response to no item has the last row.
    new = np.append(left_out, False)
    rows, fitted_on = new[test.item], train.rows(~new[train.item])
    if len(train.items) < _ITEMS_MIN or not rows.any() or not len(fitted_on):
        return None
    chances = {}
    for name, model in models.items():
        advance(name)
        model.fit(fitted_on)
        chances[name] = model.predict(test)
    return NewItems(rows, chances)


def check_new_items(models: Mapping[str, Mapping[str, Estimate]]) -> Check:
    """Whether the served model predicts new items no worse than the filter alone, by log-loss."""
    losses = {name: measures["log_loss"].mean for name, measures in models.items()}
    return Check(
        claim="items added after the fit are predicted no worse than by the filter alone",
        holds=losses[SERVED] <= losses["filter"],
        figures=f"one item in ten was left out; log-loss {', '.join(f'{n} {loss:.4f}' for n, loss in losses.items())}",
    )
