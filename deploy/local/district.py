"""A simulated school district: learners in classes who work through a catalog for several weeks.

Nobody in it is real. The recommender's learner model does not generate the responses. They come from knowledge tracing
(Corbett and Anderson 1995) with prerequisites: a learner either knows a skill or does not, answers with the slip or
guess probability of the item, and may learn from every response and every lesson, far more slowly while a prerequisite
is missing. So the recommender's own assumptions are not built into the data.
"""

from __future__ import annotations

import graphlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from random import Random

from services.catalog.domain.model import Resource, ResourceStatus, Skill
from services.common.resource_kinds import ResourceKindName

SOURCE = "simulated-district"

_SCHOOL_DAYS = (0, 1, 2, 3, 4)
_ITEMS_PER_RESOURCE = 8
_STYLES = 4


@dataclass(frozen=True, slots=True)
class DistrictSettings:
    """The size of a district and the seed that determines everything in it.

    Attributes:
        seed: the same seed gives the same district.
        ends_at: the end of the last school day, a Friday afternoon; timezone-aware.
        learners: number of learners.
        classes: number of classes, spread over the catalog's grades.
        weeks: length of the simulation.
        sessions_per_week: average number of sessions of a learner.
    """

    seed: int
    ends_at: datetime
    learners: int = 300
    classes: int = 12
    weeks: int = 6
    sessions_per_week: float = 2.0


@dataclass(frozen=True, slots=True)
class SimulatedResponse:
    """One answer of a simulated learner to an item of a resource."""

    event_id: str
    learner_id: str
    item: str
    resource: str
    correct: bool
    occurred_at: datetime
    duration_ms: int


@dataclass(frozen=True, slots=True)
class ClassAssessment:
    """An assessment that a class takes after the simulated weeks.

    Attributes:
        name: the class, for example "5b".
        grade: its grade.
        resource: the assessment of its current unit.
        responses: by learner; all answer the same items.
    """

    name: str
    grade: str
    resource: Resource
    responses: Mapping[str, tuple[SimulatedResponse, ...]]


@dataclass(frozen=True, slots=True)
class _Item:
    guess: float
    slip: float


def main_skill(resource: Resource) -> str:
    """The skill with the highest weight among those a resource assesses; it must assess at least one."""
    return max(resource.assesses, key=lambda tag: (tag.weight, tag.skill)).skill


class Curriculum:
    """A class's part of the catalog: its grade's skills, prerequisites first, and the resources that assess them."""

    def __init__(self, skills: Sequence[Skill], resources: Sequence[Resource]) -> None:
        self._skills = {skill.id: skill for skill in skills}
        self._resources = [
            resource for resource in resources if resource.assesses and resource.status is ResourceStatus.ACTIVE
        ]

    @cached_property
    def _order(self) -> list[str]:
        graph = {skill.id: sorted(skill.prerequisites) for skill in self._skills.values()}
        return [skill for skill in graphlib.TopologicalSorter(graph).static_order() if skill in self._skills]

    @cached_property
    def grades(self) -> tuple[str, ...]:
        """The grades that have skills with assessing resources, lowest first."""
        found = {grade for skill in self._taught for grade in self._skills[skill].grades}
        return tuple(sorted(found, key=_grade_number))

    @cached_property
    def by_skill(self) -> Mapping[str, tuple[Resource, ...]]:
        """The assessing resources, by their main skill."""
        found: dict[str, list[Resource]] = {}
        for resource in self._resources:
            found.setdefault(main_skill(resource), []).append(resource)
        return {skill: tuple(sorted(listed, key=lambda resource: resource.id)) for skill, listed in found.items()}

    @cached_property
    def _taught(self) -> list[str]:
        return [skill for skill in self._order if skill in self.by_skill]

    def of_grade(self, grade: str) -> list[str]:
        """The grade's skills, prerequisites first."""
        return [skill for skill in self._taught if grade in self._skills[skill].grades]

    def prerequisites(self, skill: str) -> tuple[str, ...]:
        """The prerequisites of a skill."""
        return self._skills[skill].prerequisites if skill in self._skills else ()

    def grade_of(self, skill: str) -> int:
        """The lowest grade a skill is taught in; 0 when it has no grade."""
        grades = self._skills[skill].grades if skill in self._skills else ()
        return min((_grade_number(grade) for grade in grades), default=0)


