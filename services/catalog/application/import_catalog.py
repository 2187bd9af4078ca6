"""Import: write a whole set of skills and resources, or none of it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from services.catalog.application.ports import CatalogLog, CatalogVersion, CatalogView
from services.catalog.domain.model import Resource, Skill
from services.catalog.domain.prerequisites import requirements_first
from services.catalog.domain.validation import Problem, check_import


class ImportInvalidError(ValueError):
    """An import has problems; nothing of it was written."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        """Args: everything that is wrong."""
        super().__init__(f"{len(problems)} problems")
        self.problems = tuple(problems)


class CatalogLogRecreatedError(RuntimeError):
    """The log ends before what this service has read of it: it is not the log that was read."""


@dataclass(frozen=True, slots=True)
class ImportOutcome:
    """What an import wrote, what stood like that already, and the catalog's version after it."""

    skills_written: int
    skills_unchanged: int
    resources_written: int
    resources_unchanged: int
    version: CatalogVersion


class ImportCatalog:
    """The use case. One at a time: each import is checked against everything the one before it wrote."""

    def __init__(self, log: CatalogLog, view: CatalogView) -> None:
        self._log = log
        self._view = view
        self._turn = asyncio.Lock()

    async def run(self, tenant: str, skills: Sequence[Skill], resources: Sequence[Resource]) -> ImportOutcome:
        """Check an import together with what the tenant has, write what is new or different, and wait to see it.

        Skills are written before what requires them, and before the resources, so that whatever part of an import a
        reader has seen, or a failing broker has kept, is a valid catalog. Sending the same import again completes it.

        Raises:
            ImportInvalidError: when anything is wrong; nothing was written.
            CatalogUnavailableError: when the log cannot be reached; the import may be sent again.
            CatalogLogRecreatedError: when the log is not the one this service has read.
        """
        async with self._turn:
            await self._catch_up()
            existing = self._view.contents(tenant)
            existing_skills = dict(existing.skills.items())
            # Off the event loop: 200,000 records take seconds to check, and reads go on meanwhile.
            problems = await asyncio.to_thread(check_import, skills, resources, existing_skills)
            if problems:
                raise ImportInvalidError(problems)
            new_skills = _in_writing_order(
                [skill for skill in skills if existing_skills.get(skill.id) != skill],
                existing_skills | {skill.id: skill for skill in skills},
            )
            new_resources = [resource for resource in resources if existing.resources.get(resource.id) != resource]
            if new_skills or new_resources:
                await self._view.wait_for(await self._append(tenant, new_skills, new_resources))
            return ImportOutcome(
                skills_written=len(new_skills),
                skills_unchanged=len(skills) - len(new_skills),
                resources_written=len(new_resources),
                resources_unchanged=len(resources) - len(new_resources),
                version=self._view.version,
            )

    async def _catch_up(self) -> None:
        end = await self._log.end()
        if not end.includes(self._view.version):
            raise CatalogLogRecreatedError(
                f"the catalog topics end at {end}, before {self._view.version} which was read from them: they were "
                "recreated; restart the catalog service, then import again"
            )
        await self._view.wait_for(end)

    async def _append(self, tenant: str, skills: Sequence[Skill], resources: Sequence[Resource]) -> CatalogVersion:
        appending = asyncio.ensure_future(self._log.append(tenant, skills, resources))
        try:
            return await asyncio.shield(appending)
        except asyncio.CancelledError:
            # The caller has gone but the records are on their way: keep the turn until it is known what became of
            # them. Nobody is left to be told of a failure.
            await asyncio.wait({appending})
            appending.exception()
            raise


def _in_writing_order(skills: Sequence[Skill], all_skills: dict[str, Skill]) -> list[Skill]:
    place = {
        identifier: place
        for place, identifier in enumerate(
            requirements_first({skill.id: skill.prerequisites for skill in all_skills.values()})
        )
    }
    return sorted(skills, key=lambda skill: place[skill.id])
