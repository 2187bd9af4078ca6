"""The kinds of resources, the same in every service: the contract's `ResourceKind`, without the generated code.

A new kind is a number in `catalog.proto` and a member of both enumerations below.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum


class ResourceKind(IntEnum):
    """The kind of a resource, with the numbers of the contract."""

    UNSPECIFIED = 0
    LESSON = 1
    VIDEO = 2
    PRACTICE = 3
    GAME = 4
    ASSESSMENT = 5
    ACTIVITY = 6


class ResourceKindName(StrEnum):
    """The same kinds, with the names used in files and commands."""

    LESSON = "lesson"
    VIDEO = "video"
    PRACTICE = "practice"
    GAME = "game"
    ASSESSMENT = "assessment"
    ACTIVITY = "activity"
