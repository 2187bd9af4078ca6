"""The success model: the same features live and in bulk, and weights that recover known effects."""

from __future__ import annotations

import dataclasses
import math
import struct

import numpy as np
import pytest

from services.recommender.domain.learner.batch import LearnerEvents
from services.recommender.domain.learner.events import AssessmentEvent, Grain
from services.recommender.domain.learner.fold import LearnerFold
from services.recommender.domain.learner.item_pairs import NO_PAIRS, ItemPairs
from services.recommender.domain.learner.parameters import FilterSettings, TracingParameters
from services.recommender.domain.learner.record import NEW_LEARNER
from services.recommender.domain.learner.state import decode_state, encode_state
from services.recommender.domain.learner.success_features import SHARED_FEATURES
from services.recommender.domain.learner.success_model import SuccessModel
from services.recommender.domain.training.metrics import log_loss
from services.recommender.domain.training.responses import ResponseTable, ResponseTableBuilder
from services.recommender.models.tracing.difficulty_fit import Difficulties, fit_difficulties, parameters_of, predict
from services.recommender.models.tracing.pair_fit import fit_item_pairs
from services.recommender.models.tracing.success_fit import (
    SuccessChoice,
    fit_success,
    fit_weights,
    predict_success,
)
from services.recommender.models.tracing.success_table import success_features
from tests.learners import Ability, filter_chance, learner_state, served_success, success_chance

SETTINGS = FilterSettings(learner_variance=1.2, skill_variance=0.4)


def responses(
    learners: int, *, each: int = 12, seed: int = 1, timed: bool = False, three_skills: bool = False
) -> ResponseTable:
    """Responses whose chance rises with every response to the skill `learnt` and stays constant on `static`."""
    rng = np.random.default_rng(seed)
    builder = ResponseTableBuilder()
    tags = [["learnt"], ["static"], ["learnt", "static"], ["static", "other", "learnt"]][: 4 if three_skills else 3]
    for learner in range(learners):
        ability, met, at_s = rng.normal(0, 0.5), {"learnt": 0, "static": 0, "other": 0}, 1_700_000_000
        for _ in range(each):
            skills = tags[rng.integers(len(tags))]
            item = "" if rng.random() < 0.1 else f"i{rng.integers(9)}"
            logit = ability - 1 + (0.6 * met["learnt"] if "learnt" in skills else 1.0)
            builder.append(
                learner=f"l{learner:04}",
                item=item,
                skills=skills,
                response=float(rng.random() < 1 / (1 + math.exp(-logit))),
                at_s=at_s if timed and rng.random() < 0.8 else 0,
            )
            at_s += int(rng.exponential(20_000)) * int(rng.random() < 0.7) - int(rng.random() < 0.1) * 9_000
            for skill in skills:
                met[skill] += 1
    return builder.build()


def form(penalty: float, *, products: bool = False) -> SuccessChoice:
    return SuccessChoice(clocks=False, products=products, skill_penalty=penalty, log_loss=math.nan)


def no_weights(pairs: ItemPairs) -> SuccessModel:
    width = len(SHARED_FEATURES)
    return SuccessModel(np.zeros((width, width)), np.zeros((2, width)), (), np.zeros((0, width)), pairs)


def served_features(state, item, skills, parameters, at_s=0, pairs=NO_PAIRS) -> np.ndarray:
    """The features that a server computes for a learner's next response to an item."""
    predicted = np.array([filter_chance(state, item, skills, parameters)])
    served = served_success(no_weights(pairs), state, item, skills, parameters, at_s)
    return served.features(np.zeros(1, np.intp), predicted)[0]


def kept(difficulties: Difficulties) -> Difficulties:
    """The difficulties as stored in a bundle: in float32."""
    numbers = (difficulties.item_mean, difficulties.item_variance, difficulties.skill_mean, difficulties.skill_variance)
    return Difficulties(difficulties.settings, *(values.astype(np.float32).astype(np.float64) for values in numbers))


