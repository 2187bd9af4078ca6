"""SuggestTags, ListTagReviews and ReviewTag: what the tagger says, and what people say of it."""

from __future__ import annotations

import asyncio
import base64
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Protocol

from services.catalog.application.edit_catalog import (
    EditCatalog,
    EditInvalidError,
    Expectation,
    RecordMissingError,
    Written,
)
from services.catalog.application.ports import CatalogView
from services.catalog.application.read_catalog import PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX, PageRequestInvalidError
from services.catalog.domain.contents import Contents
from services.catalog.domain.model import RecordKind, Resource, ResourceStatus, TagOrigin
from services.catalog.domain.reviews import QueuePlace, ReviewQueue, WaitingTag, accepted, rejected
from services.catalog.domain.validation.fields import Problem

SUGGESTIONS_MAX = 20
SUGGESTIONS_DEFAULT = 5
ASKED_MAX = 100
TEXT_CHARACTERS_MAX = 8_192

_QUEUED_PER_RESOURCE = 3
_QUEUED_CONFIDENCE_MIN = 0.05
# Suggestions are kept after so many, so that a caller who gave up has not waited in vain.
_RESOURCES_PER_TURN = 200
_TOKEN_FORMAT = 1


class NoTaggerError(RuntimeError):
    """The tenant has no tagger that can be used."""


class TagDecision(StrEnum):
    """What a person says of a suggestion."""

    ACCEPT = "accept"
    REJECT = "reject"


@dataclass(frozen=True, slots=True)
class SuggestedSkill:
    """A skill a resource may be about.

    Attributes:
        skill: its id.
        confidence: how likely it is, from 0 to 1.
        examples: on how many resources that have the skill it was learned.
    """

    skill: str
    confidence: float
    examples: int


class Tagger(Protocol):
    """A fitted tagger; never changes. Its calls take long, and may be made on any thread."""

    @property
    def name(self) -> str:
        """Differs from that of any other tagger."""
        ...

    def suggest_for(self, resources: Sequence[Resource], limit: int) -> list[list[SuggestedSkill]]:
        """Up to `limit` skills for each, the likeliest first."""
        ...

    def suggest(self, texts: Sequence[str], limit: int) -> list[list[SuggestedSkill]]:
        """The same for texts."""
        ...


class Taggers(Protocol):
    """The tenants' taggers."""

    def of(self, tenant: str) -> Tagger | None:
        """The tenant's tagger as it is now; None when there is none that can be used."""
        ...

    def missing(self, tenant: str) -> str:
        """Why there is none, and what to do."""
        ...

    def traffic(self, tenant: str) -> Mapping[str, int]:
        """Responses by resource, as far as known; the same object until it changes."""
        ...


class SuggestTags:
    """What resources and texts may be about, by the tenant's tagger."""

    def __init__(self, view: CatalogView, taggers: Taggers) -> None:
        self._view = view
        self._taggers = taggers

    async def run(
        self, tenant: str, resource_ids: Sequence[str], texts: Sequence[str], limit: int
    ) -> tuple[str, list[list[SuggestedSkill]]]:
        """The tagger's name, and suggestions for each resource, then for each text.

        Skills that are no longer in the catalog, and those a person has said a resource is not about, are left out.

        Args:
            tenant: whose catalog and tagger.
            resource_ids: resources of the catalog.
            texts: any texts.
            limit: at most this many each; 0: 5.

        Raises:
            NoTaggerError: when the tenant has none.
            EditInvalidError: when something is asked for that cannot be answered.
        """
        tagger = _tagger_of(self._taggers, tenant)
        contents = self._view.contents(tenant)
        problems = list(_asked_wrongly(contents, resource_ids, texts, limit))
        if problems:
            raise EditInvalidError(problems)
        resources = [contents.resources[identifier] for identifier in resource_ids]
        most = limit or SUGGESTIONS_DEFAULT
        # Some more, because some may be left out.
        of_resources = await asyncio.to_thread(tagger.suggest_for, resources, SUGGESTIONS_MAX) if resources else []
        of_texts = await asyncio.to_thread(tagger.suggest, list(texts), SUGGESTIONS_MAX) if texts else []
        kept = [
            _allowed(contents, found, resource.rejected_skills)[:most]
            for resource, found in zip(resources, of_resources, strict=True)
        ]
        return tagger.name, kept + [_allowed(contents, found, ())[:most] for found in of_texts]


