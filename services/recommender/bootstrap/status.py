"""Wires `cairn status`."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

from services.common.redis_pool import shown
from services.recommender.adapters.grpc_health import GrpcHealthProbe
from services.recommender.adapters.kafka.dead_letters import KafkaLetterFile
from services.recommender.adapters.kafka.log import KafkaLog
from services.recommender.application.operations.status import ReadStatus, SystemStatus
from services.recommender.bootstrap.environment import status_settings
from services.recommender.bootstrap.stores import bundle_store, state_store

_REDIS_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class FoundStatus:
    """The status of the system, and where its log and its derived state were looked for."""

    status: SystemStatus
    kafka: str
    redis: str


async def find_status(environment_file: Path) -> FoundStatus:
    """What `cairn status` shows.

    Args:
        environment_file: settings that the environment does not set, one NAME=value per line.

    Raises:
        BundlesUrlInvalidError: when fsspec does not know the URL of the bundles.
        StateUrlInvalidError: when CAIRN_REDIS is not the URL of a state store.
        SettingsError: when a setting is invalid.
    """
    settings = status_settings(environment_file)
    async with aclosing(state_store(settings.redis_url, _REDIS_TIMEOUT_S)) as store:
        read_status = ReadStatus(
            KafkaLog(settings.connection),
            store.epochs,
            KafkaLetterFile(settings.connection),
            bundle_store(settings.bundles),
            GrpcHealthProbe(),
        )
        status = await read_status(settings.targets)
    return FoundStatus(status, settings.kafka, shown(settings.redis_url).partition("://")[2])
