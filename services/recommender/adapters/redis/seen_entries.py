"""A learner's applied events in the list `seen`: for each an entry, its fingerprint and its content.

An element of the list is EVENTS_OF_ELEMENT entries, the last one at most as many: Redis needs two bytes more for each
element. Earlier releases wrote fingerprints alone, one an element; the first commit rewrites such a list.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from services.recommender.domain.learner.events import CONTENT_BYTES, CONTENT_UNKNOWN
from services.recommender.domain.learner.record import FINGERPRINT_BYTES, SEEN_EVENTS
from services.recommender.domain.learner.seen import pack_contents, unpack_contents

EVENTS_OF_ELEMENT: Final = 4
SEEN_ENTRY_BYTES: Final = FINGERPRINT_BYTES + CONTENT_BYTES
SEEN_ELEMENT_BYTES: Final = EVENTS_OF_ELEMENT * SEEN_ENTRY_BYTES
SEEN_ELEMENTS: Final = SEEN_EVENTS // EVENTS_OF_ELEMENT + 1
"""Enough for SEEN_EVENTS events when the first and the last are partly used."""

APPEND_SEEN: Final = f"""
local last = redis.call('LINDEX', seen, -1)
if last and #last % {SEEN_ENTRY_BYTES} ~= 0 then
  -- Earlier releases wrote fingerprints alone, one an element.
  local unknown = string.rep('\\0', {SEEN_ENTRY_BYTES} - #last)
  events = table.concat(redis.call('LRANGE', seen, 0, -1), unknown) .. unknown .. events
  redis.call('DEL', seen)
elseif last and #last < {SEEN_ELEMENT_BYTES} then
  events = redis.call('RPOP', seen) .. events
end
local elements = {{}}
for at = 1, #events, {SEEN_ELEMENT_BYTES} do
  elements[#elements + 1] = string.sub(events, at, at + {SEEN_ELEMENT_BYTES - 1})
  if #elements == 1000 then redis.call('RPUSH', seen, unpack(elements)); elements = {{}} end
end
if #elements > 0 then redis.call('RPUSH', seen, unpack(elements)) end
redis.call('LTRIM', seen, -{SEEN_ELEMENTS}, -1)
"""
"""Lua that appends the entries in `events` to the list `seen`, and drops those that the window no longer holds."""

_ENTRY = np.dtype([("fingerprint", f"V{FINGERPRINT_BYTES}"), ("content", f"V{CONTENT_BYTES}")])


def seen_elements(seen: bytes, contents: bytes) -> list[bytes]:
    """The elements of a new list with the events of a LearnerRecord."""
    table = np.empty(len(seen) // FINGERPRINT_BYTES, _ENTRY)
    table["fingerprint"] = np.frombuffer(seen, f"V{FINGERPRINT_BYTES}")
    table["content"] = np.frombuffer(unpack_contents(seen, contents), f"V{CONTENT_BYTES}")
    entries = table.tobytes()
    return [entries[at : at + SEEN_ELEMENT_BYTES] for at in range(0, len(entries), SEEN_ELEMENT_BYTES)]


def seen_of_elements(elements: Sequence[bytes]) -> tuple[bytes, bytes]:
    """The fingerprints and contents of the last SEEN_EVENTS events of the list, as a LearnerRecord has them."""
    if elements and len(elements[0]) == FINGERPRINT_BYTES:
        elements = [fingerprint + CONTENT_UNKNOWN for fingerprint in elements]
    table = np.frombuffer(b"".join(elements), _ENTRY)[-SEEN_EVENTS:]
    return table["fingerprint"].tobytes(), pack_contents(table["content"].tobytes())
