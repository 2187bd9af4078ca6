"""Put and delete single records, each decided on the version that the caller means to replace."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Generic, TypeVar, cast

from services.catalog.application.ports import CatalogVersion
from services.catalog.application.writing import CatalogWriter, ChangeRefusedError
from services.catalog.domain.contents import Changes, Contents
from services.catalog.domain.etags import etag_of, same_content
from services.catalog.domain.model import RecordKind, Resource, Rule, Skill, kind_of
from services.catalog.domain.validation.fields import Problem
from services.catalog.domain.validation.resources import check_resource
from services.catalog.domain.validation.rules import check_rule
from services.catalog.domain.validation.skills import check_skill

RULES_MAX = 10_000
_NAMED_MAX = 5

Record = TypeVar("Record", Skill, Resource, Rule)
AnyRecord = Skill | Resource | Rule


@dataclass(frozen=True, slots=True)
class Expectation:
    """What the caller believes to stand where it writes.

    Attributes:
        etag: of the version to replace; empty: whatever stands there.
        must_be_new: whether nothing may stand there.
    """

    etag: str = ""
    must_be_new: bool = False


WHATEVER = Expectation()


class EditInvalidError(ChangeRefusedError):
    """A record has problems; it was not written."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        """Args: everything that is wrong."""
        super().__init__(f"{len(problems)} problems")
        self.problems = tuple(problems)


class RecordMissingError(ChangeRefusedError):
    """There is no record of that kind and id."""

    def __init__(self, kind: RecordKind, identifier: str) -> None:
        super().__init__(f"there is no {kind} {identifier[:80]!r}")
        self.kind, self.identifier = kind, identifier


class ConflictError(ChangeRefusedError):
    """What stands there is not what the caller expected; nothing was written.

    Attributes:
        etag: of what stands there; empty: nothing does.
    """

    def __init__(self, message: str, etag: str) -> None:
        super().__init__(message)
        self.etag = etag


class RecordExistsError(ConflictError):
    """The record was to be new, but there is one."""


class SkillInUseError(ChangeRefusedError):
    """A skill cannot be removed while others name it."""


class TooManyRulesError(ChangeRefusedError):
    """A tenant has as many rules as it may have."""


@dataclass(frozen=True, slots=True)
class Written(Generic[Record]):
    """A record as it stands after a put.

    Attributes:
        record: the record.
        etag: of it.
        changed: whether it was written; it may have stood like that already.
        version: the catalog after it.
    """

    record: Record
    etag: str
    changed: bool
    version: CatalogVersion


class PutStatus(StrEnum):
    """What became of one entry of a batch."""

    WRITTEN = "written"
    UNCHANGED = "unchanged"
    CONFLICT = "conflict"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class PutResult:
    """What became of one entry of a batch; `etag` is of what stands, `problems` are those of a rejected one."""

    status: PutStatus
    etag: str = ""
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class BatchOutcome:
    """What became of each entry of a batch, in the order given, and the catalog after it."""

    skills: tuple[PutResult, ...]
    resources: tuple[PutResult, ...]
    version: CatalogVersion


class EditCatalog:
    """The use cases that change single records. Each answers once this service's own view holds the change."""

    def __init__(self, writer: CatalogWriter, now: Callable[[], datetime]) -> None:
        """Args: the writer, and the clock of rules' `updated_at`, aware."""
        self._writer = writer
        self._now = now

    async def put(
        self, tenant: str, record: Record, expected: Expectation = WHATEVER, *, key_id: str = ""
    ) -> Written[Record]:
        """Write a record where what stands there is as expected; one that says the same already is left alone.

        Args:
            tenant: whose catalog it is.
            record: the record as it is to be.
            expected: what the caller believes to stand there.
            key_id: id of the API key, noted with a rule.

        Raises:
            EditInvalidError: when anything is wrong with the record; paths begin with its kind.
            RecordExistsError: when it was to be new and is not.
            ConflictError: when it is not as expected.
            TooManyRulesError: when it would be one rule too many.
            CatalogUnavailableError: when the log cannot be reached; what was to be written may stand or not.
            CatalogLogRecreatedError: when the log is not the one this service has read.
        """

        async def as_given(_: Contents) -> Record:
            return record

        return await self.revise(tenant, kind_of(record), record.id, as_given, expected, key_id=key_id)

    async def revise(
        self,
        tenant: str,
        kind: RecordKind,
        identifier: str,
        revised: Callable[[Contents], Awaitable[Record]],
        expected: Expectation = WHATEVER,
        *,
        key_id: str = "",
    ) -> Written[Record]:
        """As `put`, of a record made from the catalog as it stands; `revised` may raise a ChangeRefusedError."""
        outcome: list[tuple[Record, bool]] = []

        async def decide(contents: Contents) -> Changes:
            standing = contents.get(kind, identifier)
            _check_expected(kind, identifier, standing, expected)
            record = await revised(contents)
            if standing is not None and same_content(standing, record):
                outcome.append((cast("Record", standing), False))
                return Changes()
            problems = _problems(str(kind), record, contents.skills, contents.resources)
            if problems:
                raise EditInvalidError(problems)
            if kind is RecordKind.RULE and standing is None and len(contents.rules) >= RULES_MAX:
                raise TooManyRulesError(f"there are {len(contents.rules):,} rules already; delete some that have ended")
            stamped = self._stamped(record, key_id)
            outcome.append((cast("Record", stamped), True))
            return Changes((stamped,))

        version = await self._writer.write(tenant, decide)
        record, changed = outcome[-1]
        return Written(record, etag_of(record), changed, version)

    def _stamped(self, record: AnyRecord, key_id: str) -> AnyRecord:
        if not isinstance(record, Rule):
            return record
        return replace(record, updated_at=self._now().replace(microsecond=0), updated_with=key_id)

    async def delete(self, tenant: str, kind: RecordKind, identifier: str, etag: str = "") -> CatalogVersion:
        """Remove a record where the one that stands there is as expected.

        Raises:
            RecordMissingError: when there is none.
            ConflictError: when it has another etag.
            SkillInUseError: when it is a skill that a resource, a rule or another skill names.
            CatalogUnavailableError: as `put`.
            CatalogLogRecreatedError: as `put`.
        """

        async def decide(contents: Contents) -> Changes:
            standing = contents.get(kind, identifier)
            if standing is None:
                raise RecordMissingError(kind, identifier)
            _check_expected(kind, identifier, standing, Expectation(etag))
            if kind is RecordKind.SKILL and (named := _named_by(contents, identifier)):
                raise SkillInUseError(
                    f"skill {identifier[:80]!r} is named by {named}; take it out of them, or remove them, first"
                )
            return Changes(removed=((kind, identifier),))

        return await self._writer.write(tenant, decide)

    async def put_batch(
        self,
        tenant: str,
        skills: Sequence[tuple[Skill, Expectation]],
        resources: Sequence[tuple[Resource, Expectation]],
    ) -> BatchOutcome:
        """Write several skills, then several resources; a bad one never sinks the others.

        Each entry is checked against the catalog with the entries before it. Paths of problems begin with
        `skills[0].skill` or `resources[0].resource`. All that is written is seen by readers at once.

        Raises:
            CatalogUnavailableError: as `put`; nothing is known of any entry.
            CatalogLogRecreatedError: as `put`.
        """
        results: list[list[PutResult]] = []

        async def decide(contents: Contents) -> Changes:
            new_skills: dict[str, Skill] = {}
            new_resources: dict[str, Resource] = {}
            all_skills = ChainMap[str, Skill](new_skills, cast("dict[str, Skill]", contents.skills))
            all_resources = ChainMap[str, Resource](new_resources, cast("dict[str, Resource]", contents.resources))
            of_skills, of_resources = [], []
            for place, (skill, expected) in enumerate(skills):
                path = f"skills[{place}].skill"
                result = _entry(path, skill, expected, all_skills.get(skill.id), all_skills, all_resources)
                of_skills.append(result)
                if result.status is PutStatus.WRITTEN:
                    new_skills[skill.id] = skill
            for place, (resource, expected) in enumerate(resources):
                path = f"resources[{place}].resource"
                result = _entry(path, resource, expected, all_resources.get(resource.id), all_skills, all_resources)
                of_resources.append(result)
                if result.status is PutStatus.WRITTEN:
                    new_resources[resource.id] = resource
            results[:] = [of_skills, of_resources]
            return Changes((*new_skills.values(), *new_resources.values()))

        version = await self._writer.write(tenant, decide)
        return BatchOutcome(tuple(results[0]), tuple(results[1]), version)


