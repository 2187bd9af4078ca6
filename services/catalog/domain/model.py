"""What a catalog holds: skills, and resources that teach or assess them. The words are CASE's and LRMI's."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class ResourceKind(StrEnum):
    """What kind of thing a resource is."""

    LESSON = "lesson"
    VIDEO = "video"
    PRACTICE = "practice"
    GAME = "game"
    ASSESSMENT = "assessment"
    ACTIVITY = "activity"


class ResourceStatus(StrEnum):
    """Whether a resource may be recommended."""

    DRAFT = "draft"
    ACTIVE = "active"
    RETIRED = "retired"


class TagOrigin(StrEnum):
    """Who says that a resource is about a skill."""

    SOURCE = "source"
    SUGGESTED = "suggested"
    REVIEWED = "reviewed"


@dataclass(frozen=True, slots=True)
class SkillTag:
    """A skill a resource is about.

    Attributes:
        skill: the skill's id.
        weight: how much of the resource is about it, above 0, at most 1.
        origin: who says so; None: an origin this version does not know. Never passes the check.
        confidence: how likely it is right, by the tagger that suggested it; None: no tagger did.
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
        importance: how much it matters to the tenant, from 0 to 1; None counts as 1.
    """

    id: str
    framework: str = ""
    code: str = ""
    statement: str = ""
    prerequisites: tuple[str, ...] = ()
    grades: tuple[str, ...] = ()
    importance: float | None = None


@dataclass(frozen=True, slots=True)
class Resource:
    """Anything a learner can be given.

    Attributes:
        id: the owner's id.
        title: what it is called, as learners see it.
        kind: what kind of thing it is; None: not stated, or a kind this version does not know. Never passes the check.
        description: what a learner does or gets.
        provider: who offers it.
        url: where it is; empty: nowhere in particular.
        teaches: skills it teaches.
        assesses: skills it assesses.
        grades: grades it is meant for; empty: any.
        language: BCP 47 tag; empty: not tied to one.
        minutes: how long it usually takes; None: not known.
        license: SPDX id or a short name.
        difficulty: from 0, easiest, to 1; None: not known.
        status: whether it may be recommended; None: a status this version does not know. Never passes the check.
    """

    id: str
    title: str
    kind: ResourceKind | None
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
