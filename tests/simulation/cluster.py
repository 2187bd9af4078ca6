"""The processes of a world: started, stepped in random order on a virtual clock, and restarted when they exit."""

from __future__ import annotations

import random
from collections.abc import Callable, Coroutine
from typing import Any

from services.common.encryption.values import KeysMissingError
from services.common.kafka.connection import BrokerUnavailableError
from services.recommender.application.ports.epochs import EpochExistsError, EpochMissingError, EpochsLostError
from services.recommender.application.ports.learners import CommitRefusedError, StateUnavailableError
from services.recommender.application.ports.log import LogTruncatedError
from services.recommender.application.state.epochs import EpochUnusableError
from services.recommender.application.state.repair import RepairFailedError
from tests.simulation.invariants import InvariantBrokenError
from tests.simulation.loops import VirtualClock
from tests.simulation.network import Network, Process

# Errors that a process may exit with when its environment fails. Any other error is a defect.
_EXPECTED_FAILURES = (
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

_MOST_STEPS_AT_ONCE = 6

Program = Callable[[Process], Coroutine[Any, Any, None]]


class Cluster:
    """Workers, which are restarted when they exit, and commands of operators, which are not.

    Attributes:
        clock: the time.
        network: what is in flight between the processes and their servers.
        workers: the last process of each worker, by its number.
        commands: the processes of operators.
        failures: what processes exited with.
        loss_noticed: whether a worker exited because the log lost records.
    """

    def __init__(self, rng: random.Random, worker: Program) -> None:
        """Args: `rng` makes every choice; `worker` is the program of the workers."""
        self.clock = VirtualClock()
        self.network = Network(self.clock, rng)
        self.workers: dict[int, Process] = {}
        self.commands: list[Process] = []
        self.failures: list[BaseException] = []
        self.loss_noticed = False
        self._rng = rng
        self._worker = worker
        self._wanted = 0
        self._starting: set[int] = set()

    def scale(self, workers: int) -> None:
        """Start or terminate workers."""
        self._wanted = workers
        for number in range(workers):
            self._start(number)
        for number, process in self.workers.items():
            if number >= workers:
                process.terminate()

    def run_command(self, name: str, program: Program) -> None:
        """An operator runs a command."""
        self.commands.append(Process(name, self.network, program))

    @property
    def runs_commands(self) -> bool:
        """Whether a command has not ended."""
        return any(process.alive for process in self.commands)

    def kill_commands(self) -> None:
        """Every command is killed."""
        for process in self.commands:
            process.kill()

    def close(self) -> None:
        """Bury everybody."""
        for process in (*self.workers.values(), *self.commands):
            process.kill()

    def run_for(self, seconds: float) -> None:
        """Time passes."""
        self.run_until(lambda: False, seconds)

    def run_steps(self, process: Process, steps: int) -> None:
        """Run until a process has done a number of steps or has died, for a second at most."""
        last = process.loop.steps + steps
        self.run_until(lambda: not process.alive or process.loop.steps >= last, 1.0, singly=True)

    def run_until(self, reached: Callable[[], bool], longest_s: float, *, singly: bool = False) -> bool:
        """Step all processes in random order; return whether the condition was reached in time."""
        end_s = self.clock.now_s + longest_s
        steps = 0
        running = None
        while not reached():
            running = running or self._supervised()
            ready = [one for one in running if one.loop.ready]
            due_s = self.network.next_s
            due = due_s is not None and due_s <= self.clock.now_s
            if ready and not (due and self._rng.random() < 0.5):
                process = ready[self._rng.randrange(len(ready))]
                for _ in range(1 if singly else self._rng.randint(1, _MOST_STEPS_AT_ONCE)):
                    if process.alive and process.loop.ready:
                        process.step()
                if not process.alive:
                    running = None
                steps += 1
                if steps > 200_000:
                    raise InvariantBrokenError("a worker loops without time passing")
            elif due:
                # It may have been a signal.
                self.network.deliver_next()
                running = None
            else:
                timers = [one.loop.next_timer_s for one in running]
                moments = [moment for moment in [due_s, *timers] if moment is not None]
                next_s = min(moments, default=end_s)
                if next_s > end_s:
                    self.clock.now_s = end_s
                    return reached()
                self.clock.now_s = max(self.clock.now_s, next_s)
        return True

    def _start(self, number: int) -> None:
        self._starting.discard(number)
        running = self.workers.get(number)
        if number < self._wanted and (running is None or not running.alive):
            self.workers[number] = Process(f"worker-{number}", self.network, self._worker)

    def _supervised(self) -> list[Process]:
        """The processes that run. A worker that exited is restarted after a while, as in Kubernetes; no command is."""
        for process in self.commands:
            self._note_failure(process)
        for number, process in self.workers.items():
            if process.alive or number in self._starting or number >= self._wanted:
                continue
            # Not of a replay, which refuses such a log too.
            self.loss_noticed |= isinstance(process.failure, LogTruncatedError)
            self._note_failure(process)
            self._starting.add(number)
            self.network.after(self._rng.choice((0.1, 1.0)), lambda number=number: self._start(number))
        return [one for one in (*self.workers.values(), *self.commands) if one.alive and not one.stopped]

    def _note_failure(self, process: Process) -> None:
        if process.failure is not None:
            failure, process.failure = process.failure, None
            if not isinstance(failure, _EXPECTED_FAILURES):
                raise InvariantBrokenError(f"{process.name} ended with {failure!r}") from failure
            self.failures.append(failure)
