"""The skills of a catalog that foreign files mean, found by id, by URI, or by code."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from services.catalog.domain.model import Resource, Skill, SkillTag
from services.catalog.domain.validation.resources import TAGS_MAX
from services.catalog.formats.frameworks.codes import (
    code_and_rest,
    has_a_code,
    key_of,
    key_without_cluster,
    without_prefix,
)
from services.catalog.formats.frameworks.contents import name_of
from services.catalog.formats.resources.contents import Alignment, FoundResource, Relation

# A shorter text, such as a grade, may be a code of anything.
_CODE_CHARACTERS_MIN = 4
_UNKNOWN = "a skill that the catalog does not have"


@dataclass(frozen=True, slots=True)
class Unresolved:
    """An alignment for which the catalog has no skill.

    Attributes:
        alignment: as the file has it.
        reason: why none was found.
        resource: the id of the resource.
    """

    alignment: Alignment
    reason: str
    resource: str


class SkillFinder:
    """Finds skills by what others call them."""

    def __init__(self, skills: Iterable[Skill]) -> None:
        self._by_id: dict[str, Skill] = {}
        self._by_name: defaultdict[str, list[Skill]] = defaultdict(list)
        self._by_code: defaultdict[str, list[Skill]] = defaultdict(list)
        self._by_key: defaultdict[str, list[Skill]] = defaultdict(list)
        self._by_key_without_cluster: defaultdict[str, list[Skill]] = defaultdict(list)
        for skill in sorted(skills, key=lambda each: each.id):
            self._by_id[_name(skill.id)] = skill
            for name in skill.equivalents:
                self._by_name[_name(name)].append(skill)
            if skill.code:
                for code in {skill.code.casefold(), without_prefix(skill.code)}:
                    self._by_code[code].append(skill)
                self._by_key[key_of(skill.code)].append(skill)
                self._by_key_without_cluster[key_without_cluster(skill.code)].append(skill)

    def find(self, alignment: Alignment) -> tuple[Skill | None, str]:
        """The skill of an alignment; else None, and why."""
        names = [_name(name) for name in (*alignment.names, alignment.code) if name]
        for name in names:
            if name in self._by_id:
                return self._by_id[name], ""
        # Skills that share a name are the same skill: any of them will do.
        for name in names:
            if name in self._by_name:
                return self._by_name[name][0], ""
        skill, reason = self._find_by_code(alignment)
        # An identifier may be a code, next to a label, as in a taxon of LOM.
        codes = (name for name in alignment.names if reason == _UNKNOWN and "://" not in name)
        found = (self._find_by_code(replace(alignment, code=code))[0] for code in codes)
        skill = skill or next(filter(None, found), None)
        return skill, "" if skill else reason

    def _find_by_code(self, alignment: Alignment) -> tuple[Skill | None, str]:
        whole = without_prefix(alignment.code)
        first, rest = code_and_rest(alignment.code)
        ways = (
            (self._by_code, alignment.code.casefold(), whole),
            (self._by_code, whole, whole),
            (self._by_key, key_of(whole), whole),
            (self._by_code, first, first),
            (self._by_key, key_of(first), first),
            (self._by_key_without_cluster, key_of(first), first),
            (self._by_key, key_without_cluster(first), first),
        )
        for skills, key, code in ways:
            found = skills.get(key, []) if key else []
            framework = alignment.framework.strip().casefold()
            if own := [skill for skill in found if framework and skill.framework.casefold() == framework]:
                found = own
            elif len(code) < _CODE_CHARACTERS_MIN:
                continue
            if found and code != whole and has_a_code(rest):
                return None, "a text with several codes"
            if found:
                return (found[0], "") if _all_the_same(found) else (None, "a code that several skills have")
        return None, _UNKNOWN


def tagged(found: FoundResource, skills: SkillFinder) -> tuple[Resource, list[Unresolved]]:
    """The resource of a file with its tags, and the alignments that became none."""
    tags: dict[Relation, dict[str, SkillTag]] = {relation: {} for relation in Relation}
    unresolved = []
    for alignment in found.alignments:
        skill, reason = skills.find(alignment)
        of_relation = tags[alignment.relation]
        if skill is not None and skill.id not in of_relation and len(of_relation) == TAGS_MAX:
            skill, reason = None, f"a tag beyond the first {TAGS_MAX}"
        if skill is None:
            unresolved.append(Unresolved(alignment, reason, found.resource.id))
        else:
            of_relation.setdefault(skill.id, SkillTag(skill.id, 1.0))
    teaches, assesses = (tuple(tags[relation].values()) for relation in (Relation.TEACHES, Relation.ASSESSES))
    return replace(found.resource, teaches=teaches, assesses=assesses), unresolved


def _name(name: str) -> str:
    name = name_of(name)
    if name.startswith(("http://", "https://")):
        return name.partition("://")[2].removeprefix("www.").rstrip("/")
    return name


def _all_the_same(skills: Sequence[Skill]) -> bool:
    first = set(_names(skills[0]))
    return all(first.intersection(_names(skill)) for skill in skills)


def _names(skill: Skill) -> Iterator[str]:
    yield _name(skill.id)
    yield from map(_name, skill.equivalents)
