"""Wires `cairn catalog unresolved`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from services.recommender.adapters.kafka.catalog_tags import KafkaCatalogTags
from services.recommender.adapters.kafka.event_rows import KafkaEventRows
from services.recommender.adapters.kafka.log import KafkaLog
from services.recommender.application.operations.unresolved import Unresolved, unresolved_items
from services.recommender.application.state.restamps import restamp_of
from services.recommender.bootstrap.environment import fold_settings
from services.recommender.bootstrap.epochs import stored_epochs
from services.recommender.bootstrap.keys import learner_keys


async def unresolved_of(environment_file: Path, tenant: str, progress: Callable[[int, int | None], None]) -> Unresolved:
    """A tenant's items and activities whose responses are evidence of no skill in what is served.

    Raises:
        SettingsError: when a setting is invalid.
        EpochUnusableError: when the store has lost the skills with which the current epoch stamps events again.
        StateUnavailableError: when Redis cannot be read.
        BrokerUnavailableError: when the log or the catalog cannot be read.
        TopicMissingError: when a topic does not exist.
        KeysMissingError: when keys of learners are lost.
        TenantKeyMissingError: when values are encrypted and the tenant's key is unknown.
    """
    settings = fold_settings(environment_file)
    identity = await KafkaLog(settings.connection).identity()
    async with stored_epochs(settings.redis_url) as epochs:
        number = await epochs.current_epoch()
        current = None if number is None else await epochs.get(number)
        # Offsets of another log say nothing about this one.
        ours = current if current is not None and current.log_identity == identity else None
        served = None if ours is None else await restamp_of(epochs, ours)
    tags = await KafkaCatalogTags(settings.connection).read()
    log = KafkaEventRows(settings.connection, learner_keys(settings.connection, settings.tenants))
    return await unresolved_items(log, tenant, served, tags.assessed, progress)
