"""Proposing a mapping for a table, from the names of its columns and a sample of its whole content.

Every guess says what it rests on. What the table cannot say is left as a question, `FILL-IN`, which no load accepts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from services.common.tables import Cell, DamagedRow, FileUnusableError, open_table
from services.common.tables.detection import detected_layout
from services.ingest.formats.proposal.document import document_of
from services.ingest.formats.proposal.fields import fields_of
from services.ingest.formats.proposal.profile import profiles_of, sampled

_SAMPLE_ROWS = 2_000


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
    header = [name or None for name in table.columns]
    again = 0
    first_damaged: DamagedRow | None = None
    damaged = 0

    def rows() -> Iterator[Sequence[Cell]]:
        nonlocal again, damaged, first_damaged
        for row in table.rows(range(len(table.columns))):
            if isinstance(row, DamagedRow):
                damaged, first_damaged = damaged + 1, first_damaged or row
            elif (row.cells[0] or None) == header[0] and [cell or None for cell in row.cells] == header:
                again += 1
            else:
                yield row.cells

    sample = sampled(rows(), _SAMPLE_ROWS)
    unreadable = f"line {first_damaged.line} {first_damaged.reason}" if first_damaged else ""
    if not sample:
        why = f"no row below its header that can be read: {unreadable}" if damaged else "no rows below its header"
        raise FileUnusableError(f"{path} has {why}: a mapping is proposed from both")
    if damaged:
        sentence = f"rows that cannot be read with this layout: {damaged}; the first: {unreadable}"
        detected = replace(detected, evidence=(*detected.evidence, sentence))
    fields = fields_of(profiles_of(table.columns, sample), source, repeats_header=again > 0)
    return document_of(path.name, detected, fields)
