"""A short ranking evaluation on a part of real data: it fails when a ranking gets worse by more than noise."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from services.recommender.domain.training.metrics import ndcg
from services.recommender.domain.training.splits import WorkSplit, split_work
from services.recommender.evaluation.rankers import Served
from services.recommender.evaluation.splits import split_at_random
from services.recommender.models.collaborative.families import FAMILIES, choose, mean_ndcg
from services.recommender.models.ranker.dataset import RankingDataset
from services.recommender.models.ranker.fit import fit_ranker
from services.recommender.models.ranker.trees import RankerSettings

DATA = Path(os.environ.get("CAIRN_DATA", "../shared/data")) / "movielens-100k"
LEARNERS = 250
BASE_MODELS = ("als", "ease")

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"no data at {DATA}; name its folder in CAIRN_DATA")


def first_learners(split) -> WorkSplit:
    """The first learners of a split, as a split to fit and evaluate on."""
    table = split.work.before
    kept = table.of_learners(np.arange(len(table.learners)) < LEARNERS)
    work = split_work(kept, np.ones(len(kept), np.bool_), split.work.tags, ordered=False, graded=False)
    known = set(np.unique(work.positives.resource).tolist())
    relevant = {learner: wanted & known for learner, wanted in split.work.relevant.items() if learner < LEARNERS}
    return WorkSplit(
        work.before,
        work.positives,
        {learner: wanted for learner, wanted in relevant.items() if wanted},
        work.tags,
        ordered=False,
        graded=False,
    )


@pytest.mark.slow
def test_the_learned_ranking_is_no_worse_than_its_best_part_on_films_of_250_people():
    work = first_learners(split_at_random(DATA))
    with threadpool_limits(1):
        choice = choose(work.inner(seed=1), seed=1, families=BASE_MODELS)
        fitted = fit_ranker(work, seed=1, choice=choice, settings=RankerSettings(trees=30))
        dataset = RankingDataset(work, fitted.ensemble, fitted.ranker.statistics)
        served = Served(dataset, fitted, None)
        learners = sorted(work.relevant)
        found = np.mean([ndcg(served.ranked(each, 10).tolist(), work.relevant[each], 10) for each in learners])
        parts = [
            mean_ndcg(FAMILIES[name].fit(work.positives, 1, choice.settings[name]), work, learners)
            for name in BASE_MODELS
        ]
    # Two standard errors of a difference are about .01 with this many learners.
    assert found > max(parts) - 0.01
    assert found > 0.3
