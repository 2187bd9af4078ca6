"""Learners' values in the log, encrypted with a key of each learner; destroying the key erases them.

AES-256-GCM: a value is 12 random bytes of nonce, then the ciphertext with its tag; the associated data is the record's
key, so that a value moved to another learner does not open. The record headers `cairn_enc` and `cairn_key_id` say how
and with which key.

The keys stand in the compacted topic `cairn.learner-keys` as `LearnerDataKey`, each wrapped with its tenant's own key.
Of a learner's keys that were made at once, by processes that did not know of each other, **the first on the topic
counts**. Compaction keeps the last, so whoever makes keys writes the one that counts again behind one that does not
(`LearnerKeyring.overwritten`), and says in it that it counts: compaction may have taken the first one away already. A
null value destroys a learner's key for good, even if a process that had not seen it writes the key again; the next
other key counts.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Final, Protocol

import structlog
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from google.protobuf.message import DecodeError

from cairn.v1 import events_pb2
from services.common.auth.tenants import TenantRegistry, TenantsFileError, load_tenants
from services.common.kafka.compacted import CompactedView
from services.common.kafka.connection import BrokerUnavailableError, KafkaConnection, topic_end_offsets
from services.common.kafka.envelope import LEARNER_KEYS, Headers, KeyInvalidError, split_key

_log = structlog.get_logger(__name__)

ENCRYPTION_HEADER = "cairn_enc"
KEY_ID_HEADER = "cairn_key_id"
ALGORITHM = b"A256GCM"

_NONCE_BYTES = 12
_KEY_BITS = 256
_KEY_ID_BYTES = 12
# Ciphers kept ready; each takes about a kilobyte.
_CIPHERS_MAX = 100_000
# How long a view is given to follow by itself before the end of the topic is asked for.
_FOLLOWS_S = 0.05
_RETRY_S = 0.5

TenantKeys = Callable[[str], Sequence[bytes]]
"""What a tenant's data keys may be wrapped with, first what new ones are; empty: it has none, or is not known."""


class Erasure(Enum):
    """What is left of a value whose key was destroyed."""

    ERASED = "erased"


ERASED: Final = Erasure.ERASED


class ValueUnreadableError(ValueError):
    """A value is not what its headers say: damaged, moved from another learner, or of an unknown algorithm."""


class TenantKeyMissingError(LookupError):
    """Values of a tenant are encrypted, and this process was not given the tenant's encryption key."""


