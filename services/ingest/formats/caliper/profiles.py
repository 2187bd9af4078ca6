"""What producers bend: the sources of format caliper in `services/ingest/sources`, each with its `mapping.yaml`.

A producer is recognised by the extensions of its events, never by name; an event of another producer is read as the
specification says.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from services.common.repeated_keys import load_yaml
from services.common.tables import FileUnusableError

FORMAT = "caliper"
_FOLDER = Path(__file__).parents[2] / "sources"


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


class Profile(BaseModel):
    """What a producer's events mean besides what the specification says.

    Attributes:
        recognised_by: regular expressions; one must be the whole name of an extension of the event, of its actor,
            object or generated entity, or of the learner.
        items: types of what is assigned that are one question, besides AssessmentItem.
        one_attempt: whether a learner's attempts of an assignment are one, whose newest score replaces the earlier,
            where they have no count and no start.
        leave_out: which events are left out.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    recognised_by: tuple[str, ...] = ()
    items: frozenset[str] = frozenset()
    one_attempt: bool = False
    leave_out: tuple[LeaveOut, ...] = ()

    @field_validator("recognised_by")
    @classmethod
    def _expressions(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in value:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"{pattern!r} is not a regular expression ({error}): correct it") from error
        return value

    def left_out(self, event: str, action: str, assignable: str) -> str | None:
        """Why an event is left out; None: it is not."""
        return next((rule.reason for rule in self.leave_out if rule.holds(event, action, assignable)), None)


GENERIC = Profile()


def profile_of(event: Mapping[str, Any]) -> Profile:
    """The profile of the producer of an event; the generic one where none is recognised."""
    names = tuple(sorted(set(_extensions(event))))
    return _recognised(names) if names else GENERIC


@lru_cache(maxsize=1024)
def _recognised(names: tuple[str, ...]) -> Profile:
    for profile in profiles():
        if any(re.fullmatch(pattern, name) for pattern in profile.recognised_by for name in names):
            return profile
    return GENERIC


@cache
def profiles(folder: Path = _FOLDER) -> tuple[Profile, ...]:
    """Every known profile, by name. Raises FileUnusableError when one is invalid."""
    paths = sorted(folder.glob("*/source.yaml"))
    return tuple(load_profile(path.with_name("mapping.yaml")) for path in paths if _yaml(path).get("format") == FORMAT)


def load_profile(path: Path) -> Profile:
    """The profile in a file.

    Raises:
        FileUnusableError: when it is invalid; the message names the key and the remedy.
    """
    try:
        return Profile.model_validate(_yaml(path))
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
        raise FileUnusableError(f"{path} cannot be used: {problems}") from error


def _yaml(path: Path) -> dict[str, Any]:
    content = load_yaml(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise FileUnusableError(f"{path} does not hold keys and values: write them as docs/formats.md tells")
    return content


def _extensions(event: Mapping[str, Any]) -> Iterator[str]:
    target = event.get("object")
    assignee = target.get("assignee") if isinstance(target, dict) else None
    for entity in (event, event.get("actor"), target, event.get("generated"), assignee):
        extensions = entity.get("extensions") if isinstance(entity, dict) else None
        if isinstance(extensions, dict):
            yield from extensions
