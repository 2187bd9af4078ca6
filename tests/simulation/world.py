"""The world of a simulation: a log, a Redis and workers, the faults, and the invariants at the end."""

from __future__ import annotations

import asyncio
import copy
import logging
import random
import warnings
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any, Protocol, cast

import structlog

from cairn.v1 import events_pb2
from services.common.encryption.headers import is_encrypted
from services.common.encryption.values import ERASED, LOST, KeyGone, KeysMissingError
from services.common.kafka.connection import BrokerUnavailableError, KafkaConnection
from services.common.kafka.partitioner import partition_of
from services.recommender.application.ports.epochs import (
    EpochExistsError,
    EpochMeta,
    EpochMissingError,
    EpochsLostError,
    EpochStatus,
)
from services.recommender.application.ports.learners import CommitRefusedError, StateUnavailableError
from services.recommender.application.ports.log import DeadLetter, LogTruncatedError, ValueDecryptor
from services.recommender.application.ports.models import Bundle
from services.recommender.application.state.epochs import (
    EpochDigest,
    EpochUnusableError,
    digest_epoch,
    has_reached,
)
from services.recommender.application.state.fold_events import FoldEvents, FoldReport
from services.recommender.application.state.log_marks import check_log_holds
from services.recommender.application.state.partition_batch import PartitionBatch
from services.recommender.application.state.repair import RepairFailedError, RepairLearners, quarantine_learner
from services.recommender.application.state.replays import begin_replay, switch_epoch
from services.recommender.bootstrap.folding import FoldAdapters, epoch_service
from services.recommender.domain.learner.batch import CONFLICT, RESOLVED_BY_REPLAY
from services.recommender.domain.learner.corrections import KnownCorrections
from services.recommender.domain.learner.events import LearnerEvent
from services.recommender.domain.learner.fold import LearnerFold
from services.recommender.domain.learner.journal import encode_journal
from services.recommender.domain.learner.parameters import PRIOR_PARAMETERS_ID, TracingParameters
from services.recommender.domain.learner.record import FINGERPRINT_BYTES, LearnerRecord
from services.recommender.domain.learner.state import encode_state
from services.recommender.entrypoints.event_service import EventService
from services.recommender.entrypoints.event_service_options import EventServiceOptions, FoldObservers
from services.recommender.entrypoints.record_decoding import decode_batch
from services.recommender.entrypoints.replay import run_replay
from services.recommender.entrypoints.worker import EpochServices
from services.recommender.wire.events import decode_event
from services.recommender.wire.fields import RecordInvalidError
from tests.adapters.memory_states import MemoryDeadLetters, MemoryStates
from tests.learner_events import message, record
from tests.simulation.fold_logs import Expected
from tests.simulation.keys import SimulatedLearnerKeys, keyring_of, lost_uses
from tests.simulation.log import LogRecord, SimulatedConsumer, SimulatedLog
from tests.simulation.loops import VirtualClock, at_once
from tests.simulation.network import Network, Process, Server
from tests.simulation.store import SimulatedDeadLetters, SimulatedEpochs, SimulatedFoldStore, SimulatedRedis

PARTITIONS = 3
LEARNERS = 9
# The learners whose values are encrypted.
ENCRYPTED = (0, 3, 6)
MOST_WORKERS = 3
OPTIONS = EventServiceOptions(batch_records=40, rewind_records=5, session_timeout_ms=3_000, stuck_after_s=10.0)

# After healing, a worker needs a session timeout, a rebalance and a few checks of the epochs before it reads on.
HEALED_WITHIN_S = 60.0

# Key, value and headers of a record.
_Encoded = tuple[bytes, bytes, Any]

_INTERACTIONS = (
    events_pb2.INTERACTION_KIND_OPENED,
    events_pb2.INTERACTION_KIND_COMPLETED,
    events_pb2.INTERACTION_KIND_DISMISSED,
)

# Errors that a worker may exit with when its environment fails. Any other error is a defect.
EXPECTED_FAILURES = (
    BrokerUnavailableError,
    CommitRefusedError,
    EpochExistsError,
    EpochMissingError,
    EpochsLostError,
    EpochUnusableError,
    KeysMissingError,
    LogTruncatedError,
    StateUnavailableError,
    RepairFailedError,
)

# A worker that reads a recreated topic notices at its next check of the log's identity.
_REFUSED_WITHIN_S = 8.0
# A partition that loses records has no leader for longer than this.
_NO_LEADER_S = 1.2

_FOLD = LearnerFold(TracingParameters())
_CONNECTION = KafkaConnection("simulated")
_MOST_STEPS_AT_ONCE = 6


class InvariantBrokenError(AssertionError):
    """An invariant is violated."""


