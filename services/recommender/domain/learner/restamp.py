"""Stamping events again: skills from the catalog as it was at a replay, not as it was when ingest received them.

The rule is that of ingest: an item's skills are those that the resource with its id assesses, else those of the
activity's resource. A restamped event is the one that ingest would write if it received it with that catalog.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

SKILLS_MAX = 16

AssessedSkills = Mapping[str, Mapping[str, tuple[str, ...]]]
"""The skills that resources assess, by decreasing weight and then by id: by tenant, then by the resource's id."""


class RestampedEvents(StrEnum):
    """Which assessment events are stamped again."""

    NONE = "none"
    WITHOUT_SKILLS = "without-skills"
    ALL = "all"  # The skills that the sender named stay.


@dataclass(frozen=True, slots=True)
class Restamp:
    """How an epoch stamps events again.

    Attributes:
        events: which events.
        assessed: the skills to take.
        before: only events before these offsets, by partition.
    """

    events: RestampedEvents
    assessed: AssessedSkills
    before: Mapping[int, int]

    def stamp(self, tenant: str, item: str, activity: str) -> tuple[tuple[str, ...], str]:
        """The skills of an event that names none, and the resource it was given in; empty: none."""
        resources = self.assessed.get(tenant, {})
        of_item = resources.get(item) if item else None
        of_activity = resources.get(activity) if activity else None
        resource = ""
        if of_item is not None:
            resource = item
        elif of_activity is not None:
            resource = activity
        return (of_item or of_activity or ())[:SKILLS_MAX], resource


def assessed_skills_id(assessed: AssessedSkills) -> str:
    """Identifies the skills that resources assess, by their content."""
    hashed = hashlib.sha256()
    for tenant, resources in sorted(assessed.items()):
        for resource, skills in sorted(resources.items()):
            # No id has a zero character or is empty.
            hashed.update("\0".join((tenant, resource, *skills, "", "")).encode())
    return hashed.hexdigest()[:16]
