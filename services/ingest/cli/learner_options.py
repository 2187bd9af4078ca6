"""The options `--aliases` and `--suppress` of `cairn ingest load`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

from rich.console import Console
from rich.text import Text

from services.common.learners.suppression_file import read_suppression
from services.ingest.adapters.unmatched_ids_file import UnmatchedIdsFile
from services.ingest.application.people import People, PeopleCounts
from services.ingest.application.ports import FileRow
from services.ingest.formats.aliases import read_aliases

_UNMATCHED_SHOWN = 3


class LearnerOptions:
    """Who the learners of the files are, and what was found of them in each file.

    Attributes:
        paths: the files that the options name.
    """

    def __init__(
        self, aliases: Path | None, suppress: Path | None, unmatched_of: Callable[[Path], Path] | None = None
    ) -> None:
        """Read the options' files.

        Args:
            aliases: a table of the ids of learners who have several; None: nobody has.
            suppress: a list of learners to leave out; None: nobody.
            unmatched_of: names the file for the unmatched ids of a file; None: write none.

        Raises:
            FileUnusableError: when one of the files cannot be used.
        """
        self.paths = tuple(path for path in (aliases, suppress) if path is not None)
        self._people = People(
            None if aliases is None else read_aliases(aliases), None if suppress is None else read_suppression(suppress)
        )
        self._aliases = aliases
        self._suppress = suppress
        self._unmatched_of = unmatched_of
        self._counts: dict[Path, PeopleCounts] = {}

    @property
    def settings(self) -> str:
        """Everything that determines what they make of a file."""
        digests = [
            "" if path is None else hashlib.sha256(path.read_bytes()).hexdigest()
            for path in (self._aliases, self._suppress)
        ]
        return " ".join(digests)

    def written(self, file: Path) -> tuple[Path, ...]:
        """The files that the load of this file writes."""
        return () if self._unmatched_of is None or self._aliases is None else (self._unmatched_of(file),)

    def applied(self, file: Path, rows: Iterator[FileRow]) -> Iterator[FileRow]:
        """The rows of a file under the ids to use, without those of learners to leave out."""
        counts = self._counts[file] = PeopleCounts()
        if not (written := self.written(file)):
            yield from self._people.of(rows, counts)
            return
        with UnmatchedIdsFile(*written) as unmatched:
            yield from self._people.of(rows, counts, unmatched.write)

    def summary(self, file: Path) -> dict[str, object]:
        """The counts of a file, for machines."""
        counts = self._counts.get(file, PeopleCounts())
        found: dict[str, object] = {}
        if self._suppress is not None:
            found["suppressed"] = counts.suppressed
        if self._aliases is not None:
            found["unmatched_learners"] = len(counts.unmatched)
        return found

    def print_counts(self, file: Path, console: Console) -> None:
        """The counts of a file, for people."""
        counts = self._counts.get(file, PeopleCounts())
        if self._suppress is not None:
            said = f"suppressed {counts.suppressed:,} rows of learners in {self._suppress}; they are in no other count"
            console.print(Text(said), soft_wrap=True)
        if self._aliases is None:
            return
        said = f"unmatched {len(counts.unmatched):,} ids of learners"
        if counts.unmatched:
            said += f" are in no row of {self._aliases}, and are taken as they are: "
            shown = ", ".join(map(repr, sorted(counts.unmatched)[:_UNMATCHED_SHOWN]))
            further = ", ..." if len(counts.unmatched) > _UNMATCHED_SHOWN else ""
            said += "".join(f"see {path}" for path in self.written(file)) or shown + further
        console.print(Text(said), soft_wrap=True)