@pytest.mark.parametrize("graded", [False, True])
def test_training_and_serving_compute_the_same_features_bit_for_bit(graded):
    table = responses(12, timed=True, three_skills=True)
    if graded:
        response = np.random.default_rng(3).random(len(table)).astype(np.float32)
        table = dataclasses.replace(table, response=response)
    difficulties = kept(fit_difficulties(table, SETTINGS))
    pairs = fit_item_pairs(table, difficulties)
    features = success_features(table, difficulties, pairs)
    assert (features.std(axis=0)[1:] > 0).all()
    parameters = dataclasses.replace(parameters_of(table, difficulties), recent_items=True)
    fold = LearnerFold(TracingParameters("fitted", {"t": parameters}))
    for number in range(len(table.learners)):
        stored, state = NEW_LEARNER, None
        for row in np.flatnonzero(table.learner == number):
            entries = slice(table.skill_start[row], table.skill_start[row + 1])
            skills = [table.skills[skill] for skill in table.skill[entries]]
            item = table.items[table.item[row]] if table.item[row] >= 0 else ""
            at_s = int(table.at_s[row])
            found = served_features(state, item, skills, parameters, at_s, pairs)
            assert dict(zip(SHARED_FEATURES, found, strict=True)) == dict(
                zip(SHARED_FEATURES, features[row], strict=True)
            )
            response = float(table.response[row])
            event = AssessmentEvent(struct.pack("<Q", row), response, at_s, item, "", tuple(skills), Grain.ITEM, "")
            stored = fold.fold([LearnerEvents("t", stored, [(int(row), event)])])[0].stored
            state = decode_state(encode_state(stored.state))


@pytest.mark.parametrize("products", [False, True])
def test_the_chance_of_one_response_equals_the_chance_in_bulk(products):
    table = responses(40)
    difficulties = fit_difficulties(table, SETTINGS)
    features = success_features(table, difficulties)
    success_model = fit_weights(table, features, form(8.0, products=products))
    parameters = parameters_of(table, difficulties)
    first = int(np.flatnonzero(np.diff(table.learner, prepend=-1))[3])
    skills = [table.skills[k] for k in table.skill[table.skill_start[first] : table.skill_start[first + 1]]]
    item = table.items[table.item[first]] if table.item[first] >= 0 else ""
    chance = predict_success(table, features, success_model)[first]
    assert success_chance(success_model, None, item, skills, parameters) == pytest.approx(chance, abs=1e-5)


def test_the_success_model_finds_what_the_filter_cannot_express():
    table = responses(400)
    known = np.arange(len(table.learners)) < 300
    fitted_on, new = table.of_learners(known), table.of_learners(~known)
    difficulties = fit_difficulties(fitted_on, SETTINGS)
    success_model, _ = fit_success(fitted_on, SETTINGS, seed=1)
    by_success_model = predict_success(new, success_features(new, difficulties), success_model)
    assert log_loss(new.response, by_success_model) < log_loss(new.response, predict(new, difficulties)) - 0.01
    own = dict(zip(success_model.skills, success_model.per_skill, strict=True))
    practice = SHARED_FEATURES.index("skill_successes")
    assert own["learnt"][practice] > own["static"][practice]


@pytest.mark.parametrize("products", [False, True])
def test_weights_are_those_of_the_least_penalised_loss(products):
    table = responses(60)
    features = success_features(table, fit_difficulties(table, SETTINGS))
    success_model = fit_weights(table, features, form(1e-3, products=products))
    best = log_loss(table.response, predict_success(table, features, success_model))
    rng = np.random.default_rng(0)
    for _ in range(20):
        moves = np.zeros_like(success_model.products)
        moves[0] = rng.normal(0, 0.3, len(SHARED_FEATURES))
        shared = dataclasses.replace(success_model, products=success_model.products + moves)
        own = dataclasses.replace(
            success_model, per_skill=success_model.per_skill + rng.normal(0, 0.1, success_model.per_skill.shape)
        )
        for moved in (shared, own):
            assert log_loss(table.response, predict_success(table, features, moved)) > best


def test_nearly_identical_features_do_not_break_the_fit():
    rng = np.random.default_rng(0)
    rows = 8_000
    known, rare = rng.normal(size=rows), np.zeros(rows)
    rare[rng.choice(rows, 20, replace=False)] = 1.0 + rng.random(20)
    builder = ResponseTableBuilder()
    for row in range(rows):
        right = float(rng.random() < 1 / (1 + math.exp(-known[row])))
        builder.append(learner=f"l{row:04}", item="i", skills=["s"], response=right)
    table = builder.build()
    features = np.column_stack([known, rare]) @ rng.normal(size=(2, len(SHARED_FEATURES)))
    features[:, 0], features[:, 1:8] = 1.0, np.outer(rare, np.arange(1, 8))

    success_model = fit_weights(
        table, features, SuccessChoice(clocks=True, products=True, skill_penalty=8.0, log_loss=math.nan)
    )
    found = log_loss(table.response, predict_success(table, features, success_model))
    assert found < log_loss(table.response, 1 / (1 + np.exp(-known))) + 0.002


