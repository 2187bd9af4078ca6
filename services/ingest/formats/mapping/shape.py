"""The shape of a table: which rows count, and which columns become events of their own."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice

from services.common.tables import Cell, DamagedRow, FileUnusableError, TableRow
from services.ingest.formats.mapping.cells import text_of
from services.ingest.formats.mapping.keys import RowFilter, Unpivot, filled
from services.ingest.formats.mapping.model import FileMapping

_MAXIMUM_AMONG = 10

PlaceOf = Callable[[str], int]
"""The place of a column by its name in a mapping. Raises FileUnusableError when the table has no such column."""

ReadRow = TableRow | DamagedRow


@dataclass(frozen=True, slots=True)
class EventShape:
    """One of the events of a row: what it does not have in common with the others.

    Attributes:
        places: the place of the column of each field.
        texts: fields that the name of the column gives.
    """

    places: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)


def event_shapes(mapping: FileMapping, columns: Sequence[str], place_of: PlaceOf) -> list[EventShape]:
    """The events of a row: one, or one for each unpivoted column.

    Raises:
        FileUnusableError: when an entry matches no column, or names one that the table lacks.
    """
    if not mapping.unpivot:
        return [EventShape()]
    used = {place_of(column) for column in mapping.columns.named()}
    shapes = []
    for index, entry in enumerate(mapping.unpivot):
        found = [
            (place, groups)
            for place in range(len(columns))
            if place not in used and (groups := _groups_of(entry, columns, place)) is not None
        ]
        if not found:
            raise FileUnusableError(
                f"unpivot.{index}.columns is {entry.columns!r}, which is found in no name of a column; there are "
                f"{', '.join(columns[:30])}: correct the expression"
            )
        used |= {place for place, _ in found}
        shapes += [_shape(entry, place, columns[place], groups, place_of) for place, groups in found]
    return shapes


def _groups_of(entry: Unpivot, columns: Sequence[str], place: int) -> dict[str, str] | None:
    """The named groups of the column at a place; None when the entry does not mean it."""
    match = re.search(entry.columns, columns[place])
    before = match if entry.before is None or not place else re.search(entry.before, columns[place - 1])
    if match is None or before is None or (entry.before is not None and not place):
        return None
    return match.groupdict(default="") | before.groupdict(default="")


def _shape(entry: Unpivot, place: int, column: str, groups: dict[str, str], place_of: PlaceOf) -> EventShape:
    places = {name: (place_of(filled(template, column, groups)),) for name, template in entry.others.items()}
    texts = {name: filled(template, column, groups) for name, template in entry.texts.items()}
    return EventShape({**places, entry.value: (place,)}, texts | {name: groups[name] for name in entry.group_fields()})


class CellTest:
    """Whether a row is meant by a filter."""

    def __init__(self, row_filter: RowFilter, place_of: PlaceOf) -> None:
        """Args: the filter, and where its column is. Raises FileUnusableError when there is no such column."""
        self.place = place_of(row_filter.column)
        self._texts = frozenset(text.strip().casefold() for text in row_filter.texts)
        self._regex = None if row_filter.matches is None else re.compile(row_filter.matches)

    def meets(self, cells: Sequence[Cell]) -> bool:
        """Whether the row with these cells is meant."""
        cell = cells[self.place]
        text = "" if cell is None else text_of(cell)
        return text.casefold() in self._texts if self._regex is None else self._regex.search(text) is not None


class RowChoice:
    """Which rows a mapping leaves out."""

    def __init__(self, mapping: FileMapping, place_of: PlaceOf) -> None:
        """Args: the mapping, and where its columns are. Raises FileUnusableError when one is missing."""
        kept = (("keep", False, number, entry) for number, entry in enumerate(mapping.keep, 1))
        dropped = (("drop", True, number, entry) for number, entry in enumerate(mapping.drop, 1))
        self._tests = [
            (CellTest(entry, place_of), leaves_out, f"{key} {number} ({entry.column})")
            for key, leaves_out, number, entry in (*kept, *dropped)
        ]

    def of_columns(self, first: int, end: int) -> Callable[[Sequence[Cell]], str | None]:
        """A function that says why a row is left out, or None, by its columns from `first` to before `end`."""
        tests = [test for test in self._tests if first <= test[0].place < end]

        def reason(cells: Sequence[Cell]) -> str | None:
            return next((why for test, leaves_out, why in tests if test.meets(cells) is leaves_out), None)

        return reason


def with_maximum_row(rows: Iterable[ReadRow], test: CellTest, path: object) -> tuple[TableRow, Iterator[ReadRow]]:
    """The row that holds the maximum points, and all rows in their order.

    Raises:
        FileUnusableError: when it is not among the first ten.
    """
    remaining = iter(rows)
    first = list(islice(remaining, _MAXIMUM_AMONG))
    for row in first:
        if isinstance(row, TableRow) and test.meets(row.cells):
            return row, chain(first, remaining)
    raise FileUnusableError(
        f"none of the first {_MAXIMUM_AMONG} rows of {path} is the one that maximum_row describes: correct its column "
        "and text, or set score_max"
    )


def columns_of(mapping: FileMapping) -> list[str]:
    """The columns that a mapping names, besides those of unpivot, each once."""
    return list(dict.fromkeys([*mapping.columns.named(), *_of_rows(mapping)]))


def only_skills_of(mapping: FileMapping) -> set[str]:
    """The columns that a mapping names for skills and for nothing else."""
    others = mapping.columns.model_copy(update={"skills": ()}).named()
    return {*mapping.columns.skills} - {*others, *_of_rows(mapping)}


def _of_rows(mapping: FileMapping) -> list[str]:
    """The columns that say which rows count, and which row of a companion belongs to one."""
    filters = [*mapping.keep, *mapping.drop, *([] if mapping.maximum_row is None else [mapping.maximum_row])]
    return [*(entry.column for entry in filters), *(column for join in mapping.join for column in join.by)]
