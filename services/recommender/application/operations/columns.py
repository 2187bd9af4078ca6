"""The columns of exported tables."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class ColumnType(Enum):
    """What the cells of a column hold."""

    TEXT = "text"
    TEXTS = "texts"
    BOOLEAN = "boolean"
    INTEGER = "integer"
    NUMBER = "number"
    TIME = "time"


@dataclass(frozen=True, slots=True)
class Column:
    """A column of an exported table.

    Attributes:
        name: as data teams see it.
        type: what its cells hold; any may be empty.
        meaning: what its values mean, with the unit.
    """

    name: str
    type: ColumnType
    meaning: str


TENANT = Column("tenant", ColumnType.TEXT, "the district or platform")
LEARNER = Column("learner", ColumnType.TEXT, "the learner's pseudonym, as returned by PublishEvents")