@dataclass(frozen=True, slots=True)
class ReviewPage:
    """Suggestions that wait, the token of the page that follows (empty: none does), and how many wait in all."""

    waiting: list[WaitingTag]
    next_page_token: str
    total: int


class ListTagReviews:
    """The queue of suggestions that wait for a person: tags nobody has looked at, and skills for untagged resources."""

    def __init__(self, view: CatalogView, taggers: Taggers) -> None:
        self._view = view
        self._taggers = taggers
        self._suggested: defaultdict[str, dict[str, tuple[Resource, list[SuggestedSkill]]]] = defaultdict(dict)
        self._suggested_by: dict[str, str] = {}
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def run(self, tenant: str, page_size: int, page_token: str) -> ReviewPage:
        """A page of the queue.

        Without a tagger, only tags that an earlier one suggested wait.

        Raises:
            PageRequestInvalidError: when size or token cannot be used.
        """
        if not 0 <= page_size <= PAGE_SIZE_MAX:
            raise PageRequestInvalidError("page_size", f"{page_size} must be from 1 to {PAGE_SIZE_MAX:,}, or 0 for 100")
        tagger = self._taggers.of(tenant)
        name = "" if tagger is None else tagger.name
        place = _place_of(page_token, name)
        contents = self._view.contents(tenant)
        if tagger is not None:
            # Of two callers one computes, and the other finds it done.
            async with self._turns[tenant]:
                await self._suggest(tenant, tagger, contents)
        queue = ReviewQueue(self._waiting(tenant, contents))
        waiting, reached = queue.page(place, page_size or PAGE_SIZE_DEFAULT)
        token = "" if queue.is_at_end(reached) else _token_of(reached, name)
        return ReviewPage(waiting, token, len(queue))

    async def _suggest(self, tenant: str, tagger: Tagger, contents: Contents) -> None:
        if self._suggested_by.get(tenant) != tagger.name:
            self._suggested[tenant] = {}
            self._suggested_by[tenant] = tagger.name
        suggested = self._suggested[tenant]
        missing = [
            resource
            for resource in contents.resources.values()
            if _waits_for_skills(resource)
            and (resource.id not in suggested or suggested[resource.id][0] is not resource)
        ]
        for start in range(0, len(missing), _RESOURCES_PER_TURN):
            some = missing[start : start + _RESOURCES_PER_TURN]
            found = await asyncio.to_thread(tagger.suggest_for, some, SUGGESTIONS_MAX)
            suggested.update(
                (resource.id, (resource, suggestions)) for resource, suggestions in zip(some, found, strict=True)
            )

    def _waiting(self, tenant: str, contents: Contents) -> list[WaitingTag]:
        traffic = self._taggers.traffic(tenant)
        suggested = self._suggested[tenant] if self._taggers.of(tenant) is not None else {}
        waiting = []
        for resource in contents.resources.values():
            if resource.status is ResourceStatus.RETIRED:
                continue
            pairs = {
                tag.skill: 0.5 if tag.confidence is None else tag.confidence
                for tag in resource.tags
                if tag.origin is TagOrigin.SUGGESTED
            }
            if _waits_for_skills(resource) and resource.id in suggested:
                found = _allowed(contents, suggested[resource.id][1], resource.rejected_skills)
                pairs |= {
                    one.skill: one.confidence
                    for one in found[:_QUEUED_PER_RESOURCE]
                    if one.confidence >= _QUEUED_CONFIDENCE_MIN
                }
            responses = traffic.get(resource.id, 0)
            waiting += [
                WaitingTag(resource.id, resource.title, skill, confidence, responses)
                for skill, confidence in pairs.items()
            ]
        return waiting


