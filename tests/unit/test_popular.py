"""The family `popular`: what it counts, which window the data choose, and a ranker where nothing predicts better."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from services.recommender.application.ports.models import ModelArraysInvalidError
from services.recommender.domain.ranking.next_item import feature_names
from services.recommender.domain.training.positives import positives_of
from services.recommender.domain.training.responses import ResponseTable, ResponseTableBuilder
from services.recommender.domain.training.splits import earlier_rows, split_at_time, split_work, tags_of
from services.recommender.evaluation.lists import ListEvaluator, RankingSplit
from services.recommender.evaluation.rankers import Collaborative, Served
from services.recommender.models.collaborative.families import FAMILIES
from services.recommender.models.collaborative.popular import PopularModel, fit_popular
from services.recommender.models.ranker.dataset import RankingDataset
from services.recommender.models.ranker.fit import BASE_MODELS, FittedRanker, fit_ranker
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
            learner=learner,
            item="",
            skills=[],
            response=0.0,
            resource=resource,
            at_s=NOW_S - ago_s,
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
    timeless = positives_of(dataclasses.replace(LOG, at_s=np.zeros_like(LOG.at_s)))
    assert FAMILIES["popular"].grid_for(timeless) == [{"days": EVER_DAYS}]
    assert [settings["days"] for settings in FAMILIES["popular"].grid_for(positives_of(LOG))] == [EVER_DAYS, 28, 7]


@pytest.mark.parametrize("scores", [np.ones(2, np.float32), np.array([1.0, np.nan, 1.0], np.float32)])
def test_arrays_that_are_no_such_model_are_refused(scores):
    stored = PopularModel("abc", np.ones(3, np.float32)).to_arrays()
    with pytest.raises(ModelArraysInvalidError, match="one finite score"):
        PopularModel.from_arrays(dataclasses.replace(stored, arrays={"learners": scores}))
    with pytest.raises(ModelArraysInvalidError, match="learners"):
        PopularModel.from_arrays(dataclasses.replace(stored, arrays={}))


def fashions(*, seed: int) -> ResponseTable:
    """Learners come on two days and take six of what is in fashion on each, so that only the day says what they take.

    Three resources come into fashion each week, and each stays for four weeks.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for learner in range(240):
        for day in rng.integers(28, 140, 2).tolist():
            current = [f"w{week:02}-{number}" for week in range(day // 7 - 3, day // 7 + 1) for number in range(3)]
            taken = rng.permutation(current)[:6].tolist()
            rows += [(f"l{learner:03}", one, (140 - day) * DAY_S - place) for place, one in enumerate(taken)]
    return worked(*rows)


def evergreens(*, seed: int) -> ResponseTable:
    """Learners take 26 of 200 resources, one after another, by fixed popularity and nothing else; without times."""
    rng = np.random.default_rng(seed)
    chances = 1.0 / np.arange(3.0, 203.0)
    rows = [
        (f"l{learner:03}", f"r{resource:03}", 100 - place)
        for learner in range(240)
        for place, resource in enumerate(rng.choice(200, 26, replace=False, p=chances / chances.sum()).tolist())
    ]
    table = worked(*rows)
    return dataclasses.replace(table, at_s=np.zeros_like(table.at_s))


def split_of_fashions(seed: int) -> RankingSplit:
    table = fashions(seed=seed)
    work = split_at_time(table, tags_of(table), graded=False)
    return RankingSplit(work, table.rows(table.at_s >= (work.split_at_s or 0)), "fashions")


def split_of_evergreens(seed: int) -> RankingSplit:
    table = evergreens(seed=seed)
    before = earlier_rows(table)
    return RankingSplit(split_work(table, before, tags_of(table), graded=False), table.rows(~before), "evergreens")


FEW_TREES = RankerSettings(trees=30, leaf_rows=5)


def fitted_to(split: RankingSplit) -> tuple[RankingSplit, FittedRanker]:
    return split, fit_ranker(split.work, seed=1, settings=FEW_TREES)


def served_by(split: RankingSplit, fitted: FittedRanker) -> Served:
    return Served(RankingDataset(split.work, fitted.ensemble, fitted.ranker.statistics), fitted, None)


@pytest.fixture(scope="module", params=[1, 2])
def in_fashion(request):
    return fitted_to(split_of_fashions(request.param))


@pytest.fixture(scope="module", params=[1, 2])
def evergreen(request):
    return fitted_to(split_of_evergreens(request.param))


def check_that_popularity_counts(fitted: FittedRanker, *, days: float) -> None:
    measures = fitted.choice.measures
    assert set(measures) == set(BASE_MODELS)
    assert max(measures, key=measures.__getitem__) == "popular"
    assert fitted.choice.settings["popular"] == {"days": days}
    assert fitted.ranker.base_weights == tuple(float(model == "popular") for model in fitted.ranker.models)


def test_where_only_the_day_says_what_is_next_the_last_week_is_the_part_that_counts(in_fashion):
    check_that_popularity_counts(in_fashion[1], days=7.0)


def test_where_tastes_are_equal_and_lasting_popularity_of_all_time_is_the_part_that_counts(evergreen):
    check_that_popularity_counts(evergreen[1], days=EVER_DAYS)


def test_what_is_served_is_below_none_of_its_parts_where_popularity_is_the_best(in_fashion):
    """Paired, within one standard error."""
    split, fitted = in_fashion
    evaluator, learners = ListEvaluator(split, seed=1), sorted(split.work.relevant)

    def ndcg_of(ranker) -> np.ndarray:
        return evaluator.measures(ranker, learners)[0]["ndcg_at_10"]

    served = ndcg_of(served_by(split, fitted))
    assert len(learners) > 50
    for name in fitted.ranker.models:
        gain = served - ndcg_of(Collaborative(fitted.ensemble.get(name), split.work))
        assert gain.mean() + gain.std() / np.sqrt(len(gain)) >= 0.0


def test_trees_read_what_is_popular_lately(in_fashion):
    ranker = in_fashion[1].ranker
    assert ranker.trees.split_features.max() >= len(feature_names(ranker.models[:-1]))


def test_popularity_alone_ranks_where_the_trees_are_not_better(evergreen):
    split, fitted = evergreen
    assert fitted.ranker.blend_weight == 0.0
    popular, served = fitted.ensemble.get("popular").scores([]), served_by(split, fitted)
    for learner in sorted(split.work.relevant)[:20]:
        # In the order of popularity; equals are in any order.
        expected = np.sort(np.delete(popular, split.work.own(learner)))[::-1][:10]
        assert popular[served.ranked(learner, 10)].tolist() == expected.tolist()


def test_a_ranker_with_popularity_scores_in_a_bundle_as_it_was_fitted(in_fashion):
    _, fitted = in_fashion
    kept = ranker_from_arrays(ranker_to_arrays(fitted.ranker, fitted.ensemble))
    assert kept.ranker.models[-1] == "popular"
    history = fitted.ensemble.resources[:3]
    assert kept.ensemble.scores(history)[-1].tobytes() == fitted.ensemble.get("popular").scores([]).tobytes()


def test_what_a_list_by_popularity_says_of_other_learners_is_true(evergreen):
    split, fitted = evergreen
    served = served_by(split, fitted)
    for learner in sorted(split.work.relevant)[:20]:
        served.ranked(learner, 10)
    assert served.reasons.lists == 20
    assert served.reasons.reasons > 100
    assert (served.reasons.false, served.reasons.crashed) == (0, 0)
