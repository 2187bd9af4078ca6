"""Put and delete single records, with optimistic concurrency by etag."""

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
from services.common.turns import Pauses

# The results of 500 entries must fit into one reply.
_PROBLEMS_PER_ENTRY_MAX = 20

RULES_MAX = 10_000
_USERS_SHOWN = 5

Record = TypeVar("Record", Skill, Resource, Rule)
AnyRecord = Skill | Resource | Rule


@dataclass(frozen=True, slots=True)
class Expectation:
    """What the caller expects the current record to be.

    Attributes:
        etag: of the version to replace; empty: any version, or no record.
        must_be_new: whether there must be no record.
    """

    etag: str = ""
    must_be_new: bool = False


ANY = Expectation()


class EditInvalidError(ChangeRefusedError):
    """A record is invalid; it was not written."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        """Args: all of its problems."""
        super().__init__(f"{len(problems)} problems")
        self.problems = tuple(problems)


class RecordMissingError(ChangeRefusedError):
    """There is no record of that kind and id."""

    def __init__(self, kind: RecordKind, identifier: str) -> None:
        super().__init__(f"there is no {kind} {identifier[:80]!r}")
        self.kind, self.identifier = kind, identifier


class ConflictError(ChangeRefusedError):
    """The current record is not what the caller expected; nothing was written.

    Attributes:
        etag: of the current record; empty: there is none.
    """

    def __init__(self, message: str, etag: str) -> None:
        super().__init__(message)
        self.etag = etag


class RecordExistsError(ConflictError):
    """The record must be new, but there is one."""


class SkillInUseError(ChangeRefusedError):
    """A skill cannot be removed while other records refer to it."""


class TooManyRulesError(ChangeRefusedError):
    """A tenant has the maximum number of rules."""


@dataclass(frozen=True, slots=True)
class Written(Generic[Record]):
    """A record after a put.

    Attributes:
        record: the record.
        etag: its etag.
        changed: whether it was written; False: the catalog had the same content already.
        version: the catalog's version after the put.
    """

    record: Record
    etag: str
    changed: bool
    version: CatalogVersion


class PutStatus(StrEnum):
    """The outcome of one entry of a batch."""

    WRITTEN = "written"
    UNCHANGED = "unchanged"
    CONFLICT = "conflict"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class PutResult:
    """The result of one entry of a batch: the current record's etag, and the problems of a rejected entry."""

    status: PutStatus
    etag: str = ""
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class BatchOutcome:
    """The result of each entry of a batch, in the order given, and the catalog's version after it."""

    skills: tuple[PutResult, ...]
    resources: tuple[PutResult, ...]
    version: CatalogVersion