class ReviewTag:
    """Writes a person's answer to a suggestion into the resource."""

    def __init__(self, edit: EditCatalog, taggers: Taggers) -> None:
        self._edit = edit
        self._taggers = taggers

    async def run(
        self, tenant: str, resource_id: str, skill: str, decision: TagDecision, etag: str
    ) -> Written[Resource]:
        """The resource after the answer. Answering the same twice changes nothing.

        Raises:
            RecordMissingError: when there is no such resource.
            EditInvalidError: when the catalog has no such skill, or the resource could hold no more.
            ConflictError: when the resource is not the version that was looked at.
            CatalogUnavailableError: as `EditCatalog.put`.
            CatalogLogRecreatedError: as `EditCatalog.put`.
        """
        tagger = self._taggers.of(tenant)

        async def revised(contents: Contents) -> Resource:
            resource = contents.resources.get(resource_id)
            if resource is None:
                raise RecordMissingError(RecordKind.RESOURCE, resource_id)
            if skill not in contents.skills:
                reason = f"skill {skill[:80]!r} is not in the catalog; ListTagReviews names those that wait"
                raise EditInvalidError([Problem("skill", reason)])
            if decision is TagDecision.REJECT:
                return rejected(resource, skill)
            already = any(tag.skill == skill for tag in resource.tags)
            if already or tagger is None:
                return accepted(resource, skill, None)
            return accepted(resource, skill, await asyncio.to_thread(_confidence, tagger, resource, skill))

        return await self._edit.revise(tenant, RecordKind.RESOURCE, resource_id, revised, Expectation(etag))


def _tagger_of(taggers: Taggers, tenant: str) -> Tagger:
    tagger = taggers.of(tenant)
    if tagger is None:
        raise NoTaggerError(taggers.missing(tenant))
    return tagger


def _asked_wrongly(contents: Contents, resource_ids: Sequence[str], texts: Sequence[str], limit: int) -> list[Problem]:
    problems = []
    asked = len(resource_ids) + len(texts)
    if not asked:
        problems.append(Problem("resource_ids", "is empty, and so is texts; name a resource or give a text"))
    if asked > ASKED_MAX:
        problems.append(
            Problem("resource_ids", f"{asked} resources and texts are too many; ask for {ASKED_MAX} at once")
        )
    if limit > SUGGESTIONS_MAX:
        problems.append(Problem("limit", f"{limit} is more than {SUGGESTIONS_MAX}; ask for 1 to {SUGGESTIONS_MAX}"))
    for place, identifier in enumerate(resource_ids):
        if identifier not in contents.resources:
            problems.append(Problem(f"resource_ids[{place}]", f"resource {identifier[:80]!r} is not in the catalog"))
    for place, text in enumerate(texts):
        if len(text) > TEXT_CHARACTERS_MAX:
            reason = f"it has {len(text):,} characters; give at most {TEXT_CHARACTERS_MAX:,}"
            problems.append(Problem(f"texts[{place}]", reason))
    return problems


def _waits_for_skills(resource: Resource) -> bool:
    return not resource.tags and resource.status is not ResourceStatus.RETIRED


def _allowed(contents: Contents, found: Sequence[SuggestedSkill], not_these: Sequence[str]) -> list[SuggestedSkill]:
    return [one for one in found if one.skill in contents.skills and one.skill not in not_these]


def _confidence(tagger: Tagger, resource: Resource, skill: str) -> float | None:
    plain = replace(resource, rejected_skills=())
    (found,) = tagger.suggest_for([plain], SUGGESTIONS_MAX)
    return next((one.confidence for one in found if one.skill == skill), None)


def _token_of(place: QueuePlace, tagger: str) -> str:
    content = [_TOKEN_FORMAT, tagger, place.taken, place.by_priority, place.at_random]
    return base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")


def _place_of(page_token: str, tagger: str) -> QueuePlace:
    if not page_token:
        return QueuePlace()
    reason = f"{page_token[:80]!r} is not a page token; pass next_page_token of the page before unchanged"
    try:
        raw = base64.b64decode(page_token + "=" * (-len(page_token) % 4), altchars=b"-_", validate=True)
        version, made_by, taken, by_priority, at_random = json.loads(raw)
        if version != _TOKEN_FORMAT:
            raise PageRequestInvalidError("page_token", reason)
        place = QueuePlace(
            int(taken),
            None if by_priority is None else (float(by_priority[0]), str(by_priority[1]), str(by_priority[2])),
            None if at_random is None else (int(at_random[0]), str(at_random[1]), str(at_random[2])),
        )
    except (ValueError, TypeError, IndexError) as error:
        raise PageRequestInvalidError("page_token", reason) from error
    if made_by != tagger:
        raise PageRequestInvalidError("page_token", "the tagger has changed since; begin with the first page again")
    return place