class _Learner:
    """One learner's knowledge and how it grows."""

    def __init__(self, learner_id: str, classroom: str, grade: str, random: Random, curriculum: Curriculum) -> None:
        self.learner_id = learner_id
        self.classroom = classroom
        self.grade = grade
        self.style = random.randrange(_STYLES)
        self.random = random
        self.sessions_factor = random.lognormvariate(0, 0.35)
        self._strength = random.gauss(0, 0.8)
        self._learning = 0.18 * random.lognormvariate(0, 0.4)
        self._curriculum = curriculum
        self._knows: dict[str, bool] = {}
        self._responses = 0

    def knows(self, skill: str) -> bool:
        """Whether the learner knows the skill; knowledge from before the simulated weeks is drawn at the first call."""
        if skill not in self._knows:
            prerequisites = [self.knows(before) for before in self._curriculum.prerequisites(skill)]
            years_ago = _grade_number(self.grade) - self._curriculum.grade_of(skill)
            logit = 1.6 * years_ago - 0.4 + self._strength - 1.2 * prerequisites.count(False)
            self._knows[skill] = self.random.random() < 1 / (1 + math.exp(-logit))
        return self._knows[skill]

    def answer(self, skill: str, item: _Item) -> bool:
        """Answer an item on a skill and possibly learn from it."""
        knows = self.knows(skill)
        correct = self.random.random() < (1 - item.slip if knows else item.guess)
        self._may_learn(skill)
        return correct

    def study(self, skill: str) -> None:
        """Follow a lesson on a skill: it teaches as much as answering the items of a resource."""
        for _ in range(_ITEMS_PER_RESOURCE):
            self._may_learn(skill)

    def _may_learn(self, skill: str) -> None:
        if not self.knows(skill):
            missing = sum(not self.knows(before) for before in self._curriculum.prerequisites(skill))
            self._knows[skill] = self.random.random() < self._learning * 0.3**missing

    def next_event_id(self) -> str:
        """An id for the learner's next response, the same in every run."""
        self._responses += 1
        return f"{self.learner_id}-{self._responses}"


