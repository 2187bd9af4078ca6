"""Wraps learners' data keys again, with another key of their tenant.

The data keys do not change, and neither does any value in the log. Processes may create keys meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime

from services.common.encryption.data_keys import TenantKeys
from services.common.encryption.learner_key_log import LearnerKeyLog
from services.common.encryption.learner_keys import LearnerKeys
from services.common.kafka.connection import BrokerUnavailableError, KafkaConnection
from services.common.kafka.envelope import LEARNER_KEYS, record_key

_SOURCE = "/cairn/keys"
_KEYS_AT_ONCE = 1_000
_READ_BACK_S = 10.0


async def rewrap_learner_keys(
    connection: KafkaConnection,
    tenant: str,
    tenant_keys: TenantKeys,
    clock: Callable[[], datetime],
    *,
    topic: str = LEARNER_KEYS,
) -> int:
    """Wrap every data key of a tenant's learners with the key that wraps new ones; return how many were wrapped again.

    On return, every key that was on the topic is wrapped with that key. After a failure, the call may be repeated.

    Args:
        connection: the cluster.
        tenant: the tenant's name.
        tenant_keys: the keys that unwrap data keys; the first wraps new ones.
        clock: for the records' `ce_time`; timezone-aware.
        topic: the topic of keys.

    Raises:
        TenantKeyMissingError: when none of the tenant's keys unwraps a data key.
        TopicMissingError: when the topic does not exist.
        BrokerUnavailableError: when the cluster cannot be reached, or stops answering.
    """
    keys = LearnerKeys(connection, tenant_keys, topic=topic)
    log = LearnerKeyLog(connection, clock, source=_SOURCE, topic=topic)
    following = asyncio.create_task(keys.run())
    rewrapping = asyncio.create_task(_rewrap(keys, log, tenant))
    try:
        await asyncio.wait((following, rewrapping), return_when=asyncio.FIRST_COMPLETED)
        if not rewrapping.done():
            # It never returns normally.
            await following
        return await rewrapping
    finally:
        for task in (following, rewrapping):
            task.cancel()
        await asyncio.gather(following, rewrapping, return_exceptions=True)
        await log.close()


async def _rewrap(keys: LearnerKeys, log: LearnerKeyLog, tenant: str) -> int:
    await keys.wait_ready()
    keyring, prefix, rewrapped = keys.keyring, record_key(tenant, ""), 0
    while True:
        before = rewrapped
        learners = keyring.learners(tenant)
        for start in range(0, len(learners), _KEYS_AT_ONCE):
            found = {one: keyring.rewrapped(one) for one in learners[start : start + _KEYS_AT_ONCE]}
            rewrapped += await _write(keys, log, {one: value for one, value in found.items() if value is not None})
        # A key that was destroyed while it was being written is destroyed again.
        written_again = {one: value for one, value in keyring.overwritten.items() if one.startswith(prefix)}
        if not await _write(keys, log, written_again) and rewrapped == before:
            return rewrapped


async def _write(keys: LearnerKeys, log: LearnerKeyLog, records: Mapping[bytes, bytes | None]) -> int:
    """Write records, wait until they are applied here, and return how many there were."""
    if records:
        last = await log.append(records)
        try:
            async with asyncio.timeout(_READ_BACK_S):
                await keys.wait_for(last)
        except TimeoutError as error:
            raise BrokerUnavailableError("the keys of learners were written, but could not be read back") from error
    return len(records)
