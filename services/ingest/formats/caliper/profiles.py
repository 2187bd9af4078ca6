"""What producers bend: the sources of format caliper in `services/ingest/sources`, each with its `mapping.yaml`.

A producer is recognised by the extensions of its events, never by name; an event of another producer is read as the
specification says.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from services.ingest.formats.producers import ProducerProfile, profile_in, profiles_of

FORMAT = "caliper"


class LeaveOut(BaseModel):
    """Events that are left out. All that is given must hold.

    Attributes:
        event: their type.
        action: what was done.
        assignable: the type of what was assigned, answered or graded.
        reason: why, in the words of the summary.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    event: str = ""
    action: str = ""
    assignable: str = ""
    reason: str = Field(min_length=1)

    def holds(self, event: str, action: str, assignable: str) -> bool:
        """Whether an event is left out."""
        pairs = ((self.event, event), (self.action, action), (self.assignable, assignable))
        return all(not wanted or wanted == found for wanted, found in pairs)


class Profile(ProducerProfile):
    """What a producer's events mean besides what the specification says.

    Attributes:
        recognised_by: regular expressions; one must be the whole name of an extension of the event, of its actor,
            object or generated entity, or of the learner.
        items: types of what is assigned that are one question, besides AssessmentItem.
        one_attempt: whether a learner's attempts of an assignment are one, whose newest score replaces the earlier,
            where they have no count and no start.
        leave_out: which events are left out.
    """

    items: frozenset[str] = frozenset()
    one_attempt: bool = False
    leave_out: tuple[LeaveOut, ...] = ()

    def left_out(self, event: str, action: str, assignable: str) -> str | None:
        """Why an event is left out; None: it is not."""
        return next((rule.reason for rule in self.leave_out if rule.holds(event, action, assignable)), None)


GENERIC = Profile()


def profile_of(event: Mapping[str, Any]) -> Profile:
    """The profile of the producer of an event; the generic one where none is recognised."""
    names = tuple(sorted(set(_extensions(event))))
    return _recognised(names) if names else GENERIC


def profiles() -> tuple[Profile, ...]:
    """Every known profile, by name. Raises FileUnusableError when one is invalid."""
    return profiles_of(Profile, FORMAT)


@lru_cache(maxsize=1024)
def _recognised(names: tuple[str, ...]) -> Profile:
    for profile in profiles():
        if profile.recognises(names):
            return profile
    return GENERIC


def load_profile(path: Path) -> Profile:
    """The profile in a file. Raises FileUnusableError when it is invalid."""
    return profile_in(Profile, path)


def _extensions(event: Mapping[str, Any]) -> Iterator[str]:
    target = event.get("object")
    assignee = target.get("assignee") if isinstance(target, dict) else None
    for entity in (event, event.get("actor"), target, event.get("generated"), assignee):
        extensions = entity.get("extensions") if isinstance(entity, dict) else None
        if isinstance(extensions, dict):
            yield from extensions
