"""Proposing a mapping for a table, from the names of its columns and a sample of its whole content.

Every guess says what it rests on. What the table cannot say is left as a question, `FILL-IN`, which no load accepts.
"""

from __future__ import annotations

from pathlib import Path

from services.common.tables import FileUnusableError, TableRow, open_table
from services.common.tables.detection import detected_layout
from services.ingest.formats.proposal.document import document_of
from services.ingest.formats.proposal.fields import fields_of
from services.ingest.formats.proposal.profile import profiles_of, sampled

_SAMPLE_ROWS = 2_000


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
    sample = sampled(rows, _SAMPLE_ROWS)
    if not sample:
        raise FileUnusableError(f"{path} has no rows below its header: a mapping is proposed from both")
    return document_of(path.name, detected, fields_of(profiles_of(table.columns, sample), source))
