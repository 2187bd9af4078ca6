"""Learners' data keys, made and destroyed on the compacted topic `cairn.learner-keys`."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import structlog
from kafka import KafkaProducer
from kafka.errors import KafkaError

from services.common.envelope import LEARNER_KEYS, cloud_event_headers, record_key
from services.common.kafka import KafkaConnection
from services.common.learner_keys import DataKey, LearnerKeys, TenantKeyMissingError, new_data_key
from services.common.tenants import Tenant
from services.ingest.application.ports import LogUnavailableError
from services.ingest.domain.correction import Erasure
from services.ingest.domain.submission import AcceptedEvent

_log = structlog.get_logger(__name__)

_SOURCE = "/cairn/ingest"
_EVENT_TYPE = "cairn.v1.LearnerDataKey"
_LINGER_MS = 2
_TIMEOUT_MS = 10_000
_CLOSE_TIMEOUT_S = 2.0
# Only a learner who is erased while their first event comes needs a second attempt.
_ATTEMPTS = 3
# How long other processes may take to see that a key is gone. Their views follow within milliseconds; a process that
# was stalled for longer notices after its append, and does not acknowledge it.
_OTHERS_FOLLOW_S = 1.0

FindTenant = Callable[[str], Tenant | None]


class KafkaLearnerKeys:
    """The keys that a writer of the log encrypts with. `run` follows the topic; nothing works before `ready`."""

    def __init__(
        self,
        connection: KafkaConnection,
        find_tenant: FindTenant,
        clock: Callable[[], datetime],
        *,
        topic: str = LEARNER_KEYS,
        others_follow_s: float = _OTHERS_FOLLOW_S,
    ) -> None:
        """Prepare.

        Args:
            connection: the cluster.
            find_tenant: finds a tenant by name.
            clock: of the records' `ce_time`; aware.
            topic: the topic of keys.
            others_follow_s: how long other processes get to see that a key is gone.
        """
        self._clock = clock
        self._connection = connection
        self._find_tenant = find_tenant
        self._topic = topic
        self._others_follow_s = others_follow_s
        self._keys = LearnerKeys(connection, self._tenant_key, topic=topic)
        self._producer: KafkaProducer | None = None
        self._appending = asyncio.Lock()

    @property
    def ready(self) -> bool:
        """Whether every key that stood on the topic at the start is known."""
        return self._keys.ready

    async def wait_ready(self) -> None:
        """Return once `ready`."""
        await self._keys.wait_ready()

    async def run(self) -> None:
        """Follow the topic until cancelled; write keys again that compaction would else lose.

        Raises:
            TopicMissingError: when the topic does not exist.
            BrokerUnavailableError: when the broker cannot be reached at the start.
        """
        mending = asyncio.create_task(self._mend())
        try:
            await self._keys.run()
        finally:
            mending.cancel()
            await asyncio.gather(mending, return_exceptions=True)
            await asyncio.to_thread(self._drop_producer)

    async def keys_of(self, events: Sequence[AcceptedEvent], record_keys: Sequence[bytes]) -> Sequence[DataKey | None]:
        """The key to encrypt each event's value with, by the key of its record; None: it goes on the log as it is.

        A key that is returned is durably on the topic, and is the one that counts.

        Raises:
            LogUnavailableError: when a key could not be made, or does not open with the tenant's own.
        """
        encrypting = {tenant: self._encrypts(tenant) for tenant in {event.tenant for event in events}}
        if not any(encrypting.values()):
            return [None] * len(events)
        keyring = self._keys.keyring
        wanted = {
            key: own
            for event, key in zip(events, record_keys, strict=True)
            if (own := encrypting[event.tenant]) is not None and not isinstance(event.body, Erasure)
        }
        for _ in range(_ATTEMPTS):
            missing = {key: own for key, own in wanted.items() if keyring.key_id(key) is None}
            if not missing:
                found = self._ready_to_use(wanted)
                return [found.get(key) for key in record_keys]
            await self._make(missing)
        raise LogUnavailableError("learners of these events are being erased; send them again")

    def count(self, record_keys: Iterable[bytes], keys: Iterable[DataKey | None]) -> bool:
        """Whether the keys that values were encrypted with, by the keys of their records, all still count."""
        key_id = self._keys.keyring.key_id
        return all(key is None or key_id(learner) == key.key_id for learner, key in zip(record_keys, keys, strict=True))

    async def destroy(self, tenant: str, learner: str) -> bool:
        """As the port says."""
        if self._tenant_key(tenant) is None:
            return False
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
                "the learners' keys cannot be opened: the operator of this service knows"
            ) from error

    def _encrypts(self, name: str) -> bytes | None:
        tenant = self._find_tenant(name)
        return tenant.encryption_key if tenant is not None and tenant.encrypt else None

    def _tenant_key(self, name: str) -> bytes | None:
        tenant = self._find_tenant(name)
        return None if tenant is None else tenant.encryption_key

    async def _make(self, missing: Mapping[bytes, bytes]) -> None:
        """Write a key for each learner that has none; afterwards it is known which one counts."""
        async with self._appending:
            # Another batch may have made some while this one waited.
            key_id = self._keys.keyring.key_id
            await self._append({key: new_data_key(own, key) for key, own in missing.items() if key_id(key) is None})

    async def _append(self, records: Mapping[bytes, bytes | None]) -> None:
        """Write records and return once they count here; for one caller at a time."""
        if not records:
            return
        try:
            last = await asyncio.to_thread(self._send, records)
        except KafkaError as error:
            await asyncio.to_thread(self._drop_producer)
            raise LogUnavailableError(f"the keys of learners could not be written: {error!r}") from error
        try:
            async with asyncio.timeout(_TIMEOUT_MS / 1000):
                await self._keys.wait_for(last)
        except TimeoutError as error:
            raise LogUnavailableError("the keys of learners were written, but could not be read back") from error

    async def _mend(self) -> None:
        """Write keys that count again where one that does not stands behind them: compaction keeps the last."""
        # Before the end of what stood there, the next record may mend it already.
        await self._keys.wait_ready()
        while True:
            await self._keys.wait_until(lambda: bool(self._keys.keyring.overwritten))
            try:
                async with self._appending:
                    # Not before it is this one's turn: whoever had it may have destroyed one of them.
                    overwritten = dict(self._keys.keyring.overwritten)
                    await self._append(overwritten)
            except LogUnavailableError as error:
                _log.warning("keys not written again yet", keys=len(overwritten), reason=str(error))
                await asyncio.sleep(_TIMEOUT_MS / 1000)
            else:
                _log.info("keys that count written again", keys=len(overwritten))

    def _send(self, records: Mapping[bytes, bytes | None]) -> int:
        if self._producer is None:
            self._producer = KafkaProducer(
                bootstrap_servers=self._connection.bootstrap_servers.split(","),
                client_id="cairn-ingest-keys",
                acks="all",
                enable_idempotence=True,
                allow_auto_create_topics=False,
                linger_ms=_LINGER_MS,
                bootstrap_timeout_ms=_TIMEOUT_MS // 2,
                max_block_ms=_TIMEOUT_MS // 2,
                request_timeout_ms=_TIMEOUT_MS // 2,
                delivery_timeout_ms=_TIMEOUT_MS,
                metrics_enabled=False,
            )
        headers = cloud_event_headers(
            event_id=str(uuid.uuid4()), source=_SOURCE, event_type=_EVENT_TYPE, time=self._clock()
        )
        sent: list[Any] = [
            self._producer.send(self._topic, key=key, value=value, headers=headers, partition=0)
            for key, value in records.items()
        ]
        self._producer.flush(_TIMEOUT_MS / 1000)
        # Not waiting any longer: what is not confirmed by now raises.
        return max(int(future.get(timeout=0).offset) for future in sent)

    def _drop_producer(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.close(timeout=_CLOSE_TIMEOUT_S)
