"""Decisions of a person about prerequisites, in a table as `cairn catalog prerequisites --out` writes it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from services.catalog.formats.jsonl import FileUnreadableError, LineProblem
from services.common.tables import Cell, DamagedRow, FileUnusableError, open_table

_COLUMNS = ("prerequisite", "skill", "decision")
_DECISIONS = {"yes": True, "no": False}


@dataclass(frozen=True, slots=True)
class DecidedPrerequisite:
    """A decision about one prerequisite.

    Attributes:
        prerequisite: the skill that comes first.
        skill: the skill that builds on it.
        wanted: whether it is a prerequisite.
        line: where the file says so.
    """

    prerequisite: str
    skill: str
    wanted: bool
    line: int


@dataclass(frozen=True, slots=True)
class DecidedPrerequisites:
    """The contents of a table: decisions, how many rows have none, and what is wrong with others."""

    decisions: list[DecidedPrerequisite]
    undecided: int
    problems: list[LineProblem]


def read_decided_prerequisites(path: Path) -> DecidedPrerequisites:
    """Read a table: CSV, Excel or Parquet, with the columns prerequisite, skill and decision (yes, no or empty).

    Raises:
        FileUnreadableError: when it cannot be read, or lacks a column.
    """
    decisions: list[DecidedPrerequisite] = []
    problems: list[LineProblem] = []
    undecided = 0
    try:
        table = open_table(path)
        names = [str(name).strip() for name in table.columns]
        if missing := [name for name in _COLUMNS if name not in names]:
            raise FileUnreadableError(
                f"{path} has no column {missing[0]!r}; it needs {', '.join(_COLUMNS)}: start from a table that "
                "cairn catalog prerequisites --out wrote"
            )
        places = [names.index(name) for name in _COLUMNS]
        for row in table.rows(places):
            if isinstance(row, DamagedRow):
                problems.append(LineProblem(row.line, "", row.reason))
                continue
            prerequisite, skill, decision = (_text(row.cells[place]) for place in places)
            if not decision:
                undecided += 1
            elif decision.casefold() not in _DECISIONS:
                reason = f"{decision!r} is no decision: write yes or no, or nothing to leave it open"
                problems.append(LineProblem(row.line, "decision", reason))
            else:
                wanted = _DECISIONS[decision.casefold()]
                decisions.append(DecidedPrerequisite(prerequisite, skill, wanted, row.line))
    except FileUnusableError as error:
        raise FileUnreadableError(str(error)) from error
    return DecidedPrerequisites(decisions, undecided, problems)


def _text(cell: Cell) -> str:
    return "" if cell is None else str(cell).strip()
