"""Intervals hold the true chance as often as they say, and mastered means mastered, with simulated learners."""

from __future__ import annotations

import numpy as np
import pytest

from services.recommender.domain.learner.parameters import FilterSettings, SkillDifficulty, TenantParameters
from services.recommender.evaluation.intervals import Draws
from services.recommender.evaluation.mastery import (
    COVERAGE_MET,
    COVERAGE_NEW,
    PRECISION,
    RECALL,
    WAYS,
    Judged,
    MasteryRun,
    Simulated,
    checks_of,
    evaluate_mastery,
    judge,
    measured,
    simulate,
)

QUICK = WAYS[3]


def once(simulated, judged):
    found = measured(simulated, judged, Draws(np.ones((1, len(simulated.truth)))))
    return {name: float(values[0]) for name, values in found.items()}


def test_coverage_precision_and_recall_are_shares_of_what_they_say():
    truth = np.array([[0.9, 0.9, 0.5, 0.9], [0.9, 0.6, 0.2, 0.1]])
    attempts = np.array([[9, 2, 9, 0], [9, 9, 0, 0]])
    covered = np.array([[True, True, False, True], [True, True, False, False]])
    mastered = np.array([[True, False, True, False], [False, False, False, False]])
    found = once(Simulated(simulate(QUICK, 1, 1, 1).table, truth, attempts), Judged(covered, mastered))
    assert found == {COVERAGE_MET: 4 / 5, COVERAGE_NEW: 1 / 3, PRECISION: 1 / 2, RECALL: 1 / 2}


def test_the_truth_is_the_chance_on_the_average_item_and_rises_with_practice():
    simulated = simulate(QUICK, 200, 150, seed=1)
    much, never = simulated.attempts >= 20, simulated.attempts == 0
    assert simulated.truth[much].mean() > 0.97
    assert 0.55 < simulated.truth[never].mean() < 0.75
    assert simulated.attempts.sum() == len(simulated.table) == 30_000


def test_the_same_seed_gives_the_same_learners_and_another_gives_others():
    one, again, other = (simulate(QUICK, 5, 20, seed) for seed in (1, 1, 2))
    assert one.truth.tobytes() == again.truth.tobytes() != other.truth.tobytes()


def test_the_filter_of_earlier_releases_does_not_cover_what_quick_learners_can_do():
    simulated = simulate(QUICK, 60, 150, seed=1)
    base = 0.8
    skills = {skill: SkillDifficulty(0.0, 0.01) for skill in simulated.table.skills}
    before, with_learning = (
        once(simulated, judge(simulated, TenantParameters(FilterSettings(base=base, **more), skills=skills)))
        for more in ({}, {"learning": 0.25, "moderation": 1.0})
    )
    assert before[COVERAGE_MET] < with_learning[COVERAGE_MET] - 0.1
    assert before[COVERAGE_NEW] < with_learning[COVERAGE_NEW] - 0.1


def test_a_check_names_each_way_of_answering_and_fails_if_one_is_out_of_bounds():
    good = {COVERAGE_MET: 0.95, COVERAGE_NEW: 0.94, PRECISION: 0.9, RECALL: 0.7}
    assert all(check.holds for check in checks_of({"rasch": good}))
    for measure, value in ((COVERAGE_MET, 0.99), (COVERAGE_NEW, 0.9), (PRECISION, 0.7), (RECALL, 0.5)):
        failed = [check for check in checks_of({"rasch": good, "2pl": good | {measure: value}}) if not check.holds]
        assert len(failed) == 1
        assert f"2pl {value:.3f}" in failed[0].figures


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_intervals_and_mastery_are_within_a_hundredth_of_what_they_must_be_for_learners_of_all_five_ways():
    # What must be is .93 to .98; one course of 300 learners differs from the next by about a hundredth.
    for measures in evaluate_mastery(MasteryRun()).models.values():
        assert 0.92 <= measures[COVERAGE_MET].mean <= 0.99
        assert 0.92 <= measures[COVERAGE_NEW].mean <= 0.99
        assert measures[PRECISION].mean >= 0.8
        assert measures[RECALL].mean >= 0.6
