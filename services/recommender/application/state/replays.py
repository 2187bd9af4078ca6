"""Beginning a replay, and switching to the epoch it built, only if no record is lost on the way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from services.recommender.application.ports.catalog import CatalogTagsReader
from services.recommender.application.ports.epochs import (
    EpochBehindError,
    EpochMeta,
    EpochMissingError,
    EpochStatus,
    EpochStore,
    FoldOrder,
)
from services.recommender.application.ports.learners import PartitionProgress
from services.recommender.application.ports.log import LogReader
from services.recommender.application.ports.models import BundleReader
from services.recommender.application.state.epochs import (
    REPARTITION,
    EpochUnusableError,
    check_log,
    lost_beginnings,
)
from services.recommender.application.state.log_marks import check_log_holds
from services.recommender.application.state.restamps import new_restamp
from services.recommender.domain.learner.restamp import RestampedEvents

_RESTAMP_OPTIONS = {
    RestampedEvents.NONE: "--no-restamp",
    RestampedEvents.WITHOUT_SKILLS: "--restamp",
    RestampedEvents.ALL: "--restamp-all",
}


async def begin_replay(
    store: EpochStore,
    log: LogReader,
    bundles: BundleReader,
    epoch: int | None,
    parameters: str,
    *,
    accept_lost_keys: bool = False,
    accept_loss: bool = False,
    order: FoldOrder | None = None,
    restamp: RestampedEvents | None = None,
    catalog: CatalogTagsReader | None = None,
) -> EpochMeta:
    """The epoch to replay into: a new one, or one whose replay was interrupted.

    Args:
        store: the epochs.
        log: the log.
        bundles: where bundles are.
        epoch: its number; None: that of an interrupted replay with the same log and parameters, or else the next one.
        parameters: a bundle's id, `newest`, or `same` for those of the current epoch; if there is none, of the last
            that workers have begun.
        accept_lost_keys: whether records whose keys are lost are counted as lost, from here on.
        accept_loss: whether the epoch may lack records that the current epoch has folded.
        order: the order in which each learner's records are folded; None: that of the replay that is taken up, or of
            the current epoch.
        restamp: which events take skills from the catalog of now; None: as the replay that is taken up, or as the
            current epoch, with its skills.
        catalog: reads the catalog; needed for `restamp`.

    Raises:
        EpochUnusableError: when the epoch exists and is not an interrupted replay with the same parameters, order and
            restamp, there is no epoch to take parameters from, or the log no longer holds all records.
        LogTruncatedError: when the log lost records since the replay was begun, or that the current epoch has folded.
        BundleUnreadableError: when the bundle cannot be read.
    """
    identity = await log.identity()
    parameters_id, bundle = await _parameters_named(store, bundles, epoch, parameters)
    epoch = epoch or await _interrupted_or_next(store, identity, parameters_id)
    existing = await store.get(epoch)
    if existing is not None:
        check_log(epoch, existing.log_identity, identity)
        _check_resumable(existing, parameters_id, order, restamp)
        return await _taken_up(store, log, existing, accept_lost_keys=accept_lost_keys)
    begins = lost_beginnings(await log.beginnings())
    current = await _current(store)
    if not accept_loss:
        await _check_log_is_whole(store, log, begins, current, identity)
    ends = dict(await log.end_offsets())
    stamped, skills = await new_restamp(store, catalog, restamp, current, identity, ends)
    order = order or (FoldOrder.LOG if current is None else current.order)
    meta = EpochMeta(epoch, EpochStatus.BUILDING, parameters_id, bundle, identity, ends, accept_lost_keys)
    meta = replace(meta, begin_positions=begins, order=order, restamp=stamped)
    await store.create(meta, skills)
    return meta


async def _taken_up(store: EpochStore, log: LogReader, existing: EpochMeta, *, accept_lost_keys: bool) -> EpochMeta:
    epoch, progress = existing.epoch, await store.progress(existing.epoch)
    await check_log_holds(log, epoch, existing.log_identity, progress, existing.end_positions)
    if accept_lost_keys and not existing.accepts_lost_keys:
        await store.accept_lost_keys(epoch)
        return replace(existing, accepts_lost_keys=True)
    return existing


async def _interrupted_or_next(store: EpochStore, identity: str, parameters_id: str) -> int:
    epochs = await store.epochs()
    interrupted = [
        meta.epoch
        for meta in epochs
        if meta.status is EpochStatus.BUILDING and meta.log_identity == identity and meta.parameters_id == parameters_id
    ]
    return max(interrupted) if interrupted else max((meta.epoch for meta in epochs), default=0) + 1


def _check_resumable(
    existing: EpochMeta, parameters_id: str, order: FoldOrder | None, restamp: RestampedEvents | None
) -> None:
    epoch = existing.epoch
    if existing.status is not EpochStatus.BUILDING:
        raise EpochUnusableError(
            f"epoch {epoch} is {existing.status} already: choose another number, or run cairn epoch drop {epoch}"
        )
    if existing.parameters_id != parameters_id:
        raise EpochUnusableError(
            f"epoch {epoch} was begun with the parameters {existing.parameters_id}, not {parameters_id}: take it "
            f"up with those, or run cairn epoch drop {epoch}"
        )
    if order is not None and existing.order is not order:
        raise EpochUnusableError(
            f"epoch {epoch} was begun with --order {existing.order}, not {order}: take it up with that, or run "
            f"cairn epoch drop {epoch}"
        )
    begun = RestampedEvents.NONE if existing.restamp is None else existing.restamp.events
    if restamp is not None and begun is not restamp:
        raise EpochUnusableError(
            f"epoch {epoch} was begun with {_RESTAMP_OPTIONS[begun]}, not {_RESTAMP_OPTIONS[restamp]}: take it up with "
            f"that, or run cairn epoch drop {epoch}"
        )


async def switch_epoch(store: EpochStore, epoch: int, *, accept_loss: bool = False) -> EpochMeta:
    """Hand an epoch that a replay has built to the workers; it becomes current when it has no lag.

    Args:
        store: the epochs.
        epoch: its number.
        accept_loss: whether it may account for fewer records than the current epoch.

    Raises:
        EpochMissingError: when there is no such epoch.
        EpochUnusableError: when its replay has not reached its end, the state store has lost part of it, or it lacks
            records that the current epoch has folded.
    """
    meta = await store.get(epoch)
    if meta is None:
        raise EpochMissingError(f"there is no epoch {epoch}; build it with: cairn replay --epoch {epoch}")
    if meta.status is EpochStatus.BUILDING:
        raise EpochUnusableError(f"the replay into epoch {epoch} has not reached its end; run cairn replay again")
    if not accept_loss:
        await _check_nothing_missing(store, meta)
    if meta.status is EpochStatus.BUILT:
        await store.set_status(epoch, EpochStatus.CATCHING_UP)
        return replace(meta, status=EpochStatus.CATCHING_UP)
    if meta.status is EpochStatus.LIVE and await store.current_epoch() != epoch:
        try:
            await store.make_current(epoch)
        except EpochBehindError as error:
            raise EpochUnusableError(str(error)) from error
    return meta


async def _current(store: EpochStore) -> EpochMeta | None:
    number = await store.current_epoch()
    return None if number is None else await store.get(number)


async def _parameters_named(
    store: EpochStore, bundles: BundleReader, epoch: int | None, parameters: str
) -> tuple[str, str]:
    if parameters == "newest":
        newest = bundles.latest_id()
        if newest is None:
            raise EpochUnusableError("there is no bundle yet: make one with cairn train")
        parameters = newest
    if parameters != "same":
        return bundles.load(parameters).parameters.parameters_id, parameters
    meta = await _current(store)
    if meta is None:
        # After the state store was lost, workers begin an epoch with the parameters that were served, and may be unable
        # to reach the end with it: the keys of some records are lost, for example.
        begun = [one for one in await store.epochs() if one.status in {EpochStatus.LIVE, EpochStatus.CATCHING_UP}]
        meta = max(begun, key=lambda one: one.epoch, default=None)
    if meta is None:
        latest = bundles.latest_id()
        number = epoch or "next"
        named = f": cairn replay --epoch {number} --parameters {latest}" if latest else " that cairn train makes"
        raise EpochUnusableError(
            "no epoch is served or begun, so there are no parameters to take: start a worker, which begins one with "
            f"the parameters that were served last; or name a bundle{named}"
        )
    return meta.parameters_id, meta.parameters_bundle


async def _check_log_is_whole(
    store: EpochStore, log: LogReader, begins: Mapping[int, int], current: EpochMeta | None, identity: str
) -> None:
    """Refuse a log from which the current epoch could not be folded again."""
    if current is not None:
        _check_same_partitions(current, identity)
    _check_beginning(begins, current, identity)
    if current is not None and current.log_identity == identity:
        await check_log_holds(log, current.epoch, identity, await store.progress(current.epoch), {})


def _check_same_partitions(current: EpochMeta, identity: str) -> None:
    """Refuse a topic that got more partitions: a record on the wrong one becomes a dead letter."""
    topic, _, partitions = identity.partition("/")
    topic_before, _, partitions_before = current.log_identity.partition("/")
    if topic == topic_before and partitions != partitions_before:
        raise EpochUnusableError(
            f"the topic had {partitions_before} partitions when epoch {current.epoch} was folded from it, and has "
            f"{partitions} now. {REPARTITION}; or accept that they are left out: --accept-loss"
        )


def _check_beginning(begins: Mapping[int, int], current: EpochMeta | None, identity: str) -> None:
    """Refuse a log that lost more of its beginning than when the current epoch was begun from it."""
    known = current.begin_positions if current is not None and current.log_identity == identity else {}
    missing = {
        partition: offset - known.get(partition, 0)
        for partition, offset in begins.items()
        if offset > known.get(partition, 0)
    }
    if missing:
        named = ", ".join(f"{records:,} of partition {partition}" for partition, records in sorted(missing.items()))
        raise EpochUnusableError(
            f"the log no longer holds its beginning: {sum(missing.values()):,} records are missing ({named}), because "
            "retention or an administrator deleted them. An epoch folded from the rest lacks them. Restore an epoch "
            "that has them (cairn epoch restore) and keep the log longer (retention.ms=-1); or accept the loss: "
            "--accept-loss"
        )


async def _check_nothing_missing(store: EpochStore, meta: EpochMeta) -> None:
    """Refuse an epoch that accounts for fewer records than the current one; within one log, of each partition."""
    current = await _current(store)
    if current is None or current.epoch == meta.epoch:
        return
    held, mine = await store.progress(current.epoch), await store.progress(meta.epoch)
    if current.log_identity == meta.log_identity:
        begins = {p: begin - current.begin_positions.get(p, 0) for p, begin in meta.begin_positions.items()}
        fewer = {
            partition: less
            for partition, one in sorted(mine.items())
            if partition in held and (less := _fewer(one, held[partition], begins.get(partition, 0))) > 0
        }
        lacks = ", ".join(f"{records:,} records of partition {partition}" for partition, records in fewer.items())
    else:
        less = sum(one.records for one in held.values()) - sum(one.records for one in mine.values())
        lacks = f"{less:,} records" if less > 0 else ""
    if lacks:
        raise EpochUnusableError(
            f"epoch {meta.epoch} lacks {lacks} that epoch {current.epoch}, which is served, has folded: the log "
            "did not hold them any more. Go on with the epoch that is served; or accept the loss: "
            f"cairn epoch switch {meta.epoch} --accept-loss"
        )


def _fewer(mine: PartitionProgress, held: PartitionProgress, begins_later: int) -> int:
    """How many records of a partition one epoch lacks, at least, that another one of the same log has.

    Compared are offsets that no count accounts for, so that an epoch that is only behind lacks nothing. An epoch that
    is ahead has met offsets without a record that the other one has not reached, such as transactions leave behind.
    That many prove nothing; where an epoch begins does, because from there on it has read every record.

    Args:
        mine: of the epoch that may lack some.
        held: of the other one.
        begins_later: by how many offsets the first one begins later.
    """
    unaccounted = (mine.position - mine.records) - (held.position - held.records)
    ahead = max(mine.position - held.position, 0)
    return max(unaccounted - ahead, min(unaccounted, begins_later))
