"""Everything that Redis keeps, in memory: what the ports mean, in a few lines."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import fields, replace
from functools import partial

from services.common.encryption.values import KeyTopicSeen
from services.recommender.application.ports.epochs import (
    EpochBusyError,
    EpochExistsError,
    EpochMeta,
    EpochStatus,
    StoredLearnerBytes,
    epoch_behind,
    epoch_missing,
)
from services.recommender.application.ports.learners import (
    NOTHING_AHEAD,
    ChangeListener,
    CommitRefusedError,
    LearnerCommit,
    LearnerKey,
    PartitionProgress,
    StoredLearner,
    epoch_replaced,
)
from services.recommender.application.ports.log import DeadLetter, RecordMark
from services.recommender.application.ports.quarantine import (
    LearnerDamagedError,
    LearnersDamagedError,
    Quarantine,
    QuarantineChangedError,
    QuarantinedLearner,
    RepairedLearner,
    Skipped,
)
from services.recommender.application.state.epochs import has_reached
from services.recommender.domain.learner.journal import EMPTY_JOURNAL, corrections_of, decode_journal, encode_journal
from services.recommender.domain.learner.record import NEW_LEARNER, LearnerRecord
from services.recommender.domain.learner.restamp import AssessedSkills
from services.recommender.domain.learner.state import decode_state, encode_state, unpack_state

# Without the position before them, and the marks after them.
_COUNTS = tuple(one.name for one in fields(PartitionProgress))[1:-2]


class MemoryStates:
    """Learners, positions and epochs in memory.

    Implements LearnerReader, LearnerOffsets, EpochReader and EpochStore; `fold_store` gives the write side of an epoch,
    which tells `notifications` of what it stores.
    """

    def __init__(self) -> None:
        self.notifications = MemoryChangeNotifications()
        self.learners: dict[int, dict[bytes, LearnerRecord]] = {}
        self.positions: dict[int, dict[int, PartitionProgress]] = {}
        self._metas: dict[int, EpochMeta] = {}
        self._restamp_skills: dict[int, AssessedSkills] = {}
        self._current: int | None = None
        self._held: set[int] = set()
        self.quarantines: dict[int, Quarantine] = {}
        # What is wrong with values that cannot be read, by epoch and record key.
        self.damaged: dict[tuple[int, bytes], str] = {}

    def fold_store(self, epoch: int, fold_id: str = "") -> MemoryFoldStore:
        """The write side of an epoch, which refuses once its fold id is another; empty: it does not matter."""
        learners, positions = self.learners.setdefault(epoch, {}), self.positions.setdefault(epoch, {})

        def check() -> None:
            meta = self._metas.get(epoch)
            if fold_id and (meta is None or meta.fold_id != fold_id):
                raise epoch_replaced(epoch)

        return MemoryFoldStore(
            learners, positions, partial(self.notifications.tell, epoch), check, MemoryQuarantine(self, epoch, check)
        )

    def damage(self, epoch: int, key: bytes, reason: str = "its bytes are damaged") -> None:
        """Damage what is stored about a learner."""
        self.damaged[epoch, key] = reason

    async def quarantine(self, epoch: int) -> Quarantine:
        """The learners of an epoch that are quarantined."""
        return self.quarantines.get(epoch, Quarantine())

    def damage_of(self, epoch: int, key: bytes) -> str:
        """What is wrong with a learner; empty: nothing."""
        entry = self.quarantines.get(epoch, Quarantine()).learners.get(key)
        return entry.reason if entry is not None else self.damaged.get((epoch, key), "")

    async def read(self, epoch: int, key: LearnerKey) -> StoredLearner | None:
        """A learner's state, or None when the epoch has none for it."""
        name = f"{key.tenant}/{key.learner}".encode()
        if reason := self.damage_of(epoch, name):
            raise LearnerDamagedError(name, reason)
        stored = self.learners.get(epoch, {}).get(name)
        if stored is None or stored.state is None:
            return None
        return StoredLearner(decode_state(encode_state(stored.state)), stored.offset)

    async def read_many(
        self, epoch: int, keys: Sequence[LearnerKey]
    ) -> list[StoredLearner | LearnerDamagedError | None]:
        """States in the order of `keys`."""
        found: list[StoredLearner | LearnerDamagedError | None] = []
        for key in keys:
            try:
                found.append(await self.read(epoch, key))
            except LearnerDamagedError as error:
                found.append(error)
        return found

    async def applied_offset(self, epoch: int, key: LearnerKey) -> int | None:
        """Offset of the last record that changed the learner, or None."""
        name = f"{key.tenant}/{key.learner}".encode()
        stored = self.learners.get(epoch, {}).get(name)
        return None if stored is None or self.damage_of(epoch, name) else stored.offset

    async def applied_offsets(self, epoch: int, keys: Sequence[LearnerKey]) -> list[int | None]:
        """Offset of the last record that changed each learner, in the order of `keys`."""
        return [await self.applied_offset(epoch, key) for key in keys]

    async def learners_of(self, epoch: int, tenant: str) -> AsyncIterator[Sequence[str]]:
        """Pseudonyms of all learners of a tenant."""
        prefix = f"{tenant}/".encode()
        yield [key[len(prefix) :].decode() for key in self.learners.get(epoch, {}) if key.startswith(prefix)]

    async def position(self, epoch: int, partition: int) -> int | None:
        """One past the last record dealt with; None when the epoch never saw the partition."""
        progress = self.positions.get(epoch, {}).get(partition)
        return None if progress is None else progress.position

    async def current_epoch(self) -> int | None:
        """Number of the epoch that is served, or None when there is none."""
        return self._current

    async def current(self) -> EpochMeta | None:
        """The epoch to answer from, or None when there is none."""
        return None if self._current is None else self._metas.get(self._current)

    async def get(self, epoch: int) -> EpochMeta | None:
        """The epoch, or None."""
        return self._metas.get(epoch)

    async def epochs(self) -> Sequence[EpochMeta]:
        """Every epoch that exists, by number."""
        return [meta for _, meta in sorted(self._metas.items())]

    async def progress(self, epoch: int) -> Mapping[int, PartitionProgress]:
        """Progress by partition; a partition the epoch never saw is absent."""
        return dict(self.positions.get(epoch, {}))

    async def create(self, meta: EpochMeta, restamp_skills: AssessedSkills | None = None) -> None:
        """Create an epoch, and keep the skills that `meta.restamp` is about."""
        if meta.epoch in self._metas:
            raise EpochExistsError(f"epoch {meta.epoch} already exists")
        self._metas[meta.epoch] = meta
        if restamp_skills is not None:
            self._restamp_skills[meta.epoch] = restamp_skills

    async def restamp_skills(self, epoch: int) -> AssessedSkills | None:
        """The skills kept with an epoch; None when there are none."""
        return self._restamp_skills.get(epoch)

    async def set_status(self, epoch: int, status: EpochStatus) -> None:
        """Set the status of an epoch."""
        self._metas[epoch] = replace(self._require(epoch), status=status)

    async def accept_lost_keys(self, epoch: int) -> None:
        """Let records of the epoch count as lost when their keys are not found."""
        self._metas[epoch] = replace(self._require(epoch), accepts_lost_keys=True)

    async def see_keys(self, epoch: int, keys: KeyTopicSeen) -> None:
        """Note how the topic of keys looked."""
        if epoch in self._metas:
            self._metas[epoch] = replace(self._metas[epoch], keys=keys)

    async def make_current(self, epoch: int) -> None:
        """Mark an epoch live and let servers answer from it, if it has reached its end."""
        reached = {partition: progress.position for partition, progress in self.positions.get(epoch, {}).items()}
        if not has_reached(self._require(epoch).end_positions, reached):
            raise epoch_behind(epoch)
        before = self._metas.get(self._current) if self._current is not None else None
        switch = 1 + (before.last_switch if before is not None else 0)
        self._metas[epoch] = replace(self._require(epoch), status=EpochStatus.LIVE, last_switch=switch)
        self._current = epoch

    async def drop(self, epoch: int) -> int:
        """Remove an epoch and everything stored in it; return the number of learners."""
        del self._metas[self._require(epoch).epoch]
        self._restamp_skills.pop(epoch, None)
        return await self.clear(epoch)

    async def clear(self, epoch: int) -> int:
        """Remove the learners and positions of an epoch, but not the epoch; return the number of learners."""
        self.positions.pop(epoch, None)
        self.quarantines.pop(epoch, None)
        for place in [place for place in self.damaged if place[0] == epoch]:
            self.damaged.pop(place)
        return len(self.learners.pop(epoch, {}))

    async def keep_readable(self) -> None:
        """Memory is never started again."""

    async def contents(self, epoch: int) -> AsyncIterator[StoredLearnerBytes]:
        """Everything stored about the epoch's learners, sorted by key."""
        learners = self.learners.get(epoch, {})
        for key in sorted(learners.keys() | (await self.quarantine(epoch)).learners.keys()):
            if reason := self.damage_of(epoch, key):
                yield StoredLearnerBytes(key, -1, b"", b"", b"", b"", damage=reason)
                continue
            stored = learners[key]
            yield StoredLearnerBytes(
                key,
                stored.offset,
                b"" if stored.state is None else encode_state(stored.state),
                b"" if stored.state is None else encode_journal(stored.journal),
                stored.checkpoint,
                stored.seen,
                stored.contents,
            )

    async def waiting_corrections(self, epoch: int) -> AsyncIterator[tuple[bytes, Sequence[bytes]]]:
        """The learners for whom corrections wait, with the targets."""
        for key, stored in self.learners.get(epoch, {}).items():
            if stored.journal.corrections:
                yield key, [target for target, _ in corrections_of(stored.journal)]

    async def put_learners(self, epoch: int, learners: Sequence[StoredLearnerBytes]) -> None:
        """Store learners that the epoch does not hold."""
        for one in learners:
            state = unpack_state(one.state) if one.state else None
            journal = decode_journal(one.journal) if one.journal else EMPTY_JOURNAL
            stored = LearnerRecord(one.offset, state, journal, one.checkpoint, one.seen, one.contents)
            self.learners.setdefault(epoch, {})[one.key] = stored

    async def put_progress(self, epoch: int, progress: Mapping[int, PartitionProgress]) -> None:
        """Store how far the epoch has come."""
        self.positions.setdefault(epoch, {}).update(progress)

    @asynccontextmanager
    async def exclusive(self, epoch: int) -> AsyncIterator[None]:
        """Lock the epoch for one replay."""
        if epoch in self._held:
            raise EpochBusyError(f"another process is replaying into epoch {epoch}")
        self._held.add(epoch)
        try:
            yield
        finally:
            self._held.discard(epoch)

    def _require(self, epoch: int) -> EpochMeta:
        if epoch not in self._metas:
            raise epoch_missing(epoch)
        return self._metas[epoch]


