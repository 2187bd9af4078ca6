"""What tag suggestions need from outside: the tenants' fitted taggers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from services.catalog.domain.contents import Contents
from services.catalog.domain.model import Resource

SUGGESTIONS_MAX = 20


class NoTaggerError(RuntimeError):
    """The tenant has no usable tagger."""


@dataclass(frozen=True, slots=True)
class SuggestedSkill:
    """A skill a resource may be about.

    Attributes:
        skill: its id.
        confidence: the probability that it is right, from 0 to 1.
        examples: the number of resources with the skill in the training data.
    """

    skill: str
    confidence: float
    examples: int


class Tagger(Protocol):
    """A fitted tagger; immutable. Its calls are slow, and may be made on any thread."""

    @property
    def name(self) -> str:
        """Unique among taggers."""
        ...

    def suggest_for(self, resources: Sequence[Resource], limit: int) -> list[list[SuggestedSkill]]:
        """Up to `limit` skills for each resource, most likely first."""
        ...

    def suggest(self, texts: Sequence[str], limit: int) -> list[list[SuggestedSkill]]:
        """Up to `limit` skills for each text, most likely first."""
        ...


class Taggers(Protocol):
    """The tenants' taggers."""

    def of(self, tenant: str) -> Tagger | None:
        """The tenant's current tagger; None when it has no usable one."""
        ...

    def missing(self, tenant: str) -> str:
        """Why there is none, and the remedy."""
        ...

    def traffic(self, tenant: str) -> Mapping[str, int]:
        """Number of responses by resource, as far as known; the same object until it changes."""
        ...


def allowed(contents: Contents, suggestions: Sequence[SuggestedSkill], rejected: Sequence[str]) -> list[SuggestedSkill]:
    """The suggestions whose skill is in the catalog and was not rejected."""
    return [one for one in suggestions if one.skill in contents.skills and one.skill not in rejected]
