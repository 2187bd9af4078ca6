"""The learned ranker: properties of its score, training on data with an obvious answer, and storage in a bundle."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.recommender.application.ports.models import ModelArraysInvalidError
from services.recommender.domain.ranking.features import collaborative_rows
from services.recommender.domain.ranking.next_item import (
    CANDIDATES,
    ModelScores,
    feature_groups,
    feature_names,
    next_item_candidates,
)
from services.recommender.domain.ranking.pipeline import rank
from services.recommender.domain.ranking.policy import EVERYTHING, ResourceFilter
from services.recommender.domain.ranking.prepared import prepare
from services.recommender.domain.ranking.reasons import ReasonKind
from services.recommender.domain.ranking.recent_activity import recent_activity_of
from services.recommender.domain.ranking.request import RankingRequest
from services.recommender.domain.ranking.trees import NO_TREES, Trees, TreesInvalidError, mean_of
from services.recommender.domain.ranking.weights import DEFAULT_WEIGHTS
from services.recommender.domain.training.responses import ResponseTableBuilder
from services.recommender.domain.training.splits import split_work, tags_of
from services.recommender.models.collaborative.ensemble import Ensemble
from services.recommender.models.ranker.dataset import RankingDataset
from services.recommender.models.ranker.fit import (
    choose_blend_weight,
    fit_base_ranker,
    fit_ranker,
)
from services.recommender.models.ranker.lists import ListsOfCandidates, TooFewToLearnError
from services.recommender.models.ranker.need_share import largest_that_costs_little
from services.recommender.models.ranker.stored import ranker_from_arrays, ranker_to_arrays
from services.recommender.models.ranker.trees import RankerSettings


def district(learners: int, *, seed: int = 3):
    """Learners work through the problems of one of two courses in order, each from a different start."""
    rng = np.random.default_rng(seed)
    builder = ResponseTableBuilder()
    for learner in range(learners):
        course, first = learner % 2, int(rng.integers(0, 20))
        for number in range(first, first + 30):
            problem = f"c{course}-p{number:02}"
            builder.append(
                learner=f"l{learner:03}",
                item=problem,
                skills=[f"c{course}-s{number // 8}"],
                response=float(rng.random() < 0.6),
                resource=problem,
            )
    table = builder.build()
    return split_work(table, np.ones(len(table), np.bool_), tags_of(table))


@pytest.fixture(scope="module")
def fitted():
    return fit_ranker(district(60), seed=1, settings=RankerSettings(trees=40, leaf_rows=5))


@pytest.fixture(scope="module")
def dataset(fitted):
    return RankingDataset(district(60), fitted.ensemble, fitted.ranker.statistics)


class Counted:
    """A model that scores rows by their numbers and records its requests."""

    def __init__(self, resources):
        self.resources = resources

    def scores_of(self, rows):
        self.asked = rows.tolist()
        return np.arange(len(self.resources), dtype=np.float32)


def state_ids(state):
    return [each.resource for each in state.resources]


def ranked(dataset, ranker, learner, *, need_share=0.0, limit=10, **request):
    state = dataset.states.of(learner)
    seen = tuple(recent.resource for recent in state.resources)
    return rank(
        prepare(dataset.catalog, dataset.parameters, ranker=ranker),
        RankingRequest(
            tenant="t",
            learner="l",
            state=state,
            models_id="",
            as_of_s=0.0,
            day="2026-01-01",
            wanted=ResourceFilter(excluded=seen),
            limit=limit,
            models=dataset.models(state),
            need_share=need_share,
            **request,
        ),
        DEFAULT_WEIGHTS,
        lambda: 0.0,
    )


def test_the_next_resource_of_the_learners_course_comes_first(dataset, fitted):
    for learner in (0, 1, 4, 7):
        course = f"c{learner % 2}-"
        last = max(recent.resource for recent in dataset.states.of(learner).resources)
        following = [name for name in dataset.catalog.resource_ids if name.startswith(course) and name > last]
        listed = [dataset.catalog.resource_ids[each.row] for each in ranked(dataset, fitted.ranker, learner).resources]
        assert set(following[:2]) <= set(listed[:5])


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_more_gap_or_readiness_never_lowers_the_fitted_score(fitted, dataset, data):
    columns = dataset.example(data.draw(st.integers(0, 59))).columns
    row = columns[data.draw(st.integers(0, len(columns) - 1))]
    feature = feature_names(fitted.ranker.models).index(data.draw(st.sampled_from(["gap", "ready"])))
    values = np.sort(np.array(data.draw(st.lists(st.floats(0, 1, width=32), min_size=2, max_size=8)), np.float32))
    moved = np.repeat(row[None], len(values), axis=0)
    moved[:, feature] = values
    assert (np.diff(fitted.ranker.trees.total(moved)) >= -1e-6).all()


def test_contributions_sum_to_the_score_except_for_the_common_part(fitted, dataset):
    ranker = dataclasses.replace(fitted.ranker, blend_weight=1.0)
    columns = dataset.example(3).columns
    rest = ranker.score(columns) - ranker.contributions(columns, 1.0).sum(axis=1)
    assert len(columns) > 5
    assert np.ptp(rest) < 1e-4


@pytest.mark.parametrize("need_share", [0.0, 0.4, 1.0])
def test_the_reasons_are_the_strongest_parts_of_the_served_score(fitted, dataset, need_share):
    found = ranked(dataset, fitted.ranker, 2, need_share=need_share).resources
    told = list(itertools.chain.from_iterable(each.explanation.reasons for each in found))
    assert told
    assert all(reason.contribution > 0 for reason in told)
    kinds = {reason.kind for reason in told}
    if need_share == 1.0:
        assert ReasonKind.RECENT_WORK not in kinds
    if need_share == 0.0:
        assert kinds & {ReasonKind.RECENT_WORK, ReasonKind.SIMILAR_LEARNERS}


def test_need_alone_orders_otherwise_than_what_comes_next(fitted, dataset):
    by_need = ranked(dataset, fitted.ranker, 5, need_share=1.0, limit=8).resources
    by_next_item = ranked(dataset, fitted.ranker, 5, need_share=0.0, limit=8).resources
    assert [each.row for each in by_need] != [each.row for each in by_next_item]


def test_the_same_request_gives_the_same_list(fitted, dataset):
    assert ranked(dataset, fitted.ranker, 9).resources == ranked(dataset, fitted.ranker, 9).resources


def test_a_learner_without_a_history_is_ranked_by_need(fitted, dataset):
    prepared = prepare(dataset.catalog, dataset.parameters, ranker=fitted.ranker)
    models = ModelScores(
        np.zeros((len(fitted.ranker.models), len(fitted.ensemble.resources)), np.float32),
        *collaborative_rows(dataset.catalog, fitted.ensemble.resources),
    )
    request = RankingRequest("t", "new", None, "", 0.0, "2026-01-01", EVERYTHING, 5, models=models)
    without = dataclasses.replace(request, models=None)
    found, weighed = (rank(prepared, each, DEFAULT_WEIGHTS, lambda: 0.0).resources for each in (request, without))
    assert found == weighed
    assert len(found) == 5


def test_the_number_of_candidates_is_bounded(fitted, dataset):
    state = dataset.states.of(0)
    recent = dataset.catalog.rows_of(each.resource for each in state.resources)
    recent_activity = recent_activity_of(dataset.catalog, dataset.statistics, state, recent)
    usable = np.ones(len(dataset.catalog), np.bool_)
    usable[::2] = False
    chosen = next_item_candidates(dataset.catalog, dataset.statistics, recent_activity, dataset.models(state), usable)
    assert 0 < np.count_nonzero(chosen) <= CANDIDATES
    assert not (chosen & ~usable).any()


def test_without_trees_the_base_models_rank_by_their_weights(fitted, dataset):
    state = dataset.states.of(0)
    columns = dataset.example(0).columns
    standardised = [
        columns[:, fitted.ranker.features.index(f"{model}_standardised")].astype(float)
        for model in fitted.ranker.models
    ]
    weights = tuple(float(number) for number in range(len(standardised)))
    ranker = dataclasses.replace(fitted.ranker, trees=NO_TREES, blend_weight=0.0, base_weights=weights)
    expected = sum(weight * column for weight, column in zip(weights, standardised, strict=True))
    assert len(standardised) > 1
    assert state.resources
    np.testing.assert_allclose(ranker.score(columns), expected, atol=1e-6)


def test_a_ranker_without_trees_is_fitted_where_there_is_too_little_to_learn_from(dataset):
    found = fit_base_ranker(dataset.split, seed=1)
    assert found.ranker.blend_weight == 0.0
    assert found.ranker.models == tuple(found.ensemble.names)
    assert found.ranker.base_weights[found.ranker.models.index("sequential")] == 2.0
    assert ranked(dataset, found.ranker, 3).resources


def test_a_ranker_that_an_earlier_release_stored_lets_its_best_base_model_count(fitted):
    stored = ranker_to_arrays(fitted.ranker, fitted.ensemble)
    since = ("weight_", "need_share")
    numbers = {name: value for name, value in stored.hyperparameters.items() if not name.startswith(since)}
    arrays = {name: values for name, values in stored.arrays.items() if name != "responses"}
    earlier = dataclasses.replace(stored, hyperparameters={**numbers, "lead": 1}, arrays=arrays)
    restored = ranker_from_arrays(earlier).ranker
    assert restored.base_weights == tuple(float(place == 1) for place in range(len(restored.models)))
    assert set(restored.statistics.responses.tolist()) == {1.0}
    assert restored.need_share == 0.5


def test_models_of_fewer_resources_score_the_same_in_an_ensemble_and_alone(fitted):
    every = fitted.ensemble.resources
    whole, part = Counted(every), Counted(every[3::2])
    scores = Ensemble(every, {"whole": whole, "part": part}).scores([every[5], "unheard of", every[0], every[3]])
    assert whole.asked == [5, 0, 3]
    assert [part.resources[row] for row in part.asked] == [every[5], every[3]]
    np.testing.assert_array_equal(scores[0], np.arange(len(every)))
    np.testing.assert_array_equal(scores[1, 3::2], np.arange(len(part.resources)))
    assert not scores[1, :3].any()
    assert not scores[1, 4::2].any()


def test_a_ranker_from_a_bundle_scores_as_the_one_that_was_fitted(fitted, dataset):
    kept = ranker_from_arrays(ranker_to_arrays(fitted.ranker, fitted.ensemble))
    history = [each.resource for each in dataset.states.of(6).resources]
    np.testing.assert_allclose(kept.ensemble.scores(history), fitted.ensemble.scores(history), atol=2e-5)
    columns = dataset.example(6).columns
    np.testing.assert_array_equal(kept.ranker.score(columns), fitted.ranker.score(columns))
    assert kept.ranker.statistics.skills == fitted.ranker.statistics.skills


def test_a_ranker_of_other_features_is_refused(fitted):
    stored = ranker_to_arrays(fitted.ranker, fitted.ensemble)
    older = dataclasses.replace(stored, hyperparameters={**stored.hyperparameters, "features_version": 0})
    with pytest.raises(ModelArraysInvalidError, match="train again"):
        ranker_from_arrays(older)
    damaged = {**stored.arrays, "trees_features": stored.arrays["trees_features"] + 1_000}
    beyond = {**stored.hyperparameters, "need_share": 1.5}
    with pytest.raises(ModelArraysInvalidError, match="out of range"):
        ranker_from_arrays(dataclasses.replace(stored, hyperparameters=beyond))
    with pytest.raises(ModelArraysInvalidError, match="split feature"):
        ranker_from_arrays(dataclasses.replace(stored, arrays=damaged))


def test_trees_do_not_read_popularity_of_all_time_a_second_time(fitted):
    models = fitted.ranker.models
    assert models[-1] == "popular"
    assert 0 < fitted.ranker.trees.split_features.max() < len(feature_names(models[:-1]))


def test_too_few_learners_give_no_ranking():
    with pytest.raises(TooFewToLearnError, match="20 are needed"):
        fit_ranker(district(10), seed=1)


def test_the_mean_of_several_trees_predicts_the_mean_of_their_predictions(fitted, dataset):
    columns = dataset.example(2).columns
    whole, half = (
        fitted.ranker.trees,
        dataclasses.replace(fitted.ranker.trees, node_values=fitted.ranker.trees.node_values / 2),
    )
    mean = mean_of([whole, half, whole])
    mean.check(len(fitted.ranker.features))
    assert mean.total(columns) == pytest.approx((2 * whole.total(columns) + half.total(columns)) / 3, abs=1e-5)


@pytest.mark.parametrize(
    ("gains", "weight"),
    [
        # If the best base model alone is as good as the trees, it gets all the weight.
        ((0.0, 0.0, 0.0, 0.0, 0.0), 0.0),
        # The trees get weight for a gain only if the lists distinguish it from chance.
        ((0.0, 0.1, 0.2, 0.3, 0.4), 1.0),
        ((0.0, 0.1, 0.1, 0.1, 0.1005), 0.25),
        ((0.0, 0.3, 0.2, 0.1, -0.4), 0.25),
    ],
)
def test_trees_get_weight_only_if_the_data_distinguish_them_from_the_best_base_model(gains, weight):
    # Lists differ, and the gain of each weight on them alternates up and down.
    lists = np.random.default_rng(1).normal(0.3, 0.05, 400)
    differing = np.arange(5)[:, None] % 2 * np.where(np.arange(400) % 2, 0.02, -0.02)
    assert choose_blend_weight(lists + np.array(gains)[:, None] + differing) == weight


@pytest.mark.parametrize(
    ("cost", "share"),
    [
        (0.02, 0.5),
        (0.05, 0.3),
        (0.2, 0.0),
    ],
)
def test_need_counts_as_much_as_costs_little(cost, share):
    without = np.full(300, 0.8)

    def measure(need_share):
        # At a share of .5, need costs `cost` of what was there without it, for each learner a little more or less.
        return without * (1.0 - cost * need_share / 0.5 + 0.001 * np.tile([-1.0, 1.0], 150))

    assert largest_that_costs_little(measure) == share


def test_a_cost_within_one_standard_error_of_the_most_allowed_is_allowed():
    noise = np.tile([-0.5, 0.5], 150)
    assert largest_that_costs_little(lambda share: 0.8 - (0.03 * 0.8 + 0.02) * share / 0.5 + noise * share / 0.5) == 0.5
    assert largest_that_costs_little(lambda share: 0.8 - (0.03 * 0.8 + 0.04) * share / 0.5 + noise * share / 0.5) < 0.5


def test_a_list_has_the_share_of_need_that_its_ranker_was_trained_to_have(fitted, dataset):
    stored = ranker_to_arrays(dataclasses.replace(fitted.ranker, need_share=0.25), fitted.ensemble)
    trained = ranker_from_arrays(stored).ranker
    by_default = ranked(dataset, trained, 5, need_share=None).resources
    assert by_default == ranked(dataset, trained, 5, need_share=0.25).resources
    assert by_default != ranked(dataset, trained, 5, need_share=0.5).resources


def test_training_lists_contain_everything_relevant_and_a_sample_of_the_rest():
    labels = [0, 1, 0, 0, 1, 0, 0, 0, 1, 0, 1]
    lists = ListsOfCandidates(
        columns=np.arange(11, dtype=np.float32)[:, None],
        labels=np.array(labels, np.float32),
        sizes=np.array([5, 3, 3]),
        relevant=np.array([2, 1, 4]),
        fold=np.array([0, 1, 2]),
    )
    thin = lists.thinned(2)
    # The second list has no relevant candidate, so there is nothing to rank first.
    assert thin.columns[:, 0].tolist() == [0, 1, 2, 4, 8, 9, 10]
    assert thin.sizes.tolist() == [4, 3]
    assert thin.relevant.tolist() == [2, 4]
    assert thin.fold.tolist() == [0, 2]
    assert lists.thinned(99).sizes.tolist() == [5, 3]


def test_if_learners_are_few_the_ranker_also_trains_on_their_earlier_work():
    told: list[str] = []
    few = RankerSettings(trees=2, leaf_rows=5, learners=60)
    fit_ranker(district(60), seed=1, settings=few, advance=told.append)
    assert not [step for step in told if "earlier" in step]
    fit_ranker(district(60), seed=1, settings=dataclasses.replace(few, learners=90), advance=told.append)
    assert [step for step in told if "earlier" in step]


def test_a_tree_with_an_endless_walk_is_refused():
    one = np.array([0], np.int32)
    looping = Trees(np.array([0, 1], np.int32), one, one.astype(np.float32), one, one, one.astype(np.float32))
    with pytest.raises(TreesInvalidError, match="do not come after it"):
        looping.check(1)


def test_every_feature_belongs_to_a_feature_group():
    assert len(feature_names(("a", "b"))) == len(feature_groups(2)) == len(set(feature_names(("a", "b"))))
