"""The simulated district of the demo."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from itertools import pairwise

import pytest

from deploy.local.district import District, DistrictSettings
from services.catalog.domain.model import Resource, Skill, SkillTag
from services.common.resource_kinds import ResourceKindName

ENDS_AT = datetime(2026, 3, 13, 15, tzinfo=UTC)


def catalog(grades=("4", "5"), skills_per_grade=4):
    skills, resources = [], []
    before = ()
    for grade in grades:
        for number in range(skills_per_grade):
            skill = Skill(f"{grade}.{number}", grades=(grade,), prerequisites=before)
            before = (skill.id,)
            skills.append(skill)
            resources += [
                Resource(f"{kind}-{skill.id}", "t", kind, assesses=(SkillTag(skill.id, 1.0),))
                for kind in (ResourceKindName.PRACTICE, ResourceKindName.ASSESSMENT, ResourceKindName.GAME)
            ]
    resources.append(Resource("lesson", "t", ResourceKindName.LESSON, teaches=(SkillTag("4.0", 1.0),)))
    return skills, resources


def district(seed=7, **changes):
    return District(DistrictSettings(seed, ENDS_AT, **({"learners": 60} | changes)), *catalog())


def test_the_same_seed_gives_the_same_district():
    assert district().history() == district().history()


def test_another_seed_gives_another_district():
    assert district(seed=7).history() != district(seed=8).history()


def test_it_has_the_size_of_a_small_district():
    learners = 300

    history = district(learners=learners).history()

    assert 15_000 <= len(history) <= 25_000
    assert len({response.learner_id for response in history}) == learners


def test_responses_are_in_the_order_of_time_and_end_before_now():
    history = district().history()

    assert all(earlier.occurred_at <= later.occurred_at for earlier, later in pairwise(history))
    assert history[-1].occurred_at < ENDS_AT
    assert (ENDS_AT - history[0].occurred_at).days < 6 * 7


def test_there_are_no_responses_at_the_weekend():
    assert {response.occurred_at.weekday() for response in district().history()} == {0, 1, 2, 3, 4}


def test_event_ids_are_unique():
    ids = Counter(response.event_id for response in district().history())

    assert max(ids.values()) == 1


def test_only_assessing_resources_are_answered():
    assert all(response.resource != "lesson" for response in district().history())


def test_items_belong_to_their_resource():
    assert all(response.item.startswith(f"{response.resource}/q") for response in district().history())


def test_learners_get_better_within_a_unit():
    simulated = district(learners=300)
    tries: dict[tuple[str, str], list[bool]] = {}
    for response in simulated.history():
        tries.setdefault((response.learner_id, response.resource.rpartition("-")[2]), []).append(response.correct)
    first = [answers[0] for answers in tries.values() if len(answers) >= 10]
    tenth = [answers[9] for answers in tries.values() if len(answers) >= 10]

    assert sum(tenth) / len(tenth) > sum(first) / len(first) + 0.05


def test_a_missing_prerequisite_shows():
    first_response = {}
    for response in district(learners=300, sessions_per_week=4).history():
        first_response.setdefault((response.learner_id, response.resource.rpartition("-")[2]), response.correct)
    after = {True: [], False: []}
    for (learner, skill), correct in first_response.items():
        grade, number = skill.split(".")
        before = first_response.get((learner, f"{grade}.{int(number) - 1}"))
        if before is not None:
            after[before].append(correct)

    assert sum(after[True]) / len(after[True]) > sum(after[False]) / len(after[False])


def test_the_next_assessments_continue_after_the_history():
    simulated = district()
    history = simulated.history()

    following = simulated.next_assessments(learners=10, items=8)

    assert len({assessment.learner_id for assessment in following}) == 10
    seen = {response.event_id for response in history}
    for assessment in following:
        assert assessment.resource.kind is ResourceKindName.ASSESSMENT
        assert len(assessment.responses) == 8
        assert all(response.occurred_at >= ENDS_AT for response in assessment.responses)
        assert not seen & {response.event_id for response in assessment.responses}


def test_a_catalog_without_anything_to_answer_is_refused():
    skills, _ = catalog()

    with pytest.raises(ValueError, match="no active resource that assesses"):
        District(DistrictSettings(7, ENDS_AT), skills, [])
