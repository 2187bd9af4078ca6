"""Learners' data keys as a process reads them from the topic `cairn.learner-keys`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

import structlog

from services.common.encryption.data_keys import TenantKeys
from services.common.encryption.headers import key_id_of
from services.common.encryption.keyring import LearnerKeyring
from services.common.encryption.values import Erasure, KeyedRecord, ValueUnreadableError
from services.common.kafka.compacted import CompactedView
from services.common.kafka.connection import BrokerUnavailableError, KafkaConnection, topic_end_offsets
from services.common.kafka.envelope import LEARNER_KEYS, KeyInvalidError

_log = structlog.get_logger(__name__)

# How long to wait for the view to catch up before requesting the end of the topic.
_FOLLOWS_S = 0.05
_RETRY_S = 0.5


class LearnerKeys:
    """The keys as a process uses them.

    A reader passes records to `load_keys`, then each of them to `decrypt`, and calls `close` at the end. The topic is
    followed from the first encrypted record on, so a log without encrypted values needs neither the topic nor a
    tenant's key. A process that creates keys follows the topic from its start with `run`.
    """

    def __init__(self, connection: KafkaConnection, tenant_keys: TenantKeys, *, topic: str = LEARNER_KEYS) -> None:
        """Args: the cluster, the keys that unwrap a tenant's data keys, and the topic."""
        self._connection = connection
        self._tenant_keys = tenant_keys
        self._topic = topic
        self._forget()
        self._following: asyncio.Task[None] | None = None

    @property
    def ready(self) -> bool:
        """Whether every record that was on the topic at the start has been applied."""
        return self._view.ready

    async def wait_ready(self) -> None:
        """Return once `ready`."""
        await self._view.wait_ready()

    async def wait_for(self, offset: int) -> None:
        """Return once the record at `offset` has been applied."""
        await self._view.wait_for(self._topic, offset)

    async def wait_until(self, condition: Callable[[], bool]) -> None:
        """Return once `condition` holds; it is checked now, and after every batch of records."""
        await self._view.wait_until(condition)

    async def run(self) -> None:
        """Follow the topic until cancelled.

        Raises:
            TopicMissingError: when the topic does not exist.
            BrokerUnavailableError: when the broker cannot be reached at the start.
        """
        await self._view.run()

    async def load_keys(self, records: Iterable[KeyedRecord]) -> None:
        """Load the key of each record, or find out that it was destroyed.

        A key is on its topic before the first value under it is on the log. So a key that is not on the topic, read to
        its current end, was destroyed. This waits while the broker is unavailable.

        Raises:
            TopicMissingError: when the topic does not exist.
        """
        unknown = self._unknown(records)
        if not unknown:
            return
        await self._follow(unknown)
        for record_key, key_id in unknown:
            if not self.keyring.knows(record_key, key_id):
                self.keyring.mark_erased(key_id)

    async def close(self) -> None:
        """Stop following the topic."""
        if self._following is not None:
            self._following.cancel()
            await asyncio.gather(self._following, return_exceptions=True)
            self._following = None

    def decrypt(
        self, record_key: bytes | None, value: bytes | None, headers: Iterable[tuple[str, bytes]]
    ) -> bytes | Erasure | None:
        """The value before encryption: unchanged when it was not encrypted, ERASED when its key was destroyed.

        Args:
            record_key: the record's key.
            value: its value.
            headers: its headers; the record must have been passed to `load_keys`.

        Raises:
            ValueUnreadableError: when the value cannot be decrypted with its key.
            TenantKeyMissingError: when this process lacks the tenant's encryption key.
        """
        return self.keyring.decrypt(record_key, value, headers)

    def _forget(self) -> None:
        self.keyring = LearnerKeyring(self._tenant_keys)
        self._view = CompactedView(self._connection, (self._topic,), self._apply)

    def _unknown(self, records: Iterable[KeyedRecord]) -> set[tuple[bytes, str]]:
        unknown = set()
        for record in records:
            record_key, key_id = record.key, _key_id_or_none(record.headers)
            if key_id is not None and record_key is not None and not self.keyring.knows(record_key, key_id):
                unknown.add((record_key, key_id))
        return unknown

    async def _follow(self, unknown: Collection[tuple[bytes, str]]) -> None:
        """Read until every key is known, or to the current end of the topic."""
        while True:
            if self._following is None:
                self._following = asyncio.create_task(self.run())
            reading = asyncio.create_task(self._read_on(unknown))
            try:
                await asyncio.wait((reading, self._following), return_when=asyncio.FIRST_COMPLETED)
                if reading.done():
                    return await reading
                # It never returns normally.
                await self._following
            except BrokerUnavailableError as error:
                _log.warning("keys of learners cannot be loaded", reason=str(error))
                await asyncio.sleep(_RETRY_S)
            finally:
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)
                if self._following.done():
                    self._following = None
                    # The next view reads from the beginning again, into an empty keyring: in the present one, an old
                    # null record would destroy the key that replaced the one it was written for.
                    self._forget()

    async def _read_on(self, unknown: Collection[tuple[bytes, str]]) -> None:
        await self._view.wait_ready()
        try:
            # A new learner's key usually arrives within milliseconds.
            async with asyncio.timeout(_FOLLOWS_S):
                await self._view.wait_until(lambda: all(self.keyring.knows(*each) for each in unknown))
        except TimeoutError:
            end = (await topic_end_offsets(self._connection, self._topic))[0]
            await self._view.wait_until(lambda: self._view.next_offsets[self._topic] >= end)

    def _apply(self, topic: str, records: Sequence[Any]) -> None:
        for record in records:
            try:
                self.keyring.apply(record.key, record.value)
            except (KeyInvalidError, ValueUnreadableError) as error:
                # Only ingest writes here; a foreign record must not keep a process from starting.
                _log.error("record of a learner's key ignored", topic=topic, offset=record.offset, reason=str(error))


def _key_id_or_none(headers: Iterable[tuple[str, bytes]]) -> str | None:
    """`key_id_of`, with None also for invalid headers: `decrypt` reports those."""
    try:
        return key_id_of(headers)
    except ValueUnreadableError:
        return None
