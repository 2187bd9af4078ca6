"""Checks of a resource."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence

from services.catalog.domain.model import Resource, ResourceStatus, Skill, SkillTag, TagOrigin
from services.catalog.domain.validation.fields import (
    NAME_CHARACTERS_MAX,
    TEXT_CHARACTERS_MAX,
    Problem,
    count_problems,
    grade_problems,
    identifier_list_problems,
    identifier_problems,
    listed,
    repetition_problems,
    shown,
    text_problems,
    unknown_skill,
    url_problems,
)
from services.common.resource_kinds import ResourceKindName

TITLE_CHARACTERS_MAX = 512
TAGS_MAX = 64
MINUTES_MAX = 100_000
TOPICS_MAX = 32
REJECTED_MAX = 64

_TOPIC = re.compile(r"[a-z0-9-]{1,64}")
# RFC 5646, section 2.1, without grandfathered tags and without the primary subtags of 4 to 8 letters, of which none is
# registered: `english` is a mistake for `en`.
_LANGUAGE_TAG = re.compile(
    r"(?:[a-z]{2,3}(?:-[a-z]{3}){0,3}(?:-[a-z]{4})?(?:-(?:[a-z]{2}|[0-9]{3}))?(?:-(?:[a-z0-9]{5,8}|[0-9][a-z0-9]{3}))*"
    r"(?:-[0-9a-wyz](?:-[a-z0-9]{2,8})+)*(?:-x(?:-[a-z0-9]{1,8})+)?|x(?:-[a-z0-9]{1,8})+)",
    re.IGNORECASE,
)


def check_resource(path: str, resource: Resource, existing_skills: Mapping[str, Skill]) -> list[Problem]:
    """Everything wrong with one resource; `path` as for `check_skill`."""
    return [*resource_problems(path, resource), *unknown_tags(path, resource, existing_skills, "")]


def resource_problems(path: str, resource: Resource) -> Iterator[Problem]:
    """The problems of a resource on its own."""
    yield from identifier_problems(f"{path}.id", resource.id)
    yield from text_problems(f"{path}.title", resource.title, TITLE_CHARACTERS_MAX, required=True)
    yield from text_problems(f"{path}.description", resource.description, TEXT_CHARACTERS_MAX, breaks=True)
    yield from text_problems(f"{path}.provider", resource.provider, NAME_CHARACTERS_MAX)
    yield from text_problems(f"{path}.license", resource.license, NAME_CHARACTERS_MAX)
    yield from url_problems(f"{path}.url", resource.url)
    if resource.kind is None:
        yield Problem(f"{path}.kind", f"is not stated or not known; must be one of {listed(ResourceKindName)}")
    if resource.status is None:
        yield Problem(
            f"{path}.status", f"is not known; must be one of {listed(ResourceStatus)}, or left out for active"
        )
    yield from _tag_problems(f"{path}.teaches", resource.teaches)
    yield from _tag_problems(f"{path}.assesses", resource.assesses)
    yield from _topic_problems(f"{path}.topics", resource.topics)
    yield from _rejection_problems(f"{path}.rejected_skills", resource)
    yield from grade_problems(path, resource.grades)
    if resource.language and not _LANGUAGE_TAG.fullmatch(resource.language):
        reason = f"{shown(resource.language)} is not a BCP 47 language tag; write for example en, es or pt-BR"
        yield Problem(f"{path}.language", reason)
    if resource.minutes is not None and not 1 <= resource.minutes <= MINUTES_MAX:
        reason = f"{resource.minutes} must be from 1 to {MINUTES_MAX:,}; leave it out when not known"
        yield Problem(f"{path}.minutes", reason)
    if resource.difficulty is not None and not 0 <= resource.difficulty <= 1:
        reason = f"{resource.difficulty} must be from 0 (easiest) to 1; leave it out when not known"
        yield Problem(f"{path}.difficulty", reason)


def unknown_tags(path: str, resource: Resource, known: Collection[str], remedy: str) -> Iterator[Problem]:
    """Tags whose skill is not among the known ones; `remedy`: as of `unknown_skill`."""
    for name, tags in (("teaches", resource.teaches), ("assesses", resource.assesses)):
        for place, tag in enumerate(tags[:TAGS_MAX]):
            if tag.skill and tag.skill not in known:
                yield unknown_skill(f"{path}.{name}[{place}].skill", tag.skill, remedy)


def _tag_problems(path: str, tags: Sequence[SkillTag]) -> Iterator[Problem]:
    yield from count_problems(path, len(tags), TAGS_MAX)
    tags = tags[:TAGS_MAX]
    for index, tag in enumerate(tags):
        yield from identifier_problems(f"{path}[{index}].skill", tag.skill)
        # Written so that NaN fails.
        if not 0 < tag.weight <= 1:
            yield Problem(f"{path}[{index}].weight", f"{tag.weight} must be above 0 and at most 1")
        if tag.origin is None:
            reason = f"is not known; must be one of {listed(TagOrigin)}, or left out for source"
            yield Problem(f"{path}[{index}].origin", reason)
        if tag.confidence is not None and not 0 <= tag.confidence <= 1:
            reason = f"{tag.confidence} must be from 0 to 1; leave it out where no tagger suggested the tag"
            yield Problem(f"{path}[{index}].confidence", reason)
    yield from repetition_problems([tag.skill for tag in tags], lambda index: f"{path}[{index}].skill")


def _topic_problems(path: str, topics: Sequence[str]) -> Iterator[Problem]:
    yield from count_problems(path, len(topics), TOPICS_MAX)
    topics = topics[:TOPICS_MAX]
    for index, topic in enumerate(topics):
        if not _TOPIC.fullmatch(topic):
            reason = f"{shown(topic)} is not a topic; write 1 to 64 of a-z, 0-9 and -, for example outer-space"
            yield Problem(f"{path}[{index}]", reason)
    yield from repetition_problems(topics, lambda index: f"{path}[{index}]")


def _rejection_problems(path: str, resource: Resource) -> Iterator[Problem]:
    yield from identifier_list_problems(path, resource.rejected_skills, REJECTED_MAX)
    tagged = {tag.skill for tag in resource.tags}
    for index, skill in enumerate(resource.rejected_skills[:REJECTED_MAX]):
        if skill in tagged:
            yield Problem(f"{path}[{index}]", f"{shown(skill)} is also a tag of the resource; keep one of the two")
