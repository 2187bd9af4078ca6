"""Decoded records of a partition, ready to be folded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from services.recommender.application.ports.log import DeadLetter, RecordMark
from services.recommender.application.ports.quarantine import Quarantine, Skipped
from services.recommender.domain.learner.batch import Refusal
from services.recommender.domain.learner.events import ErasureEvent, LearnerEvent


def _no_record(offset: int) -> DeadLetter:
    raise AssertionError(f"the fold refused the record at {offset}, which is not in the batch")


@dataclass(slots=True)
class PartitionBatch:
    """Consecutive records of one partition.

    Attributes:
        partition: its number.
        next_offset: one past the last record.
        learners: tenant, and events with their offsets, by record key.
        dead: records that cannot be applied.
        letter_at: the dead letter, without a reason, of the record at an offset; for records that the fold refuses.
        erased: offsets of records that can no longer be read.
        lost: offsets of records whose keys are lost, which was accepted.
        traceparents: the trace of each learner's last traced record, by record key.
        last: the last record.
        records: how many records there are.
        cost: what it takes to fold them, in ordinary records.
        sent_at_s: when the broker sent them, Unix seconds.
    """

    partition: int
    next_offset: int
    learners: dict[bytes, tuple[str, list[tuple[int, LearnerEvent]]]] = field(default_factory=dict)
    dead: list[DeadLetter] = field(default_factory=list)
    letter_at: Callable[[int], DeadLetter] = _no_record
    erased: list[int] = field(default_factory=list)
    lost: list[int] = field(default_factory=list)
    traceparents: dict[bytes, str] = field(default_factory=dict)
    last: RecordMark | None = None
    records: int = 0
    cost: int = 0
    sent_at_s: float = 0.0

    def refused(self, refusal: Refusal) -> DeadLetter:
        """The dead letter of a record that the fold refused."""
        return replace(self.letter_at(refusal.offset), code=refusal.code, reason=refusal.reason)

    def erased_among(self, keys: Iterable[bytes]) -> list[bytes]:
        """Those of these learners, by record key, whom one of the records erases."""
        return [key for key in keys if any(type(event) is ErasureEvent for _, event in self.learners[key][1])]


def set_aside(
    batches: Sequence[PartitionBatch], quarantine: Quarantine, positions: Mapping[int, int]
) -> tuple[Sequence[PartitionBatch], Skipped]:
    """The batches without quarantined learners, and the records left out that were not counted before.

    Args:
        batches: what was read.
        quarantine: the epoch's quarantine.
        positions: records before these offsets were counted, by partition.
    """
    records: dict[int, dict[bytes, int]] = {}
    kept = []
    for batch in batches:
        left_out = batch.learners.keys() & quarantine.learners.keys() if quarantine.learners else ()
        if not left_out:
            kept.append(batch)
        else:
            position = positions[batch.partition]
            records[batch.partition] = {
                key: sum(offset >= position for offset, _ in batch.learners[key][1]) for key in left_out
            }
            learners = {key: events for key, events in batch.learners.items() if key not in left_out}
            kept.append(replace(batch, learners=learners))
    return kept, Skipped(quarantine.version, records)
