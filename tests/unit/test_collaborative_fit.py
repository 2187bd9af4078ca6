"""Choosing a collaborative model by predicting what learners did next, and fitting the choice."""

from __future__ import annotations

import numpy as np
import pytest

from services.recommender.application.ports.models import CollaborativeChoice
from services.recommender.application.training.train import TooFewPositivesError
from services.recommender.domain.training.positives import positives_of
from services.recommender.domain.training.responses import ResponseTable, ResponseTableBuilder
from services.recommender.models.collaborative import fit as collaborative_fit
from services.recommender.models.collaborative.als import AlsModel
from services.recommender.models.collaborative.als_fit import AlsSettings
from services.recommender.models.collaborative.fit import choose_collaborative, fit_collaborative
from services.recommender.models.collaborative.neighbours import ItemItemModel


def in_order(learners: int, *, resources: int = 40) -> ResponseTable:
    """Return learners who work through resources in order, each from its own start: the next one is predictable."""
    rng = np.random.default_rng(4)
    builder = ResponseTableBuilder()
    for learner in range(learners):
        first = int(rng.integers(resources - 25))
        for resource in range(first, first + 25):
            builder.append(
                learner=f"l{learner:03}", item="", skills=[], response=1.0, resource=f"r{resource:03}"
            )  # fmt: skip
    return builder.build()


def test_if_resources_follow_an_order_the_sequential_model_is_chosen():
    steps = []
    choice = choose_collaborative(in_order(80), seed=1, advance=lambda *step: steps.append(step))
    assert choice is not None
    assert choice.family == "sequential"
    assert set(choice.measures) >= {"als", "ease", "item_knn", "rp3beta", "sequential"}
    assert choice.measures["sequential"] == max(choice.measures.values())
    done = [step[1:] for step in steps if step[0] == "choosing a model"]
    assert done == sorted(done)
    assert done[-1][0] == done[-1][1]
    # The memory that EASE needs is reported before it is tried.
    named = [step[0] for step in steps]
    memory = next(place for place, name in enumerate(named) if name.startswith("ease, 0.00 GiB for "))
    assert steps[memory + 1] == ("choosing a model", named[:memory].count("choosing a model"), done[-1][1])
    assert choose_collaborative(in_order(80), seed=1) == choice


def test_too_few_learners_to_compare_models_give_no_choice():
    assert choose_collaborative(in_order(10), seed=1) is None


@pytest.mark.parametrize("family", collaborative_fit._SERVABLE)
def test_every_eligible_family_can_be_stored_in_a_bundle_and_scores_as_before(family):
    positives = positives_of(in_order(60))
    grid = collaborative_fit.FAMILIES[family].grid
    choice = CollaborativeChoice(family, grid[0], {family: 0.1}, {}, 1)
    fitted = fit_collaborative(positives, choice=choice, default=AlsSettings(), seed=1)
    kind = AlsModel if fitted.model.kind == "als" else ItemItemModel
    history = ["r010", "r011"]
    scores = kind.from_arrays(fitted.model).scores(history)
    assert scores.shape == (len(fitted.model.resources),)
    assert scores.max() > 0
    assert all(name.startswith(family) for name in fitted.hyperparameters)


def test_a_learner_and_their_twin_count_once_in_the_choice():
    def of_learners(*, twin: bool) -> ResponseTable:
        rng = np.random.default_rng(8)
        builder = ResponseTableBuilder()
        for learner in range(30):
            answers = [(f"r{item:02}", float(rng.random() < 0.6)) for item in rng.permutation(60)[:30].tolist()]
            for name in (f"l{learner:02}", *(["twin"] if twin and not learner else [])):
                for item, response in answers[: 29 if name == "twin" else 30]:
                    builder.append(learner=name, item=item, skills=["s"], response=response, resource=item)
        return builder.build()

    alone, together = (choose_collaborative(of_learners(twin=twin), seed=1) for twin in (False, True))
    assert alone is not None
    assert together is not None
    assert together.measures == pytest.approx(alone.measures)


def test_without_a_choice_the_default_is_fitted_and_too_little_data_is_refused():
    assert fit_collaborative(positives_of(in_order(60)), choice=None, default=AlsSettings(), seed=1).model.kind == "als"
    with pytest.raises(TooFewPositivesError):
        fit_collaborative(positives_of(in_order(3)), choice=None, default=AlsSettings(), seed=1)
