"""Nonces of AES-GCM: 12 random bytes each (NIST SP 800-38D, section 8.2.2).

They are drawn from the system many at a time. A call for each would hand the interpreter to another thread each time,
and wait for it afterwards.
"""

from __future__ import annotations

import os
from collections import deque

NONCE_BYTES = 12

_DRAWN_AT_ONCE = 256
_drawn: deque[bytes] = deque()
# A child process must not use the nonces of its parent.
os.register_at_fork(after_in_child=_drawn.clear)


def new_nonce() -> bytes:
    """A nonce that no other call returns, in any thread or process."""
    while True:
        try:
            # Atomic, so no two threads get the same one.
            return _drawn.popleft()
        except IndexError:
            drawn = os.urandom(NONCE_BYTES * _DRAWN_AT_ONCE)
            _drawn.extend(drawn[begin : begin + NONCE_BYTES] for begin in range(0, len(drawn), NONCE_BYTES))
