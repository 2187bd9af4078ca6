"""Identities in the log: tenants, learners' pseudonyms and event ids."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import uuid
from functools import lru_cache
from typing import NamedTuple

TENANT_PATTERN = re.compile(r"[a-z0-9-]{1,63}")
LEARNER_PATTERN = re.compile(r"[A-Z2-7]{26}")

_EVENT_ID_NAMESPACE = uuid.UUID("6f1f8f0e-6a0b-5d0f-9a53-3c5b1f0c41aa")


@lru_cache(maxsize=65_536)
def pseudonym(tenant_secret: bytes, learner_id: str) -> str:
    """The pseudonym of a platform's learner in the log and in derived state.

    Args:
        tenant_secret: the tenant's own secret, at least 16 bytes; another secret gives unrelated pseudonyms.
        learner_id: the learner as the platform knows them.

    Returns:
        26 base32 characters (130 bits) of HMAC-SHA256.
    """
    digest = hmac.digest(tenant_secret, learner_id.encode(), "sha256")
    # Only the bytes of the first 26 characters: encoding is the slowest part.
    return base64.b32encode(digest[:17])[:26].decode()


def natural_event_id(parts: tuple[str, ...]) -> str:
    """UUIDv5 of an event's natural key, for events without an id.

    Args:
        parts: the fields that identify the event within its tenant. Each is length-prefixed, so that different tuples
            never give the same name.
    """
    return str(uuid.uuid5(_EVENT_ID_NAMESPACE, _name_of(parts)))


def natural_fingerprint(parts: tuple[str, ...]) -> int:
    """64 bits that represent a natural key among those of one file."""
    return int.from_bytes(hashlib.blake2b(_name_of(parts).encode(errors="surrogatepass"), digest_size=8).digest())


def _name_of(parts: tuple[str, ...]) -> str:
    return "".join([f"{len(part)}:{part}" for part in parts])


class EventIdentity(NamedTuple):
    """What makes two records one event, sent twice: everywhere in the log, and in all that is derived from it."""

    tenant: str
    learner: str
    source: str
    event_id: str

    @property
    def fingerprint(self) -> bytes:
        """See `event_fingerprint`. Only within one learner's events."""
        return event_fingerprint(self.source, self.event_id)


def event_fingerprint(source: str, event_id: str) -> bytes:
    """Eight bytes that represent (source, event id) in a learner's de-duplication window."""
    return hashlib.blake2b(f"{len(source)}:{source}{event_id}".encode(), digest_size=8).digest()
