"""Import: write a whole set of skills and resources, or none of it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from services.catalog.application.ports import CatalogVersion
from services.catalog.application.writing import CatalogWriter, ChangeRefusedError
from services.catalog.domain.contents import Changes, Contents
from services.catalog.domain.model import Resource, Skill
from services.catalog.domain.prerequisites import requirements_first
from services.catalog.domain.validation.fields import Problem
from services.catalog.domain.validation.imports import check_import


class ImportInvalidError(ChangeRefusedError):
    """An import is invalid; nothing of it was written."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        """Args: all of its problems."""
        super().__init__(f"{len(problems)} problems")
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True)
class ImportOutcome:
    """How many records an import wrote or found unchanged, and the catalog's version after it."""

    skills_written: int
    skills_unchanged: int
    resources_written: int
    resources_unchanged: int
    version: CatalogVersion


class ImportCatalog:
    """The use case. Each import is checked against everything written before it."""

    def __init__(self, writer: CatalogWriter) -> None:
        self._writer = writer

    async def run(self, tenant: str, skills: Sequence[Skill], resources: Sequence[Resource]) -> ImportOutcome:
        """Check an import against the tenant's catalog, write what is new or changed, and wait until the view has it.

        Skills are written after their prerequisites and before the resources, so that every part of an import is a
        valid catalog even on a broker that shows uncommitted records. Sending the same import again completes it.

        Raises:
            ImportInvalidError: when any record is invalid; nothing was written.
            CatalogUnavailableError: when the log cannot be reached; the import may be sent again.
            CatalogLogRecreatedError: when the log is not the one this service has read.
        """
        new_skills: list[Skill] = []
        new_resources: list[Resource] = []

        async def decide(contents: Contents) -> Changes:
            nonlocal new_skills, new_resources
            existing_skills = dict(contents.skills.items())
            # Off the event loop: checking 200,000 records takes seconds, and reads must not wait.
            problems = await asyncio.to_thread(check_import, skills, resources, existing_skills)
            if problems:
                raise ImportInvalidError(problems)
            new_skills = _in_writing_order(
                [skill for skill in skills if existing_skills.get(skill.id) != skill],
                existing_skills | {skill.id: skill for skill in skills},
            )
            new_resources = [resource for resource in resources if contents.resources.get(resource.id) != resource]
            return Changes((*new_skills, *new_resources))

        version = await self._writer.write(tenant, decide)
        return ImportOutcome(
            skills_written=len(new_skills),
            skills_unchanged=len(skills) - len(new_skills),
            resources_written=len(new_resources),
            resources_unchanged=len(resources) - len(new_resources),
            version=version,
        )


def _in_writing_order(skills: Sequence[Skill], all_skills: dict[str, Skill]) -> list[Skill]:
    place = {
        identifier: place
        for place, identifier in enumerate(
            requirements_first({skill.id: skill.prerequisites for skill in all_skills.values()})
        )
    }
    return sorted(skills, key=lambda skill: place[skill.id])
