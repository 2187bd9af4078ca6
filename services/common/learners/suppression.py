"""Lists of learners to leave out: who was erased must not come back with the next file.

A list is a table of ids, or of keyed hashes of ids, so that nobody reads in it who was erased. A hash stands next to
its key: it hides an id from a reader, not from somebody who also has a list of ids to try.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field

from services.common.learners.ids import comparable_id

_HASH_BYTES = 16


@dataclass(frozen=True, slots=True)
class Suppression:
    """Learners to leave out.

    Attributes:
        ids: their ids, in the form in which ids are compared.
        hashes: hashes of their ids, by the key they were made with.
    """

    ids: frozenset[str] = frozenset()
    hashes: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def __contains__(self, learner_id: str) -> bool:
        """Whether this learner is to be left out."""
        return comparable_id(learner_id) in self.ids or any(
            learner_hash(key, learner_id) in hashes for key, hashes in self.hashes.items()
        )


def learner_hash(key: str, learner_id: str) -> str:
    """The keyed hash of a learner's id: 32 hexadecimal digits of HMAC-SHA256.

    Args:
        key: the key, any text.
        learner_id: the learner; ids that compare as equal have the same hash.
    """
    return hmac.digest(key.encode(), comparable_id(learner_id).encode(errors="surrogatepass"), "sha256")[
        :_HASH_BYTES
    ].hex()
