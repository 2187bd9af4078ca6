"""What a catalog accepts. Every check collects all that is wrong, each with its value and what would be right."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from urllib.parse import urlsplit

from services.catalog.domain.model import (
    Resource,
    ResourceKind,
    ResourceStatus,
    Rule,
    RuleAction,
    Skill,
    SkillTag,
    TagOrigin,
)
from services.catalog.domain.prerequisites import cycles

ID_CHARACTERS_MAX = 256
TITLE_CHARACTERS_MAX = 512
TEXT_CHARACTERS_MAX = 4_096
NAME_CHARACTERS_MAX = 256
URL_CHARACTERS_MAX = 2_048
PREREQUISITES_MAX = 64
TAGS_MAX = 64
MINUTES_MAX = 100_000
TOPICS_MAX = 32
REJECTED_MAX = 64
RULE_RESOURCES_MAX = 1_000
RULE_PROVIDERS_MAX = 100
RULE_SKILLS_MAX = 64
RULE_CLASSES_MAX = 1_000
NOTE_CHARACTERS_MAX = 1_024
FACTOR_MIN, FACTOR_MAX = 0.1, 10.0
GRADES = ("PK", "K", *(str(grade) for grade in range(1, 13)))

_SHOWN_CHARACTERS_MAX = 80
_IMPORTED_NEITHER = "neither in the catalog nor in this import; import that skill too, or correct the id"
_TOPIC = re.compile(r"[a-z0-9-]{1,64}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_CONTROL_BUT_BREAKS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
# RFC 5646, section 2.1, without grandfathered tags and without the primary subtags of 4 to 8 letters, of which none is
# registered: `english` is a mistake for `en`.
_LANGUAGE_TAG = re.compile(
    r"(?:[a-z]{2,3}(?:-[a-z]{3}){0,3}(?:-[a-z]{4})?(?:-(?:[a-z]{2}|[0-9]{3}))?(?:-(?:[a-z0-9]{5,8}|[0-9][a-z0-9]{3}))*"
    r"(?:-[0-9a-wyz](?:-[a-z0-9]{2,8})+)*(?:-x(?:-[a-z0-9]{1,8})+)?|x(?:-[a-z0-9]{1,8})+)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong.

    Attributes:
        path: the field, for example `resources[3].teaches[0].weight`; indices count over the whole import.
        reason: the value, what is wrong with it and what would be right.
    """

    path: str
    reason: str


def check_import(
    skills: Sequence[Skill],
    resources: Sequence[Resource],
    existing_skills: Mapping[str, Skill],
) -> list[Problem]:
    """Everything wrong with an import, given what the tenant has already. Empty: it may be written.

    What is already there is taken as it is: only problems that the import brings, or takes part in, are named.
    """
    problems = check_records(skills, resources)
    known = existing_skills.keys() | {skill.id for skill in skills}
    problems += _unknown_skills(skills, resources, known)
    problems += _cycles(skills, existing_skills)
    return problems


def check_skill(path: str, skill: Skill, existing: Mapping[str, Skill]) -> list[Problem]:
    """Everything wrong with one skill, given the tenant's skills; `path` is what the fields' paths begin with."""
    problems = [*_check_skill(path, skill), *_unknown_prerequisites(path, skill, existing, "")]
    if not problems:
        # Only a cycle through this skill can be new, so only what it requires, however far, is looked at.
        problems += _cycle_through(path, skill, existing)
    return problems


def check_resource(path: str, resource: Resource, existing_skills: Mapping[str, Skill]) -> list[Problem]:
    """Everything wrong with one resource; as `check_skill`."""
    return [*_check_resource(path, resource), *_unknown_tags(path, resource, existing_skills, "")]


def check_rule(
    path: str, rule: Rule, existing_skills: Mapping[str, Skill], existing_resources: Mapping[str, Resource]
) -> list[Problem]:
    """Everything wrong with one rule, given the tenant's skills and resources; as `check_skill`."""
    return [*_check_rule(path, rule), *_unknown_subjects(path, rule, existing_skills, existing_resources)]


def check_records(skills: Sequence[Skill], resources: Sequence[Resource]) -> list[Problem]:
    """Everything wrong that can be seen without the rest of the catalog: each record by itself, and ids given twice."""
    problems: list[Problem] = []
    for index, skill in enumerate(skills):
        problems += _check_skill(f"skills[{index}]", skill)
    for index, resource in enumerate(resources):
        problems += _check_resource(f"resources[{index}]", resource)
    problems += _duplicate_ids("skills", [skill.id for skill in skills])
    problems += _duplicate_ids("resources", [resource.id for resource in resources])
    return problems


