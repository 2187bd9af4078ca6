"""The recall model: its laws, what it recovers of simulated memories, and that serving computes what was fitted."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.recommender.domain.learner.kernel import EVENT_RECORD, EVENT_SKILL_RECORD, fold_responses
from services.recommender.domain.learner.parameter_columns import settings_row
from services.recommender.domain.learner.parameters import FilterSettings
from services.recommender.domain.learner.recall import RECALL_FEATURES, RecallFeature, RecallModel, index_recall_model
from services.recommender.domain.learner.state import LEARNER_RECORD, RECENT_ITEM_RECORD, RECENT_ITEMS, SKILL_RECORD
from services.recommender.domain.training.responses import ResponseTable, ResponseTableBuilder
from services.recommender.evaluation.reason_recall import recall_of
from services.recommender.models.tracing.difficulty_fit import fit_difficulties
from services.recommender.models.tracing.fsrs import Fsrs
from services.recommender.models.tracing.recall_fit import fit_recall, later_responses, predict_recall
from tests.learners import Ability, learner_state

DAY_S, HOUR_S = 86_400, 3_600
BEGAN_S = 1_700_000_000
SETTINGS = FilterSettings()
# Stored numbers have 24 bits.
PRECISION = 1e-5

weights = st.lists(st.floats(0.0, 2.0), min_size=len(RECALL_FEATURES), max_size=len(RECALL_FEATURES))
marks = st.lists(st.sampled_from([0.0, 0.0, 0.4, 1.0, 1.0]), min_size=1, max_size=20)


def model_of(weights, *, intercept=0.0) -> RecallModel:
    return RecallModel(intercept, np.array(weights, np.float64), ("k",), np.array([0.3]))


def fold(learner, records, events, event_skills, settings, items, skills) -> None:
    """Fold events into one learner, whose recent items are not kept."""
    none, recent_items = np.zeros(1, np.int64), np.zeros((1, RECENT_ITEMS), RECENT_ITEM_RECORD)
    codes = np.zeros(len(items), np.uint32)
    fold_responses(learner, recent_items, records, none, none, events, event_skills, settings, items, skills, codes)


def folded(marks, *, then=()) -> tuple[np.ndarray, np.ndarray]:
    """The records of a learner after answers on one skill, a minute apart."""
    given = [*marks, *then]
    learner, records = np.zeros(1, LEARNER_RECORD), np.zeros(1, SKILL_RECORD)
    learner["variance"], records["variance"] = SETTINGS.learner_variance, SETTINGS.skill_variance
    events, event_skills = np.zeros(len(given), EVENT_RECORD), np.zeros(len(given), EVENT_SKILL_RECORD)
    events["response"], events["at_s"] = given, BEGAN_S + 60 * np.arange(len(given))
    events["evidence"], events["skills"] = 1, 1
    hard = np.array([[0.5, 0.2]])
    fold(learner, records, events, event_skills, np.array([settings_row(SETTINGS)]), hard, hard)
    return learner, records


def recall(model, learner, records, as_of_s) -> float:
    catalog = index_recall_model(model, {"k": 0}, np.array([0.4]))
    return float(catalog.of(np.zeros(1, np.intp), records, float(learner["mean"][0]), as_of_s)[0])


@given(weights, marks, st.floats(8.0, 20_000.0), st.floats(0.0, 20_000.0))
def test_recall_never_rises_with_time(weights, marks, hours, more_hours):
    learner, records = folded(marks)
    began_s = BEGAN_S + 1_200
    soon = recall(model_of(weights), learner, records, began_s + hours * HOUR_S)
    late = recall(model_of(weights), learner, records, began_s + (hours + more_hours) * HOUR_S)
    assert 0.0 <= late <= soon <= 1.0


@given(weights, marks, st.floats(9.0, 20_000.0))
def test_a_right_answer_never_lowers_what_is_expected_at_any_later_moment(weights, marks, hours):
    as_of_s = BEGAN_S + hours * HOUR_S
    before = recall(model_of(weights), *folded(marks), as_of_s)
    after = recall(model_of(weights), *folded(marks, then=[1.0]), as_of_s)
    assert after >= before - PRECISION


def test_there_is_no_recall_on_the_same_day_without_a_time_and_without_answers():
    model, last_s = model_of([0.5] * 6), BEGAN_S
    learner, records = folded([1.0])
    assert math.isnan(recall(model, learner, records, last_s + 7.9 * HOUR_S))
    assert not math.isnan(recall(model, learner, records, last_s + 8 * HOUR_S))
    unknown = records.copy()
    unknown["last_at_s"] = 0
    assert math.isnan(recall(model, learner, unknown, last_s + DAY_S))
    unanswered = records.copy()
    unanswered["attempts"] = 0
    assert math.isnan(recall(model, learner, unanswered, last_s + DAY_S))


@given(weights, marks, st.floats(-5.0, 5.0), st.floats(0.0, 10_000.0))
def test_the_second_computation_of_recall_agrees(weights, marks, intercept, hours):
    """The one that reasons are checked with shares no code with the served one."""
    model, as_of_s = model_of(weights, intercept=intercept), BEGAN_S + 1_200 + hours * HOUR_S
    learner, records = folded(marks)
    state = dataclasses.replace(learner_state({"k": Ability()}), mean=float(learner["mean"][0]))
    second = recall_of(model, state, lambda _skill: (0.4, 0.0), as_of_s)
    record = dict(zip(SKILL_RECORD.names, map(float, records[0].tolist()), strict=True))
    found, expected = recall(model, learner, records, as_of_s), second("k", record)
    assert math.isnan(found) if expected is None else found == pytest.approx(expected, abs=1e-9)


def remembered(*, learners=120, skills=6, falls_by=0.7, seed=3) -> ResponseTable:
    """Learners learn each skill until five answers in a row are right, and are asked once more after a break.

    The odds of recall are e^1.6 one moment after and fall with the power `falls_by` of 1 + days.
    """
    rng, builder = np.random.default_rng(seed), ResponseTableBuilder()
    for learner in range(learners):
        answers = []
        for skill in range(skills):
            began_s = BEGAN_S + int(rng.integers(0, 5 * DAY_S))
            answers += [(began_s + 60 * number, skill, 1.0) for number in range(5)]
            days = float(rng.choice([1, 2, 4, 8, 16, 32, 64]))
            chance = 1.0 / (1.0 + math.exp(-(1.6 - falls_by * math.log1p(days))))
            answers.append((began_s + 240 + int(days * DAY_S), skill, float(rng.random() < chance)))
        for at_s, skill, mark in sorted(answers):
            builder.append(learner=f"l{learner:03}", item=f"i{skill}", skills=[f"k{skill}"], response=mark, at_s=at_s)
    return builder.build()


def test_a_fit_recovers_how_long_simulated_learners_remember():
    table = remembered()
    fitted = fit_recall(table, SETTINGS, seed=1)
    assert fitted.model is not None
    assert fitted.metrics["recall_responses"] == 720
    assert fitted.metrics["recall_log_loss"] < fitted.metrics["recall_filter_log_loss"]
    later = later_responses(table, fit_difficulties(table, SETTINGS))
    chance = predict_recall(later, table.skills, fitted.model)
    days = np.expm1(-later.features[:, RecallFeature.ELAPSED])
    found = {day: float(chance[np.abs(days - day) < 0.5].mean()) for day in (1, 8, 64)}
    # One half is forgotten after e^(1.6 / .7) - 1 = 8.8 days.
    assert found == pytest.approx({day: 1 / (1 + math.exp(-1.6) * (1 + day) ** 0.7) for day in found}, abs=0.06)
    assert (fitted.model.weights >= 0.0).all()


def test_no_recall_model_is_served_where_nothing_is_forgotten_or_nothing_can_be_known():
    table = remembered()
    assert fit_recall(dataclasses.replace(table, at_s=np.zeros_like(table.at_s)), SETTINGS, seed=1) == (None, {})
    few = fit_recall(table.of_learners(np.arange(len(table.learners)) < 12), SETTINGS, seed=1)
    assert few == (None, {"recall_responses": 72})
    by_chance = dataclasses.replace(
        table, response=np.random.default_rng(5).integers(0, 2, len(table)).astype(np.float32)
    )
    assert fit_recall(by_chance, SETTINGS, seed=1).model is None
    # The filter is far from these, but time makes no difference.
    unforgotten = fit_recall(remembered(falls_by=0.0), SETTINGS, seed=1)
    assert unforgotten.model is None
    assert unforgotten.metrics["recall_log_loss"] < unforgotten.metrics["recall_filter_log_loss"] - 0.02


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_no_recall_model_is_served_where_all_that_was_remembered_is_of_one_learner():
    builder = ResponseTableBuilder()
    for day in range(150):
        at_s = BEGAN_S + day * DAY_S
        builder.append(learner="l", item="i", skills=["k"], response=float(day % 3 > 0), at_s=at_s)
    for learner in range(12):
        builder.append(learner=f"m{learner}", item="i", skills=["k"], response=1.0, at_s=BEGAN_S)
    assert fit_recall(builder.build(), SETTINGS, seed=1) == (None, {"recall_responses": 149})


def test_serving_computes_what_was_fitted():
    """The features of a response in training are those of the state that serving would have had at that moment."""
    table = remembered(learners=4)
    difficulties = fit_difficulties(table, SETTINGS)
    of_skills = np.full(len(table.skills), 0.25)
    model = RecallModel(0.2, np.array([0.5, 0.8, 0.1, 0.2, 0.1, 0.3]), table.skills[:2], np.array([0.4, -0.1]))
    later = later_responses(table, difficulties, of_skills)
    trained = predict_recall(later, table.skills, model)
    items, skills = difficulties.columns()
    row_settings = np.array([settings_row(difficulties.settings)])
    catalog = index_recall_model(model, {name: slot for slot, name in enumerate(table.skills)}, skills[:, 0] + 0.25)
    for place, row in enumerate(later.rows.tolist()):
        first = int(np.searchsorted(table.learner, table.learner[row]))
        learner, records = np.zeros(1, LEARNER_RECORD), np.zeros(len(table.skills), SKILL_RECORD)
        learner["variance"], records["variance"] = SETTINGS.learner_variance, SETTINGS.skill_variance
        events, event_skills = np.zeros(row - first, EVENT_RECORD), np.zeros(row - first, EVENT_SKILL_RECORD)
        events["item"], events["response"] = table.item[first:row], table.response[first:row]
        events["at_s"], events["evidence"], events["skills"] = table.at_s[first:row], 1, 1
        event_skills["slot"] = event_skills["skill"] = table.skill[first:row]
        fold(learner, records, events, event_skills, row_settings, items, skills)
        served = catalog.of(np.arange(len(records)), records, float(learner["mean"][0]), float(table.at_s[row]))
        assert served[table.skill[row]] == pytest.approx(trained[place], abs=1e-12)


def test_a_response_counts_only_if_each_of_its_skills_was_practised_on_an_earlier_day():
    builder = ResponseTableBuilder()
    for hours, skills in (
        (0, ["a"]),
        (7, ["a"]),
        (15, ["a"]),
        (24, ["a", "b"]),
        (48, ["a", "b"]),
        (72, ["c", "a"]),
        (90, []),
    ):
        builder.append(learner="l", item="i", skills=skills, response=1.0, at_s=BEGAN_S + hours * HOUR_S)
    table = builder.build()
    assert later_responses(table, fit_difficulties(table, SETTINGS)).rows.tolist() == [2, 4]


def test_the_memory_of_fsrs_is_down_to_nine_tenths_after_its_stability_and_lasts_longer_after_each_right_answer():
    def chances(*days: float) -> np.ndarray:
        builder = ResponseTableBuilder()
        for day in days:
            builder.append(learner="l", item="i", skills=["a"], response=1.0, at_s=int(BEGAN_S + day * DAY_S))
        return Fsrs().predict(builder.build())

    # Stability after a first right answer: 3.173 days.
    assert chances(0.0, 3.173)[1] == pytest.approx(0.9, abs=1e-4)
    assert chances(0.0, 30.0)[1] < chances(0.0, 3.0)[1]
    assert chances(0.0, 3.0, 33.0)[2] > chances(0.0, 30.0)[1]
