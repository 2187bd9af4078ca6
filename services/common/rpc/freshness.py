"""Freshness tokens: opaque text, bound to a tenant, that requests an answer from a state that includes a record."""

from __future__ import annotations

import base64
import binascii
import hmac
import struct
from dataclasses import dataclass
from functools import lru_cache

from services.common.kafka.envelope import Position

_LAYOUT = struct.Struct("<B16sIQ")
_VERSION = 1
_TAG_BYTES = 12


@dataclass(frozen=True, slots=True)
class Freshness:
    """A record that an answer must include.

    Attributes:
        log_identity: the 16 bytes of the topic's id; a topic created again has another id.
        position: the record's position.
    """

    log_identity: bytes
    position: Position


class FreshnessInvalidError(ValueError):
    """The token was not issued to this tenant."""


def encode(freshness: Freshness, tenant_secret: bytes) -> str:
    """The token for a tenant."""
    body = _LAYOUT.pack(_VERSION, freshness.log_identity, freshness.position.partition, freshness.position.offset)
    return base64.urlsafe_b64encode(body + _tag(body, tenant_secret)).decode().rstrip("=")


def decode(token: str, tenant_secret: bytes) -> Freshness:
    """The content of a token.

    Raises:
        FreshnessInvalidError: when it is malformed or was made for another tenant.
    """
    remedy = "pass the freshness_token of PublishEvents unchanged, with the same tenant's key"
    try:
        raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise FreshnessInvalidError(f"{token[:80]!r} is not a freshness token; {remedy}") from error
    body, tag = raw[: _LAYOUT.size], raw[_LAYOUT.size :]
    if len(body) != _LAYOUT.size or not hmac.compare_digest(tag, _tag(body, tenant_secret)):
        raise FreshnessInvalidError(f"{token[:80]!r} is not a freshness token of this tenant; {remedy}")
    version, log_identity, partition, offset = _LAYOUT.unpack(body)
    if version != _VERSION:
        raise FreshnessInvalidError(f"{token[:80]!r} has version {version}, this server knows {_VERSION}; {remedy}")
    return Freshness(log_identity, Position(partition, offset))


def _tag(body: bytes, tenant_secret: bytes) -> bytes:
    code = _keyed(tenant_secret).copy()
    code.update(body)
    return code.digest()[:_TAG_BYTES]


@lru_cache(maxsize=1_024)
def _keyed(tenant_secret: bytes) -> hmac.HMAC:
    # Cached per tenant: hmac.digest() releases the interpreter's lock each time, and a batch needs 500 of them.
    return hmac.new(tenant_secret, b"cairn-freshness\0", "sha256")
