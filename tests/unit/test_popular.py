"""The family `popular`: what it counts, which window the data choose, and a ranker where nothing predicts better."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from services.recommender.application.ports.models import ModelArraysInvalidError
from services.recommender.domain.ranking.reasons import ReasonKind
from services.recommender.domain.training.positives import positives_of
from services.recommender.domain.training.responses import ResponseTable, ResponseTableBuilder
from services.recommender.domain.training.splits import split_at_time, tags_of
from services.recommender.evaluation.lists import ListEvaluator, RankingSplit
from services.recommender.evaluation.rankers import Collaborative, Served
from services.recommender.models.collaborative.families import FAMILIES, choose
from services.recommender.models.collaborative.popular import PopularModel, fit_popular
from services.recommender.models.ranker.dataset import RankingDataset
from services.recommender.models.ranker.fit import fit_ranker
from services.recommender.models.ranker.stored import ranker_from_arrays, ranker_to_arrays
from services.recommender.models.ranker.trees import RankerSettings

DAY_S = 86_400
NOW_S = 1_000 * DAY_S
EVER_DAYS = 1e6


def worked(*rows: tuple[str, str, int]) -> ResponseTable:
    """Learner, resource, and seconds before now."""
    builder = ResponseTableBuilder()
    for learner, resource, ago_s in sorted(rows, key=lambda row: -row[2]):
        builder.append(
            learner=learner, item="", skills=[], response=0.0, resource=resource, at_s=NOW_S - ago_s if ago_s >= 0 else 0
        )
    return builder.build()


def in_order_of(model: PopularModel) -> list[str]:
    scores = dict(zip(model.resources, model.scores([]).tolist(), strict=True))
    assert len(set(scores.values())) == len(scores)
    return sorted(scores, key=lambda resource: -scores[resource])


LOG = worked(
    *((learner, "old", 60 * DAY_S) for learner in "abcde"),
    *((learner, "new", DAY_S) for learner in "ab"),
    ("a", "newest", 0),
    ("b", "newest", 7 * DAY_S),
    ("c", "newest", 7 * DAY_S + 1),
    # One learner counts once, at the latest time.
    *(("e", "often", ago_s) for ago_s in (3, 2, 1, 50 * DAY_S)),
)


@pytest.mark.parametrize(
    ("days", "order"),
    [
        (EVER_DAYS, ["old", "newest", "new", "often"]),
        # "newest" and "new" have two learners each in these days, and "newest" has three in all.
        (7, ["newest", "new", "often", "old"]),
        (0.5, ["newest", "often", "old", "new"]),
    ],
)
def test_a_resource_counts_its_learners_of_the_window_and_then_all_of_them(days, order):
    assert in_order_of(fit_popular(positives_of(LOG), days=days)) == order


def test_every_history_gets_the_same_scores_in_an_array_of_its_own():
    model = fit_popular(positives_of(LOG), days=7)
    expected = model.scores([]).tobytes()
    for scores in (model.scores(["old", "new"]), model.scores_of(np.array([1])), model.scores(["unheard of"])):
        assert scores.tobytes() == expected
        scores[:] = 0.0
    assert model.scores([]).tobytes() == expected


def test_without_times_there_is_no_window_to_choose():
    timeless = positives_of(worked(*((learner, "r", -1) for learner in "abc")))
    assert FAMILIES["popular"].grid_for(timeless) == [{"days": EVER_DAYS}]
    assert [settings["days"] for settings in FAMILIES["popular"].grid_for(positives_of(LOG))] == [EVER_DAYS, 28, 7]


@pytest.mark.parametrize("scores", [np.ones(2, np.float32), np.array([1.0, np.nan, 1.0], np.float32)])
def test_arrays_that_are_no_such_model_are_refused(scores):
    stored = PopularModel("abc", np.ones(3, np.float32)).to_arrays()
    with pytest.raises(ModelArraysInvalidError, match="one finite score"):
        PopularModel.from_arrays(dataclasses.replace(stored, arrays={"learners": scores}))
    with pytest.raises(ModelArraysInvalidError, match="learners"):
        PopularModel.from_arrays(dataclasses.replace(stored, arrays={}))


def fashions(*, weeks: int, seed: int, learners: int = 240, timed: bool = True) -> ResponseTable:
    """Learners come on two days and take what is in fashion on each, so that only the day says what they take.

    Three resources come into fashion each week, and each stays for the given number of weeks.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for learner in range(learners):
        for day in rng.integers(7 * weeks, 140, 2).tolist():
            latest = day // 7
            current = [f"w{week:02}-{number}" for week in range(latest - weeks + 1, latest + 1) for number in range(3)]
            rows += [
                (f"l{learner:03}", resource, (140 - day) * DAY_S - place)
                for place, resource in enumerate(rng.permutation(current)[:6].tolist())
            ]
    table = worked(*rows)
    order = np.lexsort((table.at_s, table.learner))
    assert (order == np.arange(len(table))).all()
    return table if timed else dataclasses.replace(table, at_s=np.zeros_like(table.at_s))
