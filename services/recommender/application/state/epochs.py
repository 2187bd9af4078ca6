"""Epochs: creating, digesting, replaying into, switching to and dropping them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from services.recommender.application.ports.epochs import (
    EpochMeta,
    EpochMissingError,
    EpochStatus,
    EpochStore,
    StoredLearnerBytes,
    epoch_missing,
)
from services.recommender.application.ports.log import LogReader
from services.recommender.application.ports.models import BundleReader
from services.recommender.application.ports.quarantine import LearnerDamagedError
from services.recommender.application.state.served_parameters import RememberServed
from services.recommender.domain.learner.parameters import TracingParameters
from services.recommender.domain.learner.state import applied_of

REPARTITION = (
    "Records from before are on other partitions than their learners' records now, and a replay leaves them out: stop "
    "ingest and the workers, and move them with: cairn topics repartition"
)


class EpochUnusableError(ValueError):
    """The epoch cannot be used for this; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class EpochDigest:
    """A summary of an epoch's contents.

    Attributes:
        digest: SHA-256, in hexadecimal, of everything stored that influences later folds or answers, learners in the
            order of their keys. Not of offsets, positions or the epoch's number: equal folds of the same events have
            equal digests.
        learners: how many learners it holds; erased learners count in the digest only.
        applied: events applied since their learner was last erased, each once.
    """

    digest: str
    learners: int
    applied: int


