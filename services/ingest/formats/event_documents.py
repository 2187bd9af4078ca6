"""Files of the events that learning platforms write in JSON.

The reader of a format is a package here with the function `rows_of(document, source, number)`: the rows of one
document, of any JSON, with the source of events that name none and the document's place in the file. A reader whose
producers bend its specification also has `load_profile(path)`, and takes what that returns as `profile`. One in which
events change what others said has `changes_in`, a FindChanges that takes `source` and perhaps `profile` besides, and
`CHANGE_MARKS`, the bytes of which a file with changes has one.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from importlib import import_module
from pathlib import Path

from services.common.tables.lines import ObserveBytes
from services.ingest.application.ports import FieldReason, FileRow, UnreadableRow
from services.ingest.formats.documents import documents_of
from services.ingest.formats.together import Changes, Together


def read_event_documents(
    reader: str,
    path: Path,
    source: str = "",
    observe_bytes: ObserveBytes = lambda _: None,
    profile: Path | None = None,
    together: Together | None = None,
) -> Iterator[FileRow]:
    """The events of a file.

    Args:
        reader: the name of the format's package.
        path: the file, gzip-compressed or not.
        source: the source of events that name none.
        observe_bytes: see ObserveBytes.
        profile: what a producer bends; None: nothing.
        together: the files of the load; None: this one.

    Raises:
        FileUnusableError: when the file or the profile cannot be used.
    """
    module = import_module(f"services.ingest.formats.{reader}")
    bent = {} if profile is None else {"profile": module.load_profile(profile)}
    changes: Changes | None = None
    if marks := getattr(module, "CHANGE_MARKS", ()):
        find = partial(module.changes_in, source=source, **bent)
        changes = (together or Together([path])).changes(reader, marks, find)
    for number, document in documents_of(path, observe_bytes):
        if isinstance(document, FieldReason):
            yield UnreadableRow(number, (document,), "")
        else:
            rows: Iterator[FileRow] = module.rows_of(document, source, number, **bent)
            yield from rows if changes is None else changes.applied(document, rows)
