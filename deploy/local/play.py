"""What is played live: an assessment, and the work on what was missed, as the newest list recommends it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from datetime import datetime, timedelta

from cairn.v1 import recommender_pb2
from deploy.local.learning import SimulatedLearning
from deploy.local.live import Answered, Platform
from deploy.local.material import LivePlay, Material
from deploy.local.terminal import Story

_STEPS_MAX = 12


class Play:
    """Plays live on a running stack.

    Attributes:
        learner_id: the learner who is shown.
        answers: every event that was sent, with the list that followed.
        before: the learner's list before the assessment.
        after: their list after it.
        mastered: whether they mastered in the end what they had missed.
        ends_at: the moment of their last list; None: now.
    """

    def __init__(self, story: Story) -> None:
        self._story = story
        self.learner_id = ""
        self.answers: list[Answered] = []
        self.before = recommender_pb2.RecommendResponse()
        self.after = recommender_pb2.RecommendResponse()
        self.mastered = False
        self.ends_at: datetime | None = None

    def assess(self, platform: Platform, material: Material) -> None:
        """Send the responses of all who answer live, and show the list of one of them before and after."""
        live, story = material.live, self._story
        self.learner_id, self.ends_at = live.learner_id, material.as_of
        if material.assessment:
            story.done(material.assessment)
        self.before, known_before = platform.recommend(live.learner_id, live.grades), platform.learner(live.learner_id)
        story.recommendations(f"Recommended to {live.learner_id} before", self.before)
        story.note(f"{live.about}; each answer goes to ingest, and the next list includes it:")
        for number, submission in enumerate(live.submissions, 1):
            self.answers.append(platform.answer(submission, live.grades))
            story.answer(number, self.answers[-1])
        self._play_others(platform, material.others)
        self.after, known_after = platform.recommend(live.learner_id, live.grades), platform.learner(live.learner_id)
        story.recommendations(f"Recommended to {live.learner_id} after", self.after)
        shown_before = {each.resource_id for each in self.before.recommendations}
        new = sum(each.resource_id not in shown_before for each in self.after.recommendations)
        story.note(f"{new} of these {len(self.after.recommendations)} were not in the list before.")
        story.mastery(_skills_touched(known_before, known_after), known_before, known_after)
        reassess = [each for each in self.after.recommendations if each.reassess_with]
        titles = platform.titles(sorted({each.reassess_with for each in reassess}))
        story.reassess([(each.title, titles[each.reassess_with]) for each in reassess])

    def _play_others(self, platform: Platform, others: Sequence[LivePlay]) -> None:
        shown = len(self.answers)
        with self._story.progress("the others", sum(len(play.submissions) for play in others)) as observe:
            for play in others:
                for submission in play.submissions:
                    self.answers.append(platform.answer(submission, play.grades))
                    observe(len(self.answers) - shown)
        self._story.note(f"The {len(others)} others answer {len(self.answers) - shown} items, timed the same way.")

    def work(self, platform: Platform, learning: SimulatedLearning, grades: Sequence[str]) -> None:
        """Work on what was missed until it is mastered, one resource a school day, as the newest list recommends.

        A resource that only teaches is followed by the one that its recommendation names to re-assess with.
        """
        learner = learning.learner_id
        newest = platform.recommend(learner, grades)
        for _ in range(_STEPS_MAX):
            before = list(itertools.takewhile(lambda each: each.skill != learning.skill, newest.recommendations))
            on_it = newest.recommendations[len(before) :]
            if not on_it:
                # Other skills fill the list: ask for what it would have next on this one.
                on_it = platform.recommend(learner, grades, skills=[learning.skill]).recommendations
            if self.mastered or not on_it:
                break
            following = on_it[0]
            self._story.recommended(following, before)
            platform, newest, answers = self._worked(platform, learning, following.resource_id, following, grades)
            if not answers and following.reassess_with:
                title = platform.titles([following.reassess_with])[following.reassess_with]
                self._story.reassessed(title, following.skill)
                platform, newest, _ = self._worked(platform, learning, following.reassess_with, following, grades)
        self.ends_at = platform.as_of
        if self.mastered:
            self._story.done(f"{learning.skill} is mastered")
        self._story.recommendations(f"Recommended to {learner} now", newest)

    def _worked(
        self,
        platform: Platform,
        learning: SimulatedLearning,
        resource_id: str,
        following: recommender_pb2.Recommendation,
        grades: Sequence[str],
    ) -> tuple[Platform, recommender_pb2.RecommendResponse, int]:
        """Work through a resource and send the events.

        Returns:
            The platform on that day, the list that follows, and the number of answers.
        """
        worked = learning.work_on(resource_id, following.recommendation_id)
        platform = platform.at(worked.day + timedelta(hours=1))
        answered = [platform.answer(submission, grades) for submission in worked.submissions]
        self.answers += answered
        known = platform.learner(learning.learner_id).skills
        mastery = next((each for each in known if each.skill == learning.skill), None)
        self.mastered = mastery is not None and mastery.mastered
        self._story.worked(worked, answered[-1].milliseconds, mastery)
        return platform, answered[-1].recommended, worked.answers


def _skills_touched(before: recommender_pb2.GetLearnerResponse, after: recommender_pb2.GetLearnerResponse) -> list[str]:
    """The skills with new responses in between."""
    responses_before = {mastery.skill: mastery.responses for mastery in before.skills}
    return [mastery.skill for mastery in after.skills if mastery.responses > responses_before.get(mastery.skill, 0)]