class EpochContents:
    """Computes a summary, learner by learner in the order of their keys."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._learners = 0
        self._applied = 0

    def add(self, learner: StoredLearnerBytes) -> None:
        """Add the next learner.

        Raises:
            LearnerDamagedError: when what is stored about the learner cannot be read, or is incomplete.
        """
        if learner.damage:
            raise LearnerDamagedError(learner.key, learner.damage)
        for part in (learner.key, learner.state, learner.journal, learner.checkpoint, learner.seen):
            self._hash.update(len(part).to_bytes(4, "little"))
            self._hash.update(part)
        # An erased learner has no state.
        if learner.state:
            self._learners += 1
            self._applied += applied_of(learner.state)

    def digest(self) -> EpochDigest:
        """The summary of the learners added."""
        return EpochDigest(self._hash.hexdigest(), self._learners, self._applied)


async def digest_epoch(store: EpochStore, epoch: int) -> EpochDigest:
    """The summary of an epoch.

    Raises:
        EpochMissingError: when there is no such epoch.
        LearnerDamagedError: when what is stored about a learner is damaged.
    """
    if await store.get(epoch) is None:
        raise epoch_missing(epoch)
    contents = EpochContents()
    async for learner in store.contents(epoch):
        contents.add(learner)
    return contents.digest()


async def ensure_first_epoch(store: EpochStore, log: LogReader, remember: RememberServed) -> None:
    """Create the first epoch if no epoch is or can become current.

    It has the parameters last served, or the priors: the state store may have lost its data. It becomes current only
    when it has reached the present end of the log, so that then no learner is answered as if they were new.

    Raises:
        ServedParametersUnknownError: when it cannot be found out which parameters were served.
    """
    if any(meta.status in {EpochStatus.LIVE, EpochStatus.CATCHING_UP} for meta in await store.epochs()):
        return
    taken = {meta.epoch for meta in await store.epochs()}
    begins = lost_beginnings(await log.beginnings())
    number = max(taken, default=0) + 1
    identity = await log.identity()
    served = await remember.first(identity)
    await store.create(
        EpochMeta(
            epoch=number,
            status=EpochStatus.CATCHING_UP,
            parameters_id=served.parameters_id,
            parameters_bundle=served.parameters_bundle,
            log_identity=identity,
            end_positions=dict(await log.end_offsets()),
            begin_positions=begins,
        )
    )


def lost_beginnings(beginnings: Mapping[int, int]) -> dict[int, int]:
    """The first offset of each partition whose beginning is lost."""
    return {partition: offset for partition, offset in beginnings.items() if offset}


def parameters_of(meta: EpochMeta, bundles: BundleReader) -> TracingParameters:
    """The parameters an epoch is folded with.

    Raises:
        EpochUnusableError: when the bundle no longer holds the parameters of the epoch.
        BundleUnreadableError: when the bundle cannot be read.
    """
    if not meta.parameters_bundle:
        return TracingParameters()
    parameters = bundles.load(meta.parameters_bundle).parameters
    if parameters.parameters_id != meta.parameters_id:
        raise EpochUnusableError(
            f"epoch {meta.epoch} was begun with the parameters {meta.parameters_id}, the bundle "
            f"{meta.parameters_bundle} now holds {parameters.parameters_id}: restore that bundle, or replay into a "
            "new epoch"
        )
    return parameters


def check_log(epoch: int, folded_from: str, identity: str) -> None:
    """Refuse an epoch that was folded from another log, because its offsets are invalid.

    Args:
        epoch: its number.
        folded_from: the identity of the log that it was folded from.
        identity: of the log as it is now.

    Raises:
        EpochUnusableError: when the topic was recreated or its partition count changed.
    """
    if folded_from == identity:
        return
    before, _, partitions_before = folded_from.partition("/")
    now, _, partitions_now = identity.partition("/")
    if before != now:
        raise EpochUnusableError(
            f"epoch {epoch} was folded from the topic with id {before}, which now has id {now}: the topic was "
            "recreated, so the epoch's offsets say nothing about it. Restore the topic; or fold the new one: "
            f"{_rebuild(epoch)}; or, if nothing in the state store is needed, empty it and start them"
        )
    raise EpochUnusableError(
        f"epoch {epoch} was folded from a topic of {partitions_before} partitions, which now has {partitions_now}, so "
        f"the epoch's offsets say nothing about it. {REPARTITION}; then {_rebuild(epoch)}"
    )


def _rebuild(epoch: int) -> str:
    number = epoch + 1
    return (
        f"cairn replay --epoch {number} --parameters same, then cairn epoch switch {number} (with --accept-loss if the "
        "topic now holds less), then start the workers"
    )


async def drop_epoch(store: EpochStore, epoch: int) -> int:
    """Remove an epoch; return how many learners it held.

    Raises:
        EpochMissingError: when there is no such epoch.
        EpochUnusableError: when it is the current one.
    """
    if await store.current_epoch() == epoch:
        raise EpochUnusableError(f"epoch {epoch} is being served; switch to another first: cairn epoch switch N")
    return await store.drop(epoch)


async def prune_epochs(store: EpochStore, keep: int) -> list[int]:
    """Remove epochs from before the one that is served, and return their numbers.

    Args:
        store: the epochs.
        keep: how many of them stay: those that were served last. One that was never served does not stay.

    Raises:
        EpochUnusableError: when no epoch is served.
    """
    current = await store.current_epoch()
    if current is None:
        raise EpochUnusableError("no epoch is served, so none is from before it; see cairn epoch list")
    before = [meta for meta in await store.epochs() if meta.epoch < current]
    served = [meta for meta in before if meta.status is EpochStatus.LIVE]
    # Switches of earlier releases were not counted.
    served.sort(key=lambda meta: (meta.last_switch, meta.epoch), reverse=True)
    kept = served[:keep]
    dropped = [meta.epoch for meta in before if meta not in kept]
    for epoch in dropped:
        await store.drop(epoch)
    return dropped


async def newest_epoch(store: EpochStore) -> int:
    """The number of the last epoch.

    Raises:
        EpochMissingError: when there is none.
    """
    numbers = [meta.epoch for meta in await store.epochs()]
    if not numbers:
        raise EpochMissingError("there is no epoch yet: start a worker, which begins one, or run cairn replay")
    return max(numbers)


def has_reached(goal: Mapping[int, int], positions: Mapping[int, int]) -> bool:
    """Whether every partition has reached its goal."""
    return all(positions.get(partition, 0) >= offset for partition, offset in goal.items())
