"""What is played live: an assessment, and the work on what was missed, as the newest list recommends it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from datetime import datetime, timedelta

from cairn.v1 import catalog_pb2, recommender_pb2
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
        missed: the skill they worked on afterwards; empty before.
        mastered: whether they mastered it in the end.
        ends_at: the moment of their last list; None: now.
    """

    def __init__(self, story: Story) -> None:
        self._story = story
        self.learner_id = ""
        self.answers: list[Answered] = []
        self.before = recommender_pb2.RecommendResponse()
        self.after = recommender_pb2.RecommendResponse()
        self.missed = ""
        self.mastered = False
        self.ends_at: datetime | None = None
        self._grades: Sequence[str] = ()

    @property
    def filters(self) -> list[str]:
        """The options of `cairn` commands that ask as the learner's last list was asked for."""
        moment = [] if self.ends_at is None else ["--as-of", f"{self.ends_at:%Y-%m-%dT%H:%M:%S}"]
        return [*itertools.chain.from_iterable(("--grade", grade) for grade in self._grades), *moment]

    def assess(self, platform: Platform, material: Material) -> None:
        """Send the responses of all who answer live, and show the list of one of them before and after."""
        live, story = material.live, self._story
        self.learner_id, self._grades, self.ends_at = live.learner_id, live.grades, material.as_of
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
        before = {(each.resource_id, each.step) for each in self.before.recommendations}
        changed = sum((each.resource_id, each.step) not in before for each in self.after.recommendations)
        story.note(f"New in the list, or there for another step: {changed} of {len(self.after.recommendations)}.")
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

        After each resource comes the one that its recommendation names to re-assess with. That one is taken again when
        the catalog has nothing else left on the skill.
        """
        self.missed = learning.skill
        newest = platform.recommend(learning.learner_id, grades)
        followed: recommender_pb2.Recommendation | None = None
        for _ in range(_STEPS_MAX):
            if self.mastered:
                break
            following = self._following(platform, learning, newest, grades)
            followed = following or followed
            if followed is None:
                break
            if following is not None:
                platform, newest = self._worked(platform, learning, followed, followed.resource_id, grades)
            if following is None or followed.kind != catalog_pb2.RESOURCE_KIND_ASSESSMENT:
                measure = followed.reassess_with or followed.resource_id
                self._story.reassessed(platform.titles([measure])[measure], followed.skill)
                platform, newest = self._worked(platform, learning, followed, measure, grades)
        self.ends_at = platform.as_of
        if self.mastered:
            self._story.done(f"{learning.skill} is mastered")
        self._story.recommendations(f"Recommended to {learning.learner_id} now", newest)

    def _following(
        self,
        platform: Platform,
        learning: SimulatedLearning,
        newest: recommender_pb2.RecommendResponse,
        grades: Sequence[str],
    ) -> recommender_pb2.Recommendation | None:
        """What the newest list has first on the missed skill; None when there is nothing left on it."""
        skill, listed = learning.skill, newest.recommendations
        following = next((each for each in listed if each.skill == skill), None)
        if following is None:
            # Other skills fill the list, so ask for the list of this one.
            alone = platform.recommend(learning.learner_id, grades, skills=[skill]).recommendations
            following = next((each for each in alone if each.skill == skill), None)
        if following is not None:
            before = itertools.takewhile(lambda each: each.skill != skill, listed)
            self._story.recommended(following, list(before))
        return following

    def _worked(
        self,
        platform: Platform,
        learning: SimulatedLearning,
        followed: recommender_pb2.Recommendation,
        resource_id: str,
        grades: Sequence[str],
    ) -> tuple[Platform, recommender_pb2.RecommendResponse]:
        """Work through a resource and send the events; returns the platform on that day, and the list that follows."""
        worked = learning.work_on(resource_id, followed.recommendation_id)
        platform = platform.at(worked.day + timedelta(hours=1))
        answered = [platform.answer(submission, grades) for submission in worked.submissions]
        self.answers += answered
        known = platform.learner(learning.learner_id).skills
        mastery = next((each for each in known if each.skill == learning.skill), None)
        self.mastered = mastery is not None and mastery.mastered
        self._story.worked(worked, answered[-1].milliseconds, mastery)
        return platform, answered[-1].recommended


def _skills_touched(before: recommender_pb2.GetLearnerResponse, after: recommender_pb2.GetLearnerResponse) -> list[str]:
    """The skills with new responses in between."""
    responses_before = {mastery.skill: mastery.responses for mastery in before.skills}
    return [mastery.skill for mastery in after.skills if mastery.responses > responses_before.get(mastery.skill, 0)]
