"""A simulated course: skills in a prerequisite graph, and resources that teach, practise and assess them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from services.common.resource_kinds import ResourceKind
from services.recommender.domain.ranking.catalog import (
    CatalogColumns,
    CatalogResource,
    CatalogSkill,
    FloatColumn,
    IntColumn,
    build_columns,
)

FIRST_GRADE = 3
GRADES = 5
SKILLS_PER_GRADE = 6
# Of the skills of a grade, those that build only on the grade before.
_FIRST_OF_GRADE = 3

_EASY, _MEDIUM, _HARD = 0.1, 0.4, 0.7


@dataclass(frozen=True, slots=True)
class ResourceForm:
    """How the resources of one form are made: the same for every skill.

    Attributes:
        kind: their kind.
        level: the mastery of the skill at which an average item succeeds about every second time; 0 without items.
        items: number of items.
        minutes: how long one takes.
        copies: how many there are of each skill.
    """

    kind: ResourceKind
    level: float
    items: int
    minutes: int
    copies: int


FORMS = (
    ResourceForm(ResourceKind.LESSON, 0.0, 0, 12, 2),
    ResourceForm(ResourceKind.PRACTICE, _EASY, 4, 7, 2),
    ResourceForm(ResourceKind.PRACTICE, _MEDIUM, 4, 8, 2),
    ResourceForm(ResourceKind.PRACTICE, _HARD, 4, 9, 2),
    ResourceForm(ResourceKind.ASSESSMENT, _MEDIUM, 5, 8, 2),
)


@dataclass(frozen=True)
class Course:
    """Skills and resources in columns: S skills in an order in which prerequisites come first, R resources.

    Attributes:
        skill_ids: S ids. They carry no meaning, nor does their order.
        grades: S; the grade that each skill belongs to, 0 for the lowest.
        prerequisites: by skill, the skills it builds on.
        resource_ids: R ids, sorted; they carry no meaning either.
        skill: R; the skill of each resource.
        form: R; index into FORMS.
    """

    skill_ids: tuple[str, ...]
    grades: IntColumn
    prerequisites: tuple[tuple[int, ...], ...]
    resource_ids: tuple[str, ...]
    skill: IntColumn
    form: IntColumn

    def __len__(self) -> int:
        return len(self.resource_ids)

    @cached_property
    def kind(self) -> IntColumn:
        """R; the kind of each resource."""
        return np.array([form.kind for form in FORMS], np.intp)[self.form]

    @cached_property
    def level(self) -> FloatColumn:
        """R; how hard its items are, as `ResourceForm.level`."""
        return np.array([form.level for form in FORMS])[self.form]

    @cached_property
    def items(self) -> IntColumn:
        """R; number of items."""
        return np.array([form.items for form in FORMS], np.intp)[self.form]

    @cached_property
    def minutes(self) -> FloatColumn:
        """R; how long each takes."""
        return np.array([float(form.minutes) for form in FORMS])[self.form]

    @cached_property
    def minutes_of_a_step(self) -> float:
        """The mean over all resources: what a step takes that a learner sits out."""
        return float(self.minutes.mean())

    @cached_property
    def _padded(self) -> NDArray[np.intp]:
        """(S, most prerequisites of a skill); S where there are no more."""
        width = max(1, *(len(before) for before in self.prerequisites))
        padded = np.full((len(self.skill_ids), width), len(self.skill_ids), np.intp)
        for skill, before in enumerate(self.prerequisites):
            padded[skill, : len(before)] = before
        return padded

    def weakest_prerequisite(self, mastery: FloatColumn) -> FloatColumn:
        """S; the lowest mastery of any prerequisite of each skill; 1 without any."""
        lowest: FloatColumn = np.append(mastery, 1.0)[self._padded].min(axis=1)
        return lowest

    def skills_of(self, grade: int) -> list[int]:
        """The skills of a grade, prerequisites first."""
        return np.flatnonzero(self.grades == grade).tolist()

    def resources_of(self, skill: int, form: int) -> list[int]:
        """The resources of one form that are about a skill."""
        return np.flatnonzero((self.skill == skill) & (self.form == form)).tolist()

    def catalog(self) -> CatalogColumns:
        """The course as a tenant's catalog; its rows are the resources in their order."""
        skills = [
            CatalogSkill(skill_id, skill_id, tuple(self.skill_ids[each] for each in before))
            for skill_id, before in zip(self.skill_ids, self.prerequisites, strict=True)
        ]
        return build_columns([self._listed(row) for row in range(len(self))], skills)

    def _listed(self, row: int) -> CatalogResource:
        form, skill = FORMS[self.form[row]], int(self.skill[row])
        tags = ((self.skill_ids[skill], 1.0),)
        return CatalogResource(
            resource_id=self.resource_ids[row],
            title=self.resource_ids[row],
            kind=form.kind,
            teaches=() if form.kind is ResourceKind.ASSESSMENT else tags,
            assesses=tags if form.items else (),
            grades=(str(FIRST_GRADE + int(self.grades[skill])),),
            minutes=form.minutes,
        )


def draw_course(seed: int) -> Course:
    """Draw the prerequisites and the ids; everything else is fixed.

    The first skills of a grade build on one or two skills of the grade before. Each later one builds on one of the
    three before it in its grade, and every second one also on a skill of the grade before.

    Args:
        seed: the same seed gives the same course.
    """
    rng = np.random.default_rng([seed, 1])
    skills = GRADES * SKILLS_PER_GRADE
    prerequisites: list[tuple[int, ...]] = []
    for skill in range(skills):
        grade, place = divmod(skill, SKILLS_PER_GRADE)
        found: list[int] = []
        if place >= _FIRST_OF_GRADE:
            found.append(skill - int(rng.integers(1, _FIRST_OF_GRADE + 1)))
        if grade and (place < _FIRST_OF_GRADE or rng.random() < 0.5):
            of_grade_before = (grade - 1) * SKILLS_PER_GRADE + np.arange(SKILLS_PER_GRADE)
            found += rng.choice(of_grade_before, 1 + (place == 0), replace=False).tolist()
        prerequisites.append(tuple(sorted(found)))
    of_resource = np.repeat(np.arange(skills), sum(form.copies for form in FORMS))
    forms = np.tile(np.repeat(np.arange(len(FORMS)), [form.copies for form in FORMS]), skills)
    # Ids sort at random: no ranking can gain from the order of ids.
    order = rng.permutation(len(forms))
    return Course(
        skill_ids=tuple(f"skill-{number:02d}" for number in rng.permutation(skills).tolist()),
        grades=np.arange(skills) // SKILLS_PER_GRADE,
        prerequisites=tuple(prerequisites),
        resource_ids=tuple(f"resource-{number:04d}" for number in range(len(forms))),
        skill=of_resource[order],
        form=forms[order],
    )