class EditCatalog:
    """The use cases that change single records. Each returns once this service's own view holds the change."""

    def __init__(self, writer: CatalogWriter, now: Callable[[], datetime]) -> None:
        """Args: the writer, and the clock of rules' `updated_at`, aware."""
        self._writer = writer
        self._now = now

    async def put(
        self, tenant: str, record: Record, expected: Expectation = ANY, *, key_id: str = ""
    ) -> Written[Record]:
        """Write a record if the current one is as expected; a record with the same content is not written again.

        Args:
            tenant: whose catalog it is.
            record: the new record.
            expected: what the caller expects the current record to be.
            key_id: id of the API key, stored with a rule.

        Raises:
            EditInvalidError: when the record is invalid; paths begin with its kind.
            RecordExistsError: when it must be new and is not.
            ConflictError: when the current record is not as expected.
            TooManyRulesError: when the tenant has the maximum number of rules.
            CatalogUnavailableError: when the log cannot be reached; the record may have been written or not.
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
        expected: Expectation = ANY,
        *,
        key_id: str = "",
    ) -> Written[Record]:
        """Like `put`, with a record computed from the current catalog; `revised` may raise a ChangeRefusedError."""
        outcome: list[tuple[Record, bool]] = []

        async def decide(contents: Contents) -> Changes:
            current = contents.get(kind, identifier)
            _check_expected(kind, identifier, current, expected)
            record = await revised(contents)
            if current is not None and same_content(current, record):
                outcome.append((cast("Record", current), False))
                return Changes()
            problems = _problems(str(kind), record, contents.skills, contents.resources)
            if problems:
                raise EditInvalidError(problems)
            if kind is RecordKind.RULE and current is None and len(contents.rules) >= RULES_MAX:
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
        """Remove a record if the current one is as expected.

        Raises:
            RecordMissingError: when there is none.
            ConflictError: when it has another etag.
            SkillInUseError: when it is a skill that a resource, a rule or another skill refers to.
            CatalogUnavailableError: as `put`.
            CatalogLogRecreatedError: as `put`.
        """

        async def decide(contents: Contents) -> Changes:
            current = contents.get(kind, identifier)
            if current is None:
                raise RecordMissingError(kind, identifier)
            _check_expected(kind, identifier, current, Expectation(etag))
            if kind is RecordKind.SKILL and (users := _users_of(contents, identifier)):
                raise SkillInUseError(
                    f"skill {identifier[:80]!r} is used by {users}; remove it from them, or delete them, first"
                )
            return Changes(removed=((kind, identifier),))

        return await self._writer.write(tenant, decide)

    async def put_batch(
        self,
        tenant: str,
        skills: Sequence[tuple[Skill, Expectation]],
        resources: Sequence[tuple[Resource, Expectation]],
    ) -> BatchOutcome:
        """Write several skills, then several resources; an invalid entry does not affect the others.

        Each entry is checked against the catalog and the entries before it. Paths of problems begin with
        `skills[0].skill` or `resources[0].resource`. Readers see everything that is written at once.

        Raises:
            CatalogUnavailableError: as `put`; the outcome of every entry is unknown.
            CatalogLogRecreatedError: as `put`.
        """
        results: list[list[PutResult]] = []

        async def decide(contents: Contents) -> Changes:
            new_skills: dict[str, Skill] = {}
            new_resources: dict[str, Resource] = {}
            all_skills = ChainMap[str, Skill](new_skills, cast("dict[str, Skill]", contents.skills))
            all_resources = ChainMap[str, Resource](new_resources, cast("dict[str, Resource]", contents.resources))
            of_skills, of_resources, pauses = [], [], Pauses()
            for place, (skill, expected) in enumerate(skills):
                path = f"skills[{place}].skill"
                result = _entry(path, skill, expected, all_skills.get(skill.id), all_skills, all_resources)
                of_skills.append(result)
                if result.status is PutStatus.WRITTEN:
                    new_skills[skill.id] = skill
                await pauses.when_due()
            for place, (resource, expected) in enumerate(resources):
                path = f"resources[{place}].resource"
                result = _entry(path, resource, expected, all_resources.get(resource.id), all_skills, all_resources)
                of_resources.append(result)
                if result.status is PutStatus.WRITTEN:
                    new_resources[resource.id] = resource
                await pauses.when_due()
            results[:] = [of_skills, of_resources]
            return Changes((*new_skills.values(), *new_resources.values()))

        version = await self._writer.write(tenant, decide)
        return BatchOutcome(tuple(results[0]), tuple(results[1]), version)


def _entry(
    path: str,
    record: Skill | Resource,
    expected: Expectation,
    current: Skill | Resource | None,
    skills: Mapping[str, Skill],
    resources: Mapping[str, Resource],
) -> PutResult:
    try:
        _check_expected(kind_of(record), record.id, current, expected)
    except ConflictError as error:
        return PutResult(PutStatus.CONFLICT, error.etag)
    except EditInvalidError as error:
        field = path.rpartition(".")[0]
        problems = [Problem(f"{field}.{problem.path}", problem.reason) for problem in error.problems]
        return PutResult(PutStatus.REJECTED, problems=tuple(problems))
    if current is not None and same_content(current, record):
        return PutResult(PutStatus.UNCHANGED, etag_of(current))
    problems = _problems(path, record, skills, resources)
    if problems:
        return PutResult(PutStatus.REJECTED, problems=tuple(problems[:_PROBLEMS_PER_ENTRY_MAX]))
    return PutResult(PutStatus.WRITTEN, etag_of(record))


def _problems(
    path: str, record: AnyRecord, skills: Mapping[str, Skill], resources: Mapping[str, Resource]
) -> list[Problem]:
    if isinstance(record, Skill):
        return check_skill(path, record, skills)
    if isinstance(record, Resource):
        return check_resource(path, record, skills)
    return check_rule(path, record, skills, resources)


def _check_expected(kind: RecordKind, identifier: str, current: AnyRecord | None, expected: Expectation) -> None:
    named = f"{kind} {identifier[:80]!r}"
    if expected.etag and expected.must_be_new:
        raise EditInvalidError([Problem("must_be_new", "is set together with etag; a new record has no etag yet")])
    etag = "" if current is None else etag_of(current)
    if expected.must_be_new and current is not None:
        raise RecordExistsError(f"there is a {named} already, with the etag {etag}; send that etag to replace it", etag)
    if expected.etag and current is None:
        raise ConflictError(f"{named} no longer exists; put it without an etag to create it again", "")
    if expected.etag and expected.etag != etag:
        raise ConflictError(
            f"{named} is no longer the version with the etag {expected.etag[:80]!r}: it has {etag} now; "
            "read it again, apply the change to it, and send it with the new etag",
            etag,
        )


def _users_of(contents: Contents, skill: str) -> str:
    users = [f"skill {other.id!r}" for other in contents.skills.values() if skill in other.prerequisites]
    users += [
        f"resource {resource.id!r}"
        for resource in contents.resources.values()
        if any(tag.skill == skill for tag in resource.tags)
    ]
    users += [f"rule {rule.id!r}" for rule in contents.rules.values() if skill in rule.skills]
    if len(users) > _USERS_SHOWN:
        users = [*users[:_USERS_SHOWN], f"{len(users) - _USERS_SHOWN:,} more"]
    return ", ".join(users)
