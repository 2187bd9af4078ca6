"""The window of a learner's last events: their fingerprints, and next to it what each of them said.

Fingerprints are FINGERPRINT_BYTES each and contents CONTENT_BYTES, both oldest first. A window may hold a fingerprint
more than once: under the event's own content, and under that of each of its revisions.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from services.recommender.domain.learner.events import CONTENT_BYTES
from services.recommender.domain.learner.record import FINGERPRINT_BYTES, SEEN_EVENTS

WINDOW_BYTES = SEEN_EVENTS * FINGERPRINT_BYTES
_LONG_BYTES: Final = 512 * FINGERPRINT_BYTES  # From here on, comparing arrays is faster than searching bytes.


def holds(window: bytearray, fingerprint: bytes) -> bool:
    """Whether the fingerprint is among the last SEEN_EVENTS of the window."""
    start = max(0, len(window) - WINDOW_BYTES)
    if len(window) - start > _LONG_BYTES:
        numbers = np.frombuffer(window, np.uint64, offset=start)
        return bool((numbers == np.frombuffer(fingerprint, np.uint64)).any())
    at = window.find(fingerprint, start)
    while at >= 0 and at % FINGERPRINT_BYTES:
        at = window.find(fingerprint, at + 1)
    return at >= 0


def is_full(window: bytearray) -> bool:
    """Whether the window may have dropped events."""
    return len(window) >= WINDOW_BYTES


def contents_under(window: bytearray, contents: bytearray, fingerprint: bytes) -> list[bytes]:
    """What the events in the window with a fingerprint said, the last one last."""
    found = []
    at = window.find(fingerprint, max(0, len(window) - WINDOW_BYTES))
    while at >= 0:
        place, within = divmod(at, FINGERPRINT_BYTES)
        if not within:
            found.append(bytes(contents[place * CONTENT_BYTES : (place + 1) * CONTENT_BYTES]))
        at = window.find(fingerprint, at + 1)
    return found


def unpack_contents(window: bytes, stored: bytes) -> bytearray:
    """The contents of a window as stored: one for each of its fingerprints.

    Args:
        window: the fingerprints.
        stored: of `pack_contents`.
    """
    return bytearray(stored.rjust(len(window) // FINGERPRINT_BYTES * CONTENT_BYTES, b"\0"))


def pack_contents(contents: bytes | bytearray) -> bytes:
    """Contents as stored: without the zero bytes they begin with, so that none are stored where none is known."""
    return bytes(contents).lstrip(b"\0")


def kept(window: bytearray, contents: bytearray) -> tuple[bytes, bytes]:
    """The fingerprints and contents to store."""
    seen = bytes(window[-WINDOW_BYTES:])
    known = contents[len(contents) - len(seen) // FINGERPRINT_BYTES * CONTENT_BYTES :]
    return seen, pack_contents(known)
