"""Wires what looks at the whole system."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import redis.asyncio

from services.recommender.adapters.grpc_health import GrpcHealthProbe
from services.recommender.adapters.kafka.log import KafkaLog
from services.recommender.adapters.redis.epochs import RedisEpochs
from services.recommender.application.operations.status import ReadStatus, SystemStatus
from services.recommender.bootstrap.stores import bundle_store
from services.recommender.settings import StatusSettings

_REDIS_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class FoundStatus:
    """The status of the system, and where its log and its derived state were looked for."""

    status: SystemStatus
    kafka: str
    redis: str


async def find_status(environment_file: Path | None) -> FoundStatus:
    """What `cairn status` shows.

    Args:
        environment_file: settings for what the environment does not name, one NAME=value a line.

    Raises:
        BundlesUrlInvalidError: when fsspec does not know the URL of the bundles.
        ValidationError: when a setting is invalid.
    """
    settings = StatusSettings(_env_file=environment_file)  # type: ignore[call-arg]  # pydantic-settings' own.
    client = redis.asyncio.Redis.from_url(
        settings.redis, socket_timeout=_REDIS_TIMEOUT_S, socket_connect_timeout=_REDIS_TIMEOUT_S
    )
    try:
        read_status = ReadStatus(
            KafkaLog(settings.connection), RedisEpochs(client), bundle_store(settings.bundles), GrpcHealthProbe()
        )
        status = await read_status(settings.targets)
    finally:
        await client.aclose()
    # A password in the URL is nobody's business.
    return FoundStatus(status, settings.kafka, settings.redis.rpartition("@")[2])
