"""The world of a simulation: producers, a log, a Redis, workers, and the faults that they meet."""

from __future__ import annotations

import random
from functools import partial

from services.recommender.application.ports.epochs import EpochMeta
from services.recommender.application.ports.log import LogTruncatedError
from services.recommender.application.state.log_marks import check_log_holds
from services.recommender.domain.learner.record import LearnerRecord
from tests.simulation.cluster import Cluster
from tests.simulation.invariants import InvariantBrokenError, check_commit, check_end
from tests.simulation.keys import keyring_of, lost_uses
from tests.simulation.log import SimulatedLog
from tests.simulation.log_readers import LogAtOnce
from tests.simulation.loops import at_once
from tests.simulation.producers import Producers
from tests.simulation.programs import Programs
from tests.simulation.store import SimulatedRedis

MOST_WORKERS = 3

# After healing, a worker needs a session timeout, a rebalance and a few checks of the epochs before it reads on.
_HEALED_WITHIN_S = 60.0
# A worker that reads a recreated topic notices at its next check of the log's identity.
_REFUSED_WITHIN_S = 8.0
# A partition that loses records has no leader for longer than this.
_NO_LEADER_S = 1.2


class World(Producers):
    """Everything that runs. Each public method before `heal` is an event or a fault; in some, time passes."""

    def __init__(self, seed: int) -> None:
        """Args: `seed` determines the remaining choices: latencies, scheduling, what a fetch returns."""
        rng = random.Random(seed)
        self.redis = SimulatedRedis()
        super().__init__(SimulatedLog(rng, partial(check_commit, self.redis)), rng)
        self._programs = Programs(self.log, self.redis, rng)
        self.cluster = Cluster(rng, self._programs.worker)
        self._foreign = False
        self._shrunk = False
        self._accepts_lost_keys = False
        self.cluster.scale(1)

    def run(self, milliseconds: int) -> None:
        """Time passes."""
        self.cluster.run_for(milliseconds / 1_000)

    def kill(self, worker: int, steps: int) -> None:
        """A worker is killed (-9) after a number of steps and restarted later."""
        process = self.cluster.workers.get(worker)
        if process is not None:
            self.cluster.run_steps(process, steps)
            process.kill()

    def terminate(self, worker: int) -> None:
        """A worker is asked to exit (SIGTERM) and restarted afterwards."""
        process = self.cluster.workers.get(worker)
        if process is not None:
            process.terminate()

    def stop(self, worker: int, steps: int, milliseconds: int) -> None:
        """After a number of steps a worker is stopped (SIGSTOP), perhaps beyond its session timeout, then continues."""
        process = self.cluster.workers.get(worker)
        if process is not None and not process.stopped:
            self.cluster.run_steps(process, steps)
            process.stopped = True
            self.cluster.network.after(milliseconds / 1_000, lambda: setattr(process, "stopped", False))

    def scale(self, workers: int) -> None:
        """The number of workers changes."""
        self.cluster.scale(workers)

    def rebuild(self) -> None:
        """An operator folds the log into a new epoch and switches to it."""
        self.cluster.run_command("replay", self._programs.replay)

    def kill_rebuild(self, steps: int) -> None:
        """A replay is killed and not resumed."""
        for process in self.cluster.commands:
            self.cluster.run_steps(process, steps)
            process.kill()

    def lose_writes(self, writes: int) -> None:
        """Redis crashes and comes back without its last writes."""
        self.redis.restart_without(writes)

    def flush(self) -> None:
        """Redis loses everything."""
        self.redis.flush()

    def redis_away(self, milliseconds: int) -> None:
        """Redis refuses connections for a while."""
        self.cluster.network.be_away(self.redis.server, milliseconds / 1_000)

    def damage(self) -> None:
        """What Redis stores about a learner is damaged."""
        learners = self.redis.states.learners
        places = sorted((epoch, key) for epoch, stored in learners.items() for key in stored)
        if places:
            self.redis.states.damage(*self._rng.choice(places))

    def repair(self) -> None:
        """An operator rebuilds the learners in quarantine, while workers go on."""
        self.cluster.run_command("repair", self._programs.repair)

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
        self.cluster.kill_commands()
        self.log.recreate()
        self._programs.letters.clear()
        self._forget_sent()
        self._foreign = True
        self.publish(events)

    def shrink(self, partition: int, records: int, events: int) -> None:
        """The broker is away, and a partition comes back without its last records; new events take their offsets."""
        self.cluster.kill_commands()
        self.log.shrink(partition, records)
        self.cluster.network.be_away(self.log.server, _NO_LEADER_S)
        self._shrunk, self.cluster.loss_noticed = True, False
        self.publish(events)

    def lose_keys(self, records: int, accept: int) -> None:
        """The topic of keys loses its last records, or all (0); perhaps an operator accepts that at the end."""
        if accept:
            # Only then is there an epoch whose parameters a replay can have.
            self.cluster.run_until(lambda: self.caught_up, _HEALED_WITHIN_S)
            self.publish(20)
        self.log.keys.lose(records)
        self._accepts_lost_keys = bool(accept)

    def heal(self) -> None:
        """Faults end; operators follow the remedy of each refusal.

        Raises:
            InvariantBrokenError: when the workers do not catch up with the log in time.
        """
        run_until = self.cluster.run_until
        self.redis.server.away = False
        run_until(lambda: not self.log.server.away, 2 * _NO_LEADER_S)
        for process in self.cluster.workers.values():
            process.stopped = False
        if self._foreign:
            self._check_refusal()
        if self._shrunk:
            self._check_lost_records()
        if self.log.keys.incomplete:
            self._check_missing_keys()
        if not run_until(lambda: self.caught_up, _HEALED_WITHIN_S):
            raise InvariantBrokenError(f"no progress {_HEALED_WITHIN_S:g} s after healing: {self._describe()}")
        if self.redis.damaged():
            self.repair()
            if not run_until(lambda: self.caught_up and not self.redis.damaged(), _HEALED_WITHIN_S):
                damaged = self.redis.damaged()
                raise InvariantBrokenError(f"damaged {_HEALED_WITHIN_S:g} s after the repair began: {damaged}")

    @property
    def caught_up(self) -> bool:
        """Whether an epoch is served, and each epoch that workers fold into has processed the whole log."""
        # Asked at every step, so the cheapest condition comes first.
        served, ends = self._served_epoch, self.log.ends()
        if served is None or self.redis.positions(served) != ends or self.cluster.runs_commands:
            return False
        epochs = self.redis.folded_epochs()
        return served in epochs and all(self.redis.positions(epoch) == ends for epoch in epochs)

    @property
    def trace(self) -> tuple[object, ...]:
        """What changes when anything in the run changes: the last of all choices depends on how many there were."""
        cluster = self.cluster
        failures = tuple(map(str, cluster.failures))
        return cluster.clock.now_s, cluster.network.trace, self.log.ends(), failures, self._rng.random()

    def check(self) -> None:
        """Compare the stored data, byte for byte, with one undisturbed fold of the whole log.

        Raises:
            InvariantBrokenError: when something was lost, doubled or invented.
        """
        check_end(self.log, self.redis, self._programs.letters)

    def close(self) -> None:
        """Bury everybody."""
        self.cluster.close()

    def _check_refusal(self) -> None:
        """The workers refuse the recreated topic; then the operator empties Redis, as their message advises."""
        self.cluster.run_for(_REFUSED_WITHIN_S)
        before = self._foreign_contents()
        self.publish(10)
        self.cluster.run_for(_REFUSED_WITHIN_S)
        if self._foreign_contents() != before:
            raise InvariantBrokenError("workers fold a recreated topic into an epoch of another")
        self.redis.flush()
        self.forget_commits()
        self._foreign = False

    def _check_lost_records(self) -> None:
        """Workers refuse epochs that hold lost records; then the operator empties Redis, as their message advises."""
        self.cluster.run_for(_REFUSED_WITHIN_S)
        refused = [meta.epoch for meta in at_once(self.redis.states.epochs()) if not self._is_held_by_the_log(meta)]
        if self._served_epoch in refused and not self.cluster.loss_noticed:
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
            epochs = self.redis.folded_epochs()
            return {(e, p) for e in epochs for p, first in firsts.items() if self.redis.positions(e).get(p, 0) <= first}

        # A worker that read the topic before goes on; what it makes of the records is compared in the end.
        if not self.cluster.run_until(lambda: self._waits_for_keys or not ahead(), _HEALED_WITHIN_S):
            raise InvariantBrokenError("keys are missing, and no worker says so")
        self.cluster.run_for(_REFUSED_WITHIN_S)
        if self._accepts_lost_keys and self._served_epoch is not None:
            keys.accept()
            self.cluster.run_command("replay", self._programs.replay_without_keys)
        else:
            keys.restore()

    @property
    def _waits_for_keys(self) -> bool:
        return any(self._programs.waits_for_keys(one) for one in self.cluster.workers.values() if one.alive)

    @property
    def _served_epoch(self) -> int | None:
        return at_once(self.redis.states.current_epoch())

    def _is_held_by_the_log(self, meta: EpochMeta) -> bool:
        progress = at_once(self.redis.states.progress(meta.epoch))
        try:
            at_once(check_log_holds(LogAtOnce(self.log), meta.epoch, "", progress, meta.end_positions))
        except LogTruncatedError:
            return False
        return True

    def _foreign_contents(self) -> list[tuple[int, dict[bytes, LearnerRecord]]]:
        """The learners of epochs that were folded from the previous topic."""
        states = self.redis.states
        others = [meta.epoch for meta in at_once(states.epochs()) if meta.log_identity != self.log.identity]
        return [(epoch, dict(states.learners.get(epoch, {}))) for epoch in others]

    def _describe(self) -> str:
        positions = {number: self.redis.positions(number) for number in self.redis.states.positions}
        failures = self.cluster.failures
        return (
            f"log ends {self.log.ends()}, positions {positions}, current epoch {self._served_epoch}, "
            f"last failure {repr(failures[-1]) if failures else 'none'}"
        )
