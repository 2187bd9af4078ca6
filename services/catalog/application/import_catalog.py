"""Import: write a whole set of skills and resources, or none of it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from services.catalog.application.ports import CatalogUnavailableError, CatalogVersion
from services.catalog.application.writing import CatalogWriter, ChangeRefusedError
from services.catalog.domain.contents import Changes, Contents
from services.catalog.domain.model import RecordKind, Resource, Skill, kind_of
from services.catalog.domain.prerequisites import requirements_first
from services.catalog.domain.validation.fields import Problem
from services.catalog.domain.validation.imports import check_import

# A part takes a fraction of a second to write, and others wait for no more than one.
RECORDS_PER_PART = 1_000


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
        valid catalog. It is written in parts, between which others write: another tenant need not wait for all of it.
        Sending the same import again completes it.

        Raises:
            ImportInvalidError: when any record is invalid; nothing was written.
            CatalogUnavailableError: when the log cannot be reached, or the tenant's skills were changed meanwhile so
                that the rest is invalid; the import may be sent again.
            CatalogLogRecreatedError: when the log is not the one this service has read.
        """
        writing = _Import(skills, resources)
        # Before the turn: it takes seconds for 200,000 records.
        await writing.check(self._writer.contents(tenant))
        while True:
            version = await self._writer.write(tenant, writing.next_part)
            writing.part_is_written()
            if writing.is_complete:
                return writing.outcome(version)


class _Import:
    """An import while it is being written."""

    def __init__(self, skills: Sequence[Skill], resources: Sequence[Resource]) -> None:
        self._skills = skills
        self._resources = resources
        self._problems: list[Problem] = []
        # The revision of the tenant's skills that the import was last checked against.
        self._checked = -1
        self._records: list[Skill | Resource] = [*skills, *resources]
        self._place = self._place_after = 0
        self._part: list[Skill | Resource] = []
        self._written: Counter[RecordKind] = Counter()

    @property
    def is_complete(self) -> bool:
        """Whether everything is in the catalog."""
        return self._place >= len(self._records)

    async def check(self, contents: Contents) -> None:
        """Check all of it, and order what is left."""
        # Off the event loop: reads must not wait.
        self._checked = contents.skills.revision
        existing = dict(contents.skills.items())
        self._problems = await asyncio.to_thread(check_import, self._skills, self._resources, existing)
        if not self._problems:
            self._records[self._place :] = await asyncio.to_thread(self._ordered, existing)

    async def next_part(self, contents: Contents) -> Changes:
        """The next records that differ from the catalog's."""
        if self._checked != contents.skills.revision:
            await self.check(contents)
        if self._problems:
            if self._written:
                raise CatalogUnavailableError(
                    f"the catalog was changed while this import was being written, and the rest of it is invalid now "
                    f"({self._problems[0].path} {self._problems[0].reason}); {self._written.total()} records are "
                    "written; send it again"
                )
            raise ImportInvalidError(self._problems)
        self._part, self._place_after = await asyncio.to_thread(self._differing, contents)
        return Changes(tuple(self._part))

    def part_is_written(self) -> None:
        """The last part is in the view."""
        self._written.update(kind_of(record) for record in self._part)
        self._place = self._place_after
        # Its own skills change nothing that was checked.
        self._checked += sum(isinstance(record, Skill) for record in self._part)

    def outcome(self, version: CatalogVersion) -> ImportOutcome:
        """What was done."""
        skills, resources = self._written[RecordKind.SKILL], self._written[RecordKind.RESOURCE]
        return ImportOutcome(
            skills_written=skills,
            skills_unchanged=len(self._skills) - skills,
            resources_written=resources,
            resources_unchanged=len(self._resources) - resources,
            version=version,
        )

    def _ordered(self, existing: dict[str, Skill]) -> list[Skill | Resource]:
        left = self._records[self._place :]
        skills = [record for record in left if isinstance(record, Skill)]
        resources = [record for record in left if isinstance(record, Resource)]
        return [*_in_writing_order(skills, existing | {skill.id: skill for skill in self._skills}), *resources]

    def _differing(self, contents: Contents) -> tuple[list[Skill | Resource], int]:
        differing: list[Skill | Resource] = []
        for place in range(self._place, len(self._records)):
            record = self._records[place]
            if contents.get(kind_of(record), record.id) != record:
                differing.append(record)
            if len(differing) == RECORDS_PER_PART:
                return differing, place + 1
        return differing, len(self._records)


def _in_writing_order(skills: Sequence[Skill], all_skills: dict[str, Skill]) -> list[Skill]:
    place = {
        identifier: place
        for place, identifier in enumerate(
            requirements_first({skill.id: skill.prerequisites for skill in all_skills.values()})
        )
    }
    return sorted(skills, key=lambda skill: place[skill.id])