class MemoryFoldStore:
    """What one epoch's fold reads and writes, in memory; implements FoldStore."""

    def __init__(
        self,
        learners: dict[bytes, LearnerRecord],
        positions: dict[int, PartitionProgress],
        tell: Callable[[bytes, int, str], None],
        check: Callable[[], None],
        quarantine: MemoryQuarantine,
    ) -> None:
        """Prepare.

        Args:
            learners: what is stored.
            positions: what is stored.
            tell: called with the key, the offset and the trace of each that was stored.
            check: called before anything is stored; raises CommitRefusedError.
            quarantine: of the epoch.
        """
        self.quarantine = quarantine
        self._check = check
        self._learners = learners
        self._positions = positions
        self._tell = tell

    async def progress(self, partitions: Sequence[int]) -> dict[int, PartitionProgress]:
        """Progress by partition; a partition the epoch never saw is absent."""
        return {partition: self._positions[partition] for partition in partitions if partition in self._positions}

    async def read(
        self, partitions: Sequence[int], keys: Sequence[bytes]
    ) -> tuple[dict[int, int], list[LearnerRecord]]:
        """Positions by partition, and learners in the order of `keys`."""
        positions = {partition: progress.position for partition, progress in (await self.progress(partitions)).items()}
        if damaged := {key: reason for key in keys if (reason := self.quarantine.damaged(key))}:
            raise LearnersDamagedError(damaged)
        return positions, [self._learners.get(key, NEW_LEARNER) for key in keys]

    async def commit(self, commits: Sequence[LearnerCommit], ahead: Mapping[int, RecordMark] = NOTHING_AHEAD) -> None:
        """Store learners, only where the stored offset is still the one expected."""
        refused = 0
        self._check()
        for partition, mark in ahead.items():
            if partition in self._positions:
                self._positions[partition] = replace(self._positions[partition], ahead=mark)
        for commit in commits:
            if self._learners.get(commit.key, NEW_LEARNER).offset == commit.expected_offset:
                self._learners[commit.key] = commit.stored
                self._tell(commit.key, commit.stored.offset, commit.traceparent)
            else:
                refused += 1
        if refused:
            raise CommitRefusedError(f"{refused} of {len(commits)} learners have changed since they were read")

    async def advance(
        self, moves: Mapping[int, tuple[PartitionProgress | None, PartitionProgress]], skipped: Skipped | None = None
    ) -> None:
        """Move partitions from the progress that was read to the one reached."""
        self._check()
        changed = skipped is not None and skipped.version != (await self.quarantine.read()).version
        for partition, (before, after) in moves.items():
            stored = self._positions.get(partition)
            if (None if stored is None else stored.position) != (None if before is None else before.position):
                raise CommitRefusedError(f"the position of partition {partition} has changed since it was read")
            if changed:
                raise QuarantineChangedError([])
            difference = [now - then for then, now in zip(_counts(before), _counts(after), strict=True)]
            counts = [held + more for held, more in zip(_counts(stored), difference, strict=True)]
            self._positions[partition] = PartitionProgress(after.position, *counts, after.marks, after.ahead)
            if skipped is not None:
                self.quarantine.count(skipped.records.get(partition, {}))


