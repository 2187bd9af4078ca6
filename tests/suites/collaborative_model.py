"""Behaviour of every collaborative model. Tests of a family inherit the suite and fit one."""

from __future__ import annotations

import numpy as np
import pytest

from services.recommender.application.ports.models import CollaborativeModel
from services.recommender.domain.training.positives import Positives, positives_of
from services.recommender.domain.training.responses import ResponseTableBuilder


def of_histories(histories: list[list[str]]) -> Positives:
    """Positives of learners with these histories."""
    builder = ResponseTableBuilder()
    for number, history in enumerate(histories):
        for resource in history:
            builder.append(learner=f"l{number:03}", item="", skills=[], response=1.0, resource=resource)
    return positives_of(builder.build())


def two_groups(*, learners: int, resources: int = 12, seed: int = 2) -> Positives:
    """Learners who work on three quarters of the resources of one of two groups, in any order."""
    rng = np.random.default_rng(seed)
    return of_histories(
        [
            [f"{'ab'[learner % 2]}{resource:02}" for resource in rng.permutation(resources)[: resources * 3 // 4]]
            for learner in range(learners)
        ]
    )


class CollaborativeModelSuite:
    """What every family of collaborative models does."""

    def fit(self, positives: Positives) -> CollaborativeModel:
        """A model of the family."""
        raise NotImplementedError

    def test_every_resource_of_the_model_has_one_float32_score(self):
        model = self.fit(two_groups(learners=20))
        scores = model.scores(["a01", "b03"])
        assert scores.dtype == np.float32
        assert scores.shape == (len(model.resources),)
        assert len(set(model.resources)) == len(model.resources)
        assert np.isfinite(scores).all()

    def test_scores_by_rows_are_the_scores_by_ids(self):
        model = self.fit(two_groups(learners=20))
        history = ["b07", "a01", "b03"]
        rows = np.array([model.resources.index(resource) for resource in history], np.intp)
        assert model.scores_of(rows).tobytes() == model.scores(history).tobytes()

    def test_fitting_twice_gives_the_same_scores_to_the_last_bit(self):
        positives = two_groups(learners=40)
        first, second = (self.fit(positives).scores(["a01", "a02"]) for _ in range(2))
        assert first.tobytes() == second.tobytes()

    def test_scoring_one_learner_does_not_change_another_s_scores(self):
        model = self.fit(two_groups(learners=20))
        before = model.scores(["a01"]).tobytes()
        model.scores(["b02", "b03"])
        assert model.scores(["a01"]).tobytes() == before


class HistoryModelSuite(CollaborativeModelSuite):
    """What every family does that reads a learner's history."""

    LEARNERS_FEW = 16
    """Fewer learners than resources; a family may need more."""

    @pytest.mark.parametrize("many", [False, True], ids=["fewer learners than resources", "more"])
    @pytest.mark.parametrize("group", ["a", "b"])
    def test_a_learner_of_one_group_is_given_that_group_s_resources_first(self, many, group):
        model = self.fit(two_groups(learners=80 if many else self.LEARNERS_FEW))
        history = [f"{group}00", f"{group}01", f"{group}02"]
        scores = dict(zip(model.resources, model.scores(history), strict=True))
        ranked = sorted((resource for resource in scores if resource not in history), key=lambda r: -scores[r])
        assert {resource[0] for resource in ranked[:9]} == {group}

    def test_unknown_resources_are_ignored_and_nothing_known_scores_zero(self):
        model = self.fit(two_groups(learners=20))
        assert model.scores([]).tolist() == model.scores(["nowhere"]).tolist() == [0.0] * 24
        assert model.scores(["nowhere", "a01"]).tobytes() == model.scores(["a01"]).tobytes()


class StoredModelSuite:
    """What a model that a bundle can hold does in addition."""

    def fit(self, positives: Positives) -> CollaborativeModel:
        """A model of the family."""
        raise NotImplementedError

    def stored(self, model: CollaborativeModel) -> CollaborativeModel:
        """The model after it was written to arrays and read from them."""
        raise NotImplementedError

    def test_a_stored_model_scores_as_the_fitted_one(self):
        model = self.fit(two_groups(learners=80))
        again = self.stored(model)
        assert again.resources == model.resources
        np.testing.assert_allclose(again.scores(["a01", "b02"]), model.scores(["a01", "b02"]), atol=1e-5)
