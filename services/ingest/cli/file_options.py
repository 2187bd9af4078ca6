"""How `cairn ingest load` reads files."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from services.ingest.adapters.load_progress_file import fingerprint_of
from services.ingest.application.ports import FileRow
from services.ingest.cli.learner_options import LearnerOptions
from services.ingest.formats import Format, format_of, read_events
from services.ingest.formats.mapping.companions import companion_path
from services.ingest.formats.mapping.model import FileMapping
from services.ingest.formats.sequences import SequenceLayout, read_sequences
from services.ingest.formats.together import Together

# Of which another file of the load may decide what a row is.
_CHANGING = (Format.XAPI, Format.OPENEDX)


@dataclass(frozen=True, slots=True)
class FileOptions:
    """How files are read.

    Attributes:
        file_format: their format; None: by their names.
        mapping: how columns of tables become fields.
        source: the source of events that name none.
        limit: how much to read of each file, events and what is none; None: all.
        problems: the file for rows that were not accepted; None: `FILE.rejected.ndjson` in this folder for each file.
        resume: whether to continue an interrupted load.
        sequences: the lines of each learner, where files are texts of sequences; None: they are not.
        learners: who the learners are; None: the ids of the files.
        profile: what the producer of JSON documents bends; None: nothing.
        files: those of the load; None: each is alone.
    """

    file_format: Format | None = None
    mapping: FileMapping | None = None
    source: str = ""
    limit: int | None = None
    problems: Path | None = None
    resume: bool = False
    sequences: SequenceLayout | None = None
    learners: LearnerOptions | None = None
    profile: Path | None = None
    files: Together | None = None

    def format_of(self, file: Path) -> Format:
        """A file's format. Raises FileUnusableError when its name does not determine it."""
        return self.file_format or format_of(file)

    def read(self, file: Path, observe_bytes: Callable[[int], None]) -> Iterator[FileRow]:
        """The events of a file. Raises FileUnusableError."""
        rows: Iterator[FileRow]
        if self.sequences is None:
            found = self.format_of(file)
            rows = read_events(
                file,
                found,
                self.source,
                observe_bytes,
                mapping=self.mapping,
                profile=self.profile,
                together=self.files,
            )
        else:
            rows = read_sequences(file, self.sequences, self.source, observe_bytes)
        limited = itertools.islice(rows, self.limit)
        return limited if self.learners is None else self.learners.applied(file, limited)

    @property
    def time_zone(self) -> str:
        """The zone that a person expects times in."""
        return (self.mapping and self.mapping.time_zone) or "UTC"

    def settings_of(self, file: Path) -> str:
        """Everything that determines which events a file yields, besides the file.

        Raises:
            OSError: when a companion file of the mapping cannot be read.
        """
        described = self.mapping or self.sequences
        mapping = "" if described is None else described.model_dump_json()
        if self.profile is not None:
            mapping = fingerprint_of(self.profile, "")
        companions = " ".join(fingerprint_of(companion, "") for companion in self.companions_of(file))
        learners = "" if self.learners is None else self.learners.settings
        files = self.files.description if self.files is not None and self.file_format in _CHANGING else ""
        return " ".join(
            [
                f"{self.file_format} {mapping} {self.source} {self.limit}",
                *filter(None, (companions, learners, files)),
            ]
        )

    def companions_of(self, file: Path) -> list[Path]:
        """The files that the mapping joins to a file."""
        return [] if self.mapping is None else [companion_path(file, join) for join in self.mapping.join]
