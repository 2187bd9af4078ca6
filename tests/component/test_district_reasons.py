"""Every reason is true for the learners of the sample district, with and without clocks."""

from __future__ import annotations

import struct
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest

from deploy.local.district import District, DistrictSettings
from services.catalog.formats.jsonl import read_resources, read_skills
from services.common.resource_kinds import ResourceKind
from services.recommender.domain.learner.batch import LearnerEvents
from services.recommender.domain.learner.events import AssessmentEvent, Grain
from services.recommender.domain.learner.fold import LearnerFold
from services.recommender.domain.learner.parameters import TenantParameters, TracingParameters
from services.recommender.domain.learner.record import NEW_LEARNER
from services.recommender.domain.learner.state import decode_state, encode_state
from services.recommender.domain.ranking.catalog import CatalogResource, CatalogSkill, build_columns
from services.recommender.domain.ranking.pipeline import rank
from services.recommender.domain.ranking.policy import ResourceFilter
from services.recommender.domain.ranking.prepared import prepare
from services.recommender.domain.ranking.request import RankingRequest
from services.recommender.domain.ranking.weights import DEFAULT_WEIGHTS
from services.recommender.evaluation.reason_count import ReasonCount
from tests.true_reasons import catalog_of

SAMPLE = Path(__file__).parents[2] / "deploy" / "local" / "sample"
ENDS_AT = datetime(2026, 3, 13, 15, tzinfo=UTC)


def records(name):
    return [orjson.loads(line) for line in (SAMPLE / name).read_bytes().splitlines()]


def tags(given):
    return tuple((tag.skill, tag.weight) for tag in given)


@pytest.fixture(scope="module")
def district():
    """The catalog, and each learner's grade and responses."""
    skills, resources = read_skills(SAMPLE / "skills.jsonl").records, read_resources(SAMPLE / "resources.jsonl").records
    columns = build_columns(
        [
            CatalogResource(
                each.id,
                each.title,
                kind=ResourceKind[each.kind.name],
                teaches=tags(each.teaches),
                assesses=tags(each.assesses),
                grades=each.grades,
                topics=each.topics,
            )
            for each in resources
        ],
        [CatalogSkill(each.id, each.statement, each.prerequisites, code=each.code) for each in skills],
    )
    simulated = District(DistrictSettings(7, ENDS_AT, learners=120, classes=12), skills, resources)
    assessed = {resource.id: [tag.skill for tag in resource.assesses] for resource in resources}
    grades = {learner.learner_id: learner.grade for learner in simulated._learners}
    responses = {}
    for response in simulated.history():
        responses.setdefault(response.learner_id, []).append(response)
    return columns, assessed, grades, responses


def time_of(response, number, clocks):
    known = clocks == "all" or (clocks == "some" and number % 2)
    return int(response.occurred_at.timestamp()) if known else 0


@pytest.mark.parametrize("clocks", ["all", "some", "none"])
@pytest.mark.parametrize("days_later", [0, 45])
def test_every_reason_for_a_learner_of_the_district_is_true(district, clocks, days_later):
    columns, assessed, grades, responses = district
    fold = LearnerFold(TracingParameters("", {"t": TenantParameters()}))
    prepared = prepare(columns, TenantParameters())
    count = ReasonCount(prepared)
    # With the whole statements, so that a name that is cut is found.
    count._catalog = catalog_of(records("skills.jsonl"), records("resources.jsonl"))
    for learner, given in responses.items():
        events = [
            (
                number,
                AssessmentEvent(
                    struct.pack("<Q", number),
                    float(response.correct),
                    time_of(response, number, clocks),
                    response.item,
                    response.resource,
                    tuple(assessed[response.resource]),
                    Grain.ITEM,
                    response.resource,
                ),
            )
            for number, response in enumerate(given)
        ]
        stored = fold.fold([LearnerEvents("t", NEW_LEARNER, events)])[0].stored
        request = RankingRequest(
            tenant="t",
            learner=learner,
            state=decode_state(encode_state(stored.state)),
            models_id="",
            as_of_s=ENDS_AT.timestamp() + 86_400 * days_later,
            day="2026-03-13",
            wanted=ResourceFilter(grades=(grades[learner],)),
            limit=10,
        )
        assert count.add(request, rank(prepared, request, DEFAULT_WEIGHTS, lambda: 0.0)) == []
    assert count.lists == 120
    assert count.without == 0
    assert count.reasons > 1_000
