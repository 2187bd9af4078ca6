"""Proposing a mapping for a table, from the names of its columns and a sample of its whole content.

Every guess says what it rests on. What the table cannot say is left as a question, `FILL-IN`, which no load accepts.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from services.common.tables import Cell, DamagedRow, FileUnusableError, Table, TableRow, open_table
from services.common.tables.detection import detected_layout
from services.ingest.formats.proposal.document import document_of
from services.ingest.formats.proposal.fields import fields_of
from services.ingest.formats.proposal.profile import profiles_of, sampled

_SAMPLE_ROWS = 2_000
_LAST_ROWS = 3


def propose_mapping(path: Path, source: str = "", *, member: str | None = None, sheet: str | None = None) -> str:
    """A mapping file for a table, in YAML, with comments on what to check and questions to answer before loading.

    Args:
        path: a table that `open_table` reads.
        source: the system that the events come from; empty: a question.
        member: the file inside a zip file; None: the only one.
        sheet: of a workbook; None: the only one with cells.

    Raises:
        FileUnusableError: when it cannot be read.
    """
    detected = detected_layout(path, member, sheet)
    table = open_table(path, detected.layout)
    sample = _Sample(table)
    if not sample.rows:
        why = (
            f"no row below its header that can be read: {sample.unreadable}"
            if sample.damaged
            else "no rows below its header"
        )
        raise FileUnusableError(f"{path} has {why}: a mapping is proposed from both")
    if sample.damaged:
        sentence = f"rows that cannot be read with this layout: {sample.damaged}; the first: {sample.unreadable}"
        detected = replace(detected, evidence=(*detected.evidence, sentence))
    fields = fields_of(
        profiles_of(table.columns, sample.rows),
        source,
        complete=sample.complete,
        repeats_header=sample.repeats_header,
    )
    return document_of(path.name, detected, fields)


class _Sample:
    """A sample of the rows of a table, with the last ones: totals and averages are there more often than not.

    Attributes:
        rows: the sample.
        complete: whether it has every row.
        repeats_header: whether the header is there again among the rows, which the sample leaves out.
        damaged: how many rows cannot be read.
        unreadable: why, for the first of them.
    """

    def __init__(self, table: Table) -> None:
        self.repeats_header = False
        self.damaged = 0
        self.unreadable = ""
        self._last: deque[Sequence[Cell]] = deque(maxlen=_LAST_ROWS)
        header = [name or None for name in table.columns]
        self.rows = sampled(self._watched(table.rows(range(len(table.columns))), header), _SAMPLE_ROWS)
        # A sample that leaves rows out has at least half its size.
        self.complete = len(self.rows) < _SAMPLE_ROWS // 2
        self.rows += [row for row in self._last if not any(row is each for each in self.rows[-_LAST_ROWS:])]

    def _watched(self, rows: Iterable[TableRow | DamagedRow], header: list[str | None]) -> Iterator[Sequence[Cell]]:
        """The rows that can be read, of which the last are kept."""
        for row in rows:
            if isinstance(row, DamagedRow):
                self.unreadable = self.unreadable or f"line {row.line} {row.reason}"
                self.damaged += 1
            elif (row.cells[0] or None) == header[0] and [cell or None for cell in row.cells] == header:
                self.repeats_header = True
            else:
                self._last.append(row.cells)
                yield row.cells
