"""The manifest of a saved tagger; in its own module, because the tagger takes seconds to import."""

from __future__ import annotations

import hashlib
from pathlib import Path

MANIFEST = "manifest.json"
_NAME_CHARACTERS = 12


class TaggerUnusableError(ValueError):
    """A folder has no tagger that this version can use; the message says why and what to do."""


def tagger_name(folder: Path) -> str:
    """The name of the tagger in a folder, unique among taggers.

    Raises:
        TaggerUnusableError: when there is none.
    """
    try:
        return hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()[:_NAME_CHARACTERS]
    except OSError as error:
        raise TaggerUnusableError(f"there is no tagger in {folder}: {error}") from error
