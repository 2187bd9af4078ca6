"""Learners' data keys, created and destroyed on the compacted topic `cairn.learner-keys`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime

import structlog

from services.common.auth.tenant import Tenant
from services.common.encryption.data_keys import DataKey, new_data_key
from services.common.encryption.erasure_proofs import KafkaErasureProofs
from services.common.encryption.learner_key_log import LearnerKeyLog
from services.common.encryption.learner_keys import LearnerKeys
from services.common.encryption.values import TenantKeyMissingError
from services.common.kafka.connection import BrokerUnavailableError, KafkaConnection
from services.common.kafka.envelope import LEARNER_EVENTS, LEARNER_KEYS, record_key, split_key
from services.ingest.adapters.kafka.log_tail import last_records
from services.ingest.application.ports import LogUnavailableError
from services.ingest.domain.kinds.erasure import Erasure
from services.ingest.domain.submission import AcceptedEvent

_log = structlog.get_logger(__name__)

_SOURCE = "/cairn/ingest"
_TIMEOUT_S = 10.0
# Only a learner who is erased while their first event arrives needs a second attempt.
_ATTEMPTS = 3
# How long other processes may take to see that a key is destroyed. Their views follow within milliseconds; a process
# that was stalled for longer notices after its append, and does not acknowledge it.
_OTHERS_FOLLOW_S = 1.0
# Events are acknowledged only if the topic of keys was found to be the same one at most this long ago.
_CONFIRMED_WITHIN_S = 1.0
_IDENTITY_CHECK_S = 0.5
# The last records of each partition of the log whose keys must be on the topic when ingest starts.
_LAST_RECORDS = 500

FindTenant = Callable[[str], Tenant | None]


class KafkaLearnerKeys:
    """The keys that a writer of the log encrypts with. `run` reads the topic; nothing works before `ready`."""

    def __init__(
        self,
        connection: KafkaConnection,
        find_tenant: FindTenant,
        clock: Callable[[], datetime],
        *,
        topic: str = LEARNER_KEYS,
        log_topic: str = LEARNER_EVENTS,
        accept_lost_keys: bool = False,
        others_follow_s: float = _OTHERS_FOLLOW_S,
    ) -> None:
        """Prepare.

        Args:
            connection: the cluster.
            find_tenant: finds a tenant by name.
            clock: of the records' `ce_time`; aware.
            topic: the topic of keys.
            log_topic: the log, whose last records show whether the topic of keys is complete.
            accept_lost_keys: whether to start although keys of the log's last records are lost.
            others_follow_s: how long other processes may take to see that a key is destroyed.
        """
        self._find_tenant = find_tenant
        self._others_follow_s = others_follow_s
        self._connection = connection
        self._log_topic = log_topic
        self._accept_lost_keys = accept_lost_keys
        self._complete = asyncio.Event()
        self._keys = LearnerKeys(
            connection,
            self._tenant_keys,
            KafkaErasureProofs(connection, topic=log_topic),
            topic=topic,
            identity_check_s=_IDENTITY_CHECK_S,
        )
        self._log = LearnerKeyLog(connection, clock, source=_SOURCE, topic=topic)
        self._appending = asyncio.Lock()

    @property
    def ready(self) -> bool:
        """Whether every key that was on the topic at the start is known, and the log's last records can be read."""
        return self._complete.is_set()

    async def wait_ready(self) -> None:
        """Return once `ready`."""
        await self._complete.wait()

    async def run(self) -> None:
        """Read the topic until cancelled; write keys again that compaction would otherwise lose.

        Raises:
            TopicMissingError: when the topic does not exist.
            TopicChangedError: when it was recreated, or lost records.
            KeysMissingError: when it does not hold the keys of the log's last records, and that was not accepted.
            BrokerUnavailableError: when the broker cannot be reached at the start.
        """
        jobs = [
            asyncio.create_task(job) for job in (self._keys.run(), self._check_complete(), self._rewrite_overwritten())
        ]
        try:
            pending: set[asyncio.Task[None]] = set(jobs)
            while pending:
                # Following the topic never returns normally, checking the log's last records does.
                done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                for job in done:
                    job.result()
        finally:
            self._complete.clear()
            for job in jobs:
                job.cancel()
            await asyncio.gather(*jobs, return_exceptions=True)
            await self._log.close()

    async def _check_complete(self) -> None:
        """Check that the topic holds the keys of the log's last records; an emptied topic looks like a new one."""
        await self._keys.wait_ready()
        records = await last_records(self._connection, self._log_topic, per_partition=_LAST_RECORDS)
        await self._keys.settle(self._keys.unknown(records))
        if any(self._keys.is_lost(record) for record in records):
            error = self._keys.missing_keys()
            if not self._accept_lost_keys:
                raise error
            _log.warning("keys of learners are lost, which was accepted", reason=str(error))
        self._complete.set()

    async def keys_of(self, events: Sequence[AcceptedEvent], record_keys: Sequence[bytes]) -> Sequence[DataKey | None]:
        """The key to encrypt each event's value with, by the key of its record; None: the value is not encrypted.

        A returned key is durably on the topic, and is the active one.

        Raises:
            LogUnavailableError: when a key could not be created, or cannot be unwrapped with the tenant's own.
        """
        encrypting = {tenant: self._encrypts(tenant) for tenant in {event.tenant for event in events}}
        if not any(encrypting.values()):
            return [None] * len(events)
        self._require_ready()
        keyring = self._keys.keyring
        wanted = dict.fromkeys(
            key
            for event, key in zip(events, record_keys, strict=True)
            if encrypting[event.tenant] and not isinstance(event.body, Erasure)
        )
        for _ in range(_ATTEMPTS):
            missing = [key for key in wanted if keyring.key_id(key) is None]
            if not missing:
                found = self._ready_to_use(wanted)
                return [found.get(key) for key in record_keys]
            await self._create(missing)
        raise LogUnavailableError("learners of these events are being erased; send them again")

    async def confirm(self) -> None:
        """Return once the topic of keys was found to be the one that was read.

        Raises:
            LogUnavailableError: when it was recreated or lost records, or this cannot be found out now.
        """
        if self.ready:
            try:
                async with asyncio.timeout(_TIMEOUT_S / 2):
                    await self._keys.wait_confirmed(_CONFIRMED_WITHIN_S)
            except TimeoutError as error:
                raise LogUnavailableError(
                    "the topic of learners' keys does not answer; send the events again"
                ) from error
        if not self.ready:
            raise LogUnavailableError(
                "the topic of learners' keys changed, or this process is stopping; the log of this process says which"
            )

    def are_active(self, record_keys: Iterable[bytes], keys: Iterable[DataKey | None]) -> bool:
        """Whether all keys that values were encrypted with, by the keys of their records, are still active."""
        key_id = self._keys.keyring.key_id
        return all(key is None or key_id(learner) == key.key_id for learner, key in zip(record_keys, keys, strict=True))

    async def destroy(self, tenant: str, learner: str) -> bool:
        """See LearnerErasure."""
        if not self._tenant_keys(tenant):
            return False
        self._require_ready()
        async with self._appending:
            await self._append({record_key(tenant, learner): None})
        await asyncio.sleep(self._others_follow_s)
        return True

    def _ready_to_use(self, record_keys: Iterable[bytes]) -> dict[bytes, DataKey | None]:
        keyring = self._keys.keyring
        try:
            return {key: keyring.data_key(key) for key in record_keys}
        except TenantKeyMissingError as error:
            _log.error("learners' values cannot be encrypted", reason=str(error))
            raise LogUnavailableError(
                "the learners' keys cannot be unwrapped: ask the operator of this service, whose log has the reason"
            ) from error

    def _require_ready(self) -> None:
        """Refuse to create or destroy keys on a topic that may lack others: restoring them would come too late."""
        if not self.ready:
            raise LogUnavailableError("the topic of learners' keys has not been read and checked yet")

    def _encrypts(self, name: str) -> bool:
        tenant = self._find_tenant(name)
        return tenant is not None and tenant.encrypt and tenant.encryption_key is not None

    def _tenant_keys(self, name: str) -> Sequence[bytes]:
        tenant = self._find_tenant(name)
        return () if tenant is None else tenant.encryption_keys

    async def _create(self, missing: Sequence[bytes]) -> None:
        """Write a key for each learner that has none; afterwards the active one is known."""
        async with self._appending:
            # While this batch waited, another may have created some, and a tenant's key may have been replaced.
            key_id = self._keys.keyring.key_id
            wrapping = {tenant: self._tenant_keys(tenant) for tenant in {split_key(key)[0] for key in missing}}
            if not all(wrapping.values()):
                raise LogUnavailableError("encryption was switched off for a tenant of these events; send them again")
            await self._append(
                {key: new_data_key(wrapping[split_key(key)[0]][0], key) for key in missing if key_id(key) is None}
            )

    async def _append(self, records: Mapping[bytes, bytes | None]) -> None:
        """Write records and return once they are in this process's view; one caller at a time."""
        if not records:
            return
        try:
            last = await self._log.append(records)
        except BrokerUnavailableError as error:
            raise LogUnavailableError(str(error)) from error
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                await self._keys.wait_for(last)
        except TimeoutError as error:
            raise LogUnavailableError("the keys of learners were written, but could not be read back") from error

    async def _rewrite_overwritten(self) -> None:
        """Write an active key again when another one follows it: compaction would keep only the last."""
        # Before the end of the topic, a later record may already have done so.
        await self.wait_ready()
        while True:
            await self._keys.wait_until(lambda: bool(self._keys.keyring.overwritten))
            try:
                async with self._appending:
                    # Read only once the lock is held: its previous holder may have destroyed one of them.
                    overwritten = dict(self._keys.keyring.overwritten)
                    await self._append(overwritten)
            except LogUnavailableError as error:
                _log.warning("keys not written again yet", keys=len(overwritten), reason=str(error))
                await asyncio.sleep(_TIMEOUT_S)
            else:
                _log.info("valid keys written again", keys=len(overwritten))
