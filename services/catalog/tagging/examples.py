"""What the tagger learns from: texts of resources that carry skills, and what the skills state."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from services.catalog.domain.model import Resource, Skill, TagOrigin

_SEPARATORS = re.compile(r"[_\s]+")


@dataclass(frozen=True, slots=True)
class Example:
    """A resource as the tagger sees it.

    Attributes:
        id: the resource's id. Never read by the model.
        text: everything the resource says in words, without its skills.
        skills: ids of the skills it carries, in the order given, each once; empty: not tagged.
        own_text: the part of `text` that is its own and not that of the course or collection it stands in.
            Near-duplicates are found in it. Empty: all of `text`.
    """

    id: str
    text: str
    skills: tuple[str, ...] = ()
    own_text: str = ""


@dataclass(frozen=True, slots=True)
class Statement:
    """A skill in words.

    Attributes:
        skill: the skill's id.
        text: its code and statement, or its id where it has neither.
    """

    skill: str
    text: str


class NotEnoughExamplesError(ValueError):
    """There are too few tagged resources to learn from."""


def example_of(resource: Resource) -> Example:
    """A catalog's resource as an example: what it teaches and assesses are its skills, whatever their weights.

    Tags that the tagger suggested and nobody has reviewed are left out: it must not learn from itself.
    """
    tags = (*resource.assesses, *resource.teaches)
    own_text = "\n".join(part for part in (resource.title, resource.description) if part)
    return Example(
        id=resource.id,
        text="\n".join(part for part in (resource.provider, own_text) if part),
        skills=tuple(dict.fromkeys(tag.skill for tag in tags if tag.origin is not TagOrigin.SUGGESTED)),
        own_text=own_text,
    )


def statement_of(skill: Skill) -> Statement:
    """A catalog's skill in words."""
    return Statement(skill.id, in_words(" ".join(part for part in (skill.code, skill.statement) if part) or skill.id))


def statements_for(examples: Iterable[Example], known: Sequence[Statement] = ()) -> list[Statement]:
    """A statement for each known skill and each skill of the examples, by id; where none is known the id speaks."""
    texts = {skill: in_words(skill) for example in examples for skill in example.skills}
    texts |= {statement.skill: statement.text for statement in known}
    return [Statement(skill, texts[skill]) for skill in sorted(texts)]


def in_words(name: str) -> str:
    """A name with its underscores as spaces: ids such as `add_fractions` are words too."""
    return _SEPARATORS.sub(" ", name).strip()