def test_products_of_features_get_weights_only_if_they_predict_better():
    rng = np.random.default_rng(2)
    alone, together = ResponseTableBuilder(), ResponseTableBuilder()
    for number in range(6_000):
        learner, item = f"l{number % 300:03}", f"i{rng.integers(40):02}"
        met = number // 300
        # The effect of practice depends on the difficulty of the item, or does not.
        for builder, logit in ((alone, 0.1 * met), (together, 0.3 * met * (1 if item < "i20" else -1))):
            response = float(rng.random() < 1 / (1 + math.exp(1 - logit)))
            builder.append(learner=learner, item=item, skills=["s"], response=response)
    _, chosen_alone = fit_success(alone.build(), SETTINGS, seed=1)
    _, chosen_together = fit_success(together.build(), SETTINGS, seed=1)
    assert (chosen_alone.products, chosen_together.products) == (False, True)


def test_a_feature_beyond_the_fitted_range_is_clipped():
    table = responses(60)
    difficulties = fit_difficulties(table, SETTINGS)
    success_model = fit_weights(table, success_features(table, difficulties), form(8.0, products=True))
    parameters = parameters_of(table, difficulties)
    chances = []
    for mean in (50.0, 500.0):
        state = learner_state({"elsewhere": Ability(attempts=1_000)}, mean=mean)
        chances.append(success_chance(success_model, state, "i1", [], parameters))
    assert chances[0] == pytest.approx(chances[1])


def test_a_skill_without_evidence_counts_as_never_met():
    table = responses(20)
    parameters = parameters_of(table, fit_difficulties(table, SETTINGS))
    met = learner_state({"learnt": Ability(attempts=0, successes=0.0, mean=0.0, variance=SETTINGS.skill_variance)})
    found = served_features(met, "i1", ["learnt"], parameters)
    new = learner_state({})
    expected = served_features(new, "i1", ["learnt"], parameters)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_an_item_without_a_fitted_difficulty_has_a_feature_of_its_own():
    table = responses(20)
    parameters = parameters_of(table, kept(fit_difficulties(table, SETTINGS)))
    unfitted = SHARED_FEATURES.index("item_unfitted")
    found = [served_features(None, item, ["learnt"], parameters)[unfitted] for item in ("i1", "added later", "")]
    assert found == [0.0, 1.0, 1.0]


def test_difficulties_of_items_without_responses_are_not_kept():
    table = responses(20)
    known = table.item != table.items.index("i3")
    parameters = parameters_of(table.rows(known), fit_difficulties(table.rows(known), SETTINGS))
    assert set(parameters.items) == set(table.items) - {"i3"}


def test_a_stronger_penalty_gives_smaller_weights_per_skill():
    table = responses(60)
    features = success_features(table, fit_difficulties(table, SETTINGS))
    loose, tight = (fit_weights(table, features, form(penalty)) for penalty in (1.0, 100.0))
    assert np.abs(tight.per_skill).sum() < np.abs(loose.per_skill).sum()


def test_skills_with_few_responses_have_no_weights_of_their_own():
    builder = ResponseTableBuilder()
    for number in range(200):
        builder.append(learner=f"l{number % 20}", item="i", skills=["common"], response=float(number % 3 > 0))
    builder.append(learner="l1", item="i", skills=["rare"], response=1.0)
    success_model, _ = fit_success(builder.build(), SETTINGS, seed=1)
    assert success_model.skills == ("common",)


def test_a_table_without_skills_is_fitted_by_shared_weights_alone():
    builder = ResponseTableBuilder()
    for number in range(200):
        builder.append(learner=f"l{number % 20}", item=f"i{number % 4}", skills=[], response=float(number % 4 > 0))
    success_model, _ = fit_success(builder.build(), SETTINGS, seed=1)
    assert success_model.skills == ()
    assert isinstance(success_model, SuccessModel)
    parameters = parameters_of(builder.build(), fit_difficulties(builder.build(), SETTINGS))
    assert success_chance(success_model, None, "i0", [], parameters) < 0.6
