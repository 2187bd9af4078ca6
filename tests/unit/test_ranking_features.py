from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.resource_kinds import ResourceKind
from services.recommender.domain.learner.mastery import mastered, skill_logits, success_probability
from services.recommender.domain.learner.parameters import ItemDifficulty, SkillDifficulty, TenantParameters
from services.recommender.domain.learner.success_features import SHARED_FEATURES
from services.recommender.domain.learner.success_model import SuccessModel
from services.recommender.domain.ranking.catalog import CatalogResource, CatalogSkill, build_columns
from services.recommender.domain.ranking.compiled import challenge_fit, mean_and_deviation, review_due
from services.recommender.domain.ranking.features import (
    difficulties_of,
    estimate_skills,
    index_success_model,
)
from services.recommender.domain.ranking.scoring import describe, evaluate
from services.recommender.domain.ranking.signals import explore, fit, review
from services.recommender.domain.ranking.signals.signal import TagMean
from services.recommender.domain.ranking.warm_up import warm_up
from services.recommender.domain.ranking.weights import DEFAULT_WEIGHTS as WEIGHTS
from tests.learners import Ability, filter_chance, learner_state, success_chance

# Compile first: the examples have a deadline.
warm_up()

DAY_S = 86_400
NOW_S = 1_700_000_000

CATALOG = build_columns(
    [
        CatalogResource("item", kind=ResourceKind.PRACTICE, assesses=(("a", 1.0), ("b", 0.2))),
        CatalogResource("lesson", kind=ResourceKind.LESSON, teaches=(("a", 0.5), ("c", 1.5))),
        CatalogResource("plain", kind=ResourceKind.ASSESSMENT),
        CatalogResource("quiz", kind=ResourceKind.ASSESSMENT, assesses=(("c", 1.0),)),
    ],
    [
        CatalogSkill("a", importance=0.5),
        CatalogSkill("b", prerequisites=("a",)),
        CatalogSkill("c", prerequisites=("a", "b")),
    ],
)
PARAMETERS = TenantParameters(
    items={"item": ItemDifficulty(0.7, 0.2)},
    skills={"a": SkillDifficulty(0.3, 0.1, 0.4), "c": SkillDifficulty(-0.5, 0.2, 0.1)},
)
STATE = learner_state(
    {
        "a": Ability(mean=0.4, variance=0.12, attempts=9, successes=7.0, last_at_s=NOW_S - 30 * DAY_S),
        "b": Ability(mean=-0.9, variance=0.2, attempts=4, successes=1.0),
        "elsewhere": Ability(mean=3.0),
    },
    mean=0.6,
    variance=0.05,
)


def _estimates(state, parameters=PARAMETERS, as_of_s=NOW_S):
    return estimate_skills(CATALOG, difficulties_of(CATALOG, parameters), state, as_of_s, WEIGHTS)


def _features(state, parameters=PARAMETERS, rows=(0, 1, 2, 3)):
    difficulties = difficulties_of(CATALOG, parameters)
    estimates = estimate_skills(CATALOG, difficulties, state, NOW_S, WEIGHTS)
    return describe(CATALOG, difficulties, estimates, np.array(rows, np.intp), WEIGHTS)


def _values(signal, candidates):
    return evaluate(candidates).of(signal)


@pytest.mark.parametrize("state", [None, STATE])
def test_a_skill_is_estimated_by_the_learner_model(state):
    logits = skill_logits(state, CATALOG.skill_ids, PARAMETERS)
    estimates = _estimates(state)
    assert estimates.probabilities == pytest.approx(success_probability(logits.mean, logits.variance))
    assert estimates.mastered.tolist() == mastered(logits.mean, logits.variance, logits.attempts).tolist()
    assert estimates.responses.tolist() == logits.attempts.tolist()


@pytest.mark.parametrize("state", [None, STATE])
def test_success_on_a_fitted_item_is_what_the_filter_predicts(state):
    predicted = filter_chance(state, "item", ["a", "b"], PARAMETERS)
    assert _features(state).success[0] == pytest.approx(predicted)


def test_success_on_an_unfitted_item_uses_the_items_of_its_skills():
    # The mean difficulty of skill c's items replaces the quiz's own.
    settled = TenantParameters(
        items={"quiz": ItemDifficulty(0.1, PARAMETERS.settings.item_difficulty_variance)}, skills=PARAMETERS.skills
    )
    assert _features(STATE).success[3] == pytest.approx(filter_chance(STATE, "quiz", ["c"], settled))


@pytest.mark.parametrize("state", [None, STATE])
def test_with_a_success_model_success_is_its_prediction(state):
    rng = np.random.default_rng(0)
    width = len(SHARED_FEATURES)
    success_model = SuccessModel(
        products=np.triu(rng.normal(0, 0.2, (width, width))),
        ranges=np.vstack([np.full(width, -0.9), np.full(width, 1.5)]),
        skills=("a", "elsewhere", "unheard-of"),
        per_skill=rng.normal(0, 0.5, (3, width)),
    )
    difficulties = difficulties_of(CATALOG, PARAMETERS)
    estimates = estimate_skills(CATALOG, difficulties, state, NOW_S, WEIGHTS)
    by_success_model = index_success_model(CATALOG, difficulties, success_model).of(state, NOW_S)
    rows = np.array([2, 0], np.intp)
    features = describe(CATALOG, difficulties, estimates, rows, WEIGHTS, by_success_model=by_success_model)
    expected = [
        success_chance(success_model, state, "plain", [], PARAMETERS, NOW_S),
        success_chance(success_model, state, "item", ["a", "b"], PARAMETERS, NOW_S),
    ]
    assert features.success == pytest.approx(expected)
    assert _values(fit.SIGNAL, features) == pytest.approx(
        challenge_fit(features.success, np.ones(2, np.bool_), 0.75, 0.15, 0.5)
    )
    assert features.success != pytest.approx(_features(state, rows=rows).success, abs=0.01)


