"""The status of the whole system, for operators: what runs, where, and how far it is."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from services.recommender.application.operations.dead_letter_counts import DeadLetterCounter, DeadLetterCounts
from services.recommender.application.ports.epochs import EpochMeta, EpochProgressReader
from services.recommender.application.ports.learners import PartitionProgress, StateUnavailableError
from services.recommender.application.ports.log import LogReader
from services.recommender.application.ports.models import BundleReader, BundleUnreadableError
from services.recommender.application.ports.quarantine import REMEDY


class Health(StrEnum):
    """The health that a process reports, of itself or of a part of it."""

    SERVING = "serving"
    NOT_SERVING = "not serving"
    AWAY = "cannot be reached"
    UNKNOWN = "not known"


_NAMED = 5

# The part of a worker that counts dead letters for Prometheus, by its name in the worker's gRPC health service.
DEAD_LETTER_AGENT = "cairn.dead-letter-agent"
# The part of a worker that decrypts values: not serving while keys of learners are missing.
LEARNER_KEYS_PART = "cairn.learner-keys"


_PROBLEMS_OF_PARTS = {
    DEAD_LETTER_AGENT: (
        "no longer counts dead letters for Prometheus; it folds events as before. Its log gives the reason"
    ),
    LEARNER_KEYS_PART: (
        "waits for keys of learners: cairn.learner-keys does not hold the keys of records in the log. Restore that "
        "topic; the worker's log names one of the records"
    ),
}


class HealthProbe(Protocol):
    """Asks a process for its health."""

    async def health(self, address: str, part: str = "") -> Health:
        """The health of the process at `host:port`, or of a part of it.

        AWAY when it does not answer in time; UNKNOWN when it has no such part.
        """
        ...


@dataclass(frozen=True, slots=True)
class ProcessReport:
    """One process: its name, its address, and its health."""

    name: str
    address: str
    health: Health


@dataclass(frozen=True, slots=True)
class PartitionReport:
    """How far an epoch is in one partition.

    Attributes:
        partition: its number.
        position: one past the last record handled; 0 where the epoch never saw the partition.
        end: one past the last record of the log; None when the log cannot be read.
        applied: records folded into a learner.
        duplicates: records left out as duplicates.
        conflicts: records left out because an earlier one of their source and id says something else.
        dead_lettered: records that went to the dead-letter topic for another reason.
        erased: records of erased learners.
        lost: records whose keys are lost.
        quarantined: records of learners in quarantine.
    """

    partition: int
    position: int
    end: int | None
    applied: int
    duplicates: int
    conflicts: int
    dead_lettered: int
    erased: int
    lost: int
    quarantined: int

    @property
    def lag(self) -> int | None:
        """Records between position and end; None when the end is not known."""
        return None if self.end is None else max(0, self.end - self.position)


@dataclass(frozen=True, slots=True)
class EpochReport:
    """One epoch.

    Attributes:
        meta: what was fixed when it began, and its status.
        current: whether servers answer from it.
        partitions: its progress, by partition.
    """

    meta: EpochMeta
    current: bool
    partitions: tuple[PartitionReport, ...]

    @property
    def lag(self) -> int | None:
        """Records that it has not handled yet; None when that is not known."""
        lags = [partition.lag for partition in self.partitions]
        known = [lag for lag in lags if lag is not None]
        return sum(known) if len(known) == len(lags) else None

    @property
    def applied(self) -> int:
        """Records folded into a learner."""
        return sum(partition.applied for partition in self.partitions)

    @property
    def duplicates(self) -> int:
        """Records left out as duplicates."""
        return sum(partition.duplicates for partition in self.partitions)

    @property
    def conflicts(self) -> int:
        """Records left out because an earlier one of their source and id says something else."""
        return sum(partition.conflicts for partition in self.partitions)

    @property
    def dead_lettered(self) -> int:
        """Records that went to the dead-letter topic for another reason."""
        return sum(partition.dead_lettered for partition in self.partitions)

    @property
    def erased(self) -> int:
        """Records of erased learners, which can no longer be read."""
        return sum(partition.erased for partition in self.partitions)

    @property
    def lost(self) -> int:
        """Records whose keys are lost, which an operator accepted."""
        return sum(partition.lost for partition in self.partitions)

    @property
    def quarantined(self) -> int:
        """Records of learners in quarantine."""
        return sum(partition.quarantined for partition in self.partitions)


@dataclass(frozen=True, slots=True)
class SystemStatus:
    """The whole system.

    Attributes:
        processes: those whose address is known.
        log_identity: the log of learner events; empty when it cannot be read.
        state_readable: whether derived state could be read.
        epochs: every epoch, by number.
        dead_letters: the letters on the dead-letter topic; None when it cannot be read.
        bundle: the newest bundle; empty when there is none.
        problems: what is wrong, each a sentence with a remedy where there is one.
    """

    processes: tuple[ProcessReport, ...]
    log_identity: str
    state_readable: bool
    epochs: tuple[EpochReport, ...]
    dead_letters: DeadLetterCounts | None
    bundle: str
    problems: tuple[str, ...]

    @property
    def current(self) -> EpochReport | None:
        """The epoch that servers answer from."""
        return next((epoch for epoch in self.epochs if epoch.current), None)


class ReadStatus:
    """Reads the status of everything. What cannot be read becomes a problem in the answer, never an error."""

    def __init__(
        self,
        log: LogReader,
        epochs: EpochProgressReader,
        dead_letters: DeadLetterCounter,
        bundles: BundleReader,
        probe: HealthProbe,
    ) -> None:
        self._log = log
        self._epochs = epochs
        self._dead_letters = dead_letters
        self._bundles = bundles
        self._probe = probe

    async def __call__(self, targets: Mapping[str, str]) -> SystemStatus:
        """The status now.

        Args:
            targets: `host:port` of each process by name; those with an empty address are left out.
        """
        problems: list[str] = []
        identity, ends = await self._read_log(problems)
        found = await self._read_epochs(ends, problems)
        epochs = found or ()
        if identity:
            problems += [_other_log(report.meta) for report in epochs if report.meta.log_identity != identity]
        # Where the log cannot be read, neither can its dead letters, for the same reason.
        dead_letters = await self._count_dead_letters(problems) if identity else None
        processes = await self._read_processes(targets)
        problems += [
            f"{process.name} at {process.address} is {process.health}"
            if process.health is Health.NOT_SERVING
            else f"{process.name} at {process.address} {process.health}"
            for process in processes
            if process.health is not Health.SERVING
        ]
        problems += await self._stopped_parts(processes)
        return SystemStatus(
            processes, identity, found is not None, epochs, dead_letters, self._newest_bundle(problems), tuple(problems)
        )

    async def _read_log(self, problems: list[str]) -> tuple[str, Mapping[int, int] | None]:
        try:
            return await self._log.identity(), await self._log.end_offsets()
        except (ConnectionError, LookupError) as error:
            problems.append(str(error))
            return "", None

    async def _count_dead_letters(self, problems: list[str]) -> DeadLetterCounts | None:
        try:
            return await self._dead_letters.count()
        except (ConnectionError, LookupError) as error:
            problems.append(str(error))
            return None

    async def _stopped_parts(self, processes: Sequence[ProcessReport]) -> list[str]:
        reached = [process for process in processes if process.health is not Health.AWAY]
        problems = []
        for part, problem in _PROBLEMS_OF_PARTS.items():
            healths = await asyncio.gather(*(self._probe.health(process.address, part) for process in reached))
            problems += [
                f"{process.name} at {process.address} {problem}"
                for process, health in zip(reached, healths, strict=True)
                if health is Health.NOT_SERVING
            ]
        return problems

    async def _read_epochs(self, ends: Mapping[int, int] | None, problems: list[str]) -> tuple[EpochReport, ...] | None:
        """Every epoch; None when derived state cannot be read."""
        try:
            current = await self._epochs.current_epoch()
            metas = await self._epochs.epochs()
            progress = [await self._epochs.progress(meta.epoch) for meta in metas]
            damaged = {meta.epoch: sorted((await self._epochs.quarantine(meta.epoch)).learners) for meta in metas}
            problems += [_quarantined(epoch, keys) for epoch, keys in damaged.items() if keys]
        except StateUnavailableError as error:
            problems.append(str(error))
            return None
        if current is None:
            problems.append("no epoch is served: start a worker, or switch to an epoch with: cairn epoch switch NUMBER")
        return tuple(
            EpochReport(meta, meta.epoch == current, _partitions(of_epoch, ends))
            for meta, of_epoch in zip(metas, progress, strict=True)
        )

    async def _read_processes(self, targets: Mapping[str, str]) -> tuple[ProcessReport, ...]:
        known = [(name, address) for name, address in targets.items() if address]
        healths = await asyncio.gather(*(self._probe.health(address) for _, address in known))
        return tuple(
            ProcessReport(name, address, health) for (name, address), health in zip(known, healths, strict=True)
        )

    def _newest_bundle(self, problems: list[str]) -> str:
        try:
            return self._bundles.latest_id() or ""
        except (BundleUnreadableError, OSError) as error:
            problems.append(str(error))
            return ""


def _partitions(
    progress: Mapping[int, PartitionProgress], ends: Mapping[int, int] | None
) -> tuple[PartitionReport, ...]:
    nothing = PartitionProgress(position=0, applied=0, duplicates=0, dead_lettered=0)
    return tuple(
        PartitionReport(
            partition,
            (of_partition := progress.get(partition, nothing)).position,
            None if ends is None else ends.get(partition, 0),
            of_partition.applied,
            of_partition.duplicates,
            of_partition.conflicts,
            of_partition.dead_lettered,
            of_partition.erased,
            of_partition.lost,
            of_partition.quarantined,
        )
        for partition in sorted(progress.keys() | (ends or {}).keys())
    )


def _quarantined(epoch: int, keys: Sequence[bytes]) -> str:
    named = ", ".join(key.decode(errors="replace") for key in keys[:_NAMED])
    return (
        f"epoch {epoch} has {len(keys)} learner(s) in quarantine, because what is stored about them is damaged: {named}"
        f"{', ...' if len(keys) > _NAMED else ''}; {REMEDY} --all --epoch {epoch}"
    )


def _other_log(meta: EpochMeta) -> str:
    return (
        f"epoch {meta.epoch} was folded from another log ({meta.log_identity}): the topic was recreated or the broker "
        f"lost it; fold this one with: cairn replay --epoch NUMBER --parameters same, then switch to it"
    )