@dataclass(frozen=True, slots=True)
class DataKey:
    """A learner's key, ready to use."""

    key_id: str
    cipher: AESGCM

    def encrypt(self, record_key: bytes, value: bytes) -> bytes:
        """The value as it goes on the log under `record_key`."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + self.cipher.encrypt(nonce, value, record_key)

    def decrypt(self, record_key: bytes, value: bytes) -> bytes:
        """The inverse of `encrypt`.

        Raises:
            ValueUnreadableError: when the value was not encrypted with this key under `record_key`.
        """
        try:
            return self.cipher.decrypt(value[:_NONCE_BYTES], value[_NONCE_BYTES:], record_key)
        except (InvalidTag, ValueError) as error:
            raise ValueUnreadableError(
                f"the value does not open with its key {self.key_id}: it was damaged, or moved from another record"
            ) from error

    @property
    def headers(self) -> Headers:
        """The headers that say how a value was encrypted."""
        return [(ENCRYPTION_HEADER, ALGORITHM), (KEY_ID_HEADER, self.key_id.encode())]


def new_data_key(tenant_key: bytes, record_key: bytes) -> bytes:
    """A fresh key for the learner of `record_key`: the value of its record on the topic of keys."""
    key_id = secrets.token_urlsafe(_KEY_ID_BYTES)
    wrapped = _wrapped(tenant_key, record_key, key_id, AESGCM.generate_key(_KEY_BITS))
    return events_pb2.LearnerDataKey(key_id=key_id, wrapped_key=wrapped).SerializeToString(deterministic=True)


class LearnerKeyring:
    """The keys that count, as the records of the topic say, applied in their order."""

    def __init__(self, tenant_keys: TenantKeys) -> None:
        """Args: `tenant_keys`, which unwrap a tenant's data keys."""
        self._tenant_keys = tenant_keys
        self._ciphers: OrderedDict[str, AESGCM] = OrderedDict()
        # By record key: the id and the record's value of the key that counts.
        self._keys: dict[bytes, tuple[str, bytes]] = {}
        self._erased: set[str] = set()
        # By record key: what to write again, because a key that does not count stands behind it; None: that none does.
        self.overwritten: dict[bytes, bytes | None] = {}

    def apply(self, record_key: bytes, value: bytes | None) -> None:
        """Take in one record.

        Raises:
            KeyInvalidError: when the record's key is not tenant/learner.
            ValueUnreadableError: when the value is no LearnerDataKey.
        """
        split_key(record_key)
        counting = self._keys.get(record_key)
        if value is None:
            if counting is not None:
                self.mark_erased(counting[0])
                del self._keys[record_key]
            self.overwritten.pop(record_key, None)
            return
        message = _parsed(value)
        if message.key_id in self._erased:
            # Whoever wrote it again had not seen yet that it was destroyed.
            self.overwritten[record_key] = None if counting is None else _that_counts(counting[1])
        elif counting is None or counting[0] == message.key_id or message.counts:
            self._keys[record_key] = message.key_id, value
            if message.counts:
                self.overwritten.pop(record_key, None)
            elif record_key in self.overwritten:
                self.overwritten[record_key] = _that_counts(value)
        else:
            self.overwritten[record_key] = _that_counts(counting[1])

    def key_id(self, record_key: bytes) -> str | None:
        """Id of the key that counts for a learner, or None."""
        held = self._keys.get(record_key)
        return None if held is None else held[0]

    def data_key(self, record_key: bytes) -> DataKey | None:
        """The key that counts for a learner, or None.

        Raises:
            TenantKeyMissingError: when the tenant's own key is not known, or not the one it was wrapped with.
        """
        held = self._keys.get(record_key)
        if held is None:
            return None
        key_id, value = held
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            cipher = self._ciphers[key_id] = AESGCM(self._unwrapped(record_key, _parsed(value))[0])
            if len(self._ciphers) > _CIPHERS_MAX:
                self._ciphers.popitem(last=False)
        return DataKey(key_id, cipher)

    def learners(self, tenant: str) -> list[bytes]:
        """Record keys of a tenant's learners with a key that counts."""
        prefix = f"{tenant}/".encode()
        return [record_key for record_key in self._keys if record_key.startswith(prefix)]

    def rewrapped(self, record_key: bytes) -> bytes | None:
        """The key that counts for a learner, wrapped with what wraps new ones; None: it is, or there is none.

        Raises:
            TenantKeyMissingError: when it does not open with any of the tenant's keys.
        """
        held = self._keys.get(record_key)
        if held is None:
            return None
        message = _parsed(held[1])
        data_key, wrapped_with = self._unwrapped(record_key, message)
        wraps_new = self._tenant_keys(split_key(record_key)[0])[0]
        if wrapped_with == wraps_new:
            return None
        message.wrapped_key = _wrapped(wraps_new, record_key, message.key_id, data_key)
        message.counts = True
        return message.SerializeToString(deterministic=True)

    def knows(self, record_key: bytes, key_id: str) -> bool:
        """Whether what became of a key is known: it counts, or it was destroyed."""
        return self.key_id(record_key) == key_id or key_id in self._erased

    def mark_erased(self, key_id: str) -> None:
        """A key is gone for good: ids are random, so none comes back."""
        self._erased.add(key_id)
        self._ciphers.pop(key_id, None)

    def decrypt(self, record_key: bytes | None, value: bytes | None, headers: Iterable[tuple[str, bytes]]) -> Any:
        """As `LearnerKeys.decrypt` says."""
        if value is None or record_key is None:
            return value
        key_id = key_id_of(headers)
        if key_id is None:
            return value
        if self.key_id(record_key) != key_id:
            if key_id not in self._erased:
                raise AssertionError("decrypt before load_keys: it is not known what became of the key")
            return ERASED
        data_key = self.data_key(record_key)
        if data_key is None:
            raise AssertionError("a key that counts is held")
        return data_key.decrypt(record_key, value)

    def _unwrapped(self, record_key: bytes, message: events_pb2.LearnerDataKey) -> tuple[bytes, bytes]:
        """The data key, and which of the tenant's keys it is wrapped with."""
        tenant = split_key(record_key)[0]
        tenant_keys = self._tenant_keys(tenant)
        remedy = "give this process the tenants file as it is now, with CAIRN_TENANTS"
        if not tenant_keys:
            raise TenantKeyMissingError(
                f"values of tenant {tenant!r} are encrypted, and its key is not known: {remedy}"
            )
        wrapped, data = message.wrapped_key, _wrapping_data(record_key, message.key_id)
        for tenant_key in tenant_keys:
            with suppress(InvalidTag, ValueError):
                return AESGCM(tenant_key).decrypt(wrapped[:_NONCE_BYTES], wrapped[_NONCE_BYTES:], data), tenant_key
        raise TenantKeyMissingError(
            f"a data key of tenant {tenant!r} does not open with the encryption key in the tenants file: {remedy}"
        )


