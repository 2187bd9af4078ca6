"""Untagged resources, suggestions for them, and which of these may be applied without review."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from services.catalog.domain.model import Resource, SkillTag, TagOrigin
from services.catalog.tagging.examples import example_of
from services.catalog.tagging.tagger import SkillTagger, Suggestion
from services.common.resource_kinds import ResourceKindName


@dataclass(frozen=True, slots=True)
class Proposal:
    """An untagged resource, and the skills suggested for it, most likely first."""

    resource: Resource
    suggestions: tuple[Suggestion, ...]

    def above(self, confidences: Mapping[str, float]) -> tuple[Suggestion, ...]:
        """The suggestions of at least the confidence given for their skill; none of a skill without one."""
        return tuple(one for one in self.suggestions if one.confidence >= confidences.get(one.skill, math.inf))


def untagged(resources: Sequence[Resource]) -> list[Resource]:
    """The resources that neither teach nor assess a skill."""
    return [resource for resource in resources if not resource.teaches and not resource.assesses]


def propose(tagger: SkillTagger, resources: Sequence[Resource], limit: int) -> list[Proposal]:
    """Up to `limit` suggestions for each resource, in the order of the confidence of the first suggestion.

    Skills that a person has rejected for a resource are not suggested again. Resources without suggestions are left
    out.
    """
    most = limit + max((len(resource.rejected_skills) for resource in resources), default=0)
    suggestions = tagger.suggest([example_of(resource) for resource in resources], most)
    proposals = []
    for resource, found in zip(resources, suggestions, strict=True):
        kept = [one for one in found if one.skill not in resource.rejected_skills][:limit]
        if kept:
            proposals.append(Proposal(resource, tuple(kept)))
    return sorted(proposals, key=lambda proposal: (-proposal.suggestions[0].confidence, proposal.resource.id))


def tagged(proposal: Proposal, confidences: Mapping[str, float]) -> Resource:
    """The resource with every suggestion of at least the confidence of its skill as a tag, all with the same weight.

    An assessment assesses the skills; any other resource teaches them.
    """
    applied = proposal.above(confidences)
    tags = tuple(
        SkillTag(one.skill, 1 / len(applied), origin=TagOrigin.SUGGESTED, confidence=one.confidence) for one in applied
    )
    if proposal.resource.kind is ResourceKindName.ASSESSMENT:
        return replace(proposal.resource, assesses=tags)
    return replace(proposal.resource, teaches=tags)
