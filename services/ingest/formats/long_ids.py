"""Ids of formats that set no limit to their length, in the length that the log keeps."""

from __future__ import annotations

import hashlib

from services.common.auth.identity import normalised_id
from services.ingest.domain.problems import ID_CHARACTERS_MAX


def kept_id(text: str) -> str:
    """An id as the log keeps it: as it is, or `sha256:` and the hash of its UTF-8, where it is too long."""
    if len(text) <= ID_CHARACTERS_MAX or len(text := normalised_id(text)) <= ID_CHARACTERS_MAX:
        return text
    return f"sha256:{hashlib.sha256(text.encode(errors='backslashreplace')).hexdigest()}"
