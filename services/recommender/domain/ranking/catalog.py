"""A tenant's catalog as columns for ranking, prepared once per version so that a request only gathers values.

Resources are ordered by id, so the same catalog gives the same columns regardless of the order of its updates.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from services.common.resource_kinds import ResourceKind
from services.recommender.domain.ranking.levels import levels_of
from services.recommender.domain.ranking.same_skills import equivalent_slots, prerequisite_slots
from services.recommender.domain.ranking.skill_names import name_for_people, name_in_framework
from services.recommender.domain.training.positives import known_rows

BoolColumn = NDArray[np.bool_]
IntColumn = NDArray[np.intp]
FloatColumn = NDArray[np.float64]

MINUTES_UNKNOWN = -1
_FIRST_ASSESSMENTS = 8


@dataclass(frozen=True, slots=True)
class CatalogResource:
    """What ranking needs to know about a resource.

    Attributes:
        resource_id: the owner's id.
        title: its title.
        url: its URL.
        kind: its kind.
        teaches: (skill, weight above 0) pairs.
        assesses: (skill, weight above 0) pairs.
        grades: grades it is for; empty: any.
        language: BCP 47 tag; empty: not tied to one.
        minutes: how long it takes; None: not known.
        active: whether it may be recommended.
        topics: its topics in addition to skills.
        provider: who offers it; empty: not known.
    """

    resource_id: str
    title: str = ""
    url: str = ""
    kind: ResourceKind = ResourceKind.PRACTICE
    teaches: tuple[tuple[str, float], ...] = ()
    assesses: tuple[tuple[str, float], ...] = ()
    grades: tuple[str, ...] = ()
    language: str = ""
    minutes: int | None = None
    active: bool = True
    topics: tuple[str, ...] = ()
    provider: str = ""

    @property
    def assessed_skills(self) -> tuple[str, ...]:
        """The skills it assesses, by decreasing weight and then by id."""
        return tuple(skill for skill, _ in sorted(self.assesses, key=lambda tag: (-tag[1], tag[0])))


@dataclass(frozen=True, slots=True)
class CatalogSkill:
    """What ranking needs to know about a skill.

    Attributes:
        skill_id: the owner's id.
        label: its statement in the framework; empty: not known.
        prerequisites: ids of the skills to master first.
        importance: how much it matters, from 0 to 1.
        code: its code in the framework; empty: not known.
        grades: grades it is taught in; empty: any.
        framework: the framework it belongs to; empty: not known.
        equivalents: other names of the same skill, such as its ids in other frameworks.
    """

    skill_id: str
    label: str = ""
    prerequisites: tuple[str, ...] = ()
    importance: float = 1.0
    code: str = ""
    grades: tuple[str, ...] = ()
    framework: str = ""
    equivalents: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CatalogVersion:
    """The version of the catalog: the next offsets of its topics."""

    resources_offset: int = 0
    skills_offset: int = 0
    rules_offset: int = 0


@dataclass(frozen=True, slots=True)
class Ragged:
    """Rows of differing length in one array: row r is `values[starts[r]:starts[r + 1]]` (compressed sparse rows)."""

    starts: IntColumn
    values: IntColumn

    def row(self, row: int) -> IntColumn:
        """The values of one row."""
        return self.values[self.starts[row] : self.starts[row + 1]]

    def entries(self, rows: IntColumn) -> tuple[IntColumn, IntColumn]:
        """The entries of some rows, one row after the other.

        Returns:
            For each entry the place of its row in `rows`, and its index into `values`.
        """
        firsts = self.starts[rows]
        counts = self.starts[rows + 1] - firsts
        owners = np.arange(len(rows)).repeat(counts)
        before = counts.cumsum() - counts
        return owners, np.arange(len(owners)) + (firsts - before)[owners]


@dataclass(frozen=True, slots=True)
class Labels:
    """Which rows carry which label (a grade, a language), and which carry none and so fit any."""

    rows: Mapping[str, IntColumn]
    unlabelled: BoolColumn

    def matching(self, labels: Iterable[str]) -> BoolColumn:
        """Rows with at least one of `labels`, or without any."""
        return self.unlabelled | self.carrying(labels)

    def carrying(self, labels: Iterable[str]) -> BoolColumn:
        """Rows with at least one of `labels`."""
        carrying = np.zeros(len(self.unlabelled), np.bool_)
        for label in labels:
            carrying[self.rows.get(label, _NO_ROWS)] = True
        return carrying


@dataclass(frozen=True)
class CatalogColumns:
    """The active resources of a tenant and the skills they and the framework name.

    N resources, S skills, E tags. A tag is a (resource, skill) pair; a skill both taught and assessed is one tag with
    both weights. Do not write to the arrays.

    Attributes:
        resource_ids: N ids, sorted.
        row_of_resource: row by id.
        titles: N titles.
        urls: N URLs.
        kinds: ResourceKind, N.
        minutes: N; MINUTES_UNKNOWN where not known.
        grades: rows by grade.
        languages: rows by language tag, in lower case.
        topics: rows by topic.
        providers: rows by provider.
        skill_ids: S ids, sorted.
        slot_of_skill: slot by id.
        skill_labels: S names for people; see `skill_names`.
        skill_sources: S; where each skill is from: its code and its framework.
        equivalents: for each skill those that are the same in other frameworks.
        importance: S, from 0 to 1.
        levels: N; the level of each resource, see `levels`; NaN: not known.
        skill_levels: S; the level of each skill; NaN: not known.
        tags: for each resource its skills' slots.
        tag_weights: E; a resource's sum to 1.
        tag_teaches: E; whether the resource teaches the skill.
        tag_assesses: E; whether the resource assesses the skill.
        tag_measures: E; 1/K on the K skills a response to the resource is evidence of - those it assesses, else those
            it teaches - and 0 on the others.
        skill_tags: for each skill the indices of its tags.
        tag_rows: E; the resource of each tag.
        prerequisites: for each resource the prerequisites of its skills that are not themselves its skills, each once.
        skill_prerequisites: for each skill its prerequisites, and those that are the same in other frameworks.
        assessments: for each skill the rows that assess it: assessments first, then by weight, then by id.
        first_assessments: S; the first few of them.
    """

    resource_ids: tuple[str, ...]
    row_of_resource: Mapping[str, int]
    titles: tuple[str, ...]
    urls: tuple[str, ...]
    kinds: NDArray[np.int8]
    minutes: NDArray[np.int32]
    grades: Labels
    languages: Labels
    topics: Labels
    providers: Labels
    skill_ids: tuple[str, ...]
    slot_of_skill: Mapping[str, int]
    skill_labels: tuple[str, ...]
    skill_sources: tuple[str, ...]
    equivalents: Ragged
    importance: FloatColumn
    levels: FloatColumn
    skill_levels: FloatColumn
    tags: Ragged
    tag_weights: FloatColumn
    tag_teaches: BoolColumn
    tag_assesses: BoolColumn
    tag_measures: FloatColumn
    skill_tags: Ragged
    tag_rows: IntColumn
    prerequisites: Ragged
    skill_prerequisites: Ragged
    assessments: Ragged
    first_assessments: tuple[tuple[int, ...], ...]

    def __len__(self) -> int:
        return len(self.resource_ids)

    def rows_about(self, skills: Iterable[str]) -> BoolColumn:
        """Rows tagged with at least one of `skills`, or with the same skill of another framework."""
        about = np.zeros(len(self), np.bool_)
        for skill in skills:
            slot = self.slot_of_skill.get(skill)
            if slot is not None:
                for same in (slot, *self.equivalents.row(slot).tolist()):
                    about[self.tag_rows[self.skill_tags.row(same)]] = True
        return about

    def shares(self, row: int) -> FloatColumn:
        """The weights of a resource's tags."""
        return self.tag_weights[self.tags.starts[row] : self.tags.starts[row + 1]]

    def has_any(self, resource_ids: Iterable[str]) -> bool:
        """Whether the catalog has one of the ids."""
        return any(resource in self.row_of_resource for resource in resource_ids)

    def rows_of(self, resource_ids: Iterable[str]) -> IntColumn:
        """The rows of the ids that the catalog has, in the order given."""
        return known_rows(self.row_of_resource, resource_ids)


