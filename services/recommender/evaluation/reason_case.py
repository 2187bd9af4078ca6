"""An entry of a list with what its reasons must agree with, and what the sentences of reasons have in common."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from services.recommender.evaluation.reason_facts import Entry, Facts, KnownSkill, ResourceFacts, SkillFacts

CUT = re.compile(r"(?i:\b(?:a|an|and|as|at|by|for|from|in|of|on|or|than|the|to|with)|[-.,:;(\u2013])$")
"""How a phrase ends that was cut short."""
_LATEST = 3

Parts = Mapping[str, str | None]
"""The named parts of a sentence."""


@dataclass(frozen=True, slots=True)
class Case:
    """An entry of a list with everything that its reasons must agree with.

    Attributes:
        facts: of the list.
        entry: the entry.
        resource: its resource.
        number: how many entries of the list serve the entry's skill, up to this one.
    """

    facts: Facts
    entry: Entry
    resource: ResourceFacts
    number: int

    def known(self, skill: str) -> KnownSkill:
        """What is known about the learner on a skill."""
        return self.facts.learner.known(skill)

    def in_catalog(self, resource: str) -> bool:
        """Whether the catalog has a resource."""
        return self.facts.catalog.resource(resource) is not None

    @property
    def latest(self) -> list[str]:
        """The resources of the latest work that the catalog has, oldest first."""
        return [each for each in self.facts.learner.recent or () if self.in_catalog(each)][-_LATEST:]

    def skills_of(self, resource: str) -> set[str]:
        """The skills of a resource."""
        found = self.facts.catalog.resource(resource)
        return set() if found is None else set(found.skills)

    @property
    def latest_skills(self) -> set[str]:
        """The skills of the latest work."""
        return {skill for resource in self.latest for skill in self.skills_of(resource)}

    def prerequisites(self, skill: str) -> tuple[str, ...]:
        """The skills that a skill builds on directly."""
        found = self.facts.catalog.skill(skill)
        return () if found is None else found.prerequisites

    def source_of(self, skill: str) -> str:
        """A skill's code and its framework, as sentences name them."""
        found = self.facts.catalog.skill(skill)
        return "" if found is None else found.source

    def is_name_of(self, name: str | None, skill: str) -> bool:
        """Whether a skill may be called so."""
        return name in names_of(self.facts.catalog.skill(skill) or SkillFacts(skill))


@lru_cache(maxsize=10_000)
def names_of(skill: SkillFacts) -> frozenset[str]:
    """What a skill may be called: its id, its code, its statement, or a beginning of it that ends with a thought."""
    statement = " ".join(skill.statement.split())
    ends = [found.start() for found in re.finditer(r"[.,;:](?=\s|$)", statement)]
    beginnings = {
        statement[:end].rstrip()
        for end in ends
        if not CUT.search(statement[:end]) and statement[:end].count("(") == statement[:end].count(")")
    }
    return frozenset({" ".join(skill.skill_id.split()), skill.code, statement, *beginnings} - {""})