class MemoryQuarantine:
    """The quarantine of one epoch; implements QuarantineStore."""

    def __init__(self, states: MemoryStates, epoch: int, check: Callable[[], None]) -> None:
        """Args: `check` is called before anything is stored; raises CommitRefusedError."""
        self._states = states
        self._epoch = epoch
        self._check = check

    def damaged(self, key: bytes) -> str:
        """What is wrong with the stored value; empty: nothing."""
        return self._states.damaged.get((self._epoch, key), "")

    def count(self, records: Mapping[bytes, int]) -> None:
        """Count more records of quarantined learners."""
        if records:
            held = self._states.quarantines[self._epoch]
            more = {
                key: replace(held.learners[key], records=held.learners[key].records + n) for key, n in records.items()
            }
            self._states.quarantines[self._epoch] = Quarantine(held.version, {**held.learners, **more})

    async def read(self) -> Quarantine:
        """See the port."""
        return self._states.quarantines.get(self._epoch, Quarantine())

    async def add(self, partition: int, position: int, damaged: Mapping[bytes, str]) -> None:
        """See the port."""
        self._check_position(partition, position)
        held = await self.read()
        new = {
            key: QuarantinedLearner(partition, position, 0, reason)
            for key, reason in damaged.items()
            if key not in held.learners
        }
        if new:
            self._states.quarantines[self._epoch] = Quarantine(held.version + 1, {**held.learners, **new})
        for key in new:
            self._states.notifications.tell(self._epoch, key, position)

    async def forget(self, partition: int, position: int, keys: Collection[bytes]) -> None:
        """See the port."""
        self._check_position(partition, position)
        for key in (await self.read()).learners.keys() & set(keys):
            self._remove(key)

    async def progress_of(self, key: bytes, partition: int) -> tuple[QuarantinedLearner | None, int | None]:
        """See the port."""
        progress = self._states.positions.get(self._epoch, {}).get(partition)
        return (await self.read()).learners.get(key), None if progress is None else progress.position

    async def release(self, repaired: RepairedLearner) -> bool:
        """See the port."""
        self._check()
        held = await self.read()
        entry = held.learners.get(repaired.key)
        if entry is None or entry.records != repaired.records:
            return False
        self._remove(repaired.key)
        if repaired.stored.offset >= 0:
            self._states.learners[self._epoch][repaired.key] = repaired.stored
        progress = self._states.positions[self._epoch][repaired.partition]
        self._states.positions[self._epoch][repaired.partition] = replace(
            progress,
            applied=progress.applied + repaired.applied,
            duplicates=progress.duplicates + repaired.duplicates,
            dead_lettered=progress.dead_lettered + repaired.dead_lettered,
            erased=progress.erased + repaired.erased,
            conflicts=progress.conflicts + repaired.conflicts,
            quarantined=progress.quarantined - repaired.records,
        )
        left = {key: one for key, one in held.learners.items() if key != repaired.key}
        self._states.quarantines[self._epoch] = Quarantine(held.version + 1, left)
        self._states.notifications.tell(self._epoch, repaired.key, max(repaired.stored.offset, 0))
        return True

    def _remove(self, key: bytes) -> None:
        self._states.learners.get(self._epoch, {}).pop(key, None)
        self._states.damaged.pop((self._epoch, key), None)

    def _check_position(self, partition: int, position: int) -> None:
        self._check()
        progress = self._states.positions.get(self._epoch, {}).get(partition)
        if (0 if progress is None else progress.position) != position:
            raise CommitRefusedError(f"the position of partition {partition} has changed since it was read")