def _check_skill(path: str, skill: Skill) -> Iterator[Problem]:
    yield from _identifier(f"{path}.id", skill.id)
    yield from _text(f"{path}.framework", skill.framework, NAME_CHARACTERS_MAX)
    yield from _text(f"{path}.code", skill.code, NAME_CHARACTERS_MAX)
    yield from _text(f"{path}.statement", skill.statement, TEXT_CHARACTERS_MAX, breaks=True)
    yield from _count(f"{path}.prerequisites", len(skill.prerequisites), PREREQUISITES_MAX)
    for index, prerequisite in enumerate(skill.prerequisites):
        yield from _identifier(f"{path}.prerequisites[{index}]", prerequisite)
    yield from _repeated(skill.prerequisites, lambda index: f"{path}.prerequisites[{index}]")
    yield from _grades(path, skill.grades)
    if skill.importance is not None and not 0 <= skill.importance <= 1:
        yield Problem(f"{path}.importance", f"{skill.importance} must be from 0 to 1; leave it out for 1")


def _check_resource(path: str, resource: Resource) -> Iterator[Problem]:
    yield from _identifier(f"{path}.id", resource.id)
    yield from _text(f"{path}.title", resource.title, TITLE_CHARACTERS_MAX, required=True)
    yield from _text(f"{path}.description", resource.description, TEXT_CHARACTERS_MAX, breaks=True)
    yield from _text(f"{path}.provider", resource.provider, NAME_CHARACTERS_MAX)
    yield from _text(f"{path}.license", resource.license, NAME_CHARACTERS_MAX)
    yield from _url(f"{path}.url", resource.url)
    if resource.kind is None:
        yield Problem(f"{path}.kind", f"is not stated or not known; must be one of {_listed(ResourceKind)}")
    if resource.status is None:
        yield Problem(
            f"{path}.status", f"is not known; must be one of {_listed(ResourceStatus)}, or left out for active"
        )
    yield from _tags(f"{path}.teaches", resource.teaches)
    yield from _tags(f"{path}.assesses", resource.assesses)
    yield from _topics(f"{path}.topics", resource.topics)
    yield from _rejected(f"{path}.rejected_skills", resource)
    yield from _grades(path, resource.grades)
    if resource.language and not _LANGUAGE_TAG.fullmatch(resource.language):
        reason = f"{_shown(resource.language)} is not a BCP 47 language tag; write for example en, es or pt-BR"
        yield Problem(f"{path}.language", reason)
    if resource.minutes is not None and not 1 <= resource.minutes <= MINUTES_MAX:
        reason = f"{resource.minutes} must be from 1 to {MINUTES_MAX:,}; leave it out when not known"
        yield Problem(f"{path}.minutes", reason)
    if resource.difficulty is not None and not 0 <= resource.difficulty <= 1:
        reason = f"{resource.difficulty} must be from 0 (easiest) to 1; leave it out when not known"
        yield Problem(f"{path}.difficulty", reason)


def _check_rule(path: str, rule: Rule) -> Iterator[Problem]:
    yield from _identifier(f"{path}.id", rule.id)
    yield from _text(f"{path}.author", rule.author, NAME_CHARACTERS_MAX, required=True)
    yield from _text(f"{path}.note", rule.note, NOTE_CHARACTERS_MAX, breaks=True)
    if rule.action is None:
        yield Problem(f"{path}.action", f"is not stated or not known; must be one of {_listed(RuleAction)}")
    if not rule.resource_ids and not rule.providers:
        reason = "is empty, and so is providers: the rule is about nothing; name at least one resource or provider"
        yield Problem(f"{path}.resource_ids", reason)
    for name, values, count_max in (
        ("resource_ids", rule.resource_ids, RULE_RESOURCES_MAX),
        ("providers", rule.providers, RULE_PROVIDERS_MAX),
        ("skills", rule.skills, RULE_SKILLS_MAX),
        ("classes", rule.classes, RULE_CLASSES_MAX),
    ):
        yield from _identifiers(f"{path}.{name}", values, count_max)
    yield from _grades(path, rule.grades)
    if rule.action is RuleAction.BOOST:
        # Written so that NaN fails.
        if rule.factor is None or not FACTOR_MIN <= rule.factor <= FACTOR_MAX:
            given = "is missing" if rule.factor is None else f"{rule.factor:g}"
            yield Problem(f"{path}.factor", f"{given}; a boost needs one from {FACTOR_MIN:g} to {FACTOR_MAX:g}")
    elif rule.factor is not None:
        yield Problem(f"{path}.factor", f"{rule.factor:g} is given, but only a boost has one; leave it out")


