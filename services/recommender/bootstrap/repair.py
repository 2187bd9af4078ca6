"""Wires `cairn learner repair`."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path

from services.common.kafka.envelope import LogIdentity
from services.common.kafka.partitioner import partition_of
from services.recommender.adapters.kafka.dead_letters import KafkaDeadLetters
from services.recommender.adapters.kafka.learner_log import KafkaLearnerLog
from services.recommender.adapters.kafka.log import KafkaLog
from services.recommender.adapters.kafka.read_ahead import KafkaReadAhead
from services.recommender.application.ports.epochs import EpochMeta, FoldOrder, epoch_missing
from services.recommender.application.ports.state_store import StateStore
from services.recommender.application.state.epochs import EpochUnusableError, check_log, parameters_of
from services.recommender.application.state.log_marks import check_log_holds
from services.recommender.application.state.repair import RepairLearners, RepairReport, quarantine_learner
from services.recommender.application.state.restamps import restamp_of
from services.recommender.bootstrap.environment import fold_settings
from services.recommender.bootstrap.keys import learner_keys
from services.recommender.bootstrap.stores import bundle_store, state_store
from services.recommender.domain.learner.fold import LearnerFold
from services.recommender.entrypoints.record_decoding import RecordDecoder
from services.recommender.settings import FoldSettings


async def repair_learners(
    environment_file: Path, key: bytes | None, *, epoch: int | None = None, accept_loss: bool = False
) -> list[RepairReport]:
    """Rebuild a learner, or every quarantined learner, of an epoch.

    Args:
        environment_file: settings that the environment does not set.
        key: the learner's record key; None: every learner in quarantine.
        epoch: the epoch; None: the current one.
        accept_loss: rebuild them even if the log no longer holds its beginning.

    Raises:
        SettingsError: when a setting is invalid.
        EpochMissingError: when there is no such epoch.
        EpochUnusableError: when there is no current epoch, or it was folded from another log.
        LogTruncatedError: when the log lost records that were folded.
        BundleUnreadableError: when the epoch's parameters cannot be read.
        RepairFailedError: when a learner cannot be rebuilt.
    """
    settings = fold_settings(environment_file)
    async with aclosing(state_store(settings.redis_url)) as states:
        meta = await _epoch(states, epoch)
        log = KafkaLog(settings.connection)
        check_log(meta.epoch, meta.log_identity, await log.identity())
        progress = await states.epochs.progress(meta.epoch)
        await check_log_holds(log, meta.epoch, meta.log_identity, progress, meta.end_positions)
        if key is not None:
            return await _repair(settings, states, meta, [key], accept_loss=accept_loss)
        keys = sorted((await states.epochs.quarantine(meta.epoch)).learners)
        return await _repair(settings, states, meta, keys, accept_loss=accept_loss)


async def _epoch(states: StateStore, epoch: int | None) -> EpochMeta:
    meta = await (states.epochs.current() if epoch is None else states.epochs.get(epoch))
    if meta is None and epoch is not None:
        raise epoch_missing(epoch)
    if meta is None:
        raise EpochUnusableError("no epoch is served yet: start a worker and let it reach the end of the log")
    return meta


async def _repair(
    settings: FoldSettings, states: StateStore, meta: EpochMeta, keys: Sequence[bytes], *, accept_loss: bool
) -> list[RepairReport]:
    parameters = await asyncio.to_thread(parameters_of, meta, bundle_store(settings.bundles))
    partitions = LogIdentity.parse(meta.log_identity).partitions
    decryptor = learner_keys(settings.connection, settings.tenants)
    lost_before = meta.end_positions if meta.accepts_lost_keys else {}
    dead_letters = KafkaDeadLetters(settings.connection)
    store = states.fold_store(meta.epoch, fold_id=meta.fold_id)
    decoder = RecordDecoder(
        partitions, decryptor, lost_before=lost_before, restamp=await restamp_of(states.epochs, meta)
    )
    log = KafkaLearnerLog(settings.connection, decoder.decode)
    read_ahead = KafkaReadAhead(settings.connection, decryptor, partitions, accept_lost_keys=meta.accepts_lost_keys)
    by_partition: dict[int, list[bytes]] = defaultdict(list)
    for key in keys:
        by_partition[partition_of(key, partitions)].append(key)
    reports = []
    try:
        for partition, some in sorted(by_partition.items()):
            for key in some:
                await quarantine_learner(store, partition, key)
            begin, _ = await log.span(partition)
            known = await read_ahead.read({partition: (begin, max(begin, meta.end_positions.get(partition, 0)))})
            repair = RepairLearners(store, log, dead_letters, LearnerFold(parameters), known)
            by_time_before = meta.end_positions.get(partition, 0) if meta.order is FoldOrder.OCCURRED else 0
            reports += await repair(partition, some, by_time_before=by_time_before, accept_loss=accept_loss)
    finally:
        for resource in (store, dead_letters, decryptor):
            await resource.close()
    return reports