class World:
    """Everything that runs. Each public method before `heal` is an event or a fault; in some, time passes."""

    def __init__(self, seed: int) -> None:
        """Args: `seed` determines the remaining choices: latencies, scheduling, what a fetch returns."""
        self.clock = VirtualClock()
        self._rng = random.Random(seed)
        self.network = Network(self.clock, self._rng)
        self.log = SimulatedLog(PARTITIONS, self._rng, self._check_commit)
        self.redis = SimulatedRedis()
        self.letters: list[Any] = []
        self._letters_server = Server(lambda: StateUnavailableError("away"))
        self._sent: list[_Encoded] = []
        self._responses: list[tuple[int, int]] = []
        self._events = 0
        self._wanted = 1
        self._workers: dict[int, Process] = {}
        self._replays: list[Process] = []
        self._starting: set[int] = set()
        self._foreign = False
        self._shrunk = False
        self._loss_noticed = False
        self._accepts_lost_keys = False
        self._services: dict[str, EpochServices] = {}
        self.failures: list[BaseException] = []
        self._start(0)

    def publish(self, events: int, gap: int = 0) -> None:
        """Producers append new events, the first of them behind a gap in the offsets."""
        for number in range(events):
            self._respond(self._rng.randrange(LEARNERS), skip=gap if number == 0 else 0)

    def cram(self, events: int) -> None:
        """One learner answers more often than a journal can hold."""
        learner = self._rng.randrange(LEARNERS)
        for _ in range(events):
            self._respond(learner)

    def make_up_skills(self, events: int) -> None:
        """One learner answers, each time on 16 skills that nobody has met; 130 times are more than a learner keeps."""
        learner = self._rng.randrange(LEARNERS)
        for _ in range(events):
            number = self._next_number()
            self._responses.append((number, learner))
            self._send(_made_up(number, learner))

    def correct(self, events: int) -> None:
        """Recent and old responses are corrected, some of them twice."""
        for number, learner in self._rng.choices(self._responses, k=events) if self._responses else ():
            self._send(_corrected(self._next_number(), number, learner, self._rng.choice((None, 0.0, 0.5, 1.0))))

    def correct_early(self) -> None:
        """A correction arrives before its target, which comes some events later or never."""
        learner, waiting = self._rng.randrange(LEARNERS), self._rng.choice((0, 2, 90))
        number = self._next_number()
        self._send(_corrected(self._next_number(), number, learner, 0.5))
        for _ in range(waiting):
            self._respond(learner)
        if self._rng.random() < 0.8:
            self._responses.append((number, learner))
            self._send(_encoded(number, learner))

    def interact(self, events: int) -> None:
        """Learners open, complete and dismiss resources."""
        for _ in range(events):
            kind = self._rng.choice(_INTERACTIONS)
            self._send(_interacted(self._next_number(), self._rng.randrange(LEARNERS), kind))

    def erase(self) -> None:
        """A learner is erased."""
        self._erase(self._rng.randrange(LEARNERS))

    def erase_and_resend(self, events: int) -> None:
        """A learner is erased, and a producer that does not know of it sends some of the learner's events again."""
        if self._responses:
            _, learner = self._rng.choice(self._responses)
            before = [number for number, other in self._responses if other == learner]
            self._erase(learner)
            for number in self._rng.choices(before, k=events):
                self._send(_encoded(number, learner))

    def reuse_ids(self, events: int) -> None:
        """Learners' events come under ids that others of their events have, most of them of another kind."""
        for number, learner in self._rng.choices(self._responses, k=events) if self._responses else ():
            target, _ = self._rng.choice(self._responses)
            kind = self._rng.choices(("correction", "interaction", "response", "erasure"), (8, 4, 4, 1))[0]
            if kind == "correction":
                self._send(_corrected(number, target, learner, self._rng.choice((None, 0.0, 1.0))))
            elif kind == "interaction":
                # A response then comes under the id of an interaction.
                used = self._rng.choice((number, self._next_number()))
                self._send(_interacted(used, learner, self._rng.choice(_INTERACTIONS)))
                self._send(_encoded(used, learner))
            elif kind == "response":
                self._send(_encoded_otherwise(number, learner))
            elif learner not in ENCRYPTED:
                self._send(_erased(number, learner))

    def resend(self, events: int) -> None:
        """Producers resend early and late events."""
        for made in self._rng.choices(self._sent, k=events) if self._sent else ():
            self._append(*made)

    def poison(self) -> None:
        """A record arrives that cannot be decoded."""
        key, _, headers = _encoded(0, self._rng.randrange(LEARNERS))
        self._append(key, b"\xff\xff\xff", headers)

    def run(self, milliseconds: int) -> None:
        """Time passes."""
        self._run_until(lambda: False, milliseconds / 1_000)

    def kill(self, worker: int, steps: int) -> None:
        """A worker is killed (-9) after a number of steps and restarted later."""
        process = self._workers.get(worker)
        if process is not None:
            self._run_steps(process, steps)
            process.kill()

    def terminate(self, worker: int) -> None:
        """A worker is asked to exit (SIGTERM) and restarted afterwards."""
        if worker in self._workers:
            self._workers[worker].terminate()

    def stop(self, worker: int, steps: int, milliseconds: int) -> None:
        """After a number of steps a worker is stopped (SIGSTOP), perhaps beyond its session timeout, then continues."""
        process = self._workers.get(worker)
        if process is not None and not process.stopped:
            self._run_steps(process, steps)
            process.stopped = True
            self.network.after(milliseconds / 1_000, lambda: setattr(process, "stopped", False))

    def scale(self, workers: int) -> None:
        """The number of workers changes."""
        self._wanted = workers
        for number in range(workers):
            self._start(number)
        for number, process in self._workers.items():
            if number >= workers:
                process.terminate()

    def rebuild(self) -> None:
        """An operator folds the log into a new epoch and switches to it."""
        self._replays.append(Process("replay", self.network, self._replay))

    def kill_rebuild(self, steps: int) -> None:
        """A replay is killed and not resumed."""
        for process in self._replays:
            self._run_steps(process, steps)
            process.kill()

    def lose_writes(self, writes: int) -> None:
        """Redis crashes and comes back without its last writes."""
        self.redis.restart_without(writes)

    def flush(self) -> None:
        """Redis loses everything."""
        self.redis.flush()

    def redis_away(self, milliseconds: int) -> None:
        """Redis refuses connections for a while."""
        server = self.redis.server
        server.away = True
        self.network.after(milliseconds / 1_000, lambda: setattr(server, "away", False))

    def damage(self) -> None:
        """What Redis stores about a learner is damaged."""
        learners = self.redis.states.learners
        places = sorted((epoch, key) for epoch, stored in learners.items() for key in stored)
        if places:
            self.redis.states.damage(*self._rng.choice(places))

    def repair(self) -> None:
        """An operator rebuilds the learners in quarantine, while workers go on."""
        self._replays.append(Process("repair", self.network, self._repair))

    def commit_ahead(self) -> None:
        """Somebody uses a tool to move the groups' committed offsets to the end of the log."""
        for group in self.log.groups.values():
            group.committed.update(self.log.ends())

    def forget_commits(self) -> None:
        """Kafka deletes the groups' committed offsets, as it does after a week without commits."""
        for group in self.log.groups.values():
            group.committed.clear()

    def recreate(self, events: int) -> None:
        """The topic is deleted and recreated, and already contains some events."""
        for process in self._replays:
            process.kill()
        self.log.recreate()
        self.letters.clear()
        self._sent.clear()
        self._responses.clear()
        self._foreign = True
        self.publish(events)

    def shrink(self, partition: int, records: int, events: int) -> None:
        """The broker is away, and a partition comes back without its last records; new events take their offsets."""
        for process in self._replays:
            process.kill()
        self.log.shrink(partition, records)
        self.log.server.away = True
        self.network.after(_NO_LEADER_S, lambda: setattr(self.log.server, "away", False))
        self._shrunk, self._loss_noticed = True, False
        self.publish(events)

    def lose_keys(self, records: int, accept: int) -> None:
        """The topic of keys loses its last records, or all (0); perhaps an operator accepts that at the end."""
        if accept:
            # Only then is there an epoch whose parameters a replay can have.
            self._run_until(lambda: self.caught_up, HEALED_WITHIN_S)
            self.publish(20)
        self.log.keys.lose(records)
        self._accepts_lost_keys = bool(accept)

    def heal(self) -> None:
        """Faults end; operators follow the remedy of each refusal.

        Raises:
            InvariantBrokenError: when the workers do not catch up with the log in time.
        """
        self.redis.server.away = False
        self._run_until(lambda: not self.log.server.away, 2 * _NO_LEADER_S)
        for process in self._workers.values():
            process.stopped = False
        if self._foreign:
            self._check_refusal()
        if self._shrunk:
            self._check_lost_records()
        if self.log.keys.incomplete:
            self._check_missing_keys()
        if not self._run_until(lambda: self.caught_up, HEALED_WITHIN_S):
            raise InvariantBrokenError(f"no progress {HEALED_WITHIN_S:g} s after healing: {self._describe()}")
        if self._damaged():
            self.repair()
            if not self._run_until(lambda: self.caught_up and not self._damaged(), HEALED_WITHIN_S):
                raise InvariantBrokenError(f"damaged {HEALED_WITHIN_S:g} s after the repair began: {self._damaged()}")

    def _damaged(self) -> list[tuple[int, bytes]]:
        """Damaged and quarantined learners of the epochs that workers fold into."""
        states, epochs = self.redis.states, self._folded_epochs()
        quarantined = {(epoch, key) for epoch in epochs for key in at_once(states.quarantine(epoch)).learners}
        return sorted(quarantined | {place for place in states.damaged if place[0] in epochs})

    @property
    def caught_up(self) -> bool:
        """Whether an epoch is served, and each epoch that workers fold into has processed the whole log."""
        ends, epochs = self.log.ends(), self._folded_epochs()
        served = at_once(self.redis.states.current_epoch()) in epochs
        rebuilding = any(process.alive for process in self._replays)
        return served and not rebuilding and all(self._positions(epoch) == ends for epoch in epochs)

    @property
    def trace(self) -> tuple[object, ...]:
        """What changes when anything in the run changes: the last of all choices depends on how many there were."""
        failures = tuple(map(str, self.failures))
        return self.clock.now_s, self.network.trace, self.log.ends(), failures, self._rng.random()

    def check(self) -> None:
        """Compare the stored data, byte for byte, with one undisturbed fold of the whole log.

        Raises:
            InvariantBrokenError: when something was lost, doubled or invented.
        """
        # A dead letter in flight when the topic was recreated belongs to a record that is gone.
        records = {(p, one.offset): (one.key, one.value) for p, every in enumerate(self.log.records) for one in every}
        written = [((one.partition, one.offset), (one.key, one.value)) for one in self.letters]
        found = {place: record for place, record in written if records.get(place) == record}
        live, refused = replayed(self.log, {})
        erased, lost = self._without_key(ERASED), self._without_key(LOST)
        for epoch in self._folded_epochs():
            # The epoch knew the same later corrections as its replay.
            meta = at_once(self.redis.states.get(epoch))
            known_to = {} if meta is None else meta.end_positions
            clean, letters = replayed(self.log, known_to) if any(known_to.values()) else (live, refused)
            self._check_epoch(epoch, clean)
            expected = {(one.partition, one.offset): (one.key, one.value) for one in letters}
            if not expected.items() <= found.items():
                raise InvariantBrokenError(f"epoch {epoch}: dead letters of {sorted(found)}, not of {sorted(expected)}")
            self._check_keyless(epoch, Counter(partition for partition, _ in erased), Counter(p for p, _ in lost))
        # A past epoch that knew of fewer corrections refused more; none refuses more than one that knew of none.
        # Others may have been refused before their keys were gone, or because they contradict a record of the learner
        # that the log lost, until that was noticed.
        possible = {(one.partition, one.offset) for one in refused} | {*erased, *lost}
        possible |= {place for place, (key, _) in found.items() if key in self.log.keys_of_lost}
        if not found.keys() <= possible:
            raise InvariantBrokenError(f"dead letters of {sorted(found.keys() - possible)}, which can be applied")
        self._check_ids(live, refused)

    def _check_keyless(self, epoch: int, erased: Mapping[int, int], lost: Mapping[int, int]) -> None:
        """Nothing counts as erased without a proof. A worker may have read a record before its learner was erased."""
        for partition, one in at_once(self.redis.states.progress(epoch)).items():
            if one.erased > erased[partition] or one.lost != lost[partition]:
                raise InvariantBrokenError(
                    f"{one.erased} records of partition {partition} count as erased and {one.lost} as lost, but "
                    f"{erased[partition]} are and {lost[partition]}"
                )

    def _without_key(self, gone: KeyGone) -> list[tuple[int, int]]:
        """Records whose key is destroyed, or lost for good."""
        keys = self.log.keys.complete_keyring(self.log)
        return [
            (one.partition, one.offset)
            for records in self.log.records
            for one in records
            if is_encrypted(one.headers) and keys.decrypt(one.key, one.value, one.headers) is gone
        ]

    def _check_ids(self, live: MemoryStates, letters: Sequence[DeadLetter]) -> None:
        """One id is one event, whatever kinds it crosses; and after an erasure it is a new one."""
        late = {one.key for one in letters if one.code in RESOLVED_BY_REPLAY}
        expected = _expected_of(self.log)
        conflicts = {(one.key, one.offset) for one in letters if one.code == CONFLICT}
        defined = {(key, offset) for key, one in expected.items() for offset, code in one.refused if code == CONFLICT}
        if any(key not in late for key, _ in conflicts ^ defined):
            raise InvariantBrokenError(f"conflicts are {sorted(conflicts)}, not {sorted(defined)}")
        self._check_same_learners(
            live, replayed(self.log, self.log.ends())[0], "is another one live than replayed", late
        )
        if any(one.erased_at for one in expected.values()):
            after, _ = replayed(_since_erasures(self.log, expected), {})
            self._check_same_learners(live, after, "still shows what came before an erasure")

    def _check_same_learners(
        self, one: MemoryStates, other: MemoryStates, what: str, left_out: Collection[bytes | None] = ()
    ) -> None:
        for key, learner in one.learners[1].items():
            if key not in left_out and _content(other.learners[1][key]) != _content(learner):
                raise InvariantBrokenError(f"{key.decode()} {what}")

    def _folded_epochs(self) -> list[int]:
        active = {EpochStatus.LIVE, EpochStatus.CATCHING_UP}
        return [meta.epoch for meta in at_once(self.redis.states.epochs()) if meta.status in active]

    def _check_epoch(self, epoch: int, clean: MemoryStates) -> None:
        stored, expected = self.redis.states.learners.get(epoch, {}), clean.learners.get(1, {})
        for key in sorted(stored.keys() | expected.keys()):
            if stored.get(key) != expected.get(key):
                raise InvariantBrokenError(
                    f"{key.decode()} on partition {partition_of(key, PARTITIONS)} is at {_summary(stored.get(key))}, a "
                    f"clean replay gives {_summary(expected.get(key))}"
                )
        if _digest(self.redis.states, epoch) != _digest(clean, 1):
            raise InvariantBrokenError("the digests differ though the learners do not")
        counted, expected_counts = _counts(self.redis.states, epoch), _counts(clean, 1)
        if counted != expected_counts:
            raise InvariantBrokenError(f"counted {counted}, a clean replay counts {expected_counts}")

    def close(self) -> None:
        """Bury everybody."""
        for process in (*self._workers.values(), *self._replays):
            process.kill()

    def _check_refusal(self) -> None:
        """The workers refuse the recreated topic; then the operator empties Redis, as their message advises."""
        self._run_until(lambda: False, _REFUSED_WITHIN_S)
        before = self._foreign_contents()
        self.publish(10)
        self._run_until(lambda: False, _REFUSED_WITHIN_S)
        if self._foreign_contents() != before:
            raise InvariantBrokenError("workers fold a recreated topic into an epoch of another")
        self.redis.flush()
        for group in self.log.groups.values():
            group.committed.clear()
        self._foreign = False

    def _check_lost_records(self) -> None:
        """Workers refuse epochs that hold lost records; then the operator empties Redis, as their message advises."""
        self._run_until(lambda: False, _REFUSED_WITHIN_S)
        refused = [meta.epoch for meta in at_once(self.redis.states.epochs()) if not self._is_held_by_the_log(meta)]
        if at_once(self.redis.states.current_epoch()) in refused and not self._loss_noticed:
            raise InvariantBrokenError(f"epochs {refused} hold records that the log lost, and workers fold into them")
        if refused:
            self.redis.flush()

    def _check_missing_keys(self) -> None:
        """Workers stop at records whose keys are lost, and say so; then an operator restores them, or accepts that."""
        keys = self.log.keys
        lost = lost_uses(self.log, keyring_of(keys.records)).values()
        firsts = {p: min(offset for at, offset in lost if at == p) for p in {at for at, _ in lost}}

        def ahead() -> set[tuple[int, int]]:
            """Epochs and partitions that have such records before them."""
            epochs = self._folded_epochs()
            return {(e, p) for e in epochs for p, first in firsts.items() if self._positions(e).get(p, 0) <= first}

        # A worker that read the topic before goes on; what it makes of the records is compared in the end.
        if not self._run_until(lambda: self._waits_for_keys or not ahead(), HEALED_WITHIN_S):
            raise InvariantBrokenError("keys are missing, and no worker says so")
        self._run_until(lambda: False, _REFUSED_WITHIN_S)
        if self._accepts_lost_keys and at_once(self.redis.states.current_epoch()) is not None:
            keys.accept()
            self._replays.append(Process("replay", self.network, self._replay_without_keys))
        else:
            keys.restore()

    @property
    def _waits_for_keys(self) -> bool:
        running = [one.name for one in self._workers.values() if one.alive]
        return any(self._services[name].waits_for_keys for name in running if name in self._services)

    def _is_held_by_the_log(self, meta: EpochMeta) -> bool:
        progress = at_once(self.redis.states.progress(meta.epoch))
        try:
            at_once(check_log_holds(_LogAtOnce(self.log), meta.epoch, "", progress, meta.end_positions))
        except LogTruncatedError:
            return False
        return True

    def _check_commit(self, group: str, offsets: Mapping[int, int]) -> None:
        """Offsets are committed to Kafka only after their records were stored."""
        epoch = int(group.rpartition("-")[2])
        early = {p: offset for p, offset in offsets.items() if offset > self.redis.furthest.get((epoch, p), 0)}
        if early:
            raise InvariantBrokenError(f"offsets {early} were committed to Kafka before their records were stored")

    def _check_served(self, epoch: int) -> None:
        """No epoch is served before it has reached the end that the log had when the epoch was begun."""
        meta, positions = at_once(self.redis.states.get(epoch)), self._positions(epoch)
        if meta is not None and not has_reached(meta.end_positions, positions):
            raise InvariantBrokenError(f"epoch {epoch} is served at {positions}, before {meta.end_positions}")

    def _foreign_contents(self) -> list[tuple[int, dict[bytes, LearnerRecord]]]:
        """The learners of epochs that were folded from the previous topic."""
        states = self.redis.states
        others = [meta.epoch for meta in at_once(states.epochs()) if meta.log_identity != self.log.identity]
        return [(epoch, dict(states.learners.get(epoch, {}))) for epoch in others]

    def _next_number(self) -> int:
        self._events += 1
        return self._events

    def _respond(self, learner: int, *, skip: int = 0) -> None:
        number = self._next_number()
        self._responses.append((number, learner))
        self._send(_encoded(number, learner), skip=skip)

    def _send(self, made: _Encoded, *, skip: int = 0) -> None:
        self._sent.append(made)
        self._append(*made, skip=skip)

    def _erase(self, learner: int) -> None:
        made = _erased(self._next_number(), learner)
        if learner not in ENCRYPTED:
            self._send(made)
        elif not self.log.keys.incomplete:
            self.log.keys.destroy(made[0])
            self.log.append(partition_of(made[0], PARTITIONS), *made)

    def _append(self, key: bytes, value: bytes, headers: Any, *, skip: int = 0) -> None:
        if key in _encrypted_keys():
            if self.log.keys.incomplete:
                # Ingest refuses it.
                return
            value, more = self.log.keys.seal(key, value)
            headers = (*headers, *more)
        self.log.append(partition_of(key, PARTITIONS), key, value, headers, skip=skip)

    def _start(self, number: int) -> None:
        self._starting.discard(number)
        running = self._workers.get(number)
        if number < self._wanted and (running is None or not running.alive):
            self._workers[number] = Process(f"worker-{number}", self.network, self._worker)

    async def _worker(self, process: Process) -> None:
        """What `python -m services.recommender worker` runs, without its health service and its dead-letter agent."""

        async def event_service(meta: EpochMeta) -> EventService:
            return self._event_service(process, meta, group=f"cairn-recommender-{meta.epoch}")

        services = EpochServices(
            SimulatedEpochs(process, self.redis, self._check_served),
            _LogReader(process, self.log),
            event_service,
            clock_s=process.loop.time,
        )
        self._services[process.name] = services
        try:
            await services.start()
            await services.wait_until_stopped()
        finally:
            with suppress(Exception):
                await asyncio.shield(services.stop())
        if services.crash_reason is not None:
            raise services.crash_reason

    async def _replay_without_keys(self, process: Process) -> None:
        """What `cairn replay --accept-lost-keys`, `cairn epoch switch` and `cairn epoch drop` run."""
        epochs = SimulatedEpochs(process, self.redis, self._check_served)
        await self._replay(process, accept_lost_keys=True)
        *others, built = [meta.epoch for meta in await epochs.epochs()]
        while await epochs.current_epoch() != built:  # noqa: ASYNC110 - workers switch; there is no event to wait for.
            await asyncio.sleep(1)
        for epoch in others:
            await epochs.drop(epoch)

    async def _replay(self, process: Process, *, accept_lost_keys: bool = False) -> None:
        """What `cairn replay` and `cairn epoch switch` run."""
        epochs, log = SimulatedEpochs(process, self.redis, self._check_served), _LogReader(process, self.log)
        number = max((meta.epoch for meta in await epochs.epochs()), default=0) + 1
        meta = await begin_replay(epochs, log, NO_BUNDLES, number, "same", accept_lost_keys=accept_lost_keys)

        def service(begun: EpochMeta, on_batch: Callable[[FoldReport], None]) -> EventService:
            observers = FoldObservers(on_batch=on_batch)
            return self._event_service(process, begun, goal=begun.end_positions, observers=observers)

        await run_replay(meta, epochs, service, lambda _: None)
        # Gaps in the offsets that the epoch served has not reached look like records that this one lacks.
        await switch_epoch(epochs, number, accept_loss=accept_lost_keys)

    async def _repair(self, process: Process) -> None:
        """What `cairn learner repair` runs, for every epoch and every damaged learner."""
        for meta in await SimulatedEpochs(process, self.redis, self._check_served).epochs():
            if meta.log_identity != self.log.identity:
                continue
            store = SimulatedFoldStore(process, self.redis, meta)
            letters = SimulatedDeadLetters(process, self._letters_server, self.letters)
            for key in [key for epoch, key in self._damaged() if epoch == meta.epoch]:
                partition, keys = partition_of(key, PARTITIONS), SimulatedLearnerKeys(process, self.log)
                await quarantine_learner(store, partition, key)
                known = await _ReadAhead(process, self.log, keys, accept_lost_keys=True).read(
                    {partition: (0, meta.end_positions[partition])}
                )
                repair = RepairLearners(store, _LearnerLog(process, self.log, keys), letters, _FOLD, known)
                await repair(partition, [key])

    def _event_service(
        self, process: Process, meta: EpochMeta, *, group: str | None = None, **options: Any
    ) -> EventService:
        store = SimulatedFoldStore(process, self.redis, meta)
        letters = SimulatedDeadLetters(process, self._letters_server, self.letters)
        keys = SimulatedLearnerKeys(process, self.log)
        adapters = FoldAdapters(
            _CONNECTION,
            store,
            letters,
            keys,
            read_ahead=_ReadAhead(process, self.log, keys, accept_lost_keys=meta.accepts_lost_keys),
            log=_LogReader(process, self.log),
            make_consumer=lambda _, **options: SimulatedConsumer(process, self.log, self._rng, **options),
            clock_s=process.loop.time,
        )
        return epoch_service(meta, _FOLD, adapters, group=group, options=OPTIONS, **options)

    def _run_steps(self, process: Process, steps: int) -> None:
        last = process.loop.steps + steps
        self._run_until(lambda: not process.alive or process.loop.steps >= last, 1.0, singly=True)

    def _run_until(self, reached: Callable[[], bool], longest_s: float, *, singly: bool = False) -> bool:
        """Step all processes in random order; return whether the condition was reached in time."""
        end_s = self.clock.now_s + longest_s
        steps = 0
        while not reached():
            self._supervise()
            running = [one for one in (*self._workers.values(), *self._replays) if one.alive and not one.stopped]
            ready = [one for one in running if one.loop.ready]
            due_s = self.network.next_s
            due = due_s is not None and due_s <= self.clock.now_s
            if ready and not (due and self._rng.random() < 0.5):
                process = ready[self._rng.randrange(len(ready))]
                for _ in range(1 if singly else self._rng.randint(1, _MOST_STEPS_AT_ONCE)):
                    if process.alive and process.loop.ready:
                        process.step()
                steps += 1
                if steps > 200_000:
                    raise InvariantBrokenError("a worker loops without time passing")
            elif due:
                self.network.deliver_next()
            else:
                timers = [one.loop.next_timer_s for one in running]
                moments = [moment for moment in [due_s, *timers] if moment is not None]
                next_s = min(moments, default=end_s)
                if next_s > end_s:
                    self.clock.now_s = end_s
                    return reached()
                self.clock.now_s = max(self.clock.now_s, next_s)
        return True

    def _supervise(self) -> None:
        """Restart a worker that exited after a while, as Kubernetes does. A replay is restarted by its operator."""
        for process in self._replays:
            self._note_failure(process)
        for number, process in self._workers.items():
            if process.alive or number in self._starting or number >= self._wanted:
                continue
            # Not of a replay, which refuses such a log too.
            self._loss_noticed |= isinstance(process.failure, LogTruncatedError)
            self._note_failure(process)
            self._starting.add(number)
            self.network.after(self._rng.choice((0.1, 1.0)), lambda number=number: self._start(number))

    def _note_failure(self, process: Process) -> None:
        if process.failure is not None:
            failure, process.failure = process.failure, None
            if not isinstance(failure, EXPECTED_FAILURES):
                raise InvariantBrokenError(f"{process.name} ended with {failure!r}") from failure
            self.failures.append(failure)

    def _positions(self, epoch: int) -> dict[int, int]:
        return {p: one.position for p, one in at_once(self.redis.states.progress(epoch)).items()}

    def _describe(self) -> str:
        epoch = at_once(self.redis.states.current_epoch())
        positions = {number: self._positions(number) for number in self.redis.states.positions}
        last = repr(self.failures[-1]) if self.failures else "none"
        return f"log ends {self.log.ends()}, positions {positions}, current epoch {epoch}, last failure {last}"


