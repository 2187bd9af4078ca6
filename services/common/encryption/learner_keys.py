"""Learners' data keys as a process reads them from the topic `cairn.learner-keys`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Protocol

import structlog

from services.common.encryption.data_keys import TenantKeys
from services.common.encryption.erasure_evidence import KeyUse
from services.common.encryption.headers import key_id_or_none
from services.common.encryption.keyring import LearnerKeyring
from services.common.encryption.values import (
    KeyedRecord,
    KeyGone,
    KeysMissingError,
    KeyTopicSeen,
    MissingKeys,
    ValueUnreadableError,
)
from services.common.kafka.compacted import CompactedView, TopicChangedError
from services.common.kafka.connection import (
    BrokerUnavailableError,
    IdentityProbe,
    KafkaConnection,
    TopicMissingError,
    topic_end_offsets,
)
from services.common.kafka.envelope import LEARNER_KEYS, KeyInvalidError, LogIdentity, split_key

_log = structlog.get_logger(__name__)

# How long to wait for the view to catch up before requesting the end of the topic.
_FOLLOWS_S = 0.05
_RETRY_S = 0.5
# A key that was not found is looked for again after this time, not for every batch.
_LOOK_AGAIN_S = 1.0
_IDENTITY_CHECK_S = 5.0


class ErasureProofs(Protocol):
    """Finds proofs of erasures in the log."""

    async def destroyed(self, missing: Mapping[KeyUse, KeyedRecord], keyring: LearnerKeyring) -> Collection[str]:
        """Ids of the keys that were destroyed, out of keys that are not on their topic.

        Args:
            missing: a record for each key.
            keyring: the keys that are on the topic.

        Raises:
            BrokerUnavailableError: when the log cannot be read.
        """
        ...

    def missing(self, keyring: LearnerKeyring) -> MissingKeys | None:
        """The records without a key and without a proof, in the part of the log that was searched; None: none."""
        ...


class LearnerKeys:
    """The keys as a process uses them.

    A reader passes records to `load_keys`, then each of them to `decrypt`, and calls `close` at the end. The topic is
    followed from the first encrypted record on, so a log without encrypted values needs neither the topic nor a
    tenant's key. A process that creates keys follows the topic from its start with `run`.
    """

    def __init__(
        self,
        connection: KafkaConnection,
        tenant_keys: TenantKeys,
        proofs: ErasureProofs | None = None,
        *,
        topic: str = LEARNER_KEYS,
        identity_check_s: float = _IDENTITY_CHECK_S,
    ) -> None:
        """Prepare; nothing is read yet.

        Args:
            connection: the cluster.
            tenant_keys: the keys that unwrap a tenant's data keys.
            proofs: finds erasures in the log; None: only records of the topic prove one.
            topic: the topic of keys.
            identity_check_s: how often to check that the topic is still the same one.
        """
        self._connection = connection
        self._tenant_keys = tenant_keys
        self._identity_check_s = identity_check_s
        self._proofs = proofs
        self._topic = topic
        # When missing keys were last looked for, in monotonic seconds.
        self._looked_at_s = 0.0
        self._identity: LogIdentity | None = None
        # When the last check began that found the topic to be the same one, in monotonic seconds.
        self._confirmed_s = float("-inf")
        self._checked = asyncio.Condition()
        # A record for each key that was not found.
        self._missing: dict[KeyUse, KeyedRecord] = {}
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

    @property
    def seen(self) -> KeyTopicSeen | None:
        """The topic as it was read; None before it was read to the end that it had at the start."""
        if self._identity is None or not self.ready:
            return None
        return KeyTopicSeen(str(self._identity), self._view.next_offsets[self._topic], self.keyring.learner_count)

    async def look(self) -> KeyTopicSeen:
        """Read the topic to the end that it has when reading begins, and say how it looks; it is followed from then on.

        Raises:
            TopicMissingError: when the topic does not exist.
        """
        await self._follow(())
        while (seen := self.seen) is None:
            await self._follow(())
        return seen

    async def wait_confirmed(self, age_s: float) -> None:
        """Return once the topic was found to be the same one by a check that began at most `age_s` ago."""
        since_s = time.monotonic() - age_s
        async with self._checked:
            await self._checked.wait_for(lambda: self._confirmed_s >= since_s)

    async def run(self) -> None:
        """Follow the topic until cancelled.

        Raises:
            TopicMissingError: when the topic does not exist.
            TopicChangedError: when it was recreated, or lost records.
            BrokerUnavailableError: when the broker cannot be reached at the start.
        """
        probe = IdentityProbe(self._connection, self._topic)
        jobs = []
        try:
            began_s = time.monotonic()
            self._identity = await probe.identity()
            await self._confirm(began_s)
            jobs = [asyncio.create_task(self._view.run()), asyncio.create_task(self._check_identity(probe))]
            # Neither returns normally.
            done, _ = await asyncio.wait(jobs, return_when=asyncio.FIRST_COMPLETED)
            for job in done:
                job.result()
        finally:
            for job in jobs:
                job.cancel()
            await asyncio.gather(*jobs, return_exceptions=True)
            await probe.close()

    async def _check_identity(self, probe: IdentityProbe) -> None:
        """Check that the topic is still the same one; a consumer does not notice that it was recreated."""
        while True:
            await asyncio.sleep(self._identity_check_s)
            began_s = time.monotonic()
            try:
                identity = await probe.identity()
            except BrokerUnavailableError:
                # The view says so.
                continue
            except TopicMissingError as error:
                raise TopicChangedError(f"the topic {self._topic} was deleted") from error
            if identity != self._identity:
                raise TopicChangedError(
                    f"the topic {self._topic} was recreated: it was {self._identity}, it is {identity}"
                )
            await self._confirm(began_s)

    async def _confirm(self, began_s: float) -> None:
        async with self._checked:
            self._confirmed_s = began_s
            self._checked.notify_all()

    async def load_keys(self, records: Iterable[KeyedRecord]) -> None:
        """Load the key of each record, or find out that it was destroyed.

        A key is on its topic before the first value under it is on the log. So a key that is not on the topic, read to
        its current end, was destroyed or is lost. It counts as destroyed only when there is a proof: a null record on
        the topic, or an ErasureEvent in the log. `decrypt` returns LOST for the others. This waits while the broker is
        unavailable. A topic that does not exist holds no keys.
        """
        records = list(records)
        while unknown := self.unknown(records):
            if unknown.keys() <= self._missing.keys() and self._looked_recently:
                return
            try:
                await self._follow(unknown)
            except TopicMissingError as error:
                _log.warning("keys of learners cannot be loaded", reason=str(error))
            await self.settle(unknown)

    async def settle(self, unknown: Mapping[KeyUse, KeyedRecord]) -> None:
        """Find out which keys were destroyed, out of keys that are not on the topic; the others count as missing.

        Args:
            unknown: a record for each key; the topic was read to the end that it had after they were written.
        """
        missing = self._still_missing(unknown)
        if missing:
            for key_id in await self._destroyed(missing):
                self.keyring.mark_erased(key_id)
        self._missing = self._still_missing({**self._missing, **missing})
        self.keyring.lost = {key_id for _, key_id in self._missing}
        self._looked_at_s = time.monotonic()

    def is_lost(self, record: KeyedRecord) -> bool:
        """Whether the record's key was neither found nor destroyed when it was loaded: `decrypt` returns LOST."""
        return bool(self._missing and self.unknown([record]))

    def missing_keys(self) -> KeysMissingError:
        """The error that names the records whose keys are lost."""
        found = None if self._proofs is None else self._proofs.missing(self.keyring)
        if found is None:
            (record_key, key_id), record = next(iter(self._missing.items()))
            tenant = split_key(record_key)[0]
            found = MissingKeys(len(self._missing), tenant, record.partition, record.offset, key_id)
        return KeysMissingError(found, self._topic)

    async def close(self) -> None:
        """Stop following the topic."""
        if self._following is not None:
            self._following.cancel()
            await asyncio.gather(self._following, return_exceptions=True)
            self._following = None

    def decrypt(
        self, record_key: bytes | None, value: bytes | None, headers: Iterable[tuple[str, bytes]]
    ) -> bytes | KeyGone | None:
        """The value before encryption: unchanged when it was not encrypted, ERASED when its key was destroyed.

        LOST when its key is not on the topic, and nothing proves that it was destroyed.

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
        self._view = CompactedView(self._connection, (self._topic,), self._apply, may_shrink=False)
        self._identity = None
        self._missing = {}

    @property
    def _looked_recently(self) -> bool:
        return time.monotonic() - self._looked_at_s < _LOOK_AGAIN_S

    def unknown(self, records: Iterable[KeyedRecord]) -> dict[KeyUse, KeyedRecord]:
        """A record for each key that is not known so far."""
        unknown: dict[KeyUse, KeyedRecord] = {}
        for record in records:
            record_key, key_id = record.key, key_id_or_none(record.headers)
            if key_id is not None and record_key is not None and not self.keyring.knows(record_key, key_id):
                unknown.setdefault((record_key, key_id), record)
        return unknown

    def _still_missing(self, uses: Mapping[KeyUse, KeyedRecord]) -> dict[KeyUse, KeyedRecord]:
        return {use: record for use, record in uses.items() if not self.keyring.knows(*use)}

    async def _destroyed(self, missing: Mapping[KeyUse, KeyedRecord]) -> Collection[str]:
        """Ids of the missing keys that were destroyed, as the log or a null record of the topic proves."""
        if self._proofs is None:
            return [key_id for record_key, key_id in missing if self.keyring.has_null(record_key)]
        while True:
            try:
                return await self._proofs.destroyed(missing, self.keyring)
            except BrokerUnavailableError as error:
                _log.warning("the log cannot be searched for erasures", reason=str(error))
                await asyncio.sleep(_RETRY_S)

    async def _follow(self, unknown: Collection[KeyUse]) -> None:
        """Read until every key is known, or to the current end of the topic."""
        while True:
            following = self._started()
            reading = asyncio.create_task(self._read_on(unknown))
            try:
                await asyncio.wait((reading, following), return_when=asyncio.FIRST_COMPLETED)
                if not following.done():
                    return await reading
                # It never returns normally.
                await following
            except (BrokerUnavailableError, TopicChangedError) as error:
                _log.warning("keys of learners cannot be loaded", reason=str(error))
                await asyncio.sleep(_RETRY_S)
            finally:
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)

    def _started(self) -> asyncio.Task[None]:
        """The task that follows the topic; started again if it has failed."""
        if self._following is None or self._following.done():
            if self._following is not None:
                if not self._following.cancelled():
                    _log.warning("keys of learners are read again", reason=str(self._following.exception()))
                # It reads from the beginning again, into an empty keyring: in the present one, an old null record would
                # destroy the key that replaced the one it was written for.
                self._forget()
            self._following = asyncio.create_task(self.run())
        return self._following

    async def _read_on(self, unknown: Collection[KeyUse]) -> None:
        await self._view.wait_ready()
        if not unknown:
            return
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