def _entry(
    path: str,
    record: Skill | Resource,
    expected: Expectation,
    standing: Skill | Resource | None,
    skills: Mapping[str, Skill],
    resources: Mapping[str, Resource],
) -> PutResult:
    try:
        _check_expected(kind_of(record), record.id, standing, expected)
    except ConflictError as error:
        return PutResult(PutStatus.CONFLICT, error.etag)
    except EditInvalidError as error:
        field = path.rpartition(".")[0]
        problems = [Problem(f"{field}.{problem.path}", problem.reason) for problem in error.problems]
        return PutResult(PutStatus.REJECTED, problems=tuple(problems))
    if standing is not None and same_content(standing, record):
        return PutResult(PutStatus.UNCHANGED, etag_of(standing))
    problems = _problems(path, record, skills, resources)
    if problems:
        return PutResult(PutStatus.REJECTED, problems=tuple(problems))
    return PutResult(PutStatus.WRITTEN, etag_of(record))


def _problems(
    path: str, record: AnyRecord, skills: Mapping[str, Skill], resources: Mapping[str, Resource]
) -> list[Problem]:
    if isinstance(record, Skill):
        return check_skill(path, record, skills)
    if isinstance(record, Resource):
        return check_resource(path, record, skills)
    return check_rule(path, record, skills, resources)


def _check_expected(kind: RecordKind, identifier: str, standing: AnyRecord | None, expected: Expectation) -> None:
    named = f"{kind} {identifier[:80]!r}"
    if expected.etag and expected.must_be_new:
        raise EditInvalidError([Problem("must_be_new", "is set beside etag; a record that is new has no etag yet")])
    etag = "" if standing is None else etag_of(standing)
    if expected.must_be_new and standing is not None:
        raise RecordExistsError(f"there is a {named} already, with the etag {etag}; replace it with that", etag)
    if expected.etag and standing is None:
        raise ConflictError(f"there is no {named} any more; put it without an etag to make it anew", "")
    if expected.etag and expected.etag != etag:
        raise ConflictError(
            f"{named} is no longer the version with the etag {expected.etag[:80]!r}: it has {etag} now; "
            "read it again, apply the change to that, and send it with that etag",
            etag,
        )


def _named_by(contents: Contents, skill: str) -> str:
    named = [f"skill {other.id!r}" for other in contents.skills.values() if skill in other.prerequisites]
    named += [
        f"resource {resource.id!r}"
        for resource in contents.resources.values()
        if any(tag.skill == skill for tag in resource.tags)
    ]
    named += [f"rule {rule.id!r}" for rule in contents.rules.values() if skill in rule.skills]
    if len(named) > _NAMED_MAX:
        named = [*named[:_NAMED_MAX], f"{len(named) - _NAMED_MAX:,} more"]
    return ", ".join(named)
