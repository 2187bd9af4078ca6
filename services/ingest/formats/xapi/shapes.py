"""Tables of what objects hold, and the walk over a document that names every property in which it differs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from services.ingest.application.ports import FieldReason
from services.ingest.formats.xapi.texts import Check, iri, language, shown

Problems = list[FieldReason]


class Part(Protocol):
    """A value with parts of its own."""

    def check(self, value: object, path: str, problems: Problems) -> None:
        """Add every problem of a value.

        Args:
            value: any JSON.
            path: where it is.
            problems: to add to.
        """
        ...


Rule = Callable[[dict[str, Any], str], Iterator[FieldReason]]
"""What the properties of an object must be together; takes the object, whose properties are valid, and its path."""


@dataclass(frozen=True)
class Shape:
    """An object with known properties.

    Attributes:
        what: its name, with an article.
        properties: the check or part of each.
        required: those that it must have.
        rules: what holds between them.
    """

    what: str
    properties: Mapping[str, Check | Part]
    required: tuple[str, ...] = ()
    rules: tuple[Rule, ...] = ()
    _parts: dict[str, Part] = field(init=False, repr=False, default_factory=dict)
    _checks: dict[str, Check] = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        for name, entry in self.properties.items():
            if callable(entry):
                self._checks[name] = entry
            else:
                self._parts[name] = entry

    def check(self, value: object, path: str, problems: Problems) -> None:
        """See Part."""
        if type(value) is not dict:
            problems.append(FieldReason(path, f"is {shown(value)}: send {self.what}, which is an object"))
            return
        before, prefix = len(problems), f"{path}." if path else ""
        checks, parts = self._checks, self._parts
        for name, entry in value.items():
            if (check := checks.get(name)) is not None:
                if (wrong := check(entry)) is not None:
                    problems.append(FieldReason(prefix + name, _NULL if entry is None else wrong))
            elif entry is not None and (part := parts.get(name)) is not None:
                part.check(entry, prefix + name, problems)
            else:
                problems.append(FieldReason(prefix + name, self._no_part(name)))
        for name in self.required:
            if name not in value:
                problems.append(FieldReason(prefix + name, f"is missing: {self.what} has it"))
        if len(problems) == before:
            for rule in self.rules:
                problems.extend(rule(value, path))

    def _no_part(self, name: str) -> str:
        if name in self._parts:
            return _NULL
        return f"is no property of {self.what}: remove it, or use one of {', '.join(self.properties)}"


_NULL = "is null: leave it out, or send a value"


@dataclass(frozen=True)
class ListOf:
    """An array.

    Attributes:
        part: of its elements.
        single: whether one element may stand for an array of it.
        filled: whether it has at least one element.
    """

    part: Part
    single: bool = False
    filled: bool = False

    def check(self, value: object, path: str, problems: Problems) -> None:
        """See Part."""
        if self.filled and value == []:
            problems.append(FieldReason(path, "is empty: send at least one, or leave it out"))
        elif type(value) is list:
            for index, entry in enumerate(value):
                self.part.check(entry, f"{path}[{index}]", problems)
        elif self.single:
            self.part.check(value, path, problems)
        else:
            problems.append(FieldReason(path, f"is {shown(value)}: send an array"))


@dataclass(frozen=True)
class Leaf:
    """An element that is no object."""

    test: Check

    def check(self, value: object, path: str, problems: Problems) -> None:
        """See Part."""
        wrong = self.test(value)
        if wrong is not None:
            problems.append(FieldReason(path, wrong))


@dataclass(frozen=True)
class MapOf:
    """An object whose keys are data.

    Attributes:
        what: its name, with an article.
        key: the check of each key.
        entry: the check of each value; None: any JSON.
    """

    what: str
    key: Check
    entry: Check | None = None

    def check(self, value: object, path: str, problems: Problems) -> None:
        """See Part."""
        if type(value) is not dict:
            problems.append(FieldReason(path, f"is {shown(value)}: send {self.what}, which is an object"))
            return
        for key, entry in value.items():
            wrong = self.key(key)
            if wrong is None and self.entry is not None:
                wrong = self.entry(entry)
            if wrong is not None:
                problems.append(FieldReason(f"{path}[{key}]", wrong))


@dataclass(frozen=True)
class ByType:
    """An object of one of several kinds, which its `objectType` names.

    Attributes:
        what: its name, with an article.
        kinds: the part of each kind.
        default: the kind of an object without objectType.
        also: further values of objectType, and the kind that each is read as.
    """

    what: str
    kinds: Mapping[str, Part]
    default: str
    also: Mapping[str, str] = field(default_factory=dict)

    def check(self, value: object, path: str, problems: Problems) -> None:
        """See Part."""
        if type(value) is not dict:
            problems.append(FieldReason(path, f"is {shown(value)}: send {self.what}, which is an object"))
            return
        kind = value.get("objectType", self.default)
        part = self.kinds.get(self.also.get(kind, kind)) if type(kind) is str else None
        if part is None:
            names = ", ".join(self.kinds)
            problems.append(FieldReason(f"{path}.objectType", f"is {shown(kind)}: send one of {names}"))
        else:
            part.check(value, path, problems)


LANGUAGE_MAP = MapOf(
    "a language map", language, lambda value: None if type(value) is str else f"is {shown(value)}: send a text"
)
EXTENSIONS = MapOf("a map of extensions", iri)
