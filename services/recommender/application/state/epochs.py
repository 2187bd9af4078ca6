"""Epochs: creating, digesting, replaying into, switching to and dropping them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace

from services.recommender.application.ports.epochs import (
    EpochBehindError,
    EpochMeta,
    EpochMissingError,
    EpochStatus,
    EpochStore,
    StoredLearnerBytes,
    epoch_missing,
)
from services.recommender.application.ports.log import LogReader
from services.recommender.application.ports.models import BundleReader
from services.recommender.domain.learner.parameters import PRIOR_PARAMETERS_ID, TracingParameters
from services.recommender.domain.learner.state import applied_of


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
        """Add the next learner."""
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
    """
    if await store.get(epoch) is None:
        raise epoch_missing(epoch)
    contents = EpochContents()
    async for learner in store.contents(epoch):
        contents.add(learner)
    return contents.digest()


async def ensure_first_epoch(store: EpochStore, log: LogReader) -> None:
    """Create the first epoch, with the priors, if no epoch is or can become current.

    It becomes current only when it has reached the present end of the log: after the state store lost its data, no
    learner is answered from priors as if they were new.
    """
    if any(meta.status in {EpochStatus.LIVE, EpochStatus.CATCHING_UP} for meta in await store.epochs()):
        return
    taken = {meta.epoch for meta in await store.epochs()}
    number = max(taken, default=0) + 1
    await store.create(
        EpochMeta(
            epoch=number,
            status=EpochStatus.CATCHING_UP,
            parameters_id=PRIOR_PARAMETERS_ID,
            parameters_bundle="",
            log_identity=await log.identity(),
            end_positions=dict(await log.end_offsets()),
        )
    )


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
        differs = f"was folded from the topic with id {before}, which now has id {now}: the topic was recreated"
    else:
        differs = f"was folded from a topic of {partitions_before} partitions, which now has {partitions_now}"
    raise EpochUnusableError(
        f"epoch {epoch} {differs}, so its offsets say nothing about it. Restore the topic; or fold the new one: "
        f"cairn replay --epoch {epoch + 1} --parameters same, then cairn epoch switch {epoch + 1}, then "
        "start the workers; or, if nothing in the state store is needed, empty it and start them"
    )


async def begin_replay(
    store: EpochStore,
    log: LogReader,
    bundles: BundleReader,
    epoch: int,
    parameters: str,
    *,
    accept_lost_keys: bool = False,
) -> EpochMeta:
    """The epoch to replay into: a new one, or one whose replay was interrupted.

    Args:
        store: the epochs.
        log: the log.
        bundles: where bundles are.
        epoch: its number.
        parameters: a bundle's id, or `same` for those of the current epoch.
        accept_lost_keys: whether records whose keys are lost are counted as lost, from here on.

    Raises:
        EpochUnusableError: when the epoch exists and is not an interrupted replay with the same parameters, or there is
            no current epoch to take parameters from.
        BundleUnreadableError: when the bundle cannot be read.
    """
    identity = await log.identity()
    parameters_id, bundle = await _parameters_named(store, bundles, parameters)
    existing = await store.get(epoch)
    if existing is not None:
        check_log(epoch, existing.log_identity, identity)
        if existing.status is not EpochStatus.BUILDING:
            raise EpochUnusableError(
                f"epoch {epoch} is {existing.status} already: choose another number, or run cairn epoch drop {epoch}"
            )
        if existing.parameters_id != parameters_id:
            raise EpochUnusableError(
                f"epoch {epoch} was begun with the parameters {existing.parameters_id}, not {parameters_id}: take it "
                f"up with those, or run cairn epoch drop {epoch}"
            )
        if accept_lost_keys and not existing.accepts_lost_keys:
            await store.accept_lost_keys(epoch)
            return replace(existing, accepts_lost_keys=True)
        return existing
    ends = dict(await log.end_offsets())
    meta = EpochMeta(epoch, EpochStatus.BUILDING, parameters_id, bundle, identity, ends, accept_lost_keys)
    await store.create(meta)
    return meta


async def switch_epoch(store: EpochStore, epoch: int) -> EpochMeta:
    """Hand an epoch that a replay has built to the workers; it becomes current when it has no lag.

    Raises:
        EpochMissingError: when there is no such epoch.
        EpochUnusableError: when its replay has not reached its end, or the state store has lost part of it.
    """
    meta = await store.get(epoch)
    if meta is None:
        raise EpochMissingError(f"there is no epoch {epoch}; build it with: cairn replay --epoch {epoch}")
    if meta.status is EpochStatus.BUILDING:
        raise EpochUnusableError(f"the replay into epoch {epoch} has not reached its end; run cairn replay again")
    if meta.status is EpochStatus.BUILT:
        await store.set_status(epoch, EpochStatus.CATCHING_UP)
        return replace(meta, status=EpochStatus.CATCHING_UP)
    if meta.status is EpochStatus.LIVE and await store.current_epoch() != epoch:
        try:
            await store.make_current(epoch)
        except EpochBehindError as error:
            raise EpochUnusableError(str(error)) from error
    return meta


async def drop_epoch(store: EpochStore, epoch: int) -> int:
    """Remove an epoch; return how many learners it held.

    Raises:
        EpochMissingError: when there is no such epoch.
        EpochUnusableError: when it is the current one.
    """
    if await store.current_epoch() == epoch:
        raise EpochUnusableError(f"epoch {epoch} is being served; switch to another first: cairn epoch switch N")
    return await store.drop(epoch)


def has_reached(goal: Mapping[int, int], positions: Mapping[int, int]) -> bool:
    """Whether every partition has reached its goal."""
    return all(positions.get(partition, 0) >= offset for partition, offset in goal.items())


async def _parameters_named(store: EpochStore, bundles: BundleReader, parameters: str) -> tuple[str, str]:
    if parameters != "same":
        return bundles.load(parameters).parameters.parameters_id, parameters
    current = await store.current_epoch()
    meta = None if current is None else await store.get(current)
    if meta is None:
        raise EpochUnusableError("there is no current epoch to take the same parameters from; name a bundle")
    return meta.parameters_id, meta.parameters_bundle