class _Decryptor(Protocol):
    """Decrypts values whose keys it has."""

    def decrypt(
        self, record_key: bytes | None, value: bytes | None, headers: Iterable[tuple[str, bytes]]
    ) -> bytes | KeyGone | None: ...


class _NoBundles:
    """Loads the priors for every epoch."""

    def latest_id(self) -> str | None:
        return None

    def load(self, bundle_id: str) -> Bundle:
        raise AssertionError(f"there is no bundle {bundle_id}")


NO_BUNDLES = _NoBundles()


class _LogReader:
    """A worker's view of the log; implements LogReader."""

    def __init__(self, process: Process, log: SimulatedLog) -> None:
        self._process = process
        self._log = log

    async def identity(self) -> str:
        return await self._process.ask(self._log.server, [lambda: self._log.identity])

    async def end_offsets(self) -> dict[int, int]:
        return await self._process.ask(self._log.server, [self._log.ends])

    async def beginnings(self) -> dict[int, int]:
        return dict.fromkeys(range(PARTITIONS), 0)

    async def fingerprints(self, offsets: Mapping[int, Sequence[int]]) -> dict[tuple[int, int], str]:
        return await self._process.ask(self._log.server, [lambda: self._log.fingerprints(offsets)])


class _LogAtOnce:
    """The log without a network between; implements LogReader."""

    def __init__(self, log: SimulatedLog) -> None:
        self._log = log

    async def identity(self) -> str:
        return self._log.identity

    async def end_offsets(self) -> dict[int, int]:
        return self._log.ends()

    async def beginnings(self) -> dict[int, int]:
        return dict.fromkeys(range(PARTITIONS), 0)

    async def fingerprints(self, offsets: Mapping[int, Sequence[int]]) -> dict[tuple[int, int], str]:
        return self._log.fingerprints(offsets)


