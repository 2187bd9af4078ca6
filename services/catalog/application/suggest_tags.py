"""Suggesting skills for resources and texts."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from services.catalog.application.edit_catalog import EditInvalidError
from services.catalog.application.ports import CatalogView
from services.catalog.application.taggers import (
    SUGGESTIONS_MAX,
    NoTaggerError,
    SuggestedSkill,
    Tagger,
    Taggers,
    allowed,
)
from services.catalog.domain.contents import Contents
from services.catalog.domain.validation.fields import Problem

SUGGESTIONS_DEFAULT = 5
REQUESTED_MAX = 100
TEXT_CHARACTERS_MAX = 8_192


class SuggestTags:
    """Suggests skills for resources and texts with the tenant's tagger."""

    def __init__(self, view: CatalogView, taggers: Taggers) -> None:
        self._view = view
        self._taggers = taggers

    async def run(
        self, tenant: str, resource_ids: Sequence[str], texts: Sequence[str], limit: int
    ) -> tuple[str, list[list[SuggestedSkill]]]:
        """The tagger's name, and the suggestions for each resource, then for each text.

        Skills that are no longer in the catalog, and those that a person has rejected for a resource, are left out.

        Args:
            tenant: whose catalog and tagger.
            resource_ids: ids of resources in the catalog.
            texts: any texts.
            limit: the most suggestions for each; 0: 5.

        Raises:
            NoTaggerError: when the tenant has none.
            EditInvalidError: when the request is invalid.
        """
        tagger = _tagger_of(self._taggers, tenant)
        contents = self._view.contents(tenant)
        problems = list(_request_problems(contents, resource_ids, texts, limit))
        if problems:
            raise EditInvalidError(problems)
        resources = [contents.resources[identifier] for identifier in resource_ids]
        most = limit or SUGGESTIONS_DEFAULT
        # Request more than needed, because some may be left out.
        of_resources = await asyncio.to_thread(tagger.suggest_for, resources, SUGGESTIONS_MAX) if resources else []
        of_texts = await asyncio.to_thread(tagger.suggest, list(texts), SUGGESTIONS_MAX) if texts else []
        kept = [
            allowed(contents, found, resource.rejected_skills)[:most]
            for resource, found in zip(resources, of_resources, strict=True)
        ]
        return tagger.name, kept + [allowed(contents, found, ())[:most] for found in of_texts]


def _tagger_of(taggers: Taggers, tenant: str) -> Tagger:
    tagger = taggers.of(tenant)
    if tagger is None:
        raise NoTaggerError(taggers.missing(tenant))
    return tagger


def _request_problems(
    contents: Contents, resource_ids: Sequence[str], texts: Sequence[str], limit: int
) -> list[Problem]:
    problems = []
    requested = len(resource_ids) + len(texts)
    if not requested:
        problems.append(Problem("resource_ids", "is empty, and so is texts; name a resource or send a text"))
    if requested > REQUESTED_MAX:
        problems.append(
            Problem(
                "resource_ids", f"{requested} resources and texts are too many; send at most {REQUESTED_MAX} at once"
            )
        )
    if limit > SUGGESTIONS_MAX:
        problems.append(Problem("limit", f"{limit} is more than {SUGGESTIONS_MAX}; set 1 to {SUGGESTIONS_MAX}"))
    for place, identifier in enumerate(resource_ids[:REQUESTED_MAX]):
        if identifier not in contents.resources:
            problems.append(Problem(f"resource_ids[{place}]", f"resource {identifier[:80]!r} is not in the catalog"))
    for place, text in enumerate(texts[:REQUESTED_MAX]):
        if len(text) > TEXT_CHARACTERS_MAX:
            reason = f"it has {len(text):,} characters; send at most {TEXT_CHARACTERS_MAX:,}"
            problems.append(Problem(f"texts[{place}]", reason))
    return problems
