"""A learner's data key: encrypting values with it, and wrapping it with its tenant's key."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from google.protobuf.message import DecodeError

from cairn.v1 import events_pb2
from services.common.encryption.headers import encryption_headers
from services.common.encryption.nonces import NONCE_BYTES, new_nonce
from services.common.encryption.values import TenantKeyMissingError, ValueUnreadableError
from services.common.kafka.envelope import Headers, split_key

_KEY_BITS = 256
_KEY_ID_BYTES = 12

TenantKeys = Callable[[str], Sequence[bytes]]
"""A tenant's encryption keys by its name: the first wraps new data keys. Empty: it has none, or is unknown."""


@dataclass(frozen=True, slots=True)
class DataKey:
    """A learner's key, ready to use."""

    key_id: str
    cipher: AESGCM

    def encrypt(self, record_key: bytes, value: bytes) -> bytes:
        """The value as it is written to the log under `record_key`."""
        nonce = new_nonce()
        return nonce + self.cipher.encrypt(nonce, value, record_key)

    def decrypt(self, record_key: bytes, value: bytes) -> bytes:
        """The inverse of `encrypt`.

        Raises:
            ValueUnreadableError: when the value was not encrypted with this key under `record_key`.
        """
        try:
            return self.cipher.decrypt(value[:NONCE_BYTES], value[NONCE_BYTES:], record_key)
        except (InvalidTag, ValueError) as error:
            raise ValueUnreadableError(
                f"the value cannot be decrypted with its key {self.key_id}: "
                "it was damaged, or moved from another record"
            ) from error

    @property
    def headers(self) -> Headers:
        """The headers of a value encrypted with this key."""
        return encryption_headers(self.key_id)


def new_data_key(tenant_key: bytes, record_key: bytes) -> bytes:
    """A new key for the learner of `record_key`: the value of its record on the topic of keys."""
    key_id = secrets.token_urlsafe(_KEY_ID_BYTES)
    wrapped = wrap(tenant_key, record_key, key_id, AESGCM.generate_key(_KEY_BITS))
    return events_pb2.LearnerDataKey(key_id=key_id, wrapped_key=wrapped).SerializeToString(deterministic=True)


def parse_data_key(value: bytes) -> events_pb2.LearnerDataKey:
    """The value of a record on the topic of keys.

    Raises:
        ValueUnreadableError: when it is not a LearnerDataKey, or lacks its id or its key.
    """
    try:
        message = events_pb2.LearnerDataKey.FromString(value)
    except DecodeError as error:
        raise ValueUnreadableError("the value is not a LearnerDataKey") from error
    if not message.key_id or not message.wrapped_key:
        raise ValueUnreadableError("the LearnerDataKey lacks its id or its key")
    return message


def wrap(tenant_key: bytes, record_key: bytes, key_id: str, data_key: bytes) -> bytes:
    """A data key, encrypted with a tenant's key and bound to its learner and its id."""
    nonce = new_nonce()
    return nonce + AESGCM(tenant_key).encrypt(nonce, data_key, _associated_data(record_key, key_id))


def unwrap(tenant_keys: TenantKeys, record_key: bytes, message: events_pb2.LearnerDataKey) -> tuple[bytes, bytes]:
    """A data key, and the tenant's key that it is wrapped with.

    Raises:
        TenantKeyMissingError: when the tenant has no key here, or none of its keys unwraps the data key.
    """
    tenant = split_key(record_key)[0]
    candidates = tenant_keys(tenant)
    remedy = "give this process the current tenants file, with CAIRN_TENANTS"
    if not candidates:
        raise TenantKeyMissingError(f"values of tenant {tenant!r} are encrypted, and its key is not known: {remedy}")
    wrapped, data = message.wrapped_key, _associated_data(record_key, message.key_id)
    for tenant_key in candidates:
        with suppress(InvalidTag, ValueError):
            return AESGCM(tenant_key).decrypt(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], data), tenant_key
    raise TenantKeyMissingError(
        f"the encryption key in the tenants file does not unwrap a data key of tenant {tenant!r}: {remedy}"
    )


def _associated_data(record_key: bytes, key_id: str) -> bytes:
    return b"cairn-learner-key\0" + record_key + b"\0" + key_id.encode()