class _ReadAhead:
    """A worker's read-ahead of the log before it folds; implements ReadAhead."""

    def __init__(
        self, process: Process, log: SimulatedLog, keys: SimulatedLearnerKeys, *, accept_lost_keys: bool
    ) -> None:
        self._process = process
        self._log = log
        self._keys = keys
        self._accept_lost_keys = accept_lost_keys

    async def read(self, spans: Mapping[int, tuple[int, int]]) -> KnownCorrections:
        records = await self._process.ask(self._log.server, [lambda: records_in(self._log, spans)])
        await self._keys.load_keys(records)
        if not self._accept_lost_keys and any(map(self._keys.is_lost, records)):
            raise self._keys.missing_keys()
        return corrections_in(records, self._keys)


class _LearnerLog:
    """An operator's view of the log; implements LearnerLog."""

    def __init__(self, process: Process, log: SimulatedLog, keys: SimulatedLearnerKeys) -> None:
        self._process = process
        self._log = log
        self._keys = keys

    async def span(self, partition: int) -> tuple[int, int]:
        return 0, (await self._process.ask(self._log.server, [self._log.ends]))[partition]

    async def read(
        self, partition: int, begin: int, end: int, keys: Collection[bytes]
    ) -> AsyncIterator[PartitionBatch]:
        def mine() -> list[Any]:
            return [one for one in self._log.records[partition] if begin <= one.offset < end and one.key in keys]

        if records := await self._process.ask(self._log.server, [mine]):
            await self._keys.load_keys(records)
            yield decode_batch(partition, records, PARTITIONS, cast("ValueDecryptor", self._keys))


