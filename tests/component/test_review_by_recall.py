"""When a mastered skill is due for review: by the expected recall where there is a recall model, else by formula."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from cairn.v1 import recommender_pb2
from services.recommender.domain.learner.parameters import TracingParameters
from services.recommender.domain.learner.recall import RECALL_FEATURES, RecallFeature, RecallModel
from tests.component.test_recommender_server import NOW, bundle, server
from tests.learners import Ability, learner_state

__all__ = ["server"]

DAY_S = 86_400
FORGETS = 1.0


def forgetting(intercept, *, falls_by=FORGETS) -> RecallModel:
    """The odds of recall are e^intercept at once, and fall with a power of 1 + days."""
    weights = np.zeros(len(RECALL_FEATURES))
    weights[RecallFeature.ELAPSED] = falls_by
    return RecallModel(intercept, weights, (), np.zeros(0))


def mastered_days_ago(days):
    # Lists are made as of the hour.
    last_at_s = int(NOW.timestamp()) // 3_600 * 3_600 - days * DAY_S
    sure = Ability(mean=3.0, variance=0.05, attempts=15, successes=15.0, last_at_s=last_at_s)
    return learner_state({"add": sure, "fractions": dataclasses.replace(sure, last_at_s=last_at_s + days * DAY_S)})


async def with_models(server, model, *, parameters="fitted-1"):
    """Serve an epoch that was folded with `fitted-1`, and a newer bundle with a recall model."""
    server.bundles.bundles["b1"] = bundle("b1")
    server.states.epoch = dataclasses.replace(
        server.states.epoch, epoch=4, parameters_id="fitted-1", parameters_bundle="b1"
    )
    server.bundles.bundles["b2"] = dataclasses.replace(
        bundle("b2", TracingParameters(parameters)), recall={} if model is None else {"riverbend": model}
    )
    await server.active_models.refresh_bundle()
    await server.active_models.refresh_epoch()


async def reviews(server) -> set[str]:
    reply = await server.recommend(limit=10)
    return {
        reason.text
        for each in reply.recommendations
        for reason in each.reasons
        if reason.kind == recommender_pb2.REASON_KIND_REVIEW and "same skill" not in reason.text
    }


FIVE_DAYS = "Adding: mastered, all 15 answers right; last practised 5 days ago, about 5 in 10 likely to be right today"
SIXTY_DAYS = "Adding: mastered, all 15 answers right; last practised 60 days ago"


@pytest.mark.parametrize(
    ("model", "days", "said"),
    [
        # The formula: one half of it is forgotten after 28 days.
        (None, 5, set()),
        (None, 60, {SIXTY_DAYS}),
        # e^2 / 6 = 1.23 to 1 after five days; still .72 after one, and all but certain on the day itself.
        (forgetting(2.0), 5, {FIVE_DAYS.replace("about 5", "about 6")}),
        (forgetting(1.75), 5, {FIVE_DAYS}),
        (forgetting(2.0), 1, set()),
        (forgetting(-3.0), 0, set()),
        # Hardly forgotten, and quite forgotten.
        (forgetting(6.0, falls_by=0.5), 60, set()),
        (forgetting(0.0), 60, {f"{SIXTY_DAYS}, less than 1 in 10 likely to be right today"}),
    ],
)
async def test_a_mastered_skill_is_due_by_the_expected_recall_or_else_by_the_formula(server, model, days, said):
    await with_models(server, model)
    server.store(mastered_days_ago(days))
    assert await reviews(server) == said


async def test_a_recall_model_is_used_only_with_the_parameters_that_states_were_folded_with(server):
    await with_models(server, forgetting(2.0), parameters="fitted-2")
    server.store(mastered_days_ago(5))
    assert await reviews(server) == set()
    # The epoch's own stays in use while a newer bundle has other parameters.
    server.bundles.bundles["b3"] = dataclasses.replace(bundle("b3"), recall={"riverbend": forgetting(2.0)})
    await server.active_models.refresh_bundle()
    assert await reviews(server) == {FIVE_DAYS.replace("about 5", "about 6")}
