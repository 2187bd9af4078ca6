"""Choosing the settings of each collaborative model on an inner split: the data to judge on is never touched."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from services.recommender.application.train import TooFewPositivesError
from services.recommender.evaluation.lists import Judge, RankingSplit
from services.recommender.evaluation.rankers import FAMILIES, Collaborative
from services.recommender.models.neighbours import TooLargeError

_LEARNERS = 400
_MEASURE = "ndcg_at_10"


@dataclass(frozen=True)
class Choice:
    """What came of trying each family's settings.

    Attributes:
        settings: the best label by family.
        absent: why a family could not be fitted, by family.
    """

    settings: Mapping[str, str]
    absent: Mapping[str, str]


def chosen_settings(inner: RankingSplit, *, seed: int, advance: Callable[[str, int], None] = lambda *_: None) -> Choice:
    """For each family of models, which of its settings lists best what learners did next.

    Args:
        inner: a split of what models may be fitted on.
        seed: of the models, and of which learners are looked at where there are many.
        advance: told which family is being tried, and how many settings are done.
    """
    learners = np.sort(np.random.default_rng(seed).permutation(sorted(inner.relevant))[:_LEARNERS]).tolist()
    judge = Judge(inner)
    done = 0
    chosen: dict[str, str] = {}
    absent: dict[str, str] = {}
    for family, candidates in FAMILIES.items():
        found: dict[str, float] = {}
        for label, fit in candidates.items():
            advance(family, done)
            done += 1
            try:
                ranker = Collaborative(fit(inner.positives, seed), inner.positives)
            except (TooFewPositivesError, TooLargeError) as error:
                absent[family] = str(error)
                break
            found[label] = float(judge.measures(ranker, learners)[_MEASURE].mean()) if learners else 0.0
        else:
            chosen[family] = max(found, key=found.__getitem__)
    return Choice(chosen, absent)