def records_in(log: SimulatedLog, spans: Mapping[int, tuple[int, int]]) -> list[LogRecord]:
    """The records in ranges of the log."""
    return [one for p, (begin, end) in sorted(spans.items()) for one in log.records[p] if begin <= one.offset < end]


def event_of(one: LogRecord, keys: _Decryptor) -> LearnerEvent | None:
    """What a record says; None: it cannot be decoded, or its key is gone."""
    value = keys.decrypt(one.key, one.value, one.headers)
    if isinstance(value, KeyGone):
        return None
    with suppress(RecordInvalidError):
        return decode_event(one.key, value, one.headers, one.partition, PARTITIONS)[1]
    return None


def corrections_in(records: Iterable[LogRecord], keys: _Decryptor) -> KnownCorrections:
    """Every correction and erasure of some records."""
    known = KnownCorrections()
    for one in records:
        event = event_of(one, keys)
        if event is not None and one.key is not None:
            known.note(one.key, one.offset, event)
    known.finish()
    return known


def replayed(log: SimulatedLog, known_to: Mapping[int, int]) -> tuple[MemoryStates, list[Any]]:
    """Fold the whole log in one batch into epoch 1, with corrections known up to given offsets and all keys."""
    states, letters, keys = MemoryStates(), MemoryDeadLetters(), log.keys.complete_keyring(log)
    fold = FoldEvents(states.fold_store(1), letters, _FOLD)
    spans = {partition: (0, end) for partition, end in known_to.items()}
    fold.known.add(corrections_in(records_in(log, spans), keys))
    decryptor = cast("ValueDecryptor", keys)
    batches = [decode_batch(p, records, PARTITIONS, decryptor) for p, records in enumerate(log.records) if records]
    at_once(states.create(EpochMeta(1, EpochStatus.BUILT, PRIOR_PARAMETERS_ID, "", log.identity, log.ends())))
    at_once(fold.on_assigned(dict.fromkeys(range(PARTITIONS), 0)))
    for batch in batches:
        # There is no event loop that a thread could relieve.
        batch.cost = 0
    if batches:
        at_once(fold.fold(batches))
    return states, letters.letters


