"""Properties of the need part of a score, with all other signals held fixed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.recommender.domain.ranking.compiled import readiness
from services.recommender.domain.ranking.scoring import SignalValues, score
from services.recommender.domain.ranking.signals import SIGNALS
from services.recommender.domain.ranking.warm_up import warm_up
from services.recommender.domain.ranking.weights import DEFAULT_WEIGHTS as WEIGHTS

# Compile first: the examples have a deadline.
warm_up()

_unit = st.floats(0.0, 1.0)
_pairs = st.tuples(_unit, _unit)
_columns = st.fixed_dictionaries({signal.name: _unit for signal in SIGNALS})


def _values(**columns):
    count = len(next(iter(columns.values())))
    values = SignalValues(np.array([columns.pop(signal.name, [0.0] * count) for signal in SIGNALS], np.float64))
    assert not columns
    return values


@pytest.mark.parametrize("name", [signal.name for signal in SIGNALS])
@given(alike=_columns, differs=_pairs)
def test_more_of_any_signal_never_lowers_a_score(name, alike, differs):
    columns = {**{other: [value, value] for other, value in alike.items()}, name: sorted(differs)}
    less, more = score(_values(**columns), WEIGHTS).total
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


@given(_columns)
def test_a_score_is_the_sum_of_what_its_reasons_add(alike):
    scores = score(_values(**{name: [value] for name, value in alike.items()}), WEIGHTS)
    assert scores.total[0] == pytest.approx(sum(part[0] for part in scores.added))


def test_a_score_is_the_published_formula():
    values = _values(gap=[0.4], fit=[0.6], review=[0.2], explore=[0.3], goal=[0.5], preference=[0.7])
    expected = 2.6 * 0.4 + 0.2 * 0.6 + 1.5 * 0.2 + 0.1 * 0.3 + 2.0 * 0.5 + 0.5 * 0.7
    assert score(values, WEIGHTS).total[0] == pytest.approx(expected)