@dataclass(slots=True)
class _Tags:
    """Tags while they are collected, column by column."""

    rows: list[int] = field(default_factory=list)
    slots: list[int] = field(default_factory=list)
    taught: list[float] = field(default_factory=list)
    assessed: list[float] = field(default_factory=list)


_NO_ROWS = np.zeros(0, np.intp)


def build_columns(resources: Iterable[CatalogResource], skills: Iterable[CatalogSkill]) -> CatalogColumns:
    """Prepare a tenant's catalog as columns. Resources that are not active are left out: they cannot be recommended.

    Args:
        resources: each id once.
        skills: each id once; one that only a tag or a prerequisite names is there too, with its id as label.
    """
    active = sorted((resource for resource in resources if resource.active), key=lambda resource: resource.resource_id)
    listed = _all_skills(active, skills)
    slot_of_skill = {skill.skill_id: slot for slot, skill in enumerate(listed)}
    kinds = np.fromiter((resource.kind for resource in active), np.int8, len(active))
    tags = _collect_tags(active, slot_of_skill)
    rows, slots = np.array(tags.rows, np.intp), np.array(tags.slots, np.intp)
    taught, assessed = np.array(tags.taught, np.float64), np.array(tags.assessed, np.float64)
    weights = taught + assessed
    weights /= np.bincount(rows, weights, minlength=len(active))[rows]
    tag_starts = _starts(rows, len(active))
    equivalents = equivalent_slots([(skill.skill_id, *skill.equivalents) for skill in listed])
    prerequisites = prerequisite_slots([skill.prerequisites for skill in listed], slot_of_skill, equivalents)
    skill_prerequisites = _ragged(prerequisites)
    by_skill = np.lexsort((rows, slots))
    grades, grades_of_skills = [resource.grades for resource in active], [skill.grades for skill in listed]
    levels, skill_levels = levels_of(grades, grades_of_skills, rows, slots)
    assessments = _assessments(rows, slots, assessed, kinds, len(listed))
    return CatalogColumns(
        resource_ids=tuple(resource.resource_id for resource in active),
        row_of_resource=MappingProxyType({resource.resource_id: row for row, resource in enumerate(active)}),
        titles=tuple(resource.title for resource in active),
        urls=tuple(resource.url for resource in active),
        kinds=kinds,
        minutes=_minutes(active),
        grades=_labels(grades),
        languages=_labels([(resource.language.lower(),) if resource.language else () for resource in active]),
        topics=_labels([resource.topics for resource in active]),
        providers=_labels([(resource.provider,) if resource.provider else () for resource in active]),
        skill_ids=tuple(skill.skill_id for skill in listed),
        slot_of_skill=MappingProxyType(slot_of_skill),
        skill_labels=tuple(name_for_people(skill.skill_id, skill.label, skill.code) for skill in listed),
        skill_sources=tuple(name_in_framework(skill.skill_id, skill.code, skill.framework) for skill in listed),
        equivalents=_ragged(equivalents),
        importance=np.fromiter((skill.importance for skill in listed), np.float64, len(listed)),
        levels=levels,
        skill_levels=skill_levels,
        tags=Ragged(tag_starts, slots),
        tag_weights=weights,
        tag_teaches=taught > 0,
        tag_assesses=assessed > 0,
        tag_measures=_measures(rows, assessed > 0, len(active)),
        skill_tags=Ragged(_starts(slots[by_skill], len(listed)), by_skill),
        tag_rows=rows,
        prerequisites=_resource_prerequisites(rows, slots, skill_prerequisites, len(active), len(listed)),
        skill_prerequisites=skill_prerequisites,
        assessments=assessments,
        first_assessments=tuple(
            tuple(assessments.row(slot)[:_FIRST_ASSESSMENTS].tolist()) for slot in range(len(listed))
        ),
    )


