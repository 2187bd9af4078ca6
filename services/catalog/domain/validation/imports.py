"""Checks of an import: each record on its own, and all of them together with the catalog."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import islice, pairwise

from services.catalog.domain.model import Resource, Skill
from services.catalog.domain.prerequisites import cycles
from services.catalog.domain.validation.fields import Problem, repetition_problems
from services.catalog.domain.validation.resources import resource_problems, unknown_tags
from services.catalog.domain.validation.skills import skill_problems, unknown_prerequisites

# An import with more is a mistake in all of it; the first ones show which.
PROBLEMS_MAX = 10_000

_NOT_IMPORTED = "neither in the catalog nor in this import; import that skill too, or correct the id"


def check_import(
    skills: Sequence[Skill],
    resources: Sequence[Resource],
    existing_skills: Mapping[str, Skill],
) -> list[Problem]:
    """Everything wrong with an import, given what the tenant has already. Empty: it may be written.

    Existing records are not checked again: only problems that involve a record of the import are named.
    """
    problems = check_records(skills, resources)
    if len(problems) >= PROBLEMS_MAX:
        return problems
    known = existing_skills.keys() | {skill.id for skill in skills}
    problems += islice(_unknown_skills(skills, resources, known), PROBLEMS_MAX - len(problems))
    problems += islice(_cycle_problems(skills, existing_skills), PROBLEMS_MAX - len(problems))
    return problems


def check_records(skills: Sequence[Skill], resources: Sequence[Resource]) -> list[Problem]:
    """Everything wrong that can be seen without the rest of the catalog: each record by itself, and ids given twice."""
    return list(islice(_problems_of_records(skills, resources), PROBLEMS_MAX))


def _problems_of_records(skills: Sequence[Skill], resources: Sequence[Resource]) -> Iterator[Problem]:
    for index, skill in enumerate(skills):
        yield from skill_problems(f"skills[{index}]", skill)
    for index, resource in enumerate(resources):
        yield from resource_problems(f"resources[{index}]", resource)
    yield from _duplicate_ids("skills", [skill.id for skill in skills])
    yield from _duplicate_ids("resources", [resource.id for resource in resources])


def _duplicate_ids(kind: str, ids: Sequence[str]) -> Iterator[Problem]:
    return repetition_problems(ids, lambda index: f"{kind}[{index}].id")


def _unknown_skills(
    skills: Sequence[Skill], resources: Sequence[Resource], known: Collection[str]
) -> Iterator[Problem]:
    for index, skill in enumerate(skills):
        yield from unknown_prerequisites(f"skills[{index}]", skill, known, _NOT_IMPORTED)
    for index, resource in enumerate(resources):
        yield from unknown_tags(f"resources[{index}]", resource, known, _NOT_IMPORTED)


def _cycle_problems(skills: Sequence[Skill], existing: Mapping[str, Skill]) -> Iterator[Problem]:
    index_of = {skill.id: index for index, skill in enumerate(skills)}
    requires = {skill.id: skill.prerequisites for skill in existing.values()}
    requires |= {skill.id: skill.prerequisites for skill in skills}
    for cycle in cycles(requires):
        edges = list(pairwise(cycle))
        # The last edge closes the cycle; if it existed before, blame one that the import adds.
        for skill, required in reversed(edges):
            if skill in index_of:
                place = requires[skill].index(required)
                named = " -> ".join(cycle)
                yield Problem(
                    f"skills[{index_of[skill]}].prerequisites[{place}]",
                    f"closes the cycle {named} (each requires the next); remove one of these prerequisites",
                )
                break