def _expected_of(log: SimulatedLog) -> dict[bytes, Expected]:
    """What the log says of each learner, computed as plainly as possible."""
    expected: dict[bytes, Expected] = {}
    keys = log.keys.complete_keyring(log)
    for one in records_in(log, {partition: (0, end) for partition, end in log.ends().items()}):
        event = event_of(one, keys)
        if event is not None and one.key is not None:
            expected.setdefault(one.key, Expected()).note(one.offset, event)
    return expected


def _since_erasures(log: SimulatedLog, expected: Mapping[bytes, Expected]) -> SimulatedLog:
    """The log without what came before each learner's last erasure."""
    since = copy.copy(log)
    since.records = [
        [one for one in records if one.key not in expected or one.offset >= expected[one.key].erased_at]
        for records in log.records
    ]
    return since


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


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the logs: thousands of crashes are intended."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            # Raised for a service that is killed while it starts.
            warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
            yield
    finally:
        logging.disable(logging.NOTSET)
        structlog.configure(**before)


@cache
def _encrypted_keys() -> frozenset[bytes]:
    return frozenset(_encoded(0, learner)[0] for learner in ENCRYPTED)


@cache
def _encoded(number: int, learner: int) -> _Encoded:
    skills = [f"skill-{number % 4}", f"skill-{number % 3 + 4}"]
    return _record(message(number, f"learner-{learner}", skills=skills))


