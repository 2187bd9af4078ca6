"""Checks of a skill."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from services.catalog.domain.model import Skill
from services.catalog.domain.prerequisites import cycles
from services.catalog.domain.validation.fields import (
    NAME_CHARACTERS_MAX,
    TEXT_CHARACTERS_MAX,
    Problem,
    grade_problems,
    identifier_list_problems,
    identifier_problems,
    text_problems,
    unknown_skill,
)

PREREQUISITES_MAX = 64
EQUIVALENTS_MAX = 64


def check_skill(path: str, skill: Skill, existing: Mapping[str, Skill]) -> list[Problem]:
    """Everything wrong with one skill, given the tenant's skills; the fields' paths begin with `path`."""
    problems = [*skill_problems(path, skill), *unknown_prerequisites(path, skill, existing, "")]
    if not problems:
        # Only a cycle through this skill can be new, so only its direct and indirect prerequisites matter.
        problems += _cycle_through(path, skill, existing)
    return problems


def skill_problems(path: str, skill: Skill) -> Iterator[Problem]:
    """The problems of a skill on its own."""
    yield from identifier_problems(f"{path}.id", skill.id)
    yield from text_problems(f"{path}.framework", skill.framework, NAME_CHARACTERS_MAX)
    yield from text_problems(f"{path}.code", skill.code, NAME_CHARACTERS_MAX)
    yield from text_problems(f"{path}.statement", skill.statement, TEXT_CHARACTERS_MAX, breaks=True)
    yield from identifier_list_problems(f"{path}.prerequisites", skill.prerequisites, PREREQUISITES_MAX)
    yield from identifier_list_problems(f"{path}.equivalents", skill.equivalents, EQUIVALENTS_MAX)
    if skill.parent:
        yield from identifier_problems(f"{path}.parent", skill.parent)
    yield from grade_problems(path, skill.grades)
    if skill.importance is not None and not 0 <= skill.importance <= 1:
        yield Problem(f"{path}.importance", f"{skill.importance} must be from 0 to 1; leave it out for 1")


def unknown_prerequisites(path: str, skill: Skill, known: Collection[str], remedy: str) -> Iterator[Problem]:
    """Prerequisites that are not among the known skills; `remedy`: as of `unknown_skill`."""
    for place, prerequisite in enumerate(skill.prerequisites[:PREREQUISITES_MAX]):
        if prerequisite and prerequisite != skill.id and prerequisite not in known:
            yield unknown_skill(f"{path}.prerequisites[{place}]", prerequisite, remedy)


def _cycle_through(path: str, skill: Skill, existing: Mapping[str, Skill]) -> Iterator[Problem]:
    requires = {skill.id: skill.prerequisites}
    pending = list(skill.prerequisites)
    while pending:
        identifier = pending.pop()
        if identifier not in requires and identifier in existing:
            requires[identifier] = existing[identifier].prerequisites
            pending += requires[identifier]
    for cycle in cycles(requires):
        if skill.id in cycle:
            start = cycle.index(skill.id)
            turned = [*cycle[start:-1], *cycle[:start], skill.id]
            place = skill.prerequisites.index(turned[1])
            reason = (
                f"closes the cycle {' -> '.join(turned)} (each requires the next); remove one of these prerequisites"
            )
            yield Problem(f"{path}.prerequisites[{place}]", reason)