def _counts(progress: PartitionProgress | None) -> tuple[int, ...]:
    if progress is None:
        return (0,) * len(_COUNTS)
    return tuple(getattr(progress, name) for name in _COUNTS)


class MemoryChangeNotifications:
    """Tells listeners at once; implements ChangeNotifications. `lost` makes it tell nothing."""

    def __init__(self) -> None:
        self.lost = False
        self._listeners: list[ChangeListener] = []
        self._epoch: int | None = None
        self._watched: Counter[bytes | None] = Counter()

    def tell(self, epoch: int, key: bytes, offset: int, traceparent: str = "") -> None:
        """A learner was stored."""
        if self.lost or epoch != self._epoch or not (self._watched[key] or self._watched[None]):
            return
        for listener in self._listeners:
            listener.changed(key, offset, traceparent)

    def follow(self, epoch: int) -> None:
        """As the port says."""
        self._epoch = epoch
        self._report_a_gap()

    def watch(self, keys: Iterable[bytes]) -> None:
        """As the port says."""
        self._watched.update(keys)
        self._report_a_gap()

    def unwatch(self, keys: Iterable[bytes]) -> None:
        """As the port says."""
        self._watched.subtract(keys)

    def watch_all(self) -> None:
        """As the port says."""
        self._watched[None] += 1
        self._report_a_gap()

    def unwatch_all(self) -> None:
        """As the port says."""
        self._watched[None] -= 1

    async def run(self, listener: ChangeListener) -> None:
        """As the port says."""
        self._listeners.append(listener)
        self._report_a_gap()
        try:
            await asyncio.Event().wait()
        finally:
            self._listeners.remove(listener)

    def _report_a_gap(self) -> None:
        for listener in () if self.lost else self._listeners:
            listener.missed_some()


class MemoryDeadLetters:
    """Dead letters in a list; implements DeadLetters."""

    def __init__(self) -> None:
        self.letters: list[DeadLetter] = []

    async def write(self, letters: Sequence[DeadLetter]) -> None:
        """Keep the letters."""
        self.letters += letters
