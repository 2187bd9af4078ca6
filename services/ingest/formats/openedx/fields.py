"""Fields of tracking events, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeGuard

_SHOWN_CHARACTERS = 40


class FieldError(ValueError):
    """A field of an event is wrong.

    Attributes:
        field: its path.
        reason: the value, what is wrong with it, and the remedy.
    """

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field} {reason}")
        self.field = field
        self.reason = reason


def required_text(fields: Mapping[str, Any], name: str, path: str) -> str:
    """A text. Raises FieldError."""
    value = fields.get(name)
    if isinstance(value, str) and value:
        return value
    reason = "is missing: add it" if value is None else f"is {shown(value)}: send a text"
    raise FieldError(f"{path}.{name}", reason)


def required_number(fields: Mapping[str, Any], name: str, path: str) -> float:
    """A number. Raises FieldError."""
    value = fields.get(name)
    if is_number(value):
        try:
            return float(value)
        except OverflowError:
            pass
    reason = "is missing: add it" if value is None else f"is {shown(value)}: send a number"
    raise FieldError(f"{path}.{name}", reason)


def is_number(value: Any) -> TypeGuard[int | float]:
    """Whether it is a number; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def shown(value: object) -> str:
    """A value in an error; of an object or array only what it is."""
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, list):
        return "an array"
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}..."
