"""What producers bend: the sources of format xapi in `services/ingest/sources`, each with its `mapping.yaml`.

A producer is recognised by the extensions of its statements, never by name; a statement of another producer is read
as the specification says.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from services.ingest.formats.producers import ProducerProfile, profile_in, profiles_of
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


class Profile(ProducerProfile):
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
        statuses: types of activities that say by `passed` and `failed` only that they were completed, because their
            score is another statement.
        attempt: the extension of the object's definition that counts attempts, from 1.
    """

    activity_types: tuple[str, ...] = ()
    interaction_types: tuple[str, ...] = ()
    any_activity_id: bool = False
    leave_out: tuple[LeaveOut, ...] = ()
    items: frozenset[str] = frozenset()
    within_parent: frozenset[str] = frozenset()
    statuses: frozenset[str] = frozenset()
    attempt: str = ""

    @cached_property
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
    return profiles_of(Profile, FORMAT)


@lru_cache(maxsize=1024)
def _recognised(iris: tuple[str, ...]) -> Profile:
    for profile in profiles():
        if profile.recognises(iris):
            return profile
    return GENERIC


def load_profile(path: Path) -> Profile:
    """The profile in a file. Raises FileUnusableError when it is invalid."""
    return profile_in(Profile, path)


def _extensions(statement: Mapping[str, Any], name: str) -> Iterable[str]:
    part = statement.get(name)
    extensions = part.get("extensions") if isinstance(part, dict) else None
    return extensions if isinstance(extensions, dict) else ()


def _extensions_of_object(statement: Mapping[str, Any]) -> Iterable[str]:
    target = statement.get("object")
    return _extensions(target, "definition") if isinstance(target, dict) else ()
