"""What a reader has of a learner's list, in a few bytes: enough to know whether a new list would differ."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from functools import lru_cache
from hashlib import blake2b

from services.recommender.application.answers.provenance import Provenance
from services.recommender.application.answers.rank_learner import Recommendations
from services.recommender.domain.ranking.weights import RankingPolicy

# In place of the offset of a learner without state.
NO_STATE = -1

INPUTS_BYTES = 8
LIST_BYTES = 12


@dataclass(frozen=True, slots=True)
class ListCursor:
    """What a reader has of a learner.

    Attributes:
        offset: of the last record that had changed the learner; NO_STATE: nothing was stored.
        inputs: hash of what else the list was made from.
        listed: hash of what matters in the list.
    """

    offset: int
    inputs: bytes
    listed: bytes


@lru_cache(maxsize=256)
def hash_of_inputs(provenance: Provenance, policy: RankingPolicy) -> bytes:
    """Hash of what a list was made from, without the learner's state and the request; `applied` does not count."""
    made_from = (provenance.as_of.timestamp(), provenance.epoch, astuple(provenance.catalog), provenance.bundle)
    parts = (*made_from, astuple(policy))
    return blake2b(repr(parts).encode(), digest_size=INPUTS_BYTES).digest()


def hash_of_list(answer: Recommendations) -> bytes:
    """Hash of the resources in their order, the step of each, and the kinds of its reasons; of no number."""
    parts = [
        (
            answer.catalog.resource_ids[resource.row],
            int(resource.explanation.step),
            sorted({int(reason.kind) for reason in resource.explanation.reasons}),
        )
        for resource in answer.resources
    ]
    return blake2b(repr(parts).encode(), digest_size=LIST_BYTES).digest()
