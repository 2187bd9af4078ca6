"""Messages without a language: an id and the values of its placeholders. `render` turns them into sentences."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import NamedTuple


class Message(NamedTuple):
    """A message to show. Hashable, so that its sentence can be cached.

    Attributes:
        id: key of the template in a message catalogue.
        values: name and value of each placeholder; a value may itself be a message.
    """

    id: str
    values: tuple[tuple[str, Hashable], ...] = ()


def message(identifier: str, /, **values: Hashable) -> Message:
    """A message with the values of its placeholders."""
    return Message(identifier, tuple(values.items()))


@dataclass(frozen=True, slots=True)
class Plural:
    """A template whose form depends on a count.

    The names of the forms are those of the plural categories of the Unicode CLDR, except that `zero` is used for
    exactly 0. A form that is missing is replaced by `other`.

    Attributes:
        count: name of the placeholder that holds the count.
        other: the form for all other counts.
        zero: the form for 0.
        one: the form of the category `one`.
        two: the form of the category `two`.
        few: the form of the category `few`.
        many: the form of the category `many`.
    """

    count: str
    other: str
    zero: str | None = None
    one: str | None = None
    two: str | None = None
    few: str | None = None
    many: str | None = None


Template = str | Plural
"""The text of a message in one language, with named placeholders in the syntax of `str.format`."""