def _minutes(active: Sequence[CatalogResource]) -> NDArray[np.int32]:
    minutes = (MINUTES_UNKNOWN if resource.minutes is None else resource.minutes for resource in active)
    return np.fromiter(minutes, np.int32, len(active))


def _all_skills(active: Sequence[CatalogResource], skills: Iterable[CatalogSkill]) -> list[CatalogSkill]:
    """The skills, and those that only a prerequisite or a tag names, sorted by id."""
    described = {skill.skill_id: skill for skill in skills}
    named = (
        described.keys()
        | {prerequisite for skill in described.values() for prerequisite in skill.prerequisites}
        | {skill for resource in active for skill, _ in (*resource.teaches, *resource.assesses)}
    )
    return [described.get(skill) or CatalogSkill(skill) for skill in sorted(named)]


def _collect_tags(active: Sequence[CatalogResource], slot_of_skill: Mapping[str, int]) -> _Tags:
    tags = _Tags()
    for row, resource in enumerate(active):
        taught: dict[str, float] = {}
        assessed: dict[str, float] = {}
        for weights, pairs in ((taught, resource.teaches), (assessed, resource.assesses)):
            for skill, weight in pairs:
                weights[skill] = weights.get(skill, 0.0) + weight
        for skill in taught | assessed:
            tags.rows.append(row)
            tags.slots.append(slot_of_skill[skill])
            tags.taught.append(taught.get(skill, 0.0))
            tags.assessed.append(assessed.get(skill, 0.0))
    return tags


