"""The order in which a person reviews suggested tags, and how the answers change a resource."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from services.catalog.domain.model import Resource, SkillTag, TagOrigin
from services.common.resource_kinds import ResourceKindName

# One in this number of suggestions is part of the random sample.
RANDOM_ONE_IN = 10

PriorityKey = tuple[float, str, str]
RandomKey = tuple[int, str, str]


@dataclass(frozen=True, slots=True)
class WaitingTag:
    """A skill suggested for a resource, which has not been reviewed yet.

    Attributes:
        resource_id: the resource.
        title: its title.
        skill: the skill.
        confidence: the probability that it is right, by the tagger.
        traffic: number of responses in the resource, as far as known.
    """

    resource_id: str
    title: str
    skill: str
    confidence: float
    traffic: int = 0

    @property
    def draw(self) -> int:
        """A pseudo-random number, which depends on resource and skill alone."""
        text = f"{self.resource_id}\0{self.skill}"
        return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=6).digest(), "big")

    @property
    def drawn_at_random(self) -> bool:
        """Whether it is in the random tenth, an unbiased sample of all suggestions."""
        return self.draw % RANDOM_ONE_IN == 0

    @property
    def priority(self) -> float:
        """Traffic times uncertainty: (1 + responses) 4 p (1 - p), with p the confidence."""
        return (1 + self.traffic) * 4.0 * self.confidence * (1.0 - self.confidence)


@dataclass(frozen=True, slots=True)
class QueuePlace:
    """A position in the queue: how far each of its two orders was read.

    Attributes:
        taken: number of suggestions read.
        by_priority: key of the last one read by priority; None: none yet.
        at_random: key of the last one read from the random sample; None: none yet.
    """

    taken: int = 0
    by_priority: PriorityKey | None = None
    at_random: RandomKey | None = None


class ReviewQueue:
    """Suggestions in the order to review them: by priority, and every tenth one from the random sample.

    Both orders depend on the suggestions alone. So when suggestions are answered or added between two pages, the pages
    neither repeat nor skip the others.
    """

    def __init__(self, waiting: Iterable[WaitingTag]) -> None:
        """Args: the suggestions, each pair of resource and skill once."""
        by_priority: list[tuple[PriorityKey, WaitingTag]] = []
        at_random: list[tuple[RandomKey, WaitingTag]] = []
        for tag in waiting:
            if tag.drawn_at_random:
                at_random.append(((tag.draw, tag.resource_id, tag.skill), tag))
            else:
                by_priority.append(((-tag.priority, tag.resource_id, tag.skill), tag))
        self._by_priority = sorted(by_priority, key=lambda entry: entry[0])
        self._at_random = sorted(at_random, key=lambda entry: entry[0])

    def __len__(self) -> int:
        return len(self._by_priority) + len(self._at_random)

    def page(self, place: QueuePlace, size: int) -> tuple[list[WaitingTag], QueuePlace]:
        """Up to `size` suggestions after a position, and the position after them."""
        page: list[WaitingTag] = []
        for tag, reached in self._after(place):
            if len(page) == size:
                break
            page.append(tag)
            place = reached
        return page, place

    def is_at_end(self, place: QueuePlace) -> bool:
        """Whether nothing follows a position."""
        return next(self._after(place), None) is None

    def _after(self, place: QueuePlace) -> Iterator[tuple[WaitingTag, QueuePlace]]:
        first = (
            0
            if place.by_priority is None
            else bisect_right(self._by_priority, place.by_priority, key=lambda entry: entry[0])
        )
        drawn = (
            0 if place.at_random is None else bisect_right(self._at_random, place.at_random, key=lambda entry: entry[0])
        )
        while first < len(self._by_priority) or drawn < len(self._at_random):
            turn_of_random = place.taken % RANDOM_ONE_IN == RANDOM_ONE_IN - 1
            if drawn < len(self._at_random) and (turn_of_random or first == len(self._by_priority)):
                random_key, tag = self._at_random[drawn]
                drawn += 1
                place = QueuePlace(place.taken + 1, place.by_priority, random_key)
            else:
                priority_key, tag = self._by_priority[first]
                first += 1
                place = QueuePlace(place.taken + 1, priority_key, place.at_random)
            yield tag, place


def accepted(resource: Resource, skill: str, confidence: float | None) -> Resource:
    """The resource with a tag that a person has confirmed.

    An existing tag keeps its weight. A new one gets the average weight of the others; an assessment assesses the
    skill, any other resource teaches it.
    """
    resource = replace(resource, rejected_skills=tuple(one for one in resource.rejected_skills if one != skill))
    if any(tag.skill == skill for tag in resource.tags):
        return replace(
            resource,
            teaches=tuple(_reviewed(tag, skill) for tag in resource.teaches),
            assesses=tuple(_reviewed(tag, skill) for tag in resource.assesses),
        )
    weights = [tag.weight for tag in resource.tags]
    weight = sum(weights) / len(weights) if weights else 1.0
    tag = SkillTag(skill, weight, TagOrigin.REVIEWED, confidence)
    if resource.kind is ResourceKindName.ASSESSMENT:
        return replace(resource, assesses=(*resource.assesses, tag))
    return replace(resource, teaches=(*resource.teaches, tag))


def rejected(resource: Resource, skill: str) -> Resource:
    """The resource without a tag, whose skill will not be suggested again."""
    return replace(
        resource,
        teaches=tuple(tag for tag in resource.teaches if tag.skill != skill),
        assesses=tuple(tag for tag in resource.assesses if tag.skill != skill),
        rejected_skills=tuple(dict.fromkeys((*resource.rejected_skills, skill))),
    )


def answers_to_random_ones(resources: Iterable[Resource]) -> tuple[int, int]:
    """How many suggestions of the random sample were confirmed, and how many answered: an unbiased precision."""
    right = answered = 0
    for resource in resources:
        confirmed = {
            tag.skill for tag in resource.tags if tag.origin is TagOrigin.REVIEWED and tag.confidence is not None
        }
        for skill in confirmed | set(resource.rejected_skills):
            if WaitingTag(resource.id, "", skill, 0.0).drawn_at_random:
                answered += 1
                right += skill in confirmed
    return right, answered


def _reviewed(tag: SkillTag, skill: str) -> SkillTag:
    return replace(tag, origin=TagOrigin.REVIEWED) if tag.skill == skill else tag
