"""Wires the commands about epochs, except `cairn replay`, which folds."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

from services.recommender.adapters.files.epoch_file import EpochFile
from services.recommender.adapters.kafka.log import KafkaLog
from services.recommender.application.ports.state_store import StoredEpochs
from services.recommender.application.state.epochs import EpochDigest
from services.recommender.application.state.snapshots import restore_epoch
from services.recommender.bootstrap.environment import fold_settings
from services.recommender.bootstrap.stores import bundle_store, state_store


@asynccontextmanager
async def stored_epochs(url: str) -> AsyncIterator[StoredEpochs]:
    """The epochs in the state store at a URL.

    Raises:
        StateUrlInvalidError: when CAIRN_REDIS is not the URL of a state store.
    """
    async with aclosing(state_store(url)) as store:
        yield store.epochs


async def restore_snapshot(environment_file: Path, file: Path, epoch: int | None) -> tuple[int, EpochDigest]:
    """Runs `cairn epoch restore`.

    Args:
        environment_file: settings that the environment does not set.
        file: the snapshot.
        epoch: the number to restore it as; None: its own.
    """
    settings = fold_settings(environment_file)
    source = EpochFile(file)
    async with stored_epochs(settings.redis_url) as epochs:
        return await restore_epoch(epochs, KafkaLog(settings.connection), bundle_store(settings.bundles), source, epoch)
