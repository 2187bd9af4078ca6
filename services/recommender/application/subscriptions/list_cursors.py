"""The list that a reader has of a learner, in a few bytes: enough to decide whether a new list differs."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from functools import lru_cache
from hashlib import blake2b

from services.recommender.application.answers.provenance import Provenance
from services.recommender.application.answers.rank_learner import Recommendations
from services.recommender.domain.ranking.weights import RankingPolicy

# The offset of a learner without state.
NO_STATE = -1

INPUTS_BYTES = 8
LIST_BYTES = 12


@dataclass(frozen=True, slots=True)
class ListCursor:
    """The list that a reader has of a learner.

    Attributes:
        offset: of the last record that changed the learner; NO_STATE: nothing was stored.
        inputs: hash of the list's other inputs.
        listed: hash of the list's contents.
    """

    offset: int
    inputs: bytes
    listed: bytes


@lru_cache(maxsize=256)
def hash_of_inputs(provenance: Provenance, policy: RankingPolicy) -> bytes:
    """Hash of a list's inputs, without the learner's state and the request; `applied` is ignored."""
    made_from = (provenance.as_of.timestamp(), provenance.epoch, astuple(provenance.catalog), provenance.bundle)
    parts = (*made_from, astuple(policy))
    return blake2b(repr(parts).encode(), digest_size=INPUTS_BYTES).digest()


def hash_of_list(answer: Recommendations) -> bytes:
    """Hash of the resources in order, the step of each, and the kinds of its reasons, but of no numbers."""
    parts = [
        (
            answer.catalog.resource_ids[resource.row],
            int(resource.explanation.step),
            sorted({int(reason.kind) for reason in resource.explanation.reasons}),
        )
        for resource in answer.resources
    ]
    return blake2b(repr(parts).encode(), digest_size=LIST_BYTES).digest()
