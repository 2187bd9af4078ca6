"""The readers of public formats by name. A new one is an entry in READERS, and imports its reader when it is called."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.formats.readings import Reading, reading_of

Read = Callable[[Path, str], Reading]
"""Takes a file, and what it is a part of (`as` of the expectation; empty: a whole document)."""


class NotAPartError(ValueError):
    """`as` names a part that the reader of the format does not know."""


def document_of(path: Path) -> Any:
    """The JSON of a file."""
    return json.loads(path.read_text(encoding="utf-8"))


_ACTOR = {"objectType": "Agent", "mbox": "mailto:learner@example.com"}
_VERB = {"id": "http://adlnet.gov/expapi/verbs/attended", "display": {"en": "attended"}}
_OBJECT = {"objectType": "Activity", "id": "http://example.com/activities/1"}


def _xapi(path: Path, part: str) -> Reading:
    from services.ingest.formats.xapi import rows_of

    document = document_of(path)
    if part in ("actor", "verb", "object", "result", "context", "authority"):
        document = {"actor": _ACTOR, "verb": _VERB, "object": _OBJECT} | {part: document}
    elif part:
        raise NotAPartError(part)
    return reading_of(rows_of(document, "xapi", 1))


READERS: dict[str, Read] = {"xapi": _xapi}