class Sealed(Protocol):
    """A record that may be encrypted."""

    @property
    def key(self) -> bytes | None:
        """Its key."""
        ...

    @property
    def headers(self) -> Sequence[tuple[str, bytes]]:
        """Its headers."""
        ...


class LearnerKeys:
    """The keys as a process uses them.

    A reader gives records to `load_keys`, which follows the topic from the first encrypted one on, then each to
    `decrypt`, and calls `close` at the end: without encrypted values neither the topic nor a tenant's key is needed. A
    process that makes keys follows the topic from its start with `run`.
    """

    def __init__(self, connection: KafkaConnection, tenant_keys: TenantKeys, *, topic: str = LEARNER_KEYS) -> None:
        """Args: the cluster, what unwraps a tenant's data keys, and the topic."""
        self._connection = connection
        self._tenant_keys = tenant_keys
        self._topic = topic
        self._forget()
        self._following: asyncio.Task[None] | None = None

    @property
    def ready(self) -> bool:
        """Whether everything that stood on the topic at the start is known."""
        return self._view.ready

    async def wait_ready(self) -> None:
        """Return once `ready`."""
        await self._view.wait_ready()

    async def wait_for(self, offset: int) -> None:
        """Return once the record at `offset` counts."""
        await self._view.wait_for(self._topic, offset)

    async def wait_until(self, condition: Callable[[], bool]) -> None:
        """Return once `condition` holds; it is asked now, and after every batch of records."""
        await self._view.wait_until(condition)

    async def run(self) -> None:
        """Follow the topic until cancelled.

        Raises:
            TopicMissingError: when the topic does not exist.
            BrokerUnavailableError: when the broker cannot be reached at the start.
        """
        await self._view.run()

    async def load_keys(self, records: Iterable[Sealed]) -> None:
        """Make sure that it is known of each record's key whether it was destroyed.

        A key is on its topic before the first value under it is on the log. So a key that is not on the topic, read to
        its end of now, is destroyed. This waits while the broker is away.

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
        """Follow the topic no longer."""
        if self._following is not None:
            self._following.cancel()
            await asyncio.gather(self._following, return_exceptions=True)
            self._following = None

    def decrypt(
        self, record_key: bytes | None, value: bytes | None, headers: Iterable[tuple[str, bytes]]
    ) -> bytes | Erasure | None:
        """The value as it was before encryption: as it is when it was not encrypted, ERASED when its key was destroyed.

        Args:
            record_key: the record's key.
            value: its value.
            headers: its headers; the record must have been given to `load_keys`.

        Raises:
            ValueUnreadableError: when the value does not open with its key.
            TenantKeyMissingError: when this process lacks the tenant's encryption key.
        """
        opened: bytes | Erasure | None = self.keyring.decrypt(record_key, value, headers)
        return opened

    def _forget(self) -> None:
        self.keyring = LearnerKeyring(self._tenant_keys)
        self._view = CompactedView(self._connection, (self._topic,), self._apply)

    def _unknown(self, records: Iterable[Sealed]) -> set[tuple[bytes, str]]:
        unknown = set()
        for record in records:
            record_key, key_id = record.key, _key_id_said(record.headers)
            if key_id is not None and record_key is not None and not self.keyring.knows(record_key, key_id):
                unknown.add((record_key, key_id))
        return unknown

    async def _follow(self, unknown: Collection[tuple[bytes, str]]) -> None:
        """Read on until every key is known, or to the end of the topic as of now."""
        while True:
            if self._following is None:
                self._following = asyncio.create_task(self.run())
            reading = asyncio.create_task(self._read_on(unknown))
            try:
                await asyncio.wait((reading, self._following), return_when=asyncio.FIRST_COMPLETED)
                if reading.done():
                    return await reading
                # It ends only by failing.
                await self._following
            except BrokerUnavailableError as error:
                _log.warning("keys of learners cannot be determined", reason=str(error))
                await asyncio.sleep(_RETRY_S)
            finally:
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)
                if self._following.done():
                    self._following = None
                    # Read from the beginning again, what was destroyed long ago would be so once more.
                    self._forget()

    async def _read_on(self, unknown: Collection[tuple[bytes, str]]) -> None:
        await self._view.wait_ready()
        try:
            # A new learner's key is usually under way.
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


def tenant_keys_in(tenants_file: Path) -> TenantKeys:
    """The tenants' encryption keys in a file, which is read when the first one is needed, and followed from then on.

    What is returned raises TenantKeyMissingError when the file cannot be used.
    """
    registry: TenantRegistry | None = None

    def tenant_keys(name: str) -> Sequence[bytes]:
        nonlocal registry
        if registry is None:
            try:
                registry = load_tenants(tenants_file)
            except TenantsFileError as error:
                raise TenantKeyMissingError(f"values in the log are encrypted, and {error}") from error
        tenant = registry.get(name)
        return () if tenant is None else tenant.encryption_keys

    return tenant_keys


def is_encrypted(headers: Iterable[tuple[str, bytes]]) -> bool:
    """Whether a record's headers say that its value is encrypted."""
    for name, _ in headers:  # noqa: SIM110 - asked of every record: a generator would take twice as long.
        if name == ENCRYPTION_HEADER:
            return True
    return False


