"""A Redis that can lose its last writes, and the clients that the worker uses with it.

The in-memory adapter defines what its commands do; that adapter and the real Redis pass the same behaviour suite.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any

from services.recommender.application.ports.epochs import EpochMeta, EpochStatus, StoredLearnerBytes
from services.recommender.application.ports.learners import (
    NOTHING_AHEAD,
    LearnerCommit,
    PartitionProgress,
    StateUnavailableError,
)
from services.recommender.application.ports.log import DeadLetter, RecordMark
from services.recommender.application.ports.quarantine import (
    LearnersDamagedError,
    Quarantine,
    QuarantineChangedError,
    QuarantinedLearner,
    RepairedLearner,
    Skipped,
)
from services.recommender.domain.learner.record import LearnerRecord
from services.recommender.domain.learner.restamp import AssessedSkills
from tests.adapters.memory_states import MemoryStates
from tests.simulation.loops import at_once
from tests.simulation.network import Process, Server


class _Recorded(dict[Any, Any]):
    """A dict that records how to undo each change."""

    def __init__(self, history: list[Callable[[], None]]) -> None:
        super().__init__()
        self._history = history

    def __setitem__(self, key: Any, value: Any) -> None:
        had, before = key in self, self.get(key)

        def take_back() -> None:
            if had:
                dict.__setitem__(self, key, before)
            else:
                dict.pop(self, key, None)

        self._history.append(take_back)
        super().__setitem__(key, value)

    def __delitem__(self, key: Any) -> None:
        self.pop(key)

    def pop(self, key: Any, *otherwise: Any) -> Any:
        if key in self:
            before = self[key]
            self._history.append(lambda: dict.__setitem__(self, key, before))
        return super().pop(key, *otherwise)


class _RecordedStates(MemoryStates):
    """States whose changes can be undone."""

    def __init__(self, history: list[Callable[[], None]]) -> None:
        super().__init__()
        self._history = history
        self._metas = _Recorded(history)
        self.quarantines = _Recorded(history)
        self.damaged = _Recorded(history)

    def fold_store(self, epoch: int, fold_id: str = "") -> Any:
        for per_epoch in (self.learners, self.positions):
            if epoch not in per_epoch:
                per_epoch[epoch] = _Recorded(self._history)  # type: ignore[assignment]  # it is a dict of the same.
        return super().fold_store(epoch, fold_id)

    async def make_current(self, epoch: int) -> None:
        before = self._current
        self._history.append(lambda: setattr(self, "_current", before))
        await super().make_current(epoch)

    async def clear(self, epoch: int) -> int:
        before = [(held, held[epoch]) for held in (self.learners, self.positions) if epoch in held]

        def take_back() -> None:
            for held, contents in before:
                held[epoch] = contents  # type: ignore[index]  # learners go back to learners, positions to positions.

        self._history.append(take_back)
        return await super().clear(epoch)


class SimulatedRedis:
    """The server.

    Attributes:
        states: its data.
        furthest: the furthest position it ever had, by epoch and partition.
    """

    def __init__(self) -> None:
        self.server = Server(lambda: StateUnavailableError("the simulated Redis is away"))
        self._history: list[Callable[[], None]] = []
        self.states: MemoryStates = _RecordedStates(self._history)
        self.furthest: dict[tuple[int, int], int] = {}

    @property
    def writes(self) -> int:
        """The number of changes it could lose."""
        return len(self._history)

    def as_one(self, step: Callable[[], Any]) -> Callable[[], Any]:
        """A step as one change: Redis writes what a script or a transaction changed as a whole, or not at all."""

        def command() -> Any:
            begin = len(self._history)
            try:
                return step()
            finally:
                changes = self._history[begin:]
                if len(changes) > 1:

                    def take_back() -> None:
                        for change in reversed(changes):
                            change()

                    self._history[begin:] = [take_back]

        return command

    def restart_without(self, writes: int) -> None:
        """Restart without the last changes: a crash leaves a prefix of an append-only file."""
        self.server.incarnation += 1
        for _ in range(min(writes, len(self._history))):
            self._history.pop()()

    def flush(self) -> None:
        """Delete everything."""
        self._history.clear()
        self.states = _RecordedStates(self._history)

    def positions(self, epoch: int) -> dict[int, int]:
        """How far an epoch has come, by partition."""
        return {p: one.position for p, one in self.states.positions.get(epoch, {}).items()}

    def folded_epochs(self) -> list[int]:
        """The epochs that workers fold into."""
        active = {EpochStatus.LIVE, EpochStatus.CATCHING_UP}
        return [meta.epoch for meta in at_once(self.states.epochs()) if meta.status in active]

    def damaged(self) -> list[tuple[int, bytes]]:
        """Damaged and quarantined learners of these epochs."""
        states, epochs = self.states, self.folded_epochs()
        quarantined = {(epoch, key) for epoch in epochs for key in at_once(states.quarantine(epoch)).learners}
        return sorted(quarantined | {place for place in states.damaged if place[0] in epochs})


class SimulatedFoldStore:
    """A worker's connection to one epoch; implements FoldStore.

    It does not survive a restart of the server: the first request afterwards fails, and the next one reconnects. This
    is what prevents a position from being stored after learners that were just lost.
    """

    def __init__(self, process: Process, redis: SimulatedRedis, meta: EpochMeta) -> None:
        self._process = process
        self._redis = redis
        self._epoch = meta.epoch
        self._fold_id = meta.fold_id
        self._connected_to: int | None = None

    async def progress(self, partitions: Sequence[int]) -> dict[int, PartitionProgress]:
        return await self._ask([lambda: at_once(self._store.progress(partitions))])

    async def read(
        self, partitions: Sequence[int], keys: Sequence[bytes]
    ) -> tuple[dict[int, int], list[LearnerRecord]]:
        learners: list[LearnerRecord] = []

        damaged: dict[bytes, str] = {}

        def read_one(key: bytes) -> Callable[[], None]:
            def step() -> None:
                try:
                    learners.extend(at_once(self._store.read([], [key]))[1])
                except LearnersDamagedError as error:
                    damaged.update(error.damaged)

            return step

        # Learners are read one by one and positions last, as in the real connection.
        positions: dict[int, int] = {}
        steps = [*map(read_one, keys), lambda: positions.update(at_once(self._store.read(partitions, []))[0])]
        await self._ask(steps)
        if damaged:
            raise LearnersDamagedError(damaged)
        return positions, learners

    @property
    def quarantine(self) -> SimulatedQuarantine:
        return SimulatedQuarantine(self)

    async def commit(self, commits: Sequence[LearnerCommit], ahead: Mapping[int, RecordMark] = NOTHING_AHEAD) -> None:
        refusals: list[Exception] = []

        def commit_one(commit: LearnerCommit) -> Callable[[], None]:
            def step() -> None:
                try:
                    at_once(self._store.commit([commit]))
                except RuntimeError as refused:
                    refusals.append(refused)

            return step

        if commits:
            begin = lambda: at_once(self._store.commit([], ahead))  # noqa: E731 - a step like the others.
            await self._ask([begin, *map(commit_one, commits)])
        if refusals:
            raise refusals[0]

    async def advance(
        self, moves: Mapping[int, tuple[PartitionProgress | None, PartitionProgress]], skipped: Skipped | None = None
    ) -> None:
        moved: list[int] = []
        changed: list[int] = []

        def advance_one(partition: int) -> Callable[[], None]:
            def step() -> None:
                try:
                    at_once(self._store.advance({partition: moves[partition]}, skipped))
                except QuarantineChangedError:
                    changed.append(partition)
                    return
                moved.append(partition)
                place = (self._epoch, partition)
                self._redis.furthest[place] = max(self._redis.furthest.get(place, 0), moves[partition][1].position)

            return step

        await self._ask(list(map(advance_one, moves)))
        if changed:
            raise QuarantineChangedError(moved)

    async def ask_one(self, call: Callable[[Any], Any]) -> Any:
        """Run one command of the quarantine in Redis."""
        return await self._ask([lambda: at_once(call(self._store.quarantine))])

    async def close(self) -> None:
        """Nothing to close."""

    @property
    def _store(self) -> Any:
        return self._redis.states.fold_store(self._epoch, self._fold_id)

    async def _ask(self, steps: Sequence[Callable[[], Any]]) -> Any:
        if self._connected_to is None:
            self._connected_to = self._redis.server.incarnation
        try:
            commands = list(map(self._redis.as_one, steps))
            return await self._process.ask(self._redis.server, commands, connected_to=self._connected_to)
        except StateUnavailableError:
            self._connected_to = None
            raise


class SimulatedQuarantine:
    """A connection to the quarantine of an epoch; implements QuarantineStore. Each call is one command."""

    def __init__(self, store: SimulatedFoldStore) -> None:
        self._store = store

    async def read(self) -> Quarantine:
        return await self._store.ask_one(lambda quarantine: quarantine.read())

    async def add(self, partition: int, position: int, damaged: Mapping[bytes, str]) -> None:
        await self._store.ask_one(lambda quarantine: quarantine.add(partition, position, damaged))

    async def forget(self, partition: int, position: int, keys: Collection[bytes]) -> None:
        await self._store.ask_one(lambda quarantine: quarantine.forget(partition, position, keys))

    async def progress_of(self, key: bytes, partition: int) -> tuple[QuarantinedLearner | None, int | None]:
        return await self._store.ask_one(lambda quarantine: quarantine.progress_of(key, partition))

    async def release(self, repaired: RepairedLearner) -> bool:
        return await self._store.ask_one(lambda quarantine: quarantine.release(repaired))


class SimulatedEpochs:
    """A worker's connection to the epochs; implements the part of EpochStore that workers and replays use."""

    def __init__(self, process: Process, redis: SimulatedRedis, on_serve: Callable[[int], None]) -> None:
        """Args: `on_serve` is called with each epoch that becomes current."""
        self._process = process
        self._redis = redis
        self._on_serve = on_serve

    async def current_epoch(self) -> int | None:
        return await self._ask(lambda states: states.current_epoch())

    async def epochs(self) -> Sequence[EpochMeta]:
        return await self._ask(lambda states: states.epochs())

    async def progress(self, epoch: int) -> Mapping[int, PartitionProgress]:
        return await self._ask(lambda states: states.progress(epoch))

    async def get(self, epoch: int) -> EpochMeta | None:
        return await self._ask(lambda states: states.get(epoch))

    async def quarantine(self, epoch: int) -> Quarantine:
        return await self._ask(lambda states: states.quarantine(epoch))

    async def create(self, meta: EpochMeta, restamp_skills: AssessedSkills | None = None) -> None:
        await self._ask(lambda states: states.create(meta, restamp_skills))

    async def restamp_skills(self, epoch: int) -> AssessedSkills | None:
        return await self._ask(lambda states: states.restamp_skills(epoch))

    async def set_status(self, epoch: int, status: EpochStatus) -> None:
        await self._ask(lambda states: states.set_status(epoch, status))

    async def make_current(self, epoch: int) -> None:
        async def serve(states: MemoryStates) -> None:
            await states.make_current(epoch)
            self._on_serve(epoch)

        await self._ask(serve)

    async def drop(self, epoch: int) -> int:
        return await self._ask(lambda states: states.drop(epoch))

    async def keep_readable(self) -> None:
        """The simulation loses whole writes only."""

    async def clear(self, epoch: int) -> int:
        return await self._ask(lambda states: states.clear(epoch))

    def contents(self, epoch: int) -> AsyncIterator[StoredLearnerBytes]:
        raise NotImplementedError

    def exclusive(self, epoch: int) -> AbstractAsyncContextManager[None]:
        """Locks nothing: two concurrent replays must not damage an epoch even then."""
        return nullcontext()

    async def _ask(self, call: Callable[[MemoryStates], Any]) -> Any:
        return await self._process.ask(self._redis.server, [lambda: at_once(call(self._redis.states))])


class SimulatedDeadLetters:
    """A worker's producer of dead letters; implements DeadLetters."""

    def __init__(self, process: Process, server: Server, topic: list[DeadLetter]) -> None:
        self._process = process
        self._server = server
        self._topic = topic

    async def write(self, letters: Sequence[DeadLetter]) -> None:
        await self._process.ask(self._server, [lambda one=one: self._topic.append(one) for one in letters])

    async def close(self) -> None:
        """Nothing to close."""