def test_without_tags_success_depends_on_the_learner_alone():
    features = _features(STATE)
    assert features.success[2] == pytest.approx(filter_chance(STATE, "plain", [], PARAMETERS))
    assert (
        features.tag_means[TagMean.NEED, 2],
        _values(review.SIGNAL, features)[2],
        features.ready[2],
        features.served[2],
    ) == (0.0, 0.0, 1.0, -1)


def test_needs_weigh_each_skill_by_tag_importance_and_distance_to_the_target():
    estimates = _estimates(STATE)
    a, _, c = estimates.probabilities
    expected = 0.25 * 0.5 * max(0.0, 0.85 - a) / 0.85 + 0.75 * max(0.0, 0.85 - c) / 0.85
    assert not estimates.mastered.any()
    assert _features(STATE).tag_means[TagMean.NEED, 1] == pytest.approx(expected)


def test_a_mastered_skill_has_no_gap():
    able = learner_state({"c": Ability(mean=3.0, variance=0.02, attempts=20, successes=20)}, mean=1.0)
    assert _features(able).tag_means[TagMean.NEED, 3] == 0.0


def test_readiness_is_that_of_the_least_ready_prerequisite_outside_the_resource():
    estimates = _estimates(STATE)
    assert (
        _features(STATE).ready.tolist()
        == [
            1.0,  # Its one prerequisite, a, is one of its own skills.
            pytest.approx(estimates.readiness[1]),
            1.0,
            pytest.approx(min(estimates.readiness[:2])),
        ]
    )


def test_a_resource_serves_the_skill_its_gap_is_mostly_about():
    assert _features(STATE).served.tolist() == [0, 2, -1, 2]
    able = learner_state({"c": Ability(mean=3.0, variance=0.02, attempts=20, successes=20)}, mean=0.5)
    assert _features(able).served[1] == 0


def test_a_resource_of_mastered_skills_serves_the_one_it_is_mostly_about():
    sure = Ability(mean=4.0, variance=0.02, attempts=20, successes=20)
    assert _features(learner_state(dict.fromkeys("abc", sure), mean=1.0)).served.tolist() == [0, 2, -1, 2]


def test_uncertainty_is_one_for_a_new_learner_and_falls_with_evidence():
    assert _values(explore.SIGNAL, _features(None)).tolist() == pytest.approx([1.0, 1.0, 0.0, 1.0])
    assert _values(explore.SIGNAL, _features(STATE))[0] < 0.5


def test_a_practice_fits_best_at_three_in_four_and_a_lesson_leads_where_it_would_succeed_less_than_57_in_100():
    success = np.array([0.75, 0.60, 0.58, 0.56, 0.2])
    practice = challenge_fit(success, np.ones(5, np.bool_), *FIT)
    lesson = challenge_fit(success, np.zeros(5, np.bool_), *FIT)
    assert practice[0] == 1.0
    assert practice[1] == pytest.approx(np.exp(-0.5))
    assert (practice > lesson).tolist() == [True, True, True, False, False]


FIT = (WEIGHTS.fit_target, WEIGHTS.fit_width, WEIGHTS.fit_elsewhere)


def _due(days, successes=3.0):
    return review_due(days, successes, WEIGHTS.review_half_life_days)


def test_a_review_is_due_after_one_half_life_which_grows_with_practice():
    assert _due(14.0) == pytest.approx(0.5)
    assert _due(14.0, successes=15.0) < 0.5
    assert _due(28.0, successes=15.0) == pytest.approx(0.5)


def test_nothing_is_due_without_a_clock_or_before_it_was_practised():
    assert _due(np.nan) == 0.0
    assert _due(-3.0) == 0.0


def test_only_mastered_skills_are_reviewed_and_only_others_have_a_gap():
    sure = Ability(mean=4.0, variance=0.02, attempts=20, successes=20, last_at_s=NOW_S - 90 * DAY_S)
    unsure = Ability(mean=-1.0, variance=0.1, attempts=20, successes=5, last_at_s=NOW_S - 90 * DAY_S)
    estimates = _estimates(learner_state({"a": sure, "b": unsure}))
    assert estimates.reviews[0] > 0.5
    assert estimates.reviews[1] == 0.0
    assert estimates.needs[0] == 0.0
    assert estimates.needs[1] > 0.5


def test_the_urgency_of_a_need_follows_the_readiness_of_its_prerequisites():
    estimates = _estimates(STATE)
    ready = [1.0, estimates.readiness[0], min(estimates.readiness[:2])]
    assert estimates.urgencies == pytest.approx(estimates.needs * ready)


@given(st.floats(0, 1e5), st.floats(0, 1e5), st.floats(0, 1e4))
def test_a_review_grows_more_due_with_time_and_stays_within_one(days, more_days, successes):
    assert 0.0 <= _due(days, successes) <= _due(days + more_days, successes) <= 1.0


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50))
def test_mean_and_deviation_are_numpy_s(values):
    mean, deviation = mean_and_deviation(np.array(values))
    assert mean == pytest.approx(np.mean(values), abs=1e-6)
    assert deviation == pytest.approx(np.std(values), abs=1e-6)


@given(st.floats(-1e6, 1e6), st.integers(0, 50))
def test_equal_values_have_a_deviation_of_exactly_zero(value, count):
    assert mean_and_deviation(np.full(count, value))[1] == 0.0
