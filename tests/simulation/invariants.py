"""What must hold, whatever happened: the checks while a world runs, and those at its end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from services.common.encryption.headers import is_encrypted
from services.common.encryption.values import ERASED, LOST, KeyGone
from services.common.kafka.partitioner import partition_of
from services.recommender.application.ports.log import DeadLetter
from services.recommender.application.state.epochs import EpochDigest, digest_epoch, has_reached
from services.recommender.domain.learner.batch import CONFLICT, RESOLVED_BY_REPLAY
from services.recommender.domain.learner.journal import encode_journal
from services.recommender.domain.learner.record import FINGERPRINT_BYTES, LearnerRecord
from services.recommender.domain.learner.state import encode_state
from tests.adapters.memory_states import MemoryStates
from tests.simulation.clean_replay import CleanLog
from tests.simulation.log import PARTITIONS, SimulatedLog
from tests.simulation.loops import at_once
from tests.simulation.store import SimulatedRedis


class InvariantBrokenError(AssertionError):
    """An invariant is violated."""


def check_commit(redis: SimulatedRedis, group: str, offsets: Mapping[int, int]) -> None:
    """Offsets are committed to Kafka only after their records were stored."""
    epoch = int(group.rpartition("-")[2])
    early = {p: offset for p, offset in offsets.items() if offset > redis.furthest.get((epoch, p), 0)}
    if early:
        raise InvariantBrokenError(f"offsets {early} were committed to Kafka before their records were stored")


def check_served(redis: SimulatedRedis, epoch: int) -> None:
    """No epoch is served before it has reached the end that the log had when the epoch was begun."""
    meta, positions = at_once(redis.states.get(epoch)), redis.positions(epoch)
    if meta is not None and not has_reached(meta.end_positions, positions):
        raise InvariantBrokenError(f"epoch {epoch} is served at {positions}, before {meta.end_positions}")


def check_end(log: SimulatedLog, redis: SimulatedRedis, letters: Sequence[DeadLetter]) -> None:
    """Compare the stored data, byte for byte, with one undisturbed fold of the whole log.

    Raises:
        InvariantBrokenError: when something was lost, doubled or invented.
    """
    # A dead letter in flight when the topic was recreated belongs to a record that is gone.
    records = {(p, one.offset): (one.key, one.value) for p, every in enumerate(log.records) for one in every}
    written = [((one.partition, one.offset), (one.key, one.value)) for one in letters]
    found = {place: record for place, record in written if records.get(place) == record}
    clean_log = CleanLog(log)
    live, refused = clean_log.replayed({})
    erased, lost = _without_key(clean_log, ERASED), _without_key(clean_log, LOST)
    for epoch in redis.folded_epochs():
        # The epoch knew the same later corrections as its replay.
        meta = at_once(redis.states.get(epoch))
        known_to = {} if meta is None else meta.end_positions
        clean, due = clean_log.replayed(known_to) if any(known_to.values()) else (live, refused)
        _check_epoch(redis.states, epoch, clean)
        expected = {(one.partition, one.offset): (one.key, one.value) for one in due}
        if not expected.items() <= found.items():
            raise InvariantBrokenError(f"epoch {epoch}: dead letters of {sorted(found)}, not of {sorted(expected)}")
        _check_keyless(redis.states, epoch, Counter(p for p, _ in erased), Counter(p for p, _ in lost))
    # A past epoch that knew of fewer corrections refused more; none refuses more than one that knew of none.
    # Others may have been refused before their keys were gone, or because they contradict a record of the learner
    # that the log lost, until that was noticed.
    possible = {(one.partition, one.offset) for one in refused} | {*erased, *lost}
    possible |= {place for place, (key, _) in found.items() if key in log.keys_of_lost}
    if not found.keys() <= possible:
        raise InvariantBrokenError(f"dead letters of {sorted(found.keys() - possible)}, which can be applied")
    _check_ids(clean_log, live, refused)


def _check_epoch(states: MemoryStates, epoch: int, clean: MemoryStates) -> None:
    stored, expected = states.learners.get(epoch, {}), clean.learners.get(1, {})
    for key in sorted(stored.keys() | expected.keys()):
        if stored.get(key) != expected.get(key):
            raise InvariantBrokenError(
                f"{key.decode()} on partition {partition_of(key, PARTITIONS)} is at {_summary(stored.get(key))}, a "
                f"clean replay gives {_summary(expected.get(key))}"
            )
    if _digest(states, epoch) != _digest(clean, 1):
        raise InvariantBrokenError("the digests differ though the learners do not")
    counted, expected_counts = _counts(states, epoch), _counts(clean, 1)
    if counted != expected_counts:
        raise InvariantBrokenError(f"counted {counted}, a clean replay counts {expected_counts}")


def _check_keyless(states: MemoryStates, epoch: int, erased: Mapping[int, int], lost: Mapping[int, int]) -> None:
    """Nothing counts as erased without a proof. A worker may have read a record before its learner was erased."""
    for partition, one in at_once(states.progress(epoch)).items():
        if one.erased > erased[partition] or one.lost != lost[partition]:
            raise InvariantBrokenError(
                f"{one.erased} records of partition {partition} count as erased and {one.lost} as lost, but "
                f"{erased[partition]} are and {lost[partition]}"
            )


def _without_key(log: CleanLog, gone: KeyGone) -> list[tuple[int, int]]:
    """Records whose key is destroyed, or lost for good."""
    return [
        (one.partition, one.offset)
        for records in log.log.records
        for one in records
        if is_encrypted(one.headers) and log.keys.decrypt(one.key, one.value, one.headers) is gone
    ]


def _check_ids(log: CleanLog, live: MemoryStates, letters: Sequence[DeadLetter]) -> None:
    """One id is one event, whatever kinds it crosses; and after an erasure it is a new one."""
    late = {one.key for one in letters if one.code in RESOLVED_BY_REPLAY}
    expected = log.expected()
    conflicts = {(one.key, one.offset) for one in letters if one.code == CONFLICT}
    defined = {(key, offset) for key, one in expected.items() for offset, code in one.refused if code == CONFLICT}
    if any(key not in late for key, _ in conflicts ^ defined):
        raise InvariantBrokenError(f"conflicts are {sorted(conflicts)}, not {sorted(defined)}")
    _check_same_learners(live, log.replayed(log.log.ends())[0], "is another one live than replayed", late)
    if any(one.erased_at for one in expected.values()):
        after, _ = log.since_erasures(expected).replayed({})
        _check_same_learners(live, after, "still shows what came before an erasure")


def _check_same_learners(
    one: MemoryStates, other: MemoryStates, what: str, left_out: Collection[bytes | None] = ()
) -> None:
    for key, learner in one.learners[1].items():
        if key not in left_out and _content(other.learners[1][key]) != _content(learner):
            raise InvariantBrokenError(f"{key.decode()} {what}")


def _content(stored: LearnerRecord) -> tuple[object, ...]:
    """Everything about a learner that later events or answers depend on."""
    state = None if stored.state is None else encode_state(stored.state)
    return state, encode_journal(stored.journal), stored.checkpoint, stored.seen, stored.contents


def _digest(states: MemoryStates, epoch: int) -> EpochDigest:
    return at_once(digest_epoch(states, epoch))


def _counts(states: MemoryStates, epoch: int) -> dict[int, tuple[int, int]]:
    """Position and number of counted records, by partition.

    The split into kinds is exact only if no worker died. When a worker reads records again after another one stored
    the learners but not the position, it cannot distinguish applied records from skipped ones.
    """
    return {
        partition: (
            one.position,
            one.applied + one.duplicates + one.conflicts + one.dead_lettered + one.erased + one.lost + one.quarantined,
        )
        for partition, one in at_once(states.progress(epoch)).items()
    }


def _summary(stored: LearnerRecord | None) -> str:
    if stored is None:
        return "nothing"
    forgotten = ", forgotten" if stored.state is None else ""
    return f"offset {stored.offset} with {len(stored.seen) // FINGERPRINT_BYTES} events{forgotten}"