def _unknown_subjects(path: str, rule: Rule, skills: Collection[str], resources: Collection[str]) -> Iterator[Problem]:
    for kind, name, values, known in (
        ("resource", "resource_ids", rule.resource_ids, resources),
        ("skill", "skills", rule.skills, skills),
    ):
        for place, value in enumerate(values):
            if value and value not in known:
                reason = f"{kind} {_shown(value)} is not in the catalog; correct the id, or leave it out"
                yield Problem(f"{path}.{name}[{place}]", reason)


def _topics(path: str, topics: Sequence[str]) -> Iterator[Problem]:
    yield from _count(path, len(topics), TOPICS_MAX)
    for index, topic in enumerate(topics):
        if not _TOPIC.fullmatch(topic):
            reason = f"{_shown(topic)} is not a topic; write 1 to 64 of a-z, 0-9 and -, for example outer-space"
            yield Problem(f"{path}[{index}]", reason)
    yield from _repeated(topics, lambda index: f"{path}[{index}]")


def _rejected(path: str, resource: Resource) -> Iterator[Problem]:
    yield from _identifiers(path, resource.rejected_skills, REJECTED_MAX)
    tagged = {tag.skill for tag in resource.tags}
    for index, skill in enumerate(resource.rejected_skills):
        if skill in tagged:
            yield Problem(f"{path}[{index}]", f"{_shown(skill)} is also a tag of the resource; keep one of the two")


def _identifiers(path: str, values: Sequence[str], count_max: int) -> Iterator[Problem]:
    yield from _count(path, len(values), count_max)
    for index, value in enumerate(values):
        yield from _identifier(f"{path}[{index}]", value)
    yield from _repeated(values, lambda index: f"{path}[{index}]")


def _tags(path: str, tags: Sequence[SkillTag]) -> Iterator[Problem]:
    yield from _count(path, len(tags), TAGS_MAX)
    for index, tag in enumerate(tags):
        yield from _identifier(f"{path}[{index}].skill", tag.skill)
        # Written so that NaN fails.
        if not 0 < tag.weight <= 1:
            yield Problem(f"{path}[{index}].weight", f"{tag.weight} must be above 0 and at most 1")
        if tag.origin is None:
            reason = f"is not known; must be one of {_listed(TagOrigin)}, or left out for source"
            yield Problem(f"{path}[{index}].origin", reason)
        if tag.confidence is not None and not 0 <= tag.confidence <= 1:
            reason = f"{tag.confidence} must be from 0 to 1; leave it out where no tagger suggested the tag"
            yield Problem(f"{path}[{index}].confidence", reason)
    yield from _repeated([tag.skill for tag in tags], lambda index: f"{path}[{index}].skill")


def _grades(path: str, grades: Sequence[str]) -> Iterator[Problem]:
    for index, grade in enumerate(grades):
        if grade not in GRADES:
            reason = f"{_shown(grade)} is not a grade; write PK, K or 1 to 12, and none for any grade"
            yield Problem(f"{path}.grades[{index}]", reason)
    yield from _repeated(grades, lambda index: f"{path}.grades[{index}]")


def _identifier(path: str, value: str) -> Iterator[Problem]:
    yield from _text(path, value, ID_CHARACTERS_MAX, required=True)
    if value != value.strip():
        yield Problem(path, f"{_shown(value)} begins or ends with white space; remove it")


def _text(
    path: str, value: str, characters_max: int, *, required: bool = False, breaks: bool = False
) -> Iterator[Problem]:
    if required and not value.strip():
        yield Problem(path, f"{_shown(value)} is empty; give one")
    if len(value) > characters_max:
        yield Problem(path, f"{_shown(value)} has {len(value):,} characters; at most {characters_max:,} are allowed")
    if found := (_CONTROL_BUT_BREAKS if breaks else _CONTROL).search(value):
        reason = f"{_shown(value)} has the control character U+{ord(found[0]):04X} at {found.start()}; remove it"
        yield Problem(path, reason)


