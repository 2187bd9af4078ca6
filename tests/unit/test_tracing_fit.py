"""Fitting the whole learner model: which learners are held out, and when the success model is kept."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from services.recommender.domain.learner.kernel import chance_of_success
from services.recommender.domain.learner.parameters import FilterSettings
from services.recommender.domain.training.responses import NONE, ResponseTable, ResponseTableBuilder
from services.recommender.domain.training.twins import redundant
from services.recommender.models.tracing import fit as tracing_fit
from services.recommender.models.tracing import forecasts, success_fit
from services.recommender.models.tracing.difficulty_fit import UNFITTED, fit_difficulties, item_folds, predict
from services.recommender.models.tracing.fit import fit_tracing
from services.recommender.models.tracing.forecasts import Forecasts, Pair, share_of_success_model
from services.recommender.models.tracing.success_fit import predict_success
from services.recommender.models.tracing.success_table import success_features


def simulated(learners: int, *, seed: int = 5) -> ResponseTable:
    """Responses of a Rasch model."""
    rng = np.random.default_rng(seed)
    difficulty = rng.normal(0, 1.0, 40)
    builder = ResponseTableBuilder()
    for learner in range(learners):
        ability = rng.normal(0, 0.7)
        for item in rng.permutation(40)[:30]:
            chance = 1 / (1 + math.exp(-(0.4 + ability - difficulty[item])))
            builder.append(
                learner=f"learner-{learner:04}",
                item=f"item-{item:02}",
                skills=[f"skill-{item % 4}"],
                response=float(rng.random() < chance),
            )
    return builder.build()


def learning(learners: int) -> ResponseTable:
    """Responses whose chance rises with practice on one skill and falls on the other, unlike any ability."""
    rng = np.random.default_rng(1)
    builder = ResponseTableBuilder()
    for learner in range(learners):
        ability, met = rng.normal(0, 0.5), {"learnt": 0, "forgotten": 0}
        for _ in range(20):
            skill = ("learnt", "forgotten")[rng.integers(2)]
            logit = ability + (0.4 * met[skill] - 1.5 if skill == "learnt" else 1.5 - 0.4 * met[skill])
            response = float(rng.random() < 1 / (1 + math.exp(-logit)))
            builder.append(learner=f"l{learner:04}", item=f"i{rng.integers(9)}", skills=[skill], response=response)
            met[skill] += 1
    return builder.build()


def test_responses_without_item_or_skills_are_fitted_too():
    builder = ResponseTableBuilder()
    for number in range(30):
        builder.append(learner=f"l{number}", item="", skills=[], response=1.0 if number % 3 else 0.0)
    fitted = fit_tracing(builder.build(), seed=1)
    assert fitted.parameters.items == {}
    # Two thirds are right of learners and items of whom nothing is known.
    settings = fitted.parameters.settings
    unknown = settings.learner_variance + settings.item_difficulty_variance
    assert chance_of_success(settings.base, unknown) == pytest.approx(2 / 3, abs=0.03)


@pytest.mark.parametrize("response", [0.0, 1.0])
def test_a_log_of_one_outcome_only_gives_finite_numbers_and_no_auc(response):
    builder = ResponseTableBuilder()
    for number in range(200):
        builder.append(learner=f"l{number % 40:02}", item=f"i{number % 7}", skills=["s"], response=response)
    fitted = fit_tracing(builder.build(), seed=1)
    assert all(math.isfinite(entry.mean) for entry in fitted.parameters.items.values())
    assert "tracing_auc" not in fitted.metrics
    assert math.isfinite(fitted.metrics["tracing_log_loss"])


def test_an_empty_table_gives_the_priors():
    fitted = fit_tracing(ResponseTableBuilder().build(), seed=1)
    assert fitted.parameters.settings == UNFITTED
    assert fitted.metrics == {}


def test_the_same_responses_and_seed_give_the_same_parameters():
    table = simulated(80)
    first, second = fit_tracing(table, seed=3), fit_tracing(table, seed=3)
    assert first.parameters == second.parameters
    assert (first.metrics, first.hyperparameters) == (second.metrics, second.hyperparameters)
    assert (first.success is None) == (second.success is None)
    assert first.hyperparameters["tracing_settings_searched"] == 1
    assert fit_tracing(table, seed=4).metrics != first.metrics


def test_few_responses_are_fitted_with_the_default_constants():
    table = simulated(15)
    fitted = fit_tracing(table, seed=1)
    assert fitted.parameters.settings.learner_variance == FilterSettings().learner_variance
    assert fitted.hyperparameters["tracing_settings_searched"] == 0


def test_learners_for_fitting_searching_and_reporting_are_different(monkeypatch):
    table = simulated(120)
    seen = {}

    def search(table, **_):
        seen["searched"] = set(table.learner)
        return FilterSettings()

    def success_model(table, *_, **__):
        seen.setdefault("success", set(table.learner))
        return success_fit.fit_success(table, FilterSettings(), seed=1)

    def report(forecasts, _share):
        seen.setdefault("reported", {learner for each in forecasts for learner in each.learner.tolist()})
        return {"tracing_log_loss": 0.0}

    monkeypatch.setattr(tracing_fit, "search_settings", search)
    monkeypatch.setattr(forecasts, "fit_success", success_model)
    monkeypatch.setattr(tracing_fit, "_metrics", report)
    tracing_fit.fit_tracing(table, seed=1)
    assert sorted([*seen["searched"], *seen["reported"]]) == np.flatnonzero(~redundant(table)).tolist()
    assert min(len(learners) for learners in seen.values()) > 10
    assert not seen["success"] & seen["reported"]


@pytest.mark.parametrize(("enough", "judged"), [(10_000, 120), (1_000, 24)])
def test_the_form_is_chosen_on_a_fifth_of_the_learners_and_on_all_with_few_responses(monkeypatch, enough, judged):
    found: set[int] = set()

    def recorded(table, features, success_model):
        found.update(table.learner.tolist())
        return predict_success(table, features, success_model)

    monkeypatch.setattr(success_fit, "predict_success", recorded)
    monkeypatch.setattr(success_fit, "_ENOUGH_FOR_ONE_FOLD", enough)
    success_fit.fit_success(simulated(120), FilterSettings(), seed=1)
    assert len(found) == pytest.approx(judged, rel=0 if judged == 120 else 0.4)


def test_the_success_model_is_kept_only_if_it_helps():
    helped = fit_tracing(learning(300), seed=1)
    assert helped.success is not None
    assert helped.metrics["tracing_log_loss"] < helped.metrics["filter_log_loss"] < helped.metrics["base_rate_log_loss"]
    assert helped.hyperparameters["success_skill_penalty"] > 0
    coins = ResponseTableBuilder()
    rng = np.random.default_rng(7)
    for number in range(3_000):
        coins.append(
            learner=f"l{number % 60:02}", item=f"i{number % 5}", skills=["s"], response=float(rng.random() < 0.5)
        )
    fitted = fit_tracing(coins.build(), seed=1)
    assert fitted.success is None
    assert "filter_log_loss" not in fitted.metrics


def forecasts_of(known: list[float], new: list[float]) -> Forecasts:
    """Three right responses of four per learner, of which the filter expects half, with logits of the success model."""
    responses = np.tile([1.0, 1.0, 1.0, 0.0], len(known))
    half = np.full(len(responses), 0.5)
    of_known, of_new = (1 / (1 + np.exp(-np.repeat(logits, 4))) for logits in (known, new))
    return Forecasts(
        learner=np.repeat(np.arange(len(known)), 4).astype(np.int32),
        response=responses.astype(np.float32),
        base_rate=0.5,
        known=Pair(half, of_known),
        new=Pair(half, of_new),
        has_item=np.ones(len(responses), np.bool_),
    )


def test_the_success_model_gets_the_share_of_the_logit_that_predicts_held_out_learners_best():
    # The logit of 3 in 4 is log 3. All learners gain the same, so the gain has no error.
    logits = [2 * math.log(3)] * 6
    assert share_of_success_model([forecasts_of(logits, logits)]) == pytest.approx(0.5, abs=0.002)
    assert share_of_success_model([forecasts_of([math.log(3)] * 6, logits)]) == pytest.approx(1.0, abs=0.002)


def test_a_gain_that_may_be_chance_shrinks_the_share_to_nothing():
    logits = [math.log(3)] * 6
    few_gain = [2.0, 2.0, 0.9, -0.9, -0.9, 0.9]
    shares = [share_of_success_model([forecasts_of(known, logits)]) for known in (logits, few_gain, [-1.0] * 6)]
    assert shares[0] > 0.99
    assert 0.0 <= shares[1] < 0.5
    assert shares[2] == 0.0


def test_what_predicts_new_items_worse_than_the_filter_gets_no_more_than_the_share_best_for_them():
    logits = [math.log(3)] * 6
    assert share_of_success_model([forecasts_of(logits, [10 * math.log(3)] * 6)]) == pytest.approx(0.1, abs=0.002)
    assert share_of_success_model([forecasts_of(logits, [-0.1] * 6)]) == 0.0
    no_items = dataclasses.replace(forecasts_of(logits, [-0.1] * 6), has_item=np.zeros(24, np.bool_))
    assert share_of_success_model([no_items]) > 0.99


def test_a_model_shrunk_to_a_share_has_that_share_of_the_logit_and_the_filter_has_the_rest():
    table = simulated(40)
    difficulties = fit_difficulties(table, FilterSettings())
    features = success_features(table, difficulties)
    found, _ = success_fit.fit_success(table, FilterSettings(), seed=1)
    by_filter, by_success = predict(table, difficulties), predict_success(table, features, found)
    for share in (0.0, 0.3, 1.0):
        logit = share * np.log(by_success / (1 - by_success)) + (1 - share) * np.log(by_filter / (1 - by_filter))
        within = (by_filter > 0.05) & (by_filter < 0.95)
        shrunk = predict_success(table, features, found.shrunk(share))
        np.testing.assert_allclose(shrunk[within], 1 / (1 + np.exp(-logit[within])), atol=0.01)
        np.testing.assert_allclose(Pair(by_filter, by_success).chance(share), 1 / (1 + np.exp(-logit)), rtol=1e-9)


def test_items_are_held_out_in_tenths_that_depend_on_their_ids():
    table = simulated(20)
    found = item_folds(table, 1)
    tenth_of_item = dict(zip(table.item.tolist(), found.tolist(), strict=True))
    assert [tenth_of_item[item] for item in table.item.tolist()] == found.tolist()
    assert set(tenth_of_item.values()) <= set(range(10))
    assert len(set(tenth_of_item.values())) > 5
    fewer = table.rows(table.item < 30)
    np.testing.assert_array_equal(item_folds(fewer, 1), found[table.item < 30])


def test_no_items_are_held_out_of_few_and_responses_to_none_are_in_no_tenth():
    assert set(item_folds(learning(10), 1).tolist()) == {NONE}
    table = simulated(20)
    nowhere = dataclasses.replace(table, item=np.full(len(table), NONE, np.int32))
    assert set(item_folds(nowhere, 1).tolist()) == {NONE}


def test_progress_rises_to_the_total():
    steps = []
    fit_tracing(learning(120), seed=1, advance=lambda done, total: steps.append((done, total)))
    assert steps == sorted(steps)
    assert steps[-1][0] == steps[-1][1]


def distinct(learners: int) -> ResponseTable:
    """Simulated responses without the learners that are near-identical by chance."""
    table = simulated(learners)
    return table.as_if_only(~redundant(table))


def with_twin(table: ResponseTable, twin: str) -> ResponseTable:
    """The same responses, and those of the first learner once more under another id, without the last one."""
    builder = ResponseTableBuilder()
    rows = [*range(len(table)), *np.flatnonzero(table.learner == 0)[:-1].tolist()]
    for number, row in enumerate(rows):
        skills = table.skill[table.skill_start[row] : table.skill_start[row + 1]]
        builder.append(
            learner=table.learners[table.learner[row]] if number < len(table) else twin,
            item=table.items[table.item[row]],
            skills=[table.skills[skill] for skill in skills],
            response=float(table.response[row]),
        )
    return builder.build()


@pytest.mark.parametrize("learners", [30, 80])
def test_nothing_is_chosen_or_reported_with_the_twin_of_a_learner(learners):
    table = distinct(learners)
    alone, together = fit_tracing(table, seed=3), fit_tracing(with_twin(table, "zz"), seed=3)
    assert together.metrics == alone.metrics
    # The base is fitted to all responses.
    base = together.parameters.settings.base
    assert base != alone.parameters.settings.base
    assert together.parameters.settings == dataclasses.replace(alone.parameters.settings, base=base)
    assert [found.hyperparameters["tracing_twins"] for found in (alone, together)] == [0, 1]