@cache
def _encoded_otherwise(number: int, learner: int) -> _Encoded:
    """Another response under the id of a response."""
    return _record(message(number, f"learner-{learner}", skills=["skill-other"]))


@cache
def _made_up(number: int, learner: int) -> _Encoded:
    skills = [f"made-up-{number}-{skill}" for skill in range(16)]
    return _record(message(number, f"learner-{learner}", skills=skills))


@cache
def _corrected(number: int, target: int, learner: int, response: float | None) -> _Encoded:
    """A correction of the response with this number; None: it never happened."""
    correction = events_pb2.CorrectionEvent(target_source="tests", target_event_id=f"event-{target}")
    if response is None:
        correction.voided.SetInParent()
    else:
        correction.regrade.response = response
    return _record(_other(number, learner, correction=correction))


@cache
def _interacted(number: int, learner: int, kind: int) -> _Encoded:
    interaction = events_pb2.InteractionEvent(resource=f"resource-{number % 5}", kind=kind)
    return _record(_other(number, learner, interaction=interaction))


@cache
def _erased(number: int, learner: int) -> _Encoded:
    return _record(_other(number, learner, erasure=events_pb2.ErasureEvent()))


def _other(number: int, learner: int, **body: Any) -> events_pb2.LearnerEvent:
    event = message(number, f"learner-{learner}")
    event.ClearField("assessment")
    event.MergeFrom(events_pb2.LearnerEvent(**body))
    return event


def _record(event: events_pb2.LearnerEvent) -> _Encoded:
    made = record(event)
    assert made.key is not None
    assert made.value is not None
    return made.key, made.value, tuple(made.headers)
