"""Wires the commands about one learner's data, for who operates the system."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from services.common.auth.tenants_file import load_tenants
from services.common.encryption.learner_keys import LearnerKeys
from services.common.encryption.tenant_keys import tenant_keys_in
from services.recommender.adapters.kafka.learner_records import KafkaLearnerRecords
from services.recommender.adapters.redis.connection import RedisConnection
from services.recommender.adapters.redis.states import RedisFoldStore
from services.recommender.application.operations.personal_data import PersonalData
from services.recommender.application.state.epochs import EpochUnusableError, parameters_of
from services.recommender.bootstrap.stores import bundle_store, epoch_store
from services.recommender.settings import FoldSettings


class TenantUnknownError(LookupError):
    """The tenants file has no such tenant."""


@asynccontextmanager
async def personal_data(settings: FoldSettings) -> AsyncIterator[PersonalData]:
    """What is held about learners in the epoch that is served.

    Raises:
        EpochUnusableError: when none is served, or its bundle was changed.
        BundleUnreadableError: when its bundle cannot be read.
    """
    async with epoch_store(settings.redis) as epochs:
        meta = await epochs.current()
    if meta is None:
        raise EpochUnusableError("no epoch is served yet: start a worker and let it reach the end of the log")
    parameters = await asyncio.to_thread(parameters_of, meta, bundle_store(settings.bundles))
    store = RedisFoldStore(RedisConnection(settings.redis), meta.epoch, cache_bytes=0)
    decryptor = LearnerKeys(settings.connection, tenant_keys_in(settings.tenants))
    try:
        yield PersonalData(store, parameters, KafkaLearnerRecords(settings.connection, decryptor))
    finally:
        await decryptor.close()
        await store.close()


def pseudonym_of(settings: FoldSettings, tenant: str, learner_id: str) -> str:
    """The pseudonym of a platform's learner.

    Raises:
        TenantsFileError: when the tenants file cannot be used.
        TenantUnknownError: when it has no such tenant.
    """
    tenants = load_tenants(settings.tenants)
    found = tenants.get(tenant)
    if found is None:
        raise TenantUnknownError(
            f"the tenants file {settings.tenants} has no tenant {tenant!r}; it has {', '.join(tenants.names) or 'none'}"
        )
    return found.pseudonym(learner_id)
