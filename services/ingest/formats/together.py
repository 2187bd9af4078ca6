"""Files that are loaded together, where an event may change what another one said, in whichever file that is."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from services.common.tables.lines import FileUnusableError, opened
from services.ingest.application.ports import FieldReason, FileRow
from services.ingest.formats.documents import documents_of

_READ_BYTES = 1 << 20

Documents = Iterable[object]


class Changes(Protocol):
    """What events change of what others said."""

    def applied(self, document: object, rows: Iterable[FileRow]) -> Iterator[FileRow]:
        """The rows of a document, with the corrections that it makes. Raises nothing."""
        ...


FindChanges = Callable[[Documents, Documents], Changes]
"""Takes the documents among which the changes are, and all documents."""


class Together:
    """The files of one load."""

    def __init__(self, paths: Sequence[Path]) -> None:
        """Args: the files."""
        self._paths = paths
        self._found: dict[str, Changes | None] = {}

    @property
    def description(self) -> str:
        """What tells these files from others; empty for one file alone. Raises OSError."""
        return " ".join(f"{path} {path.stat().st_size}" for path in self._paths) if len(self._paths) > 1 else ""

    def changes(self, reader: str, marks: Sequence[bytes], find: FindChanges) -> Changes | None:
        """What is changed; None: nothing, as in most files, which are only searched and not read for it.

        Args:
            reader: the name of the format's package.
            marks: of which a file with changes has one.
            find: finds the changes.
        """
        if reader not in self._found:
            changing = [path for path in self._paths if _has_any(path, marks)]
            self._found[reader] = find(_documents_in(changing), _documents_in(self._paths)) if changing else None
        return self._found[reader]


def _has_any(path: Path, marks: Sequence[bytes]) -> bool:
    overlap = max(map(len, marks)) - 1
    held = b""
    try:
        with opened(path) as (_, content):
            while read := content.read(_READ_BYTES):
                held = held[-overlap:] + read
                if any(mark in held for mark in marks):
                    return True
    except (FileUnusableError, EOFError, zlib.error, OSError):
        # It is reported when its turn comes; what is before the damage is loaded.
        return True
    return False


def _documents_in(paths: Sequence[Path]) -> Iterator[object]:
    for path in paths:
        try:
            for _, document in documents_of(path):
                if not isinstance(document, FieldReason):
                    yield document
        except FileUnusableError:
            # As above.
            continue
