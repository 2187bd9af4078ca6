"""The queue of suggested tags that a person should review, and the answers."""

from __future__ import annotations

import asyncio
import base64
import json
from collections import defaultdict
from dataclasses import dataclass, replace
from enum import StrEnum

from services.catalog.application.edit_catalog import (
    EditCatalog,
    EditInvalidError,
    Expectation,
    RecordMissingError,
    Written,
)
from services.catalog.application.ports import CatalogView
from services.catalog.application.read_catalog import PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX, PageRequestInvalidError
from services.catalog.application.taggers import SUGGESTIONS_MAX, SuggestedSkill, Tagger, Taggers, allowed
from services.catalog.domain.contents import Contents
from services.catalog.domain.model import RecordKind, Resource, ResourceStatus, TagOrigin
from services.catalog.domain.reviews import QueuePlace, ReviewQueue, WaitingTag, accepted, rejected
from services.catalog.domain.validation.fields import Problem

_QUEUED_PER_RESOURCE = 3
_QUEUED_CONFIDENCE_MIN = 0.05
# Suggestions are stored after each chunk of this size, so that the work of an abandoned call is not lost.
_RESOURCES_PER_CHUNK = 200
_TOKEN_FORMAT = 1


class TagDecision(StrEnum):
    """A person's answer to a suggestion."""

    ACCEPT = "accept"
    REJECT = "reject"


@dataclass(frozen=True, slots=True)
class ReviewPage:
    """A page of the queue.

    Attributes:
        waiting: the suggestions.
        next_page_token: the token of the next page; empty: this is the last one.
        total: how many suggestions are in the queue.
    """

    waiting: list[WaitingTag]
    next_page_token: str
    total: int


class ListTagReviews:
    """The queue of suggestions to review: unreviewed tags, and skills for untagged resources."""

    def __init__(self, view: CatalogView, taggers: Taggers) -> None:
        self._view = view
        self._taggers = taggers
        self._suggested: defaultdict[str, dict[str, tuple[Resource, list[SuggestedSkill]]]] = defaultdict(dict)
        self._suggested_by: dict[str, str] = {}
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def run(self, tenant: str, page_size: int, page_token: str) -> ReviewPage:
        """A page of the queue.

        Without a tagger, the queue has only tags that an earlier one suggested.

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
            # Of two concurrent callers, one computes and the other reuses the result.
            async with self._locks[tenant]:
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
        for start in range(0, len(missing), _RESOURCES_PER_CHUNK):
            chunk = missing[start : start + _RESOURCES_PER_CHUNK]
            found = await asyncio.to_thread(tagger.suggest_for, chunk, SUGGESTIONS_MAX)
            suggested.update(
                (resource.id, (resource, suggestions)) for resource, suggestions in zip(chunk, found, strict=True)
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
                found = allowed(contents, suggested[resource.id][1], resource.rejected_skills)
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
    """Applies a person's answer to the resource."""

    def __init__(self, edit: EditCatalog, taggers: Taggers) -> None:
        self._edit = edit
        self._taggers = taggers

    async def run(
        self, tenant: str, resource_id: str, skill: str, decision: TagDecision, etag: str
    ) -> Written[Resource]:
        """The resource after the answer. The same answer again changes nothing.

        Raises:
            RecordMissingError: when there is no such resource.
            EditInvalidError: when the catalog has no such skill, or the resource could hold no more.
            ConflictError: when the resource is no longer the version with that etag.
            CatalogUnavailableError: as `EditCatalog.put`.
            CatalogLogRecreatedError: as `EditCatalog.put`.
        """
        tagger = self._taggers.of(tenant)

        async def revised(contents: Contents) -> Resource:
            resource = contents.resources.get(resource_id)
            if resource is None:
                raise RecordMissingError(RecordKind.RESOURCE, resource_id)
            if skill not in contents.skills:
                reason = f"skill {skill[:80]!r} is not in the catalog; ListTagReviews lists the skills to review"
                raise EditInvalidError([Problem("skill", reason)])
            if decision is TagDecision.REJECT:
                return rejected(resource, skill)
            already = any(tag.skill == skill for tag in resource.tags)
            if already or tagger is None:
                return accepted(resource, skill, None)
            return accepted(resource, skill, await asyncio.to_thread(_confidence, tagger, resource, skill))

        return await self._edit.revise(tenant, RecordKind.RESOURCE, resource_id, revised, Expectation(etag))


def _waits_for_skills(resource: Resource) -> bool:
    return not resource.tags and resource.status is not ResourceStatus.RETIRED


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
    reason = f"{page_token[:80]!r} is not a page token; pass the next_page_token of the previous page unchanged"
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
        raise PageRequestInvalidError("page_token", "the tagger has changed; start again from the first page")
    return place
