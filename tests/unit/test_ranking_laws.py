"""Properties of scoring, with all other features held fixed."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from services.recommender.domain.ranking.compiled import readiness
from services.recommender.domain.ranking.scoring import SignalValues, is_open, score
from services.recommender.domain.ranking.signals import SIGNALS
from services.recommender.domain.ranking.signals import similar as similar_learners
from services.recommender.domain.ranking.warm_up import warm_up
from services.recommender.domain.ranking.weights import DEFAULT_WEIGHTS as WEIGHTS

# Compile first: the examples have a deadline.
warm_up()

_unit = st.floats(0.0, 1.0)
_pairs = st.tuples(_unit, _unit)


class _Features(NamedTuple):
    values: SignalValues
    ready: np.ndarray


def _features(*, ready=None, **columns):
    count = len(next(iter(columns.values())))
    of_signals = [np.array(columns.pop(signal.name, [0.0] * count), np.float64) for signal in SIGNALS]
    assert not columns
    return _Features(SignalValues(np.stack(of_signals)), np.array(ready or [1.0] * count, np.float64))


def _two_alike(draw_alike, **columns):
    return _features(**{name: [value, value] for name, value in draw_alike.items()}, **columns)


_alike = st.fixed_dictionaries({"fit": _unit, "ready": _unit, "explore": _unit})


@given(
    _alike,
    st.floats(0.0, WEIGHTS.review_opens, exclude_max=True),
    st.floats(WEIGHTS.gap_opens, 1.0, exclude_min=True),
    _pairs,
)
def test_similar_learners_never_raise_a_mastered_skill_above_an_open_one(alike, review, gap, similar):
    features = _two_alike(alike, gap=[0.0, gap], review=[review, review], similar=list(similar))
    closed, opened = score(*features, WEIGHTS).total
    assert is_open(features.values, WEIGHTS).tolist() == [False, True]
    assert closed <= opened


@given(_alike, _unit, _unit, _unit, _pairs, st.booleans())
def test_more_matching_preferences_never_lower_a_score(alike, gap, review, other, asked, by_goal):
    preferences = {"goal": sorted(asked), "preference": [other] * 2}
    if not by_goal:
        preferences = {"goal": [other] * 2, "preference": sorted(asked)}
    features = _two_alike(alike, gap=[gap] * 2, review=[review] * 2, **preferences)
    less, more = score(*features, WEIGHTS).total
    assert less <= more


@given(_alike, _unit, st.floats(WEIGHTS.gap_opens, 1.0, exclude_min=True), _pairs)
def test_a_preference_raises_a_closed_resource_by_at_most_its_gap(alike, preferred, gap, similar):
    """Neither can similar learners; on an open resource, a preference counts as much as the other features."""
    features = _two_alike(
        alike, gap=[0.0, gap], similar=list(similar), goal=[0.0, 0.0], preference=[preferred, preferred]
    )
    closed, opened = score(*features, WEIGHTS).total
    assert closed <= opened


@given(_alike, _unit, _unit, _unit)
def test_a_learner_without_preferences_is_ranked_like_one_with_empty_preferences(alike, gap, review, similar):
    columns = {"gap": [gap] * 2, "review": [review] * 2, "similar": [similar] * 2}
    said_nothing = score(*_two_alike(alike, **columns), WEIGHTS)
    asked_for_nothing = score(*_two_alike(alike, goal=[0.0] * 2, preference=[0.0] * 2, **columns), WEIGHTS)
    assert said_nothing.total.tolist() == asked_for_nothing.total.tolist()


@given(_alike, _unit, _unit, _pairs, st.booleans())
def test_more_gap_never_lowers_a_score(alike, review, similar, gaps, on_goal_path):
    features = _two_alike(
        alike,
        gap=sorted(gaps),
        review=[review] * 2,
        similar=[similar] * 2,
        goal=[float(on_goal_path)] * 2,
    )
    less, more = score(*features, WEIGHTS).total
    assert less <= more


@given(_unit, _unit, _unit, _unit, _unit, _pairs)
def test_more_readiness_never_lowers_a_score(gap, fit, review, similar, explore, readinesses):
    features = _features(
        gap=[gap] * 2,
        fit=[fit] * 2,
        review=[review] * 2,
        similar=[similar] * 2,
        explore=[explore] * 2,
        ready=sorted(readinesses),
    )
    less, more = score(*features, WEIGHTS).total
    assert less <= more


def _readiness(probability, responses):
    return readiness(probability, responses, WEIGHTS.ready_midpoint, WEIGHTS.ready_steepness, WEIGHTS.ready_responses)


@given(_unit)
def test_an_unknown_prerequisite_blocks_no_resource(probability):
    assert _readiness(probability, 0) == 1.0


@given(_pairs, st.integers(0, 500))
def test_a_better_known_prerequisite_never_lowers_readiness(probabilities, responses):
    less, more = (_readiness(probability, responses) for probability in sorted(probabilities))
    assert 0.0 <= less <= more <= 1.0


@given(_unit, _unit, _unit, _unit, _unit, _unit)
def test_a_score_is_the_sum_of_what_its_reasons_add(gap, fit, review, similar, explore, ready):
    features = _features(gap=[gap], fit=[fit], review=[review], similar=[similar], explore=[explore], ready=[ready])
    scores = score(*features, WEIGHTS)
    parts = scores.added
    assert all(part[0] >= 0.0 for part in parts)
    assert scores.total[0] == pytest.approx(sum(part[0] for part in parts))


def test_a_score_is_the_published_formula():
    features = _features(gap=[0.4], fit=[0.6], review=[0.2], similar=[0.5], explore=[0.3], ready=[0.7])
    expected = 0.7 * (1.0 * 0.4 + 0.8 * 0.6 + 0.5 * 0.2 + 0.4 * 0.5) + 0.1 * 0.3
    assert score(*features, WEIGHTS).total[0] == pytest.approx(expected)


@given(_unit, st.floats(0.0, WEIGHTS.gap_opens), st.floats(0.0, WEIGHTS.review_opens, exclude_max=True))
def test_a_resource_that_is_not_open_counts_a_tenth_and_similar_learners_not_at_all(similar, gap, review):
    assume(gap <= WEIGHTS.gap_opens)
    features = _features(gap=[gap], fit=[0.5], review=[review], similar=[similar], ready=[1.0])
    expected = 0.1 * (gap + 0.8 * 0.5 + 0.5 * review)
    assert score(*features, WEIGHTS).total[0] == pytest.approx(expected)
    assert score(*features, WEIGHTS).of(similar_learners.SIGNAL)[0] == 0.0
