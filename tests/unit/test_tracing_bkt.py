"""Bayesian knowledge tracing against all hidden paths of short sequences, and on simulated learners."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.recommender.domain.training.responses import ResponseTable, ResponseTableBuilder
from services.recommender.models.tracing.bkt import (
    GUESS,
    KNOWN,
    LEARN,
    SLIP,
    KnowledgeTracing,
    expected_counts,
    fit_sequences,
)

chances = st.floats(0.05, 0.95)


def paths(response, parameters):
    """Every path of knowing (learned once, never forgotten), and its joint likelihood with the responses."""
    known, learn, guess, slip = parameters
    for path in itertools.product((0, 1), repeat=len(response)):
        likelihood = known if path[0] else 1 - known
        for earlier, later in itertools.pairwise(path):
            likelihood *= {(0, 0): 1 - learn, (0, 1): learn, (1, 0): 0.0, (1, 1): 1.0}[earlier, later]
        for state, y in zip(path, response, strict=True):
            right = 1 - slip if state else guess
            likelihood *= right if y else 1 - right
        yield path, likelihood


@given(
    sequences=st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=4), min_size=1, max_size=3),
    parameters=st.tuples(chances, chances, chances, chances),
)
@settings(max_examples=25, deadline=None)
def test_expected_counts_are_those_over_every_path(sequences, parameters):
    response = np.concatenate([np.array(each, np.float64) for each in sequences])
    starts = np.concatenate([np.arange(len(each)) == 0 for each in sequences])
    happened, might_have, log_likelihood = expected_counts(response, starts, np.array(parameters))
    expected, opportunities, expected_log_likelihood = np.zeros(4), np.zeros(4), 0.0
    for sequence in sequences:
        total = sum(likelihood for _, likelihood in paths(sequence, parameters))
        expected_log_likelihood += np.log(total)
        for path, likelihood in paths(sequence, parameters):
            share, state, y = likelihood / total, np.array(path), np.array(sequence)
            expected[KNOWN] += share * state[0]
            opportunities[KNOWN] += share
            expected[LEARN] += share * np.sum((state[:-1] == 0) & (state[1:] == 1))
            opportunities[LEARN] += share * np.sum(state[:-1] == 0)
            expected[GUESS] += share * np.sum((state == 0) & (y == 1))
            opportunities[GUESS] += share * np.sum(state == 0)
            expected[SLIP] += share * np.sum((state == 1) & (y == 0))
            opportunities[SLIP] += share * np.sum(state == 1)
    np.testing.assert_allclose(happened, expected, atol=1e-9)
    np.testing.assert_allclose(might_have, opportunities, atol=1e-9)
    assert log_likelihood == pytest.approx(expected_log_likelihood)


def simulated(skills, *, learners, each, seed=0) -> ResponseTable:
    """Every learner answers each skill equally often; the skills are mixed."""
    rng = np.random.default_rng(seed)
    builder = ResponseTableBuilder()
    for learner in range(learners):
        knows = {skill: rng.random() < parameters[KNOWN] for skill, parameters in skills.items()}
        for skill in rng.permutation(np.repeat(sorted(skills), each)).tolist():
            _, learn, guess, slip = skills[skill]
            right = rng.random() < (1 - slip if knows[skill] else guess)
            builder.append(learner=f"l{learner:05}", item="", skills=[skill], response=float(right))
            knows[skill] |= rng.random() < learn
    return builder.build()


SKILLS = {"easy": (0.6, 0.25, 0.3, 0.05), "hard": (0.1, 0.08, 0.15, 0.1)}


@pytest.fixture(scope="module")
def table() -> ResponseTable:
    return simulated(SKILLS, learners=2_000, each=10)


def test_the_parameters_that_made_the_responses_are_found(table):
    model = KnowledgeTracing()
    model.fit(table)
    for skill, parameters in zip(table.skills, model._parameters, strict=True):
        np.testing.assert_allclose(parameters, SKILLS[skill], atol=0.03)


def test_each_chance_is_that_over_every_path_of_the_responses_before(table):
    model = KnowledgeTracing()
    model.fit(table)
    few = simulated(SKILLS, learners=3, each=4, seed=5)
    predicted = model.predict(few)
    parameters = dict(zip(few.skills, model._parameters, strict=True))
    for row in range(len(few)):
        before = np.flatnonzero(
            (few.learner[:row] == few.learner[row]) & (few.skill[:row] == few.skill[row])
        )  # Each response has one skill, so entries are rows.
        sequence, of_skill = few.response[before].tolist(), parameters[few.skills[few.skill[row]]]
        so_far = sum(likelihood for _, likelihood in paths(sequence, of_skill)) if sequence else 1.0
        with_success = sum(likelihood for _, likelihood in paths([*sequence, 1], of_skill))
        assert predicted[row] == pytest.approx(with_success / so_far)


def test_an_unseen_skill_has_the_common_parameters_and_no_skill_the_share_of_successes():
    builder = ResponseTableBuilder()
    known_skills = (("a", ["easy"], 0.0), ("a", ["hard"], 1.0), ("a", ["easy"], 1.0), ("a", [], 1.0))
    for learner, skills, response in (*known_skills, ("b", ["easy", "new"], 1.0), ("c", ["new"], 1.0), ("d", [], 1.0)):
        builder.append(learner=learner, item="", skills=skills, response=response)
    table = builder.build()
    of = {learner: np.flatnonzero(table.learner == number) for number, learner in enumerate(table.learners)}
    model = KnowledgeTracing()
    model.fit(table.of_learners(np.array([learner == "a" for learner in table.learners])))
    chance = model.predict(table)
    assert chance[of["d"][0]] == pytest.approx(3 / 4)
    assert chance[of["b"][0]] == pytest.approx((chance[of["a"][0]] + chance[of["c"][0]]) / 2)
    assert chance[of["a"][0]] != pytest.approx(chance[of["c"][0]])


def test_a_rare_skill_stays_near_the_common_parameters():
    prior = np.array([0.4, 0.1, 0.25, 0.15])
    one = (np.ones(3), np.array([True, False, False]))
    alone = fit_sequences(*one, prior, observations=0.0)
    shrunk = fit_sequences(*one, prior, observations=100.0)
    assert np.abs(shrunk - prior).max() < 0.05 < np.abs(alone - prior).max()
