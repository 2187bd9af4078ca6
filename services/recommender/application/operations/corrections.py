"""Corrections that are not in effect: refused ones that wait for a replay, and those that wait for their target."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from services.common.kafka.envelope import Position
from services.recommender.application.operations.dead_letters import FiledLetter
from services.recommender.application.ports.epochs import EpochMeta
from services.recommender.domain.learner.batch import RESOLVED_BY_REPLAY


@dataclass(frozen=True, slots=True)
class LoggedCorrection:
    """A correction as its record in the log says.

    Attributes:
        position: where the record is.
        tenant: the learner's tenant.
        source: of the correction.
        event_id: of the correction.
        target_source: of the event that it corrects.
        target_event_id: likewise.
        written_at_s: when it was written to the log, Unix seconds.
    """

    position: Position
    tenant: str
    source: str
    event_id: str
    target_source: str
    target_event_id: str
    written_at_s: float


class LoggedCorrections(Protocol):
    """Corrections in the log. Calls may raise ConnectionError or LookupError (no such topic)."""

    def waiting(self, targets: Mapping[bytes, Collection[bytes]]) -> AsyncIterator[LoggedCorrection]:
        """The last correction of each target, by learner; reads the partitions of these learners.

        Args:
            targets: fingerprints of the targets, by record key.
        """
        ...


class WaitingCorrections(Protocol):
    """The corrections that wait in an epoch."""

    async def current(self) -> EpochMeta | None:
        """The epoch that is served."""
        ...

    def waiting_corrections(self, epoch: int) -> AsyncIterator[tuple[bytes, Sequence[bytes]]]:
        """The learners for whom corrections wait: record key, and the fingerprints of the targets."""
        ...


def refused_corrections(letters: Iterable[FiledLetter], served: EpochMeta | None) -> list[FiledLetter]:
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


async def waiting_corrections(epochs: WaitingCorrections, log: LoggedCorrections) -> list[LoggedCorrection]:
    """The corrections that wait for their target in the current epoch, in the order of the log."""
    served = await epochs.current()
    if served is None:
        return []
    targets = {key: frozenset(some) async for key, some in epochs.waiting_corrections(served.epoch)}
    if not targets:
        return []
    return sorted([one async for one in log.waiting(targets)], key=lambda one: one.position)
