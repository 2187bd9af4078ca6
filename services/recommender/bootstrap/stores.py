"""Wires the recommender's processes and commands."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path

import redis.asyncio

from services.common.encryption.learner_keys import LearnerKeys
from services.common.encryption.tenant_keys import tenant_keys_in
from services.recommender.adapters.files.bundle_store import FsspecBundleStore
from services.recommender.adapters.files.epoch_file import EpochFile
from services.recommender.adapters.kafka.log import KafkaLog
from services.recommender.adapters.kafka.training_log import KafkaTrainingLog
from services.recommender.adapters.redis.epochs import RedisEpochs
from services.recommender.application.state.epochs import EpochDigest
from services.recommender.application.state.snapshots import restore_epoch
from services.recommender.application.training.train import Trainer
from services.recommender.models import als, neighbours
from services.recommender.models.stored_ranker import ranker_from_arrays
from services.recommender.settings import BundleSettings, FoldSettings

# What decides the last bits of what is fitted.
_LIBRARIES = ("implicit", "lightgbm", "numba", "numpy", "scipy")
_TRAINING_SEED = 20_090_910


def bundle_store(url: str) -> FsspecBundleStore:
    """The store of bundles at a URL, with every kind of model this program knows.

    Raises:
        BundlesUrlInvalidError: when fsspec does not know the URL.
    """
    return FsspecBundleStore(
        url,
        {als.KIND: als.AlsModel.from_arrays, neighbours.KIND: neighbours.ItemItemModel.from_arrays},
        ranker_from_arrays,
    )


@asynccontextmanager
async def epoch_store(redis_url: str) -> AsyncIterator[RedisEpochs]:
    """The epochs in the Redis at a URL, as commands use them."""
    client = redis.asyncio.Redis.from_url(redis_url, protocol=2)
    try:
        yield RedisEpochs(client)
    finally:
        await client.aclose()


async def restore_snapshot(settings: FoldSettings, file: Path, epoch: int | None) -> tuple[int, EpochDigest]:
    """What `cairn epoch restore` runs.

    Args:
        settings: where the log, the states and the bundles are.
        file: the snapshot.
        epoch: the number to restore it under; None: its own.
    """
    source = EpochFile(file)
    async with epoch_store(settings.redis) as epochs:
        return await restore_epoch(epochs, KafkaLog(settings.connection), bundle_store(settings.bundles), source, epoch)


def trainer(*, bundles: str | None = None, factors: int | None = None, ranker: bool = False) -> Trainer:
    """What `cairn train` runs.

    Args:
        bundles: where bundles are kept, instead of the setting.
        factors: factors per resource, instead of the default; nothing to a model that was chosen.
        ranker: whether to learn a ranking too.

    Raises:
        BundlesUrlInvalidError: when fsspec does not know the URL.
    """
    # The libraries that fit take a second to load, which no server should wait for.
    from services.recommender.models.als_fit import AlsSettings  # noqa: PLC0415
    from services.recommender.models.collaborative_fit import choose_collaborative, fit_collaborative  # noqa: PLC0415
    from services.recommender.models.ranker_training import train_ranker  # noqa: PLC0415
    from services.recommender.models.tracing_fit import fit_tracing  # noqa: PLC0415

    settings = BundleSettings()
    als_settings = AlsSettings() if factors is None else AlsSettings(factors=factors)
    return Trainer(
        log=KafkaTrainingLog(settings.connection, LearnerKeys(settings.connection, tenant_keys_in(settings.tenants))),
        fit_tracing=partial(fit_tracing, seed=_TRAINING_SEED),
        fit_collaborative=partial(fit_collaborative, default=als_settings, seed=_TRAINING_SEED),
        choose_collaborative=partial(choose_collaborative, seed=_TRAINING_SEED),
        bundles=bundle_store(bundles or settings.bundles),
        clock=lambda: datetime.now(UTC),
        libraries={name: version(name) for name in _LIBRARIES},
        fit_ranker=partial(train_ranker, seed=_TRAINING_SEED) if ranker else None,
    )
