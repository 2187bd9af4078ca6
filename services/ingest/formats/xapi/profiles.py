"""What producers bend: the sources of format xapi in `services/ingest/sources`, each with its `mapping.yaml`.

A producer is recognised by the extensions of its statements, never by name; a statement of another producer is read
as the specification says.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from services.common.repeated_keys import load_yaml
from services.common.tables import FileUnusableError
from services.ingest.formats.xapi.statements import Tolerance

FORMAT = "xapi"


class LeaveOut(BaseModel):
    """Statements that are left out. All that is given must hold.

    Attributes:
        verb: the id of their verb.
        type: the type of their object's definition.
        object_type: the objectType of their object, as it is sent.
        interaction_type: the interactionType of their object's definition.
        reason: why, in the words of the summary.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    verb: str = ""
    type: str = ""
    object_type: str = ""
    interaction_type: str = ""
    reason: str = Field(min_length=1)

    def holds(self, verb: str, target: Mapping[str, Any]) -> bool:
        """Whether a statement with this verb and object is left out."""
        definition = target.get("definition", {})
        return (
            self.verb in ("", verb)
            and self.type in ("", definition.get("type"))
            and self.object_type in ("", target.get("objectType"))
            and self.interaction_type in ("", definition.get("interactionType"))
        )


class Profile(BaseModel):
    """What a producer's statements mean besides what the specification says.

    Attributes:
        recognised_by: regular expressions; one must be the whole IRI of an extension of the context, or of the
            object's definition.
        activity_types: values of objectType that mean Activity.
        interaction_types: values of interactionType besides those of the specification.
        any_activity_id: whether an activity's id may be any text.
        leave_out: which statements are left out.
        items: types of activities that are one question, besides interactions.
        within_parent: types of activities that are a part or an attempt of their first parent, which is meant.
        attempt: the extension of the object's definition that counts attempts, from 1.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    recognised_by: tuple[str, ...] = ()
    activity_types: tuple[str, ...] = ()
    interaction_types: tuple[str, ...] = ()
    any_activity_id: bool = False
    leave_out: tuple[LeaveOut, ...] = ()
    items: frozenset[str] = frozenset()
    within_parent: frozenset[str] = frozenset()
    attempt: str = ""

    @field_validator("recognised_by")
    @classmethod
    def _expressions(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in value:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"{pattern!r} is not a regular expression ({error}): correct it") from error
        return value

    @property
    def tolerance(self) -> Tolerance:
        """What its statements may be besides what the specification allows."""
        return Tolerance(self.activity_types, self.interaction_types, self.any_activity_id)

    def left_out(self, verb: str, target: Mapping[str, Any]) -> str | None:
        """Why a statement with this verb and object is left out; None: it is not."""
        return next((rule.reason for rule in self.leave_out if rule.holds(verb, target)), None)


GENERIC = Profile()


def profile_of(statement: Mapping[str, Any]) -> Profile:
    """The profile of the producer of a statement, of any JSON; the generic one where none is recognised."""
    iris = tuple(sorted({*_extensions(statement, "context"), *_extensions_of_object(statement)}))
    return _recognised(iris) if iris else GENERIC


def profiles() -> tuple[Profile, ...]:
    """Every known profile, by name. Raises FileUnusableError when one is invalid."""
    return _profiles(Path(__file__).parents[2] / "sources")


@lru_cache(maxsize=1024)
def _recognised(iris: tuple[str, ...]) -> Profile:
    for profile in profiles():
        if any(re.fullmatch(pattern, iri) for pattern in profile.recognised_by for iri in iris):
            return profile
    return GENERIC


@cache
def _profiles(folder: Path) -> tuple[Profile, ...]:
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
        raise FileUnusableError(f"{path} does not hold keys and values: write them as docs/files.md tells")
    return content


def _extensions(statement: Mapping[str, Any], name: str) -> Iterable[str]:
    part = statement.get(name)
    extensions = part.get("extensions") if isinstance(part, dict) else None
    return extensions if isinstance(extensions, dict) else ()


def _extensions_of_object(statement: Mapping[str, Any]) -> Iterable[str]:
    target = statement.get("object")
    return _extensions(target, "definition") if isinstance(target, dict) else ()