def _url(path: str, value: str) -> Iterator[Problem]:
    if not value:
        return
    yield from _text(path, value, URL_CHARACTERS_MAX)
    try:
        parts = urlsplit(value)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and not re.search(r"\s", value)
    except ValueError:
        usable = False
    if not usable:
        yield Problem(path, f"{_shown(value)} is not a web address; write one such as https://example.org/fractions")


def _count(path: str, count: int, count_max: int) -> Iterator[Problem]:
    if count > count_max:
        yield Problem(path, f"has {count} entries; at most {count_max} are allowed")


def _repeated(values: Sequence[str], path_of: Callable[[int], str]) -> Iterator[Problem]:
    first: dict[str, int] = {}
    for index, value in enumerate(values):
        if first.setdefault(value, index) != index:
            yield Problem(path_of(index), f"{_shown(value)} is also {path_of(first[value])}; keep one")


def _duplicate_ids(kind: str, ids: Sequence[str]) -> Iterator[Problem]:
    return _repeated(ids, lambda index: f"{kind}[{index}].id")


def _unknown_skills(
    skills: Sequence[Skill], resources: Sequence[Resource], known: Collection[str]
) -> Iterator[Problem]:
    for index, skill in enumerate(skills):
        yield from _unknown_prerequisites(f"skills[{index}]", skill, known, _IMPORTED_NEITHER)
    for index, resource in enumerate(resources):
        yield from _unknown_tags(f"resources[{index}]", resource, known, _IMPORTED_NEITHER)


def _unknown_prerequisites(path: str, skill: Skill, known: Collection[str], remedy: str) -> Iterator[Problem]:
    for place, prerequisite in enumerate(skill.prerequisites):
        if prerequisite and prerequisite != skill.id and prerequisite not in known:
            yield _unknown(f"{path}.prerequisites[{place}]", prerequisite, remedy)


def _unknown_tags(path: str, resource: Resource, known: Collection[str], remedy: str) -> Iterator[Problem]:
    for name, tags in (("teaches", resource.teaches), ("assesses", resource.assesses)):
        for place, tag in enumerate(tags):
            if tag.skill and tag.skill not in known:
                yield _unknown(f"{path}.{name}[{place}].skill", tag.skill, remedy)


def _unknown(path: str, skill: str, remedy: str) -> Problem:
    return Problem(path, f"skill {_shown(skill)} is {remedy or 'not in the catalog; put it first, or correct the id'}")


def _cycle_through(path: str, skill: Skill, existing: Mapping[str, Skill]) -> Iterator[Problem]:
    requires = {skill.id: skill.prerequisites}
    pending = list(skill.prerequisites)
    while pending:
        identifier = pending.pop()
        if identifier not in requires and identifier in existing:
            requires[identifier] = existing[identifier].prerequisites
            pending += requires[identifier]
    for cycle in cycles(requires):
        if skill.id in cycle:
            start = cycle.index(skill.id)
            turned = [*cycle[start:-1], *cycle[:start], skill.id]
            place = skill.prerequisites.index(turned[1])
            reason = (
                f"closes the cycle {' -> '.join(turned)} (each requires the next); remove one of these prerequisites"
            )
            yield Problem(f"{path}.prerequisites[{place}]", reason)


def _cycles(skills: Sequence[Skill], existing: Mapping[str, Skill]) -> Iterator[Problem]:
    index_of = {skill.id: index for index, skill in enumerate(skills)}
    requires = {skill.id: skill.prerequisites for skill in existing.values()}
    requires |= {skill.id: skill.prerequisites for skill in skills}
    for cycle in cycles(requires):
        edges = list(pairwise(cycle))
        # The last edge closes the cycle; when it stood before, one that the import brings is to blame.
        for skill, required in reversed(edges):
            if skill in index_of:
                place = requires[skill].index(required)
                named = " -> ".join(cycle)
                yield Problem(
                    f"skills[{index_of[skill]}].prerequisites[{place}]",
                    f"closes the cycle {named} (each requires the next); remove one of these prerequisites",
                )
                break


def _shown(value: str) -> str:
    if len(value) > _SHOWN_CHARACTERS_MAX:
        value = value[: _SHOWN_CHARACTERS_MAX - 3] + "..."
    return repr(value)


def _listed(values: Iterable[str]) -> str:
    return ", ".join(values)
