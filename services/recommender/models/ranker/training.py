"""Fits a tenant's ranker for a bundle."""

from __future__ import annotations

import itertools

import numpy as np

from services.recommender.application.ports.models import ModelArrays
from services.recommender.application.training.train import Advance
from services.recommender.domain.training.responses import NONE, ResponseTable
from services.recommender.domain.training.splits import split_work, tags_of
from services.recommender.models.ranker.fit import BASE_MODELS, fit_base_ranker, fit_ranker
from services.recommender.models.ranker.lists import TooFewToLearnError
from services.recommender.models.ranker.stored import ranker_to_arrays

# Steps of the progress: each family that is tuned, learning to rank, and fitting to everything.
_STEPS = len(BASE_MODELS) + 2


def train_ranker(
    table: ResponseTable, *, seed: int, advance: Advance = lambda _done, _total: None
) -> ModelArrays | None:
    """Fit a ranker to a tenant's responses and interactions; return None if there is too little data for any model.

    With too little data to learn to rank, it consists of collaborative models and counts alone.

    Args:
        table: a tenant's responses.
        seed: seeds the models.
        advance: progress callback: steps done, steps in total.
    """
    table = table.rows(table.resource != NONE)
    steps = itertools.count()
    work = split_work(table, np.ones(len(table), np.bool_), tags_of(table))
    try:
        try:
            fitted = fit_ranker(work, seed=seed, advance=lambda _step: advance(min(next(steps), _STEPS), _STEPS))
        except TooFewToLearnError:
            fitted = fit_base_ranker(work, seed=seed)
    except TooFewToLearnError:
        return None
    finally:
        advance(_STEPS, _STEPS)
    return ranker_to_arrays(fitted.ranker, fitted.ensemble)
