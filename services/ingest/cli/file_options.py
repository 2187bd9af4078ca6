"""How `cairn ingest load` reads files."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from services.ingest.application.ports import FileRow
from services.ingest.formats import Format, format_of, read_events
from services.ingest.formats.mapping.model import FileMapping
from services.ingest.formats.sequences import SequenceLayout, read_sequences


@dataclass(frozen=True, slots=True)
class FileOptions:
    """How files are read.

    Attributes:
        file_format: their format; None: by their names.
        mapping: how columns of tables become fields.
        source: the source of events that name none.
        limit: the most events to read of each file; None: all.
        problems: the file for rows that were not accepted; None: `FILE.rejected.ndjson` in this folder for each file.
        resume: whether to continue an interrupted load.
        sequences: the lines of each learner, where files are texts of sequences; None: they are not.
    """

    file_format: Format | None = None
    mapping: FileMapping | None = None
    source: str = ""
    limit: int | None = None
    problems: Path | None = None
    resume: bool = False
    sequences: SequenceLayout | None = None

    def format_of(self, file: Path) -> Format:
        """A file's format. Raises FileUnusableError when its name does not determine it."""
        return self.file_format or format_of(file)

    def read(self, file: Path, observe_bytes: Callable[[int], None]) -> Iterator[FileRow]:
        """The events of a file. Raises FileUnusableError."""
        rows: Iterator[FileRow]
        if self.sequences is None:
            rows = read_events(file, self.format_of(file), self.source, observe_bytes, mapping=self.mapping)
        else:
            rows = read_sequences(file, self.sequences, self.source, observe_bytes)
        return itertools.islice(rows, self.limit)

    @property
    def settings(self) -> str:
        """Everything that determines which events a file yields."""
        described = self.mapping or self.sequences
        mapping = "" if described is None else described.model_dump_json()
        return f"{self.file_format} {mapping} {self.source} {self.limit}"
