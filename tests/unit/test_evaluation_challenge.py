"""How hard lists are, and whether they are too advanced, measured with a model that no ranking uses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from services.recommender.domain.training.responses import ResponseTable, ResponseTableBuilder
from services.recommender.domain.training.splits import WorkSplit, split_work, tags_of
from services.recommender.evaluation.challenge import SUCCESS_BAND, Mastery, challenge_of
from services.recommender.models.tracing.logistic import LogisticOnCounts, Practice

LEARNERS, RESOURCES, SKILLS = 40, 30, 3


def responses(*, right: bool | None = None) -> ResponseTable:
    """Every learner works on all but the last few resources; by default one in three fails."""
    rng = np.random.default_rng(2)
    builder = ResponseTableBuilder()
    for learner in range(LEARNERS):
        for number in rng.permutation(RESOURCES)[: 12 + learner % 7].tolist():
            outcome = rng.random() < 0.3 + 0.2 * (number % SKILLS) if right is None else right
            builder.append(
                learner=f"l{learner:02}",
                item=f"r{number:02}",
                skills=[f"s{number % SKILLS}"] if number % 5 else ["s0", "s1"],
                response=float(outcome),
                resource=f"r{number:02}",
            )
    return builder.build()


def everything_before(table: ResponseTable) -> WorkSplit:
    return split_work(table, np.ones(len(table), np.bool_), tags_of(table))


def test_the_chance_of_the_next_response_is_that_of_a_log_in_which_it_comes_next():
    table = responses()
    split = everything_before(table)
    model = LogisticOnCounts(best=True)
    model.fit(table)
    last = np.append(np.flatnonzero(np.diff(table.learner)), len(table) - 1)
    predicted = model.predict(table)
    for learner, row in enumerate(last.tolist()):
        before = slice(int(np.searchsorted(table.learner, learner)), row)
        tags = np.zeros((1, len(table.skills)))
        tags[0, sorted(split.tags[table.resource[row]])] = 1.0
        chance = model.predict_next(Practice.of(table, before), table.item[[row]], tags)
        assert chance[0] == pytest.approx(predicted[row])


def test_no_learner_is_evaluated_with_a_model_fitted_on_them():
    table = responses()
    challenge = challenge_of(everything_before(table), seed=1)
    # Their weights come from other learners, so they do not change if this learner always fails.
    failed = np.where(table.learner == 0, np.float32(0), table.response)
    other = challenge_of(everything_before(replace(table, response=failed)), seed=1)
    assert challenge is not None
    assert other is not None
    own, others = (each._models[each._half[0]]._weights.coefficients for each in (challenge, other))
    assert own.tolist() == others.tolist()
    assert other.after(0, range(RESOURCES)).mean() < challenge.after(0, range(RESOURCES)).mean()


def test_the_share_in_the_band_counts_chances_in_it():
    challenge = challenge_of(everything_before(responses()), seed=1)
    assert challenge is not None
    chances = challenge.after(3, range(RESOURCES))
    low, high = SUCCESS_BAND
    inside = np.flatnonzero((chances >= low) & (chances <= high)).tolist()
    outside = np.flatnonzero((chances < low) | (chances > high)).tolist()
    assert inside
    assert outside
    assert challenge.share_in_band(3, [inside[0], outside[0]]) == 0.5
    assert challenge.share_in_band(3, inside) == 1.0
    assert challenge.share_in_band(3, outside) == 0.0


def test_without_wrong_answers_difficulty_is_unknown():
    assert challenge_of(everything_before(responses(right=True)), seed=1) is None


def test_with_a_single_learner_the_difficulty_of_lists_is_unknown():
    one = responses().of_learners(np.arange(LEARNERS) == 0)
    assert challenge_of(everything_before(one), seed=1) is None


def test_a_resource_with_a_mostly_failed_prerequisite_counts_as_too_advanced():
    builder = ResponseTableBuilder()
    for number, (skill, outcome) in enumerate([("s0", 0.0), ("s0", 1.0), ("s1", 1.0), ("s2", 1.0)]):
        builder.append(learner="a", item="", skills=[skill], response=outcome, resource=f"r{number}")
    builder.append(learner="b", item="", skills=["s0", "s2"], response=1.0, resource="r4")
    split = replace(everything_before(builder.build()), prerequisites={1: frozenset({0}), 2: frozenset({0, 1})})
    mastery = Mastery(split)
    assert mastery.matters
    # Half of a's responses on s0 were wrong: s1 and s2 are too advanced; s0 and what also practises it are not.
    assert [mastery.violations(0, [number]) for number in range(5)] == [0, 0, 1, 1, 0]
    # b got s0 right and has no responses on s1.
    assert mastery.violations(1, [2, 3, 4]) == 0
    assert not Mastery(replace(split, prerequisites={})).matters