def key_id_of(headers: Iterable[tuple[str, bytes]]) -> str | None:
    """Id of the key that a record's value was encrypted with; None when it was not.

    Raises:
        ValueUnreadableError: when the headers name an algorithm that this program does not know, or no key.
    """
    said = dict(headers)
    algorithm = said.get(ENCRYPTION_HEADER)
    if algorithm is None:
        return None
    if algorithm != ALGORITHM:
        raise ValueUnreadableError(f"{ENCRYPTION_HEADER} is {algorithm[:40]!r}, this program knows {ALGORITHM!r}")
    key_id = said.get(KEY_ID_HEADER)
    if not key_id:
        raise ValueUnreadableError(f"the value is encrypted, and {KEY_ID_HEADER} does not say with which key")
    return key_id.decode(errors="replace")


def _key_id_said(headers: Iterable[tuple[str, bytes]]) -> str | None:
    """As `key_id_of`, None also where the headers are wrong: `decrypt` says so."""
    try:
        return key_id_of(headers)
    except ValueUnreadableError:
        return None


def _wrapped(tenant_key: bytes, record_key: bytes, key_id: str, data_key: bytes) -> bytes:
    nonce = secrets.token_bytes(_NONCE_BYTES)
    return nonce + AESGCM(tenant_key).encrypt(nonce, data_key, _wrapping_data(record_key, key_id))


def _wrapping_data(record_key: bytes, key_id: str) -> bytes:
    """Binds a wrapped key to its learner and its id."""
    return b"cairn-learner-key\0" + record_key + b"\0" + key_id.encode()


def _that_counts(value: bytes) -> bytes:
    """The record's value, said to be of the key that counts."""
    message = _parsed(value)
    message.counts = True
    return message.SerializeToString(deterministic=True)


def _parsed(value: bytes) -> events_pb2.LearnerDataKey:
    try:
        message = events_pb2.LearnerDataKey.FromString(value)
    except DecodeError as error:
        raise ValueUnreadableError("the value is no LearnerDataKey") from error
    if not message.key_id or not message.wrapped_key:
        raise ValueUnreadableError("the LearnerDataKey lacks its id or its key")
    return message
