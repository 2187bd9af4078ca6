"""Proposing a mapping for a table, from the names of its columns and a sample of its whole content.

Every guess says what it rests on. What the table cannot say is left as a question, `FILL-IN`, which no load accepts.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from services.common.tables import Cell, FileUnusableError, TableRow, open_table
from services.common.tables.detection import detected_layout
from services.ingest.formats.proposal.document import document_of
from services.ingest.formats.proposal.fields import fields_of
from services.ingest.formats.proposal.profile import profiles_of, sampled

_SAMPLE_ROWS = 2_000
_LAST_ROWS = 3


def propose_mapping(path: Path, source: str = "") -> str:
    """A mapping file for a table, in YAML, with comments on what to check and questions to answer before loading.

    Args:
        path: a table that `open_table` reads.
        source: the system that the events come from; empty: a question.

    Raises:
        FileUnusableError: when it cannot be read.
    """
    detected = detected_layout(path)
    table = open_table(path, detected.layout)
    rows = (row.cells for row in table.rows(range(len(table.columns))) if isinstance(row, TableRow))
    # Totals and averages are the last rows more often than not.
    last: deque[Sequence[Cell]] = deque(maxlen=_LAST_ROWS)
    sample = sampled(_watched(rows, last), _SAMPLE_ROWS)
    # A sample that leaves rows out has at least half its size.
    complete = len(sample) < _SAMPLE_ROWS // 2
    sample += [row for row in last if not any(row is each for each in sample[-_LAST_ROWS:])]
    if not sample:
        raise FileUnusableError(f"{path} has no rows below its header: a mapping is proposed from both")
    return document_of(path.name, detected, fields_of(profiles_of(table.columns, sample), source, complete=complete))


def _watched(rows: Iterable[Sequence[Cell]], last: deque[Sequence[Cell]]) -> Iterator[Sequence[Cell]]:
    """The rows, of which the last are kept."""
    for row in rows:
        last.append(row)
        yield row
