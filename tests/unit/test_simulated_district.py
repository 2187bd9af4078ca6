"""The simulated district of the demo."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from deploy.local.district import District, DistrictSettings
from deploy.local.learning import SimulatedLearning
from services.catalog.domain.model import Resource, Skill, SkillTag
from services.common.resource_kinds import ResourceKindName
from services.ingest.domain.kinds.interaction import Interaction, InteractionKind

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


def test_a_class_takes_the_assessment_of_its_unit_after_the_history():
    simulated = district(classes=4)
    history = simulated.history()

    taken = simulated.class_assessment("5a", items=8)

    assert (taken.name, taken.grade, taken.resource.id) == ("5a", "5", "assessment-5.3")
    assert len(taken.responses) == 15
    seen = {response.event_id for response in history}
    for learner_id, responses in taken.responses.items():
        assert [response.learner_id for response in responses] == [learner_id] * 8
        assert all(response.occurred_at >= ENDS_AT for response in responses)
        assert not seen & {response.event_id for response in responses}


def test_a_class_that_is_not_there_is_refused_with_the_names_of_those_that_are():
    with pytest.raises(ValueError, match="no class '9z'; the classes are 4a, 4b, 5a, 5b"):
        district(classes=4).class_assessment("9z", items=8)


def test_a_lesson_has_no_answers_and_teaches():
    lesson = next(resource for resource in catalog()[1] if resource.id == "lesson")
    quiz = next(resource for resource in catalog()[1] if resource.id == "assessment-4.0")
    right = {}
    for lessons in (0, 3):
        simulated = district(learners=200, classes=2)
        right[lessons] = 0
        for number in range(1, 200, 2):
            learner_id = f"sim-{number:04d}"
            for day in range(lessons):
                assert simulated.work(learner_id, lesson, ENDS_AT + timedelta(days=day)) == []
            answers = simulated.work(learner_id, quiz, ENDS_AT + timedelta(days=9))
            right[lessons] += sum(response.correct for response in answers)

    assert right[3] > right[0] + 100


def test_what_comes_of_work_does_not_depend_on_how_much_was_done_before():
    quiz = next(resource for resource in catalog()[1] if resource.id == "assessment-4.0")
    other = next(resource for resource in catalog()[1] if resource.id == "game-4.3")
    answers = []
    for before in ([], [other, other]):
        simulated = district()
        simulated.history()
        for resource in before:
            simulated.work("sim-0001", resource, ENDS_AT)
        answers.append([each.correct for each in simulated.work("sim-0001", quiz, ENDS_AT + timedelta(days=1))])

    assert answers[0] == answers[1]


def test_work_on_what_is_recommended_is_one_resource_a_school_day_and_ends_with_its_completion():
    resources = {resource.id: resource for resource in catalog()[1]}
    learning = SimulatedLearning(district(), "sim-0001", "4.0", resources)

    lesson, quiz = (
        learning.work_on("lesson", "recommendation-1"),
        learning.work_on("assessment-4.0", "recommendation-2"),
    )

    # The district's last day is a Friday.
    assert [f"{each.day:%a %H:%M}" for each in (lesson, quiz)] == ["Mon 09:00", "Tue 09:00"]
    assert (lesson.right, lesson.answers, len(lesson.submissions)) == (0, 0, 1)
    assert (quiz.answers, len(quiz.submissions)) == (8, 9)
    assert quiz.right == sum(submission.body.outcome for submission in quiz.submissions[:-1])
    completed = quiz.submissions[-1].body
    assert completed == Interaction("assessment-4.0", InteractionKind.COMPLETED, "recommendation-2", 600_000)


def test_a_catalog_without_anything_to_answer_is_refused():
    skills, _ = catalog()

    with pytest.raises(ValueError, match="no active resource that assesses"):
        District(DistrictSettings(7, ENDS_AT), skills, [])
