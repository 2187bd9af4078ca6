"""The tagger's training data: texts of tagged resources, and statements of skills."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from services.catalog.domain.model import Resource, Skill, TagOrigin

_SEPARATORS = re.compile(r"[_\s]+")


@dataclass(frozen=True, slots=True)
class Example:
    """A resource as the tagger sees it.

    Attributes:
        id: the resource's id. The model never reads it.
        text: all text of the resource, without its skills.
        skills: ids of its skills, in the order given, each once; empty: not tagged.
        own_text: the end of `text` that is not about its course or collection. It decides what is a near-duplicate.
            Empty: all of `text`.
    """

    id: str
    text: str
    skills: tuple[str, ...] = ()
    own_text: str = ""

    @property
    def context(self) -> str:
        """The part of `text` about its course or collection, which comes first; empty: none."""
        return self.text.removesuffix(self.own_text).strip() if self.own_text else ""


@dataclass(frozen=True, slots=True)
class Statement:
    """The text of a skill.

    Attributes:
        skill: the skill's id.
        text: its code and statement, then the statement of its parent; its id when there is none of these.
        framework: the framework that the skill belongs to.
        equivalents: other names of the same skill; two skills that share a name are the same.
    """

    skill: str
    text: str
    framework: str = ""
    equivalents: tuple[str, ...] = ()


class NotEnoughExamplesError(ValueError):
    """There are too few tagged resources to learn from."""


def example_of(resource: Resource) -> Example:
    """A catalog's resource as an example. Its skills are those it teaches and assesses, regardless of weight.

    Unreviewed suggestions are left out: the tagger must not learn from itself.
    """
    tags = (*resource.assesses, *resource.teaches)
    own_text = "\n".join(part for part in (resource.title, resource.description) if part)
    return Example(
        id=resource.id,
        text="\n".join(part for part in (resource.provider, own_text) if part),
        skills=tuple(dict.fromkeys(tag.skill for tag in tags if tag.origin is not TagOrigin.SUGGESTED)),
        own_text=own_text,
    )


def statements_of(skills: Sequence[Skill]) -> list[Statement]:
    """The statements of a catalog's skills, in their order.

    A skill's own words are often few; those of its parent, such as a cluster of standards, say more.
    """
    of = {skill.id: skill.statement for skill in skills}
    return [
        Statement(
            skill.id,
            in_words(
                " ".join(part for part in (skill.code, skill.statement, of.get(skill.parent)) if part) or skill.id
            ),
            skill.framework,
            skill.equivalents,
        )
        for skill in skills
    ]


def statements_for(examples: Iterable[Example], known: Sequence[Statement] = ()) -> list[Statement]:
    """A statement for each known skill and each skill of the examples, by id; the default is the id."""
    found = {skill: Statement(skill, in_words(skill)) for example in examples for skill in example.skills}
    found |= {statement.skill: statement for statement in known}
    return [found[skill] for skill in sorted(found)]


def with_equivalents(examples: Iterable[Example], statements: Sequence[Statement]) -> list[Example]:
    """The examples, each with the skills that are the same as its own, too: a crosswalk gives skills examples."""
    same: dict[str, set[str]] = {}
    for statement in statements:
        names = {statement.skill, *statement.equivalents}
        merged = names.union(*(same.get(name, ()) for name in names))
        same |= dict.fromkeys(merged, merged)
    known = {statement.skill for statement in statements}
    return [
        replace(example, skills=tuple(dict.fromkeys([*example.skills, *sorted(_same(example, same) & known)])))
        for example in examples
    ]


def _same(example: Example, same: Mapping[str, set[str]]) -> set[str]:
    return set[str]().union(*(same.get(skill, ()) for skill in example.skills))


def in_words(name: str) -> str:
    """A name with spaces for its underscores: ids such as `add_fractions` consist of words."""
    return _SEPARATORS.sub(" ", name).strip()
