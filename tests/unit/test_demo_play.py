"""Work on what was missed, as the demo plays it: what is followed, what measures it, and when it ends."""

from __future__ import annotations

import io
from datetime import UTC, datetime

import pytest
from rich.console import Console

from cairn.v1 import catalog_pb2, recommender_pb2
from deploy.local.learning import Worked
from deploy.local.live import Answered
from deploy.local.play import Play
from deploy.local.terminal import Story

SKILL = "area"
LESSON, PRACTICE, ASSESSMENT = (
    catalog_pb2.RESOURCE_KIND_LESSON,
    catalog_pb2.RESOURCE_KIND_PRACTICE,
    catalog_pb2.RESOURCE_KIND_ASSESSMENT,
)


def entry(resource, skill=SKILL, kind=LESSON, reassess_with="quiz"):
    return recommender_pb2.Recommendation(
        recommendation_id=f"for {resource}",
        resource_id=resource,
        title=resource,
        skill=skill,
        kind=kind,
        reassess_with=reassess_with,
    )


class FakePlatform:
    """Recommends what has not been worked on, and finds the skill mastered after some pieces of work."""

    def __init__(self, entries, mastered_after):
        self._entries = entries
        self._mastered_after = mastered_after
        self.done = []
        self.as_of = None

    def at(self, as_of):
        self.as_of = as_of
        return self

    def recommend(self, learner_id, grades=(), freshness_token="", skills=()):
        left = [each for each in self._entries if each.resource_id not in self.done]
        chosen = [each for each in left if each.skill in skills] if skills else left[:2]
        return recommender_pb2.RecommendResponse(recommendations=chosen)

    def answer(self, submission, grades=()):
        self.done.append(submission)
        return Answered(submission, 20.0, self.recommend("amy", grades))

    def learner(self, learner_id):
        mastery = recommender_pb2.SkillMastery(skill=SKILL, mastered=len(self.done) >= self._mastered_after)
        return recommender_pb2.GetLearnerResponse(skills=[mastery])

    def titles(self, resource_ids):
        return {resource_id: resource_id for resource_id in resource_ids}


class FakeLearning:
    """Each piece of work is one event, which stands for the resource."""

    learner_id, skill = "amy", SKILL

    def __init__(self):
        self.led_by = []

    def work_on(self, resource_id, recommendation_id):
        self.led_by.append(recommendation_id)
        return Worked(datetime(2026, 3, 16, 9, tzinfo=UTC), [resource_id], 0, 0)


@pytest.fixture
def work():
    def run(entries, mastered_after=100):
        platform, learning, written = FakePlatform(entries, mastered_after), FakeLearning(), io.StringIO()
        play = Play(Story(Console(file=written, width=80)))
        play.work(platform, learning, ["3"])
        return platform.done, play, learning, written.getvalue()

    return run


def test_a_lesson_and_practice_are_followed_by_what_they_name_to_re_assess_with(work):
    done, play, learning, _ = work([entry("lesson"), entry("practice", kind=PRACTICE)], mastered_after=4)

    assert done == ["lesson", "quiz", "practice", "quiz"]
    assert learning.led_by == ["for lesson", "for lesson", "for practice", "for practice"]
    assert play.mastered
    assert (play.missed, len(play.answers)) == (SKILL, 4)
    assert play.ends_at == datetime(2026, 3, 16, 10, tzinfo=UTC)


def test_a_recommended_assessment_is_not_followed_by_another_one(work):
    done, _, _, _ = work([entry("check", kind=ASSESSMENT), entry("lesson")], mastered_after=3)

    assert done == ["check", "lesson", "quiz"]


def test_mastery_by_practice_is_still_re_assessed(work):
    done, play, _, _ = work([entry("practice", kind=PRACTICE), entry("lesson")], mastered_after=1)

    assert done == ["practice", "quiz"]
    assert play.mastered


def test_the_first_on_the_missed_skill_is_followed_and_what_precedes_it_is_said(work):
    done, _, _, text = work([entry("game", skill="fractions"), entry("lesson")], mastered_after=2)

    assert done == ["lesson", "quiz"]
    assert "before it in the list: game (fractions)" in text


def test_when_other_skills_fill_the_list_the_list_of_the_missed_one_is_followed(work):
    others = [entry("game", skill="fractions"), entry("video", skill="fractions")]
    done, _, _, text = work([*others, entry("lesson")], mastered_after=2)

    assert done == ["lesson", "quiz"]
    assert "before it in the list: game (fractions), video (fractions)" in text


def test_when_nothing_is_left_on_the_skill_the_last_assessment_is_taken_until_it_is_mastered(work):
    done, play, _, _ = work([entry("lesson")], mastered_after=5)

    assert done == ["lesson", "quiz", "quiz", "quiz", "quiz"]
    assert play.mastered


def test_an_assessment_that_was_recommended_last_is_taken_again_when_nothing_else_is_left(work):
    done, _, _, _ = work([entry("check", kind=ASSESSMENT, reassess_with="")], mastered_after=3)

    assert done == ["check", "check", "check"]


def test_it_ends_after_twelve_recommendations_without_a_claim_of_mastery(work):
    done, play, _, text = work([entry("lesson")])

    assert len(done) == 13
    assert not play.mastered
    assert "is mastered" not in text


def test_a_catalog_with_nothing_on_the_skill_ends_it(work):
    done, play, _, _ = work([entry("game", skill="fractions")])

    assert done == []
    assert not play.mastered
