"""Wires the commands about one learner's data, for operators."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

from services.common.auth.tenants_file import load_tenants
from services.recommender.adapters.kafka.learner_records import KafkaLearnerRecords
from services.recommender.application.operations.personal_data import PersonalData
from services.recommender.application.state.epochs import EpochUnusableError, parameters_of
from services.recommender.bootstrap.environment import fold_settings
from services.recommender.bootstrap.keys import learner_keys
from services.recommender.bootstrap.stores import bundle_store, state_store


class TenantUnknownError(LookupError):
    """The tenants file has no such tenant."""


@asynccontextmanager
async def personal_data(environment_file: Path) -> AsyncIterator[PersonalData]:
    """The data stored about learners in the current epoch.

    Raises:
        SettingsError: when a setting is invalid.
        EpochUnusableError: when there is no current epoch, or its bundle was changed.
        BundleUnreadableError: when its bundle cannot be read.
    """
    settings = fold_settings(environment_file)
    async with aclosing(state_store(settings.redis_url)) as states:
        meta = await states.epochs.current()
        if meta is None:
            raise EpochUnusableError("no epoch is served yet: start a worker and let it reach the end of the log")
        parameters = await asyncio.to_thread(parameters_of, meta, bundle_store(settings.bundles))
        store = states.fold_store(meta.epoch)
        decryptor = learner_keys(settings.connection, settings.tenants)
        try:
            yield PersonalData(store, parameters, KafkaLearnerRecords(settings.connection, decryptor))
        finally:
            await decryptor.close()
            await store.close()


def pseudonym_of(environment_file: Path, tenant: str, learner_id: str) -> str:
    """The pseudonym of a platform's learner.

    Raises:
        SettingsError: when a setting is invalid.
        TenantsFileError: when the tenants file cannot be used.
        TenantUnknownError: when it has no such tenant.
    """
    file = fold_settings(environment_file).tenants
    tenants = load_tenants(file)
    found = tenants.get(tenant)
    if found is None:
        raise TenantUnknownError(
            f"the tenants file {file} has no tenant {tenant!r}; it has {', '.join(tenants.names) or 'none'}"
        )
    return found.pseudonym(learner_id)