def _measures(rows: IntColumn, assesses: BoolColumn, resources: int) -> FloatColumn:
    assessed_skills = np.bincount(rows, assesses, minlength=resources)
    measures = assesses | (assessed_skills == 0)[rows]
    shares: FloatColumn = measures / np.bincount(rows, measures, minlength=resources)[rows]
    return shares


def _resource_prerequisites(
    rows: IntColumn, slots: IntColumn, skill_prerequisites: Ragged, resources: int, skills: int
) -> Ragged:
    owners, entries = skill_prerequisites.entries(slots)
    # A pair (resource, skill) as one number, so that sets of pairs are sets of numbers.
    needed = np.unique(rows[owners] * skills + skill_prerequisites.values[entries])
    outside = np.setdiff1d(needed, rows * skills + slots, assume_unique=True)
    return Ragged(_starts(outside // max(skills, 1), resources), outside % max(skills, 1))


def _assessments(
    rows: IntColumn, slots: IntColumn, assessed: FloatColumn, kinds: NDArray[np.int8], skills: int
) -> Ragged:
    tags = np.flatnonzero(assessed > 0)
    other_kind = kinds[rows[tags]] != ResourceKind.ASSESSMENT
    order = tags[np.lexsort((rows[tags], -assessed[tags], other_kind, slots[tags]))]
    return Ragged(_starts(slots[order], skills), rows[order])


def _labels(labels_of_rows: Sequence[tuple[str, ...]]) -> Labels:
    rows: dict[str, list[int]] = {}
    for row, labels in enumerate(labels_of_rows):
        for label in labels:
            rows.setdefault(label, []).append(row)
    return Labels(
        MappingProxyType({label: np.array(members, np.intp) for label, members in rows.items()}),
        np.fromiter((not labels for labels in labels_of_rows), np.bool_, len(labels_of_rows)),
    )


def _ragged(lists: Sequence[Sequence[int]]) -> Ragged:
    counts = np.fromiter((len(values) for values in lists), np.intp, len(lists))
    starts = np.concatenate(([0], np.cumsum(counts))).astype(np.intp)
    return Ragged(starts, np.array([value for values in lists for value in values], np.intp))


def _starts(sorted_owners: IntColumn, owners: int) -> IntColumn:
    return np.searchsorted(sorted_owners, np.arange(owners + 1)).astype(np.intp)
