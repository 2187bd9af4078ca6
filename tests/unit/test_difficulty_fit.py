"""Fitting the learner model."""

from __future__ import annotations

import math

import numpy as np

from services.recommender.domain.learner.parameters import FilterSettings, ItemDifficulty
from services.recommender.domain.training.metrics import log_loss
from services.recommender.domain.training.responses import ResponseTable, ResponseTableBuilder
from services.recommender.models.tracing.difficulty_fit import (
    Difficulties,
    fit_difficulties,
    parameters_of,
    predict,
)

ITEMS, SKILLS = 40, 4


def simulated(learners: int, *, base: float = 0.4, seed: int = 5) -> tuple[ResponseTable, dict]:
    """Responses of a Rasch model: skill k of item i is i % SKILLS, difficulties as returned."""
    rng = np.random.default_rng(seed)
    difficulty = rng.normal(0, 1.0, ITEMS)
    builder = ResponseTableBuilder()
    for learner in range(learners):
        ability = rng.normal(0, 0.7)
        for item in rng.permutation(ITEMS)[:30]:
            chance = 1 / (1 + math.exp(-(base + ability - difficulty[item])))
            builder.append(
                learner=f"learner-{learner:04}",
                item=f"item-{item:02}",
                skills=[f"skill-{item % SKILLS}"],
                response=float(rng.random() < chance),
            )
    return builder.build(), {f"item-{item:02}": difficulty[item] for item in range(ITEMS)}


def test_the_difficulties_that_made_the_responses_are_found_again():
    table, truth = simulated(400)
    parameters = parameters_of(table, fit_difficulties(table, FilterSettings()))
    found = np.array([
        parameters.items[f"item-{item:02}"].mean + parameters.skills[f"skill-{item % SKILLS}"].mean
        for item in range(ITEMS)
    ])  # fmt: skip
    expected = np.array([truth[f"item-{item:02}"] for item in range(ITEMS)])
    assert np.corrcoef(found, expected)[0, 1] > 0.97
    # The base absorbs the mean of all difficulties.
    shift = (found - parameters.settings.base) - (expected - 0.4)
    assert abs(shift.mean()) < 0.15
    assert shift.std() < 0.25


def test_an_item_s_variance_falls_with_its_responses():
    few, _ = simulated(20)
    many, _ = simulated(200)
    settings = FilterSettings()
    assert (
        fit_difficulties(many, settings).item_variance.mean()
        < fit_difficulties(few, settings).item_variance.mean()
        < settings.item_difficulty_variance
    )


def test_fitted_difficulties_predict_new_learners_better_than_priors():
    table, _ = simulated(400)
    known = np.arange(len(table.learners)) < 300
    fitted = fit_difficulties(table.of_learners(known), FilterSettings())
    new = table.of_learners(~known)
    unknown = Difficulties(
        fitted.settings, np.zeros(ITEMS), np.full(ITEMS, 1.5), np.zeros(SKILLS), np.full(SKILLS, 1.0)
    )
    base_rate = np.full(len(new), table.of_learners(known).response.mean())
    assert log_loss(new.response, predict(new, fitted)) < log_loss(new.response, predict(new, unknown)) - 0.03
    assert log_loss(new.response, predict(new, fitted)) < log_loss(new.response, base_rate) - 0.05


def test_predicting_changes_no_difficulty():
    table, _ = simulated(20)
    fitted = fit_difficulties(table, FilterSettings())
    before = [values.copy() for values in (fitted.item_mean, fitted.item_variance, fitted.skill_mean)]
    predict(table, fitted)
    for values, kept in zip((fitted.item_mean, fitted.item_variance, fitted.skill_mean), before, strict=True):
        assert values.tobytes() == kept.tobytes()


def test_the_mean_item_difficulty_of_a_skill_is_over_the_distinct_items_seen_with_it():
    builder = ResponseTableBuilder()
    for item, skills in (("i1", ["a"]), ("i1", ["a"]), ("i2", ["a", "b"]), ("", ["b"])):
        builder.append(learner="l", item=item, skills=skills, response=1.0)
    fitted = Difficulties(FilterSettings(), np.array([0.5, -1.5]), np.ones(2), np.zeros(2), np.ones(2))
    parameters = parameters_of(builder.build(), fitted)
    assert parameters.skills["a"].mean_item_difficulty == -0.5
    assert parameters.skills["b"].mean_item_difficulty == -1.5


def test_a_resource_that_is_no_item_has_the_mean_difficulty_of_the_distinct_items_seen_in_it():
    builder = ResponseTableBuilder()
    for item, resource in (("i1", "quiz"), ("i1", "quiz"), ("i2", "quiz"), ("i2", "i2"), ("", "other"), ("i1", "")):
        builder.append(learner="l", item=item, skills=["a"], response=1.0, resource=resource)
    fitted = Difficulties(FilterSettings(), np.array([0.5, -1.5]), np.array([0.25, 0.75]), np.zeros(1), np.ones(1))
    assert dict(parameters_of(builder.build(), fitted).items) == {
        "i1": ItemDifficulty(0.5, 0.25),
        "i2": ItemDifficulty(-1.5, 0.75),
        "quiz": ItemDifficulty(-0.5, 0.5),
    }
