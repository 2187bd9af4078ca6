"""Refused corrections that wait for a replay."""

from __future__ import annotations

from collections.abc import Iterable

from services.recommender.application.operations.dead_letters import FiledLetter
from services.recommender.application.ports.epochs import EpochMeta
from services.recommender.domain.learner.batch import RESOLVED_BY_REPLAY


def pending_corrections(letters: Iterable[FiledLetter], served: EpochMeta | None) -> list[FiledLetter]:
    """The refused corrections that the current epoch does not include.

    An epoch includes every correction in the log before its end positions; see `KnownCorrections`.

    Args:
        letters: the dead letters.
        served: the epoch; None: there is none.
    """
    honoured_to = {} if served is None else served.end_positions
    return [
        filed
        for filed in letters
        if filed.letter.code in RESOLVED_BY_REPLAY and filed.letter.offset >= honoured_to.get(filed.letter.partition, 0)
    ]
