"""Fitting collaborative filtering."""

from __future__ import annotations

import numpy as np
import pytest

from services.recommender.application.training.train import TooFewPositivesError
from services.recommender.domain.training.positives import Positives, positives_of
from services.recommender.domain.training.responses import ResponseTableBuilder
from services.recommender.models.collaborative.als import AlsModel
from services.recommender.models.collaborative.als_fit import AlsSettings, factors_for, fit_als


def two_groups(*, learners: int = 30, resources: int = 12, seed: int = 2) -> Positives:
    """Half of the learners work on three quarters of the resources a..., the other half on those of b..."""
    rng = np.random.default_rng(seed)
    builder = ResponseTableBuilder()
    for learner in range(2 * learners):
        group = "ab"[learner % 2]
        for resource in rng.permutation(resources)[: resources * 3 // 4]:
            builder.append(learner=f"l{learner:03}", item="", skills=[], response=1.0, resource=f"{group}{resource:02}")
    return positives_of(builder.build())


def fitted(positives: Positives, seed: int = 1) -> AlsModel:
    return AlsModel.from_arrays(fit_als(positives, AlsSettings(), seed=seed).model)


@pytest.mark.parametrize("group", ["a", "b"])
def test_a_learner_of_one_group_gets_the_resources_of_that_group_first(group):
    model = fitted(two_groups())
    history = [f"{group}00", f"{group}01", f"{group}02"]
    scores = dict(zip(model.resources, model.scores(history), strict=True))
    ranked = sorted((resource for resource in scores if resource not in history), key=lambda r: -scores[r])
    assert {resource[0] for resource in ranked[:9]} == {group}
    assert min(scores[r] for r in ranked[:9]) > 5 * max(abs(scores[r]) for r in ranked[9:])


def test_the_same_positives_and_seed_give_the_same_bytes():
    positives = two_groups()
    first, second = (fit_als(positives, AlsSettings(), seed=9).model.arrays["factors"] for _ in range(2))
    assert first.tobytes() == second.tobytes()
    assert first.tobytes() != fit_als(positives, AlsSettings(), seed=8).model.arrays["factors"].tobytes()


def test_resources_of_learners_with_a_single_positive_are_left_out():
    builder = ResponseTableBuilder()
    positives = two_groups()
    for number, learner in enumerate(positives.learners):
        for resource in positives.resource[positives.start[number] : positives.start[number + 1]]:
            builder.append(learner=learner, item="", skills=[], response=1.0, resource=positives.resources[resource])
    builder.append(learner="lonely", item="", skills=[], response=1.0, resource="only-here")
    model = fitted(positives_of(builder.build()))
    assert model.resources == fitted(positives).resources


def test_too_little_data_is_an_error_with_actual_and_required_counts():
    with pytest.raises(TooFewPositivesError, match="6 learners with at least 2 resources, 24 resources; 20 and 10"):
        fit_als(two_groups(learners=3), AlsSettings(), seed=1)
    with pytest.raises(TooFewPositivesError, match="0 learners"):
        fit_als(positives_of(ResponseTableBuilder().build()), AlsSettings(), seed=1)


@pytest.mark.parametrize(
    ("learners", "resources", "factors"), [(20, 10, 4), (300, 80, 20), (5_000, 17_000, 64), (17_000, 100, 25)]
)
def test_factors_shrink_with_the_data(learners, resources, factors):
    assert factors_for(64, learners=learners, resources=resources) == factors


def test_progress_is_reported_for_each_iteration():
    steps: list[tuple[int, int]] = []
    fit_als(two_groups(), AlsSettings(iterations=3), seed=1, advance=lambda done, total: steps.append((done, total)))
    assert steps == [(1, 3), (2, 3), (3, 3)]