class District:
    """The simulated weeks and the assessments after them. Each learner has their own random stream."""

    def __init__(self, settings: DistrictSettings, skills: Sequence[Skill], resources: Sequence[Resource]) -> None:
        """Draw the classes and their learners.

        Raises:
            ValueError: when no active resource assesses a skill that has a grade.
        """
        self._settings = settings
        self._curriculum = Curriculum(skills, resources)
        if not self._curriculum.grades:
            raise ValueError("the catalog has no active resource that assesses a skill with a grade")
        self._learners = [self._draw_learner(number) for number in range(settings.learners)]
        self._number = {learner.learner_id: number for number, learner in enumerate(self._learners)}

    @property
    def ends_at(self) -> datetime:
        """The end of the last school day."""
        return self._settings.ends_at

    def history(self) -> list[SimulatedResponse]:
        """Every response of the simulated weeks, ordered by time.

        Call it once: it changes the learners.
        """
        responses = [response for learner in self._learners for response in self._weeks_of(learner)]
        return sorted(responses, key=lambda response: response.occurred_at)

    def class_assessment(self, name: str, items: int) -> ClassAssessment:
        """What a class answers after the history, in the assessment of its current unit.

        Args:
            name: the class.
            items: number of responses of each learner.

        Raises:
            ValueError: when there is no such class.
        """
        learners = [learner for learner in self._learners if learner.classroom == name]
        if not learners:
            known = sorted({learner.classroom for learner in self._learners})
            raise ValueError(f"there is no class {name!r}; the classes are {', '.join(known)}")
        grade = learners[0].grade
        offered = self._curriculum.by_skill[self._unit(grade, self._settings.weeks)]
        assessments = [resource for resource in offered if resource.kind is ResourceKindName.ASSESSMENT]
        resource = (assessments or list(offered))[0]
        responses = {
            learner.learner_id: tuple(self._session(learner, resource, self._settings.ends_at, items))
            for learner in learners
        }
        return ClassAssessment(name, grade, resource, responses)

    def work(self, learner_id: str, resource: Resource, begins_at: datetime) -> list[SimulatedResponse]:
        """What a learner answers when they work on a resource. One without items, such as a lesson, only teaches.

        What comes of it depends on what the learner knows, the resource and the day, not on how much they did before.
        """
        learner = next(each for each in self._learners if each.learner_id == learner_id)
        learner.random = Random(f"{self._settings.seed}/work/{learner_id}/{begins_at:%Y-%m-%d}/{resource.id}")  # noqa: S311 - as above.
        if resource.assesses:
            return list(self._session(learner, resource, begins_at, _ITEMS_PER_RESOURCE))
        for tag in resource.teaches:
            learner.study(tag.skill)
        return []

    def work_on(self, learner_id: str, resource: Resource, begins_at: datetime) -> list[SimulatedResponse]:
        """A learner's responses in a resource that was recommended, after the history.

        Args:
            learner_id: the learner.
            resource: it must assess at least one skill.
            begins_at: when they begin.
        """
        learner = self._learners[self._number[learner_id]]
        return list(self._session(learner, resource, begins_at, learner.random.randint(4, _ITEMS_PER_RESOURCE)))

    def _draw_learner(self, number: int) -> _Learner:
        classroom = number % self._settings.classes
        grade = self._grade_of(classroom)
        # The class is called by its grade and a letter, such as 5b.
        before = sum(self._grade_of(other) == grade for other in range(classroom))
        random = Random(f"{self._settings.seed}/learner/{number}")  # noqa: S311 - a simulation, not a secret.
        return _Learner(f"sim-{number + 1:04d}", f"{grade}{chr(ord('a') + before)}", grade, random, self._curriculum)

    def _grade_of(self, classroom: int) -> str:
        grades = self._curriculum.grades
        return grades[classroom * len(grades) // self._settings.classes]

    def _weeks_of(self, learner: _Learner) -> Iterator[SimulatedResponse]:
        """A learner's sessions: everybody has one on the first day, later ones are random."""
        ends_at = self._settings.ends_at
        weeks_before = timedelta(weeks=self._settings.weeks - 1, days=ends_at.weekday())
        monday = (ends_at - weeks_before).replace(hour=0, minute=0)
        for week in range(self._settings.weeks):
            share = self._settings.sessions_per_week * learner.sessions_factor / len(_SCHOOL_DAYS)
            for day in _SCHOOL_DAYS:
                first_day = week == 0 and day == _SCHOOL_DAYS[0]
                if learner.random.random() >= share and not first_day:
                    continue
                minutes = learner.random.randrange(8 * 60, 14 * 60)
                begins_at = monday + timedelta(weeks=week, days=day, minutes=minutes)
                skill = self._skill_of_the_day(learner, week + day / len(_SCHOOL_DAYS))
                resource = self._choose(learner, self._curriculum.by_skill[skill])
                items = learner.random.randint(4, _ITEMS_PER_RESOURCE)
                yield from self._session(learner, resource, begins_at, items)

    def _skill_of_the_day(self, learner: _Learner, week: float) -> str:
        """Usually the class's unit, sometimes the one before it, sometimes a missing prerequisite."""
        unit = self._unit(learner.grade, week)
        drawn = learner.random.random()
        if drawn < 0.2:
            return self._unit(learner.grade, max(0.0, week - 1))
        if drawn < 0.4:
            answerable = [
                before for before in self._curriculum.prerequisites(unit) if before in self._curriculum.by_skill
            ]
            missing = [before for before in answerable if not learner.knows(before)]
            return learner.random.choice(missing or answerable or [unit])
        return unit

    def _unit(self, grade: str, week: float) -> str:
        skills = self._curriculum.of_grade(grade)
        return skills[min(len(skills) - 1, int(week / self._settings.weeks * len(skills)))]

    def _choose(self, learner: _Learner, resources: Sequence[Resource]) -> Resource:
        """Learners of one style prefer the same resources, which gives collaborative filtering something to find."""
        weights = [
            math.exp(Random(f"{self._settings.seed}/taste/{learner.style}/{resource.id}").gauss(0, 1.2))  # noqa: S311 - as above.
            for resource in resources
        ]
        return learner.random.choices(resources, weights)[0]

    def _session(
        self, learner: _Learner, resource: Resource, begins_at: datetime, items: int
    ) -> Iterator[SimulatedResponse]:
        skills = [tag.skill for tag in resource.assesses]
        weights = [tag.weight for tag in resource.assesses]
        moment = begins_at
        for number in range(1, items + 1):
            name = f"{resource.id}/q{number}"
            (skill,) = learner.random.choices(skills, weights)
            correct = learner.answer(skill, self._item(name))
            duration_ms = round(20_000 * learner.random.lognormvariate(0, 0.5))
            moment += timedelta(milliseconds=duration_ms)
            yield SimulatedResponse(
                learner.next_event_id(), learner.learner_id, name, resource.id, correct, moment, duration_ms
            )

    def _item(self, name: str) -> _Item:
        random = Random(f"{self._settings.seed}/item/{name}")  # noqa: S311 - as above.
        return _Item(guess=random.uniform(0.05, 0.3), slip=random.uniform(0.03, 0.2))


def _grade_number(grade: str) -> int:
    """The grade as a number for sorting; kindergarten and other grades without a number are 0."""
    return int(grade) if grade.isdecimal() else 0
