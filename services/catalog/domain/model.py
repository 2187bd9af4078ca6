"""What a catalog holds: skills, resources that teach or assess them, and rules about resources.

Skills are described in the terms of CASE, resources in those of LRMI.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from services.common.resource_kinds import ResourceKindName


class ResourceStatus(StrEnum):
    """Whether a resource may be recommended."""

    DRAFT = "draft"
    ACTIVE = "active"
    RETIRED = "retired"


class TagOrigin(StrEnum):
    """Where a tag came from."""

    SOURCE = "source"
    SUGGESTED = "suggested"
    REVIEWED = "reviewed"


@dataclass(frozen=True, slots=True)
class SkillTag:
    """A skill a resource is about.

    Attributes:
        skill: the skill's id.
        weight: the share of the resource that is about it, above 0, at most 1.
        origin: where the tag came from; None: an origin this version does not know, which is invalid.
        confidence: the probability that it is right, by the tagger that suggested it; None: no tagger did.
    """

    skill: str
    weight: float
    origin: TagOrigin | None = TagOrigin.SOURCE
    confidence: float | None = None


@dataclass(frozen=True, slots=True)
class Skill:
    """A node of a competency framework.

    Attributes:
        id: the owner's id.
        framework: the framework it belongs to.
        code: its code in the framework.
        statement: what a learner who has it can do.
        prerequisites: ids of the skills to have first.
        grades: grades it is taught in; empty: any.
        importance: its importance to the tenant, from 0 to 1; None counts as 1.
        equivalents: other names of the same skill: ids in other frameworks, URIs; the catalog need not have them.
        parent: id of what it is a part of in its framework; the catalog need not have it.
    """

    id: str
    framework: str = ""
    code: str = ""
    statement: str = ""
    prerequisites: tuple[str, ...] = ()
    grades: tuple[str, ...] = ()
    importance: float | None = None
    equivalents: tuple[str, ...] = ()
    parent: str = ""


@dataclass(frozen=True, slots=True)
class Resource:
    """Anything a learner can be given.

    Attributes:
        id: the owner's id.
        title: its title, as learners see it.
        kind: what kind of thing it is; None: not stated, or a kind this version does not know, which is invalid.
        description: what a learner does or gets.
        provider: who offers it.
        url: its web address; may be empty.
        teaches: skills it teaches.
        assesses: skills it assesses.
        grades: grades it is meant for; empty: any.
        language: BCP 47 tag; empty: not tied to one.
        minutes: how long it usually takes; None: not known.
        license: SPDX id or a short name.
        difficulty: from 0, easiest, to 1; None: not known.
        status: whether it may be recommended; None: a status this version does not know, which is invalid.
        topics: labels of what it is about, in addition to skills.
        rejected_skills: ids of skills that a person has rejected as tags.
    """

    id: str
    title: str
    kind: ResourceKindName | None
    description: str = ""
    provider: str = ""
    url: str = ""
    teaches: tuple[SkillTag, ...] = ()
    assesses: tuple[SkillTag, ...] = ()
    grades: tuple[str, ...] = ()
    language: str = ""
    minutes: int | None = None
    license: str = ""
    difficulty: float | None = None
    status: ResourceStatus | None = ResourceStatus.ACTIVE
    topics: tuple[str, ...] = ()
    rejected_skills: tuple[str, ...] = ()

    @property
    def tags(self) -> tuple[SkillTag, ...]:
        """All tags, taught skills first; a skill that it teaches and assesses is listed twice."""
        return (*self.teaches, *self.assesses)


class RuleAction(StrEnum):
    """What a rule does."""

    PIN = "pin"
    BLOCK = "block"
    BOOST = "boost"


@dataclass(frozen=True, slots=True)
class Rule:
    """What a teacher or a tenant decides about some resources, given by their ids or their providers.

    Attributes:
        id: the owner's id.
        action: what to do with them; None: not stated, or not known to this version, which is invalid.
        author: who made it, as the platform knows them.
        resource_ids: the resources; pins keep this order.
        providers: all resources of these providers, too.
        skills: only resources about one of these; empty: any resource.
        classes: only requests for one of these classes; empty: any.
        grades: only requests for one of these grades; empty: any.
        factor: multiplies the score in a boost; None for the other actions.
        expires_at: when it ends, aware; None: it lasts until it is removed.
        note: why it was made.
        updated_at: when it was last written, aware; None: never.
        updated_with: id of the API key it was last written with.
    """

    id: str
    action: RuleAction | None
    author: str = ""
    resource_ids: tuple[str, ...] = ()
    providers: tuple[str, ...] = ()
    skills: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    grades: tuple[str, ...] = ()
    factor: float | None = None
    expires_at: datetime | None = None
    note: str = ""
    updated_at: datetime | None = None
    updated_with: str = ""

    def has_ended(self, now: datetime) -> bool:
        """Whether it is no longer active."""
        return self.expires_at is not None and self.expires_at <= now


class RecordKind(StrEnum):
    """The kinds of records in a catalog."""

    SKILL = "skill"
    RESOURCE = "resource"
    RULE = "rule"


def kind_of(record: Skill | Resource | Rule) -> RecordKind:
    """The kind of a record."""
    if isinstance(record, Skill):
        return RecordKind.SKILL
    return RecordKind.RESOURCE if isinstance(record, Resource) else RecordKind.RULE
